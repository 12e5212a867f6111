"""What DeCUR's dimensions share: alignment of each dimension, spectra of embeddings, overlap of what they look at.

Source: Wang et al., ECCV 2024, figures of section 5, by equation 1 (batch statistics). The published notebook takes the
running statistics of the last norm, which both modalities share, so that its values may pass 1.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from codemae_geo.losses.redundancy import standardise


def dimension_alignment(first: Tensor, second: Tensor) -> Tensor:
    """``(1 - C_ii)^2`` of every dimension of two modalities' embeddings [N, D]: 0 is aligned, 1 unrelated; [D].

    Raises:
        ModelError: fewer than two samples.
    """
    diagonal = (standardise(first) * standardise(second)).mean(dim=0)
    return (1 - diagonal).square()


def alignment_histogram(alignment: Tensor, bins: int = 10) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """How many dimensions [D] lie in each of ``bins`` from 0 to 1.

    Returns:
        counts [bins], their share of all dimensions in percent, and how many lie outside.
    """
    values = alignment.detach().cpu().numpy()
    counts, _ = np.histogram(values, bins=bins, range=(0, 1))
    return counts, 100 * counts / len(values), len(values) - int(counts.sum())


def covariance_spectrum(embeddings: Tensor) -> Tensor:
    """log10 of the singular values of the covariance of embeddings [N, D], largest first: [D]."""
    return torch.linalg.svdvals(torch.cov(embeddings.double().t())).log10()


def saliency_overlap(first: Tensor, second: Tensor, size: int = 224) -> Tensor:
    """How far two modalities' saliency maps [B, 1, h, w] mark the same places: [B].

    Maps are rectified, resized by nearest neighbour to ``size``, taken as ``log10(x + 1e-20)`` and scaled to 0..1 each;
    the overlap is the mean of their product.
    """

    def prepare(maps: Tensor) -> Tensor:
        logs = (F.interpolate(maps.relu(), size=(size, size), mode="nearest").double() + 1e-20).log10().flatten(1)
        low, high = logs.amin(dim=1, keepdim=True), logs.amax(dim=1, keepdim=True)
        return (logs - low) / (high - low).clamp(min=1e-12)

    return (prepare(first) * prepare(second)).mean(dim=1)
