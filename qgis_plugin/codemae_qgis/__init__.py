"""CoDe-MAE in QGIS: damage maps from scenes before and after an event."""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:
    """Called by QGIS when it loads the plugin; ``iface`` is None in qgis_process."""
    from .plugin import CodemaePlugin

    return CodemaePlugin(iface)
