"""Building footprints as they are published for whole countries, read by and by and clipped on the way.

========================  =======================================================================================
Overture Maps             GeoParquet, one file or a folder of them; row groups elsewhere are not read
Google Open Buildings     CSV or CSV.gz with WKT in the column ``geometry``
Microsoft buildings       GeoJSON a line, mostly called ``.csv.gz``, in folders ``quadkey=...`` of which those
                          elsewhere are not opened
========================  =======================================================================================

Only a batch of rows and what touches the bounds is in memory at any time, however large the files are.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from codemae_geo.errors import InputError, param

Bounds = tuple[float, float, float, float]

#: rows in memory at a time
_ROWS = 20_000
#: features that a result may have: some 2 GB of polygons and attributes
_MOST = 4_000_000
#: characters of one line, so that a file without line ends does not fill the memory; the largest buildings take 100 kB
_LINE = 16 * 2**20
_LINES = (".geojsonl", ".geojsons", ".jsonl", ".ndjson", ".geojsonseq")
_PARQUET = (".parquet", ".geoparquet")
_WGS84 = "EPSG:4326"
#: what readers must not take for data: files of macOS, Windows and Spark
_NOT_DATA = ("._", ".", "_", "Thumbs.db", "desktop.ini")


def published_files(source: str) -> list[Path] | None:
    """The files of a source of one of these kinds; None where it is another kind, for OGR to read.

    Raises:
        InputError: a folder that holds none.
    """
    path = Path(source)
    if path.is_dir() and path.suffix.lower() not in (".gdb", ".parquet", ".geoparquet"):
        inside = [p for p in sorted(path.rglob("*")) if _kind(p.name) and not p.name.startswith(_NOT_DATA)]
        if inside:
            return inside
        if not any(p.suffix.lower() in (".shp", ".gml", ".tab", ".csv") for p in path.iterdir()):
            raise InputError(
                f"the folder {source} holds no footprints",
                expected="GeoParquet (Overture), CSV with WKT (Google) or GeoJSON, one feature per line (Microsoft)",
                hint="name a file",
            )
        return None
    if path.is_dir() and path.suffix.lower() != ".gdb":
        return sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(_NOT_DATA))
    return [path] if path.is_file() and _kind(path.name) else None


def _kind(name: str) -> str | None:
    lower = name.lower()
    plain = lower.removesuffix(".gz")
    if lower.endswith(_PARQUET):
        return "parquet"
    if plain.endswith(".csv"):
        return "csv"
    return "lines" if plain.endswith(_LINES) or lower.endswith((".geojson.gz", ".json.gz")) else None


def read_published(files: Sequence[Path], bounds: Bounds | None, bounds_crs: Any, src_crs: Any) -> gpd.GeoDataFrame:
    """Features of files of these kinds that touch the bounds.

    Args:
        files: of :func:`published_files`.
        bounds: (left, bottom, right, top) in ``bounds_crs``; None reads all.
        bounds_crs: CRS of the bounds.
        src_crs: CRS of files that do not state one.

    Returns:
        GeoDataFrame indexed by the feature's number, counted over all features of all files that were read.

    Raises:
        InputError: a file that cannot be read, has no CRS, or more features than memory takes.
    """
    frames: list[gpd.GeoDataFrame] = []
    count = kept = 0
    crs: CRS | None = None
    for file in files:
        reader = _read_parquet if _kind(file.name) == "parquet" else _read_text
        try:
            for frame, total in reader(file, bounds, bounds_crs, src_crs):
                if crs is None:
                    crs = frame.crs
                elif frame.crs != crs:
                    raise InputError(f"{file} is in another coordinate reference system than {files[0]}")
                frame.index += count
                count += total
                kept += len(frame)
                if len(frame):
                    frames.append(frame)
                if kept > _MOST:
                    raise InputError(
                        f"{file} has too many footprints to hold in memory",
                        found=f"more than {_MOST:,}",
                        hint="cut it to the area of the scenes first",
                    )
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, RecursionError) as error:
            raise InputError(
                f"the footprints {file} cannot be read", found=str(error) or type(error).__name__
            ) from error
    if not frames:
        return gpd.GeoDataFrame(geometry=gpd.GeoSeries([], crs=crs or src_crs or _WGS84))
    whole = cast(gpd.GeoDataFrame, pd.concat(frames))
    for name in whole.columns.drop("geometry"):
        if _kind(files[0].name) == "csv" and pd.api.types.is_string_dtype(whole[name].dtype):
            given = whole[name].replace("", None)
            numbers = pd.to_numeric(given, errors="coerce")
            if (numbers.notna() == given.notna()).all():  # text of a CSV, all of it numbers
                whole[name] = numbers
    return whole


Batches = Iterator[tuple[gpd.GeoDataFrame, int]]


def _bounds_in(bounds: Bounds | None, bounds_crs: Any, crs: CRS) -> list[Bounds]:
    """The bounds in the file's CRS; two boxes across the antimeridian, none for everything."""
    from pyproj import Transformer

    if bounds is None:
        return []
    if bounds_crs is None:
        return [bounds]
    moved = Transformer.from_crs(bounds_crs, crs, always_xy=True).transform_bounds(*bounds)
    left, bottom, right, top = moved
    if not all(map(math.isfinite, moved)):
        return []
    return [moved] if left <= right else [(left, bottom, 180.0, top), (-180.0, bottom, right, top)]


def _touching(geometries: NDArray[Any], boxes: Sequence[Bounds]) -> NDArray[np.bool_]:
    if not boxes:
        return np.ones(len(geometries), bool)
    found = np.zeros(len(geometries), bool)
    left, bottom, right, top = shapely.bounds(geometries).T
    for x0, y0, x1, y1 in boxes:
        found |= (left <= x1) & (right >= x0) & (bottom <= y1) & (top >= y0)
    return found


# ---------------------------------------------------------------------------------------------------- text


def _read_text(file: Path, bounds: Bounds | None, bounds_crs: Any, src_crs: Any) -> Batches:
    crs = _crs(src_crs or _WGS84, file)
    boxes = _bounds_in(bounds, bounds_crs, crs)
    tile = _quadkey_bounds(file)
    if boxes and tile is not None and not any(_meet(tile, box) for box in boxes):
        return
    with _open(file) as raw, io.TextIOWrapper(cast(Any, raw), encoding="utf-8-sig", newline="") as text:
        lines = _lines(text, file)
        first = next(lines, "")
        rows = _json_rows(first, lines, file) if first.lstrip()[:1] == "{" else _csv_rows(first, lines, file, src_crs)
        batch: list[tuple[Any, dict[str, Any]]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == _ROWS:
                yield _frame(batch, boxes, crs), len(batch)
                batch = []
        yield _frame(batch, boxes, crs), len(batch)


def _open(file: Path) -> Any:
    return gzip.open(file, "rb") if file.name.lower().endswith(".gz") else file.open("rb")


def _lines(text: io.TextIOWrapper, file: Path) -> Iterator[str]:
    while line := text.readline(_LINE):
        if len(line) == _LINE:
            raise InputError(
                f"the footprints {file} cannot be read",
                found=f"a line of more than {_LINE >> 20} MiB",
                expected="one feature per line",
            )
        yield line


def _json_rows(first: str, lines: Iterator[str], file: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Geometry and properties of every line."""
    number = 0
    for line in _chain(first, lines):
        number += 1
        line = line.strip(" \t\r\n\x1e")
        if not line:
            continue
        try:
            feature = json.loads(line)
            geometry = feature["geometry"] if feature.get("type") == "Feature" else feature
            shape = None if geometry is None else shapely.from_geojson(json.dumps(geometry))
            properties = feature.get("properties") or {}
            plain = {k: v if isinstance(v, str | int | float | None) else json.dumps(v) for k, v in properties.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, shapely.errors.ShapelyError) as error:
            raise InputError(
                f"the footprints {file} cannot be read",
                found=f"line {number}: {str(error)[:200]}",
                expected="one GeoJSON feature per line, or a CSV with WKT",
            ) from error
        yield shape, plain


def _csv_rows(first: str, lines: Iterator[str], file: Path, src_crs: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    csv.field_size_limit(_LINE)
    reader = csv.DictReader(_chain(first, lines))
    fields = [name or "" for name in reader.fieldnames or []]
    column = next((f for f in fields if f.lower() in ("geometry", "wkt", "geom", "the_geom")), None)
    if column is None:
        raise InputError(
            f"the footprints {file} have no column of geometries",
            found=", ".join(f[:40] for f in fields[:8]) or "an empty file",
            expected="a column geometry or wkt (Google Open Buildings), or GeoJSON, one feature per line (Microsoft)",
        )
    if src_crs is None and not {"latitude", "longitude"} <= {f.lower() for f in fields}:
        raise InputError(
            f"the footprints {file} have no coordinate reference system",
            expected="columns latitude and longitude, as Google Open Buildings has, or a file that states one",
            hint=f"say which one it is with {param('footprints_crs', 'EPSG:...')}",
            option="footprints_crs",
        )
    for number, row in enumerate(reader, 2):
        text = row.pop(column) or ""
        try:
            shape = shapely.from_wkt(text) if text.strip() else None
        except shapely.errors.ShapelyError as error:
            raise InputError(
                f"the footprints {file} cannot be read",
                found=f"row {number}: {str(error)[:120]}",
                expected="a polygon as WKT",
            ) from error
        yield shape, {str(k): v for k, v in row.items() if isinstance(v, str) and k is not None}


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def _frame(batch: list[tuple[Any, dict[str, Any]]], boxes: Sequence[Bounds], crs: CRS) -> gpd.GeoDataFrame:
    shapes = np.array([shape for shape, _ in batch], dtype=object)
    keep = np.flatnonzero(_touching(shapes, boxes)) if len(batch) else np.array([], int)
    table = pd.DataFrame([batch[i][1] for i in keep], index=keep)
    return gpd.GeoDataFrame(table.drop(columns="geometry", errors="ignore"), geometry=shapes[keep], crs=crs)


def _quadkey_bounds(file: Path) -> Bounds | None:
    """Longitude and latitude of the tile that a folder ``quadkey=0123`` names (Bing Maps' tile system)."""
    key = next((p[8:] for p in reversed(file.parts[:-1]) if p.startswith("quadkey=")), "")
    if not 0 < len(key) <= 23 or set(key) - set("0123"):
        return None
    x = sum((int(c) & 1) << (len(key) - 1 - i) for i, c in enumerate(key))
    y = sum((int(c) >> 1) << (len(key) - 1 - i) for i, c in enumerate(key))
    n = 1 << len(key)
    top, bottom = (math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * v / n)))) for v in (y, y + 1))
    # a building belongs to the tile of its middle, and may reach out of it
    margin = 0.01
    return (360 * x / n - 180 - margin, bottom - margin, 360 * (x + 1) / n - 180 + margin, top + margin)


def _meet(a: Bounds, b: Bounds) -> bool:
    return a[0] <= b[2] and a[2] >= b[0] and a[1] <= b[3] and a[3] >= b[1]


# ---------------------------------------------------------------------------------------------------- GeoParquet


def _read_parquet(file: Path, bounds: Bounds | None, bounds_crs: Any, src_crs: Any) -> Batches:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise InputError("reading GeoParquet needs PyArrow", found=str(error), hint="pip install pyarrow") from error
    try:
        with parquet.ParquetFile(file) as source:
            column, crs, cover = _geo_metadata(source, file, src_crs)
            boxes = _bounds_in(bounds, bounds_crs, crs)
            groups = [g for g in range(source.num_row_groups) if _group_meets(source, g, cover, boxes)]
            skipped = [source.metadata.row_group(g).num_rows for g in range(source.num_row_groups)]
            flat = [n for n, t in zip(source.schema_arrow.names, source.schema_arrow.types, strict=True)
                    if n == column or not pa.types.is_nested(t)]  # fmt: skip
            start = 0
            for group in range(source.num_row_groups):
                if group in groups:
                    offset = start
                    for batch in source.iter_batches(_ROWS, row_groups=[group], columns=flat):
                        frame = _decode(batch, column, crs, boxes, file)
                        frame.index += offset
                        yield frame, 0
                        offset += batch.num_rows
                start += skipped[group]
            yield gpd.GeoDataFrame(geometry=gpd.GeoSeries([], crs=crs)), start
    except pa.ArrowException as error:
        raise InputError(
            f"the footprints {file} cannot be read", found=str(error).splitlines()[0][:200], expected="GeoParquet"
        ) from error


def _geo_metadata(source: Any, file: Path, src_crs: Any) -> tuple[str, CRS, dict[str, Any]]:
    """Name of the geometries, their CRS, and the columns that hold their bounds ({} for none)."""
    known = source.schema_arrow.metadata or {}
    try:
        geo = json.loads(known[b"geo"]) if b"geo" in known else {}
        column = geo.get("primary_column", "geometry")
        about = geo.get("columns", {}).get(column, {})
        if about.get("encoding", "WKB") != "WKB" or column not in source.schema_arrow.names:
            raise ValueError(f"column {column!r}, encoding {about.get('encoding')!r}")
        said = about.get("crs", "OGC:CRS84") if geo else None  # left out, it is longitude and latitude by the standard
        cover = about.get("covering", {}).get("bbox") or {}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"the footprints {file} cannot be read", found=str(error)[:200], expected="GeoParquet with WKB geometries"
        ) from error
    if src_crs is None and said is None:
        raise InputError(
            f"the footprints {file} have no coordinate reference system",
            expected="GeoParquet, which states one",
            hint=f"say which one it is with {param('footprints_crs', 'EPSG:...')}",
            option="footprints_crs",
        )
    crs = _crs(src_crs if src_crs is not None else said, file)
    names = {".".join(p) for p in cover.values() if isinstance(p, list) and all(isinstance(n, str) for n in p)}
    if not names and "bbox" in source.schema_arrow.names:  # Overture's before the standard named them
        cover = {edge: ["bbox", edge] for edge in ("xmin", "ymin", "xmax", "ymax")}
    return column, crs, cover if isinstance(cover, dict) else {}


def _group_meets(source: Any, group: int, cover: dict[str, Any], boxes: Sequence[Bounds]) -> bool:
    """Whether a row group may hold something within the boxes, by the statistics of its bounds."""
    if not boxes or not cover:
        return True
    about = source.metadata.row_group(group)
    found: dict[str, tuple[float, float]] = {}
    for i in range(about.num_columns):
        chunk = about.column(i)
        for edge, path in cover.items():
            if isinstance(path, list) and chunk.path_in_schema == ".".join(map(str, path)):
                stats = chunk.statistics
                if stats is not None and stats.has_min_max:
                    found[edge] = (stats.min, stats.max)
    if set(found) < {"xmin", "ymin", "xmax", "ymax"}:
        return True
    whole = (found["xmin"][0], found["ymin"][0], found["xmax"][1], found["ymax"][1])
    return any(_meet(whole, box) for box in boxes)


def _decode(batch: Any, column: str, crs: CRS, boxes: Sequence[Bounds], file: Path) -> gpd.GeoDataFrame:
    wkb = batch.column(batch.schema.get_field_index(column)).to_numpy(zero_copy_only=False)
    try:
        shapes = shapely.from_wkb(wkb)
    except (shapely.errors.ShapelyError, TypeError) as error:
        raise InputError(
            f"the footprints {file} cannot be read", found=str(error)[:200], expected="geometries as WKB"
        ) from error
    keep = np.flatnonzero(_touching(shapes, boxes))
    table = batch.drop_columns([column]).take(keep.tolist()).to_pandas() if len(keep) else pd.DataFrame()
    table.index = keep
    return gpd.GeoDataFrame(table.drop(columns="geometry", errors="ignore"), geometry=shapes[keep], crs=crs)


def _crs(value: Any, file: Path) -> CRS:
    try:
        return CRS.from_user_input(value)
    except (CRSError, TypeError, RecursionError) as error:
        raise InputError(f"the coordinate reference system of {file} cannot be used", found=str(error)[:200]) from error
