"""FUSAR-Ship in the form of the few-shot protocol: ``New_FUSAR/{Train,Val}/<Class>/*.png``."""

from __future__ import annotations

from pathlib import Path

from support.fakes import class_folders

CLASSES = ("Bridges", "Cargo", "Tanker")


def make(root: Path) -> None:
    """Three of the ten classes, four and two chips each."""
    class_folders(root / "New_FUSAR" / "Train", CLASSES, "{name}_{i:04d}", 4, ".png", bands=1)
    class_folders(root / "New_FUSAR" / "Val", CLASSES, "{name}_{i:04d}", 2, ".png", bands=1)
