"""The first principal components of a raster of features, as a picture, in two passes over its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: standard deviations on either side of the mean that span the picture's values
SPREAD = 2.5


@dataclass(frozen=True)
class Components:
    """Directions of largest variance.

    Args:
        mean: ``[D]``.
        vectors: ``[K, D]``, unit length, largest variance first. Of each vector and its opposite, the one whose entry
            of largest magnitude is positive, so that two runs have the same colours.
        variances: ``[K]`` along the vectors.
        total: variance along all D axes together.
    """

    mean: NDArray[np.float64]
    vectors: NDArray[np.float64]
    variances: NDArray[np.float64]
    total: float

    @property
    def explained(self) -> list[float]:
        """Share of the total variance along each vector; zeros where nothing varies."""
        return [float(v / self.total) if self.total > 0 else 0.0 for v in self.variances]

    def picture(self, features: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Projection of ``features [D, rows, columns]``, one band per component: mean -> 128, 0 where not ``valid``.

        :data:`SPREAD` standard deviations below and above the mean become 1 and 255; what lies beyond is clipped.
        """
        out = np.zeros((len(self.vectors), *valid.shape), np.uint8)
        scores = (features[:, valid].T.astype(np.float64) - self.mean) @ self.vectors.T  # [n, K]
        sigma = np.sqrt(self.variances)
        scaled = np.divide(scores, SPREAD * sigma, out=np.zeros_like(scores), where=sigma > 0)
        out[:, valid] = np.rint(128 + 127 * np.clip(scaled, -1, 1)).T.astype(np.uint8)
        return out


class RunningCovariance:
    """Mean and covariance of vectors that come in batches, merged pairwise (Chan, Golub and LeVeque 1979, eq. 2.1).

    Memory holds one ``D x D`` matrix however many vectors there are.
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = np.zeros(dim)
        self._scatter = np.zeros((dim, dim))

    def add(self, vectors: NDArray[Any]) -> None:
        """Take ``vectors [n, D]``."""
        n = len(vectors)
        if n == 0:
            return
        x = vectors.astype(np.float64)
        mean = x.mean(0)
        x -= mean
        delta = mean - self.mean
        total = self.count + n
        self._scatter += x.T @ x + np.outer(delta, delta) * (self.count * n / total)
        self.mean = self.mean + delta * (n / total)
        self.count = total

    @property
    def covariance(self) -> NDArray[np.float64]:
        """``[D, D]``, normalised by the number of vectors."""
        return self._scatter / max(self.count, 1)

    def components(self, number: int = 3) -> Components:
        """The first ``number`` principal components."""
        values, vectors = np.linalg.eigh(self.covariance)  # ascending
        vectors = vectors[:, ::-1][:, :number].T
        largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1)
        vectors = vectors * np.where(largest < 0, -1.0, 1.0)
        return Components(self.mean, vectors, np.maximum(values[::-1][:number], 0), float(np.maximum(values, 0).sum()))
