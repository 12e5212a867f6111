"""Summing weighted windows in a ring of rows, so that memory grows with the raster's width only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class RollingAccumulator:
    """A ring of ``rows`` raster rows into which weighted windows are added and from which finished rows are taken.

    Rows are handed out top-down, each once. Sums are float32: float16 sums flip labels.

    Args:
        channels: channels of the scores.
        rows: height of the ring; at least the height of a window.
        width: raster width in pixels.
        top: first raster row.
    """

    def __init__(self, channels: int, rows: int, width: int, top: int = 0) -> None:
        self._ring = np.zeros((channels, rows, width), np.float32)
        self._top = top

    @property
    def top(self) -> int:
        """First raster row that has not been taken yet."""
        return self._top

    @property
    def nbytes(self) -> int:
        """Memory of the ring in bytes."""
        return self._ring.nbytes

    def add(self, row: int, col: int, scores: NDArray[np.float32]) -> None:
        """Add weighted scores.

        Args:
            row, col: raster position of the scores' top left pixel.
            scores: ``[channels, height, width]``, already multiplied by their weights and cut to the raster.

        Raises:
            ValueError: the rows are taken already, or reach beyond the ring.
        """
        height, width = scores.shape[1:]
        rows = self._ring.shape[1]
        if row < self._top or row + height > self._top + rows:
            raise ValueError(f"rows {row}..{row + height} are outside the ring {self._top}..{self._top + rows}")
        done = 0
        for first, count in _segments(row, height, rows):
            self._ring[:, first : first + count, col : col + width] += scores[:, done : done + count]
            done += count

    def take(self, until: int) -> NDArray[np.float32]:
        """Take rows ``top .. until`` out of the ring: ``[channels, until - top, width]``, a copy."""
        rows = self._ring.shape[1]
        count = until - self._top
        if not 0 <= count <= rows:
            raise ValueError(f"cannot take rows {self._top}..{until} of a ring of {rows}")
        out = np.empty((self._ring.shape[0], count, self._ring.shape[2]), np.float32)
        done = 0
        for first, n in _segments(self._top, count, rows):
            out[:, done : done + n] = self._ring[:, first : first + n]
            self._ring[:, first : first + n] = 0
            done += n
        self._top = until
        return out


def _segments(row: int, count: int, rows: int) -> list[tuple[int, int]]:
    """Raster rows ``row .. row + count`` as runs ``(first, length)`` of a ring of ``rows`` rows."""
    first = row % rows
    head = min(count, rows - first)
    return [(first, head)] + ([(0, count - head)] if count > head else [])
