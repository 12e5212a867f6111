"""WHU-RS19: ``WHU-RS19/<Class>/<class>_<nn>.jpg``."""

from __future__ import annotations

from pathlib import Path

from support.fakes import class_folders


def make(root: Path) -> None:
    """Three of the nineteen classes, five images each."""
    class_folders(root / "WHU-RS19", ["Airport", "footballField", "Viaduct"], "{cls}_{i:02d}", 5, ".jpg")
