from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from codemae_geo.raster.align import target_grid
from codemae_geo.raster.offset import OffsetEstimate, correlation_surface, estimate_offset
from codemae_geo.raster.read import AlignedReader
from codemae_geo.raster.scene import Scene

BASE = Affine(2.0, 0.0, 500_000.0, 0.0, -2.0, 5_000_000.0)


def estimate(pre: Scene, post: Scene, **options: Any) -> OffsetEstimate:
    grid = target_grid(pre, post)
    with AlignedReader(pre, grid) as a, AlignedReader(post, grid) as b:
        return estimate_offset(a, b, grid, **options)


def town(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """Bright and dark boxes, ``[3, h, w]`` uint8."""
    rng = np.random.default_rng(seed)
    image = np.full((rows, cols), 100.0)
    for r, c, h, w, v in zip(
        *(rng.integers(a, b, 300) for a, b in ((0, rows), (0, cols), (4, 25), (4, 25), (20, 220))), strict=True
    ):
        image[r : r + h, c : c + w] = v
    return np.clip(image + rng.normal(0, 5, (3, rows, cols)), 0, 255).astype("u1")


@pytest.mark.parametrize(("right", "down"), [(0, 0), (7, -12), (-20, 3), (1, 1)])
def test_planted_shifts_come_back(make_raster: Any, right: int, down: int) -> None:
    image = town(400, 400)
    pre = Scene.open(make_raster("a.tif", image[:, 50:350, 50:350]))
    post_image = 255 - image[:, 50 - down : 350 - down, 50 - right : 350 - right]  # brightness upside down
    post = Scene.open(make_raster("b.tif", np.ascontiguousarray(post_image)), role="post")
    found = estimate(pre, post)
    assert found.quality == "good"
    assert (found.dx_px, found.dy_px) == pytest.approx((right, down), abs=0.5)
    assert (found.dx_m, found.dy_m) == pytest.approx((2 * right, -2 * down), abs=1)
    assert found.windows == 1


def test_a_planted_shift_in_a_real_pair_comes_back(shared: Path) -> None:
    pre, post = Scene.open(shared / "data/joplin/pre"), Scene.open(shared / "data/joplin/post", role="post")
    plain = estimate(pre, post)
    moved = estimate(pre, displaced(post, east=7 * 0.6, north=12 * 0.6))
    assert plain.quality == moved.quality == "good"
    assert np.hypot(plain.dx_px, plain.dy_px) < 4
    assert (moved.dx_px - plain.dx_px, moved.dy_px - plain.dy_px) == pytest.approx((7, -12), abs=1)
    assert (moved.dx_m - plain.dx_m, moved.dy_m - plain.dy_m) == pytest.approx((4.2, 7.2), abs=0.6)


def displaced(scene: Scene, east: float, north: float) -> Scene:
    """A scene in degrees whose georeference is wrong by so many metres."""
    files = []
    for file in scene.files:
        a = file.geobox.affine
        degree = 111_200
        moved = Affine.translation(east / degree / np.cos(np.radians(a.f)), north / degree) * a
        files.append(replace(file, geobox=GeoBox(file.geobox.shape, moved, file.geobox.crs)))
    return replace(scene, files=tuple(files))


def test_radar_that_shows_the_same_edges_is_found(shared: Path) -> None:
    folder = shared / "data/los_angeles_s1s2"
    found = estimate(Scene.open(folder / "optical"), Scene.open(folder / "sar", role="post", family="sar"))
    assert found.quality == "good"
    assert np.hypot(found.dx_px, found.dy_px) < 4


def test_unrelated_images_are_weak(make_raster: Any) -> None:
    pre = Scene.open(make_raster("a.tif", town(600, 600, 1)))
    post = Scene.open(make_raster("b.tif", town(600, 600, 2)), role="post")
    assert estimate(pre, post).quality == "weak"


def test_too_little_common_ground_is_unknown(make_raster: Any) -> None:
    pre = Scene.open(make_raster("a.tif", town(200, 200)))
    post = Scene.open(make_raster("b.tif", town(200, 200), transform=BASE * Affine.translation(150, 0)), role="post")
    assert estimate(pre, post).quality == "unknown"
    tiny = Scene.open(make_raster("c.tif", town(4, 4)))
    assert estimate(tiny, tiny).quality == "unknown"
    flat = Scene.open(make_raster("d.tif", np.full((3, 200, 200), 7, "u1")))
    found = estimate(flat, flat)
    assert found.quality == "unknown"
    assert json.loads(json.dumps(found.as_dict()))["windows"] == 0
    assert "unknown" in found.describe()


def test_holes_do_not_pull_the_peak(make_raster: Any) -> None:
    image = town(400, 400)
    pre_image, post_image = image[:, 50:350, 50:350].copy(), image[:, 45:345, 41:341].copy()
    pre_image[:, 100:180, 60:200] = 0
    post_image[:, 100:180, 60:200] = 0  # the same hole in both, though the content has moved
    pre = Scene.open(make_raster("a.tif", pre_image, nodata=0))
    post = Scene.open(make_raster("b.tif", post_image, nodata=0), role="post")
    found = estimate(pre, post)
    assert (found.dx_px, found.dy_px) == pytest.approx((9, 5), abs=0.5)


def test_the_surface_is_the_textbook_correlation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 48, 40))
    va, vb = rng.random((2, 48, 40)) > 0.2
    surface = correlation_surface(a, va, b, vb, 5)
    assert surface is not None and surface.shape == (11, 11)
    for dy, dx in [(0, 0), (3, -5), (-4, 2)]:
        ys, xs = np.mgrid[max(0, -dy) : min(48, 48 - dy), max(0, -dx) : min(40, 40 - dx)]
        both = va[ys, xs] & vb[ys + dy, xs + dx]
        expected = np.corrcoef(a[ys, xs][both], b[ys + dy, xs + dx][both])[0, 1]
        assert surface[5 + dy, 5 + dx] == pytest.approx(expected, abs=1e-9)
