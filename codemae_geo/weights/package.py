"""The model package: one ``.safetensors`` file whose header carries a JSON contract.

The contract says what the network is, what it must be fed and what its answers mean, so that the same file serves
Python, the command line, QGIS and export, and so that an input that does not fit is refused with the name of the field
that it breaks. Nothing is unpickled: safetensors holds tensors and text only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from codemae_geo import models
from codemae_geo.errors import ModelError, OutputError, param
from codemae_geo.outputs import Staging, umask
from codemae_geo.weights.contract import (
    HEADER_KEY,
    ArchitectureSpec,
    BuildingCalibration,
    ClassSpec,
    DataSource,
    InputSpec,
    Metric,
    ModelContract,
    PackageFile,
    class_specs,
    file_sha256,
    read_contract,
    read_header,
)

__all__ = [
    "ArchitectureSpec",
    "BuildingCalibration",
    "ClassSpec",
    "DataSource",
    "InputSpec",
    "Metric",
    "ModelContract",
    "ModelPackage",
    "class_specs",
    "file_sha256",
    "load_package",
    "load_strict",
    "read_contract",
    "save_package",
    "tensors_sha256",
]


@dataclass(frozen=True)
class ModelPackage(PackageFile):
    """A loaded package.

    Args:
        module: the network in eval mode, float32, on the CPU.
    """

    module: nn.Module


def tensors_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over the sorted names, dtypes, shapes and bytes of ``tensors``."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def save_package(
    path: str | Path, state: Mapping[str, torch.Tensor], contract: ModelContract, *, overwrite: bool = False
) -> Path:
    """Write a package; it appears complete or not at all.

    Args:
        path: destination, ending in ``.safetensors``.
        state: tensors by name, as ``module.state_dict()`` gives them; any floating dtype (16-bit storage is loaded to
            float32).
        contract: the contract; its ``tensors_sha256`` is filled in here.
        overwrite: replace an existing file.

    Raises:
        OutputError: the file exists and ``overwrite`` is not set, or it cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already", hint=f"choose another name, or add {param('overwrite')}")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    contract = contract.model_copy(update={"tensors_sha256": tensors_sha256(tensors)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Staging(path, overwrite=overwrite) as staging:
            part = staging.folder / path.name
            save_file(tensors, part, metadata={HEADER_KEY: contract.model_dump_json(), "format": "pt"})
            part.chmod(0o666 & ~umask())  # safetensors makes files that only their owner may read
            staging.publish(path.name)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"cannot write {path}: {error}") from error
    return path


def load_package(path: str | Path) -> ModelPackage:
    """Load a package: contract, network (eval mode, float32, CPU), hash.

    The network that the contract asks for is held to the tensors in the file before memory is taken for it.

    Raises:
        ModelError: see :func:`read_contract`; or the tensors do not fit the architecture that the contract names, hold
            NaN or infinity, or are not those that the contract was made for.
    """
    path = Path(path)
    contract = read_contract(path)
    _check_size(contract.architecture, read_header(path), path.name)
    state = _load_tensors(path)
    _check_tensors(state, contract, path.name)
    module = models.build(contract.architecture.name, contract.architecture.config)
    state = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    load_strict(module, state, path.name)
    return ModelPackage(contract, path, file_sha256(path), module.eval().requires_grad_(False))


#: no number in the configuration of an architecture is larger than this (widths and pixel sides are thousands)
_LARGEST_NUMBER = 100_000
#: a network may register this many times what it keeps while it is built (heads that are taken off again), and more
_SLACK, _SLACK_TENSORS, _SLACK_NUMBERS = 4, 1000, 10**8


def _check_size(architecture: ArchitectureSpec, header: Mapping[str, Any], name: str) -> None:
    """Hold a network to the tensors of a file: built without memory, and no further than they reach.

    Raises:
        ModelError: it asks for far more than there is, or for other tensors.
    """
    shapes = {key: _shape(entry, key, name) for key, entry in header.items() if key != "__metadata__"}
    tensors, numbers = len(shapes), sum(math.prod(shape) for shape in shapes.values())
    if (large := max(_numbers(architecture.config), default=0)) > _LARGEST_NUMBER:
        raise ModelError(
            f"the contract of {name} asks for a network that cannot be",
            found=f"the number {large:g} in the configuration of {architecture.name}",
            expected=f"numbers up to {_LARGEST_NUMBER:,}",
        )
    seen = [0, 0]

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        if parameter is None:
            return
        seen[0], seen[1] = seen[0] + 1, seen[1] + parameter.numel()
        if seen[0] > _SLACK * tensors + _SLACK_TENSORS or seen[1] > _SLACK * numbers + _SLACK_NUMBERS:
            raise ModelError(
                f"the contract of {name} asks for a far larger network than the file holds",
                found=f"{architecture.name} of {seen[0]:,} tensors, {seen[1]:,} numbers and more",
                expected=f"{tensors:,} tensors of {numbers:,} numbers",
                hint="check the architecture and its configuration, or fetch the file again",
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            module = models.build(architecture.name, architecture.config)
    except ModelError:
        raise
    except Exception as error:  # whatever comes of a configuration of other types than the architecture's
        raise ModelError(
            f"the contract of {name} asks for a network that cannot be built",
            found=f"{architecture.name}: {type(error).__name__}: {str(error)[:200]}",
            expected="a configuration that fits the architecture",
            hint="fetch or convert the file again",
        ) from error
    finally:
        handle.remove()
    _compare({key: list(tensor.shape) for key, tensor in module.state_dict().items()}, shapes, type(module), name)


def _shape(entry: Any, key: str, name: str) -> list[int]:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(side) is int and 0 <= side < 2**48 for side in shape):
        raise ModelError(
            f"{name} cannot be read", found=f"the shape {str(shape)[:60]} of {key[:60]}", hint="fetch the file again"
        )
    return shape


def _numbers(value: Any) -> Iterator[float]:
    """All numbers in JSON."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield abs(value)


def _check_tensors(state: Mapping[str, torch.Tensor], contract: ModelContract, name: str) -> None:
    """Refuse tensors that are not the contract's, or with which nothing can be computed.

    Raises:
        ModelError: names the first tensor with NaN or infinity, or both hashes.
    """
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"the weights of {name} hold NaN or infinity",
                found=f"in {key}",
                expected="finite numbers",
                hint="train or convert it again, or fetch another version",
            )
    found = tensors_sha256(state)
    if found != contract.tensors_sha256:
        raise ModelError(
            f"the tensors of {name} are not those that its contract was made for",
            found=f"hash {found}",
            expected=contract.tensors_sha256 or "the hash of its tensors in the contract",
            hint="fetch or convert the file again",
        )


def load_strict(module: nn.Module, state: Mapping[str, torch.Tensor], name: str) -> None:
    """Load ``state`` into ``module``; every key and shape must agree.

    Raises:
        ModelError: names the first keys that differ.
    """
    own = {key: list(tensor.shape) for key, tensor in module.state_dict().items()}
    _compare(own, {key: list(tensor.shape) for key, tensor in state.items()}, type(module), name)
    module.load_state_dict(dict(state), strict=True)


def _compare(own: Mapping[str, list[int]], given: Mapping[str, list[int]], kind: type, name: str) -> None:
    """Refuse shapes by name that are not a network's own."""
    wrong = [f"missing {k}" for k in own if k not in given] + [f"unknown {k}" for k in given if k not in own]
    wrong += [f"{k}: {given[k]} for {own[k]}" for k in own if k in given and given[k] != own[k]]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise ModelError(
            f"the tensors of {name} do not fit the architecture",
            found="; ".join(wrong[:4]) + more,
            expected=f"the {len(own)} entries of {kind.__name__}",
            hint="check the architecture and its configuration",
        )


def _load_tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}", hint="fetch or copy the file again") from error
