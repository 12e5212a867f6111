"""From windows of pixels to class scores: normalise, run the network, average the eight symmetries, decode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.inference.device import Runtime
from codemae_geo.inference.finite import NotANumber, first_fault, has_nan
from codemae_geo.tasks import TASKS
from codemae_geo.weights.package import InputSpec, ModelContract

#: the symmetries of the square: number of quarter turns, and whether columns are mirrored first
D4: tuple[tuple[int, bool], ...] = tuple((turns, mirror) for mirror in (False, True) for turns in range(4))


def apply_d4(x: Tensor, turns: int, mirror: bool) -> Tensor:
    """Mirror the columns of ``[..., H, W]`` if asked, then turn it by ``turns`` quarter turns."""
    return torch.rot90(x.flip(-1) if mirror else x, turns, (-2, -1))


def undo_d4(x: Tensor, turns: int, mirror: bool) -> Tensor:
    """The inverse of :func:`apply_d4`, the same for every dense head."""
    x = torch.rot90(x, -turns, (-2, -1))
    return x.flip(-1) if mirror else x


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
    """A network with its contract, ready to be fed windows: normalisation, and batches that fit the device.

    Args:
        module: takes one ``[B, C, H, W]`` tensor per input of the contract.
        contract: see :class:`codemae_geo.weights.ModelContract`.
        runtime: device and precision.
        batch_size: windows per call; None takes the device's default. On a CPU windows always run one by one: batches
            do not help there, and so the answers do not depend on the batch size.
    """

    def __init__(
        self, module: nn.Module, contract: ModelContract, runtime: Runtime, *, batch_size: int | None = None
    ) -> None:
        self.contract = contract
        self.runtime = runtime
        self.batch_size = 1 if runtime.device.type == "cpu" else (batch_size or runtime.default_batch)
        self._module = module.to(runtime.device).eval()
        self._normalise = [_normaliser(spec, runtime.device) for spec in contract.inputs]

    def parameters(self) -> Iterator[Tensor]:
        """The network's weights."""
        return self._module.parameters()

    def __call__(self, images: Sequence[NDArray[np.generic]], valid: Sequence[NDArray[np.bool_]]) -> Iterator[Answer]:
        """Answers to a list of windows.

        Args:
            images: per input ``[N, bands, H, W]`` in the contract's unit.
            valid: per input ``[N, H, W]``; invalid pixels enter the network as the training mean.

        Yields:
            One answer for each of the N windows in order. When the device runs out of memory the batch is halved for
            good; a single window that does not fit raises torch's error.
        """
        count = images[0].shape[0]
        done = 0
        while done < count:
            step = min(self.batch_size, count - done)
            part = slice(done, done + step)
            try:
                answers = self._forward([x[part] for x in images], [v[part] for v in valid])
            except torch.cuda.OutOfMemoryError:
                if step == 1:
                    raise
                self.batch_size = step // 2
                torch.cuda.empty_cache()
                continue
            yield from answers
            done += step

    @torch.inference_mode()
    def _forward(self, images: Sequence[NDArray[np.generic]], valid: Sequence[NDArray[np.bool_]]) -> Iterable[Answer]:
        device = self.runtime.device
        tensors = [
            normalise(torch.from_numpy(image).to(device), torch.from_numpy(mask).to(device))
            for normalise, image, mask in zip(self._normalise, images, valid, strict=True)
        ]
        return self._answer(tensors)

    def _run(self, tensors: Sequence[Tensor]) -> Any:
        """What the module says, in the runtime's precision."""
        precision = self.runtime.precision
        with torch.autocast(self.runtime.device.type, precision, enabled=precision != torch.float32):
            out = self._module(*tensors)
            if has_nan(out):
                raise NotANumber(first_fault(self._module, lambda: self._module(*tensors)))
        return out

    @abstractmethod
    def _answer(self, tensors: Sequence[Tensor]) -> Iterable[Answer]:
        """Answers to normalised windows, per input ``[B, C, H, W]``."""


class Predictor(WindowNetwork[NDArray[np.float32]]):
    """A network that makes maps: class scores ``[channels, H, W]`` of every window.

    Probabilities are what is blended and averaged: after the softmax every window votes with the same total weight.

    Args:
        module: takes one ``[B, C, H, W]`` tensor per input of the contract; returns class logits ``[B, K, H, W]``, or
            for the task damage ``(localisation logits [B, 2, H, W], damage logits [B, K, H, W])``.
        contract: see :class:`codemae_geo.weights.ModelContract`; its task is damage, segmentation or regression (whose
            values are blended as they are).
        runtime: device and precision.
        tta: average over the eight symmetries of the square.
        batch_size: see :class:`WindowNetwork`.
    """

    def __init__(
        self,
        module: nn.Module,
        contract: ModelContract,
        runtime: Runtime,
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
        super().__init__(module, contract, runtime, batch_size=batch_size)
        self.tta = tta
        self._values = TASKS[contract.task].decoding == "values"
        self._classes = len(contract.values if self._values else contract.classes)
        self._gate = contract.task == "damage" and contract.localisation == "gate"

    @property
    def channels(self) -> int:
        """Channels of the scores: one per class or value, and two of the localisation head where that gates."""
        return self._classes + (2 if self._gate else 0)

    def _answer(self, tensors: Sequence[Tensor]) -> NDArray[np.float32]:
        if not self.tta:
            return self._scores(tensors).cpu().numpy()
        total: Tensor | None = None
        for turns, mirror in D4:
            turned = self._scores([apply_d4(t, turns, mirror).contiguous() for t in tensors])
            turned = undo_d4(turned, turns, mirror)
            total = turned.clone() if total is None else total.add_(turned)
        assert total is not None
        return (total / len(D4)).cpu().numpy()

    def _scores(self, tensors: Sequence[Tensor]) -> Tensor:
        out = self._run(tensors)
        localisation, logits = out if isinstance(out, tuple) else (None, out)
        if self._values:
            return logits.float()
        probabilities = (logits.float() / self.contract.temperature).softmax(1)
        if not self._gate:
            return probabilities
        assert localisation is not None
        return torch.cat([probabilities, localisation.float().softmax(1)], 1)

    def decode(self, scores: NDArray[np.float32]) -> Decoded:
        """Labels, confidence and class probabilities of blended scores ``[channels, rows, columns]``.

        With a gate (as in the published inference) a pixel has its damage class only where the localisation head sees a
        building; elsewhere it is class 0, with the localisation head's confidence.
        """
        classes = scores[: self._classes]
        best = torch.from_numpy(classes).max(0)
        labels = best.indices.numpy().astype(np.uint8)
        confidence = best.values.numpy()
        if not self._gate:
            return Decoded(labels, np.clip(confidence, 0, 1), classes)
        background, building = scores[self._classes], scores[self._classes + 1]
        seen = building > background
        labels = np.where(seen, labels, 0).astype(np.uint8)
        confidence = np.where(seen, confidence, background)
        probabilities = np.where(seen, classes, 0)
        probabilities[0] = np.where(seen, probabilities[0], 1)
        return Decoded(labels, np.clip(confidence, 0, 1), probabilities)


def _normaliser(spec: InputSpec, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    std = torch.tensor(spec.std, device=device).view(1, -1, 1, 1)
    factor = spec.scale / std
    shift = -torch.tensor(spec.mean, device=device).view(1, -1, 1, 1) / std

    def normalise(image: Tensor, valid: Tensor) -> Tensor:
        # (value * scale - mean) / std in one pass; [N, bands, H, W] -> [N, channels, H, W], one band broadcasts
        x = torch.addcmul(shift, image.float(), factor)
        return x if valid.all() else torch.where(valid.unsqueeze(1), x, 0.0)

    return normalise
