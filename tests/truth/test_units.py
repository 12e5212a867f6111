"""What radar values are: named rightly, or asked for; never another unit with confidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from codemae_geo.errors import InputError
from truth.ruler import Map, measure, speckled, write

DB: dict[str, Any] = {"family": "sar", "unit": "db", "low": -60.0}
FACES = {"power": lambda p: p, "amplitude": np.sqrt, "db": lambda p: 10 * np.log10(p)}


def right_or_asked(folder: Path, path: Path, db: np.ndarray, unit: str) -> str:
    """Run without naming the unit: either the map is that of the truth in decibels, or the unit is asked for."""
    try:
        found = measure(folder, path, **DB)
    except InputError as error:
        if "cannot be told" not in error.message or "unit" not in (error.hint or ""):
            raise
        return "asked"
    same(found, db)
    assert found.summary["inputs"]["image"]["unit"] == unit
    return "right"


def same(found: Map, db: np.ndarray) -> None:
    assert found.valid.all()
    np.testing.assert_allclose(found.classes, np.clip(np.rint(db + 60), 0, 127), atol=1)


@pytest.mark.parametrize("unit", FACES)
@pytest.mark.parametrize("looks", [1, 4, 16])
@pytest.mark.parametrize("level", [0.01, 0.05, 1.0, 1e4])
def test_floats_without_a_word(here: Path, unit: str, looks: int, level: float) -> None:
    power = speckled(looks, level=level)
    path = write(here / "a.tif", FACES[unit](power).astype("f4"))
    right_or_asked(here, path, 10 * np.log10(power), unit)


@pytest.mark.parametrize("unit", FACES)
def test_common_products_are_not_asked_about(here: Path, unit: str) -> None:
    """Calibrated land of four looks, as most products are."""
    power = speckled(4, (512, 512), level=0.05)
    path = write(here / "a.tif", FACES[unit](power).astype("f4"))
    assert right_or_asked(here, path, 10 * np.log10(power), unit) == "right"


def test_decibels_without_negatives(here: Path) -> None:
    db = 10 * np.log10(speckled(3, level=300))
    right = write(here / "a.tif", np.maximum(db, 0.01).astype("f4"))
    assert right_or_asked(here, right, np.maximum(db, 0.01), "db") == "right"


def test_power_less_noise(here: Path, shared: Path) -> None:
    path = shared / "cases/power_minus_noise.tif"
    with rasterio.open(path) as ds:
        power = np.maximum(ds.read(1), 0)
    found = measure(here, path, family="sar", unit="amplitude", step=0.02)
    np.testing.assert_allclose(found.classes, np.clip(np.rint(np.sqrt(power) / 0.02), 0, 127), atol=1)
    assert found.summary["inputs"]["image"]["unit"] == "power"


def test_bright_power_of_one_look(here: Path) -> None:
    power = speckled(1, level=2.0)
    path = write(here / "a.tif", power.astype("f4"))
    assert right_or_asked(here, path, 10 * np.log10(power), "power") == "right"


@pytest.mark.parametrize(
    "said",
    [
        {"units": ["dB"]},
        {"names": ["VV_dB"]},
        {"names": ["sigma0 in decibels"]},
        {"tags": {"UNITS": "dB"}},
        {"tags": {"calibration_units": "decibel"}},
    ],
)
def test_decibels_by_name(here: Path, said: dict[str, Any]) -> None:
    """Decibels of 40 and more, which could be anything."""
    db = 10 * np.log10(speckled(60, level=1e4))
    found = measure(here, write(here / "a.tif", db.astype("f4"), **said), **DB)
    same(found, db)


@pytest.mark.parametrize("unit", FACES)
@pytest.mark.parametrize("where", ["unit", "name", "file"])
def test_every_unit_by_name(here: Path, unit: str, where: str) -> None:
    power = speckled(9, level=0.15)
    said: dict[str, Any] = {"units": [unit]} if where == "unit" else {"names": [f"gamma0 {unit}"]}
    path = write(
        here / ("a.tif" if where != "file" else f"scene_{unit}.tif"),
        FACES[unit](power).astype("f4"),
        **({} if where == "file" else said),
    )
    found = measure(here, path, **DB)
    same(found, 10 * np.log10(power))
    assert found.summary["inputs"]["image"]["unit"] == unit


def test_a_name_that_the_values_contradict(here: Path) -> None:
    path = write(here / "scene_db.tif", speckled(4, level=0.01).astype("f4"))
    with pytest.raises(InputError, match="cannot be told"):
        measure(here, path, **DB)


def test_names_that_contradict_each_other(here: Path) -> None:
    path = write(here / "scene_db.tif", 10 * np.log10(speckled(4)).astype("f4"), units=["power"])
    with pytest.raises(InputError, match="cannot be told"):
        measure(here, path, **DB)


def test_the_asked_unit_counts(here: Path) -> None:
    power = speckled(4)
    path = write(here / "scene_db.tif", power.astype("f4"))
    same(measure(here, path, stored="power", **DB), 10 * np.log10(power))


@pytest.mark.parametrize(
    ("name", "dtype", "unit"),
    [
        ("s1a-iw-grd-vv-20201107t015841-20201107t015906-035141-041a44-001.tiff", "uint16", "amplitude"),
        ("S1A_IW_20201107T015841_DVP_RTC30_G_gpuned_8D6E_VV.tif", "float32", "power"),
        ("S1A_IW_20201107T015841_DVP_RTC10_G_gaufem_8D6E_VH.tif", "float32", "amplitude"),
        ("S1A_IW_20201107T015841_DVP_RTC20_G_sduned_8D6E_VH.tif", "float32", "db"),
        ("CAPELLA_C02_SM_GEO_HH_20210213141531_20210213141535.tif", "uint16", "amplitude"),
        ("ICEYE_X7_GRD_SM_36152_20200605T161501.tif", "uint16", "amplitude"),
        ("2023-03-13-02-25-41_UMBRA-04_GEC.tif", "uint16", "amplitude"),
        ("OPERA_L2_RTC-S1_T027-056725-IW1_20180401T131146Z_S1B_30_v1.0_VV.tif", "float32", "power"),
        ("IMAGE_HH_SRA_strip_007.tif", "uint16", "amplitude"),
    ],
)
def test_known_products(here: Path, name: str, dtype: str, unit: str) -> None:
    """Values that do not tell by themselves: fifty looks, at a level of power and amplitude alike."""
    power = speckled(50, level=0.02)
    gain = 1.0 if dtype == "float32" else 3000.0
    values = FACES[unit](power * gain**2)
    path = write(here / name, np.rint(values).astype(dtype) if dtype == "uint16" else values.astype(dtype))
    found = measure(here, path, **{**DB, "low": -60 if gain == 1 else 0})
    np.testing.assert_allclose(
        found.classes, np.rint(10 * np.log10(power * gain**2) + (60 if gain == 1 else 0)), atol=1
    )
    assert found.summary["inputs"]["image"]["unit"] == unit


def test_capella_by_its_tag(here: Path) -> None:
    counts = np.rint(np.sqrt(speckled(4)) * 300 + 1).astype("u2")
    tag = '{"collect": {"image": {"scale_factor": 0.0003, "calibration": "full"}}}'
    path = write(here / "a.tif", counts, tags={"TIFFTAG_IMAGEDESCRIPTION": tag})
    found = measure(here, path, family="sar", unit="amplitude", step=4)
    np.testing.assert_allclose(found.classes, np.minimum(np.rint(counts / 4), 127), atol=1)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "int32", "uint32"])
@pytest.mark.parametrize("looks", [4, 16])
def test_decibels_in_integers_without_a_scale(here: Path, dtype: str, looks: int) -> None:
    """Decibels as they are, hundredfold, or lifted above zero, and no word of it: never taken for amplitude."""
    db = 10 * np.log10(speckled(looks))
    stored = db if dtype == "int8" else db * 100 if dtype[0] == "i" else (db + 60) * 100
    path = write(here / "a.tif", np.rint(stored).astype(dtype))
    answer = right_or_asked(here, path, db, "db")
    assert answer == ("right" if dtype == "int8" else "asked")


def test_power_less_noise_in_integers(here: Path) -> None:
    """Negative numbers are not amplitude."""
    power = speckled(1, level=0.02) - 0.01
    path = write(here / "a.tif", np.rint(power * 1e4).astype("i2"))
    found = measure(here, path, family="sar", unit="power", step=10)
    assert found.summary["inputs"]["image"]["unit"] == "power"


@pytest.mark.parametrize("looks", [1, 4, 50])
def test_amplitude_in_integers_is_not_asked_about(here: Path, looks: int) -> None:
    counts = np.rint(np.sqrt(speckled(looks)) * 300 + 1).astype("u2")
    found = measure(here, write(here / "a.tif", counts), family="sar", unit="amplitude", step=4)
    np.testing.assert_allclose(found.classes, np.minimum(np.rint(counts / 4), 127), atol=1)


@pytest.mark.parametrize(
    ("tags", "dtype", "unit"),
    [
        ({"SATELLITE_NAME": "ICEYE-X7"}, "uint16", "amplitude"),
        ({"TIFFTAG_IMAGEDESCRIPTION": "Sentinel-1A IW GRD HR L1"}, "uint16", "amplitude"),
        ({"NETCDF_VARNAME": "/science/LSAR/GCOV/grids/frequencyA/HHHH"}, "float32", "power"),
        ({"PRODUCT": "TSX1_SAR__EEC_RE___SM_S_SRA_20100301T051934"}, "uint16", "amplitude"),
        ({"UMBRA": "UMBRA-05_GEC"}, "uint16", "amplitude"),
    ],
)
def test_products_by_a_tag_alone(here: Path, tags: dict[str, str], dtype: str, unit: str) -> None:
    """The file has another name; fifty looks at a level of power and amplitude alike, so the values do not tell."""
    values = FACES[unit](speckled(50, level=0.15)) * (1 if dtype == "float32" else 300)
    path = write(
        here / "renamed.tif", np.rint(values).astype(dtype) if dtype == "uint16" else values.astype(dtype), tags=tags
    )
    found = measure(here, path, family="sar", unit=unit, step=0.01 if dtype == "float32" else 4)
    assert found.summary["inputs"]["image"]["unit"] == unit
