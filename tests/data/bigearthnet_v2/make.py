"""BigEarthNet version 2: patches below tiles, reference maps and a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from codemae_datasets.public.bigearthnet import BANDS
from support.fakes import raster


def make(root: Path) -> None:
    """One patch per split."""
    rows = []
    for k, split in enumerate(("train", "validation", "test")):
        tile, tile_sar = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", "S1A_IW_GRDH_1SDV_20170613T165043"
        patch, pair = f"{tile}_{k}_45", f"{tile_sar}_33UUP_{k}_45"
        rng = np.random.default_rng(k)
        for band in BANDS:
            array = rng.integers(0, 4000, (20, 20)).astype(np.uint16)
            raster(root / "BigEarthNet-S2" / tile / patch / f"{patch}_{band}.tif", array)
        for band in ("VV", "VH"):
            array = rng.normal(-12, 4, (20, 20)).astype(np.float32)
            raster(root / "BigEarthNet-S1" / tile_sar / pair / f"{pair}_{band}.tif", array)
        codes = rng.choice([111, 211, 523, 131], (120, 120)).astype(np.uint16)
        raster(root / "Reference_Maps" / tile / patch / f"{patch}_reference_map.tif", codes)
        rows.append({"patch_id": patch, "labels": ["Urban fabric", "Arable land"], "split": split, "s1_name": pair})
    root.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(root / "metadata.parquet")
