"""ISPRS Vaihingen: images in ``top/``, colour-coded labels of the same name beside that folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from support.fakes import SIZE, picture
from torchgeo.datasets import Vaihingen2D

COLOURS = np.array([(255, 0, 0), (255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0)], np.uint8)


def make(root: Path) -> None:
    """All tiles of the contest."""
    for n, name in enumerate(name for names in Vaihingen2D.splits.values() for name in names):
        picture(root / "top" / name, seed=n)
        labels = np.random.default_rng(n).integers(0, 6, (SIZE, SIZE))
        Image.fromarray(COLOURS[labels]).save(root / name)
