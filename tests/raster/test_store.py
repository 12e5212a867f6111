"""Rows on disk that a killed process left are found again, complete strips only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from codemae_geo.raster.store import RowStore


def made(folder: Path, strips: int = 3) -> tuple[RowStore, NDArray[Any]]:
    values = np.random.default_rng(0).random((2, 10 * strips, 7), np.float32)
    store = RowStore(folder, "rows", count=2, width=7, dtype="float32")
    for top in range(0, 10 * strips, 10):
        store.append(values[:, top : top + 10])
    store.close()
    return store, values


def again(folder: Path) -> RowStore:
    return RowStore.reopen(folder, "rows", count=2, width=7, dtype="float32")


def test_rows_come_back_and_more_can_follow(tmp_path: Path) -> None:
    _, values = made(tmp_path)
    store = again(tmp_path)
    assert store.rows == 30
    store.append(values[:, :5])
    store.sync()
    np.testing.assert_array_equal(store.read(25, 35), np.concatenate([values[:, 25:], values[:, :5]], axis=1))
    assert again(tmp_path).rows == 35


@pytest.mark.parametrize(
    ("harm", "left"),
    [
        (lambda rows, journal: rows.write_bytes(rows.read_bytes() + b"half a strip"), 30),
        (lambda rows, journal: rows.write_bytes(rows.read_bytes()[:-1]), 20),
        (lambda rows, journal: journal.write_bytes(journal.read_bytes()[:-3]), 20),
        (lambda rows, journal: rows.write_bytes(bytes(100) + rows.read_bytes()[100:]), 0),
    ],
    ids=["pixels without a line", "a line without its pixels", "half a line", "pixels that changed"],
)
def test_only_whole_strips_count(tmp_path: Path, harm: Callable[[Path, Path], int], left: int) -> None:
    _, values = made(tmp_path)
    harm(tmp_path / "rows.rows", tmp_path / "rows.journal")
    store = again(tmp_path)
    assert store.rows == left
    store.append(values[:, :10])
    store.close()
    expected = np.concatenate([values[:, :left], values[:, :10]], axis=1)
    np.testing.assert_array_equal(again(tmp_path).read(0, left + 10), expected)


def test_stores_are_cut_at_the_end_of_a_strip(tmp_path: Path) -> None:
    made(tmp_path)
    store = again(tmp_path)
    store.truncate(10)
    assert (store.rows, again(tmp_path).rows) == (10, 10)
    with pytest.raises(ValueError, match="no strip ends"):
        store.truncate(5)


def test_a_store_of_another_shape_is_refused(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(ValueError, match="another raster"):
        RowStore.reopen(tmp_path, "rows", count=1, width=7, dtype="float32")


@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:4326", "EPSG:3035", "EPSG:2193"])
def test_gdal_reads_the_rows_where_they_lie(tmp_path: Path, crs: str) -> None:
    store, values = made(tmp_path)
    grid = GeoBox((30, 7), Affine(0.5, 0, 10, 0, -0.25, 50), crs)
    store.write_vrt(
        tmp_path / "rows.vrt", grid, nodata=float("nan"), band_names=["a", "<b & c>"], tags={"K": 'v "&" ü'}, scale=0.5
    )
    with rasterio.open(tmp_path / "rows.vrt") as found:
        np.testing.assert_array_equal(found.read(), values)
        assert (found.crs, found.transform) == (rasterio.CRS.from_user_input(crs), grid.affine)
        assert (found.descriptions, found.scales) == (("a", "<b & c>"), (0.5, 0.5))
        assert np.isnan(found.nodata) and found.tags()["K"] == 'v "&" ü'
