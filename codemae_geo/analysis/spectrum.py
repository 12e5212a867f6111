"""How many directions features use: singular values and effective rank (CoDe-MAE, Fig. 2d)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def singular_values(features: Floats, *, centred: bool = True) -> Floats:
    """Singular values, descending, of ``features [N, D]``, by default of the features less their mean.

    At least four times as many samples as dimensions give a stable spectrum.
    """
    features = np.asarray(features, np.float64)
    return np.linalg.svd(features - features.mean(0) if centred else features, compute_uv=False)


def effective_rank(values: Floats) -> float:
    """``exp`` of the entropy of the singular values over their sum (Roy and Vetterli 2007); 0 if all are zero."""
    total = values.sum()
    if total <= 0:
        return 0.0
    share = values[values > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))
