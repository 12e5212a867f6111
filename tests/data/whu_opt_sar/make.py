"""WHU-OPT-SAR: ``{optical,sar,lbl}/<scene>.tif``, four optical bands, labels in tens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.fakes import SIZE, pixels, raster


def make(root: Path) -> None:
    """Two scenes of the published training part, one of the test part."""
    for n, scene in enumerate(("NH49E004021", "NH49E005014", "NH49E001014")):
        raster(root / f"optical/{scene}.tif", pixels(n, bands=4).transpose(2, 0, 1))
        raster(root / f"sar/{scene}.tif", pixels(50 + n, bands=1))
        labels = 10 * np.random.default_rng(n).integers(0, 8, (SIZE, SIZE))
        raster(root / f"lbl/{scene}.tif", labels.astype(np.uint8))
