"""Offsets of Sentinel-2 after baseline 04.00: applied once, from whatever states them; catalogues that do not say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from truth.ruler import Map, marks, measure, write

REFLECTANCE: dict[str, Any] = {"unit": "reflectance", "step": 0.01}


def counts(offset: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Stored counts of three bands, and the marks that their reflectance is."""
    data = marks(dtype="uint16")
    return data * 100 + offset, data[0]


def item(folder: Path, properties: dict[str, Any], fields: dict[str, Any], *, offset: int = 1000) -> Path:
    stored, _ = counts(offset)
    assets = {}
    for name, band in zip(("red", "green", "blue"), stored, strict=True):
        path = write(folder / f"{name}.tif", band)
        assets[name] = {"href": str(path), "type": "image/tiff", **fields}
    text = {
        "type": "Feature", "stac_version": "1.0.0", "id": "S2A_33UUP_20220301_0_L2A", "geometry": None, "links": [],
        "properties": {"datetime": "2022-03-01T10:00:00Z", "platform": "sentinel-2a", **properties},
        "assets": assets, "collection": "sentinel-2-l2a",
    }  # fmt: skip
    path = folder / "item.json"
    path.write_text(json.dumps(text))
    return path


def right(found: Map) -> None:
    np.testing.assert_array_equal(found.classes, counts()[1])
    assert "offset" not in found.warned


def test_catalogue_states_scale_and_offset(here: Path) -> None:
    path = item(here, {}, {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]})
    found = measure(here, path, **REFLECTANCE)
    right(found)
    assert any("as the catalogue says" in line for line in found.said)


def test_catalogue_of_version_1_1(here: Path) -> None:
    right(measure(here, item(here, {}, {"raster:scale": 1e-4, "raster:offset": -0.1}), **REFLECTANCE))


def test_catalogue_states_an_offset_that_it_has_removed(here: Path) -> None:
    fields = {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]}
    path = item(here, {"earthsearch:boa_offset_applied": True}, fields, offset=0)
    right(measure(here, path, **REFLECTANCE))


def test_catalogue_that_does_not_say(here: Path) -> None:
    path = item(here, {"s2:processing_baseline": "05.09"}, {})
    found = measure(here, path, unit="dn", step=100)
    assert "05.09" in found.warned["offset"]


def test_old_baseline_is_not_doubted(here: Path) -> None:
    path = item(here, {"s2:processing_baseline": "03.01"}, {}, offset=0)
    found = measure(here, path, **REFLECTANCE)
    right(found)


def test_header_counts_before_the_catalogue(here: Path) -> None:
    path = item(here, {}, {"raster:bands": [{"scale": 1e-4, "offset": -0.1}]})
    stored, _ = counts()
    for name, band in zip(("red", "green", "blue"), stored, strict=True):
        write(here / f"{name}.tif", band, scales=[1e-4], offsets=[-0.1])
    right(measure(here, path, **REFLECTANCE))


@pytest.mark.parametrize("level", ["L2A", "L1C"])
def test_product_folder(here: Path, level: str) -> None:
    images = here / "S2A_MSI.SAFE/GRANULE/L2A_T33UUP/IMG_DATA/R10m"
    data = marks(dtype="uint16")
    path = write(images / "T33UUP_20220301T101029_B04_10m.tif", data * 100 + 1000, names=["red", "green", "blue"])
    scale, offset = ("BOA_QUANTIFICATION_VALUE", "BOA_ADD_OFFSET") if level == "L2A" else (
        "QUANTIFICATION_VALUE", "RADIO_ADD_OFFSET",
    )  # fmt: skip
    offsets = "".join(f'<{offset} band_id="{i}">-1000</{offset}>' for i in range(13))
    (here / f"S2A_MSI.SAFE/MTD_MSI{level}.xml").write_text(
        f'<n1:Level xmlns:n1="x"><a><{scale} unit="none">10000</{scale}>{offsets}</a></n1:Level>'
    )
    found = measure(here, path, **REFLECTANCE)
    np.testing.assert_array_equal(found.classes, data[0])
    assert any(f"as MTD_MSI{level}.xml says" in line for line in found.said)


def test_product_of_an_old_baseline(here: Path) -> None:
    data = marks(dtype="uint16")
    path = write(here / "p/T33UUP_20200301T101029_B04_10m.tif", data * 100, names=["red", "green", "blue"])
    (here / "p/MTD_MSIL2A.xml").write_text("<a><BOA_QUANTIFICATION_VALUE>10000</BOA_QUANTIFICATION_VALUE></a>")
    np.testing.assert_array_equal(measure(here, path, **REFLECTANCE).classes, data[0])


def test_proj_transform_is_not_believed_over_the_file(here: Path) -> None:
    wrong = {"proj:transform": [10, 0, 0, 0, -10, 0], "proj:shape": [4, 4], "proj:epsg": 3857}
    path = item(here, wrong, {"raster:bands": [{"scale": 1e-4, "offset": -0.1}], **wrong})
    found = measure(here, path, **REFLECTANCE)
    right(found)
    assert (found.transform.c, found.transform.f) == (500_000, 5_000_000)
