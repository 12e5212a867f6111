"""Small files for the generated copies of public datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

SIZE = 16


def pixels(seed: int, size: int = SIZE, bands: int = 3) -> np.ndarray:
    """uint8 [size, size, bands], or [size, size] for one band: a ramp that differs by seed, with noise on it."""
    rng = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(size), np.arange(size))[..., None] * rng.integers(1, 4, bands)
    noisy = (ramp + rng.integers(0, 80, (size, size, bands))) % 256
    return noisy.astype(np.uint8) if bands > 1 else noisy[..., 0].astype(np.uint8)


def picture(path: Path, seed: int, size: int = SIZE, bands: int = 3) -> None:
    """An image file of the format its suffix names; 3 bands or 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, size, bands)).save(path)


def raster(path: Path, array: np.ndarray) -> None:
    """A GeoTIFF without georeference of [C, H, W] or [H, W]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = array if array.ndim == 3 else array[None]
    count, height, width = array.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=array.dtype.name
    ) as target:
        target.write(array)


def class_folders(root: Path, classes: Sequence[str], names: str, each: int, suffix: str, **kwargs: int) -> None:
    """``root/<class>/<name><suffix>``; ``names`` is a format of ``name`` (the class, lower case), ``cls``, ``i``."""
    for k, name in enumerate(classes):
        for i in range(1, each + 1):
            file = names.format(name=name.lower(), cls=name, i=i) + suffix
            picture(root / name / file, seed=100 * k + i, **kwargs)


def write(path: Path, text: str) -> None:
    """A text file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
