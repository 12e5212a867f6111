"""A network that answers NaN is refused, with the place in it and the place on the grid where that began."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from codemae_geo.errors import ModelError, param
from codemae_geo.tiling import TilePlan

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle


class NotANumber(ArithmeticError):
    """A part of a network gave NaN; the message names the part."""


def watch(module: nn.Module, depth: int | None = None) -> list[RemovableHandle]:
    """Have the parts of a network raise :class:`NotANumber` when they give NaN.

    Args:
        module: the network.
        depth: parts of parts are watched to this depth; None watches all.

    Returns:
        Handles that end it.
    """
    handles = []
    for name, part in module.named_modules():
        if name and (depth is None or name.count(".") < depth):

            def check(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
                if has_nan(output):
                    raise NotANumber(name)

            handles.append(part.register_forward_hook(check))
    return handles


def first_fault(module: nn.Module, run: Callable[[], Any]) -> str:
    """Name of the part of a network that gives NaN first when it is run again."""
    handles = watch(module)
    try:
        run()
    except NotANumber as error:
        return str(error)
    finally:
        for handle in handles:
            handle.remove()
    return "answer"


def has_nan(values: Any) -> bool:
    """Whether tensors, in any nesting of lists and dictionaries, hold NaN.

    A sum is NaN where a number is: only then, or where infinities cancel out, are the numbers looked at one by one.
    """
    return any(_nan(t) for t in _tensors(values) if t.is_floating_point())


def _nan(tensor: Tensor) -> bool:
    return bool(tensor.sum().isnan()) and bool(tensor.isnan().any())


def _tensors(values: Any) -> Iterator[Tensor]:
    from torch import Tensor

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
