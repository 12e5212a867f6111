"""UC Merced: ``UCMerced_LandUse/Images/<class>/<class><nn>.tif`` and lists ``uc_merced-<split>.txt``."""

from __future__ import annotations

from pathlib import Path

from support.fakes import class_folders, write

CLASSES = ("agricultural", "airplane", "tenniscourt")


def make(root: Path) -> None:
    """Three of the 21 classes, five images each: three, one, one."""
    class_folders(root / "UCMerced_LandUse" / "Images", CLASSES, "{name}{i:02d}", 5, ".tif")
    for split, numbers in (("train", (1, 2, 3)), ("val", (4,)), ("test", (5,))):
        write(root / f"uc_merced-{split}.txt", "".join(f"{c}{i:02d}.tif\n" for c in CLASSES for i in numbers))
