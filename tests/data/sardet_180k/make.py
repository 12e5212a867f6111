"""SARDet-180K, the pretraining collection: folders of images, by source, without annotations."""

from __future__ import annotations

from pathlib import Path

from support.fakes import picture


def make(root: Path) -> None:
    """Three sources, two images each, one folder deeper in one of them."""
    for n, folder in enumerate(("MSTAR/2S1", "HRSID", "SARSim")):
        for i in range(2):
            picture(root / "SARDet_180K" / folder / f"{i:04d}.jpg", seed=10 * n + i, bands=1)
