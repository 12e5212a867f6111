"""The model package: one ``.safetensors`` file whose header carries a JSON contract.

The contract says what the network is, what it must be fed and what its answers mean, so that the same file serves
Python, the command line, QGIS and export, and so that an input that does not fit is refused with the name of the field
that it breaks. Nothing is unpickled: safetensors holds tensors and text only.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from codemae_geo import __version__, models
from codemae_geo.classes import ClassInfo, ClassTable
from codemae_geo.errors import ModelError, OutputError, param
from codemae_geo.outputs import Staging, umask
from codemae_geo.tasks import TASKS, TaskName

#: key of the safetensors header under which the contract stands
HEADER_KEY = "codemae"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ArchitectureSpec(_Frozen):
    """What :func:`codemae_geo.models.build` is called with."""

    name: str
    config: dict[str, Any] = Field(default_factory=dict)


class InputSpec(_Frozen):
    """One image that the network takes.

    The engine converts a scene to ``unit``, multiplies by ``scale``, subtracts ``mean`` and divides by ``std``. One
    band with several means is repeated to that many channels (a SAR image in three channels, as CoDe-MAE does).
    """

    name: str
    family: Literal["optical", "sar"]
    bands: list[str] = Field(min_length=1)
    unit: Literal["uint8", "dn", "reflectance", "db", "power", "amplitude"]
    scale: float = 1.0
    mean: list[float] = Field(min_length=1)
    std: list[float] = Field(min_length=1)
    #: ground sample distances seen in training, metres per pixel, (finest, coarsest)
    gsd: tuple[float, float] | None = None

    @property
    def channels(self) -> int:
        """Channels that the network sees."""
        return len(self.mean)

    @model_validator(mode="after")
    def _check(self) -> InputSpec:
        if len(self.std) != len(self.mean):
            raise ValueError(f"mean has {len(self.mean)} values, std has {len(self.std)}")
        if min(self.std) <= 0:
            raise ValueError("std must be above 0")
        if len(self.bands) not in (1, self.channels):
            raise ValueError(f"{len(self.bands)} bands do not fill {self.channels} channels")
        if self.gsd and not 0 < self.gsd[0] <= self.gsd[1]:
            raise ValueError("gsd is (finest, coarsest) in metres")
        return self


class ClassSpec(_Frozen):
    """One class of the answer, see :class:`codemae_geo.classes.ClassInfo`."""

    value: int
    name: str
    color: str
    background: bool = False


class DataSource(_Frozen):
    """Data that a model was trained on, with its licence and the attribution that it asks for."""

    name: str
    licence: str
    attribution: str = ""


class Metric(_Frozen):
    """One measured figure and the split it was measured on."""

    name: str
    value: float
    split: str


class BuildingCalibration(_Frozen):
    """How likely the class of a whole building is right: a logistic of the class's share of its building evidence.

    See :func:`codemae_geo.vector.buildings.class_confidence`.
    """

    slope: float = Field(ge=0)
    intercept: float
    #: what it was fitted on: buildings left out of training
    split: str


class ModelContract(_Frozen):
    """Everything that a user of the weights must know, see the module's docstring."""

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: str = "1"
    description: str
    task: TaskName
    architecture: ArchitectureSpec
    inputs: list[InputSpec] = Field(min_length=1)
    classes: list[ClassSpec] = Field(default_factory=list)
    #: names of the bands that a regression answers, with their unit
    values: list[str] = Field(default_factory=list)
    #: side of the square window in pixels, and the share of it that neighbours overlap
    window: int = Field(512, ge=32, le=8192)
    overlap: float = Field(0.5, ge=0, lt=1)
    #: "ignore": the damage head decides alone; "gate": its class counts where the localisation head sees a building
    localisation: Literal["ignore", "gate"] = "ignore"
    #: precision in which the published metrics were measured
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    #: temperature that logits are divided by, fitted on held-out data (1: not calibrated)
    temperature: float = Field(1.0, gt=0)
    #: of the confidence of whole buildings; None gives the mean of their pixels
    building_calibration: BuildingCalibration | None = None
    #: detections below it are not reported, unless a user says otherwise
    score_threshold: float = Field(default=0.5, ge=0, le=1)
    licence: str
    training_data: list[DataSource] = Field(default_factory=list)
    training: str = ""
    metrics: list[Metric] = Field(default_factory=list)
    #: what the model cannot do, in plain words
    limits: str = ""
    #: SHA-256 over names, dtypes, shapes and bytes of all tensors, filled in by :func:`save_package`
    tensors_sha256: str = ""
    created_with: str = f"codemae-geo {__version__}"

    @field_validator("inputs")
    @classmethod
    def _names(cls, inputs: list[InputSpec]) -> list[InputSpec]:
        if len({i.name for i in inputs}) != len(inputs):
            raise ValueError("input names must differ")
        return inputs

    @model_validator(mode="after")
    def _fits_task(self) -> ModelContract:
        task = TASKS[self.task]
        if task.inputs and tuple(i.name for i in self.inputs) != task.inputs:
            named = " and ".join(repr(name) for name in task.inputs)
            raise ValueError(f"a {task.name} model takes the inputs {named}, in this order")
        if len(self.classes) < task.min_classes or (not task.background and any(c.background for c in self.classes)):
            least = {1: "one class", 2: "two classes"}[task.min_classes or 1]
            without = "" if task.background else ", and no background among them"
            raise ValueError(f"task {task.name} needs at least {least}{without}")
        if task.input_count and len(self.inputs) != task.input_count:
            raise ValueError(f"task {task.name} takes {task.input_count} input{'s' * (task.input_count > 1)}")
        if bool(self.values) != (task.decoding == "values"):
            raise ValueError(f"task {task.name} {'takes no' if self.values else 'needs the names of its'} values")
        if [c.value for c in self.classes] != list(range(len(self.classes))):
            raise ValueError("class values must run 0, 1, 2, ... without gaps")
        _ = self.class_table
        return self

    @property
    def class_table(self) -> ClassTable:
        """The classes as the table that rasters, polygons and styles are made from."""
        return ClassTable([ClassInfo(c.value, c.name, c.color, c.background) for c in self.classes])


def class_specs(table: Sequence[ClassInfo]) -> list[ClassSpec]:
    """A class table in the contract's form."""
    return [ClassSpec(value=c.value, name=c.name, color=c.color, background=c.background) for c in table]


@dataclass(frozen=True)
class ModelPackage:
    """A loaded package.

    Args:
        contract: the contract of the file.
        module: the network in eval mode, float32, on the CPU.
        path: the file.
        sha256: hash of the whole file.
    """

    contract: ModelContract
    module: nn.Module
    path: Path
    sha256: str


def tensors_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over the sorted names, dtypes, shapes and bytes of ``tensors``."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def read_contract(path: str | Path) -> ModelContract:
    """Read and check the contract of a package without loading its tensors.

    Raises:
        ModelError: the file is missing, a pickle, another format, cut short, or has no valid contract.
    """
    path = Path(path)
    header = _read_header(path)
    text = header.get("__metadata__", {}).get(HEADER_KEY)
    if text is None:
        raise ModelError(
            f"{path.name} is not a model package",
            found="a safetensors file without a contract",
            expected=f"the header key {HEADER_KEY!r}",
            hint="make a package of it with `codemae models convert`",
        )
    try:
        return ModelContract.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(p) for p in first["loc"]) or "contract"
        raise ModelError(
            f"the contract of {path.name} is not valid", found=f"{field}: {first['msg']}", expected="contract format 1"
        ) from error


def load_package(path: str | Path) -> ModelPackage:
    """Load a package: contract, network (eval mode, float32, CPU), hash.

    The network that the contract asks for is held to the tensors in the file before memory is taken for it.

    Raises:
        ModelError: see :func:`read_contract`; or the tensors do not fit the architecture that the contract names, hold
            NaN or infinity, or are not those that the contract was made for.
    """
    path = Path(path)
    contract = read_contract(path)
    _check_size(contract.architecture, _read_header(path), path.name)
    state = _load_tensors(path)
    _check_tensors(state, contract, path.name)
    module = models.build(contract.architecture.name, contract.architecture.config)
    state = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    load_strict(module, state, path.name)
    return ModelPackage(contract, module.eval().requires_grad_(False), path, file_sha256(path))


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


def _read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file: 8 bytes little-endian length, then that many bytes of JSON."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            if 2 <= length <= size - 8:
                header = json.loads(file.read(length))
                if isinstance(header, dict):
                    return header
    except FileNotFoundError:
        raise ModelError(
            f"there is no model file {path}", hint="codemae models list shows the models by name"
        ) from None
    except IsADirectoryError:
        raise ModelError(f"{path} is a folder, not a model file") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        pass
    kind = "a pickled checkpoint" if head[:2] in (b"PK", b"\x80\x02", b"\x80\x04", b"\x80\x05") else "another format"
    if kind == "another format" and b"__metadata__" in head + path.open("rb").read(64):
        kind = "a safetensors file that is cut short"
    raise ModelError(
        f"{path.name} is not a model package",
        found=kind,
        expected="a .safetensors file with a contract",
        hint="published checkpoints come in through `codemae models convert`",
    )
