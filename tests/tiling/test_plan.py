"""Laws of the tile plan: coverage, cores, weights, ring."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codemae_geo.tiling import BLENDS, RollingAccumulator, axis_cores, axis_starts, axis_weights, plan_tiles

axis = st.tuples(st.integers(1, 400), st.integers(1, 150), st.floats(0, 0.95))


def stride_of(window: int, overlap: float) -> int:
    return max(1, round(window * (1 - overlap)))


@given(axis)
def test_starts_cover_every_pixel_and_never_repeat(axis: tuple[int, int, float]) -> None:
    size, window, overlap = axis
    starts = axis_starts(size, window, stride_of(window, overlap))
    assert starts[0] == 0
    assert all(b > a for a, b in itertools.pairwise(starts))
    covered = np.zeros(size, bool)
    for start in starts:
        assert start + window <= size or start == 0
        covered[start : start + window] = True
    assert covered.all()


@given(axis)
def test_cores_tile_the_axis_once_and_lie_in_their_windows(axis: tuple[int, int, float]) -> None:
    size, window, overlap = axis
    starts = axis_starts(size, window, stride_of(window, overlap))
    seen = np.zeros(size, int)
    for start, (first, end) in zip(starts, axis_cores(starts, size, window), strict=True):
        assert start <= first < end <= min(start + window, size)
        seen[first:end] += 1
    assert (seen == 1).all()


@given(axis, st.sampled_from(BLENDS))
def test_weights_sum_to_one(axis: tuple[int, int, float], blend: str) -> None:
    size, window, overlap = axis
    starts = axis_starts(size, window, stride_of(window, overlap))
    weights = axis_weights(starts, size, window, blend)  # type: ignore[arg-type]
    total = np.zeros(size)
    for start, weight in zip(starts, weights, strict=True):
        n = min(window, size - start)
        total[start : start + n] += weight[:n]
        assert (weight[n:] == 0).all()
        if blend != "none":
            assert (weight[:n] > 0).all(), "a zero weight loses the outer ring"
    np.testing.assert_allclose(total, 1, atol=2e-6)


@given(st.integers(1, 120), st.integers(1, 120), st.integers(8, 64), st.floats(0, 0.8), st.sampled_from(BLENDS))
@settings(max_examples=60, deadline=None)
def test_blending_the_identity_returns_the_raster(h: int, w: int, window: int, overlap: float, blend: str) -> None:
    image = np.random.default_rng(h * 1000 + w).random((2, h, w), np.float32)
    plan = plan_tiles(h, w, window, overlap, blend=blend, multiple=8)  # type: ignore[arg-type]
    ring = RollingAccumulator(2, plan.window[0], w)
    rows = []
    for i, row in enumerate(plan.row_starts):
        for j, col in enumerate(plan.col_starts):
            piece = image[:, row : row + plan.window[0], col : col + plan.window[1]]
            ring.add(row, col, piece, (plan.row_weights[i], plan.col_weights[j]))
        rows.append(ring.take(plan.finished(i)).copy())
    np.testing.assert_allclose(np.concatenate(rows, 1), image, atol=2e-6)


@pytest.mark.parametrize("cached", [1, 1000, 2**19])
def test_weights_are_multiplied_and_added_to_the_same_bits_in_any_steps(
    cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codemae_geo.tiling.accumulate._CACHED", cached)
    random = np.random.default_rng(0)
    ring = RollingAccumulator(3, 40, 50, top=25)  # the window crosses the ring's end
    rows, columns = random.random(40, np.float32), random.random(40, np.float32)
    expected = np.zeros((3, 40, 50), np.float32)
    for col, width in ((0, 40), (20, 30)):
        scores = random.random((3, 40, width), np.float32)
        ring.add(25, col, scores, (rows, columns))
        expected[:, :, col : col + width] += scores * (rows[:, None] * columns[None, :width])
    np.testing.assert_array_equal(ring.take(65), expected)


def test_rows_taken_are_lent_until_the_next_but_one_is_taken() -> None:
    ring = RollingAccumulator(1, 4, 3)
    taken = []
    for value in (1, 2, 3):
        ring.add(value * 4 - 4, 0, np.full((1, 4, 3), value, np.float32))
        taken.append(ring.take(value * 4))
        assert all((strip == i + 1).all() for i, strip in enumerate(taken) if i >= value - 2)
    assert (taken[0] == 3).all()


def test_a_window_shrinks_to_a_small_raster_and_no_further_than_the_network_takes() -> None:
    plan = plan_tiles(40, 2000, 512, 0.5)
    assert plan.window == (64, 512)
    assert plan.row_starts == (0,)


def test_ring_refuses_rows_that_are_gone() -> None:
    ring = RollingAccumulator(1, 4, 3)
    ring.add(0, 0, np.ones((1, 4, 3), np.float32))
    ring.take(2)
    with pytest.raises(ValueError, match="outside the ring"):
        ring.add(1, 0, np.ones((1, 1, 3), np.float32))
    with pytest.raises(ValueError, match="outside the ring"):
        ring.add(3, 0, np.ones((1, 4, 3), np.float32))


@pytest.mark.parametrize("arguments", [(0, 5, 8, 0.5), (5, 5, 0, 0.5), (5, 5, 8, 1.0), (5, 5, 8, -0.1)])
def test_impossible_plans_are_refused(arguments: tuple[int, int, int, float]) -> None:
    with pytest.raises(ValueError, match=r"plan|overlap"):
        plan_tiles(*arguments)
