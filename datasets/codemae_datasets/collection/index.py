"""A table of scenes: where and when each one is, what it holds, and the file. Ten thousand open at once from it.

The file is GeoParquet 1.1 with the names of STAC-GeoParquet where STAC has one. ``geometry`` is the footprint in
EPSG:4326: two parts where a scene lies over the date line, up to the pole where it lies over a pole, and
``bbox`` then has ``xmin`` greater than ``xmax`` (RFC 7946, 5.2).
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import rasterio
import shapely
from pyproj import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from codemae_datasets._parquet import arrow
from codemae_datasets.reading import footprint
from codemae_datasets.times import Span, item_span, name_span, tag_span
from codemae_geo.errors import InputError, param
from codemae_geo.outputs import Staging, write_failure
from codemae_geo.progress import Reporter
from codemae_geo.raster.env import gdal_env, is_remote
from codemae_geo.raster.geo import ground_sample_distance
from codemae_geo.raster.scene import RASTER_SUFFIXES, is_scene_name
from codemae_geo.raster.source import read_header, unreadable
from codemae_geo.raster.stac import Asset, is_stac_item, open_item
from codemae_geo.sensors import SENSORS, Family

#: words in band descriptions that only radar has
_RADAR = re.compile(r"(?<![a-z])(vv|vh|hh|hv|amplitude|backscatter|sigma0|gamma0)(?![a-z])")
_WGS84 = "EPSG:4326"
_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True)
class IndexReport:
    """What an indexing run did: scenes in the index, of these read now, kept as they were; dropped as gone."""

    path: Path
    scenes: int
    read: int
    kept: int
    dropped: int
    #: scenes that could not be read, with the reason
    unreadable: dict[str, str]


def build_index(
    scenes: Sequence[str | Path],
    output: Path,
    *,
    sensor: str | None = None,
    family: Family | None = None,
    afresh: bool = False,
    skip_unreadable: int = 0,
    workers: int = 4,
    reporter: Reporter | None = None,
) -> IndexReport:
    """Write an index of scenes, or bring one up to date.

    Scenes that the index holds are read again only where size or time of the file changed; files that are gone leave
    it; others in it stay, so an index may grow folder by folder.

    Args:
        scenes: rasters, STAC items, and folders of rasters (searched with their subfolders).
        output: a ``.parquet`` file.
        sensor: name in :data:`codemae_geo.sensors.SENSORS` of all scenes given here.
        family: ``optical`` or ``sar``; None asks the sensor, then the bands: one or two, complex ones, or ones named
            after a polarisation are radar.
        afresh: forget what the index holds.
        skip_unreadable: how many scenes that cannot be read may be left out.
        workers: threads that read headers.

    Raises:
        InputError: more scenes are unreadable than tolerated, no scene at all, no such sensor, or a file that is no
            index is at ``output``.
        OutputError: the file cannot be written.
    """
    reporter = reporter or Reporter()
    arrow()
    if sensor is not None and sensor not in SENSORS:
        raise InputError(f"there is no sensor {sensor!r}", expected=", ".join(SENSORS))
    if output.suffix.lower() not in (".parquet", ".geoparquet"):
        raise InputError(f"{output} is not a name for an index", expected="a file ending in .parquet")
    family = family or (SENSORS[sensor].family if sensor else None)
    old = read_index(output) if output.is_file() and not afresh else None
    before = {row["href"]: row for row in old.to_dict("records")} if old is not None else {}
    paths = find_scenes(scenes)
    present = {href: row for href, row in before.items() if is_remote(href) or Path(href).is_file()}
    rows = dict(present)
    todo = []
    for path in paths:
        known = present.get(path)
        same = known is not None and _stamp(path) == (known["file:size"], known["file:mtime_ns"])
        if not same or (sensor and known["sensor"] != sensor) or (family and known["family"] != family):  # type: ignore[index]
            todo.append(path)
    failed: dict[str, str] = {}
    stage = reporter.stage("reading headers", total=len(todo))
    with stage, gdal_env(threads=1), ThreadPoolExecutor(max(1, workers)) as pool:
        results = pool.map(lambda p: _try(p, sensor, family), todo)
        for number, (path, result) in enumerate(zip(todo, results, strict=True), 1):
            if isinstance(result, InputError):
                failed[path] = f"{result.message} {result.found or ''}".strip()
                rows.pop(path, None)
            else:
                rows[path] = result
            reporter.progress(number, len(todo))
    for text in failed.values():
        reporter.warning("unreadable", text)
    if len(failed) > skip_unreadable:
        raise InputError(
            "scenes cannot be read",
            found=f"{len(failed)}: {next(iter(failed.values()))}",
            expected=f"at most {skip_unreadable}",
            hint=f"repair or remove them, or raise {param('skip_unreadable')}",
            option="skip_unreadable",
        )
    if not rows:
        raise InputError("there is no scene to index", expected="rasters, STAC items, or folders of rasters")
    _write(list(rows.values()), output)
    read = len(todo) - len(failed)
    return IndexReport(output, len(rows), read, len(rows) - read, len(before) - len(present), failed)


def read_index(path: Path) -> Any:
    """The index as a GeoDataFrame in EPSG:4326, with absolute paths.

    Columns: ``id, geometry, bbox, datetime, start_datetime, end_datetime, gsd, family, sensor, bands, dtype, nodata,
    href, proj:epsg, proj:wkt2, proj:shape, proj:transform, file:size, file:mtime_ns``, and made on reading: ``crs``
    (text), ``shape`` (rows, columns), ``transform`` (six numbers, as ``affine.Affine`` takes them).

    Raises:
        InputError: no such file, or it is no index.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no index {path}", hint="make it with `codemae data index SCENES... -o FILE`")
    arrow()
    try:
        table = geopandas.read_parquet(path)
    except (ValueError, OSError, TypeError) as error:
        raise InputError(f"{path} is not an index", found=str(error).splitlines()[0], expected="GeoParquet") from error
    missing = {"href", "proj:epsg", "proj:shape", "proj:transform", "datetime"} - set(table.columns)
    if missing:
        raise InputError(
            f"{path} is not an index of scenes",
            found=f"no column {', '.join(sorted(missing))}",
            hint="make it with `codemae data index SCENES... -o FILE`",
        )
    folder = Path(path).absolute().parent
    table["href"] = [h if is_remote(h) else os.path.normpath(folder / h) for h in table["href"]]
    table["crs"] = [
        f"EPSG:{int(code)}" if pd.notna(code) else wkt
        for code, wkt in zip(table["proj:epsg"], table["proj:wkt2"], strict=True)
    ]
    table["shape"] = [tuple(int(n) for n in shape) for shape in table["proj:shape"]]
    table["transform"] = [tuple(float(v) for v in t) for t in table["proj:transform"]]
    return table


def find_scenes(scenes: Iterable[str | Path]) -> list[str]:
    """Absolute paths of the scenes among files and folders; URLs stay.

    Raises:
        InputError: a path is not there, or a folder holds no raster.
    """
    found: list[str] = []
    for scene in map(str, scenes):
        path = Path(scene)
        if is_remote(scene):
            found.append(scene)
        elif path.is_dir():
            inside = sorted(p for p in path.rglob("*") if is_scene_name(p) and p.is_file())
            if not inside:
                raise InputError(
                    f"the folder {scene} holds no raster", expected=f"files ending in {', '.join(RASTER_SUFFIXES)}"
                )
            found += [os.path.normpath(p.absolute()) for p in inside]
        elif path.is_file():
            found.append(os.path.normpath(path.absolute()))
        else:
            raise InputError(f"{scene} is not there", expected="rasters, STAC items, or folders of rasters")
    return list(dict.fromkeys(found))


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of change of a file; zeros for one on the network."""
    if is_remote(path):
        return 0, 0
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


def _try(path: str, sensor: str | None, family: Family | None) -> dict[str, Any] | InputError:
    try:
        return describe(path, sensor, family)
    except InputError as error:
        return error


def describe(path: str, sensor: str | None = None, family: Family | None = None) -> dict[str, Any]:
    """One row of the index, from the header of a raster or the assets of a STAC item.

    Raises:
        InputError: it cannot be read, or is not georeferenced.
    """
    size, changed = _stamp(path)
    what, name = path, path
    if is_stac_item(path):
        asset = _asset(path, family)
        what, name = asset.path, asset.name
    file = read_header(what, name=name, family="sar", bands=(1,))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(what) as ds:
                usable = [i for i in range(1, ds.count + 1) if i != file.alpha]
                bands = [ds.descriptions[i - 1] or f"band {i}" for i in usable]
                tags = ds.tags()
    except RasterioError as error:
        raise unreadable(name, error) from error
    gsd = ground_sample_distance(file.geobox)
    # the vertices that a straight edge does not need go: a tenth of a pixel is the footprint's accuracy
    shape = shapely.simplify(footprint(file.geobox, _WGS84), np.nan_to_num(0.1 * gsd / _METRES_PER_DEGREE))
    if shape.is_empty:
        raise InputError(f"{name} lies nowhere on the earth", found=str(file.crs), expected="a place on the globe")
    span: Span = item_span(path) if is_stac_item(path) else name_span(Path(path).name) or tag_span(tags)
    start, stop = span or (pd.NaT, pd.NaT)
    crs = CRS.from_user_input(str(file.crs))
    epsg = crs.to_epsg(min_confidence=100)
    if sensor and len(bands) == len(SENSORS[sensor].bands):
        bands = list(SENSORS[sensor].bands)
    radar = len(usable) < 3 or file.dtype_family == "complex" or any(_RADAR.search(b.lower()) for b in bands)
    return {
        "id": Path(path).stem,
        "geometry": shape,
        "bbox": _bbox(shape),
        "datetime": start if start == stop else pd.NaT,
        "start_datetime": start,
        "end_datetime": stop,
        "gsd": gsd,
        "family": family or ("sar" if radar else "optical"),
        "sensor": sensor,
        "bands": bands,
        "dtype": file.dtype,
        "nodata": file.nodata,
        "href": path,
        "proj:epsg": epsg,
        "proj:wkt2": None if epsg else crs.to_wkt(),
        "proj:shape": list(file.shape),
        "proj:transform": [float(v) for v in file.geobox.affine[:6]],
        "file:size": size,
        "file:mtime_ns": changed,
    }


def _asset(path: str, family: Family | None) -> Asset:
    """The raster behind a STAC item: its optical assets, or else its SAR ones, unless the family is known."""
    if family is not None:
        return open_item(path, family)
    try:
        return open_item(path, "optical")
    except InputError as error:
        try:
            return open_item(path, "sar")
        except InputError:
            raise error from None


def _bbox(shape: Any) -> dict[str, float]:
    """West, south, east, north; west is greater than east over the date line."""
    west, south, east, north = (float(v) for v in shape.bounds)
    parts = getattr(shape, "geoms", [shape])
    bounds = np.array([p.bounds for p in parts])
    if len(bounds) > 1 and west == -180 and east == 180:
        left = bounds[:, 0] > 0
        if left.any() and not left.all():
            west, east = float(bounds[left, 0].min()), float(bounds[~left, 2].max())
    return {"xmin": west, "ymin": south, "xmax": east, "ymax": north}


_COLUMNS = (
    *("id", "geometry", "bbox", "datetime", "start_datetime", "end_datetime", "gsd", "family", "sensor", "bands"),
    *("dtype", "nodata", "href", "proj:epsg", "proj:wkt2", "proj:shape", "proj:transform"),
    *("file:size", "file:mtime_ns"),
)


def _write(rows: list[dict[str, Any]], output: Path) -> None:
    folder = output.absolute().parent
    table = geopandas.GeoDataFrame(sorted(rows, key=lambda r: r["href"]), geometry="geometry", crs=_WGS84)
    table = table[list(_COLUMNS)]
    # a folder that moves as a whole keeps its index
    table["href"] = [
        h if is_remote(h) or not Path(h).is_relative_to(folder) else Path(h).relative_to(folder).as_posix()
        for h in table["href"]
    ]
    for column in ("datetime", "start_datetime", "end_datetime"):
        table[column] = pd.to_datetime(table[column], utc=True).astype("datetime64[us, UTC]")
    table["proj:epsg"] = table["proj:epsg"].astype("Int32")
    table["nodata"] = table["nodata"].astype("float64")
    for column in ("sensor", "proj:wkt2"):
        table[column] = table[column].astype("string")
    with Staging(output, overwrite=True) as staging:
        try:
            table.to_parquet(staging.folder / output.name, index=False, schema_version="1.1.0")
            staging.publish(output.name)
        except OSError as error:
            raise write_failure(error, output) from error
