"""The runtime with torch: any device, any package, training's own code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from codemae_geo.inference.memory import keep_blocks
from codemae_geo.inference.runtimes.base import Choice, OutOfMemory, Program
from codemae_geo.inference.runtimes.program import LARGE, Windows
from codemae_geo.weights.contract import ModelContract


class TorchNetwork:
    """See :class:`codemae_geo.inference.runtimes.Network`."""

    def __init__(self, module: nn.Module, contract: ModelContract, program: Program, choice: Choice) -> None:
        precision = getattr(torch, choice.precision)
        self._device = torch.device(choice.device)
        self._windows = Windows(module, contract, program, choice.device, precision).to(self._device).eval()
        self.channels = self._windows.channels
        self.weight_bytes = sum(p.numel() * p.element_size() for p in self._windows.parameters())
        answer = self.channels * contract.window**2 * 4
        if choice.device == "cpu" and answer > LARGE:
            keep_blocks(answer + answer // 4)

    @torch.inference_mode()
    def __call__(self, images: Sequence[NDArray[np.generic]], valid: Sequence[NDArray[np.bool_]]) -> Any:
        """See :class:`codemae_geo.inference.runtimes.Network`."""
        arrays = [torch.from_numpy(a).to(self._device) for pair in zip(images, valid, strict=True) for a in pair]
        try:
            out = self._windows(*arrays)
        except torch.cuda.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise OutOfMemory(str(error)) from error
        if isinstance(out, torch.Tensor):
            return out.cpu().numpy()
        return [{name: value.float().cpu().numpy() for name, value in found.items()} for found in out]
