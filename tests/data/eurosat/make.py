"""EuroSAT, all bands: ``ds/images/remote_sensing/otherDatasets/sentinel_2/tif/<Class>/<Class>_<n>.tif`` and lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.fakes import SIZE, raster, write

CLASSES = ("AnnualCrop", "Forest", "SeaLake")


def make(root: Path) -> None:
    """Three of the ten classes, five images each: three, one, one. The lists name .jpg files, as published."""
    folder = root / "ds" / "images" / "remote_sensing" / "otherDatasets" / "sentinel_2" / "tif"
    for k, name in enumerate(CLASSES):
        for i in range(1, 6):
            bands = np.random.default_rng(10 * k + i).integers(0, 4000, (13, SIZE, SIZE)).astype(np.uint16)
            raster(folder / name / f"{name}_{i}.tif", bands)
    for split, numbers in (("train", (1, 2, 3)), ("val", (4,)), ("test", (5,))):
        write(root / f"eurosat-{split}.txt", "".join(f"{c}_{i}.jpg\n" for c in CLASSES for i in numbers))
