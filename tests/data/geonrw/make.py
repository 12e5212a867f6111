"""GeoNRW: ``<city>/<x>_<y>_{rgb.jp2,dem.tif,seg.tif}``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from support.fakes import SIZE, pixels, raster
from torchgeo.datasets import GeoNRW


def make(root: Path) -> None:
    """One tile of every city."""
    for n, city in enumerate((*GeoNRW.train_list, *GeoNRW.test_list)):
        name = f"{280 + n}_5652"
        (root / city).mkdir(parents=True)
        Image.fromarray(pixels(n)).save(root / city / f"{name}_rgb.jp2")
        rng = np.random.default_rng(n)
        raster(root / city / f"{name}_dem.tif", rng.random((SIZE, SIZE), np.float32) * 100)
        raster(root / city / f"{name}_seg.tif", rng.integers(0, 11, (SIZE, SIZE)).astype(np.uint8))
