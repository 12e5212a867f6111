"""Pictures of samples: panels side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from codemae_datasets.public._picture import colored, stretched


class Panel(NamedTuple):
    """One picture."""

    title: str
    pixels: npt.NDArray[Any]  #: [H, W] or [H, W, 3], 0 to 1
    options: dict[str, Any]  #: of imshow


def image_panel(title: str, image: Tensor, valid: Tensor | None) -> Panel:
    """[C, H, W] as a picture: the first three bands as red, green and blue, or the first alone; not valid is white."""
    return Panel(title, *stretched(image[:3] if len(image) >= 3 else image[:1], valid))


def mask_panel(title: str, mask: Tensor, colors: Sequence[str]) -> Panel:
    """[H, W] of class numbers as a picture; 255 is white."""
    return Panel(title, colored(mask, colors), {"interpolation": "nearest"})


def draw(panels: Sequence[Panel], show_titles: bool = True, suptitle: str | None = None) -> Any:
    """Panels side by side.

    Returns:
        the matplotlib figure.
    """
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(4 * len(panels), 4.2), squeeze=False, layout="constrained")
    for axis, panel in zip(axes[0], panels, strict=True):
        axis.imshow(np.clip(panel.pixels, 0, 1), **panel.options)
        axis.axis("off")
        if show_titles:
            axis.set_title(panel.title)
    if suptitle:
        figure.suptitle(suptitle)
    return figure
