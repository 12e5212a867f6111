"""ISPRS Potsdam: ``4_Ortho_RGBIR/<tile>_RGBIR.tif`` and colour-coded ``<tile>_label.tif``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from support.fakes import SIZE, raster

COLOURS = np.array([(255, 0, 0), (255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0)], np.uint8)


def make(root: Path) -> None:
    """Two tiles of the training set, two of the test set."""
    for n, tile in enumerate(("top_potsdam_2_10", "top_potsdam_2_11", "top_potsdam_5_15", "top_potsdam_6_15")):
        rng = np.random.default_rng(n)
        image = rng.integers(0, 256, (4, SIZE, SIZE)).astype(np.uint8)
        raster(root / "4_Ortho_RGBIR" / f"{tile}_RGBIR.tif", image)
        Image.fromarray(COLOURS[rng.integers(0, 6, (SIZE, SIZE))]).save(root / f"{tile}_label.tif")
