"""What reads frozen features: the linear head of CoDe-MAE's probe, and nearest neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LinearProbe(nn.Sequential):
    """Batch norm without affine (eps 1e-6, momentum 0.1) and a linear layer, weights N(0, 0.01), bias 0.

    [N, dim] -> [N, classes]; keys ``0.running_mean``, ``1.weight`` and so on, below ``head.`` in the published probe.
    """

    def __init__(self, dim: int, classes: int) -> None:
        linear = nn.Linear(dim, classes)
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)
        super().__init__(nn.BatchNorm1d(dim, affine=False, eps=1e-6), linear)


def nearest(features: Tensor, train_features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k most alike rows of ``train_features`` [M, D] for each row of ``features`` [N, D].

    Returns:
        cosine similarities [N, k], falling, and rows of ``train_features`` [N, k].
    """
    similarity = F.normalize(features, dim=1) @ F.normalize(train_features, dim=1).T
    best = similarity.topk(min(k, len(train_features)), dim=1)
    return best.values, best.indices


def knn_scores(
    features: Tensor, train_features: Tensor, train_labels: Tensor, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """Scores of every class by k nearest neighbours: weights exp(cosine / temperature), summed per class.

    Scale-MAE's classifier, which Cross-Scale MAE is compared with (Wu et al., 2018).

    Args:
        features: [N, D]; train_features: [M, D].
        train_labels: [M] class numbers, or [M, K] of 0 and 1 for several labels an image.

    Returns:
        [N, K].
    """
    if train_labels.ndim == 1:
        train_labels = F.one_hot(train_labels.long())
    weights, rows = nearest(features, train_features, k)
    return torch.einsum("nk,nkc->nc", (weights / temperature).exp(), train_labels[rows].to(weights.dtype))
