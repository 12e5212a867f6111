"""Many files of one date."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from codemae_geo.errors import InputError
from truth.ruler import PLACE, Map, marks, measure, speckled, write


def at(col: float, row: float) -> Affine:
    return PLACE @ Affine.translation(col, row)


def same(found: Map, want: np.ndarray) -> None:
    np.testing.assert_array_equal(found.classes, want)


def test_tiles_beside_each_other(here: Path) -> None:
    data = marks((80, 90))
    paths = [
        write(here / f"{r}{c}.tif", data[:, r : r + 40, c : c + 45], transform=at(c, r))
        for r in (0, 40)
        for c in (0, 45)
    ]
    same(measure(here, paths), data[0])


def test_a_gap_is_not_analysed(here: Path) -> None:
    data = marks((40, 90))
    paths = [write(here / f"{c}.tif", data[:, :, c : c + 30], transform=at(c, 0)) for c in (0, 60)]
    want = data[0].copy()
    want[:, 30:60] = 255
    same(measure(here, paths), want)


def test_the_first_wins(here: Path) -> None:
    data = marks((40, 60))
    first = write(here / "a.tif", data[:, :, :40], transform=at(0, 0))
    second = write(here / "b.tif", 101 - data[:, :, 20:], transform=at(20, 0))
    want = np.concatenate([data[0, :, :40], 101 - data[0, :, 40:]], 1)
    same(measure(here, [first, second]), want)
    want = np.concatenate([data[0, :, :20], 101 - data[0, :, 20:]], 1)
    same(measure(here, [second, first]), want)


def test_nodata_of_the_first_gives_way(here: Path) -> None:
    data = marks((40, 60))
    holed = data[:, :, :40].copy()
    holed[:, 10:20, 25:35] = 0
    first = write(here / "a.tif", holed, nodata=0)
    second = write(here / "b.tif", data[:, :, 20:], transform=at(20, 0))
    same(measure(here, [first, second]), data[0])


def test_each_file_has_its_own_nodata(here: Path) -> None:
    data = marks((40, 60), dtype="int16")
    left, right = data[:, :, :30].copy(), data[:, :, 30:].copy()
    left[:, :5], right[:, -5:] = -1, 0
    paths = [
        write(here / "a.tif", left, nodata=-1, names=["red", "green", "blue"]),
        write(here / "b.tif", right, nodata=0, transform=at(30, 0), names=["red", "green", "blue"]),
    ]
    want = data[0].astype(int)
    want[:5, :30] = want[-5:, 30:] = 255
    same(measure(here, paths, unit="dn"), want)


def test_each_file_has_its_own_scale(here: Path) -> None:
    db = np.rint(10 * np.log10(speckled(4, (48, 96))))
    paths = [
        write(here / "a.tif", (db[:, :48] * 100).astype("i2"), scales=[0.01]),
        write(here / "b.tif", (db[:, 48:] * 10).astype("i2"), scales=[0.1], transform=at(48, 0)),
    ]
    same(measure(here, paths, family="sar", unit="db", low=-60), db + 60)


def test_files_on_half_a_pixel(here: Path) -> None:
    """A linear picture is exact when it is interpolated."""
    _, cols = np.indices((40, 90))
    left = np.repeat((cols[:, :45] + 1)[None], 3, 0).astype("u1")
    right = np.repeat((cols[:, 45:] + 1)[None], 3, 0).astype("u1")
    paths = [
        write(here / "a.tif", left),
        write(here / "b.tif", right, transform=at(45, 0) @ Affine.translation(0, 0.5)),
    ]
    found = measure(here, paths)
    inside = found.classes[2:38, 2:88]
    np.testing.assert_array_equal(inside, np.broadcast_to(np.arange(3, 89), inside.shape))


def test_files_in_two_systems(here: Path) -> None:
    from pyproj import Transformer
    from rasterio.warp import calculate_default_transform

    _, cols = np.indices((60, 60))
    left = write(here / "a.tif", np.repeat((cols + 1)[None], 3, 0).astype("u1"))
    # the same linear picture, drawn in degrees by its own formula
    x0, y1 = 500_300.0, 5_000_000.0
    box, width, height = calculate_default_transform("EPSG:32633", "EPSG:4326", 80, 60, x0, y1 - 600, x0 + 800, y1)
    r, c = np.indices((height, width))
    lon, lat = box.a * (c + 0.5) + box.c, box.e * (r + 0.5) + box.f
    x, _ = Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True).transform(lon, lat)
    value = np.clip((x - 500_000) / 10 + 0.5, 1, 127)
    right = write(here / "b.tif", np.repeat(np.rint(value)[None], 3, 0).astype("u1"), crs="EPSG:4326", transform=box)
    found = measure(here, [left, right])
    want = np.broadcast_to(np.arange(1, found.classes.shape[1] + 1), found.classes.shape)
    inner = found.valid & (want < 105) & (want > 2)
    inner[:3] = inner[-3:] = False
    assert inner.mean() > 0.6
    assert np.abs(found.classes[inner].astype(int) - want[inner]).max() <= 1


def test_files_of_different_types_are_refused(here: Path) -> None:
    paths = [write(here / "a.tif", marks()), write(here / "b.tif", marks(dtype="uint16"), transform=at(50, 0))]
    with pytest.raises(InputError, match="different types"):
        measure(here, paths)


def test_a_folder_and_a_pattern(here: Path) -> None:
    data = marks((40, 90))
    for c in (0, 45):
        write(here / f"tiles/{c}.tif", data[:, :, c : c + 45], transform=at(c, 0))
    same(measure(here, here / "tiles"), data[0])
    same(measure(here, str(here / "tiles/*.tif")), data[0])


def test_undeclared_fill_of_tiles_gives_way(here: Path) -> None:
    db = np.rint(10 * np.log10(speckled(4, (64, 128))))
    left, right = db[:, :96].copy(), db[:, 32:].copy()
    left[:, 64:], right[:, :32] = -9999, -9999
    paths = [
        write(here / "a.tif", left.astype("f4")),
        write(here / "b.tif", right.astype("f4"), transform=at(32, 0)),
    ]
    found = measure(here, paths, family="sar", unit="db", low=-60)
    np.testing.assert_allclose(found.classes, db + 60, atol=1)
    assert "nodata" in found.warned
