"""LARS, the optimiser of large-batch linear probes (You et al., 2017), as MAE and its descendants use it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """Stochastic gradient descent whose rate in each matrix is scaled by ``trust * |w| / |gradient + decay * w|``.

    Neither decay nor scaling touches one-dimensional tensors (biases, norms).

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        weight_decay: added to the gradient times the weight.
        momentum: of the scaled steps.
        trust: trust coefficient.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust: float = 0.001,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; ``closure`` recomputes the loss if given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                update = p.grad
                if p.ndim > 1:
                    update = update.add(p, alpha=group["weight_decay"])
                    size, change = p.norm(), update.norm()
                    # on the device, without waiting for it: a weight or step of zero length is not scaled
                    usable = (size > 0) & (change > 0)
                    update = update * torch.where(usable, group["trust"] * size / change, torch.ones_like(size))
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].mul_(group["momentum"]).add_(update)
                p.add_(state["momentum"], alpha=-group["lr"])
        return loss
