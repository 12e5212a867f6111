"""The contract of a model: what the network is, what it must be fed and what its answers mean.

It stands as JSON in the header of a package (safetensors) and in the metadata of an exported model (ONNX), and is read
here without any library that runs networks.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from codemae_geo import __version__
from codemae_geo.classes import ClassInfo, ClassTable
from codemae_geo.errors import ModelError
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
    #: what every run with the model warns of; empty for nothing
    caution: str = ""
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
class PackageFile:
    """A package or an exported model whose contract was read, and whose weights may be.

    Args:
        contract: the contract of the file.
        path: the file.
        sha256: hash of the whole file.
    """

    contract: ModelContract
    path: Path
    sha256: str


def open_package(path: str | Path) -> PackageFile:
    """Read a package's contract and hash; its weights are read by what runs it.

    Raises:
        ModelError: see :func:`read_contract`.
    """
    path = Path(path)
    return PackageFile(read_contract(path), path, file_sha256(path))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_contract(path: str | Path) -> ModelContract:
    """Read and check the contract of a package without loading its tensors.

    Raises:
        ModelError: the file is missing, a pickle, another format, cut short, or has no valid contract.
    """
    path = Path(path)
    text = read_metadata(path).get(HEADER_KEY)
    if text is None:
        raise ModelError(
            f"{path.name} is not a model package",
            found="a file of weights without a contract",
            expected=f"the metadata key {HEADER_KEY!r}",
            hint="make a package from it with `codemae models convert`",
        )
    try:
        return ModelContract.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(p) for p in first["loc"]) or "contract"
        raise ModelError(
            f"the contract of {path.name} is not valid", found=f"{field}: {first['msg']}", expected="contract format 1"
        ) from error


def read_metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a package or in the metadata of an exported model.

    Raises:
        ModelError: the file is missing, a pickle, another format, or cut short.
    """
    if path.suffix == ".onnx":
        return _onnx_metadata(path)
    return {str(k): str(v) for k, v in read_header(path).get("__metadata__", {}).items()}


def _onnx_metadata(path: Path) -> dict[str, str]:
    """``metadata_props`` (field 14 of the protobuf message ModelProto: pairs of texts), without reading the graph."""
    found: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            while file.tell() < size:
                tag = _varint(file)
                if tag & 7 == 0:
                    _varint(file)
                elif tag & 7 == 2:
                    length = _varint(file)
                    if length > size - file.tell():
                        raise ValueError("cut short")
                    if tag >> 3 == 14:
                        end = file.tell() + length
                        pair = {}
                        while file.tell() < end:
                            key = _varint(file) >> 3
                            pair[key] = file.read(_varint(file)).decode()
                        found[pair.get(1, "")] = pair.get(2, "")
                    else:
                        file.seek(length, 1)
                else:
                    raise ValueError("not a model")
    except FileNotFoundError:
        raise ModelError(
            f"there is no model file {path}", hint="`codemae models list` shows the models by name"
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path.name} cannot be read as an exported model", found=str(error), hint="export it again"
        ) from error
    return found


def _varint(file: BinaryIO) -> int:
    """The next number of a protobuf message: seven bits a byte, the least first."""
    value = shift = 0
    while True:
        byte = file.read(1)
        if not byte or shift > 63:
            raise ValueError("cut short")
        value |= (byte[0] & 127) << shift
        shift += 7
        if byte[0] < 128:
            return value


def read_header(path: Path) -> dict[str, Any]:
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
