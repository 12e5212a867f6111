"""Scale and offset of the header, complex values, types."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from codemae_geo.errors import InputError
from truth.ruler import Map, marks, measure, speckled, write

DB = {"family": "sar", "unit": "db", "low": -60.0}


def decibels(found: Map, db: np.ndarray) -> None:
    assert found.valid.all()
    np.testing.assert_allclose(found.classes, np.clip(np.rint(db + 60), 0, 127), atol=1)


def test_decibels_in_int16(here: Path, shared: Path) -> None:
    path = shared / "cases/db_int16_scaled.tif"
    with rasterio.open(path) as ds:
        db = ds.read(1) * 0.01
    found = measure(here, path, **DB)
    decibels(found, db)
    assert abs(np.median(found.classes.astype(float)) - 60 + 12) < 2
    assert found.summary["inputs"]["image"]["unit"] == "db"
    assert any("0.01" in line for line in found.said)


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"), [("uint16", 0.001, -50.0), ("uint8", 0.3, -55.0), ("int32", 1e-4, 0)]
)
def test_decibels_in_integers(here: Path, dtype: str, scale: float, offset: float) -> None:
    db = np.clip(10 * np.log10(speckled(3)), -50, 20)
    stored = np.rint((db - offset) / scale).astype(dtype)
    path = write(here / "a.tif", stored, scales=[scale], offsets=[offset])
    decibels(measure(here, path, **DB), stored * scale + offset)


def test_offset_without_a_scale(here: Path) -> None:
    db = np.rint(10 * np.log10(speckled(3)))
    path = write(here / "a.tif", (db + 100).astype("u1"), offsets=[-100])
    decibels(measure(here, path, **DB), db)


def test_a_scale_for_each_band(here: Path) -> None:
    data = marks(dtype="uint16")
    names = ["blue", "green", "red"]
    path = write(here / "a.tif", data[::-1] * 10, names=names, scales=[0.5, 0.2, 0.1], offsets=[3, 2, 0])
    found = measure(here, path, unit="dn", low=0, step=1, res=None)
    np.testing.assert_array_equal(found.classes, data[0])


def test_reflectance_in_integers(here: Path) -> None:
    data = marks(dtype="uint16") * 100
    path = write(here / "a.tif", data, names=["red", "green", "blue"], scales=[1e-4] * 3, offsets=[-0.1] * 3)
    found = measure(here, path, unit="reflectance", low=-0.1, step=0.01)
    np.testing.assert_array_equal(found.classes, data[0] // 100)
    assert found.summary["inputs"]["image"]["unit"] == "reflectance"


def test_a_scale_of_zero_is_refused(here: Path) -> None:
    path = write(here / "a.tif", marks(dtype="uint16"), scales=[0.0] * 3)
    with pytest.raises(InputError, match="scales values"):
        measure(here, path, unit="dn")


def test_scaled_values_are_interpolated_as_decibels(here: Path) -> None:
    """Half of 0 dB and half of -20 dB is -3 dB, not -10 dB."""
    db = np.where(np.indices((40, 40))[1] % 2 == 0, 0.0, -20.0)
    path = write(here / "a.tif", (db * 100).astype("i2"), scales=[0.01])
    found = measure(here, path, **DB, res=20)
    assert set(np.unique(found.classes)) == {60 - 3}


def test_complex_int16(here: Path, shared: Path) -> None:
    path = shared / "cases/slc_cint16.tif"
    with rasterio.open(path) as ds:
        amplitude = np.abs(ds.read(1))
    found = measure(here, path, family="sar", unit="amplitude", step=20)
    np.testing.assert_allclose(found.classes, np.clip(np.rint(amplitude / 20), 0, 127), atol=1)
    assert found.summary["inputs"]["image"]["unit"] == "complex"


def test_complex_int16_is_warped_by_amplitude(here: Path, shared: Path) -> None:
    path = shared / "cases/slc_cint16.tif"
    with rasterio.open(path) as ds:
        amplitude = np.abs(ds.read(1))
    found = measure(here, path, family="sar", unit="amplitude", step=20, res=1.2)
    pairs = amplitude.reshape(48, 2, 48, 2).mean((1, 3))
    np.testing.assert_allclose(found.classes, np.clip(np.rint(pairs / 20), 0, 127), atol=1)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_floats(here: Path, dtype: str) -> None:
    phase = np.random.default_rng(0).uniform(0, 6.28, (96, 96))
    amplitude = np.sqrt(speckled(1)) * 100
    path = write(here / "a.tif", (amplitude * np.exp(1j * phase)).astype(dtype))
    found = measure(here, path, family="sar", unit="amplitude", step=1)
    np.testing.assert_allclose(found.classes, np.clip(np.rint(amplitude), 0, 127), atol=1)


def test_a_scene_that_becomes_constant_is_refused(here: Path) -> None:
    """A stretch that leaves nothing of what there is."""
    values = np.rint(speckled(4) * 1000).astype("u2") + 5000
    with pytest.raises(InputError, match="one value"):
        measure(here, write(here / "a.tif", values), family="sar", unit="uint8", stretch=(20000.0, 30000.0))


def test_an_empty_scene_is_refused(here: Path) -> None:
    with pytest.raises(InputError, match="one value"):
        measure(
            here, write(here / "a.tif", np.full((3, 40, 50), 9, "u2"), names=["red", "green", "blue"]), unit="uint8"
        )


def test_float64(here: Path) -> None:
    data = marks(dtype="float64")
    path = write(here / "a.tif", data / 128, names=["red", "green", "blue"])
    np.testing.assert_array_equal(measure(here, path, unit="reflectance", step=1 / 128).classes, data[0])


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int16", "uint32", "int32"])
def test_counts_of_every_integer_type(here: Path, dtype: str) -> None:
    data = marks(dtype=dtype)
    path = write(here / "a.tif", data, names=["red", "green", "blue"])
    np.testing.assert_array_equal(measure(here, path, unit="dn").classes, data[0])
