"""DDHR: ``shandong/{GF2,GF3}/<n>.jpg`` and ``label/<n>.png``, with lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from support.fakes import SIZE, picture, write


def make(root: Path) -> None:
    """Four pairs; labels 0 to 4 and 255."""
    home = root / "shandong"
    for n in range(1, 5):
        picture(home / f"GF2/{n}.jpg", seed=n)
        picture(home / f"GF3/{n}.jpg", seed=50 + n, bands=1)
        (home / "label").mkdir(exist_ok=True)
        mask = np.random.default_rng(n).integers(0, 5, (SIZE, SIZE)).astype(np.uint8)
        mask[0] = 255
        Image.fromarray(mask).save(home / f"label/{n}.png")
    for split, numbers in (("train", (1, 3)), ("val", (2, 4))):
        write(home / f"{split}.txt", "".join(f"{n}\n" for n in numbers))
