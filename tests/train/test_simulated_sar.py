"""Simulated radar: what its speckle is, and that it says what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from codemae_train.simulated_sar import FLOOR_DB, LOOKS, simulate_sar

from codemae_geo.demo import SCENES


def test_smooth_ground_is_speckle_of_the_stated_looks() -> None:
    flat = simulate_sar(np.zeros((3, 256, 256)), seed=3).astype(float)
    intensity = (flat / 255) ** 2
    assert intensity.mean() == pytest.approx(10 ** (FLOOR_DB / 10), rel=0.03)
    assert intensity.std() / intensity.mean() == pytest.approx(1 / np.sqrt(LOOKS), rel=0.05)


def test_roughness_is_bright_and_the_seed_decides_the_speckle() -> None:
    image = np.full((3, 64, 64), 0.5)
    image[:, :, 32:] += np.random.default_rng(0).uniform(-0.2, 0.2, (1, 64, 32))
    sar = simulate_sar(image, seed=1)
    assert sar[:, 40:].mean() > 1.5 * sar[:, :24].mean()
    assert np.array_equal(sar, simulate_sar(image, seed=1)) and not np.array_equal(sar, simulate_sar(image, seed=2))
    assert sar.min() >= 1


def test_the_demo_scene_says_that_it_is_simulated() -> None:
    with rasterio.open(SCENES["demo:post"]) as optical, rasterio.open(SCENES["demo:post-sar"]) as sar:
        assert "SIMULATED" in sar.tags()["DESCRIPTION"] and "simulated" in sar.descriptions[0]
        assert (sar.shape, sar.transform, sar.crs) == (optical.shape, optical.transform, optical.crs)
        assert np.array_equal(sar.read(1), simulate_sar(optical.read() / 255, seed=1))
    assert Path(SCENES["demo:post-sar"]).stat().st_size < 1_000_000
