"""Several labels per image, made of labels per pixel: the rule of the papers' linear probes."""

from __future__ import annotations

import torch
from torch import Tensor


def present_classes(mask: Tensor, classes: int, share: float = 0.1) -> Tensor:
    """Which classes cover at least ``share`` of an image.

    The share is of all pixels, those without a class included, as in scenarri/CoDeMAE's linear probes, which follow
    SwinSSL in taking 10 %.

    Args:
        mask: class numbers, int64 [..., H, W]; 255 is no class.
        classes: number of classes K.
        share: least part of the pixels, 0 to 1.

    Returns:
        float32 [..., K], 1 where the class is present.
    """
    pixels = mask.flatten(-2)
    counts = torch.stack([(pixels == number).sum(-1) for number in range(classes)], dim=-1)
    return (counts >= share * pixels.shape[-1]).float()
