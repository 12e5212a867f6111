"""Which pixels are measurements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from codemae_geo.errors import InputError
from truth.ruler import Map, marks, measure, speckled, write

HOLE = (slice(5, 15), slice(20, 33))


def holed(shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    valid = np.ones(shape, bool)
    valid[HOLE] = False
    return valid


def bordered(shape: tuple[int, int] = (96, 96), width: int = 12) -> np.ndarray:
    valid = np.zeros(shape, bool)
    valid[width:-width, width:-width] = True
    return valid


def same(found: Map, data: np.ndarray, valid: np.ndarray) -> None:
    np.testing.assert_array_equal(found.classes, np.where(valid, data[0], 255))


def decibels(found: Map, db: np.ndarray, valid: np.ndarray) -> None:
    """The map of a ruler with low -60 and step 1."""
    np.testing.assert_array_equal(found.valid, valid)
    np.testing.assert_allclose(found.classes[valid], np.rint(db[valid] + 60), atol=1)


def test_no_mask(here: Path) -> None:
    data = marks()
    same(measure(here, write(here / "a.tif", data)), data, np.ones((40, 50), bool))


def test_header_nodata(here: Path) -> None:
    data = marks()
    data[:, ~holed()] = 0
    same(measure(here, write(here / "a.tif", data, nodata=0)), data, holed())


def test_black_in_one_band_is_a_measurement(here: Path) -> None:
    data = marks()
    data[0, ~holed()] = 0
    same(measure(here, write(here / "a.tif", data, nodata=0)), data, np.ones((40, 50), bool))


def test_asked_nodata_replaces_the_headers(here: Path) -> None:
    data = marks()
    data[:, ~holed()] = 77
    data[data == 78] = 79
    data[1, holed()], data[2, holed()] = 1, 2
    same(measure(here, write(here / "a.tif", data, nodata=0), nodata=77), data, holed())


def test_alpha(here: Path) -> None:
    data, valid = marks(), holed()
    stack = np.concatenate([data, (valid * 255).astype("u1")[None]])
    path = write(here / "a.tif", stack, colors=["red", "green", "blue", "alpha"])
    same(measure(here, path), data, valid)


def test_alpha_with_soft_edges(here: Path) -> None:
    data, valid = marks(), holed()
    alpha = valid * 255
    alpha[5, 20:33] = np.arange(10, 10 + 13)  # one soft row, as a viewer draws it
    path = write(
        here / "a.tif", np.concatenate([data, alpha.astype("u1")[None]]), colors=["red", "green", "blue", "alpha"]
    )
    same(measure(here, path), data, alpha > 0)


def test_alpha_of_sixteen_bits(here: Path) -> None:
    data, valid = marks(dtype="uint16"), holed()
    stack = np.concatenate([data, (valid * 65535).astype("u2")[None]])
    path = write(here / "a.tif", stack, colors=["red", "green", "blue", "alpha"])
    found = measure(here, path, unit="dn")
    same(found, data, valid)


def test_internal_mask(here: Path) -> None:
    data = marks()
    same(measure(here, write(here / "a.tif", data, mask=holed())), data, holed())


def test_mask_beside_the_file(here: Path) -> None:
    data = marks()
    path = write(here / "a.tif", data)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as ds:
        ds.write_mask(holed())
    assert path.with_name("a.tif.msk").exists()
    same(measure(here, path), data, holed())


def test_nan(here: Path) -> None:
    db = 10 * np.log10(speckled(4))
    db[bordered() == 0] = np.nan
    found = measure(here, write(here / "a.tif", db.astype("f4")), family="sar", unit="db", low=-60)
    decibels(found, db, bordered())


def test_nan_declared(here: Path) -> None:
    db = 10 * np.log10(speckled(4))
    db[bordered() == 0] = np.nan
    path = write(here / "a.tif", db.astype("f4"), nodata=float("nan"))
    decibels(measure(here, path, family="sar", unit="db", low=-60), db, bordered())


def test_infinity(here: Path) -> None:
    db = 10 * np.log10(speckled(4))
    db[bordered() == 0] = -np.inf
    found = measure(here, write(here / "a.tif", db.astype("f4")), family="sar", unit="db", low=-60)
    decibels(found, db, bordered())


@pytest.mark.parametrize("fill", [-9999.0, -3.4028234663852886e38, 3.4028234663852886e38, 1e20, -32768.0])
def test_undeclared_fill_of_decibels(here: Path, fill: float) -> None:
    db = 10 * np.log10(speckled(4))
    db[bordered() == 0] = fill
    found = measure(here, write(here / "a.tif", db.astype("f4")), family="sar", unit="db", low=-60)
    decibels(found, db, bordered())
    assert f"{np.float32(fill):g}" in found.warned["nodata"]


def test_undeclared_fill_inside(here: Path) -> None:
    """An isolated extreme value is none even away from the border."""
    db = 10 * np.log10(speckled(4))
    valid = holed((96, 96))
    db[~valid] = -9999
    found = measure(here, write(here / "a.tif", db.astype("f4")), family="sar", unit="db", low=-60)
    decibels(found, db, valid)
    assert "nodata" in found.warned


def test_zero_border_of_power(here: Path) -> None:
    power = speckled(4)
    power[bordered() == 0] = 0
    path = write(here / "a.tif", power.astype("f4"), units=["power"])
    found = measure(here, path, family="sar", unit="db", low=-60)
    decibels(found, 10 * np.log10(np.where(power > 0, power, 1)), bordered())
    assert "nodata" in found.warned


def test_zero_border_of_amplitude_counts(here: Path) -> None:
    counts = np.rint(np.sqrt(speckled(4)) * 300) + 1
    counts[bordered() == 0] = 0
    found = measure(here, write(here / "a.tif", counts.astype("u2")), family="sar", unit="amplitude", step=4)
    np.testing.assert_array_equal(found.valid, bordered())
    assert "nodata" in found.warned


def test_zero_border_of_optical_counts(here: Path) -> None:
    data = marks((96, 96), dtype="uint16")
    data[:, ~bordered()] = 0
    found = measure(here, write(here / "a.tif", data, names=["red", "green", "blue"]), unit="dn")
    same(found, data, bordered())
    assert "nodata" in found.warned


def test_scattered_zeros_of_power_are_measurements(here: Path) -> None:
    """Where noise was subtracted and the rest cut off at zero."""
    power = np.maximum(speckled(1) - 0.01, 0)
    path = write(here / "a.tif", power.astype("f4"), units=["power"])
    found = measure(here, path, family="sar", unit="amplitude", step=0.02)
    assert found.valid.all()
    np.testing.assert_allclose(found.classes, np.minimum(np.rint(np.sqrt(power) / 0.02), 127), atol=1)


def test_dark_water_of_a_picture_is_a_measurement_and_is_spoken_of(here: Path) -> None:
    data = marks((96, 96))
    data[:, :, 60:] = 0
    found = measure(here, write(here / "a.tif", data))
    same(found, data, np.ones((96, 96), bool))
    assert "exactly 0" in found.warned["nodata"]


def test_undeclared_fill_of_integers(here: Path) -> None:
    data = marks((96, 96), dtype="int16")
    data[:, ~bordered()] = -32768
    found = measure(here, write(here / "a.tif", data, names=["red", "green", "blue"]), unit="dn")
    same(found, data, bordered())
    assert "-32768" in found.warned["nodata"]


def test_nodata_of_scaled_values_is_the_stored_one(here: Path) -> None:
    db = 10 * np.log10(speckled(4))
    stored = np.rint(db * 100)
    stored[~bordered()] = -9999
    path = write(here / "a.tif", stored.astype("i2"), nodata=-9999, scales=[0.01])
    decibels(measure(here, path, family="sar", unit="db", low=-60), db, bordered())


def test_infrared_tagged_alpha(here: Path, shared: Path) -> None:
    path = shared / "cases/infrared_tagged_alpha.tif"
    with rasterio.open(path) as ds:
        data = ds.read()
    found = measure(here, path, step=2)
    assert found.valid.all()
    np.testing.assert_allclose(found.classes, np.minimum(np.rint(data[0] / 2), 127), atol=1)
    assert "alpha" in found.warned


def test_infrared_of_four_bands_by_default(here: Path) -> None:
    """GDAL calls the fourth of four 8-bit bands alpha, whatever it holds."""
    data = marks(bands=4)

    data[3] = np.random.default_rng(2).integers(0, 200, (40, 50))
    path = write(here / "a.tif", data)
    found = measure(here, path)
    same(found, data, np.ones((40, 50), bool))
    assert "alpha" in found.warned


def test_alpha_without_an_opaque_pixel_is_refused(here: Path) -> None:
    stack = np.concatenate([marks(), np.zeros((1, 40, 50), "u1")])
    path = write(here / "a.tif", stack, colors=["red", "green", "blue", "alpha"])
    with pytest.raises(InputError, match=r"no pixel|no valid pixel"):
        measure(here, path)


def test_undeclared_fill_of_the_shared_case(here: Path, shared: Path) -> None:
    path = shared / "cases/db_fill_undeclared.tif"
    with rasterio.open(path) as file:
        db = file.read(1).astype(np.float64)
    found = measure(here, path, family="sar", unit="db", low=-60.0)
    assert (db == -9999).any()
    decibels(found, db, db != -9999)
    assert "-9999" in str(found.warned)
