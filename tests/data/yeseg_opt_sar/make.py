"""YESeg-OPT-SAR: ``{optical,sar,label}/<area>/<n>.png``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from support.fakes import SIZE, picture


def make(root: Path) -> None:
    """Two tiles in each of two areas; labels 0 (background) to 7."""
    for k, area in enumerate(("1", "HY_C")):
        for n in (1, 2):
            picture(root / f"optical/{area}/{n}.png", seed=10 * k + n)
            picture(root / f"sar/{area}/{n}.png", seed=50 + 10 * k + n, bands=1)
            mask = np.random.default_rng(n).integers(0, 8, (SIZE, SIZE)).astype(np.uint8)
            path = root / f"label/{area}/{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
