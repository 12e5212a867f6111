"""OSPretrain-1M in small: two datasets in pairs, one with a held-out test, and unpaired images."""

from __future__ import annotations

from pathlib import Path

from support.fakes import SIZE, picture, write


def make(root: Path) -> None:
    """Six pairs of DDHR (two held out), four of EarthMiss, three optical and four SAR images of other places."""
    for name, splits in (("DDHR", {"train": 3, "val": 1, "test": 2}), ("EarthMiss", {"train": 4})):
        number = 0
        for split, count in splits.items():
            names = [f"{split}_{number + i}" for i in range(count)]
            for i, stem in enumerate(names):
                picture(root / name / "RGB" / f"{stem}.png", seed=number + i)
                picture(root / name / "SAR" / f"{stem}.png", seed=50 + number + i, bands=1)
            write(root / name / f"{split}.txt", "".join(f"{stem}\n" for stem in names))
            number += count
    for i in range(3):
        picture(root / "Unpaired/RGB" / f"scene_{i}.png", seed=100 + i)
    for i in range(4):
        picture(root / "Unpaired/SAR" / f"chip_{i}.png", seed=200 + i, bands=1, size=SIZE)
