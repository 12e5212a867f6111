"""A finished damage run, opened to be reported on: its summary, its map and its table of buildings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyogrio
import rasterio
from odc.geo.geobox import GeoBox
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.errors import RasterioError

from codemae_geo.classes import ClassTable
from codemae_geo.errors import InputError
from codemae_geo.raster.classified import read_classes
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.reach import open_raster
from codemae_geo.raster.source import unreadable
from codemae_geo.tasks import TASKS
from codemae_geo.vector.buildings import STATUSES

TASK = TASKS["damage"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class ModelFacts(_Part):
    """``model`` of a summary."""

    name: str
    version: str = ""
    sha256: str
    licence: str = ""
    limits: str | None = None
    building_calibration: str | None = None


class SceneFacts(_Part):
    """One of ``inputs`` of a summary."""

    files: list[str] = Field(min_length=1)
    family: str
    unit: str
    conversion: dict[str, Any]
    crs: str
    gsd_m: float
    bands: list[int] | None = None
    src_crs: str | None = None


class Analysed(_Part):
    """``analysed`` of a summary."""

    pixels: int
    share: float
    area_m2: float


class ClassFacts(_Part):
    """One of ``classes`` of a summary."""

    value: int
    name: str
    pixels: int
    share: float
    area_m2: float


class Polygons(_Part):
    """``polygons`` of a summary."""

    count: int
    area_m2: dict[str, float]


class Summary(_Part):
    """What a report takes from ``summary.json``; other fields are left as they are."""

    task: str
    created: str
    model: ModelFacts
    inputs: dict[str, SceneFacts]
    offset: dict[str, Any] | None = None
    parameters: dict[str, Any] = {}
    device: str = ""
    versions: dict[str, str] = {}
    analysed: Analysed
    classes: list[ClassFacts]
    buildings: dict[str, Any] | None = None
    polygons: Polygons
    warnings: list[dict[str, Any]] = []


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: where it is.
        summary: of it.
        classes: table of its map.
        grid: of its map.
        tags: of its map.
        raster: the class raster.
        buildings: the table of buildings; None where the run had no footprints.
        polygons: the polygons of the map.
    """

    folder: Path
    summary: Summary
    classes: ClassTable
    grid: GeoBox
    tags: dict[str, str]
    raster: Path
    buildings: gpd.GeoDataFrame | None
    polygons: gpd.GeoDataFrame


def open_run(folder: str | Path) -> Run:
    """Open the output folder of a damage run.

    Raises:
        InputError: not such a folder, or what is in it does not fit together.
    """
    folder = Path(folder)
    summary = _read_summary(folder)
    raster, package = (folder / f"{TASK.stem}{end}" for end in (".tif", ".gpkg"))
    for path in (raster, package):
        if not path.is_file():
            raise InputError(
                f"the run in {folder} is not whole", found=f"no {path.name}", expected=f"{raster.name}, {package.name}"
            )
    with gdal_env():
        classes = read_classes(raster)
        try:
            with open_raster(str(raster)) as source:
                grid, tags = _grid(source), source.tags()
        except RasterioError as error:
            raise unreadable(str(raster), error) from error
    told = {(c.value, c.name) for c in summary.classes}
    if told != {(c.value, c.name) for c in classes}:
        raise InputError(
            f"the map and the summary in {folder} are of different runs",
            found=f"classes {', '.join(classes.names)} in {raster.name}",
            expected=", ".join(c.name for c in summary.classes),
        )
    layers = _layers(package)
    if "polygons" not in layers:
        raise InputError(f"{package} has no layer polygons", found=", ".join(layers) or "no layer")
    buildings = _read_layer(package, "buildings") if "buildings" in layers else None
    if buildings is not None:
        _check_buildings(buildings, classes, package)
    return Run(folder, summary, classes, grid, tags, raster, buildings, _read_layer(package, "polygons"))


def _read_summary(folder: Path) -> Summary:
    path = folder / "summary.json"
    if not path.is_file():
        raise InputError(
            f"{folder} is not the output folder of a run",
            found="no summary.json",
            expected="a folder that codemae damage has written",
        )
    try:
        summary = Summary.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{path} is not the summary of a damage run",
            found=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            expected="the summary.json that codemae damage writes",
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read", found=str(error)[:300]) from error
    if summary.task != TASK.name:
        raise InputError(
            f"the run in {folder} is not one of damage",
            found=f"task {summary.task[:60]}",
            expected=f"task {TASK.name}",
            hint="reports are made of what codemae damage writes",
        )
    if missing := {"pre", "post"} - set(summary.inputs):
        raise InputError(f"{path} names no {' and no '.join(sorted(missing))} scene")
    return summary


def _grid(source: rasterio.DatasetReader) -> GeoBox:
    if source.crs is None:
        raise InputError(f"{source.name} has no coordinate reference system")
    return GeoBox(source.shape, source.transform, source.crs.to_wkt())


def _layers(package: Path) -> list[str]:
    try:
        return [str(name) for name, _ in pyogrio.list_layers(package)]
    except DataSourceError as error:
        raise InputError(f"{package} cannot be read", found=str(error)[:300]) from error


def _read_layer(package: Path, layer: str) -> gpd.GeoDataFrame:
    try:
        frame = pyogrio.read_dataframe(package, layer=layer)
    except (DataSourceError, DataLayerError, ValueError) as error:
        raise InputError(f"the layer {layer} of {package} cannot be read", found=str(error)[:300]) from error
    if not isinstance(frame, gpd.GeoDataFrame) or frame.crs is None:
        raise InputError(f"the layer {layer} of {package} has no geometry or no coordinate reference system")
    return frame


def _check_buildings(frame: gpd.GeoDataFrame, classes: ClassTable, package: Path) -> None:
    needed = {"class", "class_name", "confidence", "status"}
    if missing := needed - set(frame.columns):
        raise InputError(
            f"the buildings of {package} lack columns",
            found=", ".join(map(str, frame.columns)),
            expected=", ".join(sorted(missing)),
        )
    for column, allowed in (("class_name", classes.names), ("status", STATUSES)):
        if odd := set(frame[column].dropna()) - set(allowed):
            raise InputError(
                f"the buildings of {package} have an unknown {column}",
                found=", ".join(map(repr, sorted(map(str, odd))[:5])),
                expected=", ".join(allowed),
            )
