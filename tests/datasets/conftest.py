"""Small folders of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.pairs import make_ospretrain, make_scenes


@pytest.fixture
def ospretrain(tmp_path: Path) -> Path:
    """12 pairs (3 of them tests that stay out), 10 pairs more, 9 optical and 11 SAR images without a counterpart."""
    return make_ospretrain(tmp_path / "os", {"DDHR": 12, "EarthMiss": 10}, (9, 11))


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two scenes of 128 x 128 pixels in each modality."""
    return make_scenes(tmp_path / "scenes")
