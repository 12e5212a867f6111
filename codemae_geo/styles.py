"""Everything a map viewer needs to draw our outputs, generated from the one table of classes.

QGIS (3.22 and later) shows a raster with the side-car ``name.qml`` exactly as that says; other programs read the
palette inside the TIFF and the category names and attribute table of ``name.tif.aux.xml``. A GeoPackage carries the QML
of each layer in its own ``layer_styles`` table.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from codemae_geo.classes import ClassInfo, ClassTable

#: opacity of class colours above imagery
OPACITY = 0.8
#: outline of polygons, dark on light and on dark imagery alike
OUTLINE = "#232323"
#: buildings without an answer, and without damage to show
GREY = "#808080"
#: low to high confidence: five steps of the viridis ramp (uniform in lightness, safe under colour-vision deficiencies)
CONFIDENCE_RAMP = ((0.0, "#440154"), (0.25, "#3b528b"), (0.5, "#21918c"), (0.75, "#5ec962"), (1.0, "#fde725"))

_QGIS_VERSION = "3.22.0"
#: usage codes of a GDAL raster attribute table (GDALRATFieldUsage): name, minimum, single value, colours
_NAME, _MINIMUM, _VALUE, _RED, _GREEN, _BLUE, _ALPHA = 2, 3, 5, 6, 7, 8, 9
_RAT_FIELDS = (
    ("Value", 0, _VALUE),
    ("Class", 2, _NAME),
    ("Red", 0, _RED),
    ("Green", 0, _GREEN),
    ("Blue", 0, _BLUE),
    ("Alpha", 0, _ALPHA),
)
_RAT_TYPES = {0: "Integer", 2: "String"}
#: lower end of each step of the share of buildings that are damaged or worse, and its colour
SEVERITY_STEPS = ((0.0, "#fff7c8"), (0.1, "#fed976"), (0.25, "#fd8d3c"), (0.5, "#e33c1c"), (0.75, "#800026"))


def rgba(info: ClassInfo) -> tuple[int, int, int, int]:
    """Red, green, blue, alpha of a class, 0 to 255; a background class is transparent."""
    return (*info.rgb, 0 if info.background else 255)


def palette(classes: ClassTable) -> dict[int, tuple[int, int, int, int]]:
    """Colour map of a class raster, as ``rasterio``'s ``write_colormap`` takes it (TIFF itself drops the alpha)."""
    return {c.value: rgba(c) for c in classes}


def aux_xml(classes: ClassTable) -> str:
    """GDAL's ``.aux.xml`` (PAM) for band 1: category names and a thematic raster attribute table."""
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    names = ET.SubElement(band, "CategoryNames")
    for info in classes:
        ET.SubElement(names, "Category").text = info.name
    table = ET.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_RAT_FIELDS):
        field = ET.SubElement(table, "FieldDefn", index=str(index))
        ET.SubElement(field, "Name").text = name
        ET.SubElement(field, "Type", typeAsString=_RAT_TYPES[kind]).text = str(kind)
        ET.SubElement(field, "Usage").text = str(usage)
    for index, info in enumerate(classes):
        row = ET.SubElement(table, "Row", index=str(index))
        for value in (info.value, info.name, *rgba(info)):
            ET.SubElement(row, "F").text = str(value)
    return _text(root)


def read_aux_xml(text: str) -> list[dict[str, Any]]:
    """The classes that a ``.aux.xml`` names, of ours or of any program: ``value``, ``name``, ``color`` if it has one.

    The attribute table of band 1 counts first, then its category names; a class with alpha 0 is ``background``. An
    empty list when there are neither.

    Raises:
        xml.etree.ElementTree.ParseError: not XML.
        ValueError: a value or colour that is no number.
    """
    # a local side-car, and expat itself refuses entities that grow without bound
    root = ET.fromstring(text)  # noqa: S314
    band = root.find("PAMRasterBand[@band='1']")
    if band is None:
        return []
    table = band.find("GDALRasterAttributeTable")
    usages = [] if table is None else [int(f.findtext("Usage", "0")) for f in table.findall("FieldDefn")]
    if table is not None and _NAME in usages and (_VALUE in usages or _MINIMUM in usages):
        at = {usage: usages.index(usage) for usage in usages}
        found = []
        for row in table.findall("Row"):
            cells = [cell.text or "" for cell in row.findall("F")]
            value = int(float(cells[at[_VALUE if _VALUE in at else _MINIMUM]]))
            entry: dict[str, Any] = {"value": value, "name": cells[at[_NAME]]}
            if all(usage in at for usage in (_RED, _GREEN, _BLUE)):
                entry["color"] = "#" + "".join(f"{int(cells[at[u]]):02x}" for u in (_RED, _GREEN, _BLUE))
            if _ALPHA in at:
                entry["background"] = int(cells[at[_ALPHA]]) == 0
            found.append(entry)
        return sorted(found, key=lambda e: int(e["value"]))
    # the names of the values 0, 1, 2, ...; values that are not in use have empty ones
    return [{"value": i, "name": e.text} for i, e in enumerate(band.findall("CategoryNames/Category")) if e.text]


def raster_qml(classes: ClassTable) -> str:
    """QGIS style of a class raster: one entry for each foreground class; background stays transparent."""
    root, renderer = _raster_style("paletted")
    entries = ET.SubElement(renderer, "colorPalette")
    for info in classes.foreground:
        ET.SubElement(
            entries, "paletteEntry", value=str(info.value), color=info.color, alpha="255", label=_label(info.name)
        )
    return _text(root, qgis=True)


def confidence_qml() -> str:
    """QGIS style of a confidence or probability band in 0..1 (the band's scale applied, as QGIS does)."""
    root, renderer = _raster_style("singlebandpseudocolor")
    renderer.attrib |= {"classificationMin": "0", "classificationMax": "1"}
    shader = ET.SubElement(
        ET.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        clip="0",
        minimumValue="0",
        maximumValue="1",
        labelPrecision="2",
    )
    for value, color in CONFIDENCE_RAMP:
        ET.SubElement(shader, "item", value=str(value), color=color, alpha="255", label=f"{value:g}")
    return _text(root, qgis=True)


def metadata_qmd(title: str, tags: Mapping[str, str]) -> str:
    """QGIS layer metadata (``name.qmd``): which model, inputs and date made a raster, from the raster's own tags.

    Args:
        title: what the raster shows.
        tags: the raster's; ``SOFTWARE``, ``MODEL``, ``MODEL_SHA256``, ``INPUTS`` (JSON) and ``DATE`` are told.
    """
    root = ET.Element("qgis", version=_QGIS_VERSION)
    for name, value in (("identifier", ""), ("parentidentifier", ""), ("language", "ENG"), ("type", "dataset")):
        ET.SubElement(root, name).text = value
    ET.SubElement(root, "title").text = title
    made = [f"made by {tags['SOFTWARE']}"] if "SOFTWARE" in tags else []
    made += [f"on {tags['DATE']}"] if "DATE" in tags else []
    made += [f"with the model {tags['MODEL']}"] if "MODEL" in tags else []
    inputs = json.loads(tags.get("INPUTS", "{}"))
    sources = [f"{role}: {', '.join(f['file'] for f in files)}" for role, files in inputs.items()]
    text = " ".join([f"{title}," if made else title, *made])
    ET.SubElement(root, "abstract").text = (
        ". ".join([text, *(["Inputs: " + "; ".join(sources)] if sources else [])]) + "."
    )
    for name, value in tags.items():
        if name not in ("CLASSES", "AREA_OR_POINT"):
            ET.SubElement(root, "history").text = f"{name}: {value}"
    return _text(root, qgis=True)


def polygon_qml(classes: ClassTable, field: str = "class") -> str:
    """QGIS style of damage polygons: filled by class at 80 % opacity, dark outline."""
    return _categories(field, [(str(c.value), _label(c.name), _fill(c.color)) for c in classes.foreground])


def box_qml(classes: ClassTable, field: str = "class") -> str:
    """QGIS style of detections: an outline in the class's colour, so that what was found stays in sight."""
    return _categories(field, [(str(c.value), _label(c.name), _fill(c.color, "no", c.color, 0.6)) for c in classes])


def building_qml(classes: ClassTable, field: str = "class") -> str:
    """QGIS style of the per-building table.

    As :func:`polygon_qml`; footprints in which no building was found have a thin grey outline, and footprints without
    an answer (status ``nodata`` or ``outside``, class NULL) a grey hatch.
    """
    found = [(str(c.value), _label(c.name), _fill(c.color)) for c in classes.foreground]
    empty = [(str(c.value), "No building found", _fill(GREY, "no", GREY)) for c in classes if c.background]
    return _categories(field, [*found, *empty, ("", "Not analysed", _fill(GREY, "b_diag", GREY))])


def severity_qml(field: str = "affected") -> str:
    """QGIS style of a severity grid: cells by the share of buildings that are damaged or worse."""
    root = ET.Element("qgis", version=_QGIS_VERSION, styleCategories="Symbology")
    renderer = ET.SubElement(
        root, "renderer-v2", type="graduatedSymbol", attr=field, graduatedMethod="GraduatedColor", symbollevels="0"
    )
    ranges, symbols = ET.SubElement(renderer, "ranges"), ET.SubElement(renderer, "symbols")
    ends = [*(low for low, _ in SEVERITY_STEPS[1:]), 1.0]
    for index, ((low, color), high) in enumerate(zip(SEVERITY_STEPS, ends, strict=True)):
        label = f"{100 * low:g} to {100 * high:g} %"
        ET.SubElement(ranges, "range", symbol=str(index), lower=str(low), upper=str(high), label=label, render="true")
        _symbol(symbols, index, _fill(color, outline=color))
    return _text(root, qgis=True)


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _raster_style(kind: str) -> tuple[ET.Element, ET.Element]:
    root = ET.Element("qgis", version=_QGIS_VERSION, styleCategories="Symbology")
    pipe = ET.SubElement(root, "pipe")
    renderer = ET.SubElement(pipe, "rasterrenderer", type=kind, band="1", opacity=str(OPACITY), alphaBand="-1")
    ET.SubElement(renderer, "rasterTransparency")
    return root, renderer


def _fill(color: str, style: str = "solid", outline: str = OUTLINE, width: float = 0.2) -> dict[str, str]:
    """Options of QGIS's simple fill."""
    return {
        "color": _rgba_text(color),
        "style": style,
        "outline_color": _rgba_text(outline),
        "outline_style": "solid",
        "outline_width": str(width),
        "outline_width_unit": "MM",
        "joinstyle": "bevel",
        "offset": "0,0",
        "offset_unit": "MM",
    }


def _rgba_text(color: str) -> str:
    return ",".join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5)) + ",255"


def _categories(field: str, entries: Sequence[tuple[str, str, dict[str, str]]]) -> str:
    """A categorised vector style; ``entries`` are (value, label, fill options), value "" standing for NULL."""
    root = ET.Element("qgis", version=_QGIS_VERSION, styleCategories="Symbology")
    renderer = ET.SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr=field, forceraster="0", symbollevels="0", enableorderby="0"
    )
    categories = ET.SubElement(renderer, "categories")
    symbols = ET.SubElement(renderer, "symbols")
    for index, (value, label, options) in enumerate(entries):
        ET.SubElement(categories, "category", symbol=str(index), value=value, type="string", label=label, render="true")
        _symbol(symbols, index, options)
    return _text(root, qgis=True)


def _symbol(symbols: ET.Element, index: int, options: dict[str, str]) -> None:
    """A fill symbol for the entry of a number."""
    symbol = ET.SubElement(
        symbols, "symbol", name=str(index), type="fill", alpha=str(OPACITY), clip_to_extent="1", force_rhr="0"
    )
    layer = ET.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0", "locked": "0"})
    table = ET.SubElement(layer, "Option", type="Map")
    for name, text in options.items():
        ET.SubElement(table, "Option", type="QString", name=name, value=text)


def _text(root: ET.Element, *, qgis: bool = False) -> str:
    ET.indent(root, " ")
    head = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" if qgis else ""
    return head + ET.tostring(root, encoding="unicode") + "\n"
