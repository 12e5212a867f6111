"""PIE-RGB-SAR: ``{rgb,sar,label}/<name>.tif`` with lists of names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.fakes import SIZE, pixels, raster, write


def make(root: Path) -> None:
    """Three tiles to train, two to validate with; labels 0 to 5."""
    for n in range(5):
        raster(root / f"rgb/tile_{n}.tif", pixels(n).transpose(2, 0, 1))
        raster(root / f"sar/tile_{n}.tif", pixels(50 + n, bands=1))
        raster(root / f"label/tile_{n}.tif", np.random.default_rng(n).integers(0, 6, (SIZE, SIZE)).astype(np.uint8))
    write(root / "train.txt", "tile_0\ntile_1\ntile_2\n")
    write(root / "val.txt", "tile_3\ntile_4\n")
