"""SAR-ACD: ``SAR_ACD/images/<Aircraft>/<n>.jpg``."""

from __future__ import annotations

from pathlib import Path

from support.fakes import class_folders


def make(root: Path) -> None:
    """Three of the aircraft, ten chips each."""
    class_folders(root / "SAR_ACD" / "images", ("A220", "ARJ21", "Boeing787"), "{i:03d}", 10, ".jpg", bands=1)
