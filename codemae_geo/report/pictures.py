"""Pictures of a report: the scenes on a coarse grid, maps over them, and buildings before and after."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.io import MemoryFile

from codemae_geo.classes import NODATA, ClassTable
from codemae_geo.errors import CodemaeError
from codemae_geo.inference.summary import fingerprint
from codemae_geo.raster.env import gdal_env, is_remote
from codemae_geo.raster.geo import apply, beside, shifted, transform_points
from codemae_geo.raster.read import AlignedReader
from codemae_geo.raster.scene import Scene
from codemae_geo.report.run import Run, SceneFacts
from codemae_geo.report.words import Words
from codemae_geo.sensors import Conversion
from codemae_geo.styles import SEVERITY_STEPS
from codemae_geo.vector.rasters import check_values

#: longest side of the map's pictures, and of a building's, in pixels
MAP_SIDE, CROP_SIDE = 1400, 256
#: bytes that a picture of the map may take
MAP_BYTES = 1_600_000
#: metres of ground that a building's picture shows at least, and times the building's own size
CROP_METRES, CROP_TIMES = 50.0, 2.0
#: colour of what was not analysed, and of a severity cell, with their opacity
_UNSEEN, _CELL_ALPHA = (110, 119, 129, 110), 170

RGB = NDArray[np.uint8]


@dataclass(frozen=True)
class Look:
    """A scene as it is shown: values between ``low`` and ``high`` of each band become 0 to 255.

    Args:
        scene: the scene.
        conversion: from stored values.
        low, high: per band; empty where the converted values are shown as they are.
    """

    scene: Scene
    conversion: Conversion | None
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def read(self, grid: GeoBox) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Converted values ``[C, h, w]`` on a grid, and where they are valid."""
        with AlignedReader(self.scene, grid, self.conversion, threads=1) as reader:
            pixels = reader.read_rows(0, grid.shape[0])
        return pixels.data, pixels.valid

    def show(self, data: NDArray[Any], valid: NDArray[np.bool_]) -> RGB:
        """``[3, h, w]``, light grey where invalid."""
        out = data[:3] if len(data) >= 3 else np.repeat(data[:1], 3, 0)
        if self.low:
            bands = slice(0, 3) if len(data) >= 3 else [0, 0, 0]
            low, high = (np.asarray(v, np.float64)[bands][:, None, None] for v in (self.low, self.high))
            out = np.clip((out.astype(np.float64) - low) / np.maximum(high - low, 1e-12) * 255, 0, 255)
        return np.where(valid, np.nan_to_num(out), 225).astype(np.uint8)


def open_look(run: Run, role: str, words: Words, paths: Sequence[str] | None = None) -> Look | str:
    """The scene that a run read, or why it cannot be shown.

    Args:
        run: the run.
        role: ``pre`` or ``post``.
        words: for the reason.
        paths: where the scene is now; None is where the summary says.
    """
    facts = run.summary.inputs[role]
    files = list(paths) if paths else [_found(name, run.folder) for name in facts.files]
    for name in files:
        if is_remote(name):
            return words("remote_scene", file=Path(name).name)
        if not Path(name).exists():
            return words("gone_scene", file=Path(name).name)
    if paths is None and (changed := _changed(files, role, run.tags)):
        return words("changed_scene", file=changed)
    try:
        scene = _open(facts, files, role)
        return Look(scene, _conversion(facts.conversion))
    except (CodemaeError, TypeError, ValueError) as error:
        said = error.raw["message"] if isinstance(error, CodemaeError) else str(error)
        return words("unreadable_scene", error=str(said).splitlines()[0])


def _open(facts: SceneFacts, files: Sequence[str], role: str) -> Scene:
    return Scene.open(
        list(files),
        role=role,
        family=facts.family,  # type: ignore[arg-type]
        bands=facts.bands,
        src_crs=facts.src_crs,
        unit=facts.unit,  # type: ignore[arg-type]
    )


def _conversion(fields: Mapping[str, Any]) -> Conversion:
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    return Conversion(**plain)


def _found(name: str, folder: Path) -> str:
    """A file by its name in the summary, which may count from where the run was started."""
    if Path(name).is_absolute() or is_remote(name):
        return name
    places = [Path(name), *(base / name for base in (folder, *folder.absolute().parents[:3]))]
    return str(next((p for p in places if p.exists()), Path(name)))


def _changed(files: Sequence[str], role: str, tags: Mapping[str, str]) -> str | None:
    """The first file whose fingerprint is not one that the map's tags hold.

    A summary is a text that anybody may have written, and a report is handed on: no other file gets into it.
    """
    known: set[str] = set()
    with suppress(ValueError, TypeError, KeyError):
        known = {f["sha256_ends"] for f in json.loads(tags.get("INPUTS", "{}"))[role]}
    return next((Path(f).name for f in files if fingerprint(f).get("sha256_ends") not in known), None)


def stretched(look: Look, data: NDArray[Any], valid: NDArray[np.bool_]) -> Look:
    """The look with the 2nd and 98th percentile of each band as its ends; bytes are shown as they are."""
    if data.dtype == np.uint8 or not valid.any():
        return look
    ends = np.nanpercentile(np.where(np.isfinite(data), data, np.nan)[:, valid], (2, 98), axis=1)
    low, high = (tuple(float(v) for v in side) for side in ends)
    return Look(look.scene, look.conversion, low, high)


# ---------------------------------------------------------------- files


def data_url(content: bytes, kind: str) -> str:
    """Bytes as an address that a page holds itself."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def jpeg(pixels: RGB, limit: int = MAP_BYTES) -> str:
    """``[3, h, w]`` as a JPEG, coarser until it takes no more than ``limit`` bytes."""
    content = b""
    for quality in (82, 70, 55, 40, 25):
        content = _encode(pixels, "JPEG", QUALITY=quality)
        if len(content) <= limit:
            break
    return data_url(content, "jpeg")


def png(values: NDArray[np.uint8], colours: Mapping[int, tuple[int, int, int, int]]) -> str:
    """``[h, w]`` of numbers as a picture in the colours of the numbers (red, green, blue, opacity)."""
    table = np.zeros((256, 4), np.uint8)
    for value, colour in colours.items():
        table[value] = colour
    return data_url(_encode(np.moveaxis(table[values], -1, 0), "PNG", ZLEVEL=9), "png")


def _encode(pixels: NDArray[np.uint8], driver: str, **options: Any) -> bytes:
    count, height, width = pixels.shape
    with gdal_env(), MemoryFile() as memory:
        with memory.open(driver=driver, count=count, height=height, width=width, dtype="uint8", **options) as file:
            file.write(np.ascontiguousarray(pixels))
        return bytes(memory.read())


# ---------------------------------------------------------------- over the map


def class_overlay(raster: Path, grid: GeoBox, classes: ClassTable) -> str:
    """The class of most pixels at each place, background transparent, grey where nothing was analysed."""
    with gdal_env(), rasterio.open(raster) as source:
        raw = source.read(1, out_shape=grid.shape.yx, resampling=Resampling.mode)
        values = check_values(raw, source.nodata, classes, source.name)
    colours = {k: (*c.rgb, 215) for k, c in enumerate(classes) if not c.background}
    return png(values, {**colours, NODATA: _UNSEEN})


def building_overlay(buildings: gpd.GeoDataFrame, grid: GeoBox, classes: ClassTable) -> str:
    """Every building in the colour of its class, a pixel at least; where two meet, the one further down the table."""
    front = {c.name: k for k, c in enumerate(classes) if not c.background}
    place = buildings["class_name"].map(front)
    frame = buildings[place.notna() & buildings.geometry.notna()]
    shapes = _on_grid(frame, grid)
    order = place[place.notna() & buildings.geometry.notna()].to_numpy(int)
    burn = [(s, k + 1) for k, s in sorted(zip(order, shapes, strict=True), key=lambda p: p[0]) if not s.is_empty]
    values = np.zeros(grid.shape.yx, np.uint8)
    if burn:
        values = rasterize(burn, grid.shape.yx, transform=grid.affine, all_touched=True, dtype="uint8")
    return png(values, {k + 1: (*classes[k].rgb, 235) for k in front.values()})


def _on_grid(frame: gpd.GeoDataFrame, grid: GeoBox) -> list[Any]:
    projected = frame.geometry.to_crs(grid.crs.to_wkt()) if grid.crs else frame.geometry
    placed = shapely.transform(
        np.asarray(projected.array, dtype=object), lambda xy: np.column_stack([beside(grid, xy[:, 0]), xy[:, 1]])
    )
    finite = np.isfinite(shapely.bounds(placed)).all(1)
    return [shape if good else shapely.Polygon() for shape, good in zip(placed, finite, strict=True)]


def cell_overlay(affected: NDArray[np.float64]) -> str:
    """Shares ``[rows, columns]`` as one pixel each, in the colours of :data:`codemae_geo.styles.SEVERITY_STEPS`."""
    lows = [low for low, _ in SEVERITY_STEPS]
    values = np.where(np.isnan(affected), 0, np.searchsorted(lows, np.nan_to_num(affected), "right")).astype(np.uint8)
    colours = {i + 1: bytes.fromhex(color[1:]) for i, (_, color) in enumerate(SEVERITY_STEPS)}
    return png(values, {i: (red, green, blue, _CELL_ALPHA) for i, (red, green, blue) in colours.items()})


# ---------------------------------------------------------------- buildings


@dataclass(frozen=True)
class Crop:
    """The surroundings of a building.

    Args:
        grid: its part of the map's grid.
        outline: rings of the building in pixels of that part, ``[n, 2]`` (column, row) each.
    """

    grid: GeoBox
    outline: tuple[NDArray[np.float64], ...]


def crop_around(shape: Any, crs: Any, grid: GeoBox, gsd: float) -> Crop | None:
    """A square of the grid around a building; None where it lies outside.

    Args:
        shape: polygon.
        crs: of it.
        grid: the map's.
        gsd: metres of its pixel.
    """
    rings = []
    for part in shapely.get_parts(shape):
        for ring in (part.exterior, *part.interiors):
            xy = shapely.get_coordinates(ring)
            x, y = transform_points(xy[:, 0], xy[:, 1], crs, grid.crs)
            rings.append(np.column_stack(apply(~grid.affine, beside(grid, x), y)))
    if not rings or not np.isfinite(points := np.concatenate(rings)).all():
        return None
    low, high = points.min(0), points.max(0)
    side = int(min(max(CROP_METRES / gsd, CROP_TIMES * (high - low).max(), 16), *grid.shape))
    height, width = grid.shape
    col, row = ((low + high) / 2 - side / 2).round().astype(int)
    if col + side <= 0 or row + side <= 0 or col >= width or row >= height:
        return None
    left, top = min(max(int(col), 0), width - side), min(max(int(row), 0), height - side)
    part = shifted(grid, top, top + side, left, left + side)
    return Crop(part, tuple(ring - (left, top) for ring in rings))


def pick_examples(buildings: gpd.GeoDataFrame, classes: ClassTable, count: int) -> tuple[list[int], list[int]]:
    """Rows of the most certain buildings, as many of each class as there are, and of the least certain ones.

    Buildings seen in part, and footprints in which none was found, are left out.
    """
    front = [c.name for c in classes.foreground]
    frame = buildings[
        buildings["class_name"].isin(front) & buildings["confidence"].notna() & (buildings["status"] == "covered")
    ].sort_values("confidence", kind="stable")
    unsure = list(frame.index[:count])
    rest = frame.drop(index=unsure)
    groups = [list(rest.index[rest["class_name"] == name][::-1]) for name in reversed(front)]
    sure: list[int] = []
    while len(sure) < count and any(groups):
        for group in groups:
            if group and len(sure) < count:
                sure.append(group.pop(0))
    return sure, unsure
