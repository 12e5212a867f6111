"""Windows of many files on any grid, and where files lie: what the scene datasets read with.

A window that lies on the pixels of its file is copied as it is stored; anything else goes through
:class:`codemae_geo.raster.read.AlignedReader`. Files stay open, per process and thread: nothing open is pickled or used
on the far side of a fork.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from codemae_geo.errors import InputError
from codemae_geo.raster.gcps import GcpMethod
from codemae_geo.raster.geo import apply, edge_pixels, is_north_up, outline, transform_points
from codemae_geo.raster.read import AlignedReader, Pixels
from codemae_geo.raster.scene import Scene
from codemae_geo.raster.source import OpenSource, SourceFile, read_header, read_window
from codemae_geo.sensors import Array, Family, Mask, Unit

#: files kept open by one thread of one process
MAX_OPEN = 64
#: a window is copied when it lies within this part of a pixel of the file's pixels over its whole extent: interpolating
#: by less would blur, and smooth speckle, for nothing that can be seen
COPY_TOLERANCE = 0.02
#: side in pixels of the cells of a coarse mask
CELL = 16
#: larger files with overviews give their coarse mask from an overview
WHOLE_PIXELS = 4096 * 4096


# ---------------------------------------------------------------------------------------------------- open files


class _OpenFiles(threading.local):
    """The last used files of this thread; a child process starts with none."""

    def __init__(self) -> None:
        self.files: OrderedDict[tuple[Any, ...], OpenSource] = OrderedDict()
        self.inherited: list[Any] = []
        self.pid = os.getpid()

    def get(self, file: SourceFile) -> OpenSource:
        if self.pid != os.getpid():
            # a handle shares its place in the file with the parent's: it is neither used nor closed here
            self.inherited.append(self.files)
            self.files, self.pid = OrderedDict(), os.getpid()
        key = (file.path, file.src_crs, file.gcps)
        if key in self.files:
            self.files.move_to_end(key)
        else:
            while len(self.files) >= MAX_OPEN:
                self.files.popitem(last=False)[1].close()
            self.files[key] = OpenSource(file.path, file.name, src_crs=file.src_crs, gcps=file.gcp_method)
        return self.files[key]


_OPEN = _OpenFiles()


def open_source(file: SourceFile) -> OpenSource:
    """The open file behind a header, opened at first use in this thread.

    Raises:
        InputError: it cannot be opened.
    """
    return _OPEN.get(file)


def close_all() -> None:
    """Close what this thread has open, as before a file is replaced by another of the same name."""
    _close()
    header.cache_clear()
    coarse_mask.cache_clear()


@atexit.register  # later there is no GDAL to close them with
def _close() -> None:
    while _OPEN.files and _OPEN.pid == os.getpid():
        _OPEN.files.popitem()[1].close()


@lru_cache(maxsize=65536)
def header(
    path: str,
    bands: tuple[int, ...] = (1,),
    nodata: float | None = None,
    src_crs: str | None = None,
    name: str | None = None,
    gcps: GcpMethod = "tps",
    catalogue: tuple[tuple[float, float], ...] = (),
) -> SourceFile:
    """Header of a raster with any number of bands in use, read once per process.

    Raises:
        InputError: the file cannot be used, or lacks a band.
    """
    file = read_header(
        path, name=name, family="sar", bands=bands[:1], src_crs=src_crs, nodata=nodata, gcps=gcps, catalogue=catalogue
    )
    if bad := [b for b in bands if not 1 <= b <= file.count or b == file.alpha]:
        raise InputError(
            f"{file.name} has no band {bad[0]}",
            found=f"{file.count} band(s)" + (f", band {file.alpha} is alpha" if file.alpha else ""),
            expected=", ".join(str(i) for i in range(1, file.count + 1) if i != file.alpha),
        )
    return replace(file, bands=bands)


# ---------------------------------------------------------------------------------------------------- windows


class _WindowReader(AlignedReader):
    """An aligned reader of one window, with the files of this thread."""

    def _source(self, file: SourceFile) -> OpenSource:
        return open_source(file)

    def read(self) -> Pixels:
        return self._make_chunk(0, self.shape[0])


def read_files(
    files: Sequence[SourceFile], grid: GeoBox, family: Family, unit: Unit, resampling: str = "auto"
) -> tuple[Array, Mask]:
    """Files on a grid: the first valid pixel, of the files that share the grid's pixels first, else in their order.

    Args:
        files: headers with the same bands and type.
        grid: where to read; it may reach beyond the files.
        family, unit: of the values; dB are interpolated as power.
        resampling: ``auto`` or a name of ``rasterio.enums.Resampling``, see :class:`AlignedReader`.

    Returns:
        Values ``[C, h, w]`` as stored (complex as amplitude, floats as float32), 0 where invalid, and the mask
        ``[h, w]``.

    Raises:
        InputError: a file breaks off or is damaged, or the files differ in type.
    """
    places = [pixel_offset(file.geobox, grid) for file in files]
    data, valid = _copied([(f, p) for f, p in zip(files, places, strict=True) if p is not None], grid)
    others = tuple(f for f, p in zip(files, places, strict=True) if p is None)
    if not others or (data is not None and valid.all()):
        return _blank(files[0], valid) if data is None else data, valid
    if len({(f.dtype_family, len(f.bands)) for f in files}) > 1:
        raise _different(files)
    for group in (others, tuple(_turned(others))):
        if not group or (data is not None and valid.all()):
            continue
        scene = Scene(group, "scene", family, unit, "")
        with np.errstate(invalid="ignore"):  # points of the window that the file's system does not have are infinite
            got = _WindowReader(
                scene, grid, resampling=resampling, chunk_rows=grid.shape.y, cache_bytes=1, threads=1
            ).read()
        if data is None:
            data, valid = got.data, got.valid
            continue
        fresh = got.valid & ~valid
        np.copyto(data, got.data, where=fresh, casting="same_kind")
        valid = valid | fresh
    return _blank(files[0], valid) if data is None else data, valid


def _turned(files: Sequence[SourceFile]) -> Iterator[SourceFile]:
    """Files in degrees that reach over the date line, once around the earth: other systems know 180.1 as -179.9."""
    for file in files:
        if file.crs.geographic:
            box = file.geobox.boundingbox
            turn = -360.0 if box.right > 180 else 360.0 if box.left < -180 else 0.0
            if turn:
                affine = Affine.translation(turn, 0) * file.geobox.affine
                yield replace(file, geobox=GeoBox(file.shape, affine, file.crs))


def _copied(places: Sequence[tuple[SourceFile, tuple[int, int]]], grid: GeoBox) -> tuple[Array | None, Mask]:
    """Files that share the pixels of a grid, each with the (column, row) of the grid's corner in it."""
    rows, cols = grid.shape.yx
    data: Array | None = None
    valid = np.zeros((rows, cols), bool)
    for file, (col, row) in places:
        height, width = file.shape
        window = (max(row, 0), min(row + rows, height), max(col, 0), min(col + cols, width))
        if window[0] >= window[1] or window[2] >= window[3]:
            continue
        values, ok = read_window(open_source(file).dataset, file, window)
        if values.dtype.kind == "c":
            values = np.abs(values)
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        if data is None and ok.shape == valid.shape:
            if ok.all():
                return values, ok
            data, valid = np.where(ok, values, values.dtype.type(0)), ok
            continue
        if data is None:
            data = _blank(file, valid)
        elif data.dtype != values.dtype or len(data) != len(values):
            raise _different([f for f, _ in places])
        here = (slice(window[0] - row, window[1] - row), slice(window[2] - col, window[3] - col))
        fresh = ok & ~valid[here]
        np.copyto(data[:, *here], values, where=fresh)
        valid[here] |= fresh
        if valid.all():
            break
    return data, valid


def _blank(file: SourceFile, valid: Mask) -> Array:
    stored = np.dtype(file.dtype)
    return np.zeros((len(file.bands), *valid.shape), np.float32 if stored.kind in "fc" else stored)


def pixel_offset(file: GeoBox, window: GeoBox) -> tuple[int, int] | None:
    """(column, row) of a window's corner in a file when it can be copied from there; else None."""
    a, b = file.affine, window.affine
    if a.b or a.d or b.b or b.d or file.crs != window.crs:
        return None
    x, y = (b.c - a.c) / a.a, (b.f - a.f) / a.e
    rows, cols = window.shape.yx
    col, row = round(x), round(y)
    across = abs(x - col) + abs(b.a / a.a - 1) * cols
    down = abs(y - row) + abs(b.e / a.e - 1) * rows
    return (col, row) if max(across, down) <= COPY_TOLERANCE else None


def _different(files: Sequence[SourceFile]) -> InputError:
    kinds = {f"{f.dtype}, {len(f.bands)} band(s)": f.name for f in files}
    return InputError(
        "scenes of one dataset differ in type",
        found="; ".join(f"{name}: {kind}" for kind, name in kinds.items()),
        expected="one type and the same number of bands",
        hint="open each kind as a dataset of its own and join them with |",
    )


# ---------------------------------------------------------------------------------------------------- footprints


def footprint(grid: GeoBox, crs: Any) -> Any:
    """The extent of a grid in ``crs``, a shapely geometry.

    Where the system wraps around the earth (degrees, Mercator) an extent over the date line becomes two parts, and one
    over a pole reaches to the pole (RFC 7946, 3.1.9). Of a grid that reaches beyond what the system can express (the
    whole earth, in a UTM zone) it is the part that can be expressed.
    """
    if grid.crs == crs:
        return shapely.box(*grid.boundingbox.bbox) if is_north_up(grid) else outline(grid)
    period = _period(str(crs))
    if period is None:
        return outline(grid, crs) if _expressible(grid, crs) else _expressible_part(grid, crs)
    x, y = transform_points(*apply(grid.affine, *edge_pixels(*grid.shape.yx, n=129)), grid.crs, crs)
    keep = np.isfinite(x) & np.isfinite(y)
    if keep.sum() < 4:
        return shapely.Polygon()
    x, y = np.unwrap(x[keep], period=period), y[keep]
    if abs(x[-1] - x[0]) > period / 2:  # once around: a pole lies inside
        top = float(np.copysign(period / 4, y.mean()))
        x, y = np.append(x, [x[-1], x[0]]), np.append(y, [top, top])
    ring = shapely.make_valid(shapely.Polygon(np.column_stack([x, y])))
    world = shapely.box(-period / 2, -period, period / 2, period)
    turns = [shapely.intersection(shapely.affinity.translate(ring, k * period), world) for k in (-1, 0, 1)]
    parts = [p for turn in turns for p in shapely.get_parts(turn) if p.area > 0]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon([p for p in parts if p.geom_type == "Polygon"])


#: a point that comes back from another system within this share of a grid's size is one that the system can express
ROUND_TRIP = 1e-3
#: cells along either side of a grid of which the part is found that a system can express
LATTICE = 72


def _round_trip(grid: GeoBox, crs: Any, cols: Array, rows: Array) -> tuple[Array, Array, Mask]:
    """Pixel coordinates of a grid in ``crs``, and which of them come back from there."""
    here = apply(grid.affine, cols, rows)
    there = transform_points(*here, grid.crs, crs)
    back = transform_points(*there, crs, grid.crs)
    box = grid.boundingbox
    with np.errstate(invalid="ignore"):
        dx, dy = back[0] - here[0], back[1] - here[1]
        if grid.crs is not None and grid.crs.geographic:
            dx = (dx + 180) % 360 - 180  # 180.1 comes back as -179.9
        ok = np.hypot(dx / (box.right - box.left), dy / (box.top - box.bottom)) < ROUND_TRIP
    return *there, ok & np.isfinite(there[0]) & np.isfinite(there[1])


def _expressible(grid: GeoBox, crs: Any) -> bool:
    return bool(_round_trip(grid, crs, *edge_pixels(*grid.shape.yx))[2].all())


def _expressible_part(grid: GeoBox, crs: Any) -> Any:
    """The cells of a lattice over a grid whose corners come back from ``crs``, as one geometry there."""
    rows, cols = grid.shape.yx
    gx, gy = np.meshgrid(np.linspace(0, cols, LATTICE + 1), np.linspace(0, rows, LATTICE + 1))
    x, y, ok = (v.reshape(gx.shape) for v in _round_trip(grid, crs, gx.ravel(), gy.ravel()))
    corners = [(slice(None, -1), slice(None, -1)), (slice(None, -1), slice(1, None)),
               (slice(1, None), slice(1, None)), (slice(1, None), slice(None, -1))]  # fmt: skip
    whole = np.logical_and.reduce([ok[c] for c in corners])
    rings = np.stack([np.stack([x[c][whole], y[c][whole]], -1) for c in corners], 1)  # [cells, 4, 2]
    if not len(rings):
        return shapely.Polygon()
    return shapely.union_all(shapely.make_valid(shapely.polygons(rings)))


@lru_cache(maxsize=64)
def _period(crs: str) -> float | None:
    """Width of the world where x depends on the longitude alone and 0 is Greenwich; None in all other systems."""
    lon, lat = np.array([-90.0, -90.0, 0.0, 90.0]), np.array([0.0, 60.0, 30.0, 45.0])
    x, _ = transform_points(lon, lat, "EPSG:4326", crs)
    if not np.isfinite(x).all() or x[0] == 0:
        return None
    return float(4 * x[3]) if np.allclose(x / x[3], [-1, -1, 0, 1], atol=1e-9) else None


# ---------------------------------------------------------------------------------------------------- coarse masks


@lru_cache(maxsize=4096)
def coarse_mask(file: SourceFile) -> tuple[int, Mask] | None:
    """Which cells of a file are wholly valid, ``[ceil(rows / cell), ceil(columns / cell)]``, with the cell's side.

    Exact where the file has no overviews or is small; else from an overview, less one cell around every hole, which may
    miss holes smaller than a pixel of that overview. None: nothing in the header makes a pixel invalid.

    Raises:
        InputError: the file cannot be read.
    """
    if not file.mask:
        return None
    dataset = open_source(file).dataset
    rows, cols = file.shape
    factor = max((f for f in file.overviews if f <= CELL), default=1) if rows * cols > WHOLE_PIXELS else 1
    parts = []
    strip = CELL * max(1, -(-max(256, file.block_shape[0]) // CELL))
    for row in range(0, rows, strip):
        _, ok = read_window(dataset, file, (row, min(row + strip, rows), 0, cols), factor)
        parts.append(_all_in_cells(ok, CELL // factor))
    mask = np.concatenate(parts)
    if factor > 1:
        padded = np.pad(mask, 1, constant_values=True)
        near = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
        mask = np.asarray(near.all((2, 3)))
    return CELL, mask


def _all_in_cells(ok: Mask, cell: int) -> Mask:
    rows, cols = (-(-n // cell) for n in ok.shape)
    padded = np.pad(ok, ((0, rows * cell - ok.shape[0]), (0, cols * cell - ok.shape[1])), constant_values=True)
    return np.asarray(padded.reshape(rows, cell, cols, cell).all((1, 3)))


def valid_points(file: SourceFile, x: Array, y: Array, crs: Any) -> Mask:
    """Which points of ``crs`` lie in a wholly valid cell of a file."""
    u, v = transform_points(x, y, crs, file.crs)
    with np.errstate(invalid="ignore"):
        col, row = apply(~file.geobox.affine, u, v)
        inside = (col >= 0) & (row >= 0) & (col < file.shape[1]) & (row < file.shape[0])
    if inside.any() and (coarse := coarse_mask(file)) is not None:
        cell, mask = coarse
        inside[inside] = mask[(row[inside] // cell).astype(int), (col[inside] // cell).astype(int)]
    return inside
