"""A calibration of whole buildings: fitted where it helps on buildings left out, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from codemae_train.confidence import fit_buildings, halves, labelled_areas, left_out

from codemae_geo.metrics.calibration import fit_logistic


def buildings(n: int, seed: int, slope: float, sure: float) -> np.ndarray:
    """Rows of buildings whose class is right as often as a logistic of their score says; pixels always ``sure``."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(0.05, 0.95, n)
    chance = 1 / (1 + np.exp(-slope * np.log(score / (1 - score))))
    right = rng.uniform(size=n) < chance
    truth = rng.integers(1, 4, n)
    found = np.where(right, truth, truth % 3 + 1)
    return np.stack([truth, found, score, np.full(n, sure), score], axis=1).astype(float)


def test_a_calibration_that_helps_is_kept() -> None:
    images = [buildings(300, i, 0.5, 0.95) for i in range(4)]
    fitted = fit_buildings(images, "somewhere")
    assert fitted is not None
    assert fitted.slope == pytest.approx(0.5, abs=0.12) and abs(fitted.intercept) < 0.2
    assert fitted.split.startswith("1200 buildings of somewhere; ECE 0.0")


def test_one_that_does_not_is_left_out() -> None:
    images = [buildings(300, i, 1.0, 0.0) for i in range(4)]
    for rows in images:
        rows[:, 3] = (rows[:, 0] == rows[:, 1]).mean()  # the mean of the pixels is honest already
    assert fit_buildings(images, "somewhere") is None
    assert fit_buildings([], "nowhere") is None
    assert fit_buildings([buildings(12, 0, 1.0, 0.9)], "too few") is None


def test_nobody_is_judged_by_their_own_fit() -> None:
    rows = buildings(400, 3, 1.0, 0.9)
    fold = halves([rows])
    assert fold.sum() == 200 and not fold[0] and fold[-1]
    assert halves([rows[:3], rows[:2]]).tolist() == [False] * 3 + [True] * 2
    flipped = rows.copy()
    flipped[fold, 1] = np.where(rows[fold, 0] == rows[fold, 1], rows[fold, 0] % 3 + 1, rows[fold, 0])
    one, other = left_out(rows, fold), left_out(flipped, fold)
    assert one is not None and other is not None
    assert one["ece"] < 0.1 < other["ece"]  # the halves contradict each other now


def test_a_score_that_says_nothing_gives_the_share() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=500)
    slope, intercept = fit_logistic(z, rng.uniform(size=500) < 1 / (1 + np.exp(z)))  # the wrong way round
    assert slope == 0 and abs(1 / (1 + np.exp(-intercept)) - 0.5) < 0.1


def test_areas_are_connected_and_known() -> None:
    label = np.array([[1, 1, 0, 3], [0, 255, 0, 3]], np.uint8)
    assert labelled_areas(label).tolist() == [[1, 1, 0, 2], [0, 0, 0, 2]]
