"""Structural similarity of an optical and a SAR image at ever coarser resolution (CoDe-MAE, Fig. 1).

The paper names a Gaussian pyramid and no formula. Here: grey is BT.601 of values in 0..1; a level is smoothed by
(1, 4, 6, 4, 1)/16 along both axes, mirrored at the border without repeating it, and every second sample from 0 is kept;
SSIM has Gaussian moments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, gaussian_filter

Floats = NDArray[np.floating[Any]]

#: weights of red, green and blue (BT.601)
BT601 = (0.299, 0.587, 0.114)
_BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16
#: stabilising constants of SSIM for values in 0..1
_C1, _C2 = 0.01**2, 0.03**2
#: the Gaussian of SSIM: standard deviation and radius in pixels; a border as wide as the radius is left out of means
SIGMA, RADIUS = 1.5, 5


def grey(rgb: Floats) -> Floats:
    """Luma ``[..., H, W]`` of ``rgb [..., 3, H, W]``, in its unit."""
    return np.tensordot(BT601, np.moveaxis(rgb, -3, 0), axes=1)


def pyramid_down(image: Floats) -> Floats:
    """The next coarser level of ``image [H, W]``: ``[ceil(H / 2), ceil(W / 2)]``."""
    for axis in (0, 1):
        image = convolve1d(image, _BINOMIAL, axis=axis, mode="mirror")
    return image[::2, ::2]


def ssim_map(a: Floats, b: Floats) -> Floats:
    """Structural similarity at every pixel of two images ``[H, W]`` in 0..1 (Wang et al. 2004, biased moments).

    Raises:
        ValueError: the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"images of {a.shape} and {b.shape} have no common pixels")

    def mean(image: Floats) -> Floats:
        return gaussian_filter(image, SIGMA, radius=RADIUS, mode="reflect")

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    return (
        (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2) / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2))
    )


def ssim(a: Floats, b: Floats) -> float:
    """Mean of :func:`ssim_map` without the border that the Gaussian reaches across.

    Raises:
        ValueError: the shapes differ, or the images are no larger than that border.
    """
    if min(a.shape) <= 2 * RADIUS:
        raise ValueError(f"an image of {a.shape} is smaller than {2 * RADIUS + 1} pixels")
    return float(ssim_map(a, b)[RADIUS:-RADIUS, RADIUS:-RADIUS].mean())


def ssim_by_resolution(optical: Floats, sar: Floats, levels: int) -> Iterator[tuple[int, float]]:
    """SSIM at every level of the pyramid.

    Args:
        optical, sar: grey images ``[H, W]`` in 0..1 on one grid.
        levels: levels to look at; levels too small for the measure are left out.

    Yields:
        ``(factor, ssim)``: pixels are ``factor`` times as large as those of the images.
    """
    for level in range(levels):
        if min(optical.shape) <= 2 * RADIUS:
            return
        yield 2**level, ssim(optical, sar)
        optical, sar = pyramid_down(optical), pyramid_down(sar)


def patch_ssim(a: Floats, b: Floats, patch: int = 16) -> Floats:
    """One SSIM per patch, of its plain biased moments: ``[H / patch, W / patch]`` for images ``[H, W]`` in 0..1.

    Raises:
        ValueError: a side does not divide by ``patch``.
    """
    x, y = patches(a, patch), patches(b, patch)
    mean_x, mean_y = x.mean(-1), y.mean(-1)
    covariance = (x * y).mean(-1) - mean_x * mean_y
    return (
        (2 * mean_x * mean_y + _C1)
        * (2 * covariance + _C2)
        / ((mean_x**2 + mean_y**2 + _C1) * (x.var(-1) + y.var(-1) + _C2))
    )


def patches(image: Floats, patch: int) -> Floats:
    """``[H, W]`` to ``[H / patch, W / patch, patch * patch]``.

    Raises:
        ValueError: a side does not divide by ``patch``.
    """
    height, width = image.shape
    if height % patch or width % patch:
        raise ValueError(f"{height} x {width} pixels do not divide into patches of {patch}")
    blocks = image.reshape(height // patch, patch, width // patch, patch).swapaxes(1, 2)
    return blocks.reshape(height // patch, width // patch, patch * patch)
