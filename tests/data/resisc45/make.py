"""RESISC45: ``NWPU-RESISC45/<class>/<class>_<nnn>.jpg`` and lists ``resisc45-<split>.txt``."""

from __future__ import annotations

from pathlib import Path

from support.fakes import class_folders, write

CLASSES = ("airplane", "beach", "wetland")


def make(root: Path) -> None:
    """Three of the 45 classes, ten images each: six, two, two."""
    class_folders(root / "NWPU-RESISC45", CLASSES, "{name}_{i:03d}", 10, ".jpg")
    for split, numbers in (("train", range(1, 7)), ("val", (7, 8)), ("test", (9, 10))):
        write(root / f"resisc45-{split}.txt", "".join(f"{c}_{i:03d}.jpg\n" for c in CLASSES for i in numbers))
