"""Where the windows lie and how much each counts at each pixel.

Everything is separable: a plan is one list of starts and one table of weights per axis, and the weight of a window at a
pixel is the product of its row weight and its column weight. Weights are normalised per axis when the plan is made, so
over all windows that cover a pixel they sum to one and nothing has to be divided afterwards.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Blend = Literal["hann", "average", "none"]
BLENDS: tuple[str, ...] = get_args(Blend)


def axis_starts(size: int, window: int, stride: int) -> tuple[int, ...]:
    """First pixels of the windows along one axis.

    Windows step by ``stride``; the last one is pulled back to end at the raster's edge, so that nothing is padded as
    long as the raster is as large as a window. Postconditions: strictly increasing (no window twice), starts at 0,
    every pixel of ``0 .. size`` is covered.

    >>> axis_starts(1000, 512, 256)
    (0, 256, 488)
    >>> axis_starts(100, 512, 256)
    (0,)
    """
    if size <= 0 or window <= 0 or not 0 < stride <= window:
        raise ValueError(f"cannot plan size {size}, window {window}, stride {stride}")
    last = max(size - window, 0)
    count = math.ceil(last / stride) + 1
    return tuple(min(i * stride, last) for i in range(count))


def axis_cores(starts: tuple[int, ...], size: int, window: int) -> tuple[tuple[int, int], ...]:
    """The part of each window along one axis that is nearest to its own centre: ``(first, end)`` in raster pixels.

    Cores tile ``0 .. size`` exactly once; borders lie in the middle of the overlap of two neighbours.

    >>> axis_cores((0, 256, 488), 1000, 512)
    ((0, 384), (384, 628), (628, 1000))
    """
    borders = [0] + [(right + left + window) // 2 for left, right in itertools.pairwise(starts)] + [size]
    return tuple(itertools.pairwise(borders))


def axis_weights(starts: tuple[int, ...], size: int, window: int, blend: Blend) -> NDArray[np.float32]:
    """Weight of each window at each of its pixels along one axis.

    Args:
        starts: from :func:`axis_starts`.
        size: pixels of the raster along the axis.
        window: pixels of a window along the axis.
        blend: ``hann`` tapers as sin^2 but stays above zero to the edge; ``average`` counts every window alike;
            ``none`` takes each pixel from the window in whose core it lies.

    Returns:
        ``[len(starts), window]`` float32. Over the windows that cover a pixel of the raster the weights sum to 1
        (to float32 rounding); pixels beyond the raster have weight 0.
    """
    pixel = np.arange(window)
    if blend == "hann":
        profile = np.sin(np.pi * (pixel + 0.5) / window) ** 2
    elif blend in ("average", "none"):
        profile = np.ones(window)
    else:
        raise ValueError(f"blend {blend!r} is none of {', '.join(BLENDS)}")
    total = np.zeros(size)
    raw = np.zeros((len(starts), window))
    for i, (start, core) in enumerate(zip(starts, axis_cores(starts, size, window), strict=True)):
        inside = start + pixel < size
        if blend == "none":
            inside &= (start + pixel >= core[0]) & (start + pixel < core[1])
        raw[i] = profile * inside
        n = min(window, size - start)
        total[start : start + n] += raw[i, :n]
    for i, start in enumerate(starts):
        n = min(window, size - start)
        raw[i, :n] /= total[start : start + n]
    return raw.astype(np.float32)


@dataclass(frozen=True)
class TilePlan:
    """All windows of a raster, in rows of windows from the top.

    Args:
        height, width: raster size in pixels.
        window: (height, width) of every window in pixels.
        row_starts, col_starts: first row of each row of windows, first column of each column of windows.
        row_weights: ``[len(row_starts), window height]``.
        col_weights: ``[len(col_starts), window width]``.
    """

    height: int
    width: int
    window: tuple[int, int]
    row_starts: tuple[int, ...]
    col_starts: tuple[int, ...]
    row_weights: NDArray[np.float32]
    col_weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.row_starts) * len(self.col_starts)

    def finished(self, i: int) -> int:
        """Rows ``0 .. finished(i)`` get nothing more once row ``i`` of windows has been added."""
        return self.row_starts[i + 1] if i + 1 < len(self.row_starts) else self.height

    def weight(self, i: int, j: int) -> NDArray[np.float32]:
        """Weight of the window in row ``i`` and column ``j`` of windows at each of its pixels, ``[height, width]``."""
        return self.row_weights[i][:, None] * self.col_weights[j][None, :]


def plan_tiles(
    height: int, width: int, window: int, overlap: float = 0.5, *, blend: Blend = "hann", multiple: int = 32
) -> TilePlan:
    """Plan square windows over a raster.

    Args:
        height, width: raster size in pixels.
        window: side of a window in pixels. Along an axis on which the raster is smaller, the window shrinks to the
            raster's size rounded up to ``multiple``.
        overlap: share of a window that the next one repeats, 0 to below 1 (at least one pixel of progress is made).
        blend: see :func:`axis_weights`.
        multiple: side of the smallest block that the network takes.

    Raises:
        ValueError: a size is not positive or ``overlap`` is outside 0..1.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap {overlap} is not within 0 (none) and 1 (excluded)")
    if height <= 0 or width <= 0 or window <= 0:
        raise ValueError(f"cannot plan {height} x {width} pixels with windows of {window}")
    axes = []
    for size in (height, width):
        side = min(window, math.ceil(size / multiple) * multiple)
        stride = max(1, round(side * (1 - overlap)))
        starts = axis_starts(size, side, stride)
        axes.append((side, starts, axis_weights(starts, size, side, blend)))
    (h, rows, row_weights), (w, cols, col_weights) = axes
    return TilePlan(height, width, (h, w), rows, cols, row_weights, col_weights)
