"""BRIGHT, full form: ``pre-event``, ``post-event``, ``target``, and the lists of the ``splitname`` folder."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from support.fakes import SIZE, raster, write

TILES = {
    "train": ("bata-explosion_00000000", "congo-volcano_00000000", "ukraine-conflict_00000000"),
    "val": ("bata-explosion_00000001", "congo-volcano_00000001"),
    "test": ("bata-explosion_00000002", "congo-volcano_00000002", "mexico-hurricane_00000000"),
}
#: their optical images are not part of the published data
RESTRICTED = ("ukraine-conflict", "mexico-hurricane", "myanmar-hurricane")


def tile(folder: Path, name: str, target: bool = True) -> None:
    """The three rasters of one tile; no optical image for the restricted events."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if not name.startswith(RESTRICTED):
        optical = rng.integers(0, 256, (3, SIZE, SIZE)).astype(np.uint8)
        raster(folder / "pre-event" / f"{name}_pre_disaster.tif", optical)
    sar = rng.integers(0, 256, (SIZE, SIZE)).astype(np.uint8)
    raster(folder / "post-event" / f"{name}_post_disaster.tif", sar)
    if target:
        damage = rng.integers(0, 4, (SIZE, SIZE)).astype(np.uint8)
        raster(folder / "target" / f"{name}_building_damage.tif", damage)


def make(root: Path) -> None:
    """Eight tiles of four events."""
    for split, names in TILES.items():
        for name in names:
            tile(root, name)
        write(root / "splitname" / "standard_ML" / f"{split}_set.txt", "\n".join(names) + "\n")
