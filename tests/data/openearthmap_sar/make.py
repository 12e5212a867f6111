"""OpenEarthMap-SAR: ``<split>/{sar_images,rgb_images,labels}``; optical images to train only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.fakes import SIZE, pixels, raster


def make(root: Path) -> None:
    """Two images per split; no labels of the test split."""
    for split, area in (("train", "TrainArea"), ("val", "ValArea"), ("test", "TestArea")):
        for n in range(2):
            name = f"{area}_{n:03}.tif"
            raster(root / split / "sar_images" / name, pixels(50 + n, bands=1))
            if split == "train":
                raster(root / split / "rgb_images" / name, pixels(n).transpose(2, 0, 1))
            if split != "test":
                labels = np.random.default_rng(n).integers(0, 9, (SIZE, SIZE)).astype(np.uint8)
                raster(root / split / "labels" / name, labels)
