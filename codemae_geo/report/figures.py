"""The figures of a report: counts and areas by class, by area and by cell of a grid. Pure functions over tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from codemae_geo.classes import NODATA, ClassInfo, ClassTable
from codemae_geo.errors import InputError
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.geo import apply, beside, ground_size, transform_points
from codemae_geo.tiling.area import pixel_area_m2
from codemae_geo.vector.buildings import STATUSES, measure_coverage, share_column
from codemae_geo.vector.rasters import check_values

#: lower ends of the bins of confidence, the surest first
CONFIDENCE_BINS = (0.9, 0.75, 0.6, 0.0)
#: equal-area on the whole ellipsoid
_EQUAL_AREA = "EPSG:6933"


@dataclass(frozen=True)
class Buildings:
    """What a table of buildings holds.

    Args:
        n: rows.
        found: rows with a class that is not background.
        classes: rows of each class, by name.
        statuses: rows of each status.
        bins: of the buildings found, rows of each bin of :data:`CONFIDENCE_BINS`; empty without a confidence.
        doubt: sum of 1 - confidence over the buildings found.
    """

    n: int
    found: int
    classes: dict[str, int]
    statuses: dict[str, int]
    bins: list[int]
    doubt: float


def count_buildings(frame: gpd.GeoDataFrame, classes: ClassTable) -> Buildings:
    """Count the rows of a table of buildings (see :func:`codemae_geo.vector.buildings.aggregate_buildings`)."""
    names, front = frame["class_name"], [c.name for c in classes.foreground]
    sure = frame["confidence"][names.isin(front)].dropna().to_numpy(float)
    uppers = (np.inf, *CONFIDENCE_BINS[:-1])
    return Buildings(
        n=len(frame),
        found=int(names.isin(front).sum()),
        classes={name: int((names == name).sum()) for name in classes.names},
        statuses={status: int((frame["status"] == status).sum()) for status in STATUSES},
        bins=[int(((sure >= low) & (sure < high)).sum()) for low, high in zip(CONFIDENCE_BINS, uppers, strict=True)]
        if len(sure)
        else [],
        doubt=float((1 - sure).sum()),
    )


def column(prefix: str, info: ClassInfo) -> str:
    """Name of the column of a class: ``n_destroyed``, ``area_destroyed_m2``."""
    name = share_column(info.name).removeprefix("share_")
    return f"{prefix}_{name}_m2" if prefix == "area" else f"{prefix}_{name}"


def columns(prefix: str, classes: Sequence[ClassInfo]) -> list[str]:
    """Names of the columns of classes, all different."""
    names = [column(prefix, info) for info in classes]
    return [
        f"{name}_{info.value}" if names.count(name) > 1 else name for name, info in zip(names, classes, strict=True)
    ]


def severity(amount: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How bad it is, from amounts ``[N, foreground classes]`` (buildings or m2) in the order of the class table.

    Returns:
        ``affected [N]``, the share beyond the first class, and ``severity [N]``, the mean of the classes' places in
        equal steps from 0 (first) to 1 (last); NaN where there is nothing.
    """
    total = amount.sum(1)
    steps = np.linspace(0, 1, amount.shape[1]) if amount.shape[1] > 1 else np.ones(amount.shape[1])
    affected, level = np.full(len(amount), np.nan), np.full(len(amount), np.nan)
    first = amount[:, 0] if amount.shape[1] > 1 else np.zeros(len(amount))
    np.divide(total - first, total, out=affected, where=total > 0)
    np.divide(amount @ steps, total, out=level, where=total > 0)
    return affected, level


def _tally(place: NDArray[np.int64], size: int, frame: gpd.GeoDataFrame, classes: ClassTable) -> dict[str, Any]:
    """Buildings of each class in each of ``size`` places, by column; ``place [rows]``, negative for none."""
    inside = place >= 0

    def count(rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(place[rows & inside], minlength=size).astype(np.int64)

    names = frame["class_name"].to_numpy(object)
    found = {key: count(names == info.name) for key, info in zip(columns("n", classes), classes, strict=True)}
    return {"n_footprints": count(np.ones(len(frame), bool)), **found, "n_not_analysed": count(pd.isna(names))}


def _judge(table: pd.DataFrame, classes: ClassTable, *, counted: bool) -> pd.DataFrame:
    """Add ``affected`` and ``severity``, by buildings where they are counted, else by area."""
    amount = table[columns("n" if counted else "area", list(classes.foreground))].to_numpy(float)
    table["affected"], table["severity"] = severity(amount)
    return table


# ---------------------------------------------------------------- areas


def zone_table(
    raster: Path,
    grid: GeoBox,
    classes: ClassTable,
    zones: gpd.GeoDataFrame,
    names: Sequence[str],
    buildings: gpd.GeoDataFrame | None,
) -> tuple[gpd.GeoDataFrame, dict[str, int]]:
    """Buildings and areas by class in each of some polygons.

    Args:
        raster: class raster.
        grid: of it.
        classes: of it.
        zones: N polygons in any CRS.
        names: of each.
        buildings: table of buildings, or None. A building counts where a point inside it lies, in the first zone that
            has it.

    Returns:
        The zones, in their order and CRS: ``name``; with buildings ``n_footprints``, ``n_<class>`` and
        ``n_not_analysed``; ``area_<class>_m2`` by the exact fractions of pixels; ``area_m2`` of the zone,
        ``analysed_m2``, ``covered`` (share of the zone that was analysed), ``affected`` and ``severity``. And
        counts of buildings: ``left`` in no zone, ``several`` in more than one.

    Raises:
        InputError: values of the raster that the classes do not name.
    """
    table: dict[str, Any] = {"name": list(names)}
    told = {"left": 0, "several": 0}
    if buildings is not None:
        place, told = _place_in(buildings, zones)
        table |= _tally(place, len(zones), buildings, classes)
    with gdal_env(), rasterio.open(raster) as source:
        found = measure_coverage(zones, source, None, classes)
    # the pixels of a zone are taken to have the size of one in the middle of what lies on the map
    assert grid.crs is not None
    projected = zones.geometry.to_crs(grid.crs.to_wkt())
    boxes = projected.bounds.to_numpy()
    x, y = beside(grid, (boxes[:, 0] + boxes[:, 2]) / 2), (boxes[:, 1] + boxes[:, 3]) / 2
    _, rows = apply(~grid.affine, x, y)
    pixel = pixel_area_m2(grid, np.clip(np.nan_to_num(rows), 0, grid.shape[0] - 1))
    for key, amount in zip(columns("area", classes), found.by_class.T, strict=True):
        table[key] = amount * pixel
    table["area_m2"] = zones.geometry.to_crs(_EQUAL_AREA).area.to_numpy()
    valid = found.by_class.sum(1)
    table["analysed_m2"] = valid * pixel
    table["covered"] = np.divide(valid, found.area, out=np.zeros(len(zones)), where=found.area > 0).clip(0, 1)
    frame = _judge(pd.DataFrame(table), classes, counted=buildings is not None)
    return gpd.GeoDataFrame(frame, geometry=zones.geometry.to_numpy(), crs=zones.crs), told


def _place_in(buildings: gpd.GeoDataFrame, zones: gpd.GeoDataFrame) -> tuple[NDArray[np.int64], dict[str, int]]:
    """The first zone that each building lies in, -1 for none; how many lie in none, and in several."""
    points = np.asarray(buildings.geometry.representative_point().to_crs(zones.crs).array, dtype=object)
    building, zone = shapely.STRtree(np.asarray(zones.geometry.array, dtype=object)).query(
        points, predicate="intersects"
    )
    place = np.full(len(buildings), len(zones), np.int64)
    np.minimum.at(place, building, zone)
    times = np.bincount(building, minlength=len(buildings))
    place[times == 0] = -1
    return place, {"left": int((times == 0).sum()), "several": int((times > 1).sum())}


def zone_names(zones: gpd.GeoDataFrame, wanted: str | None) -> list[str]:
    """Names of zones; numbers where there is none.

    Args:
        zones: the polygons.
        wanted: column of the names; None takes the first whose name says name, else the first of text.

    Raises:
        InputError: there is no such column.
    """
    texts = [c for c in zones.columns if c != zones.geometry.name]
    if wanted is not None and wanted not in texts:
        raise InputError(
            f"the areas have no column {wanted!r}", found=", ".join(map(str, texts)) or "none", option="zone_name"
        )
    words = [c for c in texts if pd.api.types.is_string_dtype(zones[c]) or zones[c].dtype == object]
    named = [c for c in words if "name" in str(c).lower() or str(c).upper().endswith(("_EN", "_DE"))]
    chosen = wanted or next(iter([*named, *words]), None)
    if chosen is None:
        return [str(i + 1) for i in range(len(zones))]
    return [str(i + 1) if pd.isna(v) else str(v) for i, v in enumerate(zones[chosen])]


# ---------------------------------------------------------------- cells


@dataclass(frozen=True)
class Cells:
    """A grid of square cells over a map, each of whole pixels.

    Args:
        rows, cols: first pixel of each row and column of cells, and the end.
    """

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return len(self.rows) - 1, len(self.cols) - 1

    @property
    def beyond(self) -> tuple[float, float]:
        """Height and width of the cells, were the last row and column whole, in heights and widths of the map."""
        down, along = self.shape
        return down * float(self.rows[1]) / float(self.rows[-1]), along * float(self.cols[1]) / float(self.cols[-1])


def plan_cells(grid: GeoBox, side_m: float) -> Cells:
    """Cells whose sides are the whole number of pixels nearest to ``side_m`` metres.

    Raises:
        InputError: a side below one pixel.
    """
    along, down = ground_size(grid)
    height, width = grid.shape
    if not side_m >= max(along, down):
        raise InputError(
            "the cells of the severity grid are smaller than a pixel",
            found=f"{side_m:g} m",
            expected=f"{max(along, down):.3g} m or more",
            option="cell",
        )

    def edges(length: int, pixel: float) -> NDArray[np.int64]:
        step = max(round(min(side_m / pixel, length)), 1)
        return np.append(np.arange(0, length, step, dtype=np.int64), length)

    return Cells(edges(height, down), edges(width, along))


def class_areas(raster: Path, grid: GeoBox, classes: ClassTable, cells: Cells) -> NDArray[np.float64]:
    """Ground area in m2 of each class in each cell, ``[rows, columns, classes]``; reads one row of cells at a time.

    Raises:
        InputError: values that the classes do not name.
    """
    out = np.zeros((*cells.shape, len(classes)))
    with gdal_env(), rasterio.open(raster) as source:
        for i, (top, bottom) in enumerate(zip(cells.rows, cells.rows[1:], strict=False)):
            raw = source.read(1, window=Window(0, int(top), grid.shape[1], int(bottom - top)))
            values = check_values(raw, source.nodata, classes, source.name)
            pixel = pixel_area_m2(grid, np.arange(top, bottom))
            for k in range(len(classes)):
                by_column = ((values == k) * pixel[:, None]).sum(0)
                out[i, :, k] = np.add.reduceat(by_column, cells.cols[:-1])
    return out


def severity_grid(
    raster: Path, grid: GeoBox, classes: ClassTable, cells: Cells, buildings: gpd.GeoDataFrame | None
) -> gpd.GeoDataFrame:
    """Buildings and areas by class in each cell, in which anything was analysed or a building stands.

    Args:
        raster: class raster.
        grid: of it.
        classes: of it.
        cells: see :func:`plan_cells`.
        buildings: table of buildings, or None; a building counts in the cell of a point inside it.

    Returns:
        Squares in the map's CRS: ``row``, ``column``; with buildings the counts of :func:`zone_table`;
        ``area_<class>_m2``, ``analysed_m2``, ``affected``, ``severity``, ``lon`` and ``lat`` of the middle (WGS 84).
    """
    areas = class_areas(raster, grid, classes, cells).reshape(-1, len(classes))
    table: dict[str, Any] = {}
    if buildings is not None:
        table = _tally(_cell_of(buildings, grid, cells), len(areas), buildings, classes)
    table |= dict(zip(columns("area", classes), areas.T, strict=True)) | {"analysed_m2": areas.sum(1)}
    keep = table["analysed_m2"] > 0
    if buildings is not None:
        keep |= table["n_footprints"] > 0
    index = np.flatnonzero(keep)
    row, col = np.divmod(index, cells.shape[1])
    frame = pd.DataFrame({"row": row, "column": col, **{k: v[index] for k, v in table.items()}})
    frame = _judge(frame, classes, counted=buildings is not None)
    top, bottom = cells.rows[row], cells.rows[row + 1]
    left, right = cells.cols[col], cells.cols[col + 1]
    lon, lat = transform_points(*apply(grid.affine, (left + right) / 2, (top + bottom) / 2), grid.crs, "EPSG:4326")
    frame["lon"], frame["lat"] = lon, lat
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    ring = np.stack([np.stack(apply(grid.affine, x, y), -1) for x, y in corners], 1)
    shapes = shapely.polygons(ring) if len(ring) else []
    return gpd.GeoDataFrame(frame, geometry=list(shapes), crs=grid.crs.to_wkt() if grid.crs else None)


def _cell_of(buildings: gpd.GeoDataFrame, grid: GeoBox, cells: Cells) -> NDArray[np.int64]:
    """Number of the cell that each building lies in, -1 outside of the map."""
    points = shapely.get_coordinates(np.asarray(buildings.geometry.representative_point().array, dtype=object))
    place = np.full(len(buildings), -1, np.int64)
    there = ~(buildings.geometry.is_empty | buildings.geometry.isna()).to_numpy()
    x, y = transform_points(points[:, 0], points[:, 1], buildings.crs.to_wkt(), grid.crs)
    col, row = apply(~grid.affine, beside(grid, x), y)
    finite = np.isfinite(col) & np.isfinite(row)
    i = np.searchsorted(cells.rows, np.where(finite, row, -1), "right") - 1
    j = np.searchsorted(cells.cols, np.where(finite, col, -1), "right") - 1
    inside = (i >= 0) & (i < cells.shape[0]) & (j >= 0) & (j < cells.shape[1])
    place[there] = np.where(inside, i * cells.shape[1] + j, -1)
    return place


def severity_values(frame: gpd.GeoDataFrame, cells: Cells) -> NDArray[np.float64]:
    """``affected`` of a severity grid as an image, ``[rows, columns]``, NaN where there is nothing."""
    image = np.full(cells.shape, np.nan)
    image[frame["row"], frame["column"]] = frame["affected"]
    return image


def worst(frame: pd.DataFrame, classes: ClassTable, count: int, *, counted: bool, least: int = 3) -> pd.DataFrame:
    """The rows of a table with the largest share affected; of cells with ``least`` buildings, or by area affected."""
    front = list(classes.foreground)
    amount = frame[columns("n" if counted else "area", front)].to_numpy(float)
    if counted:
        keep = (amount.sum(1) >= least) & (frame["affected"].to_numpy(float) > 0)
        return (
            frame[keep]
            .assign(_n=amount.sum(1)[keep])
            .sort_values(["affected", "severity", "_n"], ascending=False, kind="stable")
            .drop(columns="_n")[:count]
        )
    bad = amount[:, 1:].sum(1) if amount.shape[1] > 1 else amount.sum(1)
    order = np.argsort(-bad, kind="stable")[:count]
    return frame.iloc[order[bad[order] > 0]]


def scaled(grid: GeoBox, longest: int) -> GeoBox:
    """A grid of the same extent with at most ``longest`` pixels along a side."""
    height, width = grid.shape
    factor = max(height, width) / longest
    if factor <= 1:
        return grid
    rows, cols = max(round(height / factor), 1), max(round(width / factor), 1)
    return GeoBox((rows, cols), grid.affine * Affine.scale(width / cols, height / rows), grid.crs)


def is_nodata(raw: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """Where a class raster was not analysed."""
    return (raw == NODATA) | (raw == nodata) if nodata is not None else raw == NODATA
