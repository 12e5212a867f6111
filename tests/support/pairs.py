"""Folders of optical-SAR images, made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_origin


def make_ospretrain(
    root: Path, pairs: dict[str, int], unpaired: tuple[int, int] = (0, 0), size: int = 40, seed: int = 0
) -> Path:
    """A folder in the published layout; the SAR image of a pair is its grey image inverted."""
    random = np.random.default_rng(seed)

    def image(path: Path, pixels: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    for name, count in pairs.items():
        for i in range(count):
            rgb = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
            image(root / name / "RGB" / f"{i}.png", rgb)
            image(root / name / "SAR" / f"{i}.png", 255 - rgb[..., 0])
        lists = {"train": range(count)[::2], "val": range(count)[1::4], "test": range(count)[3::4]}
        for split, numbers in lists.items():
            lines = [f"{i}.png" if i % 4 == 0 else f"{i}" for i in numbers]
            (root / name / f"{split}.txt").write_text("\n".join(lines) + "\n")
    for key, count in zip(("RGB", "SAR"), unpaired, strict=True):
        for i in range(count):
            image(root / "Unpaired" / key / f"u{i}.png", random.integers(0, 256, (size, size), dtype=np.uint8))
    return root


def make_scenes(root: Path, tiles: int = 2, size: int = 128, seed: int = 0) -> Path:
    """``tiles`` scenes side by side, 10 m, optical uint8 RGB and SAR uint8 of the same grid."""
    random = np.random.default_rng(seed)
    for name in ("optical", "sar"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for i in range(tiles):
        base = random.integers(0, 256, (1, size, size), dtype=np.uint8)
        for name, bands in (("optical", 3), ("sar", 1)):
            profile = {
                "driver": "GTiff", "width": size, "height": size, "count": bands, "dtype": "uint8", "crs": "EPSG:32633",
                "transform": from_origin(500000 + i * size * 10, 5000000, 10, 10),
            }  # fmt: skip
            with rasterio.open(root / name / f"{name}_{i}.tif", "w", **profile) as file:
                file.write(np.repeat(base if name == "optical" else 255 - base, bands, axis=0))
    return root
