"""RSD46-WHU: ``train/<Class>/*.jpg`` and ``val/<Class>/*.jpg``; copies differ in how they spell some classes."""

from __future__ import annotations

from pathlib import Path

from support.fakes import class_folders


def make(root: Path) -> None:
    """Three of the 46 classes."""
    class_folders(root / "train", ["Airplane", "Oiltank", "Water"], "{name}_{i}", 3, ".jpg")
    class_folders(root / "val", ["Airplane", "Oil tank", "Water"], "{name}_{i}", 2, ".jpg")
