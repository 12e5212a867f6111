"""GeoTIFF scenes as torchgeo datasets: grids, masks, units, times, pairs and mosaics."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import torch
from codemae_datasets._compat import DatasetNotFoundError, RasterDataset, sample_place
from codemae_datasets.places import RandomPlaces
from codemae_datasets.reading import footprint
from codemae_datasets.samplers import RandomWindows, seeded
from codemae_datasets.scenes import LabelScenes, OpticalScenes, SARScenes, ScenePairs
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import Affine, from_origin
from rasterio.vrt import WarpedVRT
from torch.utils.data import DataLoader
from torchgeo.datasets import stack_samples
from torchgeo.samplers import GridGeoSampler, RandomGeoSampler

from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.errors import CodemaeError, InputError

#: the left scene of the fixture
LEFT = (500000.0, 4998720.0, 501280.0, 5000000.0)


def write(path: Path, data: np.ndarray, crs: str, transform: Affine, **options: Any) -> Path:
    """A GeoTIFF of ``[C, H, W]``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tags, names = options.pop("tags", {}), options.pop("names", ())
    shape = {"count": len(data), "height": data.shape[1], "width": data.shape[2], "dtype": data.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **shape, **options) as file:
        file.write(data)
        file.update_tags(**tags)
        for i, name in enumerate(names, 1):
            file.set_band_description(i, name)
    return path


def lonlat(crs: str, transform: Affine, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Longitude and latitude of all pixel centres."""
    cols, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    x, y = transform.c + transform.a * cols, transform.f + transform.e * rows
    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y)


def write_field(path: Path, crs: str, transform: Affine, shape: tuple[int, int] = (96, 96), **options: Any) -> Path:
    """A float GeoTIFF of :func:`truth`."""
    return write(path, truth(crs, transform, shape)[None].astype("f4"), crs, transform, **options)


def truth(crs: str, transform: Affine, shape: tuple[int, int]) -> np.ndarray:
    """A smooth function of the place that is one over the date line, so that a shift of half a pixel shows."""
    lon, lat = lonlat(crs, transform, shape)
    return 100 + 50 * np.sin(np.radians(lon) * 300) + 30 * np.cos(lat * 20)


def read_at(path: str, left: float, top: float, size: int) -> np.ndarray | None:
    """A window of a file as stored; None where it does not lie inside."""
    with rasterio.open(path) as file:
        col, row = (round(v) for v in ~file.transform * (left, top))
        inside = 0 <= row <= file.height - size and 0 <= col <= file.width - size
        return file.read(window=((row, row + size), (col, col + size))) if inside else None


# ---------------------------------------------------------------------------------------------------- pairs


def test_a_thousand_real_pairs_show_the_same_place(shared: Path) -> None:
    folder = shared / "data" / "los_angeles_s1s2"
    pairs = OpticalScenes(folder / "optical") & SARScenes(folder / "sar")
    windows = list(RandomWindows(pairs, 256, 1000, seed=5))
    assert len(set(map(str, windows))) == 1000
    spectrum = np.zeros((128, 128), complex)
    for number, (x, y, t) in enumerate(windows):
        sample = pairs[x, y, t]
        assert sample["image"].shape == (4, 256, 256) and sample["valid"].all()
        assert sample["bounds"].tolist()[:2] == [x.start, x.stop]
        if number % 8 == 0:  # edges that both sensors see coincide
            edges = [
                np.hypot(*np.gradient(np.log1p(b))) for b in (sample["image"][1].numpy(), sample["image"][3].numpy())
            ]
            a, b = (np.fft.fft2((e - e.mean())[64:192, 64:192] / e.std()) for e in edges)
            spectrum += a.conj() * b
        if number % 50 == 0:  # and the values are those of a file at that very place
            names = pairs.datasets[0]._look().hits(x.start, y.start, x.stop, y.stop, None, None, pairs.res)
            assert any(np.array_equal(read_at(name, x.start, y.stop, 256), sample["image"][:3]) for name in names)
    surface = np.fft.ifft2(spectrum).real
    down, across = (int(v + 64) % 128 - 64 for v in np.unravel_index(surface.argmax(), surface.shape))
    # the stored images themselves are one pixel apart down and two across
    assert abs(down - 1) <= 1 and abs(across - 2) <= 1
    assert surface.max() > 5 * surface.std()


def test_intersection_has_optical_and_sar_of_the_same_place(scenes: Path) -> None:
    places = RandomPlaces(OpticalScenes(scenes / "optical") & SARScenes(scenes / "sar"), window=32, count=20)
    items = places.paired_items(seeded(0))
    assert len(items) == 20 and not places.unpaired_items(seeded(0))
    for item in items:
        sample = places[item]
        assert sample["rgb"].shape == sample["sar"].shape == (3, 32, 32)
        assert torch.equal(sample["sar"], 255 - sample["rgb"])  # so the fixture was written
    left, _, _, top = items[0]
    number = 0 if left < 501280 else 1
    with rasterio.open(scenes / "optical" / f"optical_{number}.tif") as file:
        row, col = file.index(left + 5, top - 5)
        expected = torch.from_numpy(file.read()[:, row : row + 32, col : col + 32])
    assert torch.equal(places[items[0]]["rgb"], expected)  # to the pixel


def test_one_generator_fixes_tiles_and_places(scenes: Path) -> None:
    places = RandomPlaces(OpticalScenes(scenes / "optical") & SARScenes(scenes / "sar"), window=32, count=50)
    torch.manual_seed(0)
    first = places.paired_items(seeded(1))
    torch.manual_seed(1)  # the global state must not matter
    assert places.paired_items(seeded(1)) == first != places.paired_items(seeded(2))
    assert {left < 501280 for left, *_ in first} == {True, False}  # both tiles occur


def test_a_held_out_area_is_never_touched(scenes: Path) -> None:
    dataset = OpticalScenes(scenes / "optical") & SARScenes(scenes / "sar")
    training = RandomPlaces(dataset, window=32, count=50, holdout=[LEFT])
    assert all(left >= 501280 - 1e-6 for left, *_ in training.paired_items(seeded(0)))
    held_out = RandomPlaces(dataset, window=32, count=50, inside=LEFT)
    assert all(right <= 501280 + 1e-6 for _, _, right, _ in held_out.paired_items(seeded(0)))
    grid = held_out.grid_items()
    assert len(grid) == len(set(grid)) == 16
    with pytest.raises(InputError, match="no room"):
        RandomPlaces(dataset, window=32, count=5, holdout=[(0.0, 0.0, 1e7, 1e7)]).paired_items(seeded(0))


def test_dates_of_a_pair_may_differ_but_not_more_than_asked(tmp_path: Path) -> None:
    place = from_origin(500000, 5000000, 10, 10)
    for name in ("a/S2A_20201104_034", "b/S1A_20201107_034", "b/S1A_20210107_034"):
        write(tmp_path / f"{name}.tif", np.full((1, 64, 64), len(name), "uint8"), "EPSG:32633", place)
    pairs = OpticalScenes(tmp_path / "a") & SARScenes(tmp_path / "b")
    assert len(pairs) == 2
    near = ScenePairs(OpticalScenes(tmp_path / "a"), SARScenes(tmp_path / "b"), max_days=5)
    assert len(near) == 1
    span = near.index.index[0]
    assert (span.left.date().isoformat(), span.right.date().isoformat()) == ("2020-11-04", "2020-11-07")
    with pytest.raises(InputError, match="close enough in time"):
        ScenePairs(OpticalScenes(tmp_path / "a"), SARScenes(tmp_path / "b"), max_days=1)


def test_split_pairs_and_labels(scenes: Path, tmp_path: Path) -> None:
    values = np.zeros((1, 128, 128), "uint8")
    values[0, :20], values[0, 20:40] = 255, 2
    write(tmp_path / "l" / "l.tif", values, "EPSG:32633", from_origin(500000, 5000000, 10, 10), nodata=255)
    labels = LabelScenes(tmp_path / "l", classes=DAMAGE_CLASSES)
    pairs = ScenePairs(OpticalScenes(scenes / "optical"), SARScenes(scenes / "sar"), split=True) & labels
    sample = pairs[pairs.bounds]
    assert sample["image"].shape == (3, 128, 128) and sample["image_sar"].shape == (1, 128, 128)
    assert torch.equal(sample["valid"], sample["mask"] != 255) and sample["mask"].dtype == torch.int64
    assert sample["mask"].unique().tolist() == [0, 2, 255]
    values[0, 50] = 7
    write(tmp_path / "bad" / "bad.tif", values, "EPSG:32633", from_origin(500000, 5000000, 10, 10), nodata=255)
    bad = LabelScenes(tmp_path / "bad", classes=DAMAGE_CLASSES)
    with pytest.raises(InputError, match=r"bad\.tif holds a value that is not a class") as caught:
        bad[bad.bounds]
    assert caught.value.found == "7"


# ---------------------------------------------------------------------------------------------------- grids


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    """Files around 47 N in four UTM zones and one in degrees, each with a hole of nodata."""
    for zone, lon in ((31, 5.9), (32, 6.1), (33, 12.1), (34, 18.1)):
        crs = f"EPSG:326{zone}"
        x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, 47.0)
        write_field(tmp_path / "z" / f"{zone}.tif", crs, from_origin(round(x) - 480.5, round(y) + 480.25, 10, 10))
    write_field(tmp_path / "z" / "deg.tif", "EPSG:4326", from_origin(8.0, 47.01, 1e-4, 1e-4), (128, 160))
    for path in (tmp_path / "z").iterdir():
        with rasterio.open(path, "r+") as file:
            data = file.read()
            row, col = file.height // 2 + 3, file.width // 2 - 9
            data[0, row : row + 8, col : col + 6] = -9999
            file.write(data)
            file.nodata = -9999
    return tmp_path / "z"


@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:4326", "EPSG:32632", "EPSG:3857"])
def test_four_utm_zones_and_degrees_in_one_dataset_as_gdalwarp_has_them(zones: Path, crs: str) -> None:
    res = 1e-4 if crs == "EPSG:4326" else 11.0
    nearest = OpticalScenes(zones, crs=crs, res=res, resampling="nearest")
    bilinear = OpticalScenes(zones, crs=crs, res=res)
    assert len(nearest) == 5 and {Path(f).stem for f in nearest.files} == {"31", "32", "33", "34", "deg"}
    for shape, name in zip(nearest.index.geometry, nearest.index.filepath, strict=True):
        x, y = shape.centroid.x // res * res, shape.centroid.y // res * res
        n = 24
        query = slice(x - n * res, x + n * res), slice(y - n * res, y + n * res)
        place = from_origin(x - n * res, y + n * res, res, res)
        with rasterio.open(name) as file:
            options = {"crs": crs, "transform": place, "width": 2 * n, "height": 2 * n, "tolerance": 0.01}
            with WarpedVRT(file, resampling=Resampling.nearest, **options) as vrt:
                expected = vrt.read(1)
            with WarpedVRT(file, resampling=Resampling.bilinear, **options) as vrt:
                smooth = vrt.read(1)
        sample = nearest[query]
        valid = sample["valid"].numpy()
        same = valid == (expected != -9999)
        assert same.mean() > 0.999  # a centre on the edge of a hole may fall on either side
        both = valid & same
        assert np.abs(sample["image"][0].numpy() - expected)[both].max() <= 1e-6
        sample = bilinear[query]
        valid = sample["valid"].numpy()
        assert 0.5 < valid.mean() < 1  # the hole is there
        assert not sample["image"][0].numpy()[~valid].any()
        both = valid & (smooth != -9999)
        assert both.sum() > 0.97 * valid.sum()
        assert np.abs(sample["image"][0].numpy() - smooth)[both].max() < 0.05
        exact = np.abs(sample["image"][0].numpy() - truth(crs, place, (2 * n, 2 * n)))
        inner = eroded(valid)
        step = np.abs(np.diff(truth(crs, place, (2 * n, 2 * n)), axis=1)).mean()
        assert exact[inner].mean() < 0.1 * step  # half a pixel off would be 0.5


def eroded(valid: np.ndarray) -> np.ndarray:
    """Valid pixels whose neighbours are valid."""
    padded = np.pad(valid, 2)
    return np.lib.stride_tricks.sliding_window_view(padded, (5, 5)).all((2, 3))


def test_every_pixel_of_a_file_is_copied_where_grids_agree(zones: Path) -> None:
    one = OpticalScenes(zones / "33.tif")
    sample = one[one.bounds]
    with rasterio.open(zones / "33.tif") as file:
        stored = file.read(1)
    assert np.array_equal(sample["valid"], stored != -9999)
    assert np.array_equal(sample["image"][0], np.where(stored == -9999, 0, stored))
    x, y, _ = one.bounds
    beyond = one[x.start - 50 : x.start + 100, y.stop - 100 : y.stop + 50]
    assert beyond["image"].shape == (1, 15, 15)
    assert not beyond["valid"][:5].any() and not beyond["valid"][:, :5].any() and beyond["valid"][5:, 5:].all()
    bounds, affine, crs = sample_place(sample, one)
    assert bounds == (x.start, one.bounds[1].start, x.stop, y.stop) and affine == file.transform
    assert crs.to_epsg() == 32633


def test_over_the_date_line(tmp_path: Path) -> None:
    for zone, lon in ((60, 179.999), (1, -179.999)):
        crs = f"EPSG:326{zone:02d}"
        x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, 52.0)
        write_field(tmp_path / f"{zone}.tif", crs, from_origin(round(x) - 960, round(y) + 960, 20, 20))
    for crs in ("EPSG:4326", "EPSG:3857"):
        dataset = OpticalScenes(tmp_path, crs=crs)
        assert all(shape.geom_type == "MultiPolygon" and len(shape.geoms) == 2 for shape in dataset.index.geometry)
        assert shapely.area(dataset.index.geometry.values).max() < 1e-3 * (360 if crs == "EPSG:4326" else 4e7) ** 2
        dx, dy = dataset.res
        edge, middle = dataset.bounds[0].stop, Transformer.from_crs(4326, crs, always_xy=True).transform(0, 52)[1]
        for left in (edge - 20 * dx, -edge):  # just west of the line, and just east
            place = from_origin(left, middle + 10 * dy, dx, dy)
            sample = dataset[left : left + 20 * dx, middle - 10 * dy : middle + 10 * dy]
            assert sample["valid"].all()
            error = np.abs(sample["image"][0].numpy() - truth(crs, place, (20, 20)))
            assert error.max() < 0.5
        windows = RandomWindows(dataset, 16, 20)
        assert all(dataset[w]["valid"].all() for w in windows)
    utm = OpticalScenes(sorted(tmp_path.glob("*.tif")), crs="EPSG:32660", res=20)
    x, y = utm.index.geometry.iloc[0].centroid.coords[0]
    across = utm[x - 400 : x + 400, y - 400 : y + 400]
    assert across["image"].shape == (1, 40, 40)


def test_degrees_beyond_180_reach_other_systems(tmp_path: Path) -> None:
    write_field(tmp_path / "a.tif", "EPSG:4326", from_origin(179.9, 52.1, 1e-3, 1e-3), (200, 300))
    dataset = OpticalScenes(tmp_path, crs="EPSG:32660", res=60.0)
    for lon in (179.95, 180.0, 180.15):
        x, y = Transformer.from_crs("EPSG:4326", "EPSG:32660", always_xy=True).transform(lon, 52.0)
        sample = dataset[x - 600 : x + 600, y - 600 : y + 600]
        expected = truth("EPSG:32660", from_origin(x - 600, y + 600, 60, 60), (20, 20))
        assert sample["valid"].all() and np.abs(sample["image"][0].numpy() - expected).max() < 0.05


def test_around_the_pole(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(96, dtype="f4") - 47.5, (1, 96, 96))  # kilometres east of the pole
    path = write(tmp_path / "p" / "pole.tif", ramp, "EPSG:3031", from_origin(-48000, 48000, 1000, 1000))
    shape = footprint(GeoBox((96, 96), from_origin(-48000, 48000, 1000, 1000), "EPSG:3031"), "EPSG:4326")
    west, south, east, north = shape.bounds
    assert (west, south, east) == (-180, -90, 180) and -89.7 < north < -89.3
    degrees = OpticalScenes(path, crs="EPSG:4326", res=0.01)
    sample = degrees[30.0:40.0, -89.9:-89.7]
    assert sample["image"].shape == (1, 20, 1000) and sample["valid"].all()
    lon, lat = lonlat("EPSG:4326", from_origin(30, -89.7, 0.01, 0.01), (20, 1000))
    east, _ = Transformer.from_crs("EPSG:4326", "EPSG:3031", always_xy=True).transform(lon, lat)
    assert np.abs(sample["image"][0].numpy() - east / 1000).max() < 0.1  # pixels
    write_field(tmp_path / "d" / "deg.tif", "EPSG:4326", from_origin(40, -84.0, 0.002, 0.002), (200, 600))
    polar = OpticalScenes(tmp_path / "d", crs="EPSG:3031", res=100.0)
    x, y = polar.index.geometry.iloc[0].centroid.coords[0]
    sample = polar[x - 1600 : x + 1600, y - 1600 : y + 1600]
    assert sample["valid"].all()
    error = np.abs(sample["image"][0].numpy() - truth("EPSG:3031", from_origin(x - 1600, y + 1600, 100, 100), (32, 32)))
    assert error.max() < 0.5


def test_setting_another_system_moves_footprints_and_resolution(zones: Path, capsys: Any) -> None:
    dataset = OpticalScenes(zones / "33.tif")
    before = dataset.index.geometry.area.sum()
    dataset.crs = "EPSG:4326"
    assert 5e-5 < dataset.res[0] < 2e-4
    dataset.crs = "EPSG:32633"
    assert dataset.index.geometry.area.sum() == pytest.approx(before, rel=1e-6)
    assert dataset.res == pytest.approx((10, 10), rel=1e-3)
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------------------------------------------- masks and units


def masked(kind: str, path: Path) -> np.ndarray:
    """A file of 64 x 64 with a hole of one kind; returns where it is valid."""
    valid = np.ones((64, 64), bool)
    valid[10:20, 30:50] = False
    data = np.random.default_rng(0).integers(1, 200, (3, 64, 64)).astype("uint8")
    place, options = from_origin(500000, 5000000, 10, 10), {}
    if kind == "nan":
        data = data.astype("f4")
        data[1, ~valid] = np.nan
    elif kind == "nodata":
        data = data.astype("int16")
        data[:, ~valid], options = -1, {"nodata": -1}
    elif kind == "alpha":
        data = np.concatenate([data, np.where(valid, 255, 0)[None].astype("uint8")])
    write(path, data, "EPSG:32633", place, **options)
    if kind in ("alpha", "mask"):
        with rasterio.open(path, "r+") as file:
            if kind == "alpha":
                file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
            else:
                file.write_mask(valid)
    return valid


@pytest.mark.parametrize("kind", ["nan", "nodata", "alpha", "mask"])
def test_reading_never_loses_missing_values(kind: str, tmp_path: Path) -> None:
    valid = masked(kind, tmp_path / "a.tif")
    dataset = OpticalScenes(tmp_path / "a.tif")
    sample = dataset[dataset.bounds]
    assert sample["image"].shape == (3, 64, 64) and torch.isfinite(sample["image"]).all()
    assert np.array_equal(sample["valid"], valid) and not sample["image"][:, ~sample["valid"]].any()
    warped = OpticalScenes(tmp_path / "a.tif", crs="EPSG:3857")
    sample = warped[warped.bounds]
    assert 0.8 < sample["valid"].float().mean() < 0.96 and torch.isfinite(sample["image"]).all()


def test_a_mosaic_takes_the_first_valid_pixel_not_the_largest(tmp_path: Path) -> None:
    place = from_origin(500000, 5000000, 10, 10)
    a, b = np.full((1, 32, 32), -20, "f4"), np.full((1, 32, 32), -10, "f4")
    a[0, :, 20:], b[0, :8] = np.nan, np.nan
    write(tmp_path / "a.tif", a, "EPSG:32633", place)
    write(tmp_path / "b.tif", b, "EPSG:32633", place)
    for dataset in (SARScenes(tmp_path), SARScenes(tmp_path / "a.tif") | SARScenes(tmp_path / "b.tif")):
        sample = dataset[dataset.bounds]
        image = sample["image"][0]
        assert (image[:, :20] == -20).all() and (image[8:, 20:] == -10).all()
        assert torch.equal(sample["valid"], torch.from_numpy(~(np.isnan(a[0]) & np.isnan(b[0]))))


def test_units_and_bands_follow_the_sensor(tmp_path: Path) -> None:
    place = from_origin(500000, 5000000, 10, 10)
    random = np.random.default_rng(0)
    counts = random.integers(100, 9000, (12, 64, 64)).astype("uint16")
    write(tmp_path / "s2" / "a.tif", counts, "EPSG:32633", place)
    stored = OpticalScenes(tmp_path / "s2", sensor="sentinel-2-l2a", bands=["B08", "B04"])
    sample = stored[stored.bounds]
    assert torch.equal(sample["image"], torch.from_numpy(counts[[7, 3]].astype("f4")))
    reflectance = OpticalScenes(tmp_path / "s2", sensor="sentinel-2-l2a", unit="reflectance")
    assert reflectance.bands == ("B04", "B03", "B02")
    assert np.allclose(reflectance[reflectance.bounds]["image"], counts[[3, 2, 1]] * 1e-4, atol=1e-6)
    display = OpticalScenes(tmp_path / "s2", sensor="sentinel-2-l2a", unit="uint8")
    image = display[display.bounds]["image"]
    assert image.min() == 0 and image.max() == 255 and (image == image.round()).all()
    amplitude = random.gamma(4, 0.05, (2, 64, 64)).astype("f4") + 0.01
    db = 20 * np.log10(amplitude)
    write(tmp_path / "s1" / "a.tif", db, "EPSG:32633", place, names=("VV", "VH"))
    linear = SARScenes(tmp_path / "s1", bands=["VH"], unit="amplitude")
    assert np.allclose(linear[linear.bounds]["image"][0], amplitude[1], rtol=1e-4)
    power = SARScenes(tmp_path / "s1", sensor="sentinel-1-rtc-db", bands=["VV", "VH"], unit="power")
    assert np.allclose(power[power.bounds]["image"], amplitude**2, rtol=1e-4)
    with pytest.raises(InputError, match="no 'HH'") as caught:
        SARScenes(tmp_path / "s1", bands=["HH"])
    assert caught.value.expected == "VV, VH"
    with pytest.raises(InputError, match="no sar sensor"):
        SARScenes(tmp_path / "s1", sensor="sentinel-2-l2a")
    with pytest.raises(InputError, match="cannot become"):
        OpticalScenes(write(tmp_path / "u.tif", counts[:3].astype("uint8"), "EPSG:32633", place), unit="reflectance")


def test_decibels_are_interpolated_as_power(tmp_path: Path) -> None:
    db = np.where(np.indices((1, 64, 64)).sum(0) % 2, -20.0, 0.0).astype("f4")  # a chessboard
    write(tmp_path / "a.tif", db, "EPSG:32633", from_origin(500000, 5000000, 10, 10))
    coarse = SARScenes(tmp_path / "a.tif", res=40.0)
    image = coarse[coarse.bounds]["image"]
    assert image.shape == (1, 16, 16)
    assert torch.allclose(image, torch.tensor(10 * np.log10((1 + 0.01) / 2)).float(), atol=1e-3)  # not -10


def test_complex_values_come_as_amplitude(tmp_path: Path) -> None:
    values = (3 + 4j) * np.ones((1, 32, 32), "complex64")
    write(tmp_path / "slc.tif", values, "EPSG:32633", from_origin(500000, 5000000, 10, 10))
    dataset = SARScenes(tmp_path / "slc.tif")
    assert (dataset[dataset.bounds]["image"] == 5).all()


# ---------------------------------------------------------------------------------------------------- times


def test_times_from_names_tags_and_stac_items(tmp_path: Path) -> None:
    place = from_origin(500000, 5000000, 10, 10)
    data = np.ones((1, 16, 16), "uint8")
    write(tmp_path / "S1A_20201107T135241_x.tif", data, "EPSG:32633", place)
    write(tmp_path / "day_2019-03-04.tif", data, "EPSG:32633", place)
    write(tmp_path / "tagged.tif", data, "EPSG:32633", place, tags={"TIFFTAG_DATETIME": "2018:01:02 03:04:05"})
    write(tmp_path / "unknown_99999999.tif", data, "EPSG:32633", place)
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "i", "properties": {"datetime": "2022-05-06T07:08:09Z"},
        "geometry": None, "links": [], "assets": {"VV": {"href": "tagged.tif"}},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    dataset = SARScenes([tmp_path, tmp_path / "item.json"])
    times = {Path(f).stem: t for f, t in zip(dataset.index.filepath, dataset.index.index, strict=True)}
    assert str(times["S1A_20201107T135241_x"].left) == "2020-11-07 13:52:41"
    assert str(times["day_2019-03-04"].right)[:19] == "2019-03-04 23:59:59"
    assert str(times["tagged"].left) == "2018-01-02 03:04:05" and str(times["item"].left) == "2022-05-06 07:08:09"
    assert times["unknown_99999999"].left.year == 1678
    x, y, _ = dataset.bounds
    march = dataset._look().hits(
        x.start, y.start, x.stop, y.stop, *map(pd.Timestamp, ("2019-03-01", "2019-03-31")), (10, 10)
    )
    assert {Path(m).stem for m in march} == {"day_2019-03-04", "unknown_99999999"}

    class Dated(SARScenes):
        filename_regex = r"day_(?P<date>\d{4}-\d\d-\d\d)"
        date_format = "%Y-%m-%d"

    assert [Path(f).stem for f in Dated(tmp_path).files] == ["day_2019-03-04"]


# ---------------------------------------------------------------------------------------------------- indexes


def test_an_index_opens_scenes_without_touching_them(zones: Path) -> None:
    direct = OpticalScenes(zones, crs="EPSG:3035", res=10.0)
    rows = []
    for name in direct.files:
        with rasterio.open(name) as file:
            row = {"href": name, "crs": str(file.crs), "transform": tuple(file.transform)[:6], "shape": file.shape}
        rows.append(row | {"datetime": "2020-01-02T03:04:05Z", "geometry": shapely.box(0, 0, 1, 1)})
    table = geopandas.GeoDataFrame(rows, crs="EPSG:4326")
    listed = OpticalScenes.from_index(table, crs="EPSG:3035", res=10.0, bands=[1])
    assert listed.index.geometry.geom_equals_exact(
        direct.index.geometry.reset_index(drop=True), 1e-6, align=False
    ).all()
    assert str(listed.index.index[0].left) == "2020-01-02 03:04:05"
    x, y = direct.index.geometry.iloc[0].centroid.coords[0]
    query = slice(x - 160, x + 160), slice(y - 160, y + 160)
    assert torch.equal(listed[query]["image"], direct[query]["image"])
    for path in zones.iterdir():
        path.rename(path.with_suffix(".gone"))
    gone = OpticalScenes.from_index(table, bands=[1])  # opens all the same
    assert len(gone) == 5
    labels = LabelScenes.from_index(table)
    assert labels.files == listed.files and labels.ignore == 255
    with pytest.raises(InputError, match="no column 'shape'"):
        OpticalScenes.from_index(table.drop(columns="shape"))
    with pytest.raises(DatasetNotFoundError):
        OpticalScenes.from_index(table.iloc[:0])


def test_the_index_of_the_command_opens_each_family(scenes: Path, tmp_path: Path) -> None:
    from codemae_datasets.collection.index import build_index

    output = tmp_path / "index.parquet"
    build_index([scenes], output)
    pairs = OpticalScenes.from_index(output) & SARScenes.from_index(output)
    files = OpticalScenes(scenes / "optical") & SARScenes(scenes / "sar")
    assert len(pairs) == len(files) and pairs.crs == files.crs and pairs.res == files.res
    for window in RandomWindows(files, 32, 5):
        assert torch.equal(pairs[window]["image"], files[window]["image"])


# ---------------------------------------------------------------------------------------------------- torchgeo, workers


def test_torchgeo_reads_samples_and_intersects_these_scenes(scenes: Path) -> None:
    dataset = OpticalScenes(scenes / "optical")
    assert isinstance(dataset, RasterDataset)
    for sampler in (RandomGeoSampler(dataset, 32, 4), GridGeoSampler(dataset, 64, 64)):
        batch = next(iter(DataLoader(dataset, batch_size=4, sampler=sampler, collate_fn=stack_samples)))
        assert batch["image"].shape[:2] == (4, 3) and batch["valid"].dtype == torch.bool and batch["valid"].all()

    class Plain(RasterDataset):
        filename_glob = "*.tif"

    plain = Plain(str(scenes / "sar"))
    both = dataset & plain
    sample = both[both.bounds]
    assert sample["image"].shape == (4, 128, 256) and sample["valid"].shape == (128, 256)
    query = slice(500000, 500320), slice(4999680, 5000000)
    bounds, affine, crs = sample_place(plain[query], plain)
    assert bounds == (500000, 4999680, 500320, 5000000) and affine == Affine(10, 0, 500000, 0, -10, 5000000)
    assert crs == dataset.crs
    assert torch.equal(plain[query]["image"], SARScenes(scenes / "sar")[query]["image"])


def test_places_are_the_same_with_no_workers_and_two_by_fork_and_spawn(scenes: Path) -> None:
    pairs = OpticalScenes(scenes / "optical") & SARScenes(scenes / "sar")
    pairs[pairs.bounds]  # files are open before the fork

    def epoch(**options: Any) -> list[torch.Tensor]:
        sampler = RandomWindows(pairs, 32, 12, seed=3)
        loader = DataLoader(pairs, batch_size=4, sampler=sampler, collate_fn=stack_samples, **options)
        return [tensor for batch in loader for tensor in (batch["image"], batch["bounds"])]

    alone = epoch()
    for context in ("fork", "spawn"):
        workers = epoch(num_workers=2, multiprocessing_context=context)
        assert all(torch.equal(a, b) for a, b in zip(alone, workers, strict=True))


def test_picklable(scenes: Path) -> None:
    places = RandomPlaces(OpticalScenes(scenes / "optical") & SARScenes(scenes / "sar"), window=32, count=5)
    item = places.paired_items(seeded(0))[0]
    copy = pickle.loads(pickle.dumps(places))
    assert torch.equal(copy[item]["rgb"], places[item]["rgb"])


# ---------------------------------------------------------------------------------------------------- bad input


def test_bad_folders_bands_and_types(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError) as caught:
        OpticalScenes(tmp_path / "nowhere")
    assert isinstance(caught.value, InputError) and "does not exist" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no GeoTIFF"):
        OpticalScenes(tmp_path / "empty")
    with pytest.raises(InputError, match="bands"):
        SARScenes(scenes / "sar", bands=[2])
    with pytest.raises(InputError, match="no coordinate reference system 'EPSG:999999'"):
        OpticalScenes(scenes / "optical", crs="EPSG:999999")
    optical = OpticalScenes(scenes / "optical")
    with pytest.raises(InputError, match="room for a window"):
        RandomPlaces(optical & SARScenes(scenes / "sar"), window=512, count=1)
    with rasterio.open(scenes / "sar" / "sar_0.tif") as file:
        profile, pixels = file.profile, file.read()
    (tmp_path / "db").mkdir()
    with rasterio.open(tmp_path / "db" / "db.tif", "w", **(profile | {"dtype": "float32"})) as file:
        file.write(pixels.astype("float32") / 10 - 25)
    with pytest.raises(InputError, match="stretch"):
        RandomPlaces(optical & SARScenes(tmp_path / "db"), window=32, count=1)
    stretched = SARScenes(tmp_path / "db", stretch=(-25.0, 0.5))
    image = stretched[stretched.bounds]["image"]
    assert image.shape == (1, 128, 128) and torch.allclose(image[0], torch.from_numpy(pixels[0]).float(), atol=0.01)
    with pytest.raises(IndexError, match="not found"):
        optical[0:10, 0:10]


def corrupt(scenes: Path) -> None:
    path = scenes / "sar" / "sar_0.tif"
    path.write_bytes(path.read_bytes()[:9000])


def far_away(scenes: Path) -> None:
    for path in (scenes / "sar").iterdir():
        with rasterio.open(path, "r+") as file:
            file.transform = from_origin(700000, 4000000, 10, 10)


def mixed(scenes: Path) -> None:
    write(
        scenes / "sar" / "sar_1.tif", np.ones((1, 128, 128), "f4"), "EPSG:32633", from_origin(500640, 5000000, 10, 10)
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(corrupt, r"sar_0\.tif (is truncated|cannot be read)"), (far_away, "do not overlap"), (mixed, "differ in type")],
)
def test_bad_files_are_named(spoil: Callable[[Path], None], message: str, scenes: Path) -> None:
    spoil(scenes)
    with pytest.raises(CodemaeError, match=message):
        pairs = OpticalScenes(scenes / "optical") & SARScenes(scenes / "sar")
        pairs[pairs.bounds]
