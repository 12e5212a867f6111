"""LoveDA: ``{Train,Val,Test}/{Urban,Rural}/{images_png,masks_png}/<n>.png``; the test split has no masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from support.fakes import SIZE, picture


def make(root: Path) -> None:
    """One image of each scene in each split, masks 0 (no data) to 7."""
    for n, split in enumerate(("Train", "Val", "Test")):
        for m, scene in enumerate(("Urban", "Rural")):
            folder = root / split / scene
            picture(folder / "images_png" / f"{10 * n + m}.png", seed=10 * n + m)
            if split != "Test":
                (folder / "masks_png").mkdir()
                mask = np.random.default_rng(n).integers(0, 8, (SIZE, SIZE)).astype(np.uint8)
                Image.fromarray(mask).save(folder / "masks_png" / f"{10 * n + m}.png")
