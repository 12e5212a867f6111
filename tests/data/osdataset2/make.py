"""OSdataset 2.0: ``Patch-level Subset/OSdataset/<size>/<split>/{opt,sar}<n>.png``."""

from __future__ import annotations

from pathlib import Path

from support.fakes import picture


def make(root: Path) -> None:
    """Two pairs of each size in each split."""
    for size in (512, 256):
        for k, split in enumerate(("train", "val", "test")):
            home = root / "Patch-level Subset/OSdataset" / str(size) / split
            for n in (1, 2):
                picture(home / f"opt{n}.png", seed=10 * k + n, size=size // 16)
                picture(home / f"sar{n}.png", seed=50 + 10 * k + n, size=size // 16, bands=1)
