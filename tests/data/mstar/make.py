"""MSTAR, standard operating conditions: ``MSTAR_SOC/{TRAIN,TEST}/<class>/<n>.jpeg``."""

from __future__ import annotations

from pathlib import Path

from support.fakes import class_folders

CLASSES = ("2S1", "BMP2", "ZSU234")


def make(root: Path) -> None:
    """Three of the ten classes, four chips at 17 degrees and two at 15 degrees each."""
    class_folders(root / "MSTAR_SOC" / "TRAIN", CLASSES, "{i:05d}", 4, ".jpeg", bands=1)
    class_folders(root / "MSTAR_SOC" / "TEST", CLASSES, "{i:05d}", 2, ".jpeg", bands=1)
