"""SEN12MS: ``ROIs<n>_<season>/{s1,s2,lc}_<n>`` with lists of file names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.fakes import SIZE, raster, write


def make(root: Path) -> None:
    """Two patches to train, one to test; four land cover layers."""
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for n, (split, season, number) in enumerate(
        (("train", "ROIs1158_spring", 1), ("train", "ROIs1868_summer", 2), ("test", "ROIs1970_fall", 3))
    ):
        rng = np.random.default_rng(n)
        sizes = {"s2": (13, "uint16", 0, 4000), "s1": (2, "float32", -25, 0), "lc": (4, "uint16", 1, 18)}
        for kind, (bands, dtype, low, high) in sizes.items():
            array = rng.integers(low, high, (bands, SIZE, SIZE)).astype(dtype)
            raster(root / season / f"{kind}_{number}" / f"{season}_{kind}_{number}_p{n}.tif", array)
        lists[split].append(f"{season}_s2_{number}_p{n}.tif")
    for split, names in lists.items():
        write(root / f"{split}_list.txt", "\n".join(names) + "\n")
