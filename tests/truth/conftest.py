"""The ruler is known as an architecture while these tests run."""

from __future__ import annotations

from pathlib import Path

import pytest

from codemae_geo import models
from truth.ruler import Ruler


@pytest.fixture(autouse=True)
def _ruler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.ARCHITECTURES, "ruler", Ruler)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder of this test's own."""
    return tmp_path
