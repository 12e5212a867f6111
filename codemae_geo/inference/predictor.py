"""From windows of pixels to class scores: batches that fit the device, the eight symmetries, decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from codemae_geo.errors import ModelError
from codemae_geo.inference.runtimes.base import Choice, Network, OutOfMemory, gates, score_channels
from codemae_geo.tasks import TASKS
from codemae_geo.weights.contract import ModelContract

#: the symmetries of the square: number of quarter turns, and whether columns are mirrored first
D4: tuple[tuple[int, bool], ...] = tuple((turns, mirror) for mirror in (False, True) for turns in range(4))


def apply_d4(x: NDArray[Any], turns: int, mirror: bool) -> NDArray[Any]:
    """Mirror the columns of ``[..., H, W]`` if asked, then turn it by ``turns`` quarter turns."""
    return np.ascontiguousarray(np.rot90(x[..., ::-1] if mirror else x, turns, (-2, -1)))


def undo_d4(x: NDArray[Any], turns: int, mirror: bool) -> NDArray[Any]:
    """The inverse of :func:`apply_d4`, the same for every dense head."""
    x = np.rot90(x, -turns, (-2, -1))
    return x[..., ::-1] if mirror else x


@dataclass(frozen=True)
class Decoded:
    """Answers for a strip of rows.

    Args:
        labels: ``[rows, columns]`` uint8 class values.
        confidence: ``[rows, columns]`` float32, 0 to 1: blended probability of the class given.
        probabilities: ``[classes, rows, columns]`` float32, summing to 1.
    """

    labels: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    probabilities: NDArray[np.float32]


Answer = TypeVar("Answer")


class WindowNetwork(ABC, Generic[Answer]):
    """A network that a runtime has loaded, fed with any number of windows in batches that fit the device.

    Args:
        network: see :class:`codemae_geo.inference.runtimes.Network`.
        contract: see :class:`codemae_geo.weights.ModelContract`.
        runtime: what runs it.
        batch_size: windows per call; None takes the device's default. On a CPU windows always run one by one: batches
            do not help there, and so the answers do not depend on the batch size.
    """

    def __init__(
        self, network: Network, contract: ModelContract, runtime: Choice, *, batch_size: int | None = None
    ) -> None:
        self.contract = contract
        self.runtime = runtime
        self.batch_size = 1 if runtime.device == "cpu" else (batch_size or runtime.default_batch)
        self.network = network

    @property
    def channels(self) -> int:
        """Channels of an answer."""
        return self.network.channels

    def __call__(self, images: Sequence[NDArray[np.generic]], valid: Sequence[NDArray[np.bool_]]) -> Iterator[Answer]:
        """Answers to a list of windows.

        Args:
            images: per input ``[N, bands, H, W]`` in the contract's unit.
            valid: per input ``[N, H, W]``; invalid pixels enter the network as the training mean.

        Yields:
            One answer for each of the N windows in order. When the device runs out of memory the batch is halved for
            good; a single window that does not fit raises :class:`OutOfMemory`.
        """
        count = images[0].shape[0]
        done = 0
        while done < count:
            step = min(self.batch_size, count - done)
            part = slice(done, done + step)
            try:
                answers = self._answer([x[part] for x in images], [v[part] for v in valid])
            except OutOfMemory:
                if step == 1:
                    raise
                self.batch_size = step // 2
                continue
            yield from answers
            done += step

    @abstractmethod
    def _answer(self, images: Sequence[NDArray[np.generic]], valid: Sequence[NDArray[np.bool_]]) -> Iterable[Answer]:
        """Answers to a batch of windows, as in :meth:`__call__`."""


class Predictor(WindowNetwork[NDArray[np.float32]]):
    """A network that makes maps: class scores ``[channels, H, W]`` of every window.

    Probabilities are what is blended and averaged: after the softmax every window votes with the same total weight.

    Args:
        network, runtime, batch_size: see :class:`WindowNetwork`; the program is ``scores``.
        contract: see :class:`codemae_geo.weights.ModelContract`; its task is damage, segmentation or regression (whose
            values are blended as they are).
        tta: average over the eight symmetries of the square.
    """

    def __init__(
        self,
        network: Network,
        contract: ModelContract,
        runtime: Choice,
        *,
        tta: bool = False,
        batch_size: int | None = None,
    ) -> None:
        if TASKS[contract.task].decoding not in ("classes", "values"):
            raise ModelError(
                f"the model {contract.name} does not make maps",
                found=f"task {contract.task}",
                expected="segmentation or regression",
            )
        super().__init__(network, contract, runtime, batch_size=batch_size)
        self.tta = tta
        self._classes = len(contract.classes)
        self._gate = gates(contract)

    @property
    def channels(self) -> int:
        """Channels of the scores: one per class or value, and two of the localisation head where that gates."""
        return score_channels(self.contract)

    def _answer(self, images: Sequence[NDArray[np.generic]], valid: Sequence[NDArray[np.bool_]]) -> NDArray[np.float32]:
        if not self.tta:
            return self.network(images, valid)
        total: NDArray[np.float32] | None = None
        for turns, mirror in D4:
            turned = self.network(
                [apply_d4(x, turns, mirror) for x in images], [apply_d4(v, turns, mirror) for v in valid]
            )
            turned = undo_d4(turned, turns, mirror)
            total = turned.copy() if total is None else np.add(total, turned, out=total)
        assert total is not None
        return total / np.float32(len(D4))

    def decode(self, scores: NDArray[np.float32]) -> Decoded:
        """Labels, confidence and class probabilities of blended scores ``[channels, rows, columns]``.

        With a gate (as in the published inference) a pixel has its damage class only where the localisation head sees a
        building; elsewhere it is class 0, with the localisation head's confidence.
        """
        classes = scores[: self._classes]
        labels, confidence = best_class(classes)
        if not self._gate:
            return Decoded(labels, np.clip(confidence, 0, 1), classes)
        background, building = scores[self._classes], scores[self._classes + 1]
        seen = building > background
        labels = np.where(seen, labels, 0).astype(np.uint8)
        confidence = np.where(seen, confidence, background)
        probabilities = np.where(seen, classes, 0)
        probabilities[0] = np.where(seen, probabilities[0], 1)
        return Decoded(labels, np.clip(confidence, 0, 1), probabilities)


def best_class(scores: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The first class of the largest score of ``[classes, rows, columns]``, and that score, class by class.

    NumPy's ``argmax`` over the first axis takes several times as long: it walks across the classes of every pixel.
    """
    best = scores[0].copy()
    labels = np.zeros(best.shape, np.uint8)
    better = np.empty(best.shape, bool)
    mark = better.view(np.uint8)
    for value in range(1, len(scores)):
        np.greater(scores[value], best, out=better)
        # without a branch for each pixel, which on noise takes six times as long; values only rise
        np.multiply(mark, np.uint8(value), out=mark)
        np.maximum(labels, mark, out=labels)
        np.maximum(best, scores[value], out=best)
    return labels, best
