"""A radar image that never was: an optical image made to look like SAR, to try optical-SAR programs without SAR data.

What it has of radar: one channel of amplitude; a strength that follows roughness more than colour (smooth ground is
dark, rubble and edges are bright); multiplicative speckle of a few looks. What it has not: layover, shadow,
foreshortening, double bounce, moisture, any view from the side. It tests programs and shows their use; what is learnt
from it says nothing about real radar.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

#: independent looks that are averaged: speckle has a deviation of 1 / sqrt(looks) of the intensity
LOOKS = 4
#: backscatter in dB of black smooth ground, what white adds, and what a local deviation of grey of 1 adds
FLOOR_DB, BRIGHT_DB, ROUGH_DB = -20.0, 6.0, 90.0
#: the strongest backscatter, and what becomes 255
CEILING_DB = 0.0
#: extent in pixels of what counts as rough
SIGMA = 2.0


def simulate_sar(optical: NDArray[np.floating[Any]], seed: int = 0) -> NDArray[np.uint8]:
    """Amplitude of a simulated SAR image.

    ``dB = FLOOR_DB + BRIGHT_DB g + ROUGH_DB s``, up to ``CEILING_DB``, with ``g`` the grey (BT.601) and ``s`` its
    deviation in a Gaussian window of ``SIGMA``; intensity ``10^(dB / 10)`` times speckle of a gamma distribution with
    mean 1 and shape ``LOOKS``; its root over the root of the ceiling, times 255.

    Args:
        optical: [3, H, W] in 0..1.
        seed: of the speckle.

    Returns:
        [H, W], 1..255: 0 is left for what was not measured.
    """
    grey = np.tensordot((0.299, 0.587, 0.114), np.asarray(optical, np.float64), axes=1)
    mean = gaussian_filter(grey, SIGMA)
    rough = np.sqrt(np.maximum(gaussian_filter(grey**2, SIGMA) - mean**2, 0))
    decibel = np.minimum(FLOOR_DB + BRIGHT_DB * grey + ROUGH_DB * rough, CEILING_DB)
    speckle = np.random.default_rng(seed).gamma(LOOKS, 1 / LOOKS, grey.shape)
    amplitude = np.sqrt(10 ** ((decibel - CEILING_DB) / 10) * speckle)
    return np.clip(np.round(255 * amplitude), 1, 255).astype(np.uint8)
