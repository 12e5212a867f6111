"""Palette, category names and styles say what the one table of classes says."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from codemae_geo import styles
from codemae_geo.classes import DAMAGE_CLASSES, ClassInfo, ClassTable

LAND = ClassTable(
    [
        ClassInfo(0, "water & ice", "#0000ff"),
        ClassInfo(1, "bare_soil", "#c0ffee"),
        ClassInfo(2, "<odd>", "#010203", True),
    ]
)
TABLES = pytest.mark.parametrize("classes", [DAMAGE_CLASSES, LAND], ids=["damage", "land"])


def _root(text: str) -> ET.Element:
    return ET.fromstring(text)


@TABLES
def test_raster_style_has_the_foreground_in_the_tables_colours(classes: ClassTable) -> None:
    entries = _root(styles.raster_qml(classes)).findall(".//paletteEntry")
    assert [(int(e.attrib["value"]), e.attrib["color"]) for e in entries] == [
        (c.value, c.color) for c in classes.foreground
    ]


@TABLES
def test_vector_styles_have_the_tables_colours(classes: ClassTable) -> None:
    for qml in (styles.polygon_qml(classes), styles.building_qml(classes)):
        root = _root(qml)
        symbols = {s.attrib["name"]: s for s in root.findall(".//symbol")}
        shown = {c.attrib["value"]: symbols[c.attrib["symbol"]] for c in root.findall(".//category")}
        for info in classes.foreground:
            fill = shown[str(info.value)].find(".//Option[@name='color']")
            assert fill is not None
            assert fill.attrib["value"] == ",".join(map(str, (*info.rgb, 255)))
            assert shown[str(info.value)].attrib["alpha"] == "0.8"


def test_only_buildings_show_background_and_missing_answers() -> None:
    def values(qml: str) -> set[str]:
        return {c.attrib["value"] for c in _root(qml).findall(".//category")}

    assert values(styles.polygon_qml(DAMAGE_CLASSES)) == {"1", "2", "3"}
    assert values(styles.building_qml(DAMAGE_CLASSES)) == {"0", "1", "2", "3", ""}


def test_field_name_is_the_callers() -> None:
    renderer = _root(styles.polygon_qml(DAMAGE_CLASSES, field="kind")).find("renderer-v2")
    assert renderer is not None
    assert renderer.attrib["attr"] == "kind"


@TABLES
def test_attribute_table_and_palette_agree(classes: ClassTable) -> None:
    root = _root(styles.aux_xml(classes))
    assert [e.text for e in root.findall(".//Category")] == classes.names
    usages = [int(e.text or "") for e in root.findall(".//FieldDefn/Usage")]
    assert usages == [5, 2, 6, 7, 8, 9]
    rows = [[f.text for f in row] for row in root.findall(".//Row")]
    palette = styles.palette(classes)
    assert rows == [[str(c.value), c.name, *map(str, palette[c.value])] for c in classes]
    assert all((palette[c.value][3] == 0) == c.background for c in classes)


def test_gdal_reads_the_side_car(tmp_path: Path) -> None:
    path = tmp_path / "c.tif"
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=4,
        height=4,
        count=1,
        dtype="uint8",
        crs="EPSG:32631",
        transform=Affine(1, 0, 0, 0, -1, 0),
    ) as new:
        new.write(np.ones((1, 4, 4), np.uint8))
    (tmp_path / "c.tif.aux.xml").write_text(styles.aux_xml(DAMAGE_CLASSES))
    with rasterio.open(path) as read:
        assert [Path(f).name for f in read.files] == ["c.tif", "c.tif.aux.xml"]


def test_confidence_ramp_rises_in_lightness_from_zero_to_one() -> None:
    items = _root(styles.confidence_qml()).findall(".//item")
    assert [float(i.attrib["value"]) for i in items] == [0, 0.25, 0.5, 0.75, 1]
    weights = np.array([0.2126, 0.7152, 0.0722])
    light = [weights @ [int(i.attrib["color"][k : k + 2], 16) for k in (1, 3, 5)] for i in items]
    assert (np.diff(light) > 0).all()
