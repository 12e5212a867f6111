from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from codemae_geo.errors import InputError
from codemae_geo.sensors import SENSORS, UNITS, Conversion, detect_unit, from_amplitude, plan_conversion, to_amplitude


def speckle(looks: int, level: float = 0.1, n: int = 256) -> np.ndarray:
    """Power of fully developed speckle, ``[1, n, n]``."""
    return np.random.default_rng(0).gamma(looks, level / looks, (1, n, n)).astype("f4")


def test_the_table_is_consistent() -> None:
    for name, sensor in SENSORS.items():
        assert sensor.name == name
        assert sensor.unit in UNITS[sensor.family]


@pytest.mark.parametrize(
    ("family", "dtype", "unit"),
    [
        ("optical", "uint8", "uint8"),
        ("optical", "uint16", "dn"),
        ("optical", "int16", "dn"),
        ("sar", "uint8", "uint8"),
        ("sar", "uint16", "amplitude"),
        ("sar", "complex64", "complex"),
    ],
)
def test_unit_by_type(family: str, dtype: str, unit: str) -> None:
    found, reason = detect_unit(family, dtype)  # type: ignore[arg-type]
    assert found == unit
    assert dtype in reason


def test_unit_of_float_optical() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (3, 64, 64)).astype("f4")
    assert detect_unit("optical", "float32", values)[0] == "reflectance"
    assert detect_unit("optical", "float32", values * 255)[0] == "uint8"
    assert detect_unit("optical", "float32", values * 10_000)[0] == "dn"


def test_db_is_told_by_its_sign() -> None:
    assert detect_unit("sar", "float32", 10 * np.log10(speckle(4)))[0] == "db"


def test_single_look_speckle_tells_power_from_amplitude() -> None:
    assert detect_unit("sar", "float32", speckle(1))[0] == "power"
    assert detect_unit("sar", "float32", np.sqrt(speckle(1)))[0] == "amplitude"


def test_invalid_pixels_do_not_decide() -> None:
    values = np.abs(speckle(1))
    values[:, :100] = -9999
    valid = np.ones(values.shape[1:], bool)
    valid[:100] = False
    assert detect_unit("sar", "float32", values, valid)[0] == "power"


def test_real_radar_units(shared: Path) -> None:
    told = []
    for path in sorted((shared / "data/sentinel_tiles/S1RTC").glob("*.tif")):
        with rasterio.open(path) as ds:
            db = ds.read()
        assert detect_unit("sar", db.dtype, db)[0] == "db"
        power = 10 ** (db / 10)
        assert detect_unit("sar", "float32", power[:1])[0] == "power", path.name
        try:
            told.append(detect_unit("sar", "float32", np.sqrt(power[:1]))[0])
        except InputError:
            told.append("asked")
    assert told.count("amplitude") >= 3
    assert set(told) <= {"amplitude", "asked"}
    with rasterio.open(shared / "data/spacenet6_rotterdam/sar_hh.tif") as ds:
        amplitude = np.abs(ds.read())
    # its texture has the shape of power of three looks, which digital numbers do not rule out
    with pytest.raises(InputError, match="cannot be told"):
        detect_unit("sar", "float32", amplitude)
    assert detect_unit("sar", "float32", amplitude, said=[("amplitude", "the file name")])[0] == "amplitude"
    assert detect_unit("sar", "float32", amplitude**2)[0] == "power"


@given(st.sampled_from(["db", "power", "amplitude"]), st.floats(1e-4, 1e4))
def test_backscatter_units_go_back_and_forth(unit: str, value: float) -> None:
    amplitude = np.full((1, 1, 1), value, "f4")
    there = from_amplitude(amplitude, unit)  # type: ignore[arg-type]
    np.testing.assert_allclose(to_amplitude(there, unit), amplitude, rtol=1e-4)  # type: ignore[arg-type]


def test_all_faces_of_one_backscatter_become_one_image() -> None:
    amplitude = np.sqrt(speckle(1))
    valid = np.ones(amplitude.shape[1:], bool)
    valid[:3] = False
    phase = np.exp(1j * np.random.default_rng(1).uniform(0, 6, amplitude.shape))
    faces = {
        "amplitude": amplitude,
        "power": amplitude**2,
        "db": 20 * np.log10(amplitude),
        "complex": (amplitude * phase).astype("c8"),
    }
    images = {}
    for unit, data in faces.items():
        plan = plan_conversion("sar", unit, "uint8", data, valid)  # type: ignore[arg-type]
        images[unit] = plan(data, valid)
        assert images[unit].dtype == np.uint8
        assert not images[unit][:, ~valid].any()
        assert plan.high[0] == pytest.approx(np.quantile(amplitude[:, valid], 0.99), rel=1e-4)
    for unit, image in images.items():
        assert np.abs(image.astype(int) - images["amplitude"]).max() <= 1, unit


def test_optical_counts_are_stretched_per_band() -> None:
    rng = np.random.default_rng(0)
    data = np.stack([rng.integers(200, 1200, (64, 64)), rng.integers(2000, 9000, (64, 64))]).astype("u2")
    valid = np.ones((64, 64), bool)
    plan = plan_conversion("optical", "dn", "uint8", data, valid)
    out = plan(data, valid)
    for band, (low, high) in enumerate(zip(plan.low, plan.high, strict=True)):
        assert (low, high) == tuple(np.quantile(data[band], [0.01, 0.99]))
        assert 0.005 < np.mean(out[band] == 0) < 0.02
        assert 0.005 < np.mean(out[band] == 255) < 0.02


def test_equal_units_change_no_bit() -> None:
    data = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    valid = np.ones((4, 4), bool)
    plan = plan_conversion("optical", "uint8", "uint8", data, valid)
    np.testing.assert_array_equal(plan(data, valid), data)
    valid[0, 0] = False
    assert not plan(data, valid)[:, 0, 0].any()


def test_dn_to_reflectance_and_back() -> None:
    data = np.array([[[0, 1000, 10_000]]], np.int16)
    valid = np.ones((1, 3), bool)
    there = plan_conversion("optical", "dn", "reflectance", data, valid, offset=-0.1)
    out = there(data, valid)
    np.testing.assert_allclose(out, [[[-0.1, 0, 0.9]]], atol=1e-6)
    back = plan_conversion("optical", "reflectance", "dn", out, valid, offset=-0.1)
    np.testing.assert_allclose(back(out, valid), data, atol=0.01)


def test_explicit_and_flat_stretches() -> None:
    data = np.full((1, 4, 4), 7, np.uint16)
    valid = np.ones((4, 4), bool)
    assert np.isfinite(plan_conversion("optical", "dn", "uint8", data, valid)(data, valid)).all()
    plan = plan_conversion("optical", "dn", "uint8", data, valid, stretch=(0, 14))
    assert plan(data, valid)[0, 0, 0] in (127, 128)
    assert plan_conversion("optical", "dn", "uint8", data * np.arange(4, dtype="u2"), valid, stretch="minmax").high == (
        21,
    )


def test_a_plan_is_json_and_one_line() -> None:
    plan = Conversion("sar", "db", "uint8", (0.0,), (0.5,))
    assert json.loads(json.dumps(plan.as_dict()))["high"] == [0.5]
    assert "\n" not in plan.describe()
    assert "db -> uint8" in plan.describe()


@pytest.mark.parametrize(
    ("family", "source", "target"),
    [("optical", "uint8", "reflectance"), ("sar", "uint8", "db"), ("sar", "db", "complex"), ("optical", "db", "uint8")],
)
def test_impossible_ways_are_refused(family: str, source: str, target: str) -> None:
    data = np.ones((3, 2, 2), "u1")
    with pytest.raises(InputError):
        plan_conversion(family, source, target, data, np.ones((2, 2), bool))  # type: ignore[arg-type]


def test_nothing_valid_is_refused() -> None:
    data = np.ones((1, 2, 2), "f4")
    with pytest.raises(InputError, match="no valid pixel"):
        plan_conversion("sar", "power", "uint8", data, np.zeros((2, 2), bool))
