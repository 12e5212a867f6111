"""Model packages: weights with a contract, the registry of known ones, and conversion of published checkpoints.

What needs torch is imported on first use; contracts are read without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from codemae_geo.weights.contract import (
    ArchitectureSpec,
    ClassSpec,
    DataSource,
    InputSpec,
    Metric,
    ModelContract,
    PackageFile,
    class_specs,
    open_package,
    read_contract,
)
from codemae_geo.weights.registry import known_models, load_model, models_for, resolve

if TYPE_CHECKING:
    from codemae_geo.weights.package import ModelPackage, load_package, save_package

__all__ = [
    "ArchitectureSpec",
    "ClassSpec",
    "DataSource",
    "InputSpec",
    "Metric",
    "ModelContract",
    "ModelPackage",
    "PackageFile",
    "class_specs",
    "known_models",
    "load_model",
    "load_package",
    "models_for",
    "open_package",
    "read_contract",
    "resolve",
    "save_package",
]

_LAZY = {"ModelPackage", "load_package", "save_package"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module("codemae_geo.weights.package"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
