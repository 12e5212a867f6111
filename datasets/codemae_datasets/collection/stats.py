"""Mean, deviation and quantiles per band of any number of rasters or image files, in one or two passes over them.

A pixel counts where it is valid in the sense of the scenes and of inference: not nodata, not transparent, not masked,
finite in every band. Parts measured apart merge to what the whole would give: integers of up to 16 bits are counted by
value, so everything about them is exact; other types keep their moments in float64 (Chan, Golub and LeVeque, 1983,
equation 2.1) and find their quantiles in two passes, by the upper and then the lower half of 32-bit keys that sort as
float32 does. Memory does not depend on the number of pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from codemae_geo.errors import InputError
from codemae_geo.progress import Reporter
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.reach import open_raster
from codemae_geo.raster.scene import RASTER_SUFFIXES, is_scene_name
from codemae_geo.raster.source import find_alpha, unreadable, valid_mask
from codemae_geo.sensors import Array, Mask

#: values of all bands read at once
STRIP_VALUES = 1 << 22
#: bytes of blocks that GDAL keeps: every block is used once
CACHE_BYTES = 64 * 2**20
QUANTILES = (0.02, 0.5, 0.98)


@dataclass(frozen=True)
class BandStatistics:
    """One band. ``std`` is that of the population; ``quantiles`` are linear between values, as numpy's."""

    name: str
    count: int
    invalid: int
    mean: float
    std: float
    min: float
    max: float
    quantiles: dict[float, float]

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self) | {"quantiles": {f"{q:g}": v for q, v in self.quantiles.items()}}


# ---------------------------------------------------------------------------------------------------- counting


class Totals:
    """What the pixels of one part add up to; parts are added with ``+``.

    Args:
        bands: number of bands.
        dtype: of the stored values; complex values are measured by their amplitude.
    """

    def __init__(self, bands: int, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self.bands = bands
        self.count = np.zeros(bands, np.int64)
        self.invalid = np.zeros(bands, np.int64)
        self.mean = np.zeros(bands)
        self.squares = np.zeros(bands)  # of the deviations from the mean
        self.min = np.full(bands, np.inf)
        self.max = np.full(bands, -np.inf)
        #: pixels by value, or by the upper half of their key, int64 [bands, 256 or 65536]
        self.counts = np.zeros((bands, 256 if self.dtype.itemsize == 1 else 65536), np.int64)

    @property
    def exact(self) -> bool:
        """Whether pixels are counted by value."""
        return self.dtype.kind in "iub" and self.dtype.itemsize <= 2

    def add(self, values: Array, valid: Mask | None = None) -> None:
        """Count a block, ``[bands, h, w]`` with its mask ``[h, w]``."""
        flat = _real(values).reshape(self.bands, -1)
        if valid is not None:
            flat = flat[:, valid.ravel()]
        self.invalid += values[0].size - flat.shape[1]
        if not flat.shape[1]:
            return
        for band, pixels in enumerate(flat):
            upper = _key(pixels, self.dtype) if self.exact else _key(pixels, self.dtype) >> 16
            self.counts[band] += np.bincount(upper, minlength=self.counts.shape[1])
        self.min = np.minimum(self.min, flat.min(1))
        self.max = np.maximum(self.max, flat.max(1))
        if not self.exact:
            precise = flat.astype(np.float64)
            mean = precise.mean(1)
            self._join(np.full(self.bands, flat.shape[1]), mean, ((precise - mean[:, None]) ** 2).sum(1))
        else:
            self.count += flat.shape[1]

    def _join(self, count: Array, mean: Array, squares: Array) -> None:
        total = self.count + count
        share = count / np.maximum(total, 1)
        apart = mean - self.mean
        self.squares = self.squares + squares + apart**2 * self.count * share
        self.mean = self.mean + apart * share
        self.count = total

    def __add__(self, other: Totals) -> Totals:
        """The totals of both parts.

        Raises:
            InputError: they differ in type or number of bands.
        """
        if (self.bands, self.dtype) != (other.bands, other.dtype):
            raise InputError(
                "parts of different kinds cannot be added",
                found=f"{other.bands} bands of {other.dtype}",
                expected=f"{self.bands} bands of {self.dtype}",
            )
        both = Totals(self.bands, self.dtype)
        both.count, both.mean, both.squares = self.count, self.mean, self.squares
        both._join(other.count, other.mean, other.squares)
        both.invalid = self.invalid + other.invalid
        both.counts = self.counts + other.counts
        both.min, both.max = np.minimum(self.min, other.min), np.maximum(self.max, other.max)
        return both

    def moments(self, band: int) -> tuple[float, float]:
        """Mean and standard deviation of a band."""
        n = int(self.count[band])
        if not n:
            return float("nan"), float("nan")
        if not self.exact:
            return float(self.mean[band]), float(np.sqrt(self.squares[band] / n))
        # integers of any size: nothing is rounded before the last division
        there = np.flatnonzero(self.counts[band])
        pairs = [(int(v), int(c)) for v, c in zip(_value(there, self.dtype), self.counts[band, there], strict=True)]
        first = sum(v * c for v, c in pairs)
        second = sum(v * v * c for v, c in pairs)
        return first / n, ((n * second - first * first) / (n * n)) ** 0.5

    def wanted(self, quantiles: Sequence[float]) -> set[tuple[int, int]]:
        """The (band, upper half of the key) whose pixels a second pass has to count; none where values are."""
        if self.exact:
            return set()
        found = set()
        for band in range(self.bands):
            edges = np.cumsum(self.counts[band])
            for rank in _ranks(int(self.count[band]), quantiles):
                found.add((band, int(np.searchsorted(edges, rank, side="right"))))
        return found

    def summary(self, quantiles: Sequence[float], lower: LowerCounts | None, names: Sequence[str]) -> list[Any]:
        """The statistics of every band."""
        result = []
        for band, name in enumerate(names):
            mean, std = self.moments(band)
            count = int(self.count[band])
            values = {q: self._quantile(band, q, lower) for q in quantiles} if count else {}
            low, high = (float(self.min[band]), float(self.max[band])) if count else (float("nan"),) * 2
            result.append(BandStatistics(name, count, int(self.invalid[band]), mean, std, low, high, values))
        return result

    def _quantile(self, band: int, q: float, lower: LowerCounts | None) -> float:
        place = q * (int(self.count[band]) - 1)
        below, above = (self._ranked(band, rank, lower) for rank in (int(place), int(np.ceil(place))))
        return below + (above - below) * (place - int(place))

    def _ranked(self, band: int, rank: int, lower: LowerCounts | None) -> float:
        """The value at a rank, from 0."""
        edges = np.cumsum(self.counts[band])
        upper = int(np.searchsorted(edges, rank, side="right"))
        if self.exact:
            return float(_value(np.array([upper]), self.dtype)[0])
        assert lower is not None
        rest = rank - (int(edges[upper - 1]) if upper else 0)
        low = int(np.searchsorted(np.cumsum(lower.counts[band, upper]), rest, side="right"))
        return float(_value(np.array([upper << 16 | low]), self.dtype)[0])


class LowerCounts:
    """Second pass: pixels by the lower half of their key, for chosen upper halves; parts are added with ``+``."""

    def __init__(self, wanted: Iterable[tuple[int, int]], dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self.counts = {place: np.zeros(65536, np.int64) for place in sorted(wanted)}

    def add(self, values: Array, valid: Mask | None = None) -> None:
        """Count a block, ``[bands, h, w]`` with its mask ``[h, w]``."""
        flat = _real(values).reshape(len(values), -1)
        if valid is not None:
            flat = flat[:, valid.ravel()]
        keys: dict[int, Array] = {}
        for (band, upper), counts in self.counts.items():
            if band not in keys:
                keys[band] = _key(flat[band], self.dtype)
            inside = keys[band][keys[band] >> 16 == upper]
            counts += np.bincount(inside & 0xFFFF, minlength=65536)

    def __add__(self, other: LowerCounts) -> LowerCounts:
        both = LowerCounts(self.counts, self.dtype)
        both.counts = {place: counts + other.counts[place] for place, counts in self.counts.items()}
        return both


def _ranks(count: int, quantiles: Sequence[float]) -> set[int]:
    places = [q * (count - 1) for q in quantiles] if count else []
    return {int(p) for p in places} | {int(np.ceil(p)) for p in places}


def _real(values: Array) -> Array:
    return np.abs(values) if values.dtype.kind == "c" else values


def _key(pixels: Array, dtype: np.dtype[Any]) -> Array:
    """Whole numbers, int64, that sort as the pixels do: of 8, 16 or 32 bits."""
    if dtype.kind in "iub" and dtype.itemsize <= 4:
        low = np.iinfo(dtype).min if dtype.kind != "b" else 0
        return pixels.astype(np.int64) - low
    bits = pixels.astype(np.float32).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.int64)


def _value(keys: Array, dtype: np.dtype[Any]) -> Array:
    """The inverse of :func:`_key`."""
    if dtype.kind in "iub" and dtype.itemsize <= 4:
        return keys.astype(np.int64) + (np.iinfo(dtype).min if dtype.kind != "b" else 0)
    bits = keys.astype(np.uint32)
    return np.where(bits >> 31, bits & np.uint32((1 << 31) - 1), ~bits).astype(np.uint32).view(np.float32)


# ---------------------------------------------------------------------------------------------------- files


@dataclass(frozen=True)
class _Header:
    path: str
    bands: tuple[int, ...]
    dtype: str
    nodata: float | None
    alpha: int | None
    masked: bool
    names: tuple[str, ...]
    #: a palette's red, green and blue by index, uint8 [3, 256]; None for other files
    palette: Any = None

    @property
    def kind(self) -> tuple[int, str]:
        return len(self.names), self.dtype


def find_rasters(paths: Sequence[str | Path]) -> list[str]:
    """The rasters and images among files and folders (searched with their subfolders), sorted within each.

    Raises:
        InputError: a path is not there, or a folder holds none.
    """
    found: list[str] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(str(p) for p in path.rglob("*") if is_scene_name(p) and p.is_file())
            if not inside:
                raise InputError(
                    f"the folder {path} holds no raster", expected=f"files ending in {', '.join(RASTER_SUFFIXES)}"
                )
            found += inside
        elif path.is_file() or str(path).startswith("/vsi") or "://" in str(path):
            found.append(str(path))
        else:
            raise InputError(f"{path} is not there", expected="rasters, images, or folders of them")
    return list(dict.fromkeys(found))


def measure_rasters(
    paths: Sequence[str | Path],
    quantiles: Sequence[float] = QUANTILES,
    nodata: float | None = None,
    workers: int = 1,
    reporter: Reporter | None = None,
) -> list[BandStatistics]:
    """Statistics of every band over all valid pixels of all files.

    Args:
        paths: files and folders, see :func:`find_rasters`; all with the same number of bands and the same type.
        quantiles: from 0 to 1.
        nodata: value without a measurement; overrides the files'.
        workers: threads, each with its own share of the files.

    Raises:
        InputError: a file cannot be read, the files differ in kind, or a quantile is none.
    """
    reporter = reporter or Reporter()
    if bad := [q for q in quantiles if not 0 <= q <= 1]:
        raise InputError(f"{bad[0]:g} is not a quantile", expected="numbers from 0 to 1")
    files = find_rasters(paths)
    with gdal_env(CACHE_BYTES, threads=1):
        return _measure(files, quantiles, nodata, workers, reporter)


def _measure(
    files: Sequence[str], quantiles: Sequence[float], nodata: float | None, workers: int, reporter: Reporter
) -> list[BandStatistics]:
    headers = [_header(files[0], nodata)]
    for file in files[1:]:
        header = _header(file, nodata)
        if header.kind != headers[0].kind:
            raise InputError(
                "the files differ in kind",
                found=f"{file}: {header.kind[0]} band(s) of {header.dtype}",
                expected=f"{headers[0].kind[0]} band(s) of {headers[0].dtype}, as in {files[0]}",
                hint="measure each kind by itself",
            )
        headers.append(header)
    count, dtype = headers[0].kind
    with reporter.stage("measuring", total=len(files)):
        totals = _over(headers, lambda: Totals(count, dtype), workers, reporter)
    wanted = totals.wanted(quantiles)
    lower = None
    if wanted:
        with reporter.stage("finding quantiles", total=len(files)):
            lower = _over(headers, lambda: LowerCounts(wanted, dtype), workers, reporter)
    return totals.summary(quantiles, lower, headers[0].names)


def dtype_of(path: str | Path) -> str:
    """Type of the stored values of a raster or image.

    Raises:
        InputError: it cannot be read.
    """
    return _header(str(path), None).dtype


def _over(headers: Sequence[_Header], make: Callable[[], Any], workers: int, reporter: Reporter) -> Any:
    """One counter for each worker's share of the files, added up."""
    workers = max(1, min(workers, len(headers)))
    done = [0] * workers

    def share(number: int) -> Any:
        counter = make()
        for header in headers[number::workers]:
            for values, valid in blocks(header):
                counter.add(values, valid)
            done[number] += 1
            if number == 0:
                reporter.progress(min(sum(done), len(headers) - 1), len(headers))
        return counter

    if workers == 1:
        parts = [share(0)]
    else:
        with ThreadPoolExecutor(workers) as pool:
            parts = list(pool.map(share, range(workers)))
    reporter.progress(len(headers), len(headers))
    return reduce(lambda a, b: a + b, parts)


def _open(path: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return open_raster(path)
    except RasterioError as error:
        raise unreadable(path, error) from error


def _header(path: str, nodata: float | None) -> _Header:
    with closing(_open(path)) as ds:
        alpha, _ = find_alpha(ds)
        bands = tuple(i for i in range(1, ds.count + 1) if i != alpha)
        declared = nodata if nodata is not None else ds.nodatavals[bands[0] - 1]
        flags = ds.mask_flag_enums[bands[0] - 1]
        masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags and nodata is None
        palette = None
        names = tuple(ds.descriptions[b - 1] or f"band {b}" for b in bands)
        if ds.count == 1 and ds.colorinterp[0].name == "palette" and path.lower().endswith((".png", ".webp")):
            colors = ds.colormap(1)
            palette = np.array([colors.get(i, (0, 0, 0, 0))[:3] for i in range(256)], np.uint8).T
            names, declared, masked = ("red", "green", "blue"), nodata, False
        dtype = np.result_type(*(ds.dtypes[b - 1] for b in bands)).name
        return _Header(path, bands, dtype, declared, alpha, masked, names, palette)


def blocks(header: _Header) -> Iterator[tuple[Array, Mask]]:
    """A file strip by strip: values ``[bands, h, w]`` as stored and the valid mask ``[h, w]``.

    Raises:
        InputError: the file is damaged.
    """
    indexes = [*header.bands, *([header.alpha] if header.alpha else [])]
    with closing(_open(header.path)) as ds:
        rows = max(1, STRIP_VALUES // (ds.width * len(indexes)) // ds.block_shapes[0][0]) * ds.block_shapes[0][0]
        for row in range(0, ds.height, rows):
            place = ((row, min(row + rows, ds.height)), (0, ds.width))
            try:
                data = ds.read(indexes, window=place)
                stored = ds.read_masks(header.bands[0], window=place) if header.masked else None
            except RasterioError as error:
                raise unreadable(header.path, error) from error
            values = data[: len(header.bands)]
            if header.palette is not None:
                values = header.palette[:, values[0]]
            valid = valid_mask(values, header.nodata)
            if header.alpha:
                valid &= data[-1] != 0
            if stored is not None:
                valid &= stored != 0
            yield values, valid
