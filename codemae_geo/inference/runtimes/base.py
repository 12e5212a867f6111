"""The seam: what a runtime is asked for, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from codemae_geo.errors import ModelError
from codemae_geo.weights.contract import ModelContract


class OutOfMemory(MemoryError):
    """A batch does not fit the device; a smaller one may."""


class Network(Protocol):
    """A network, loaded.

    Attributes:
        channels: channels of an answer.
        weight_bytes: memory of its weights.
    """

    channels: int
    weight_bytes: int

    def __call__(self, images: Sequence[NDArray[np.generic]], valid: Sequence[NDArray[np.bool_]]) -> Any:
        """Answers to N windows.

        Args:
            images: per input ``[N, bands, H, W]`` in the contract's unit.
            valid: per input ``[N, H, W]``; invalid pixels enter the network as the training mean.

        Returns:
            Float32 ``[N, channels, H, W]`` (``H / stride`` for features); of a detector, N tables of boxes.

        Raises:
            OutOfMemory: see there.
        """


@dataclass(frozen=True)
class Program:
    """What of a package is to be run.

    Args:
        kind: ``scores`` are class probabilities, and those of the localisation head where it gates; ``values`` are the
            network's numbers as they are; ``features`` are maps of a backbone's features; ``boxes`` are a detector's.
        sensor: for features, whose tokenizer the image goes through.
        stride: for features, pixels of a cell along either axis.
    """

    kind: Literal["scores", "values", "features", "boxes"]
    sensor: Literal["optical", "sar"] | None = None
    stride: int = 1

    @classmethod
    def of(cls, contract: ModelContract) -> Program:
        """What a model of the contract's task is run for."""
        kinds: dict[str, Program] = {
            "regression": cls("values"),
            "object-detection": cls("boxes"),
            "embedding": cls("features", contract.inputs[0].family, 16),
        }
        return kinds.get(contract.task, cls("scores"))

    def as_dict(self) -> dict[str, Any]:
        """Fields as JSON takes them."""
        return asdict(self)


@dataclass(frozen=True)
class Choice:
    """A runtime, a device and the precision of matrix products on it.

    Args:
        runtime: ``torch``, ``openvino`` or ``onnx``.
        device: ``cpu``, ``cuda`` or ``mps``.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        reason: why, for the log.
    """

    runtime: str
    device: str
    precision: str
    reason: str

    @property
    def default_batch(self) -> int:
        """Windows per call: a CPU gains nothing from batches."""
        return 1 if self.device == "cpu" else 8

    def describe(self) -> str:
        """One line such as ``cpu, bfloat16, openvino (AVX-512 BF16)``."""
        return f"{self.device}, {self.precision}, {self.runtime} ({self.reason})"


def narrowed(contract: ModelContract, program: Program) -> ModelContract:
    """The contract as a program sees it: features are made of one image, the first of their sensor, called ``image``.

    Raises:
        ModelError: the model has no input of the sensor.
    """
    if program.kind != "features":
        return contract
    found = [spec for spec in contract.inputs if spec.family == program.sensor]
    if not found:
        raise ModelError(
            f"the model {contract.name} does not take {program.sensor} scenes",
            expected=" or ".join(sorted({spec.family for spec in contract.inputs})),
        )
    return contract.model_copy(update={"inputs": [found[0].model_copy(update={"name": "image"})]})


def gates(contract: ModelContract) -> bool:
    """Whether the localisation head decides where the damage classes count, so that its scores are needed too."""
    return contract.task == "damage" and contract.localisation == "gate"


def score_channels(contract: ModelContract) -> int:
    """Channels of the scores: one per class or value, and two of the localisation head where that gates."""
    return len(contract.values or contract.classes) + (2 if gates(contract) else 0)
