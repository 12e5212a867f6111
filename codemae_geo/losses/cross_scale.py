"""The losses of Cross-Scale MAE between two scales of one image.

Source: Tang et al., "Cross-Scale MAE: A Tale of Multiscale Exploitation in Remote Sensing", NeurIPS 2023, section 3, as
its published program (aicip/Cross-Scale-MAE) computes them. Reconstruction is
:func:`codemae_geo.losses.reconstruction.masked_mse` on raw pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_scale_contrast(first: Tensor, second: Tensor, temperature: float = 0.5, eps: float = 1e-8) -> Tensor:
    """Row i of one scale should be closer to row i of the other than to all other rows of both.

    Unlike NT-Xent the positive pair is **not** in the denominator, as in the published program; so the loss may be
    negative.

    Args:
        first, second: [B, D], any length; B of at least 2, since a single image has nothing to differ from.
        temperature: divides the cosines.
        eps: added to the denominator.

    Returns:
        ``-log(e^positive / (sum of e^negative + eps))``, the mean over the 2B rows, a scalar.
    """
    rows = F.normalize(torch.cat([first, second]), dim=1)
    similarity = rows @ rows.t() / temperature  # [2B, 2B]
    count = len(first)
    index = torch.arange(2 * count, device=rows.device)
    partner = (index + count) % (2 * count)
    positive = similarity[index, partner]
    others = torch.ones_like(similarity, dtype=torch.bool)
    others[index, index] = others[index, partner] = False
    negative = (similarity.exp() * others).sum(dim=1)
    return ((negative + eps).log() - positive).mean()


def cross_scale_prediction(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error between predicted and actual decoder tokens [B, L, D]; both carry gradients, as published."""
    return F.mse_loss(predicted, target)
