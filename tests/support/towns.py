"""What learning from labels starts from: a damage model of random weights, and a folder of images by class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.models import build
from codemae_geo.weights import ArchitectureSpec, InputSpec, ModelContract, class_specs, save_package

ENCODER = {"embed_dim": 32, "mlp_depth1": 1, "mlp_depth2": 1, "depth": 2, "num_heads": 2, "fpn_dim": 16, "img_size": 32}


def make_start(path: Path) -> Path:
    """A package of a damage model, as adapting and evaluating take it."""
    torch.manual_seed(0)
    config = {"encoder": ENCODER, "pre": "optical", "post": "optical"}
    image: dict[str, Any] = {"family": "optical", "bands": ["red", "green", "blue"], "unit": "uint8"}
    image |= {"mean": [100.0] * 3, "std": [50.0] * 3}
    contract = ModelContract(
        name="start",
        description="random",
        task="damage",
        architecture=ArchitectureSpec(name="damageformer", config=config),
        inputs=[InputSpec(name="pre", **image), InputSpec(name="post", **image)],
        classes=class_specs(DAMAGE_CLASSES),
        window=64,
        licence="none",
    )
    return save_package(path, build("damageformer", config).state_dict(), contract)


def make_images(root: Path, count: int = 20, side: int = 40) -> Path:
    """Two classes that differ in brightness, a folder each."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 70), ("light", 180)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.clip(rng.normal(level, 25, (side, side, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root
