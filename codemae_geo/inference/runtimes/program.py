"""A package as one torch module from pixels to answers: what torch runs, and what is exported for the others."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.inference.finite import NotANumber, first_fault, has_nan, watch
from codemae_geo.inference.runtimes.base import Program, gates, score_channels
from codemae_geo.models.encoder import Encoder, Sensor, find_encoder
from codemae_geo.weights.contract import ModelContract

#: bytes of an array from which on the system gives memory anew, page by page, for each
LARGE = 2**25
#: rows of a band; a multiple of 16, so that the processor's vectors fall as in the whole
_BAND = 16


class DenseFeatures(nn.Module):
    """An encoder as a map of features.

    Args:
        encoder: of any package.
        sensor: of the image.
        stride: of the map, see :class:`codemae_geo.models.encoder.Encoder`.
    """

    def __init__(self, encoder: Encoder, sensor: Sensor, stride: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.sensor: Sensor = sensor
        self.stride = stride

    @property
    def channels(self) -> int:
        """Length of a feature vector."""
        return self.encoder.width(self.stride)

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` with sides that the stride divides -> ``[B, channels, H / stride, W / stride]``."""
        return self.encoder.dense(image, self.sensor, self.stride)


class Normalise(nn.Module):
    """``(value * scale - mean) / std`` of valid pixels, 0 of the others: [N, bands, H, W] -> [N, channels, H, W]."""

    factor: Tensor
    shift: Tensor

    def __init__(self, scale: float, mean: list[float], std: list[float]) -> None:
        super().__init__()
        deviation = torch.tensor(std).view(1, -1, 1, 1)
        self.register_buffer("factor", scale / deviation, persistent=False)
        self.register_buffer("shift", -torch.tensor(mean).view(1, -1, 1, 1) / deviation, persistent=False)

    def forward(self, image: Tensor, valid: Tensor | None) -> Tensor:
        """One band broadcasts to all channels; without a mask every pixel is valid."""
        x = torch.addcmul(self.shift, image.float(), self.factor)
        return x if valid is None else torch.where(valid.unsqueeze(1), x, 0.0)


class Windows(nn.Module):
    """Pixels and masks of every input in, answers out.

    Args:
        module: takes one ``[B, C, H, W]`` tensor per input; see :class:`Program` for what it returns.
        contract: says how pixels are normalised and logits are calibrated.
        program: what is asked of it.
        device: where autocast works, with ``precision`` other than float32.
        precision: of matrix products.
        eager: runs as it stands, so that numbers may be looked at: masks for holes, answers for NaN; a graph that is
            exported cannot.
    """

    def __init__(
        self,
        module: nn.Module,
        contract: ModelContract,
        program: Program,
        device: str = "cpu",
        precision: torch.dtype = torch.float32,
        eager: bool = True,
    ) -> None:
        super().__init__()
        if program.kind == "features" and not isinstance(module, DenseFeatures):
            encoder = find_encoder(module)
            if encoder is None or program.sensor is None:
                raise ModelError(f"the model {contract.name} has no backbone to take features from")
            module = DenseFeatures(encoder, program.sensor, program.stride)
        self.module = module
        self.normalise = nn.ModuleList(Normalise(s.scale, s.mean, s.std) for s in contract.inputs)
        self.kind = program.kind
        self.gate = gates(contract)
        self.temperature = contract.temperature
        self._device, self._precision = device, precision
        self.eager = eager
        if program.kind == "boxes" and eager:
            watch(module, depth=2)  # boxes whose scores are NaN are dropped: the answer would be that there is none
        self.channels = module.channels if isinstance(module, DenseFeatures) else score_channels(contract)

    def forward(self, *arrays: Tensor) -> Any:
        """``image, valid`` of each input, in turn."""
        masks: list[Tensor | None] = list(arrays[1::2])
        if self.eager and self._device == "cpu":  # a GPU would be waited for
            masks = [None if bool(valid.all()) else valid for valid in arrays[1::2]]
        images = [normalise(*pair) for normalise, *pair in zip(self.normalise, arrays[::2], masks, strict=True)]
        with self._autocast():
            out = self.module(*images)
            if self.eager and has_nan(out):
                raise NotANumber(first_fault(self.module, lambda: self.module(*images)))
        if self.kind == "boxes":
            return out
        if self.kind != "scores":
            return out.float()
        localisation, logits = out if isinstance(out, tuple) else (None, out)
        if not self.gate:
            return self._calibrated(logits.float())
        if localisation is None:
            raise ModelError("the network has no localisation head, and the contract says that it gates")
        building = localisation.float().softmax(1)
        return torch.cat([self._calibrated(logits.float()), building], 1)

    def _calibrated(self, logits: Tensor) -> Tensor:
        """Probabilities ``[N, classes, H, W]``; of many classes on a CPU in place of the logits.

        These go through the processor's caches in bands of rows: the same numbers, without a second array of that size.
        """
        if not (self.eager and self._device == "cpu" and logits.numel() * logits.element_size() > LARGE):
            return self._softmax(logits)
        for row in range(0, logits.shape[2], _BAND):
            band = logits[:, :, row : row + _BAND]
            band.copy_(self._softmax(band))
        return logits

    def _softmax(self, logits: Tensor) -> Tensor:
        return (logits if self.temperature == 1 else logits / self.temperature).softmax(1)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._precision == torch.float32:
            return nullcontext()
        return torch.autocast(self._device, self._precision)
