"""Tensors as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from codemae_geo.classes import NODATA


def class_color(number: int, colors: Sequence[str] = ()) -> tuple[float, float, float]:
    """Red, green, blue in [0, 1] of a class: from ``colors`` (#rrggbb), or of sixty others, the strong ones first."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if number < len(colors):
        return to_rgb(colors[number])
    palette, place = divmod(number % 60, 20)
    if palette == 0:  # tab20 alternates strong and pale
        place = place * 2 if place < 10 else place * 2 - 19
    red, green, blue, _ = colormaps[("tab20", "tab20b", "tab20c")[palette]](place)
    return red, green, blue


def colored(mask: Tensor, colors: Sequence[str] = ()) -> npt.NDArray[Any]:
    """Class numbers as float32 [H, W, 3] in [0, 1]; 255 is white."""
    numbers = mask.numpy()
    picture = np.ones((*numbers.shape, 3), dtype=np.float32)
    for number in np.unique(numbers[numbers != NODATA]):
        picture[numbers == number] = class_color(int(number), colors)
    return picture


def stretched(image: Tensor, valid: Tensor | None) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """[H, W, 3] or [H, W] in [0, 1], with the options of imshow."""
    pixels = image.numpy().astype(np.float64)
    used = np.isfinite(pixels)
    if valid is not None:
        used &= valid.numpy()
    low, high = np.percentile(pixels[used], (2, 98)) if used.any() else (0.0, 1.0)
    scaled = np.where(used, ((pixels - low) / max(high - low, 1e-9)).clip(0, 1), 1.0)
    if len(scaled) == 1:
        return scaled[0], {"cmap": "gray", "vmin": 0, "vmax": 1}
    return scaled.transpose(1, 2, 0), {}
