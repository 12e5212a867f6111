"""Palette, category names and styles say what the one table of classes says."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from codemae_geo import styles
from codemae_geo.classes import DAMAGE_CLASSES, STANDARD_COLORS, ClassInfo, ClassTable

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


#: what eyes without the long-, middle- or short-wave cone see, on linear RGB: Machado, Oliveira and Fernandes 2009, "A
#: physiologically-based model for simulation of color vision deficiency", table 1, severity 1.0
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
#: linear RGB to XYZ (IEC 61966-2-1), and the white it belongs to (D65)
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def lab(color: str, vision: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of ``#rrggbb`` as an eye sees it."""
    value = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(vision @ linear, 0, 1) / WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def closest(colors: list[str], vision: np.ndarray) -> float:
    """Smallest CIE76 difference of any two colours."""
    return min(float(np.linalg.norm(lab(a, vision) - lab(b, vision))) for a, b in itertools.combinations(colors, 2))


def test_lab_is_known_for_known_colours() -> None:
    assert lab("#ffffff", np.eye(3)) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab("#ff0000", np.eye(3)) == pytest.approx([53.24, 80.09, 67.2], abs=0.05)
    assert (
        closest(["#ff0000", "#008000"], VISION["deuteranopia"]) < closest(["#ff0000", "#008000"], VISION["normal"]) / 2
    )


@pytest.mark.parametrize("vision", VISION)
def test_colours_stay_apart_under_colour_vision_deficiencies(vision: str) -> None:
    # a difference of 2.3 is just noticeable; 10 is seen at a glance; on imagery and at 80 % opacity more is needed
    shown = [*(c.color for c in DAMAGE_CLASSES.foreground), styles.GREY]
    assert closest(shown, VISION[vision]) > 30
    assert closest(list(STANDARD_COLORS), VISION[vision]) > 15


def test_the_legend_in_the_guide_is_the_table(root: Path) -> None:
    text = (root / "docs/damage.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| `(\w+)` \| (\S+) \|", text, re.M)
    assert rows == [(str(c.value), c.name, "transparent" if c.background else f"`{c.color}`") for c in DAMAGE_CLASSES]


def test_metadata_says_what_made_a_raster() -> None:
    tags = {"SOFTWARE": "codemae-geo 1", "MODEL": "m <1>", "INPUTS": '{"pre": [{"file": "a.tif"}, {"file": "b.tif"}]}'}
    root = _root(styles.metadata_qmd("damage", {**tags, "CLASSES": "[]", "DATE": "2026-01-02"}))
    assert root.findtext("abstract") == (
        "damage, made by codemae-geo 1 on 2026-01-02 with the model m <1>. Inputs: pre: a.tif, b.tif."
    )
    assert [e.text for e in root.findall("history")][1:3] == ["MODEL: m <1>", f"INPUTS: {tags['INPUTS']}"]
    assert not any("CLASSES" in (e.text or "") for e in root.iter())
    assert _root(styles.metadata_qmd("damage", {})).findtext("abstract") == "damage."


@TABLES
def test_the_attribute_table_reads_back(classes: ClassTable) -> None:
    assert ClassTable.from_list(styles.read_aux_xml(styles.aux_xml(classes))) == classes
