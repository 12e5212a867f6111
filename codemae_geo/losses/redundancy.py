"""Redundancy reduction with common and unique dimensions: the loss of DeCUR.

Source: Wang et al., "Decoupling Common and Unique Representations for Multimodal Self-supervised Learning", ECCV 2024,
equations 1 to 6, after Barlow Twins (Zbontar et al., ICML 2021). The weights of the sum are the published program's,
which averages where the paper adds: ``cross = (common + unique) / 2``, ``total = (first + second + cross) / 3``.

Every term is a sum over entries of a correlation matrix ``C = A' B / divisor`` of two standardised embeddings. Only its
diagonal and the sum of its squares are needed, and the latter is the product of two N x N matrices:
``sum C_ij^2 = sum (A A' * B B') / divisor^2``. For 64 samples of 8192 numbers that is 128 times less work, and the
8192 x 8192 matrix is never stored.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from codemae_geo.errors import ModelError

#: weight of the entries beside the diagonal
OFF_DIAGONAL = 0.0051


class RedundancyLosses(NamedTuple):
    """The parts of the loss, scalars."""

    total: Tensor  #: (first + second + cross) / 3
    first: Tensor  #: two views of modality 1, all dimensions
    second: Tensor  #: two views of modality 2, all dimensions
    cross: Tensor  #: (common + unique) / 2
    common: Tensor  #: first view of both modalities, common dimensions
    unique: Tensor  #: first view of both modalities, unique dimensions; 0 where there are none


def common_dimensions(dimensions: int, share: float) -> int:
    """How many of ``dimensions`` are common to both modalities, the first ones of the embedding.

    Raises:
        ModelError: a share outside (0, 1], or one that leaves no common dimension.
    """
    if not 0 < share <= 1 or int(dimensions * share) < 1:
        raise ModelError(
            "the share of common dimensions cannot be used",
            found=str(share),
            expected="above 0, at most 1 (0.875 for SAR and optical, 0.75 for elevation or depth)",
        )
    return int(dimensions * share)


def standardise(z: Tensor, eps: float = 1e-5) -> Tensor:
    """Each dimension of [N, D] to mean 0 and variance 1 over the batch (biased variance, ``eps`` inside the root).

    Raises:
        ModelError: fewer than two samples, which have no correlation.
    """
    if len(z) < 2:
        raise ModelError(
            "a batch of one sample has no correlation",
            found=f"{len(z)} sample",
            expected="2 or more, better 64 or more",
        )
    return torch.nn.functional.batch_norm(z, None, None, training=True, eps=eps)


def cross_correlation(a: Tensor, b: Tensor, divisor: float) -> Tensor:
    """The matrix itself [D, D], for reports: ``a``, ``b`` [N, D] standardised."""
    return a.t() @ b / divisor


def diagonal_and_rest(a: Tensor, b: Tensor, divisor: float) -> tuple[Tensor, Tensor]:
    """The diagonal of the correlation matrix [D], and the sum of squares of all other entries, a scalar.

    Args:
        a, b: [N, D] standardised embeddings.
        divisor: what ``a' b`` is divided by; N makes it a correlation.
    """
    diagonal = (a * b).sum(dim=0) / divisor
    if a.shape[1] <= a.shape[0]:
        squares = cross_correlation(a, b, divisor).square().sum()
    else:
        squares = ((a @ a.t()) * (b @ b.t())).sum() / divisor**2
    return diagonal, squares - diagonal.square().sum()


def to_identity(a: Tensor, b: Tensor, divisor: float, weight: float = OFF_DIAGONAL) -> Tensor:
    """``sum (C_ii - 1)^2 + weight * sum_{i != j} C_ij^2``, the loss of Barlow Twins; [N, D] each -> a scalar."""
    diagonal, rest = diagonal_and_rest(a, b, divisor)
    return (diagonal - 1).square().sum() + weight * rest


def to_zero(a: Tensor, b: Tensor, divisor: float, weight: float = OFF_DIAGONAL) -> Tensor:
    """``sum C_ii^2 + weight * sum_{i != j} C_ij^2``: dimensions that the two have not in common -> a scalar."""
    diagonal, rest = diagonal_and_rest(a, b, divisor)
    return diagonal.square().sum() + weight * rest


def decur_loss(
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    common: int,
    weight: float = OFF_DIAGONAL,
    divisor: float | None = None,
) -> RedundancyLosses:
    """The whole loss from two views of two modalities.

    Args:
        first, second: the two views of modality 1 and of modality 2, each [N, D], not standardised.
        common: number of common dimensions, the first ones; see :func:`common_dimensions`.
        weight: of the entries beside the diagonal.
        divisor: of the correlation matrices; None is the number of samples N. The published program divides by four
            times its batch size whatever the number of processes.

    Raises:
        ModelError: fewer than two samples.
    """
    # half precision holds neither the sums of thousands of squares nor their small differences
    with torch.autocast(first[0].device.type, enabled=False):
        one, two = (
            tuple(standardise(z if z.dtype == torch.float64 else z.float()) for z in v) for v in (first, second)
        )
        divisor = float(len(one[0]) if divisor is None else divisor)
        within_first = to_identity(one[0], one[1], divisor, weight)
        within_second = to_identity(two[0], two[1], divisor, weight)
        a, b = one[0], two[0]
        shared = to_identity(a[:, :common], b[:, :common], divisor, weight)
        own = (
            to_zero(a[:, common:], b[:, common:], divisor, weight) if common < a.shape[1] else torch.zeros_like(shared)
        )
        cross = (shared + own) / 2
        return RedundancyLosses(
            (within_first + within_second + cross) / 3, within_first, within_second, cross, shared, own
        )
