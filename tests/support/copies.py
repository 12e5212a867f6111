"""Generated copies of public datasets, see ``tests/data/<name>/make.py``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parents[1] / "data"


def make(name: str, root: Path, **options: Any) -> Path:
    """Write the copy of a dataset below ``root``; gives ``root``."""
    spec = importlib.util.spec_from_file_location(f"make_{name}", DATA / name / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make(root, **options)
    return root
