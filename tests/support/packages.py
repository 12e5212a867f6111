"""Small packages of the kinds that embed and detect take, and a detector whose answers are known to the pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rasterio.features import shapes
from torch import Tensor, nn

from codemae_geo import models
from codemae_geo.weights import ArchitectureSpec, ClassSpec, InputSpec, ModelContract, save_package
from support.scenes import SMALL

#: 0.4 x 255: a scene of this value is exactly zero after normalisation
MEAN = 102


def inputs(*families: str) -> list[InputSpec]:
    """Three channels each, with the mean :data:`MEAN`."""
    bands = {"optical": ["red", "green", "blue"], "sar": ["sar"]}
    return [
        InputSpec(
            name=f,
            family=f,
            bands=bands[f],
            unit="uint8",
            scale=1 / 255,
            mean=[0.4] * 3,
            std=[0.2] * 3,  # type: ignore[arg-type]
        )
        for f in families
    ]


def make_encoder(path: Path, *, positions: bool = True, window: int = 64) -> Path:
    """A random backbone as `codemae pretrain` exports it; without ``positions`` it does not know a patch's place."""
    torch.manual_seed(0)
    config = {"encoder": {**SMALL, "img_size": window}}
    module = models.build("encoder", config)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1 and name != "absolute_pos_embed":  # loud, so that attention mixes patches
                parameter.mul_(5)
        if not positions:
            module.absolute_pos_embed.zero_()
    contract = ModelContract(
        name="random-encoder",
        description="Random weights for tests.",
        task="embedding",
        architecture=ArchitectureSpec(name="encoder", config=config),
        inputs=inputs("optical", "sar"),
        window=window,
        licence="Apache-2.0",
    )
    return save_package(path, module.state_dict(), contract)


CLASSES = [ClassSpec(value=0, name="boat", color="#e69f00"), ClassSpec(value=1, name="ship", color="#0072b2")]


class BrightSquares(nn.Module):
    """Finds connected areas brighter than 150 in the first channel; label 2 above 220, else 1.

    Boxes are exact, scores are brightness / 255. It stands in for a trained detector wherever positions are looked at.
    """

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        found = []
        for channel in image[:, 0].float().numpy():
            boxes, values = [], []
            for shape, _ in shapes((channel > 150).astype(np.uint8), mask=channel > 150):
                ring = np.array(shape["coordinates"][0])
                (left, top), (right, bottom) = ring.min(0), ring.max(0)
                boxes.append([left, top, right, bottom])
                values.append(channel[int(top), int(left)])
            value = torch.tensor(np.array(values, np.float32))
            corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
            found.append({"boxes": corners, "labels": 1 + (value > 220).long(), "scores": value / 255})
        return found


def make_detector(path: Path, *, fake: bool = False, loud: bool = False, **changes: Any) -> Path:
    """A detection package: random Faster R-CNN, ``loud`` with weights that tell boxes apart, or :class:`BrightSquares`
    (whoever loads it registers the name).
    """
    torch.manual_seed(0)
    if fake:
        architecture = ArchitectureSpec(name="bright-squares", config={})
        module: nn.Module = BrightSquares()
        plain = {"scale": 1.0, "mean": [0.0] * 3, "std": [1.0] * 3}
        specs = [spec.model_copy(update=plain) for spec in inputs("optical")]
    else:
        config = {"encoder": SMALL, "num_classes": 2, "head_dim": 16, "head_hidden": 32, "min_score": 0.0}
        architecture = ArchitectureSpec(name="faster-rcnn", config=config)
        module = models.build("faster-rcnn", config)
        if loud:
            with torch.no_grad():
                for parameter in module.parameters():
                    if parameter.dim() > 1:
                        parameter.mul_(3)
        specs = inputs("optical")
    contract = ModelContract(
        **{
            "name": "random-detector",
            "description": "For tests.",
            "task": "object-detection",
            "architecture": architecture,
            "inputs": specs,
            "classes": CLASSES,
            "window": 96,
            "overlap": 0.5,
            "score_threshold": 0.1,
            "licence": "Apache-2.0",
            **changes,
        }
    )
    return save_package(path, module.state_dict(), contract)


def rename_architecture(package: Path, path: Path, name: str) -> Path:
    """A copy of a package whose contract names another architecture."""
    size = int.from_bytes(package.read_bytes()[:8], "little")
    content = package.read_bytes()[8:]
    header = json.loads(content[:size])
    contract = json.loads(header["__metadata__"]["codemae"])
    contract["architecture"]["name"] = name
    header["__metadata__"]["codemae"] = json.dumps(contract)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[size:])
    return path
