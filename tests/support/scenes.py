"""The installed command, small models with random weights, and small scenes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin

from codemae_geo import models
from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.weights import ArchitectureSpec, InputSpec, ModelContract, class_specs, save_package

#: a network that runs in milliseconds
SMALL = {"embed_dim": 32, "mlp_depth1": 1, "mlp_depth2": 1, "depth": 1, "num_heads": 2, "fpn_dim": 16}


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object that ends stdout."""
        return json.loads(self.out.strip().splitlines()[-1])


def run_codemae(*args: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> Result:
    """Run the installed command as a user would."""
    program = Path(sys.executable).with_name("codemae")
    assert program.exists(), "the command is not installed beside this Python"
    done = subprocess.run(
        [str(program), *map(str, args)],
        cwd=cwd,
        # compiled modules are kept, or every call would compile torch anew
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "", **(env or {})},
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def make_model(
    path: Path, post: Literal["optical", "sar"] = "optical", *, task: str = "damage", seed: int = 0, **changes: Any
) -> Path:
    """A package with random weights that calls every class somewhere."""
    torch.manual_seed(seed)
    rgb = {"family": "optical", "bands": ["red", "green", "blue"], "unit": "uint8", "scale": 1 / 255}
    sar = {"family": "sar", "bands": ["sar"], "unit": "uint8", "scale": 1 / 255}
    stats = {"mean": [0.4] * 3, "std": [0.2] * 3}
    if task == "damage":
        architecture = ArchitectureSpec(name="damageformer", config={"encoder": SMALL, "pre": "optical", "post": post})
        inputs = [
            InputSpec(name="pre", **rgb, **stats),
            InputSpec(name="post", **(rgb if post == "optical" else sar), **stats),
        ]  # type: ignore[arg-type]
    else:
        architecture = ArchitectureSpec(name="segmenter", config={"encoder": SMALL, "num_classes": 4})
        inputs = [InputSpec(name="image", **rgb, **stats)]  # type: ignore[arg-type]
    module = models.build(architecture.name, architecture.config)
    last = module.clf_2 if task == "damage" else module.classifier
    with torch.no_grad():  # loud and centred, or one class would win everywhere
        last.weight.mul_(100).sub_(last.weight.mean(0, keepdim=True))
        last.bias.zero_()
    contract = ModelContract(
        name="random",
        description="Random weights for tests.",
        task=task,  # type: ignore[arg-type]
        architecture=architecture,
        inputs=inputs,
        classes=class_specs(DAMAGE_CLASSES),
        window=64,
        licence="Apache-2.0",
        **changes,
    )
    return save_package(path, module.state_dict(), contract)


def write_raster(
    path: Path,
    *,
    crs: str | None = "EPSG:32615",
    size: tuple[int, int] = (100, 120),
    origin: tuple[float, float] = (366000.0, 4104000.0),
    count: int = 3,
    dtype: str = "uint8",
    fill: int | None = None,
    nodata: float | None = None,
    seed: int = 0,
    res: float = 0.5,
) -> Path:
    """A small GeoTIFF of noise, or of one value."""
    height, width = size
    random = np.random.default_rng(seed)
    data = random.integers(1, 255, (count, height, width)).astype(dtype)
    if fill is not None:
        data[:] = fill
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=count,
        dtype=dtype,
        crs=crs,
        transform=from_origin(*origin, res, res),
        nodata=nodata,
    ) as out:
        out.write(data)
    return path


@dataclass
class Pair:
    pre: Path
    post: Path
    footprints: Path
