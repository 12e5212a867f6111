"""Class raster to polygons without seams, strip by strip.

Each strip of rows is polygonised by GDAL in pixel coordinates, which are whole numbers and hence exact. A polygon that
touches the strip's lower edge stays open; pieces of one class that share an edge across a seam form a region, and a
region is joined once, as soon as none of its pieces reaches the current seam. Memory holds one strip and the outlines
of the open regions, never the raster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize, shapes
from rasterio.windows import Window

from codemae_geo.classes import ClassTable
from codemae_geo.styles import polygon_qml
from codemae_geo.tiling.area import pixel_area_m2
from codemae_geo.vector.geopackage import GeoPackageWriter, open_writer
from codemae_geo.vector.rasters import check_values, open_confidence, read_confidence

#: polygons written to the GeoPackage at a time
_FLUSH = 20_000


@dataclass(frozen=True)
class PolygonSummary:
    """What :func:`polygonize` wrote: the number of polygons, and their ground area in m2 by class name."""

    count: int
    area_m2: dict[str, float]


@dataclass
class Region:
    """A connected region of one class in pixel coordinates (x = column, y = row, corners at whole numbers).

    Args:
        value: the place of its class in the table.
        pieces: its polygons, one for each strip and connected part; :meth:`polygon` joins them.
        confidence_sum, confidence_count: over its pixels with a confidence.
    """

    value: int
    pieces: list[shapely.Polygon]
    confidence_sum: float = 0.0
    confidence_count: int = 0

    def polygon(self) -> shapely.Polygon:
        """The region as one polygon with vertices at its corners only."""
        if len(self.pieces) == 1:
            return self.pieces[0]
        # a hole within a strip touches no seam: it stays as it is, and the outlines join in far less time without it
        holes = [ring for piece in self.pieces for ring in piece.interiors]
        joined = shapely.coverage_union_all(_matched([piece.exterior for piece in self.pieces]))
        holes += [_corners(ring) for ring in joined.interiors]
        return shapely.Polygon(_corners(joined.exterior), holes)

    def absorb(self, other: Region) -> None:
        """Take over another region's pieces and sums."""
        self.pieces.extend(other.pieces)
        self.confidence_sum += other.confidence_sum
        self.confidence_count += other.confidence_count


def polygonize(
    class_raster: Path,
    out: Path | GeoPackageWriter,
    classes: ClassTable,
    *,
    layer: str = "polygons",
    strip_rows: int = 512,
    min_area_m2: float = 0.0,
    confidence_raster: Path | None = None,
    tags: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> PolygonSummary:
    """Write one polygon for each 4-connected region of a foreground class.

    Columns: ``class`` (int), ``name``, ``area_m2`` (ground area on the ellipsoid, right in any CRS) and, with a
    confidence raster, ``confidence`` (mean over the region's pixels, 0..1).

    Args:
        class_raster: band 1 holds class values; its CRS and nodata value are honoured.
        out: GeoPackage to write, or a writer to add the layer to.
        classes: background classes get no polygons.
        layer: table name.
        strip_rows: rows held in memory at a time, best the height of the file's blocks; the result does not depend
            on it.
        min_area_m2: leave smaller regions out.
        confidence_raster: band 1 on the same grid.
        tags: metadata of the layer.
        overwrite: replace an existing file.

    Raises:
        InputError: the raster has no CRS, a value outside the table, or the confidence raster another grid.
        OutputError: the file exists, or the disk is full.
    """
    count = 0
    areas = {info.name: 0.0 for info in classes.foreground}
    with rasterio.open(class_raster) as source, open_confidence(confidence_raster, source) as confidence:
        grid = GeoBox(source.shape, source.transform, source.crs)
        row_areas = np.concatenate([[0.0], np.cumsum(pixel_area_m2(grid, np.arange(source.height)))])
        with open_writer(out, overwrite=overwrite) as writer:
            regions = trace_regions(_strips(source, confidence, classes, strip_rows), classes)
            for batch in _batches(regions, _FLUSH):
                frame = _frame(batch, classes, grid, row_areas, with_confidence=confidence is not None)
                frame = frame[frame["area_m2"] >= min_area_m2]
                writer.append(layer, frame, geometry_type="Polygon", qml=polygon_qml(classes), tags=tags)
                count += len(frame)
                for name, area in frame.groupby("name")["area_m2"].sum().items():
                    areas[str(name)] += float(area)
    return PolygonSummary(count, areas)


@dataclass
class Strip:
    """Rows ``row0`` and following: places of classes [rows, W] (255 = nodata), confidence [rows, W] or None (NaN)."""

    row0: int
    values: NDArray[np.uint8]
    confidence: NDArray[np.float32] | None
    last: bool


@dataclass
class _Open:
    """Regions that reach the current seam, and which of them owns each pixel of the row above it (-1: none)."""

    regions: dict[int, Region] = field(default_factory=dict)
    owner: NDArray[np.int64] | None = None


def trace_regions(strips: Iterable[Strip], classes: ClassTable) -> Iterator[Region]:
    """Finished regions, in the order in which they end; each connected region exactly once."""
    foreground = [place for place, info in enumerate(classes) if not info.background]
    state = _Open()
    key = 0
    for strip in strips:
        rows, width = strip.values.shape
        row1 = strip.row0 + rows
        traced = _trace_strip(strip, foreground)
        bounds = shapely.bounds(traced.polygons).reshape(-1, 4)
        at_top = (bounds[:, 1] == strip.row0) & (strip.row0 > 0)
        at_bottom = (bounds[:, 3] == row1) & (not strip.last)
        for index in np.flatnonzero(~at_top & ~at_bottom):
            yield traced.region(int(index))

        for index in np.flatnonzero(at_top | at_bottom):
            state.regions[key + int(index)] = traced.region(int(index))
        merged: dict[int, int] = {}
        if state.owner is not None:
            top = _edge_owner(traced.polygons, at_top, strip.row0, width, key)
            for above, below in _touching(state.owner, top):
                _join(state.regions, merged, above, below)
        bottom = _edge_owner(traced.polygons, at_bottom, row1, width, key)
        # pieces that became one region go by that region's key from here on
        keys, where = np.unique(bottom, return_inverse=True)
        reaching = np.array([_find(merged, int(k)) for k in keys])
        state.owner = reaching[where]
        for ended in sorted(set(state.regions) - {int(k) for k in reaching}):
            yield state.regions.pop(ended)
        key += len(traced.values)
    yield from state.regions.values()


@dataclass
class _Traced:
    """The connected regions of one strip: class, polygon, sum and number of confidences, [N] each."""

    values: NDArray[np.int64]
    polygons: NDArray[Any]
    sums: NDArray[np.float64]
    counts: NDArray[np.int64]

    def region(self, index: int) -> Region:
        return Region(int(self.values[index]), [self.polygons[index]], float(self.sums[index]), int(self.counts[index]))


def _trace_strip(strip: Strip, foreground: list[int]) -> _Traced:
    mask = np.isin(strip.values, foreground)
    transform = Affine.translation(0, strip.row0)
    found = shapes(strip.values, mask=mask, connectivity=4, transform=transform)
    values, polygons = [np.empty(0, np.int64)], [np.empty(0, dtype=object)]
    labels = np.zeros(strip.values.shape, np.int32)  # 1 + the number of each pixel's region
    count = 0
    while batch := list(islice(found, _FLUSH)):
        if strip.confidence is not None:
            # GDAL's own shapes go back as they are: turning a million polygons into such shapes again takes minutes
            numbered = ((shape, count + n) for n, (shape, _) in enumerate(batch, start=1))
            rasterize(numbered, out=labels, transform=transform)
        built = _build(batch)
        values.append(built[0])
        polygons.append(built[1])
        count += len(batch)
    traced = _Traced(np.concatenate(values), np.concatenate(polygons), np.zeros(count), np.zeros(count, np.int64))
    if strip.confidence is not None and count:
        known = (labels > 0) & np.isfinite(strip.confidence)
        traced.sums += np.bincount(labels[known], weights=strip.confidence[known], minlength=count + 1)[1:]
        traced.counts += np.bincount(labels[known], minlength=count + 1)[1:]
    return traced


def _build(found: list[tuple[dict[str, Any], float]]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Values and valid polygons of GDAL's GeoJSON-like shapes; far smaller than these, hence made batch by batch."""
    rings = [ring for shape, _ in found for ring in shape["coordinates"]]
    polygon_of_ring = np.repeat(np.arange(len(found)), [len(shape["coordinates"]) for shape, _ in found])
    ring_of_point = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    lines = shapely.linearrings(np.array(list(chain.from_iterable(rings))), indices=ring_of_point)
    polygons = shapely.polygons(lines, indices=polygon_of_ring)
    for index in np.flatnonzero(~shapely.is_valid(polygons)):  # a ring that touches itself at a corner
        polygons[index] = shapely.make_valid(polygons[index])
    return np.array([int(value) for _, value in found]), polygons


def _edge_owner(
    polygons: NDArray[Any], chosen: NDArray[np.bool_], row: int, width: int, first_key: int
) -> NDArray[np.int64]:
    """Which of the chosen polygons has an edge along ``y == row`` above or below each column; -1 where none."""
    owner = np.full(width, -1, np.int64)
    indices = np.flatnonzero(chosen)
    rings, ring_polygon = shapely.get_rings(polygons[indices], return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    along = (ring[1:] == ring[:-1]) & (xy[1:, 1] == row) & (xy[:-1, 1] == row)
    ends = np.sort(np.stack([xy[:-1, 0], xy[1:, 0]], axis=1)[along].astype(np.int64), axis=1)
    keys = first_key + indices[ring_polygon[ring[:-1][along]]]
    lengths = ends[:, 1] - ends[:, 0]
    steps = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    owner[np.repeat(ends[:, 0], lengths) + steps] = np.repeat(keys, lengths)
    return owner


def _touching(above: NDArray[np.int64], below: NDArray[np.int64]) -> list[tuple[int, int]]:
    both = (above >= 0) & (below >= 0)
    return [(int(a), int(b)) for a, b in np.unique(np.stack([above[both], below[both]], axis=1), axis=0)]


def _find(merged: dict[int, int], key: int) -> int:
    while key in merged:
        key = merged[key]
    return key


def _join(regions: dict[int, Region], merged: dict[int, int], above: int, below: int) -> None:
    """Make one region of two that touch across the seam, if they are of one class and not one yet."""
    a, b = _find(merged, above), _find(merged, below)
    if a == b or regions[a].value != regions[b].value:
        return
    if len(regions[a].pieces) < len(regions[b].pieces):
        a, b = b, a
    regions[a].absorb(regions.pop(b))
    merged[b] = a


def _matched(outlines: list[shapely.LinearRing]) -> NDArray[Any]:
    """Polygons [N] of outlines, with a vertex at every pixel along seams, so that edges which two share are equal."""
    bounds = shapely.bounds(outlines)
    seams = np.intersect1d(bounds[:, 1], bounds[:, 3])  # where one piece begins and another ends
    xy, ring = shapely.get_coordinates(outlines, return_index=True)
    step = np.zeros(len(xy))  # along x, to the ring's next vertex
    step[:-1] = np.where(ring[1:] == ring[:-1], np.diff(xy[:, 0]), 0)
    times = np.where(np.isin(xy[:, 1], seams) & (step != 0), np.abs(step), 1).astype(np.int64)
    nth = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    dense = np.repeat(xy, times, axis=0)
    dense[:, 0] += nth * np.repeat(np.sign(step), times)
    return shapely.polygons(shapely.linearrings(dense, indices=np.repeat(ring, times)))


def _corners(ring: shapely.LinearRing) -> NDArray[np.float64]:
    """The vertices of a ring at which its direction changes."""
    xy = shapely.get_coordinates(ring)[:-1]
    before, after = xy - np.roll(xy, 1, axis=0), np.roll(xy, -1, axis=0) - xy
    return xy[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def _strips(source: Any, confidence: Any, classes: ClassTable, strip_rows: int) -> Iterator[Strip]:
    for row0 in range(0, source.height, strip_rows):
        rows = min(strip_rows, source.height - row0)
        window = Window(0, row0, source.width, rows)
        values = check_values(source.read(1, window=window), source.nodata, classes, source.name)
        known = None if confidence is None else read_confidence(confidence, window)
        yield Strip(row0, values, known, last=row0 + rows == source.height)


def _batches(regions: Iterable[Region], size: int) -> Iterator[list[Region]]:
    """Lists of up to ``size`` regions; one empty list where there is none, so that the layer exists."""
    batch: list[Region] = []
    for region in regions:
        batch.append(region)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def _frame(
    batch: list[Region],
    classes: ClassTable,
    grid: GeoBox,
    row_areas: NDArray[np.float64],
    *,
    with_confidence: bool,
) -> gpd.GeoDataFrame:
    polygons = np.array([region.polygon() for region in batch], dtype=object)
    columns: dict[str, Any] = {
        "class": np.array([classes[region.value].value for region in batch], np.int32),
        "name": np.array([classes[region.value].name for region in batch], dtype=object),
        "area_m2": ground_area(polygons, row_areas),
    }
    if with_confidence:
        columns["confidence"] = np.array(
            [r.confidence_sum / r.confidence_count if r.confidence_count else np.nan for r in batch], np.float64
        )
    crs = grid.crs.to_wkt() if grid.crs else None
    return gpd.GeoDataFrame(columns, geometry=_to_map(polygons, grid.affine), crs=crs)


def ground_area(polygons: NDArray[Any], row_areas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area in m2 of rectilinear polygons in pixel coordinates, exactly the sum over their pixels.

    Green's theorem: with ``S(y)`` the area of one column above row y, the area of a ring is ``|sum S(y) dx|`` over its
    horizontal edges.

    Args:
        polygons: [N], corners at whole numbers.
        row_areas: ``S``, [height + 1], from 0 cumulated over :func:`~codemae_geo.tiling.area.pixel_area_m2`.
    """
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    same = ring[1:] == ring[:-1]
    signed = np.bincount(
        ring[:-1][same],
        weights=(np.diff(xy[:, 0]) * row_areas[xy[:-1, 1].astype(np.int64)])[same],
        minlength=len(rings),
    )
    shell = np.diff(polygon, prepend=-1) != 0
    by_ring = np.where(shell, 1.0, -1.0) * np.abs(signed)
    return np.bincount(polygon, weights=by_ring, minlength=len(polygons)).astype(np.float64)


def _to_map(polygons: NDArray[Any], affine: Affine) -> NDArray[Any]:
    linear = np.array([[affine.a, affine.d], [affine.b, affine.e]])
    return shapely.transform(polygons, lambda xy: xy @ linear + (affine.c, affine.f))
