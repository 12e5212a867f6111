"""EuroSAT with EuroSAT-SAR beside it, of the same class folders and file names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from codemae_datasets.public.eurosat import EuroSAT
from support.fakes import SIZE, raster, write


def make(root: Path) -> None:
    """One pair of each class in each split."""
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for k, kind in enumerate(EuroSAT.card.classes):
        for n, names in enumerate(lists.values(), start=1):
            rng = np.random.default_rng(10 * k + n)
            optical = rng.integers(0, 4000, (13, SIZE, SIZE)).astype(np.uint16)
            raster(root / EuroSAT.folder / kind / f"{kind}_{n}.tif", optical)
            sar = rng.normal(-12, 4, (2, SIZE, SIZE)).astype(np.float32)
            raster(root / "EuroSAT-SAR" / kind / f"{kind}_{n}.tif", sar)
            names.append(f"{kind}_{n}.jpg")
    for split, names in lists.items():
        write(root / f"eurosat-{split}.txt", "\n".join(names) + "\n")
