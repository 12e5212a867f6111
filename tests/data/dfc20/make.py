"""DFC20: ``ROIs0000_{validation,test}/{s2,s1,dfc}_<part>``, as of SEN12MS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.fakes import SIZE, raster


def make(root: Path) -> None:
    """Two patches of each part; labels 0 to 10."""
    for name, part, middle in (("ROIs0000_validation", "validation", "1"), ("ROIs0000_test", "0", "0")):
        for n in range(2):
            rng = np.random.default_rng(n)
            sizes = {"s2": (13, "uint16", 0, 4000), "s1": (2, "float32", -25, 0), "dfc": (1, "uint8", 0, 11)}
            for kind, (bands, dtype, low, high) in sizes.items():
                array = rng.integers(low, high, (bands, SIZE, SIZE)).astype(dtype)
                raster(root / name / f"{kind}_{part}" / f"{name}_{kind}_{middle}_p{n}.tif", array)
