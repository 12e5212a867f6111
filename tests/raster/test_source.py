"""Headers, masks and refusals of single files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from codemae_geo.errors import InputError
from codemae_geo.raster.source import OpenSource, choose_bands, read_header, read_patches, read_window, valid_mask

HOLE = (slice(3, 6), slice(4, 9))


def read_all(path: Path | str, **options: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    file = read_header(str(path), **options)
    with OpenSource(file.path, file.name, src_crs=file.src_crs) as source:
        rows, cols = file.shape
        return *read_window(source.dataset, file, (0, rows, 0, cols)), file


DTYPES = ("uint8", "uint16", "int16", "float32", "float64")
KINDS = ("nodata", "alpha", "internal mask", "sidecar mask", "nan", "override", "none")


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [(d, k) for k in KINDS for d in DTYPES if k != "nan" or d.startswith("float")],  # integers have no NaN
)
def test_every_kind_of_nodata_is_one_mask(make_raster: Any, dtype: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(1, 100, (3, 12, 16)).astype(dtype)
    expected = np.ones((12, 16), bool)
    options: dict[str, Any] = {"photometric": "rgb"}
    header: dict[str, Any] = {}
    if kind != "none":
        expected[HOLE] = False
    if kind in ("nodata", "override"):
        data[:, ~expected] = 0
        options |= {"nodata": 0} if kind == "nodata" else {}
        header |= {"nodata": 0} if kind == "override" else {}
    elif kind == "alpha":
        data = np.concatenate([data, np.where(expected, 255, 0)[None].astype(dtype)])
        options["alpha"] = "yes"
    elif kind.endswith("mask"):
        options |= {"mask": expected, "sidecar": kind.startswith("sidecar")}
    elif kind == "nan":
        data[1, ~expected] = np.nan
    path = make_raster("a.tif", data, **options)
    values, valid, file = read_all(path, family="optical", **header)
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(values[:, valid], data[:3, expected])
    assert values.dtype == dtype
    assert file.bands == (1, 2, 3)


def test_black_and_white_are_measurements_in_single_bands() -> None:
    values = np.array([[[0, 0, 5]], [[0, 7, 5]]], np.uint8)
    np.testing.assert_array_equal(valid_mask(values, 0), [[False, True, True]])
    # a sentinel outside the range of measurements spoils the pixel in any band
    values = np.array([[[-9999, -9999, 5]], [[-9999, 7, 5]]], np.int16)
    np.testing.assert_array_equal(valid_mask(values, -9999), [[False, False, True]])


def test_a_double_nodata_meets_float_pixels() -> None:
    values = np.array([[[-3.4028234663852886e38, 1]]], np.float32)
    np.testing.assert_array_equal(valid_mask(values, -3.402823466385289e38), [[False, True]])
    np.testing.assert_array_equal(valid_mask(values, -1e300), [[True, True]])


def test_undeclared_zero_stays_valid(make_raster: Any) -> None:
    path = make_raster("a.tif", np.zeros((3, 4, 4), "u1"))
    assert read_all(path, family="optical")[1].all()


# ---------------------------------------------------------------------------------------------------- bands

RGB = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
GREY = [ColorInterp.gray] * 13


@pytest.mark.parametrize(
    ("colors", "names", "dtype", "expected"),
    [
        (RGB, [None] * 3, "uint8", (1, 2, 3)),
        (RGB[::-1], [None] * 3, "uint8", (3, 2, 1)),
        (GREY[:4], ["Blue", "Green", "Red", "NIR"], "uint16", (3, 2, 1)),
        (GREY[:5], ["B02", "B03", "B04", "B08", "B11"], "uint16", (3, 2, 1)),
        (GREY[:12], [None] * 12, "int16", (4, 3, 2)),
        (GREY[:4], [None] * 4, "uint8", (1, 2, 3)),
    ],
)
def test_colours_are_found(colors: list, names: list, dtype: str, expected: tuple[int, ...]) -> None:
    n = len(colors)
    assert choose_bands("x", "optical", n, None, colors, names, [dtype] * n)[0] == expected


def test_polarisations_and_asked_bands() -> None:
    assert choose_bands("x", "sar", 2, None, GREY[:2], ["VH", "VV"], ["float32"] * 2)[0] == (2,)
    assert choose_bands("x", "sar", 4, None, GREY[:4], [None] * 4, ["float32"] * 4)[0] == (1,)
    assert choose_bands("x", "sar", 4, None, GREY[:4], [None] * 4, ["float32"] * 4, [3])[0] == (3,)
    assert choose_bands("x", "optical", 4, 4, [*RGB, ColorInterp.alpha], [None] * 4, ["uint8"] * 4)[0] == (1, 2, 3)


@pytest.mark.parametrize(
    ("family", "count", "alpha", "asked"),
    [
        ("optical", 1, None, None),
        ("optical", 3, 3, None),
        ("optical", 3, None, [1, 2]),
        ("sar", 2, None, [3]),
        ("optical", 4, 4, [2, 3, 4]),
    ],
)
def test_wrong_bands_are_refused(family: Any, count: int, alpha: int | None, asked: list[int] | None) -> None:
    with pytest.raises(InputError) as error:
        choose_bands("x.tif", family, count, alpha, GREY[:count], [None] * count, ["uint8"] * count, asked)
    assert "x.tif" in str(error.value)


# ---------------------------------------------------------------------------------------------------- georeference


def test_no_crs_offers_src_crs(make_raster: Any) -> None:
    path = make_raster("a.tif", np.ones((3, 4, 4), "u1"), crs=None)
    with pytest.raises(InputError, match="no coordinate reference system") as error:
        read_header(str(path), family="optical")
    assert "src_crs" in str(error.value)
    assert read_header(str(path), family="optical", src_crs="EPSG:32633").crs == "EPSG:32633"
    with pytest.raises(InputError, match="not a coordinate reference system"):
        read_header(str(path), family="optical", src_crs="EPSG:nonsense")
    local = make_raster("b.tif", np.ones((3, 4, 4), "u1"), crs='LOCAL_CS["site",UNIT["metre",1]]')
    with pytest.raises(InputError, match="no coordinate reference system"):
        read_header(str(local), family="optical")
    assert read_header(str(local), family="optical", src_crs="EPSG:32633").crs == "EPSG:32633"


def test_no_georeference_is_refused(make_raster: Any) -> None:
    path = make_raster("a.png", np.ones((3, 4, 4), "u1"), crs=None, transform=None, driver="PNG")
    with pytest.raises(InputError, match="not georeferenced"):
        read_header(str(path), family="optical")


def test_rpc_only_says_orthorectify(make_raster: Any) -> None:
    path = make_raster("a.tif", np.ones((3, 4, 4), "u1"), crs=None, transform=None)
    line = " ".join(["1"] + ["0"] * 19)
    rpcs = {f"{k}_{v}": "1" for k in ("LINE", "SAMP", "LAT", "LONG", "HEIGHT") for v in ("OFF", "SCALE")}
    rpcs |= {f"{k}_{v}_COEFF": line for k in ("LINE", "SAMP") for v in ("NUM", "DEN")}
    with rasterio.open(path, "r+") as ds:
        ds.update_tags(ns="RPC", **rpcs)
    with pytest.raises(InputError, match="not georeferenced") as error:
        read_header(str(path), family="optical")
    assert "gdalwarp -rpc" in str(error.value)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "complex64"])
def test_ground_control_points_are_usable(tmp_path: Path, dtype: str) -> None:
    data = (np.arange(20 * 30).reshape(1, 20, 30) % 200 + 20).astype(dtype)
    affine = Affine(10, 0, 500_000, 0, -10, 5_000_000)
    points = [
        GroundControlPoint(r, c, *(affine * (c, r))) for r, c in [(0, 0), (0, 30), (20, 0), (20, 30), (10, 15)]
    ]  # fmt: skip
    path = tmp_path / "gcp.tif"
    with rasterio.open(path, "w", driver="GTiff", count=1, height=20, width=30, dtype=dtype) as ds:
        ds.write(data)
        ds.gcps = (points, rasterio.crs.CRS.from_epsg(32633))
    values, valid, file = read_all(path, family="sar")
    assert file.gcps and file.crs == "EPSG:32633"
    assert valid.mean() > 0.95
    assert values.shape == (1, *file.shape)
    inside = file.geobox.affine * (15.5, 10.5)
    col, row = (~affine) * inside
    assert abs(values[0, 10, 15]) == pytest.approx(abs(data[0, int(row), int(col)]), abs=3)


# ---------------------------------------------------------------------------------------------------- damaged files


@pytest.mark.parametrize("options", [{}, {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}])
def test_a_truncated_file_is_known_by_its_header(make_raster: Any, options: dict[str, Any]) -> None:
    data = np.random.default_rng(0).integers(0, 255, (3, 256, 256), dtype="u1")
    path = make_raster("a.tif", data, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError) as error:
        read_header(str(path), family="optical")
    assert str(path) in str(error.value)


def test_damage_inside_is_found_on_reading(make_raster: Any) -> None:
    data = np.random.default_rng(0).integers(0, 255, (3, 256, 256), dtype="u1")
    path = make_raster("a.tif", data, tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 20_000] = bytes(20_000)
    path.write_bytes(raw)
    file = read_header(str(path), family="optical")
    with pytest.raises(InputError, match="cannot be read") as error:
        list(read_patches([file], 4))
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not a raster at all", b"II*\x00"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_header(str(path), family="optical")
    with pytest.raises(InputError, match="is not there") as error:
        read_header(str(tmp_path / "missing.tif"), family="optical")
    assert f"looked for in {tmp_path}" in str(error.value)


def test_patches_are_spread_and_bounded(make_raster: Any) -> None:
    paths = [make_raster(f"{i}.tif", np.full((3, 300, 40), i, "u1")) for i in range(10)]
    files = [read_header(str(p), family="optical") for p in paths]
    few = list(read_patches(files, 4))
    assert [int(v[0, 0, 0]) for v, _ in few] == [0, 3, 6, 9]
    one = list(read_patches(files[:1], 16))
    assert len(one) == 2 and one[0][0].shape == (3, 128, 40)
