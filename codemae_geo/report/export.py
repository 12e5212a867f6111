"""The tables of a report in files that others take: GeoPackage, GeoJSON, KML, shapefile, GeoParquet, CSV and XLSX."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError

from codemae_geo.classes import ClassTable
from codemae_geo.errors import InputError, OutputError
from codemae_geo.outputs import Staging, check_writable, write_failure
from codemae_geo.report.figures import columns
from codemae_geo.styles import building_qml, polygon_qml, severity_qml
from codemae_geo.vector.geopackage import GeoPackageWriter

#: rows that a sheet can hold, its head among them
_SHEET_ROWS = 1_048_576
_WGS84 = "EPSG:4326"
#: what a spreadsheet takes for the beginning of a formula
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: what XML 1.0 cannot hold
_CONTROL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KML = "http://www.opengis.net/kml/2.2"

Layers = Mapping[str, gpd.GeoDataFrame]


def split_name(name: str | Path) -> tuple[Path, str | None]:
    """The file and the layer of a name such as ``cells.kml|layername=severity``."""
    path, _, layer = str(name).partition("|layername=")
    return Path(path), layer or None


def check_exports(names: Sequence[str | Path], layers: Sequence[str], *, overwrite: bool) -> None:
    """Refuse what could not be written, before anything is.

    Args:
        names: files, each with a layer if it holds but one and that is not the first.
        layers: layers that there will be.
        overwrite: files may be replaced.

    Raises:
        InputError: an ending without a format, or a layer that there is not.
        OutputError: a file exists, or its folder does not.
    """
    for name in names:
        path, layer = split_name(name)
        if path.suffix.lower() not in _WRITERS:
            raise InputError(
                f"there is no format for {path.name}",
                found=path.suffix or "no ending",
                expected=", ".join(_WRITERS),
                option="export",
            )
        if layer is not None and layer not in layers:
            raise InputError(
                f"there is no layer {layer!r} to write", found=layer, expected=", ".join(layers), option="export"
            )
        check_writable(path, overwrite=overwrite)


def export(name: str | Path, layers: Layers, classes: ClassTable, *, overwrite: bool = False) -> Path:
    """Write layers to a file, whole or not at all.

    GeoPackages and workbooks hold all layers, other formats one: the one named, else the first. Coordinates of
    GeoJSON and KML are WGS 84, those of other formats as in the layers; CSV and XLSX have a point inside each feature
    in ``lon`` and ``lat``.

    Args:
        name: file, see :func:`split_name`; its ending is the format.
        layers: by name, the main one first.
        classes: for styles.
        overwrite: replace the file.

    Raises:
        InputError: see :func:`check_exports`.
        OutputError: the file exists, the disk is full, or a sheet cannot hold that many rows.
    """
    path, layer = split_name(name)
    check_exports([name], list(layers), overwrite=overwrite)
    chosen = {layer: layers[layer]} if layer else dict(layers)
    _WRITERS[path.suffix.lower()](path, chosen, classes, overwrite)
    return path.absolute()


def _one(layers: Layers) -> tuple[str, gpd.GeoDataFrame]:
    return next(iter(layers.items()))


def _write(path: Path, overwrite: bool, make: Callable[[Path], Any]) -> None:
    """Have a file made in a hidden folder, and move it and what was made with it into place."""
    with Staging(path, overwrite=overwrite) as staging:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Normalized/laundered field name")  # a shapefile's take ten letters
                make(staging.folder / path.name)
            staging.publish(*sorted(f.name for f in staging.folder.iterdir()))
        except OutputError:
            raise
        except (DataSourceError, DataLayerError, FeatureError, FieldError, OSError) as error:
            raise write_failure(error, path) from error


def _geopackage(path: Path, layers: Layers, classes: ClassTable, overwrite: bool) -> None:
    styles = {"buildings": building_qml(classes), "polygons": polygon_qml(classes)}
    with GeoPackageWriter(path, overwrite=overwrite) as writer:
        for name, frame in layers.items():
            writer.append(name, frame, qml=styles.get(name, severity_qml()))


def _with_driver(driver: str, *, crs: str | None = None, **options: Any) -> Callable[..., None]:
    def write(path: Path, layers: Layers, _classes: ClassTable, overwrite: bool) -> None:
        _, frame = _one(layers)
        frame = frame if crs is None else frame.to_crs(crs)
        _write(
            path,
            overwrite,
            lambda file: pyogrio.write_dataframe(
                frame,
                file,
                layer=path.stem,
                driver=driver,
                geometry_type="MultiPolygon",
                promote_to_multi=True,
                **options,
            ),
        )

    return write


def _parquet(path: Path, layers: Layers, _classes: ClassTable, overwrite: bool) -> None:
    import pyarrow  # type: ignore[import-untyped]  # noqa: F401 said here that it is missing

    _, frame = _one(layers)
    _write(path, overwrite, lambda file: frame.to_parquet(file, index=False))


def _csv(path: Path, layers: Layers, _classes: ClassTable, overwrite: bool) -> None:
    _, frame = _one(layers)
    table = _table(frame)
    for name in table.columns:
        if table[name].dtype == object or pd.api.types.is_string_dtype(table[name]):
            table[name] = [f"'{v}" if isinstance(v, str) and v.startswith(_FORMULA) else v for v in table[name]]
    _write(path, overwrite, lambda file: table.to_csv(file, index=False, encoding="utf-8-sig"))


def _workbook(path: Path, layers: Layers, _classes: ClassTable, overwrite: bool) -> None:
    import xlsxwriter  # noqa: F401 said here that it is missing

    tables = {name: _table(frame) for name, frame in layers.items()}
    for name, frame in tables.items():
        if len(frame) >= _SHEET_ROWS:
            raise OutputError(
                f"a sheet cannot hold the {name}",
                found=f"{len(frame)} rows",
                expected=f"fewer than {_SHEET_ROWS}",
                hint="write them to a CSV file or a GeoPackage",
            )

    # what begins with = or http stays what it is: a text
    options = {"options": {"strings_to_formulas": False, "strings_to_urls": False, "nan_inf_to_errors": True}}

    def make(file: Path) -> None:
        with pd.ExcelWriter(file, engine="xlsxwriter", engine_kwargs=options) as book:
            for name, frame in tables.items():
                frame.to_excel(book, sheet_name=name, index=False, freeze_panes=(1, 0))

    _write(path, overwrite, make)


def _table(frame: gpd.GeoDataFrame) -> pd.DataFrame:
    """The attributes and a point inside each feature, in lon and lat."""
    inside = frame.geometry.representative_point().to_crs(_WGS84)
    table = pd.DataFrame(frame.drop(columns=frame.geometry.name)).reset_index(drop=True)
    return table.assign(lon=inside.x.round(7).to_numpy(), lat=inside.y.round(7).to_numpy())


# ---------------------------------------------------------------- KML


def _kml(path: Path, layers: Layers, classes: ClassTable, overwrite: bool) -> None:
    name, frame = _one(layers)
    _write(path, overwrite, lambda file: file.write_bytes(kml(frame.to_crs(_WGS84), name, classes)))


def kml(frame: gpd.GeoDataFrame, name: str, classes: ClassTable) -> bytes:
    """A layer in EPSG:4326 as KML, in the colours of its classes; GDAL's own has none."""
    ET.register_namespace("", _KML)
    root = ET.Element(f"{{{_KML}}}kml")
    document = _add(root, "Document")
    _add(document, "name", name)
    for info in classes:
        style = _add(document, "Style")
        style.set("id", f"class{info.value}")
        red, green, blue = info.rgb
        for part, alpha in (("LineStyle", 255), ("PolyStyle", 0 if info.background else 160)):
            # alpha, blue, green, red
            _add(_add(style, part), "color", f"{alpha:02x}{blue:02x}{green:02x}{red:02x}")
    attributes = [c for c in frame.columns if c != frame.geometry.name]
    for row, shape in zip(frame[attributes].to_dict("records"), frame.geometry, strict=True):
        if shape is None or shape.is_empty:
            continue
        mark = _add(document, "Placemark")
        title = next((row[k] for k in ("class_name", "name") if isinstance(row.get(k), str)), "")
        _add(mark, "name", str(title))
        value = _class_of(row, classes)
        if value is not None:
            _add(mark, "styleUrl", f"#class{value}")
        data = _add(mark, "ExtendedData")
        for key, item in row.items():
            if not pd.isna(item):
                field = _add(data, "Data")
                field.set("name", _CONTROL.sub(" ", str(key)))
                _add(field, "value", f"{item:.6g}" if isinstance(item, float) else str(item))
        parts = [p for p in shapely.get_parts(shape) if p.geom_type == "Polygon"]
        holder = _add(mark, "MultiGeometry")
        for part in parts:
            polygon = _add(holder, "Polygon")
            for tag, rings in (("outerBoundaryIs", [part.exterior]), ("innerBoundaryIs", part.interiors)):
                for ring in rings:
                    places = " ".join(f"{x:.7f},{y:.7f}" for x, y in shapely.get_coordinates(ring))
                    _add(_add(_add(polygon, tag), "LinearRing"), "coordinates", places)
    return ET.tostring(root, encoding="utf-8", xml_declaration=True)


def _add(parent: ET.Element, tag: str, text: str | None = None) -> ET.Element:
    element = ET.SubElement(parent, f"{{{_KML}}}{tag}")
    element.text = None if text is None else _CONTROL.sub(" ", text)
    return element


def _class_of(row: Mapping[str, Any], classes: ClassTable) -> int | None:
    """The class whose colour a feature has: its own, or the most frequent beyond background of a cell or zone."""
    if "class" in row:
        return None if pd.isna(row["class"]) else int(row["class"])
    front = list(classes.foreground)
    for prefix in ("n", "area"):
        amounts = [row.get(key) for key in columns(prefix, front)]
        if all(isinstance(a, int | float | np.number) for a in amounts) and any(amounts):
            return front[int(np.argmax([float(a) for a in amounts if a is not None]))].value
    return None


_WRITERS: dict[str, Callable[[Path, Layers, ClassTable, bool], None]] = {
    ".gpkg": _geopackage,
    ".xlsx": _workbook,
    ".csv": _csv,
    ".geojson": _with_driver("GeoJSON", crs=_WGS84, RFC7946=True),
    ".kml": _kml,
    ".shp": _with_driver("ESRI Shapefile", ENCODING="UTF-8"),
    ".fgb": _with_driver("FlatGeobuf"),
    ".parquet": _parquet,
}
