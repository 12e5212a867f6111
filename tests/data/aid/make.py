"""AID: ``AID/<Class>/<class>_<n>.jpg``."""

from __future__ import annotations

from pathlib import Path

from support.fakes import class_folders


def make(root: Path) -> None:
    """Three of the thirty classes, five images each."""
    class_folders(root / "AID", ["Airport", "BareLand", "Viaduct"], "{name}_{i}", 5, ".jpg")
