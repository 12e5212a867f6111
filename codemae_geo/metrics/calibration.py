"""Whether a confidence means what it says, and what to do when it does not (Guo et al., ICML 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Answers by confidence: edges [B + 1], how many [B], their mean confidence [B] and share of right ones [B]."""

    edges: NDArray[np.float64]
    count: NDArray[np.float64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy, weighted by the number of answers."""
        if not self.count.sum():
            return float("nan")
        gaps = np.abs(np.nan_to_num(self.confidence) - np.nan_to_num(self.accuracy))
        return float((self.count * gaps).sum() / self.count.sum())

    def as_dict(self) -> dict[str, Any]:
        """The diagram as JSON takes it; None for empty bins."""

        def plain(values: NDArray[np.float64]) -> list[float | None]:
            return [None if np.isnan(v) else round(float(v), 6) for v in values]

        return {
            "edges": plain(self.edges),
            "count": self.count.astype(int).tolist(),
            "confidence": plain(self.confidence),
            "accuracy": plain(self.accuracy),
            "ece": self.ece,
        }


@dataclass
class ReliabilityScore:
    """Collects a :class:`Reliability` batch by batch, in equal bins (low, high] of confidence."""

    bins: int = BINS

    def __post_init__(self) -> None:
        self._sums = np.zeros((3, self.bins))

    def add(self, confidence: NDArray[np.floating[Any]] | Tensor, right: NDArray[np.bool_] | Tensor) -> None:
        """Confidence of each answer, 0 to 1, and whether it is right; any shape, both the same."""
        sure = np.asarray(confidence, np.float64).ravel()
        hit = np.asarray(right, np.float64).ravel()
        place = np.clip(np.ceil(sure * self.bins).astype(int) - 1, 0, self.bins - 1)
        for row, weight in enumerate((None, sure, hit)):
            self._sums[row] += np.bincount(place, weights=weight, minlength=self.bins)

    def result(self) -> Reliability:
        """The diagram so far."""
        count = self._sums[0]
        with np.errstate(invalid="ignore"):
            mean = np.where(count > 0, self._sums[1:] / np.maximum(count, 1), np.nan)
        return Reliability(np.linspace(0, 1, self.bins + 1), count, mean[0], mean[1])


def reliability(confidence: NDArray[np.floating[Any]], right: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """The diagram of some answers, see :class:`ReliabilityScore`."""
    score = ReliabilityScore(bins)
    score.add(confidence, right)
    return score.result()


def fit_temperature(logits: Tensor, labels: Tensor, low: float = 0.05, high: float = 20.0) -> float:
    """The divisor of logits [N, K] that makes labels [N] most likely, between ``low`` and ``high``.

    The likelihood has one optimum in the inverse temperature, so a golden-section search in its logarithm finds it.
    """
    rows, target = logits.double(), labels.long()

    def loss(log_t: float) -> float:
        return float(F.cross_entropy(rows / np.exp(log_t), target))

    a, b = float(np.log(low)), float(np.log(high))
    ratio = (5**0.5 - 1) / 2
    c, d = b - ratio * (b - a), a + ratio * (b - a)
    at_c, at_d = loss(c), loss(d)
    while b - a > 1e-4:
        if at_c < at_d:
            b, d, at_d = d, c, at_c
            c = b - ratio * (b - a)
            at_c = loss(c)
        else:
            a, c, at_c = c, d, at_d
            d = a + ratio * (b - a)
            at_d = loss(d)
    return float(np.exp((a + b) / 2))


def uncertain_error_ratio(confidence: NDArray[np.floating[Any]], right: NDArray[np.bool_], share: float = 0.2) -> float:
    """Error rate among the least certain ``share`` of answers, divided by that of all; nan without an error."""
    wrong = ~np.asarray(right, bool)
    if not wrong.any():
        return float("nan")
    count = max(round(share * len(wrong)), 1)
    order = np.argsort(np.asarray(confidence), kind="stable")
    return float(wrong[order[:count]].mean() / wrong.mean())


def fit_logistic(
    z: NDArray[np.floating[Any]],
    right: NDArray[np.bool_],
    prior: float = 1.0,
    centre: tuple[float, float] = (1.0, 0.0),
) -> tuple[float, float]:
    """Slope and intercept of a logistic of ``z`` that says how likely an answer is right (Platt, 1999).

    Args:
        z: [N], log(p / (1 - p)) of a score p between 0 and 1.
        right: [N].
        prior: pull towards ``centre``, as strong as a few times that many answers: few buildings cannot bend it far.
        centre: slope and intercept of an earlier calibration; without one the score itself.

    Returns:
        slope (0 or more) and intercept.
    """
    y = np.asarray(right, np.float64)
    start = np.array(centre, np.float64)
    w = start.copy()
    for _ in range(50):  # Newton's method on a convex loss in two numbers
        p = 1 / (1 + np.exp(-(w[0] * z + w[1])))
        gradient = np.array([((p - y) * z).sum(), (p - y).sum()]) + prior * (w - start)
        curve = p * (1 - p)
        hessian = np.array([[(curve * z * z).sum(), (curve * z).sum()], [(curve * z).sum(), curve.sum()]])
        step = np.linalg.solve(hessian + prior * np.eye(2), gradient)
        w -= step
        if np.abs(step).max() < 1e-9:
            break
    if w[0] < 0:  # the score says nothing: everything gets the share of right answers
        share = (y.sum() + 1) / (len(y) + 2)
        return 0.0, float(np.log(share / (1 - share)))
    return float(w[0]), float(w[1])
