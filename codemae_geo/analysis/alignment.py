"""How the features of pairs lie together: cosine against structure, retrieval, alignment and uniformity.

Retrieval by raw features is dominated by a mean that all features share; :func:`standardised` takes it out. Both are
reported wherever retrieval is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

Floats = NDArray[np.floating[Any]]


def unit(features: Floats) -> Floats:
    """Rows of ``features [N, D]`` at length one; a row of zeros stays."""
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.where(length > 0, length, 1)


def standardised(features: Floats) -> Floats:
    """``features [N, D]`` less their mean and over their deviation, by dimension; a constant dimension becomes 0."""
    deviation = features.std(0)
    return (features - features.mean(0)) / np.where(deviation > 0, deviation, 1)


def cosine(a: Floats, b: Floats) -> Floats:
    """Cosine of the angle between the rows of ``a [N, D]`` and ``b [N, D]``: ``[N]``."""
    return (unit(a) * unit(b)).sum(-1)


@dataclass(frozen=True)
class Agreement:
    """Embedding similarity of patches against their structural similarity (CoDe-MAE, Fig. 4c).

    Args:
        pearson, spearman: correlation of cosine and SSIM over the patches.
        by_quartile: mean cosine of the patches in each quarter of the SSIM, from the least similar.
    """

    pearson: float
    spearman: float
    by_quartile: tuple[float, float, float, float]


def agreement(cosines: Floats, similarity: Floats) -> Agreement:
    """Compare cosines ``[N]`` of patches with their SSIM ``[N]``."""
    order = np.argsort(similarity, kind="stable")
    first, second, third, fourth = (float(cosines[part].mean()) for part in np.array_split(order, 4))
    return Agreement(
        float(pearsonr(similarity, cosines).statistic),
        float(spearmanr(similarity, cosines).statistic),
        (first, second, third, fourth),
    )


def retrieval_top1(queries: Floats, candidates: Floats) -> float:
    """Share of rows of ``queries [N, D]`` whose nearest row of ``candidates [N, D]`` by cosine is their own."""
    nearest = (unit(queries) @ unit(candidates).T).argmax(1)
    return float((nearest == np.arange(len(queries))).mean())


def alignment(a: Floats, b: Floats) -> float:
    """Mean squared distance of the pairs at length one (Wang and Isola 2020, alpha 2): 0 when all agree."""
    return float(((unit(a) - unit(b)) ** 2).sum(-1).mean())


def uniformity(features: Floats, t: float = 2.0) -> float:
    """Log of the mean Gaussian potential between different rows at length one: lower is better (Wang, Isola 2020)."""
    x = unit(features)
    squared = 2 - 2 * (x @ x.T)[np.triu_indices(len(x), 1)]
    return float(np.log(np.exp(-t * squared).mean()))


def parallelism(a: Floats, b: Floats) -> float:
    """How parallel the lines from ``a [N, D]`` to ``b [N, D]`` are: mean cosine of a line with the mean line, -1..1."""
    lines = unit(b - a)
    return float((lines @ unit(lines.mean(0)[None])[0]).mean())
