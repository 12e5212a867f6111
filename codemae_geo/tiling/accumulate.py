"""Summing weighted windows in a ring of rows, so that memory grows with the raster's width only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: bytes of products that are held at a time while weighted scores are added
_CACHED = 2**19


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
        self._products = np.empty(0, np.float32)
        self._lent = [np.empty(0, np.float32), np.empty(0, np.float32)]

    @property
    def top(self) -> int:
        """First raster row that has not been taken yet."""
        return self._top

    @property
    def nbytes(self) -> int:
        """Memory of the ring in bytes."""
        return self._ring.nbytes

    def add(
        self,
        row: int,
        col: int,
        scores: NDArray[np.float32],
        weight: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ) -> None:
        """Add weighted scores.

        Args:
            row, col: raster position of the scores' top left pixel.
            scores: ``[channels, height, width]``, cut to the raster.
            weight: of its rows ``[>= height]`` and of its columns ``[>= width]``, whose products the scores are
                multiplied with; None adds them as they are.

        Raises:
            ValueError: the rows are taken already, or reach beyond the ring.
        """
        channels, height, width = scores.shape
        rows = self._ring.shape[1]
        if row < self._top or row + height > self._top + rows:
            raise ValueError(f"rows {row}..{row + height} are outside the ring {self._top}..{self._top + rows}")
        # a few rows at a time, so that the products stay in the processor's cache until they are added
        step = max(_CACHED // (4 * channels * width), 1)
        if self._products.size < channels * step * width:
            self._products = np.empty(channels * step * width, np.float32)
        done = 0
        for first, count in _segments(row, height, rows):
            for at in range(0, count, step):
                n = min(step, count - at)
                part = scores[:, done : done + n]
                if weight is not None:
                    pixels = weight[0][done : done + n, None] * weight[1][None, :width]
                    product = self._products[: channels * n * width].reshape(channels, n, width)
                    part = np.multiply(part, pixels, out=product)
                place = self._ring[:, first + at : first + at + n, col : col + width]
                np.add(place, part, out=place)
                done += n

    def take(self, until: int) -> NDArray[np.float32]:
        """Take rows ``top .. until`` out of the ring: ``[channels, until - top, width]``.

        The answer is lent: it is the caller's until the next but one is taken.
        """
        channels, rows, width = self._ring.shape
        count = until - self._top
        if not 0 <= count <= rows:
            raise ValueError(f"cannot take rows {self._top}..{until} of a ring of {rows}")
        self._lent.reverse()
        size = channels * count * width
        if self._lent[0].size < size:
            self._lent[0] = np.empty(0, np.float32)  # goes before the larger one comes
            self._lent[0] = np.empty(size, np.float32)
        out = self._lent[0][:size].reshape(channels, count, width)
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
