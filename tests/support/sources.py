"""Generated copies of public datasets, see tests/data/<name>/make.py."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data"


def generate(root: Path, names: Iterable[str]) -> Path:
    """A folder ``root/<name>`` for each name."""
    for name in names:
        spec = importlib.util.spec_from_file_location(f"make_{name}", DATA / name / "make.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.make(root / name)
    return root
