"""EarthMiss: ``<city>/images/{RGB,SAR}`` and ``<city>/masks``, masks in floats from 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from codemae_datasets.public.earthmiss import CITIES
from support.fakes import SIZE, pixels, raster


def make(root: Path) -> None:
    """One image of each city; one pixel without a label."""
    for n, city in enumerate(city for cities in CITIES.values() for city in cities):
        raster(root / city / f"images/RGB/{city}_{n}.tif", pixels(n).transpose(2, 0, 1))
        raster(root / city / f"images/SAR/{city}_{n}_SAR.tif", pixels(50 + n, bands=1))
        mask = np.random.default_rng(n).integers(1, 9, (SIZE, SIZE)).astype(np.float32)
        mask[0, 0] = 0
        raster(root / city / f"masks/{city}_{n}_mask.tif", mask)
