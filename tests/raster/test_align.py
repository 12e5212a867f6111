from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from codemae_geo.errors import InputError
from codemae_geo.raster.align import crop, overlap, same_scene, target_grid
from codemae_geo.raster.geo import ground_size, is_north_up, lattice_offset, outline, utm_crs
from codemae_geo.raster.read import AlignedReader
from codemae_geo.raster.scene import Scene

RGB = np.ones((3, 50, 60), "u1")
BASE = Affine(2.0, 0.0, 500_000.0, 0.0, -2.0, 5_000_000.0)


def scene_at(make_raster: Any, name: str, transform: Affine, crs: str = "EPSG:32633", role: str = "pre") -> Scene:
    return Scene.open(make_raster(name, RGB, transform=transform, crs=crs), role=role)


def test_default_is_the_pre_grid_bit_for_bit(shared: Path) -> None:
    pre, post = Scene.open(shared / "data/joplin/pre"), Scene.open(shared / "data/joplin/post", role="post")
    grid = target_grid(pre, post)
    assert grid.affine == pre.geobox.affine
    corners = []
    for path in (shared / "data/joplin/pre").glob("*.tif"):
        with rasterio.open(path) as ds:
            corners.append(ds.bounds)
    box = grid.extent.boundingbox
    pixel = 0.6
    # half an ulp of a northing of four million metres is already 8e-10 pixels
    assert abs(box.left - min(c.left for c in corners)) <= 1e-9 * pixel
    assert abs(box.top - max(c.top for c in corners)) <= 1e-9 * pixel
    assert abs(box.right - max(c.right for c in corners)) <= 2e-9 * pixel
    assert abs(box.bottom - min(c.bottom for c in corners)) <= 2e-9 * pixel


def test_post_grid_and_other_systems(shared: Path) -> None:
    pre, post = Scene.open(shared / "data/joplin/pre"), Scene.open(shared / "data/joplin/post", role="post")
    assert target_grid(pre, post, grid="post") == post.geobox
    utm = target_grid(pre, post, grid="utm")
    assert utm.crs == "EPSG:32615"
    for grid in (utm, target_grid(pre, post, dst_crs="EPSG:3857"), target_grid(pre, post, dst_crs="EPSG:4326")):
        assert is_north_up(grid)
        assert outline(grid).buffer(2e-3 * grid.affine.a).contains(pre.footprint(grid.crs))
        assert np.prod(ground_size(grid)) == pytest.approx(0.36, rel=0.01)
        steps = grid.affine.c / grid.affine.a
        assert steps == pytest.approx(round(steps), abs=1e-6)
    assert target_grid(pre, post, dst_crs="EPSG:26915") == pre.geobox
    coarse = target_grid(pre, post, res=5)
    assert coarse.affine.a == 5 and coarse.affine.c % 5 == 0 and coarse.affine.f % 5 == 0


@pytest.mark.parametrize("degrees", [30, 76, 180, 255])
def test_a_rotated_grid_gives_way_to_north_up(make_raster: Any, degrees: float) -> None:
    scene = scene_at(make_raster, "a.tif", BASE * Affine.rotation(degrees))
    grid = target_grid(scene)
    assert is_north_up(grid)
    assert grid.crs == scene.crs
    assert grid.affine.a == pytest.approx(2)
    assert outline(grid).buffer(4e-3).contains(scene.footprint())


def test_south_up_is_flipped_not_interpolated(make_raster: Any) -> None:
    data = np.random.default_rng(0).integers(0, 255, (3, 50, 60), dtype="u1")
    scene = Scene.open(make_raster("a.tif", data, transform=Affine(2, 0, 500_000, 0, 2, 5_000_000)))
    grid = target_grid(scene)
    assert is_north_up(grid) and grid.shape.yx == (50, 60)
    with AlignedReader(scene, grid) as reader:
        np.testing.assert_array_equal(reader.read_rows(0, 50).data, data[:, ::-1])


@settings(max_examples=40, deadline=None)
@given(
    left=st.floats(-10, 119), bottom=st.floats(-10, 99), width=st.floats(0.1, 80), height=st.floats(0.1, 80)
)  # fmt: skip
def test_a_crop_is_whole_pixels_of_the_grid_around_the_area(
    left: float, bottom: float, width: float, height: float
) -> None:
    grid = GeoBox((50, 60), BASE, "EPSG:32633")  # 120 m x 100 m
    area = shapely.box(500_000 + left, 4_999_900 + bottom, 500_000 + left + width, 4_999_900 + bottom + height)
    inside = shapely.intersection(area, outline(grid))
    if inside.area < 0.1:
        return
    part = crop(grid, area, "EPSG:32633", "--bounds")
    offset = lattice_offset(grid, part)
    assert offset is not None
    col, row = offset
    rows, cols = part.shape.yx
    assert row >= 0 and row + rows <= 50 and col >= 0 and col + cols <= 60
    assert outline(part).buffer(2 * 2e-3).contains(inside)
    assert outline(part).area <= (inside.bounds[2] - inside.bounds[0] + 4) * (inside.bounds[3] - inside.bounds[1] + 4)


def test_bounds_and_area_of_interest(make_raster: Any) -> None:
    scene = scene_at(make_raster, "a.tif", BASE)
    grid = target_grid(scene, bounds=(500_011, 4_999_951, 500_031, 4_999_981))
    assert grid.affine.c == 500_010 and grid.affine.f == 4_999_982
    assert grid.shape.xy == (11, 16)
    lonlat = outline(grid, "EPSG:4326")
    again = target_grid(scene, aoi=(lonlat.buffer(-1e-6), "EPSG:4326"))
    assert again == grid
    west, south, east, north = lonlat.bounds
    assert target_grid(scene, bounds=(west, south, east, north), bounds_crs="EPSG:4326").shape.x >= 11
    with pytest.raises(InputError, match="outside") as error:
        target_grid(scene, bounds=(0, 0, 1, 1))
    assert "bounds" in str(error.value)
    for nowhere in (shapely.box(10, 10, 11, 11), shapely.Polygon()):
        with pytest.raises(InputError, match=r"aoi"):
            target_grid(scene, aoi=(nowhere, "EPSG:4326"))


def test_bad_options_are_refused(make_raster: Any) -> None:
    scene = scene_at(make_raster, "a.tif", BASE)
    with pytest.raises(InputError, match="not a coordinate reference system"):
        target_grid(scene, dst_crs="EPSG:nonsense")
    for crs in ("EPSG:5773", "EPSG:4978"):  # heights; coordinates from the middle of the Earth
        with pytest.raises(InputError, match="cannot be drawn"):
            target_grid(scene, dst_crs=crs)
    with pytest.raises(InputError, match="must be positive"):
        target_grid(scene, res=-1)


# ---------------------------------------------------------------------------------------------------- overlap


def test_overlap_is_a_true_area(make_raster: Any) -> None:
    pre = scene_at(make_raster, "a.tif", BASE)
    post = scene_at(make_raster, "b.tif", BASE.translation(500_060, 5_000_000) * BASE.scale(2, -2), role="post")
    common = overlap(pre, post)
    # scale of UTM at the central meridian is 0.9996, so the ground is larger than the map
    assert common.area_m2 == pytest.approx(60 * 100 / 0.9996**2, rel=1e-4)
    assert common.fraction_of_pre == pytest.approx(0.5, rel=1e-4)
    assert common.fraction_of_post == pytest.approx(0.5, rel=1e-4)


def test_real_overlaps(shared: Path) -> None:
    pre, post = Scene.open(shared / "data/joplin/pre"), Scene.open(shared / "data/joplin/post", role="post")
    common = overlap(pre, post)
    assert 0.7 < common.fraction_of_pre < 0.8
    assert overlap(post, pre).area_m2 == pytest.approx(common.area_m2, rel=1e-4)


def test_no_overlap_names_both_extents(make_raster: Any) -> None:
    pre = scene_at(make_raster, "a.tif", BASE)
    post = scene_at(make_raster, "b.tif", Affine(1e-5, 0, 100, 0, -1e-5, 10), "EPSG:4326", "post")
    with pytest.raises(InputError, match="do not overlap") as error:
        overlap(pre, post)
    assert "15.0000" in str(error.value) and "100.0000" in str(error.value)


def test_the_same_file_twice_is_refused(make_raster: Any, tmp_path: Path) -> None:
    path = make_raster("a.tif", RGB)
    link = tmp_path / "link.tif"
    link.symlink_to(path)
    with pytest.raises(InputError, match="same file"):
        same_scene(Scene.open(path), Scene.open(link, role="post"))
    other = make_raster("b.tif", RGB)
    same_scene(Scene.open(path), Scene.open(other, role="post"))


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", Affine(1e-3, 0, 179.97, 0, -1e-3, 10)),  # over the date line
        ("EPSG:32660", Affine(100, 0, 830_000, 0, -100, 1_000_000)),  # the same in UTM
        ("EPSG:3413", Affine(100, 0, -3000, 0, -100, 2500)),  # around the north pole
        ("EPSG:3031", Affine(100, 0, -3000, 0, -100, 2500)),  # around the south pole
        ("EPSG:4326", Affine(6, 0, -180, 0, -3.6, 90)),  # the whole world
    ],
)
def test_edges_of_the_world(make_raster: Any, crs: str, transform: Affine) -> None:
    scene = scene_at(make_raster, "a.tif", transform, crs)
    other = scene_at(make_raster, "b.tif", transform, crs, "post")
    assert overlap(scene, other).fraction_of_pre > 0.9
    assert np.isfinite(scene.gsd)
    grid = target_grid(scene, other)
    assert grid == scene.geobox
    with AlignedReader(other, target_grid(scene, other, grid="utm" if transform.a < 6 else "pre")) as reader:
        rows = reader.shape[0]
        assert reader.read_rows(rows // 2, rows // 2 + 1).valid.any()


@pytest.mark.parametrize("west", [-94.5, 179.99])
def test_longitudes_a_turn_apart_are_one_place(make_raster: Any, west: float) -> None:
    noise = np.random.default_rng(0).integers(1, 255, (3, 20, 40), dtype="u1")
    places = [Affine(1e-3, 0, west + turn, 0, -1e-3, 37) for turn in (0, 360, -360)]
    scenes = [Scene.open(make_raster(f"{p.c}.tif", noise, transform=p, crs="EPSG:4326")) for p in places]
    for pre in scenes:
        grid = target_grid(pre)
        assert grid.affine == pre.geobox.affine
        for post in scenes:
            common = overlap(pre, post)
            assert crop(grid, common.geometry, common.crs, "here").shape == grid.shape
            with AlignedReader(post, grid) as reader:
                pixels = reader.read_rows(0, 20)
            assert pixels.valid.all()
            np.testing.assert_array_equal(pixels.data, noise)


def test_a_mosaic_goes_over_the_date_line(make_raster: Any) -> None:
    noise = np.random.default_rng(0).integers(1, 255, (3, 20, 40), dtype="u1")
    east = make_raster("a.tif", noise[:, :, :25], transform=Affine(1e-3, 0, 179.975, 0, -1e-3, -17), crs="EPSG:4326")
    west = make_raster("b.tif", noise[:, :, 25:], transform=Affine(1e-3, 0, -180, 0, -1e-3, -17), crs="EPSG:4326")
    for order in ([east, west], [west, east]):
        scene = Scene.open(order)
        with AlignedReader(scene, scene.geobox) as reader:
            np.testing.assert_array_equal(reader.read_rows(0, 20).data, noise)


@pytest.mark.parametrize(
    ("lon", "lat", "code"), [(15, 45, 32633), (15, -45, 32733), (-180, 0, 32601), (179.9, 1, 32660), (0, 85, 32661)]
)
def test_utm_zones(lon: float, lat: float, code: int) -> None:
    assert utm_crs(lon, lat) == f"EPSG:{code}"
