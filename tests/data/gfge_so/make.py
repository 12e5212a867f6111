"""GFGE-SO as in OSPretrain-1M: ``GFGE_SOdataset/{RGB,SAR}/<name>.png`` with lists."""

from __future__ import annotations

from pathlib import Path

from support.fakes import picture, write


def make(root: Path) -> None:
    """Two pairs per split; one list has suffixes."""
    home = root / "GFGE_SOdataset"
    for k, split in enumerate(("train", "val", "test")):
        names = [f"{split}_{n}" for n in range(2)]
        for n, name in enumerate(names):
            picture(home / f"RGB/{name}.png", seed=10 * k + n)
            picture(home / f"SAR/{name}.png", seed=50 + 10 * k + n, bands=1)
        write(home / f"{split}.txt", "".join(f"{name}.png\n" if split == "val" else f"{name}\n" for name in names))
