"""BigEarthNet version 1 with its Sentinel-1 part: a folder of bands per patch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from codemae_datasets.public.bigearthnet import BANDS
from support.fakes import raster, write


def make(root: Path) -> None:
    """Two patches per split, bands at 20, 10 and 3 pixels instead of 120, 60 and 20; labels of the 43."""
    side = {"B01": 3, "B09": 3, "B02": 20, "B03": 20, "B04": 20, "B08": 20}
    for k, split in enumerate(("train", "val", "test")):
        lines = []
        for n in range(2):
            patch, pair = f"S2A_MSIL2A_20170613T101031_{k}_{n}", f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{k}_{n}"
            rng = np.random.default_rng(10 * k + n)
            for band in BANDS:
                array = rng.integers(0, 4000, (side.get(band, 10),) * 2).astype(np.uint16)
                raster(root / "BigEarthNet-v1.0" / patch / f"{patch}_{band}.tif", array)
            for band in ("VV", "VH"):
                array = rng.normal(-12, 4, (20, 20)).astype(np.float32)
                raster(root / "BigEarthNet-S1-v1.0" / pair / f"{pair}_{band}.tif", array)
            # the third has no counterpart among the nineteen
            labels = json.dumps({"labels": ["Continuous urban fabric", "Sea and ocean", "Airports"]})
            write(root / "BigEarthNet-v1.0" / patch / f"{patch}_labels_metadata.json", labels)
            write(root / "BigEarthNet-S1-v1.0" / pair / f"{pair}_labels_metadata.json", labels)
            lines.append(f"{patch},{pair}\n")
        write(root / f"bigearthnet-{split}.csv", "".join(lines))
