"""How a stored table of positions is resampled to a window's grid, as weights: what a graph of any size is fed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def position_weights(side: int, rows: int, columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights that resample a table of ``side`` x ``side`` positions to ``rows`` x ``columns``, axis by axis.

    The same numbers as :func:`codemae_geo.models.hivit.fit_positions`: the table as it stands where the grid is its
    own, else bicubic (a = -0.75, borders repeated) with the scale factor ``(n + 0.1) / side``.

    Returns:
        ``[rows, side]`` and ``[columns, side]``.
    """
    if rows == columns == side:
        return np.eye(side, dtype=np.float32), np.eye(side, dtype=np.float32)
    return _axis(side, rows), _axis(side, columns)


def _axis(side: int, count: int) -> NDArray[np.float32]:
    at = (np.arange(count) + 0.5) * side / (count + 0.1) - 0.5
    base = np.floor(at).astype(int)
    weights = np.zeros((count, side))
    for tap in range(-1, 3):
        source = np.clip(base + tap, 0, side - 1)
        np.add.at(weights, (np.arange(count), source), _cubic(np.abs(at - base - tap)))
    return weights.astype(np.float32)


def _cubic(x: NDArray[np.float64], a: float = -0.75) -> NDArray[np.float64]:
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, far)
