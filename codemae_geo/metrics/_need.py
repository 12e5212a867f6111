"""torchmetrics comes with the extra ``train``; whoever lacks it is told so in one sentence."""

from __future__ import annotations

from types import ModuleType

from codemae_geo.errors import ModelError


def torchmetrics() -> ModuleType:
    """The module.

    Raises:
        ModelError: it is not installed.
    """
    try:
        import torchmetrics as module
    except ImportError as error:
        raise ModelError(
            "metrics need torchmetrics, which is not installed", hint="pip install 'codemae-geo[train]'"
        ) from error
    return module
