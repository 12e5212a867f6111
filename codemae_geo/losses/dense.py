"""Losses of label maps: the cross-entropies of segmentation, and the four terms of building damage."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from codemae_geo.losses.lovasz import IGNORED, lovasz_softmax

#: factors of (CE localisation, CE damage, Lovasz damage, Lovasz localisation): CoDe-MAE's, and the BRIGHT benchmark's
DAMAGE_WEIGHTS: dict[str, tuple[float, float, float, float]] = {
    "codemae": (1.0, 2.0, 1.0, 0.5),
    "bright": (1.0, 1.0, 0.75, 0.5),
}


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore: int = IGNORED,
    divisor: Literal["valid", "all"] = "valid",
    weight: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of label maps.

    Args:
        logits: [B, K, h, w]; resized to the labels' size (bilinear, corners not aligned) if they differ.
        labels: [B, H, W] integers; pixels of value ``ignore`` add nothing.
        divisor: what the sum is divided by. "valid": the pixels that count (with ``weight``: their weights), as torch
            does. "all": every pixel, ignored ones too, as mmsegmentation does by default.
        weight: [K], factor of each class.

    Returns:
        A scalar; 0 (with a gradient of 0) when no pixel counts, where torch would say NaN.
    """
    if logits.shape[-2:] != labels.shape[-2:]:
        logits = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    total = F.cross_entropy(logits, labels, weight=weight, ignore_index=ignore, reduction="sum")
    if divisor == "all":
        return total / labels.numel()
    known = labels != ignore
    count = known.sum() if weight is None else weight[labels[known]].sum()
    return total / count.clamp(min=torch.finfo(total.dtype).tiny if weight is not None else 1)


def building_labels(damage: Tensor, *, ignore: int = IGNORED) -> Tensor:
    """Localisation labels from damage labels of any shape: 1 where there is a building, ``ignore`` stays."""
    return torch.where(damage == ignore, ignore, (damage > 0).to(damage.dtype))


def damage_terms(
    localisation: Tensor,
    damage: Tensor,
    labels: Tensor,
    *,
    ignore: int = IGNORED,
    weights: str | tuple[float, float, float, float] = "codemae",
    class_weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """Loss of a damage model: cross-entropy and Lovasz-softmax on both heads (CoDe-MAE; BRIGHT, Chen et al. 2025).

    Args:
        localisation: [B, 2, H, W] logits; damage: [B, K, H, W] logits.
        labels: [B, H, W] damage classes, 0 is background, ``ignore`` adds nothing to any term.
        weights: a key of :data:`DAMAGE_WEIGHTS`, or four factors in its order.
        class_weight: [K], factor of each class in the damage cross-entropy.

    Returns:
        ``ce_localisation``, ``ce_damage``, ``lovasz_damage``, ``lovasz_localisation``, and their weighted sum ``loss``.
    """
    buildings = building_labels(labels, ignore=ignore)
    terms = {
        "ce_localisation": cross_entropy(localisation, buildings, ignore=ignore),
        "ce_damage": cross_entropy(damage, labels, ignore=ignore, weight=class_weight),
        "lovasz_damage": lovasz_softmax(damage, labels, ignore=ignore),
        "lovasz_localisation": lovasz_softmax(localisation, buildings, ignore=ignore),
    }
    factors = DAMAGE_WEIGHTS[weights] if isinstance(weights, str) else weights
    total = sum((f * t for f, t in zip(factors, terms.values(), strict=True)), start=damage.new_zeros(()))
    return terms | {"loss": total}
