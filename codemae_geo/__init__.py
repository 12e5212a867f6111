"""codemae-geo: optical and SAR rasters to maps people act on.

The faces of the library are :func:`load_model`, :func:`map_damage`, :func:`predict`, :func:`predict_array`,
:func:`embed` and :func:`detect`.
They are imported on first use, so that ``import codemae_geo`` and its pure submodules need neither torch nor rasterio.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: whether ``import codemae_geo.models`` also registers the backbones with timm. Importing timm takes seconds; a program
#: that finds models by file or by our own names, as the command line does, says False before
register_with_timm = True

if TYPE_CHECKING:
    from codemae_geo.inference.array import predict_array
    from codemae_geo.inference.damage import map_damage
    from codemae_geo.inference.detect import detect
    from codemae_geo.inference.embed import embed
    from codemae_geo.inference.segment import predict
    from codemae_geo.weights import load_model

_LAZY = {
    "detect": "codemae_geo.inference.detect",
    "embed": "codemae_geo.inference.embed",
    "load_model": "codemae_geo.weights",
    "map_damage": "codemae_geo.inference.damage",
    "predict": "codemae_geo.inference.segment",
    "predict_array": "codemae_geo.inference.array",
}

__all__ = [
    "__version__",
    "detect",
    "embed",
    "load_model",
    "map_damage",
    "predict",
    "predict_array",
    "register_with_timm",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
