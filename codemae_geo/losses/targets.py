"""What cross-modal reconstruction predicts: the other image, degraded (CoDe-MAE, section III and Table II).

Pixel targets (grey, pixel, median, pool) are made of the normalised images, the gradient features (hog, mgf) of images
in [0, 1], as published.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Target = Literal["grey", "pixel", "median", "pool", "hog", "mgf"]
#: name -> channels of the target image, for images of three channels
TARGETS: dict[str, int] = {"grey": 1, "pixel": 3, "median": 3, "pool": 3, "hog": 9, "mgf": 3}
#: weights of red, green and blue in grey (ITU-R BT.601)
GREY = (0.299, 0.587, 0.114)
#: radii in pixels of the three windows of :func:`gradient_features`, as in SARATR-X
MGF_RADII = (9, 13, 17)


def target_channels(name: str) -> int:
    """Channels of a target image."""
    return TARGETS[name]


def grey(image: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, 1, H, W], 0.299 R + 0.587 G + 0.114 B."""
    return (image * image.new_tensor(GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def median_filter(image: Tensor, side: int = 5) -> Tensor:
    """Median of each side x side window, zeros beyond the edge (as kornia's of the published code's time)."""
    b, c, height, width = image.shape
    windows = F.unfold(image.reshape(b * c, 1, height, width), side, padding=side // 2)  # [B * C, side * side, H * W]
    return windows.median(dim=1).values.reshape(image.shape)


def average_pool(image: Tensor, patch: int = 16) -> Tensor:
    """Each patch x patch block replaced by its mean; the size stays."""
    return F.avg_pool2d(image, patch).repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)


def hog(image: Tensor, bins: int = 9, cell: int = 8, window: int = 16) -> Tensor:
    """Histograms of oriented gradients as a map (MaskFeat, Wei et al., 2022), not normalised per cell.

    Args:
        image: [B, 1, H, W] in [0, 1], sides divisible by ``window``.
        bins: unsigned orientations over pi.
        cell: side in pixels over which magnitudes are summed.
        window: side of the Gaussian (deviation ``window // 2``) that weights magnitudes, repeated over the image.

    Returns:
        [B, bins, H, W], cells resized bilinearly to the image.
    """
    b, _, height, width = image.shape
    sobel = image.new_tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    kernels = torch.stack([sobel, sobel.t()])[:, None]
    gx, gy = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), kernels).unbind(dim=1)  # each [B, H, W]
    offset = (torch.arange(window, dtype=image.dtype, device=image.device) - (window - 1) / 2) / (window // 2)
    bell = torch.exp(-0.5 * offset.square())
    weight = bell[:, None] * bell[None, :]
    weight = (weight / weight.sum()).repeat(height // window, width // window)
    index = (torch.atan2(gx, gy) / math.pi * bins).floor().long() % bins
    votes = image.new_zeros(b, bins, height, width)
    votes.scatter_(1, index[:, None], (torch.hypot(gx, gy) * weight)[:, None])
    cells = F.avg_pool2d(votes, cell) * cell**2
    return F.interpolate(cells, size=(height, width), mode="bilinear")


def gradient_features(image: Tensor, radii: tuple[int, ...] = MGF_RADII) -> Tensor:
    """Multi-scale gradients by ratio of averages, robust to speckle (MGF, SARATR-X, Li et al., 2025).

    For each radius r the logarithm of the ratio of the two half-window means left and right, and above and below (each
    half includes the centre line), as the length of that vector.

    Args:
        image: [B, 1, H, W] in [0, 1], sides above the largest radius.

    Returns:
        [B, len(radii), H, W].
    """
    height, width = image.shape[-2:]
    maps = []
    for r in radii:
        padded = F.pad(image, (r, r, r, r), mode="reflect") + 1e-2
        columns = F.avg_pool2d(padded, (2 * r + 1, r + 1), stride=1)  # [B, 1, H, W + r]
        rows = F.avg_pool2d(padded, (r + 1, 2 * r + 1), stride=1)  # [B, 1, H + r, W]
        gx = (columns[..., :width] / columns[..., r:]).log()
        gy = (rows[..., :height, :] / rows[..., r:, :]).log()
        maps.append(torch.hypot(gx, gy))
    return torch.cat(maps, dim=1)


@torch.no_grad()
def cross_targets(
    name: Target, rgb: Tensor, sar: Tensor, rgb_01: Tensor | None = None, sar_01: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Target images of both modalities.

    Args:
        name: a key of :data:`TARGETS`.
        rgb, sar: [B, 3, H, W], normalised.
        rgb_01, sar_01: the same in [0, 1]; "hog" and "mgf" need them.

    Returns:
        what SAR tokens shall predict of the optical image, and what optical tokens shall predict of the SAR image:
        [B, C, H, W] each, C as :func:`target_channels` says.

    Raises:
        ValueError: the images in [0, 1] are needed and not given, or the name is unknown.
    """
    if name == "grey":
        return grey(rgb), sar.mean(dim=1, keepdim=True)
    if name == "pixel":
        return rgb, sar
    if name == "median":
        return median_filter(rgb), median_filter(sar)
    if name == "pool":
        return average_pool(rgb), average_pool(sar)
    if name not in TARGETS:
        raise ValueError(f"unknown target {name!r}, expected one of {', '.join(TARGETS)}")
    if rgb_01 is None or sar_01 is None:
        raise ValueError(f"target {name!r} is made of the images in [0, 1], which were not given")
    features = hog if name == "hog" else gradient_features
    return features(grey(rgb_01)), features(sar_01.mean(dim=1, keepdim=True))
