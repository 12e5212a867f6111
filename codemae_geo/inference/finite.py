"""A network that answers NaN is refused, with the place in it and the place on the grid where that began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from codemae_geo.errors import ModelError, param
from codemae_geo.tiling import TilePlan


class NotANumber(ArithmeticError):
    """A part of a network gave NaN; the message names the part."""


def watch(module: nn.Module) -> None:
    """Have the parts of a network (its direct children) raise :class:`NotANumber` when they give NaN.

    A later part may hide it: a detector drops boxes whose scores are NaN and finds nothing.
    """
    for name, child in module.named_children():

        def check(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
            refuse_nan(output, name)

        child.register_forward_hook(check)


def refuse_nan(values: Any, name: str) -> None:
    """Raise :class:`NotANumber` when tensors, in any nesting of lists and dictionaries, hold NaN."""
    for tensor in _tensors(values):
        if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
            raise NotANumber(name)


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


@contextmanager
def placed(plan: TilePlan, row: int, columns: Sequence[int]) -> Iterator[None]:
    """Say where on the grid a network gave NaN: in which of the windows ``columns`` of a row of windows.

    Raises:
        ModelError: instead of :class:`NotANumber`.
    """
    try:
        yield
    except NotANumber as error:
        places = ", ".join(f"row {plan.row_starts[row]} column {plan.col_starts[j]}" for j in columns[:4])
        raise ModelError(
            "the model answers NaN",
            found=f"first in its part {error}, in the window at {places}",
            expected="numbers",
            hint=f"try {param('precision', 'float32')}; if that does not help, the weights or the scene's values are"
            " beyond what the network can take",
        ) from error
