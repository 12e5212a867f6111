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

    def forward(self, image: Tensor, valid: Tensor) -> Tensor:
        """One band broadcasts to all channels."""
        x = torch.addcmul(self.shift, image.float(), self.factor)
        return torch.where(valid.unsqueeze(1), x, 0.0)


class Windows(nn.Module):
    """Pixels and masks of every input in, answers out.

    Args:
        module: takes one ``[B, C, H, W]`` tensor per input; see :class:`Program` for what it returns.
        contract: says how pixels are normalised and logits are calibrated.
        program: what is asked of it.
        device: where autocast works, with ``precision`` other than float32.
        precision: of matrix products.
        watched: answers are looked at for NaN; a graph that is exported is not.
    """

    def __init__(
        self,
        module: nn.Module,
        contract: ModelContract,
        program: Program,
        device: str = "cpu",
        precision: torch.dtype = torch.float32,
        watched: bool = True,
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
        self.watched = watched
        if program.kind == "boxes" and watched:
            watch(module, depth=2)  # boxes whose scores are NaN are dropped: the answer would be that there is none
        self.channels = module.channels if isinstance(module, DenseFeatures) else score_channels(contract)

    def forward(self, *arrays: Tensor) -> Any:
        """``image, valid`` of each input, in turn."""
        images = [normalise(arrays[2 * i], arrays[2 * i + 1]) for i, normalise in enumerate(self.normalise)]
        with self._autocast():
            out = self.module(*images)
            if self.watched and has_nan(out):
                raise NotANumber(first_fault(self.module, lambda: self.module(*images)))
        if self.kind == "boxes":
            return out
        if self.kind != "scores":
            return out.float()
        localisation, logits = out if isinstance(out, tuple) else (None, out)
        probabilities = (logits.float() / self.temperature).softmax(1)
        if not self.gate:
            return probabilities
        if localisation is None:
            raise ModelError("the network has no localisation head, and the contract says that it gates")
        return torch.cat([probabilities, localisation.float().softmax(1)], 1)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._precision == torch.float32:
            return nullcontext()
        return torch.autocast(self._device, self._precision)
