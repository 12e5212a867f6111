"""Per-building table: what the class raster says about each footprint.

Every pixel counts with the exact fraction of it that the footprint covers (exactextract), whatever the footprint's
shape or size. The raster is read once, window by window; sums over windows add up exactly, so memory depends on the
number of footprints and the window, not on the raster, and a footprint may span many windows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import shapely
from exactextract import exact_extract
from exactextract.feature import Feature, FeatureSource
from exactextract.raster import NumPyRasterSource
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.windows import Window

from codemae_geo.classes import NODATA, ClassTable
from codemae_geo.progress import Reporter
from codemae_geo.raster.geo import beside
from codemae_geo.styles import building_qml
from codemae_geo.vector.footprints import polygons_only
from codemae_geo.vector.geopackage import GeoPackageWriter, open_writer
from codemae_geo.vector.rasters import check_values, open_confidence, read_confidence, read_probabilities

#: ``status`` of a footprint: analysed in full, in part, not at all though inside the raster, or outside of it
STATUSES = ("covered", "partly", "nodata", "outside")
#: a footprint counts as covered when this fraction of its area has an analysed pixel
COVERED = 0.99

#: a polygon thinner than this (in pixels squared) has no area to weigh pixels by, and is widened by ``_HAIR`` pixels
_NO_AREA, _HAIR = 1e-9, 0.01
#: pixels of footprints' bounding boxes handed to exactextract at a time: its answer takes 16 bytes for each
_CELLS = 4_000_000
#: equal-area on the whole ellipsoid: planar area there is ground area
_EQUAL_AREA = "EPSG:6933"
#: names that GeoPackage keeps for itself
_RESERVED = {"fid", "geom", "geometry", "ogc_fid", "rowid"}


@dataclass(frozen=True)
class BuildingSummary:
    """What :func:`aggregate_buildings` found: number of footprints, of each class (name), of each status."""

    n: int
    classes: dict[str, int]
    statuses: dict[str, int]


@dataclass
class Coverage:
    """Sums over the pixels below each of N footprints, in pixels.

    Args:
        area: the footprint's own area, [N].
        inside: its area within the raster, [N].
        by_class: its area over valid pixels of each class, [N, classes] in the order of the table.
        confidence: confidence times area, [N, classes]; and ``known``, the area with a confidence.
        probability: probability of each class times area, [N, classes]; None where it is not asked for.
    """

    area: NDArray[np.float64]
    inside: NDArray[np.float64]
    by_class: NDArray[np.float64]
    confidence: NDArray[np.float64]
    known: NDArray[np.float64]
    probability: NDArray[np.float64] | None = None


def aggregate_buildings(
    footprints: gpd.GeoDataFrame,
    class_raster: Path,
    confidence_raster: Path | None,
    classes: ClassTable,
    *,
    out: Path | GeoPackageWriter,
    layer: str = "buildings",
    min_share: float = 0.1,
    probability_raster: Path | None = None,
    calibration: tuple[float, float] | None = None,
    chunk: int = 50_000,
    window: int = 2048,
    tags: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> BuildingSummary:
    """Write every footprint with its class, shares, confidence and status.

    A footprint and the building in the image rarely coincide: roofs lean, layers are shifted by a few pixels, yards are
    included. So background inside a footprint is no evidence against damage, and the class is the foreground class
    with the largest share, provided that all foreground classes together reach ``min_share`` of the analysed area;
    below that the footprint is background, "no building found". Equal shares go to the class further down the table,
    the more severe one.

    Columns, after those of ``footprints`` (a name that clashes gets the prefix ``src_``): ``class`` (int, NULL where
    nothing was analysed), ``class_name``, ``share_<name>`` for each class (of the analysed area; they sum to 1),
    ``confidence`` (0..1: mean over the pixels of the winning class; with a calibration, how likely the class is right,
    see :func:`class_confidence`), ``area_m2`` (ground area), ``covered`` (fraction
    of the footprint with an analysed pixel) and ``status``: ``covered`` (99 % or more), ``partly``, ``nodata`` (inside
    the raster, no analysed pixel) or ``outside``. A footprint without geometry or area is ``outside``.

    Args:
        footprints: polygons in any CRS; all of them appear in the output, in their order and CRS.
        class_raster: band 1 holds class values; rotated and geographic grids are fine.
        confidence_raster: band 1 on the same grid, or None.
        classes: the table of the raster's values.
        out: GeoPackage to write, or a writer to add the layer to.
        layer: table name.
        min_share: see above, 0 to 1.
        probability_raster: one band per class on the same grid; used with ``calibration`` only.
        calibration: slope and intercept of the package's building confidence.
        chunk: footprints reprojected and written at a time.
        window: width and height in pixels of the raster windows read at a time.
        tags: metadata of the layer.
        overwrite: replace an existing file.

    Raises:
        InputError: a raster without CRS, with unknown values or on another grid.
        OutputError: the file exists, or the disk is full.
        ValueError: the footprints have no CRS.
    """
    if footprints.crs is None:
        raise ValueError("footprints need a CRS")
    with ExitStack() as stack:
        source = stack.enter_context(rasterio.open(class_raster))
        confidence = stack.enter_context(open_confidence(confidence_raster, source))
        wanted = probability_raster if calibration else None
        likely = None if wanted is None else stack.enter_context(rasterio.open(wanted))
        coverage = measure_coverage(footprints, source, confidence, classes, likely, chunk=chunk, window=window)
    table = judge(coverage, classes, min_share, calibration)
    footprints = _free_names(footprints, set(table.columns) | {"area_m2"})
    with open_writer(out, overwrite=overwrite) as writer:
        for start in range(0, max(len(footprints), 1), chunk):
            part = footprints.iloc[start : start + chunk].reset_index(drop=True)
            result = pd.concat([part, table.iloc[start : start + chunk].reset_index(drop=True)], axis=1)
            with np.errstate(invalid="ignore"):  # NULL for coordinates that are no places in their CRS
                area = part.geometry.to_crs(_EQUAL_AREA).area.to_numpy()
            result.insert(result.columns.get_loc("covered"), "area_m2", area)
            frame = gpd.GeoDataFrame(result, geometry=part.geometry.name, crs=footprints.crs)
            writer.append(layer, frame, qml=building_qml(classes), tags=tags)
    return BuildingSummary(
        n=len(table),
        classes={name: int((table["class_name"] == name).sum()) for name in classes.names},
        statuses={status: int((table["status"] == status).sum()) for status in STATUSES},
    )


def warn_if_elsewhere(found: BuildingSummary, reporter: Reporter) -> None:
    """Warn when not one footprint lies on the raster, as with a wrong CRS."""
    if found.n and found.statuses["outside"] == found.n:
        reporter.warning(
            "footprints", "not one footprint lies on the raster: check that both are of one place, and their CRS"
        )


def measure_coverage(
    footprints: gpd.GeoDataFrame,
    source: Any,
    confidence: Any,
    classes: ClassTable,
    probabilities: Any = None,
    *,
    chunk: int = 50_000,
    window: int = 2048,
) -> Coverage:
    """Sum the exact pixel fractions of each footprint by class.

    Args:
        footprints: N polygons with a CRS.
        source: open class raster.
        confidence: open confidence raster on the same grid, or None.
        classes: the table of the raster's values.
        probabilities: open raster of one band per class on the same grid, or None.
        chunk, window: as in :func:`aggregate_buildings`.
    """
    n, size = len(footprints), len(classes)
    shapes = np.asarray(footprints.geometry.array, dtype=object)
    to_pixels = _PixelSpace(footprints.crs, source)
    bounds, area = np.full((n, 4), np.nan), np.zeros(n)
    for start in range(0, n, chunk):
        part = slice(start, start + chunk)
        pixels = to_pixels(shapes[part])
        bounds[part], area[part] = shapely.bounds(pixels), shapely.area(pixels)
    sums = Coverage(area, np.zeros(n), *(np.zeros((n, size)) for _ in range(3)))
    if probabilities is not None:
        sums.probability = np.zeros((n, size))
    for view in _windows(source.height, source.width, window):
        row0, row1, col0, col1 = view.row_off, view.row_off + view.height, view.col_off, view.col_off + view.width
        # pixel space has its y axis up: row r is at y = -r
        near = (bounds[:, 0] < col1) & (bounds[:, 2] > col0) & (bounds[:, 1] < -row0) & (bounds[:, 3] > -row1)
        members = np.flatnonzero(near)
        if not members.size:
            continue
        values = check_values(source.read(1, window=view), source.nodata, classes, source.name)
        known = None if confidence is None else read_confidence(confidence, view)
        likely = None if probabilities is None else read_probabilities(probabilities, view)
        raster = NumPyRasterSource(values, col0, -row1, col1, -row0)
        clipped = np.clip(bounds[members], [col0, -row1, col0, -row1], [col1, -row0, col1, -row0])
        cells = np.prod(np.ceil(clipped[:, 2:]) - np.floor(clipped[:, :2]), axis=1)
        for batch in np.split(members, np.flatnonzero(np.diff(np.cumsum(cells) // _CELLS)) + 1):
            answer = exact_extract(raster, _Shapes(to_pixels(shapes[batch])), ["cell_id", "coverage"], output="pandas")
            _accumulate(sums, batch, answer, values.ravel(), None if known is None else known.ravel(), likely)
    return sums


def judge(
    coverage: Coverage, classes: ClassTable, min_share: float, calibration: tuple[float, float] | None = None
) -> pd.DataFrame:
    """Class, shares, confidence, covered fraction and status of each footprint (see :func:`aggregate_buildings`)."""
    valid = coverage.by_class.sum(axis=1)
    analysed = valid > 0
    shares = np.full(coverage.by_class.shape, np.nan)
    shares[analysed] = coverage.by_class[analysed] / valid[analysed, None]
    winner = choose_class(shares[analysed], classes, min_share)

    chosen: NDArray[np.int64] = np.zeros(len(valid), np.int64)
    chosen[analysed] = winner
    rows = np.arange(len(valid))
    known = coverage.known[rows, chosen]
    confidence = np.full(len(valid), np.nan)
    np.divide(coverage.confidence[rows, chosen], known, out=confidence, where=analysed & (known > 0))
    if calibration is not None and coverage.probability is not None:
        confidence[analysed] = class_confidence(coverage.probability[analysed], winner, classes, calibration)

    covered = np.zeros(len(valid))
    np.divide(valid, coverage.area, out=covered, where=coverage.area > 0)
    covered = np.clip(covered, 0, 1)
    outside = ~(coverage.inside > 0)
    status = np.select([outside, ~analysed, covered >= COVERED], ["outside", "nodata", "covered"], "partly")
    names = np.array(classes.names, dtype=object)[chosen]
    names[~analysed] = None
    table: dict[str, Any] = {
        "class": pd.array(np.array(classes.values)[chosen], dtype="Int32"),
        "class_name": names,
    }
    table["class"][~analysed] = pd.NA
    for place, info in enumerate(classes):
        column = share_column(info.name)
        table[f"{column}_{info.value}" if column in table else column] = shares[:, place]
    table |= {"confidence": confidence, "covered": covered, "status": status.astype(object)}
    return pd.DataFrame(table)


def choose_class(shares: NDArray[np.float64], classes: ClassTable, min_share: float) -> NDArray[np.int64]:
    """The place of the winning class of each row of ``shares`` [N, classes], by :func:`aggregate_buildings`' rule."""
    behind = np.array([c.background for c in classes])
    foreground, background = np.flatnonzero(~behind), np.flatnonzero(behind)
    if not background.size:
        return _last_argmax(shares)
    if not foreground.size:
        return background[_last_argmax(shares[:, background])]
    found = shares[:, foreground].sum(axis=1) >= min_share
    # with min_share 0, a footprint without any foreground pixel is background still
    found &= shares[:, foreground].max(axis=1, initial=0) > 0
    best = foreground[_last_argmax(shares[:, foreground])]
    return np.where(found, best, background[_last_argmax(shares[:, background])])


def class_score(
    probability: NDArray[np.floating[Any]], chosen: NDArray[np.integer[Any]], classes: ClassTable
) -> NDArray[np.float64]:
    """How much of what speaks for a building speaks for its class: probability of the class, given a building.

    Args:
        probability: [N, classes], sums or means over the pixels of each building.
        chosen: [N] places of the classes.
        classes: the table.

    Returns:
        [N], 0 to 1; 0 where the answer is background, which is no answer to what state a building is in.
    """
    front = np.array([not c.background for c in classes])
    total = probability[:, front].sum(axis=1)
    own = probability[np.arange(len(chosen)), chosen]
    score = np.zeros(len(chosen))
    np.divide(own, total, out=score, where=(total > 0) & front[chosen])
    return score


def logit(score: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """log(p / (1 - p)) of scores kept within 0.02 and 0.98, beyond which a few hundred buildings say nothing."""
    inside = np.clip(score, 0.02, 0.98)
    return np.log(inside / (1 - inside))


def class_confidence(
    probability: NDArray[np.floating[Any]],
    chosen: NDArray[np.integer[Any]],
    classes: ClassTable,
    calibration: tuple[float, float],
) -> NDArray[np.float64]:
    """How likely the class of each building is right: a logistic of :func:`class_score` fitted on buildings left out.

    The mean confidence of its pixels is no answer to that: pixels are sure of *a building* where it is of no doubt, and
    their errors within a building go together.

    Args:
        probability, chosen, classes: see :func:`class_score`.
        calibration: slope and intercept.
    """
    slope, intercept = calibration
    return 1 / (1 + np.exp(-(slope * logit(class_score(probability, chosen, classes)) + intercept)))


def share_column(name: str) -> str:
    """Column name of a class's share: letters, digits and underscores only."""
    return "share_" + re.sub(r"\W+", "_", name.strip().lower())


def _last_argmax(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Column of the largest value in each row, the last of equals (equal to 1e-9: sums of fractions carry rounding)."""
    best = values.max(axis=1, keepdims=True, initial=-np.inf)
    return values.shape[1] - 1 - np.argmax((values >= best - 1e-9)[:, ::-1], axis=1)


class _PixelSpace:
    """Maps footprints into the raster's pixel space: x = column, y = -row, one pixel a unit square.

    There a rotated grid is as straight as any other, and areas are in pixels.
    """

    def __init__(self, crs: Any, source: Any) -> None:
        self._project = Transformer.from_crs(crs, source.crs.to_wkt(), always_xy=True)
        self._inverse = ~source.transform
        self._grid = GeoBox(source.shape, source.transform, source.crs.to_wkt())

    def __call__(self, shapes: NDArray[Any]) -> NDArray[Any]:
        pixels = shapely.transform(polygons_only(shapes), self._coordinates)
        finite = np.isfinite(shapely.bounds(pixels)).all(axis=1)
        pixels[~finite] = shapely.Polygon()
        thin = finite & (shapely.area(pixels) < _NO_AREA)
        pixels[thin] = shapely.buffer(pixels[thin], _HAIR)
        return pixels

    def _coordinates(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = self._project.transform(xy[:, 0], xy[:, 1])
        x = beside(self._grid, x)
        inverse = self._inverse
        with np.errstate(invalid="ignore"):
            col, row = inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f
        # infinity, unlike NaN, equals itself, so that a ring with places that have no answer still closes
        return np.nan_to_num(np.stack([col, -row], axis=1), nan=np.inf)


class _Shapes(FeatureSource):
    """Polygons for exactextract, handed over as WKB; its GeoDataFrame source goes through JSON text, 3 x slower."""

    def __init__(self, shapes: NDArray[Any]) -> None:
        super().__init__()
        self._wkb = shapely.to_wkb(shapes)

    def count(self) -> int:
        return len(self._wkb)

    def __iter__(self) -> Iterator[_Shape]:
        return map(_Shape, self._wkb)

    def srs_wkt(self) -> str | None:
        return None


class _Shape(Feature):
    def __init__(self, wkb: bytes) -> None:
        super().__init__()
        self._wkb = wkb

    def geometry(self) -> bytes:
        return self._wkb

    def fields(self) -> list[str]:
        return []


def _accumulate(
    sums: Coverage,
    members: NDArray[np.int64],
    answer: pd.DataFrame,
    values: NDArray[np.uint8],
    confidence: NDArray[np.float32] | None,
    probabilities: NDArray[np.float32] | None = None,
) -> None:
    """Add one window's pixels to the sums of its footprints.

    Args:
        sums: changed in place.
        members: footprints of the window, [k].
        answer: ``cell_id`` and ``coverage`` arrays of each.
        values, confidence: the window's pixels, flattened; classes by their places.
        probabilities: those of the classes, [classes, pixels].
    """
    k, size = len(members), sums.by_class.shape[1]
    cells = np.concatenate(list(answer["cell_id"]))
    weight = np.concatenate(list(answer["coverage"]))
    member = np.repeat(np.arange(k), [len(c) for c in answer["cell_id"]])
    sums.inside[members] += np.bincount(member, weights=weight, minlength=k)
    value = values[cells].astype(np.int64)
    valid = value != NODATA
    slot, weight = member[valid] * size + value[valid], weight[valid]
    sums.by_class[members] += np.bincount(slot, weights=weight, minlength=k * size).reshape(k, size)
    if probabilities is not None and sums.probability is not None:
        for place, band in enumerate(probabilities):
            amount = np.nan_to_num(band[cells][valid])
            sums.probability[members, place] += np.bincount(member[valid], weights=weight * amount, minlength=k)
    if confidence is None:
        return
    sure = confidence[cells][valid]
    known = np.isfinite(sure)
    slot, weight, sure = slot[known], weight[known], sure[known]
    sums.known[members] += np.bincount(slot, weights=weight, minlength=k * size).reshape(k, size)
    sums.confidence[members] += np.bincount(slot, weights=weight * sure, minlength=k * size).reshape(k, size)


def _windows(height: int, width: int, size: int) -> Iterator[Window]:
    for row in range(0, height, size):
        for col in range(0, width, size):
            yield Window(col, row, min(size, width - col), min(size, height - row))


def _free_names(footprints: gpd.GeoDataFrame, taken: set[str]) -> gpd.GeoDataFrame:
    """Rename original columns that clash with ours or GeoPackage's (SQLite ignores case), and make lists text."""
    geometry = footprints.geometry.name
    columns = [str(c) for c in footprints.columns if c != geometry]
    used = {name.lower() for name in taken} | _RESERVED
    originals = {name.lower() for name in columns} - used
    renamed: dict[str, str] = {}
    for column in columns:
        name = column
        while name.lower() in used or (name != column and name.lower() in originals):
            name = f"src_{name}"
        used.add(name.lower())
        renamed[column] = name
    frame = footprints.rename(columns=str).rename(columns=renamed)
    if geometry != "geometry":
        frame = frame.rename_geometry("geometry")
    for name in renamed.values():
        if frame[name].map(lambda v: isinstance(v, list | dict | np.ndarray)).any():
            frame[name] = [json.dumps(v, default=str) for v in frame[name]]
    return frame
