"""Model packages: weights with a contract, the registry of known ones, and conversion of published checkpoints."""

from codemae_geo.weights.package import (
    ArchitectureSpec,
    ClassSpec,
    DataSource,
    InputSpec,
    Metric,
    ModelContract,
    ModelPackage,
    class_specs,
    load_package,
    read_contract,
    save_package,
)
from codemae_geo.weights.registry import known_models, load_model, resolve

__all__ = [
    "ArchitectureSpec",
    "ClassSpec",
    "DataSource",
    "InputSpec",
    "Metric",
    "ModelContract",
    "ModelPackage",
    "class_specs",
    "known_models",
    "load_model",
    "load_package",
    "read_contract",
    "resolve",
    "save_package",
]
