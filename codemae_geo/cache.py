"""Where things are kept that can be made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """``$CODEMAE_CACHE``, else the place that the system has for caches of a user."""
    if asked := os.environ.get("CODEMAE_CACHE"):
        return Path(asked)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "codemae" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "codemae"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "codemae"
