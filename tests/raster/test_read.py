"""Strips on the target grid: exact where nothing is resampled, like one warp of the whole elsewhere."""

from __future__ import annotations

import pickle
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import reproject

from codemae_geo.errors import InputError
from codemae_geo.raster import read as read_module
from codemae_geo.raster.align import target_grid
from codemae_geo.raster.geo import outline, shifted
from codemae_geo.raster.read import MAX_OPEN, AlignedReader, Pixels
from codemae_geo.raster.scene import Scene
from codemae_geo.sensors import plan_conversion

BASE = Affine(2.0, 0.0, 500_000.0, 0.0, -2.0, 5_000_000.0)


def read_all(scene: Scene, grid: GeoBox, step: int | None = None, **options: Any) -> Pixels:
    with AlignedReader(scene, grid, **options) as reader:
        rows = reader.shape[0]
        step = step or rows
        parts = [reader.read_rows(r, min(r + step, rows)) for r in range(0, rows, step)]
    return Pixels(np.concatenate([p.data for p in parts], 1), np.concatenate([p.valid for p in parts]))


def smooth(rows: int, cols: int, bands: int = 3) -> np.ndarray:
    y, x = np.mgrid[:rows, :cols]
    return np.stack([40 + 90 * (1 + np.sin(x / 9 + b) * np.cos(y / 7 - b)) for b in range(bands)])


# ---------------------------------------------------------------------------------------------------- no resampling


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
def test_the_own_grid_returns_every_bit(make_raster: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    data = rng.uniform(0, 255, (3, 70, 50)).astype(dtype)
    scene = Scene.open(make_raster("a.tif", data))
    got = read_all(scene, scene.geobox, 13, chunk_rows=16)
    assert got.data.dtype == dtype
    np.testing.assert_array_equal(got.data, data)
    assert got.valid.all()


def test_real_mosaic_equals_its_files(shared: Path) -> None:
    scene = Scene.open(shared / "data/joplin/pre")
    got = read_all(scene, scene.geobox, 300)
    assert got.valid.all()
    with rasterio.open(shared / "data/joplin/pre/tile_1361-10160.tif") as ds:
        np.testing.assert_array_equal(got.data[:, 1024:, 1024:], ds.read())
    with rasterio.open(shared / "data/joplin/pre/tile_337-9136.tif") as ds:
        np.testing.assert_array_equal(got.data[:, :1024, :1024], ds.read())


def test_a_shifted_grid_is_copied_and_the_rest_invalid(make_raster: Any) -> None:
    data = np.random.default_rng(0).integers(0, 255, (3, 20, 30), dtype="u1")
    scene = Scene.open(make_raster("a.tif", data))
    grid = shifted(scene.geobox, -5, 12, 10, 45)
    got = read_all(scene, grid, 4)
    expected = np.zeros((17, 35), bool)
    expected[5:, :20] = True
    np.testing.assert_array_equal(got.valid, expected)
    np.testing.assert_array_equal(got.data[:, 5:, :20], data[:, :12, 10:])
    assert not got.data[:, ~expected].any()


def test_the_first_valid_pixel_wins(make_raster: Any) -> None:
    first = np.full((3, 10, 10), 1, "u1")
    first[:, :, 5:] = 0
    second = np.full((3, 10, 10), 2, "u1")
    a, b = make_raster("a.tif", first, nodata=0), make_raster("b.tif", second, nodata=0)
    got = read_all(Scene.open([a, b]), Scene.open(a).geobox)
    assert got.valid.all()
    assert (got.data[:, :, :5] == 1).all() and (got.data[:, :, 5:] == 2).all()
    got = read_all(Scene.open([b, a]), Scene.open(a).geobox)
    assert (got.data == 2).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_one_pixel_rasters(make_raster: Any, shape: tuple[int, int]) -> None:
    scene = Scene.open(make_raster("a.tif", np.full((3, *shape), 9, "u1")))
    got = read_all(scene, scene.geobox)
    assert got.valid.all() and (got.data == 9).all()
    warped = read_all(scene, target_grid(scene, dst_crs="EPSG:3857"))
    assert warped.valid.any() and (warped.data[:, warped.valid] == 9).all()


def test_rows_outside_are_a_programming_error(make_raster: Any) -> None:
    scene = Scene.open(make_raster("a.tif", np.ones((3, 5, 5), "u1")))
    with AlignedReader(scene, scene.geobox) as reader:
        for rows in ((-1, 2), (2, 2), (0, 6)):
            with pytest.raises(ValueError, match="not inside"):
                reader.read_rows(*rows)


# ---------------------------------------------------------------------------------------------------- warping


def whole_warp(path: Path, grid: GeoBox, method: Resampling = Resampling.bilinear) -> np.ndarray:
    """The same warp by one call on the whole array: what gdalwarp does with exact transformation."""
    with rasterio.open(path) as ds:
        data = ds.read().astype("f4")
        out = np.full((len(data), *grid.shape.yx), np.nan, "f4")
        reproject(
            data, out, src_transform=ds.transform, src_crs=ds.crs, src_nodata=np.nan, dst_transform=grid.affine,
            dst_crs=rasterio.crs.CRS.from_user_input(str(grid.crs)), dst_nodata=np.nan, resampling=method, tolerance=0,
            XSCALE=1, YSCALE=1,  # no wider kernel for pixels of nearly the same size
        )  # fmt: skip
    return out


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32634", "EPSG:3857"])
def test_warped_strips_equal_one_warp_of_the_whole(make_raster: Any, crs: str) -> None:
    path = make_raster("a.tif", smooth(300, 400).astype("f4"))
    scene = Scene.open(path, unit="uint8")
    grid = target_grid(scene, dst_crs=crs)
    got = read_all(scene, grid, 37, chunk_rows=50)
    expected = whole_warp(path, grid)
    covered = np.isfinite(expected).all(0)
    assert (got.valid == covered).mean() > 0.9995
    both = covered & got.valid
    assert np.abs(got.data - expected)[:, both].max() < 0.5  # a hundredth of a pixel, times the steepest slope
    assert np.abs(got.data - expected)[:, both].mean() < 0.02


def test_half_a_pixel_is_half_a_pixel(make_raster: Any) -> None:
    columns = np.tile(np.arange(40, dtype="f4"), (3, 30, 1))
    scene = Scene.open(make_raster("a.tif", columns), unit="uint8")
    grid = GeoBox((30, 39), BASE * Affine.translation(0.5, 0), "EPSG:32633")
    got = read_all(scene, grid)
    np.testing.assert_allclose(got.data[0, 5], np.arange(39) + 0.5, atol=1e-3)
    finer = GeoBox((60, 80), BASE * Affine.scale(0.5), "EPSG:32633")
    got = read_all(scene, finer)
    np.testing.assert_allclose(got.data[0, 20, 2:-2], (np.arange(80) / 2 - 0.25)[2:-2], atol=1e-3)


@pytest.mark.parametrize("degrees", [30, 76, 200])
def test_a_rotated_source_lands_where_it_is(make_raster: Any, degrees: float) -> None:
    affine = BASE * Affine.rotation(degrees)
    rows, cols = 120, 160
    c, r = np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5)
    x = affine.a * c + affine.b * r + affine.c - 500_000
    y = affine.d * c + affine.e * r + affine.f - 5_000_000
    scene = Scene.open(make_raster("a.tif", np.stack([x, y, x + y]).astype("f4"), transform=affine), unit="dn")
    grid = target_grid(scene)
    got = read_all(scene, grid, 19, chunk_rows=32)
    rr, cc = np.nonzero(got.valid)
    # within half a source pixel of the border there is no neighbour to interpolate with
    inner = [outline(scene.geobox).buffer(-4).contains(p) for p in _points(grid, rr[::97], cc[::97])]
    assert sum(inner) > 50
    expected_x = grid.affine.c + grid.affine.a * (cc + 0.5) - 500_000
    expected_y = grid.affine.f + grid.affine.e * (rr + 0.5) - 5_000_000
    keep = np.array(inner)
    np.testing.assert_allclose(got.data[0, rr, cc][::97][keep], expected_x[::97][keep], atol=0.05)
    np.testing.assert_allclose(got.data[1, rr, cc][::97][keep], expected_y[::97][keep], atol=0.05)
    assert got.valid.sum() == pytest.approx(rows * cols, rel=0.01)


def _points(grid: GeoBox, rows: np.ndarray, cols: np.ndarray) -> Any:
    a = grid.affine
    return shapely.points(a.c + a.a * (cols + 0.5), a.f + a.e * (rows + 0.5))


@pytest.mark.parametrize("kind", ["nan", "nodata"])
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_invalid_pixels_never_bleed(make_raster: Any, kind: str, crs: str) -> None:
    hole = np.zeros((100, 100), bool)
    hole[40:60, 30:70] = True
    hole[10, 10] = True
    bad = np.nan if kind == "nan" else -9999.0
    data = np.where(hole, bad, 50.0).astype("f4")[None].repeat(3, 0)
    path = make_raster("a.tif", data, **({} if kind == "nan" else {"nodata": bad}))
    scene = Scene.open(path, unit="dn")
    grid = target_grid(scene, dst_crs=crs) if crs != "EPSG:32633" else scene.geobox * Affine.translation(0.3, 0.4)
    got = read_all(scene, grid, 23, chunk_rows=32)
    np.testing.assert_allclose(got.data[:, got.valid], 50, rtol=1e-5)
    assert not got.data[:, ~got.valid].any()
    shares = 1 - got.valid[20:-20, 20:-20].sum() / got.valid[20:-20, 20:-20].size
    assert shares == pytest.approx(800 / 60**2, rel=0.15)


def test_the_valid_mask_follows_the_footprint(shared: Path) -> None:
    pre, post = Scene.open(shared / "data/joplin/pre"), Scene.open(shared / "data/joplin/post", role="post")
    grid = target_grid(pre, post)
    got = read_all(post, grid, 500)
    area = post.footprint(grid.crs)
    rows, cols = np.mgrid[100:2048:200, 100:2048:200]
    inside = [bool(area.contains(p)) for p in _points(grid, rows.ravel(), cols.ravel())]
    np.testing.assert_array_equal(got.valid[rows.ravel(), cols.ravel()], inside)


def test_tile_borders_leave_no_seam(make_raster: Any) -> None:
    image = smooth(128, 128).astype("f4")
    whole = make_raster("whole.tif", image)
    parts = [
        make_raster(f"{r}{c}.tif", image[:, r : r + 64, c : c + 64], transform=BASE * Affine.translation(c, r))
        for r in (0, 64)
        for c in (0, 64)
    ]
    one, many = Scene.open(whole, unit="dn"), Scene.open(parts, unit="dn")
    grid = target_grid(one, dst_crs="EPSG:4326")
    np.testing.assert_array_equal(read_all(one, grid).data, read_all(many, grid).data)


def test_coarser_targets_average(make_raster: Any) -> None:
    data = np.random.default_rng(0).normal(100, 20, (3, 256, 256)).astype("f4")
    scene = Scene.open(make_raster("a.tif", data), unit="dn")
    got = read_all(scene, target_grid(scene, res=16))
    expected = data.reshape(3, 32, 8, 32, 8).mean((2, 4))
    assert got.valid.all()
    np.testing.assert_allclose(got.data, expected, rtol=1e-4)


def test_overviews_serve_much_coarser_targets(make_raster: Any) -> None:
    data = smooth(1024, 1024).astype("u1")
    path = make_raster("a.tif", data, tiled=True, blockxsize=128, blockysize=128, overviews=(2, 4, 8))
    scene = Scene.open(path)
    grid = target_grid(scene, res=32)
    with AlignedReader(scene, grid) as reader:
        assert reader.layers[0].decimation == 8
    got = read_all(scene, grid)
    plain = data.reshape(3, 64, 16, 64, 16).mean((2, 4))
    assert got.valid.all()
    assert np.abs(got.data - plain).max() <= 1.5


@pytest.mark.parametrize("resampling", ["nearest", "cubic", "average"])
def test_other_methods_on_request(make_raster: Any, resampling: str) -> None:
    scene = Scene.open(make_raster("a.tif", smooth(64, 64).astype("u1")))
    grid = scene.geobox * Affine.translation(0.25, 0.25)
    got = read_all(scene, grid, resampling=resampling)
    if resampling == "nearest":
        np.testing.assert_array_equal(got.data[:, :60, :60], smooth(64, 64).astype("u1")[:, :60, :60])
    assert np.abs(got.data[:, 5:-5, 5:-5] - smooth(64, 64)[:, 5:-5, 5:-5]).max() < 12
    with pytest.raises(InputError, match="unknown resampling"):
        AlignedReader(scene, grid, resampling="best")


# ---------------------------------------------------------------------------------------------------- radar


def test_complex_becomes_amplitude_before_it_is_resampled(make_raster: Any) -> None:
    rng = np.random.default_rng(0)
    data = (10 * np.exp(1j * rng.uniform(0, 2 * np.pi, (64, 64)))).astype("c8")  # amplitude 10, any phase
    scene = Scene.open(make_raster("a.tif", data), family="sar")
    for grid in (scene.geobox, scene.geobox * Affine.translation(0.5, 0.5), target_grid(scene, res=8)):
        got = read_all(scene, grid)
        assert got.data.dtype == np.float32
        np.testing.assert_allclose(got.data[:, got.valid], 10, rtol=1e-5)


def test_decibels_are_averaged_as_power(make_raster: Any) -> None:
    power = np.random.default_rng(0).gamma(1, 0.1, (64, 64))
    scene = Scene.open(make_raster("a.tif", (10 * np.log10(power)).astype("f4")), family="sar")
    assert scene.unit == "db"
    got = read_all(scene, target_grid(scene, res=16))
    expected = 10 * np.log10(power.reshape(8, 8, 8, 8).mean((1, 3)))
    np.testing.assert_allclose(got.data[0], expected, atol=1e-3)


@pytest.mark.parametrize(("name", "share"), [("sar_hh.tif", 1.0), ("sar_masked.tif", 0.61)])
def test_real_radar_on_the_optical_grid(shared: Path, name: str, share: float) -> None:
    folder = shared / "data/spacenet6_rotterdam"
    pre = Scene.open(folder / "rgb_unmasked.tif")
    post = Scene.open(folder / name, role="post", family="sar")
    grid = target_grid(pre, post)
    plan = plan_conversion("sar", post.unit, "uint8", *post.sample())
    with AlignedReader(post, grid, plan) as reader:
        assert reader.dtype == np.uint8
        got = reader.read_rows(0, 200)
    covered = post.footprint(grid.crs).intersection(outline(grid)).area / outline(grid).area
    assert got.valid.mean() == pytest.approx(covered * share, abs=0.01)
    assert 5 < got.data[:, got.valid].mean() < 100
    assert not got.data[:, ~got.valid].any()


# ---------------------------------------------------------------------------------------------------- one decoding


def test_strips_do_not_depend_on_how_they_are_asked(make_raster: Any) -> None:
    scene = Scene.open(make_raster("a.tif", smooth(90, 70).astype("u1")))
    grid = target_grid(scene, dst_crs="EPSG:4326")
    whole = read_all(scene, grid, chunk_rows=16)

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.tuples(st.integers(0, grid.shape.y - 1), st.integers(1, 60)), min_size=1, max_size=6))
    def check(asked: list[tuple[int, int]]) -> None:
        with AlignedReader(scene, grid, chunk_rows=16) as reader:
            for row0, rows in asked:
                row1 = min(row0 + rows, grid.shape.y)
                got = reader.read_rows(row0, row1)
                np.testing.assert_array_equal(got.data, whole.data[:, row0:row1])
                np.testing.assert_array_equal(got.valid, whole.valid[row0:row1])

    check()


def test_every_block_is_in_one_request(make_raster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).integers(0, 255, (3, 1000, 500), dtype="u1")
    path = make_raster("a.tif", data, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    scene = Scene.open(path)
    touched: Counter[tuple[int, int]] = Counter()
    real = read_module.read_window

    def spy(ds: Any, file: Any, window: Any, decimation: int = 1) -> Any:
        row0, row1, col0, col1 = window
        touched.update((r, c) for r in range(row0 // 64, -(-row1 // 64)) for c in range(col0 // 64, -(-col1 // 64)))
        return real(ds, file, window, decimation)

    monkeypatch.setattr(read_module, "read_window", spy)
    grid = shifted(scene.geobox, 37, 1000, 5, 500)  # a crop whose first row is inside a block
    got = []
    with AlignedReader(scene, grid) as reader:
        for row in range(0, 963, 128):  # overlapping windows, as a sliding engine asks
            got.append(reader.read_rows(row, min(row + 256, 963)).data[:, :128])
    np.testing.assert_array_equal(np.concatenate(got, 1)[:, :963], data[:, 37:, 5:])
    assert set(touched.values()) == {1}
    assert len(touched) == 16 * 8


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts bytes in /proc/self/io")
@pytest.mark.parametrize("degrees", [0.0, 33.0])
def test_a_warped_file_is_read_from_disk_once(make_raster: Any, degrees: float) -> None:
    data = np.random.default_rng(0).integers(0, 255, (3, 1500, 1500), dtype="u1")
    path = make_raster(
        "a.tif", data, transform=BASE * Affine.rotation(degrees), tiled=True, blockxsize=128, blockysize=128,
        compress="deflate", zlevel=1, interleave="pixel",
    )  # fmt: skip
    scene = Scene.open(path)
    grid = target_grid(scene, dst_crs="EPSG:3857")

    def bytes_read(**options: Any) -> float:
        before = _rchar()
        read_all(scene, grid, 100, **options)
        return (_rchar() - before) / path.stat().st_size

    bytes_read()  # loads the projection database once
    assert bytes_read() < 1.05
    assert bytes_read(cache_bytes=2**20) > 1.3  # the measure sees repeated decoding


def _rchar() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_thousands_of_files_are_not_open_at_once(make_raster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3 * MAX_OPEN
    for i in range(count):
        make_raster(f"m/{i:03}.tif", np.full((3, 4, 4), i, "u1"), transform=BASE * Affine.translation(0, 4 * i))
    folder = make_raster("m/000.tif", np.full((3, 4, 4), 0, "u1")).parent
    opened: list[str] = []
    real = read_module.OpenSource

    def spy(path: str, name: str, **options: Any) -> Any:
        opened.append(name)
        return real(path, name, **options)

    monkeypatch.setattr(read_module, "OpenSource", spy)
    scene = Scene.open(folder)
    with AlignedReader(scene, scene.geobox, chunk_rows=8) as reader:
        assert not opened
        reader.read_rows(0, 8)
        assert len(opened) == 2  # only what the strip meets
        for row in range(8, 4 * count, 8):
            assert (reader.read_rows(row, row + 8).data[0, :, 0] == np.repeat([row // 4, row // 4 + 1], 4)).all()
            assert len(reader._open) <= MAX_OPEN
    assert len(opened) == count


def test_memory_grows_with_the_width_only(make_raster: Any) -> None:
    path = make_raster("a.tif", np.ones((3, 4000, 100), "u1"), tiled=True, blockxsize=64, blockysize=64)
    scene = Scene.open(path)
    for grid in (scene.geobox, target_grid(scene, dst_crs="EPSG:4326")):
        most = 0
        with AlignedReader(scene, grid) as reader:
            for row in range(0, reader.shape[0] - 200, 100):
                reader.read_rows(row, row + 200)
                most = max(most, sum(c.valid.shape[0] for c in reader._chunks.values()))
        assert most <= 200 + 2 * 256


def test_a_pickled_reader_reads_the_same(make_raster: Any) -> None:
    scene = Scene.open(make_raster("a.tif", smooth(40, 40).astype("u2")))
    plan = plan_conversion("optical", scene.unit, "uint8", *scene.sample())
    with AlignedReader(scene, scene.geobox, plan) as reader:
        first = reader.read_rows(0, 40)
        with pickle.loads(pickle.dumps(reader)) as again:
            np.testing.assert_array_equal(again.read_rows(0, 40).data, first.data)
    assert first.data.dtype == np.uint8


def test_a_file_that_breaks_off_is_named(make_raster: Any) -> None:
    data = np.random.default_rng(0).integers(0, 255, (3, 256, 256), dtype="u1")
    path = make_raster("a.tif", data, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    scene = Scene.open(path)
    path.write_bytes(path.read_bytes()[:60_000])
    with AlignedReader(scene, scene.geobox) as reader, pytest.raises(InputError) as error:
        reader.read_rows(0, 256)
    assert "a.tif" in str(error.value)


def test_files_of_several_systems_and_lattices_fill_one_grid(shared: Path) -> None:
    scene = Scene.open(shared / "data/los_angeles_s1s2/sar", role="post", family="sar")
    grid = shifted(scene.geobox, 0, 600, 3000, 5968)  # where both lattices of the mosaic meet
    with AlignedReader(scene, grid) as reader:
        assert len(reader.layers) == 2 and any(layer.offset is None for layer in reader.layers)
        got = reader.read_rows(0, 600)
    assert 0.3 < got.valid.mean() < 1
