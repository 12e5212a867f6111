"""Strips of a scene on the target grid: each stored block decoded once, memory bounded by the width.

The files of a scene are grouped by *lattice* (same CRS, same pixel grid up to whole pixels). A lattice that is the
target's own is copied bit for bit; any other is mosaicked in its own pixels and warped once, so that tile borders
inside it leave no seam. The grid is worked through in fixed *chunks* of rows, whatever rows are asked for, which makes
the result independent of the asking; the chunks under the last request are kept, those above it dropped.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject

from codemae_geo.errors import InputError
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.geo import (
    apply,
    beside,
    center_lonlat,
    cover,
    edge_pixels,
    lattice_offset,
    shifted,
    transform_points,
    turned,
)
from codemae_geo.raster.scene import Scene, union_grid
from codemae_geo.raster.source import OpenSource, SourceFile, Window, read_window
from codemae_geo.sensors import Array, Conversion, Mask, Unit

#: rows of a chunk when no block height suggests a number
CHUNK_ROWS = 256
#: columns that are warped in one piece
WARP_COLS = 1024
#: source pixels that one piece may need before it is halved
WARP_SOURCE_PIXELS = 4096 * 4096
#: bounds of the block cache in bytes
MIN_CACHE, MAX_CACHE = 2**26, 2**31
#: files kept open
MAX_OPEN = 32


@dataclass(frozen=True)
class Pixels:
    """Rows of the target grid.

    Args:
        data: ``[C, rows, W]``; 0 where invalid.
        valid: ``[rows, W]``, True where there is a measurement.
    """

    data: Array
    valid: Mask


@dataclass(frozen=True)
class Layer:
    """Files on one lattice.

    Args:
        grid: the lattice, extended over all files.
        files: headers in scene order.
        spans: ``[n, 4]`` (row0, row1, col0, col1) of each file on ``grid``.
        offset: (row, column) of ``grid`` on the target, when that is its lattice; None warps.
        ratio: source pixels per target pixel along a row and a column.
        decimation: every n-th pixel is read, from overviews.
    """

    grid: GeoBox
    files: tuple[SourceFile, ...]
    spans: NDArrayInt
    offset: tuple[int, int] | None
    ratio: tuple[float, float] = (1.0, 1.0)
    decimation: int = 1


NDArrayInt = np.ndarray[Any, np.dtype[np.int64]]


class AlignedReader:
    """Reads a scene on a grid. Use it in one thread, as a context manager; what is pickled is the plan, not the files.

    Values are interpolated in the scale where averages mean something: complex numbers as amplitude (the mean of
    complex speckle is zero), dB as power. Invalid pixels take no part, and a target pixel is valid when the source
    pixel under its centre is (averaging: when any valid source pixel contributes).

    Args:
        scene: what to read.
        grid: the target grid.
        conversion: applied after resampling; None returns stored values, floats and complex as float32.
        resampling: ``auto`` averages where the target is at least twice as coarse and is bilinear elsewhere; or a name
            of ``rasterio.enums.Resampling``.
        chunk_rows: rows worked on at once; None takes about 256, in whole blocks of the source.
        cache_bytes: bound of GDAL's block cache, which is one per process; None takes what two readers like this one
            need for one row of chunks (it grows with the width, not with the height), 64 MiB at least.
        threads: decoding and warping threads; None is one per core.
        columns: read these columns alone, first and end; their values are those that the whole width has.
    """

    def __init__(
        self,
        scene: Scene,
        grid: GeoBox,
        conversion: Conversion | None = None,
        *,
        resampling: str = "auto",
        chunk_rows: int | None = None,
        cache_bytes: int | None = None,
        threads: int | None = None,
        columns: tuple[int, int] | None = None,
    ) -> None:
        if resampling != "auto" and resampling not in Resampling.__members__:
            raise InputError(
                f"unknown resampling {resampling!r}",
                found=resampling,
                expected="auto, nearest, bilinear, average, ...",
            )
        self.scene = scene
        self.grid = grid
        self.conversion = conversion
        self.resampling = resampling
        self.layers = group_layers(scene.files, grid)
        self.threads = threads
        self.columns = columns or (0, grid.shape.x)
        # pieces are warped as those of the whole width are, so that their pixels have the same bits
        self._left = self.columns[0] // WARP_COLS * WARP_COLS
        self._right = min(-(-self.columns[1] // WARP_COLS) * WARP_COLS, grid.shape.x)
        self.chunk_rows, self._phase = _chunking(self.layers, chunk_rows)
        self.cache_bytes = cache_bytes or _cache_need(self.layers, self.chunk_rows)
        self._open: OrderedDict[str, OpenSource] = OrderedDict()
        self._chunks: dict[int, Pixels] = {}

    # --- state

    def __enter__(self) -> AlignedReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files and forget the kept rows."""
        while self._open:
            self._open.popitem()[1].close()
        self._chunks.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict(), "_chunks": {}}

    # --- facts

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the target grid."""
        return self.grid.shape.yx

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the data that :meth:`read_rows` returns."""
        if self.conversion is not None:
            return np.dtype(np.uint8 if self.conversion.target == "uint8" else np.float32)
        return self._work_dtype()

    # --- reading

    def read_rows(self, row0: int, row1: int) -> Pixels:
        """Rows ``row0`` to ``row1`` (half open) of the target grid, in full width or the columns asked for.

        Asked in order, with any overlap up to the height of the last request, every chunk is made once.

        Raises:
            InputError: a file breaks off or is damaged.
        """
        rows, _ = self.shape
        if not 0 <= row0 < row1 <= rows:
            raise ValueError(f"rows {row0}..{row1} are not inside 0..{rows}")
        first, last = self._chunk_of(row0), self._chunk_of(row1 - 1)
        self._chunks = {k: v for k, v in self._chunks.items() if first <= k <= last}
        parts = []
        for k in range(first, last + 1):
            if k not in self._chunks:
                with gdal_env(self.cache_bytes, self.threads):
                    self._chunks[k] = self._make_chunk(*self._chunk_span(k))
            start, _ = self._chunk_span(k)
            rows_in = slice(max(row0 - start, 0), row1 - start)
            inside = slice(self.columns[0] - self._left, self.columns[1] - self._left)
            parts.append(Pixels(self._chunks[k].data[:, rows_in, inside], self._chunks[k].valid[rows_in, inside]))
        if len(parts) == 1:
            return parts[0]
        return Pixels(np.concatenate([p.data for p in parts], 1), np.concatenate([p.valid for p in parts]))

    def sample(self, size: int = 1024) -> tuple[Array, Mask]:
        """Patches of the whole scene in its stored unit ``[C, size, size]`` and their mask, for statistics."""
        return self.scene.sample(size)

    def _chunk_of(self, row: int) -> int:
        return (row - self._phase) // self.chunk_rows + 1 if row >= self._phase else 0

    def _chunk_span(self, k: int) -> tuple[int, int]:
        start = 0 if k == 0 else self._phase + (k - 1) * self.chunk_rows
        return start, min(self._phase + k * self.chunk_rows, self.shape[0])

    def _make_chunk(self, row0: int, row1: int) -> Pixels:
        left, right = self._left, self._right
        unit = self.scene.unit
        data = np.zeros((self.scene.band_count, row1 - row0, right - left), self._work_dtype())
        valid = np.zeros((row1 - row0, right - left), bool)
        for layer in self.layers:
            if layer.offset is not None:
                r, c = layer.offset
                for got, place in self._read_layer(layer, (row0 - r, row1 - r, left - c, right - c)):
                    _merge(data, valid, got, (place[0] + r - row0, place[2] + c - left))
            else:
                for col0 in range(left, right, WARP_COLS):
                    self._warp(layer, (row0, row1, col0, min(col0 + WARP_COLS, right)), data, valid, row0, unit)
            if valid.all():
                break
        if self.conversion is not None:
            return Pixels(self.conversion(data, valid), valid)
        return Pixels(data, valid)

    def _work_dtype(self) -> np.dtype[Any]:
        """Type in which chunks are put together: as stored, but float32 for floats and for complex (amplitude)."""
        stored = np.result_type(*{f.dtype for f in self.scene.files})
        return np.dtype(np.float32) if stored.kind in "fc" else stored

    def _read_layer(self, layer: Layer, window: Window) -> list[tuple[Pixels, Window]]:
        """The parts of the files inside a window of the layer, each with its place on the layer's grid."""
        row0, row1, col0, col1 = window
        s = layer.spans
        hit = np.flatnonzero((s[:, 0] < row1) & (s[:, 1] > row0) & (s[:, 2] < col1) & (s[:, 3] > col0))
        parts = []
        for i in hit:
            top, _, left, _ = (int(v) for v in s[i])
            part = (max(row0, top), min(row1, int(s[i, 1])), max(col0, left), min(col1, int(s[i, 3])))
            file = layer.files[i]
            inside = (part[0] - top, part[1] - top, part[2] - left, part[3] - left)
            values, ok = read_window(self._source(file).dataset, file, inside, layer.decimation)
            values = np.abs(values) if values.dtype.kind == "c" else values
            parts.append((Pixels(values, ok), part))
        return parts

    def _warp(self, layer: Layer, window: Window, data: Array, valid: Mask, top: int, unit: Unit) -> None:
        """Warp one piece of the target and merge it; a piece that needs too much of the source is halved."""
        row0, row1, col0, col1 = window
        if valid[row0 - top : row1 - top, col0 - self._left : col1 - self._left].all():
            return
        piece = shifted(self.grid, *window)
        need = _needed(piece, layer)
        if need is None:
            return
        size = (need[1] - need[0]) * (need[3] - need[2]) // layer.decimation**2
        if size > WARP_SOURCE_PIXELS and max(row1 - row0, col1 - col0) > 32:
            half_r, half_c = (row0 + row1) // 2, (col0 + col1) // 2
            halves = (
                [(row0, half_r, col0, col1), (half_r, row1, col0, col1)]
                if row1 - row0 > col1 - col0
                else [(row0, row1, col0, half_c), (row0, row1, half_c, col1)]
            )
            for half in halves:
                self._warp(layer, half, data, valid, top, unit)
            return
        source, ok = self._mosaic(layer, need)
        if not ok.any():
            return
        got = warp_pixels(
            Pixels(source, ok), _decimated(shifted(layer.grid, *need), layer.decimation), piece, unit,
            self._method(layer), (layer.ratio[0] / layer.decimation, layer.ratio[1] / layer.decimation), self.threads,
        )  # fmt: skip
        _merge(data, valid, got, (row0 - top, col0 - self._left))

    def _mosaic(self, layer: Layer, window: Window) -> tuple[Array, Mask]:
        f = layer.decimation
        row0, row1, col0, col1 = window
        shape = (-(-(row1 - row0) // f), -(-(col1 - col0) // f))
        parts = self._read_layer(layer, window)
        if len(parts) == 1 and parts[0][1] == window:
            return parts[0][0].data, parts[0][0].valid
        data = np.zeros((self.scene.band_count, *shape), self._work_dtype())
        valid = np.zeros(shape, bool)
        for got, place in parts:
            _merge(data, valid, got, ((place[0] - row0) // f, (place[2] - col0) // f))
        return data, valid

    def _method(self, layer: Layer) -> Resampling:
        if self.resampling != "auto":
            return Resampling[self.resampling]
        return Resampling.average if max(layer.ratio) / layer.decimation >= 2 else Resampling.bilinear

    def _source(self, file: SourceFile) -> OpenSource:
        if file.path in self._open:
            self._open.move_to_end(file.path)
        else:
            while len(self._open) >= MAX_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[file.path] = OpenSource(file.path, file.name, src_crs=file.src_crs, gcps=file.gcp_method)
        return self._open[file.path]


# ---------------------------------------------------------------------------------------------------- planning


@dataclass
class _Group:
    reference: GeoBox
    files: list[SourceFile] = field(default_factory=list)


def group_layers(files: Sequence[SourceFile], target: GeoBox) -> tuple[Layer, ...]:
    """Files by lattice, in the order of the first file of each."""
    groups: list[_Group] = []
    lon, _ = center_lonlat(target)
    for header in files:
        grid = turned(header.geobox, lon)  # 179 degrees east may lie beside 179 degrees west
        file = header if grid is header.geobox else replace(header, geobox=grid)
        group = next((g for g in groups if lattice_offset(g.reference, file.geobox) is not None), None)
        if group is None:
            groups.append(group := _Group(file.geobox))
        group.files.append(file)
    return tuple(_layer(group, target) for group in groups)


def _layer(group: _Group, target: GeoBox) -> Layer:
    grid = union_grid([f.geobox for f in group.files])
    spans = []
    for file in group.files:
        col, row = lattice_offset(grid, file.geobox) or (0, 0)
        spans.append((row, row + file.shape[0], col, col + file.shape[1]))
    places = np.array(spans, np.int64)
    place = lattice_offset(target, grid)
    if place is not None:
        return Layer(grid, tuple(group.files), places, (place[1], place[0]))
    ratio = _ratio(target, grid)
    return Layer(grid, tuple(group.files), places, None, ratio, _decimation(group.files, places, ratio))


def _ratio(target: GeoBox, source: GeoBox) -> tuple[float, float]:
    """Source pixels under one target pixel, along the source's rows and columns, where both grids have their middle."""
    rows, cols = source.shape.yx
    x, y = apply(source.affine, np.array([cols / 2]), np.array([rows / 2]))
    col, row = apply(~target.affine, *transform_points(x, y, source.crs, target.crs))
    if not np.isfinite([col[0], row[0]]).all():
        return 1.0, 1.0
    c = col[0] + np.array([-0.5, 0.5, 0.0, 0.0])
    r = row[0] + np.array([0.0, 0.0, -0.5, 0.5])
    u, v = apply(~source.affine, *transform_points(*apply(target.affine, c, r), target.crs, source.crs))
    along_row = float(np.hypot(u[1] - u[0], u[3] - u[2]))
    along_col = float(np.hypot(v[1] - v[0], v[3] - v[2]))
    if not np.isfinite([along_row, along_col]).all() or min(along_row, along_col) <= 0:
        return 1.0, 1.0
    return along_row, along_col


def _decimation(files: Sequence[SourceFile], spans: NDArrayInt, ratio: tuple[float, float]) -> int:
    """The largest overview factor that all files have, that keeps two source pixels per target pixel, and that fits
    the offsets between the files. Complex overviews are averages of phases, so none are used.
    """
    if np.dtype(files[0].dtype).kind == "c":
        return 1
    common = set.intersection(*(set(f.overviews) for f in files))
    fits = [f for f in common if 2 * f <= min(ratio) and not (spans[:, [0, 2]] % f).any()]
    return max(fits, default=1)


def _chunking(layers: Sequence[Layer], asked: int | None) -> tuple[int, int]:
    """Rows per chunk and the row where the second chunk starts: on block borders of the first file that is copied."""
    direct = next((layer for layer in layers if layer.offset is not None), None)
    if asked is not None:
        return asked, asked
    if direct is None:
        return CHUNK_ROWS, CHUNK_ROWS
    block = direct.files[0].block_shape[0]
    if block > 4 * CHUNK_ROWS:
        return CHUNK_ROWS, CHUNK_ROWS
    size = -(-CHUNK_ROWS // block) * block
    assert direct.offset is not None
    top = direct.offset[0] + int(direct.spans[0, 0])
    return size, top % size or size


def _cache_need(layers: Sequence[Layer], chunk_rows: int) -> int:
    """Bytes for the decoded source blocks under one row of chunks of two scenes, so that no block leaves the cache
    before its last use.
    """
    most = 0
    for layer in layers:
        blocks = max(f.block_shape[0] for f in layer.files), max(f.block_shape[1] for f in layer.files)
        rows = chunk_rows * max(layer.ratio) + 2 * max(blocks)
        length = float(np.hypot(*layer.grid.shape.yx))  # a rotated source is crossed in the diagonal
        bytes_per_pixel = max(f.count * np.dtype(f.dtype).itemsize for f in layer.files)
        most = max(most, int(rows * min(length, layer.grid.shape.x * 1.5) * bytes_per_pixel))
    return min(max(2 * most, MIN_CACHE), MAX_CACHE)


# ---------------------------------------------------------------------------------------------------- pixels


def _merge(data: Array, valid: Mask, got: Pixels, place: tuple[int, int]) -> None:
    """Write the pixels that are valid in ``got`` and not yet in ``valid``; ``place`` is (row, column)."""
    rows, cols = got.valid.shape
    here = (slice(place[0], place[0] + rows), slice(place[1], place[1] + cols))
    rows, cols = valid[here].shape
    fresh = got.valid[:rows, :cols] & ~valid[here]
    if not fresh.any():
        return
    np.copyto(data[:, *here], got.data[:, :rows, :cols], where=fresh, casting="same_kind")
    valid[here] |= fresh


def _needed(piece: GeoBox, layer: Layer) -> Window | None:
    """The window of a layer that a piece of the target needs, with a margin for the kernel; None if it misses it."""
    rows, cols = piece.shape.yx
    c, r = edge_pixels(rows, cols, 17)
    inner = np.meshgrid(np.linspace(0, cols, 9), np.linspace(0, rows, 9))  # poles lie inside, not on the outline
    c, r = np.concatenate([c, inner[0].ravel()]), np.concatenate([r, inner[1].ravel()])
    x, y = transform_points(*apply(piece.affine, c, r), piece.crs, layer.grid.crs)
    span = cover(layer.grid, beside(layer.grid, x), y)
    if span is None:
        return None
    f = layer.decimation
    margin = int(np.ceil(3 * max(*layer.ratio, f, 1))) + max(span[1] - span[0], span[3] - span[2]) // 100
    height, width = layer.grid.shape.yx
    row0, row1 = max(span[0] - margin, 0) // f * f, min(-(-(span[1] + margin) // f) * f, height)
    col0, col1 = max(span[2] - margin, 0) // f * f, min(-(-(span[3] + margin) // f) * f, width)
    return (row0, row1, col0, col1) if row0 < row1 and col0 < col1 else None


def _decimated(grid: GeoBox, f: int) -> GeoBox:
    if f == 1:
        return grid
    rows, cols = grid.shape.yx
    return GeoBox((-(-rows // f), -(-cols // f)), grid.affine * grid.affine.scale(f), grid.crs)


def warp_pixels(
    source: Pixels,
    source_grid: GeoBox,
    target: GeoBox,
    unit: Unit,
    method: Resampling,
    ratio: tuple[float, float],
    threads: int | None = None,
) -> Pixels:
    """Warp an array onto a grid; invalid pixels are NaN meanwhile, which GDAL leaves out of every kernel.

    Args:
        source: values and mask on ``source_grid``.
        source_grid: their grid.
        target: the grid wanted.
        unit: unit of the values; dB are interpolated as power.
        method: resampling.
        ratio: source pixels per target pixel along a row and a column, for the whole scene: GDAL would guess it anew,
            and differently, for every piece.
        threads: warping threads.
    """
    stored = source.data.dtype
    work = (
        np.dtype(np.float64) if stored.itemsize > 4 or (stored.kind in "iu" and stored.itemsize > 2) else np.dtype("f4")
    )
    values = source.data.astype(work)
    if unit == "db" and method != Resampling.nearest:
        np.power(10, np.divide(values, 10), out=values, where=source.valid)
    # without a hole GDAL needs no nodata value, gives the same numbers, and is twice as fast
    options: dict[str, Any] = {"init_dest_nodata": False}
    if not source.valid.all():
        values[:, ~source.valid] = np.nan
        options = {"src_nodata": np.nan, "dst_nodata": np.nan}
    out = np.full((len(values), *target.shape.yx), np.nan, work)
    reproject(
        values,
        out,
        src_transform=source_grid.affine,
        src_crs=_rio_crs(source_grid),
        dst_transform=target.affine,
        dst_crs=_rio_crs(target),
        resampling=method,
        num_threads=threads or os.cpu_count() or 1,
        tolerance=0.01,  # of a pixel; the default is an eighth
        XSCALE=_kernel_scale(ratio[0]),
        YSCALE=_kernel_scale(ratio[1]),
        **options,
    )
    valid = np.isfinite(out).all(0)
    if unit == "db" and method != Resampling.nearest:
        out = 10 * np.log10(np.maximum(out, np.finfo(work).tiny), where=valid, out=np.zeros_like(out))
    out[:, ~valid] = 0
    if stored.kind in "iu":
        info = np.iinfo(stored)
        out = np.clip(np.rint(out), info.min, info.max)
    return Pixels(out.astype(stored), valid)


def _kernel_scale(ratio: float) -> float:
    """GDAL widens its kernels by the inverse; below a quarter more source than target pixels that only blurs."""
    return 1.0 if ratio < 1.25 else 1 / ratio


def _rio_crs(grid: GeoBox) -> CRS:
    return _crs(str(grid.crs))


@lru_cache(maxsize=64)
def _crs(text: str) -> CRS:
    return CRS.from_user_input(text)
