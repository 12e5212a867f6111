"""Figures of classifications: one label an image, or several."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from codemae_geo.metrics._need import torchmetrics


def micro_average_precision(scores: Tensor, labels: Tensor) -> float:
    """Average precision over all (image, label) pairs pooled, exact thresholds: the CoDe-MAE probe's mAP.

    Args:
        scores: [N, K], any increasing function of the probability.
        labels: [N, K], 0 or 1.
    """
    form = torchmetrics().functional.classification.multilabel_average_precision
    return float(form(scores.float().sigmoid(), labels.long(), num_labels=labels.shape[1], average="micro"))


def micro_average_precision_by_batch(
    scores: Tensor, labels: Tensor, batch: int = 64, *, drop_last: bool = True
) -> float:
    """The mean of the micro average precision of each batch in order, as DeCUR reports it; not the pooled figure.

    Args:
        scores, labels: [N, K], see :func:`micro_average_precision`.
        batch: rows of a batch.
        drop_last: leave out a last batch that is not full.
    """
    parts: Iterable[tuple[Tensor, Tensor]] = zip(scores.split(batch), labels.split(batch), strict=True)
    values = [micro_average_precision(s, y) for s, y in parts if len(s) == batch or not drop_last]
    return sum(values) / len(values) if values else float("nan")


def average_precision(scores: Tensor, labels: Tensor) -> list[float]:
    """Average precision of each label; nan for one that no image has."""
    form = torchmetrics().functional.classification.multilabel_average_precision
    values = form(scores.float().sigmoid(), labels.long(), num_labels=labels.shape[1], average="none")
    return torch.where(labels.sum(0) > 0, values, torch.nan).tolist()


def micro_f1(scores: Tensor, labels: Tensor, threshold: float = 0.5) -> float:
    """F1 over all (image, label) pairs pooled, labels answered where the probability exceeds ``threshold``."""
    form = torchmetrics().functional.classification.multilabel_f1_score
    probability = scores.float().sigmoid()
    return float(form(probability, labels.long(), labels.shape[1], threshold=threshold, average="micro"))


def overall_accuracy(logits: Tensor, labels: Tensor, top: int = 1) -> float:
    """Share of images whose label [N] is among the ``top`` highest logits [N, K]."""
    form = torchmetrics().functional.classification.multiclass_accuracy
    return float(form(logits.float(), labels.long(), logits.shape[1], average="micro", top_k=top))
