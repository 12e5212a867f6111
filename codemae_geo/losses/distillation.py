"""Distillation of a frozen teacher's tokens (CoDe-MAE, section III, optical-anchored knowledge distillation)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

DistillationKind = Literal["smooth_l1", "l1"]


def distillation_loss(prediction: Tensor, target: Tensor, kind: DistillationKind = "smooth_l1") -> Tensor:
    """Mean distance over all elements.

    Args:
        prediction, target: [B, K, D].
        kind: "smooth_l1" (beta 1) is what the published code trains with; "l1" is what the paper writes.
    """
    return F.smooth_l1_loss(prediction, target) if kind == "smooth_l1" else F.l1_loss(prediction, target)
