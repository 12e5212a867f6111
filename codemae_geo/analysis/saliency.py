"""Where features come from: gradients of a window's features by its pixels.

Source: the saliency figures of DeCUR (Wang et al., ECCV 2024), which give no formula. Here the saliency of a pixel is
the gradient of half the squared length of the window's features; its share by band is that of the absolute product of
gradient and input.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def spatial_saliency(features: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Gradient of ``|f(x)|^2 / 2`` by the pixels of ``images [B, C, H, W]``, of the same shape.

    Args:
        features: images [B, C, H, W] -> features [B, F], every row a function of its own image alone.
        images: normalised.
    """
    with torch.enable_grad():
        x = images.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(features(x).square().sum() / 2, x)
    return gradient.detach()


def band_shares(gradient: Tensor, images: Tensor) -> Tensor:
    """How much of the saliency each band has: ``sum |g x|`` over pixels, over the sum of all bands; [B, C]."""
    weight = (gradient * images).abs().sum((2, 3))
    return weight / weight.sum(1, keepdim=True).clamp(min=1e-20)
