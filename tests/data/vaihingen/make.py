"""ISPRS Vaihingen: images in ``top/``, colour-coded labels of the same name beside that folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from support.fakes import SIZE, picture

COLOURS = np.array([(255, 0, 0), (255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0)], np.uint8)


def make(root: Path) -> None:
    """Two tiles of the training areas, two of the test areas."""
    for n, area in enumerate((1, 11, 6, 24)):
        name = f"top_mosaic_09cm_area{area}.tif"
        picture(root / "top" / name, seed=n)
        labels = np.random.default_rng(n).integers(0, 6, (SIZE, SIZE))
        Image.fromarray(COLOURS[labels]).save(root / name)
