from __future__ import annotations

import sys
from pathlib import Path

import pytest

PLUGIN_ROOT = Path(__file__).resolve().parents[2] / "qgis_plugin"
sys.path.insert(0, str(PLUGIN_ROOT))


@pytest.fixture(scope="session")
def plugin_root() -> Path:
    """The folder that holds the plugin's package and its tools."""
    return PLUGIN_ROOT


@pytest.fixture
def clean_lookup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No runtime anywhere: no variable, an empty home, an empty PATH."""
    monkeypatch.delenv("CODEMAE_GEO_PYTHON", raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return home
