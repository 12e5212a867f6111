"""BRIGHT as of the 2025 data fusion contest, track 2: ``dfc25_track2_trainval/{train,val}`` and lists of tiles."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from support.fakes import write

_spec = importlib.util.spec_from_file_location("bright_make", Path(__file__).parents[1] / "bright" / "make.py")
assert _spec is not None and _spec.loader is not None
_bright = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_bright)


def make(root: Path) -> None:
    """Two tiles in each list; the contest's validation tiles have no labels."""
    folder = root / "dfc25_track2_trainval"
    lists = {
        "train_setlevel": ("bata-explosion_00000000", "hawaii-wildfire_00000003"),
        "holdout_setlevel": ("bata-explosion_00000001", "hawaii-wildfire_00000004"),
        "val_setlevel": ("turkey-earthquake_00000001", "turkey-earthquake_00000002"),
    }
    for name, tiles in lists.items():
        for tile in tiles:
            _bright.tile(folder / ("val" if name == "val_setlevel" else "train"), tile, target=name != "val_setlevel")
        write(folder / f"{name}.txt", "\n".join(tiles) + "\n")
