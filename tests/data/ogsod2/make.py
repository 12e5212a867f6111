"""OGSOD-2.0: ``images/<split>/images``, ``imagesSAR/<split>/images`` and ``labels/<split>``."""

from __future__ import annotations

from pathlib import Path

from support.fakes import picture, write


def make(root: Path) -> None:
    """Two pairs per split: an upright and an oriented box, and an image without objects."""
    for k, split in enumerate(("train", "val", "test")):
        for n in range(2):
            picture(root / f"images/{split}/images/{n}.png", seed=10 * k + n)
            picture(root / f"imagesSAR/{split}/images/{n}.png", seed=50 + 10 * k + n, bands=1)
        write(root / f"labels/{split}/0.txt", "0 0.5 0.5 0.25 0.5\n2 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5\n")
