"""ISPRS Potsdam: ``4_Ortho_RGBIR/<tile>_RGBIR.tif`` and colour-coded ``<tile>_label.tif``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from support.fakes import SIZE, raster
from torchgeo.datasets import Potsdam2D

COLOURS = np.array([(255, 0, 0), (255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0)], np.uint8)


def make(root: Path) -> None:
    """All tiles of the contest."""
    for n, tile in enumerate(tile for tiles in Potsdam2D.splits.values() for tile in tiles):
        rng = np.random.default_rng(n)
        image = rng.integers(0, 256, (4, SIZE, SIZE)).astype(np.uint8)
        raster(root / "4_Ortho_RGBIR" / f"{tile}_RGBIR.tif", image)
        Image.fromarray(COLOURS[rng.integers(0, 6, (SIZE, SIZE))]).save(root / f"{tile}_label.tif")
