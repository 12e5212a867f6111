"""Optical, SAR and label rasters as torchgeo datasets, and what ``&`` and ``|`` make of them.

``OpticalScenes(folder) & SARScenes(folder)`` are pairs of the same place, ``a | b`` is a mosaic. Every sample has a
``valid`` mask: a pixel without a measurement (nodata, alpha, NaN, outside all files) is False there and 0 in the image.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
import torch
from affine import Affine
from odc.geo.crs import CRS as OdcCRS
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.enums import ColorInterp

from codemae_datasets._compat import (
    GeoDataset,
    IntersectionDataset,
    NoScenesError,
    Query,
    RasterDataset,
    UnionDataset,
    compose_from_the_right,
    query_tensors,
    resolve,
)
from codemae_datasets._lookup import ALWAYS, UNDATED, Lookup, named_as, read_rows
from codemae_datasets._plot import Panel, draw, image_panel, mask_panel
from codemae_datasets.reading import footprint, header, open_source, read_files, valid_points
from codemae_datasets.times import end_of_day, item_span, name_span, tag_span
from codemae_geo.classes import NODATA, ClassTable
from codemae_geo.errors import InputError, number
from codemae_geo.raster.env import is_remote
from codemae_geo.raster.evidence import agreed
from codemae_geo.raster.gcps import GcpMethod
from codemae_geo.raster.geo import is_north_up, local_scale
from codemae_geo.raster.scene import RASTER_SUFFIXES, expand_paths
from codemae_geo.raster.source import SourceFile, choose_bands, read_window, sample_files
from codemae_geo.raster.stac import Asset, is_stac_item, open_item
from codemae_geo.sensors import SENSORS, Conversion, Family, Mask, Sensor, Stretch, Unit, detect_unit, plan_conversion

#: (left, bottom, right, top) in CRS units
Bounds = tuple[float, float, float, float]
Sample = dict[str, Any]


class _Algebra(GeoDataset):
    """``&`` and ``|`` that keep the valid mask, and the questions that samplers ask."""

    def __and__(self, other: GeoDataset) -> ScenePairs:
        return ScenePairs(self, other)

    def __rand__(self, other: GeoDataset) -> ScenePairs:
        return ScenePairs(other, self)

    def __or__(self, other: GeoDataset) -> SceneUnion:
        return SceneUnion(self, other)

    def __ror__(self, other: GeoDataset) -> SceneUnion:
        return SceneUnion(other, self)

    @property
    def index(self) -> Any:
        """The table of scenes: a GeoDataFrame with the files and their extents, by their spans of time."""
        return self._index

    @index.setter
    def index(self, new: Any) -> None:
        self._index = new if self._index is None else named_as(self._index, new)

    _index: Any = None

    def plot(self, sample: Mapping[str, Any], show_titles: bool = True, suptitle: str | None = None) -> Any:
        """A picture of a sample: each image stretched from its 2nd to its 98th percentile, masks in their colours.

        Args:
            sample: of this dataset, or of a batch taken apart by ``unbind_samples``; a ``prediction`` is shown as well.
            show_titles: whether the panels have titles.
            suptitle: title of the whole.

        Returns:
            the matplotlib figure.
        """
        return draw(list(self._panels(sample)), show_titles, suptitle)

    def _panels(self, sample: Mapping[str, Any]) -> Iterator[Panel]:
        """Images, then masks, of a sample."""
        valid, image, start = sample.get("valid"), sample.get("image"), 0
        if image is not None and (image.ndim == 4 or "image_post" in sample):  # two dates
            dates = list(image) if image.ndim == 4 else [image, sample["image_post"]]
            yield from (image_panel(t, date, valid) for t, date in zip(("before", "after"), dates, strict=True))
        elif image is not None:
            for title, count in self._parts():
                part = image[start:] if count is None else image[start : start + count]
                start += len(part)
                if len(part):
                    yield image_panel(title, part, valid)
        if "image_sar" in sample:
            yield image_panel("SAR", sample["image_sar"], valid)
        colors = self._colors()
        for key in ("mask", "prediction"):
            for mask in () if key not in sample else sample[key] if sample[key].ndim == 3 else [sample[key]]:
                yield mask_panel(key, mask, colors)

    def _parts(self) -> list[tuple[str, int | None]]:
        """Title and number of channels of every image that the samples have side by side; None is all that are left."""
        return [("image", None)]

    def _colors(self) -> list[str]:
        """Colours (#rrggbb) of the classes of the masks, where they are known."""
        return []

    #: whether every window inside a footprint is known to be valid
    solid = False
    _lookup: Lookup | None = None

    @property
    def bounds(self) -> Query:
        """Extent in space and time: slices of x, y and t, with the resolution as their steps."""
        return self._look().bounds(self.res)

    def _look(self) -> Lookup:
        """Arrays of the index, made again when ``index`` was replaced."""
        if self._lookup is None or self._lookup.source is not self.index:
            self._lookup = Lookup(self.index)
        return self._lookup

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lookup": None}

    def valid_at(self, x: np.ndarray, y: np.ndarray, time: slice | None = None) -> Mask:
        """Whether there is a measurement near each point, from coarse masks: False for up to a cell around holes.

        Args:
            x, y: coordinates in the dataset's CRS.
            time: (start, stop); None is any time.
        """
        raise NotImplementedError

    def snap(self, left: float, top: float, name: str) -> tuple[float, float]:
        """The first pixel corner of the file ``name`` at or right of ``left`` and at or below ``top``, if the file has
        the dataset's CRS and resolution; else the place itself.
        """
        raise NotImplementedError


compose_from_the_right(_Algebra)  # type: ignore[type-abstract]


class Scenes(_Algebra, RasterDataset):
    """Rasters of one kind, in any mixture of coordinate reference systems.

    The sample: ``image`` float32 ``[C, H, W]``, ``valid`` bool ``[H, W]``, ``bounds`` and ``transform`` float64 ``[9]``
    as torchgeo 0.9 has them. Values are as stored unless ``unit`` or ``stretch`` say otherwise; invalid pixels are 0.
    Windows on the pixels of a file are copied, all others interpolated as GDAL's warper does it (dB as power). Where
    files overlap, the first valid pixel wins: files on the window's own pixels come first, then the order of the index.

    The time of a file comes from ``filename_regex`` and ``date_format`` where a subclass sets them as in torchgeo, else
    from its STAC item, a date in its name, or its tags; without any it lies at all times.

    Args:
        paths: files, folders (searched with subfolders), patterns, URLs, STAC items.
        crs, res: of the samples; None is that of the first file.
        bands: numbers from 1, or names: the sensor's, or the files' band descriptions. None is red, green and blue of
            optical files (the first band of files with fewer than three), the first polarisation of SAR files.
        transforms: applied to every sample.
        cache: kept for torchgeo; files always stay open for the next window.
        sensor: a name of :data:`codemae_geo.sensors.SENSORS`: its bands and unit.
        source_unit: unit of the stored values, where it is to be converted; None asks the sensor, then the values.
        unit: the unit wanted, any of :data:`codemae_geo.sensors.UNITS`; None is as stored. ``uint8`` stretches
            as the models' training data was: quantiles over all scenes.
        stretch: (low, high), in ``unit``, become 0 and 255; for ``unit="uint8"`` see
            :func:`codemae_geo.sensors.plan_conversion`.
        nodata: value without a measurement, overrides the files'.
        src_crs: of files that name none.
        resampling: ``auto`` (averages where the samples are at least twice as coarse, else bilinear), or a name of
            ``rasterio.enums.Resampling``.
        gcps: how ground control points are used, of files that have nothing else: ``tps`` is a thin-plate spline,
            ``1``, ``2`` or ``3`` a polynomial of this order.

    Raises:
        NoScenesError: no raster there; an InputError and a DatasetNotFoundError.
        InputError: unreadable file, wrong band or sensor, or no way to the unit.
    """

    filename_glob = "*"
    is_image = True
    family: Family = "optical"

    def __init__(
        self,
        paths: str | Path | Iterable[str | Path] = "data",
        crs: Any = None,
        res: float | tuple[float, float] | None = None,
        bands: Sequence[int | str] | None = None,
        transforms: Callable[[Sample], Sample] | None = None,
        cache: bool = True,
        *,
        sensor: str | None = None,
        source_unit: Unit | None = None,
        unit: Unit | None = None,
        stretch: Stretch | None = None,
        nodata: float | None = None,
        src_crs: str | None = None,
        resampling: str | None = None,
        gcps: GcpMethod = "tps",
    ) -> None:
        self._configure(paths, transforms, cache, sensor, nodata, src_crs, resampling, gcps)
        self._opened: dict[str, Asset] = {}
        names = self.files
        self.band_indexes: Any = self._choose(bands, names[0])
        grids, times = [], []
        for name in names:
            file = self._header(name)
            grids.append(file.geobox)
            times.append(self._time(name, file))
        self._set_index(names, grids, times, crs, res)
        self._plan_units(source_unit, unit, stretch)

    @classmethod
    def from_index(
        cls,
        index: Any,
        crs: Any = None,
        res: float | tuple[float, float] | None = None,
        bands: Sequence[int | str] | None = None,
        transforms: Callable[[Sample], Sample] | None = None,
        *,
        sensor: str | None = None,
        source_unit: Unit | None = None,
        unit: Unit | None = None,
        stretch: Stretch | None = None,
        nodata: float | None = None,
        resampling: str | None = None,
    ) -> Any:
        """Open scenes that are listed in a table, without touching the files.

        Args:
            index: a path that :func:`codemae_datasets.collection.index.read_index` reads, or a GeoDataFrame with the
                columns ``href``, ``crs`` (or ``proj:code``), ``transform`` and ``shape`` (or ``proj:...``), and
                ``datetime`` (or ``start_datetime`` and ``end_datetime``). Where it has a column ``family``, only the
                rows of this class's count.
            bands: as in the class; names that are not the sensor's are looked up in the first file.
            crs, res, transforms, sensor, source_unit, unit, stretch, nodata, resampling: as in the class; a unit that
                has to be measured reads some files.

        Raises:
            InputError: a column is missing, or the table is empty.
        """
        if isinstance(index, str | Path):
            from codemae_datasets.collection.index import read_index

            index = read_index(Path(index))
        self = cls.__new__(cls)
        if "family" in index.columns and cls.is_image:
            index = index[index["family"] == cls.family]
        names, grids, times = read_rows(index)
        self._configure(names, transforms, True, sensor, nodata, None, resampling)
        self._opened, self._listed = {}, True
        if bands is None and sensor is None and "bands" in index.columns:
            held = [str(b) for b in index["bands"].iloc[0]]
            self.all_bands = tuple(held)
            dtypes = [str(index["dtype"].iloc[0])] * len(held) if "dtype" in index.columns else ["uint8"] * len(held)
            unseen = [ColorInterp.undefined] * len(held)
            self.band_indexes = (1,)
            if cls.is_image and (cls.family == "sar" or len(held) >= 3):
                self.band_indexes = choose_bands(names[0], cls.family, len(held), None, unseen, held, dtypes)[0]
            self.bands = tuple(held[b - 1] for b in self.band_indexes)
        else:
            self.band_indexes = self._choose(bands, names[0])
        self._set_index(names, grids, times, crs, res)
        self._plan_units(source_unit, unit, stretch)
        return self

    def _parts(self) -> list[tuple[str, int | None]]:
        title = "SAR" if self.family == "sar" else "optical"
        return [(title, len(self.band_indexes))] if self.is_image else []

    # --- construction

    def _configure(
        self, paths: Any, transforms: Any, cache: bool, sensor: str | None, nodata: Any, src_crs: Any, how: str | None,
        gcps: GcpMethod = "tps",
    ) -> None:  # fmt: skip
        if sensor is not None and (sensor not in SENSORS or SENSORS[sensor].family != self.family):
            fit = [s.name for s in SENSORS.values() if s.family == self.family]
            raise InputError(f"there is no {self.family} sensor {sensor!r}", expected=", ".join(fit))
        self.paths = paths
        self.transforms, self.cache = transforms, cache
        self.sensor: Sensor | None = SENSORS[sensor] if sensor else None
        self._nodata, self._src_crs, self._gcps = nodata, src_crs, gcps
        self._how = how or ("auto" if self.is_image else "nearest")
        self._listed = False  # known from a table, so the files' headers have not been seen

    @property
    def files(self) -> list[str]:
        """All rasters and STAC items in ``paths``, sorted.

        Raises:
            NoScenesError: a path does not exist, or there is no raster.
        """
        if hasattr(self, "_grids"):
            return list(self._grids)
        given: Any = self.paths
        listed = [given] if isinstance(given, str | Path) else list(given)
        found: list[str] = []
        for path in map(str, listed):
            if is_remote(path) or path.startswith("/vsi"):
                found.append(path)
            elif Path(path).is_dir():
                inside = sorted(Path(path).rglob(self.filename_glob))
                found += [str(p) for p in inside if p.suffix.lower() in RASTER_SUFFIXES and p.is_file()]
            elif any(c in path for c in "*?["):
                found += expand_paths([path], "scene")
            elif not Path(path).exists():
                raise NoScenesError(
                    f"the data folder {path} does not exist", expected="a folder of GeoTIFF scenes, or a file"
                )
            else:
                found.append(path)
        pattern = re.compile(self.filename_regex, re.VERBOSE)
        found = [f for f in dict.fromkeys(found) if pattern.match(Path(f).name)]
        if not found:
            raise NoScenesError(
                f"there is no GeoTIFF in {', '.join(map(str, listed))}",
                expected=f"files ending in {', '.join(RASTER_SUFFIXES)}",
            )
        return sorted(found)

    def _what(self, name: str) -> Asset:
        """What GDAL opens for a file or STAC item, and what people call it."""
        if not is_stac_item(name):
            return Asset(name, name)
        if name not in self._opened:
            wanted = list(self._assets) if self._assets else None
            self._opened[name] = open_item(name, self.family, wanted)
        return self._opened[name]

    #: names of the assets of STAC items; a subclass may set them
    _assets: tuple[str, ...] = ()

    def _header(self, name: str) -> SourceFile:
        return self._open_header(name, self.band_indexes)

    def _open_header(self, name: str, bands: tuple[int, ...]) -> SourceFile:
        what = self._what(name)
        return header(what.path, bands, self._nodata, self._src_crs, what.name, self._gcps, what.scaling)

    def _choose(self, bands: Sequence[int | str] | None, name: str) -> tuple[int, ...]:
        """Band numbers from numbers or names: of the sensor, of the class, or of a file."""
        own = self.sensor.bands if self.sensor is not None else type(self).all_bands if self.is_image else ()
        lower = [n.lower() for n in own]
        if own and bands is None:
            wanted = {"red", "green", "blue"} & set(own) or {"B04", "B03", "B02"} & set(own)
            bands = [n for n in ("red", "green", "blue", "B04", "B03", "B02") if n in wanted]
            bands = bands or list(type(self).rgb_bands) or (list(own) if self.sensor is None else own[:1])
        if own and bands is not None and all(isinstance(b, int) or b.lower() in lower for b in bands):
            names: Sequence[str] = own
            self.all_bands = tuple(own)
        elif bands is not None and all(isinstance(b, int) for b in bands):
            names = ()
        else:
            file = self._open_header(name, (1,))
            dataset = open_source(file).dataset
            names = [d or "" for d in dataset.descriptions]
            self.all_bands = tuple(own) or tuple(n for n in names if n)
            if bands is None:
                usable = [i for i in range(1, file.count + 1) if i != file.alpha]
                colors = () if self.family == "sar" else dataset.colorinterp  # SAR in three equal bands is SAR
                bands = usable[:1]
                if self.is_image and (self.family == "sar" or len(usable) >= 3):
                    bands, _ = choose_bands(
                        file.name, self.family, file.count, file.alpha, colors, dataset.descriptions, dataset.dtypes
                    )
        numbers = []
        for band in bands:
            if isinstance(band, int):
                numbers.append(band)
                continue
            places = [
                known.index(band.lower()) for known in (lower, [n.lower() for n in names]) if band.lower() in known
            ]
            if not places:
                valid = ", ".join(dict.fromkeys(n for n in (*own, *names) if n))
                raise InputError(
                    f"these bands cannot be used: there is no {band!r}",
                    found=band,
                    expected=valid or "numbers: the files do not name their bands",
                )
            numbers.append(places[0] + 1)
        if not numbers or min(numbers) < 1:
            raise InputError("these bands cannot be used", found=str(list(bands)), expected="numbers from 1, or names")
        self.bands = tuple(str(b) for b in bands)
        return tuple(numbers)

    def _time(self, name: str, file: SourceFile) -> tuple[pd.Timestamp, pd.Timestamp]:
        match = re.match(self.filename_regex, Path(name).name, re.VERBOSE)
        groups = match.groupdict() if match else {}
        if "date" in groups or "start" in groups:
            first, last = groups.get("date") or groups["start"], groups.get("date") or groups["stop"]
            start = pd.to_datetime(first, format=self.date_format)
            stop = pd.to_datetime(last, format=self.date_format)
            return start, end_of_day(stop)
        if is_stac_item(name):
            return item_span(name) or ALWAYS
        return name_span(Path(name).name) or tag_span(open_source(file).raw.tags()) or ALWAYS

    def _set_index(
        self, names: Sequence[str], grids: Sequence[GeoBox], times: Sequence[Any], crs: Any, res: Any
    ) -> None:
        self._grids = dict(zip(names, grids, strict=True))
        target = OdcCRS(str(grids[0].crs) if crs is None else _crs_text(crs))
        if res is None:
            first = grids[0]
            if first.crs == target and is_north_up(first):
                res = (float(first.affine.a), float(-first.affine.e))
            else:
                size = local_scale(first, str(target))
                if not np.isfinite(size) or size <= 0:
                    raise InputError(f"{names[0]} cannot be expressed in {target}", hint="give another crs")
                res = (size, size)
        self._res = _pair(res)
        self._write_index(list(names), times, target)

    def _write_index(self, names: list[str], times: Any, target: OdcCRS) -> None:
        intervals = (
            times
            if isinstance(times, pd.IntervalIndex)
            else pd.IntervalIndex.from_tuples(list(times), closed="both", name="datetime")
        )
        shapes = [footprint(self._grids[name], target) for name in names]
        self.index = geopandas.GeoDataFrame(
            {"filepath": names}, index=intervals, geometry=shapes, crs=CRS.from_user_input(str(target))
        )
        self._crs = target
        self._solid: bool | None = None

    def _plan_units(self, source: Unit | None, unit: Unit | None, stretch: Stretch | None) -> None:
        self.unit, self.stretch = unit, None
        self._conversion: Conversion | None = None
        if unit is not None:
            files = [self._header(name) for name in self._some(64)]
            known = (
                self.sensor if self.sensor and not files[0].scaling else None
            )  # the sensor's unit is of stored values
            source = source or (known.unit if known else None)
            scale = (known.scale, known.offset) if known and known.unit == "dn" else (1e-4, 0.0)
            sample, valid = sample_files(files)
            said = agreed([f.said for f in files]) if self.family == "sar" else ()
            source = source or detect_unit(self.family, files[0].dtype, sample, valid, said)[0]
            self._conversion = plan_conversion(
                self.family, source, unit, sample, valid, stretch=stretch or "auto", scale=scale[0], offset=scale[1]
            )
        elif isinstance(stretch, str):
            raise InputError("a stretch by name needs a unit", found=stretch, expected='unit="uint8"')
        if stretch is not None and unit != "uint8" and not isinstance(stretch, str):
            low, high = float(stretch[0]), float(stretch[1])
            if not low < high:
                raise InputError("the stretch is empty", found=f"{low:g} to {high:g}", expected="low below high")
            self.stretch = (low, high)
        self._source_unit: Unit | None = source or (self.sensor.unit if self.sensor else None)

    def _unit_of(self, file: SourceFile) -> Unit:
        """What the values are while they are interpolated: only decibels matter, and only floats can be such."""
        if self.family != "sar" or np.dtype(file.dtype).kind != "f":
            return "amplitude" if self.family == "sar" else "reflectance"
        if self._source_unit is None:
            files = [self._header(name) for name in self._some(4)]
            said = agreed([f.said for f in files])
            self._source_unit = detect_unit("sar", file.dtype, *sample_files(files, 256), said)[0]
        return self._source_unit

    def _some(self, count: int) -> list[str]:
        names = list(self._grids)
        return [names[int(i)] for i in np.linspace(0, len(names) - 1, min(count, len(names)))]

    # --- torchgeo's surface

    @property
    def resampling(self) -> Any:
        """Name of the resampling."""
        return self._how

    @property
    def crs(self) -> Any:
        """CRS of the samples; setting it also converts the resolution."""
        return self.index.crs

    @crs.setter
    def crs(self, new: Any) -> None:
        target = OdcCRS(_crs_text(new))
        if target == self._crs:
            return
        first = next(iter(self._grids.values()))
        ratio = local_scale(first, str(target)) / local_scale(first, str(self._crs))
        if not np.isfinite(ratio) or ratio <= 0:
            raise InputError(f"the scenes cannot be expressed in {target}", hint="give another crs")
        self._write_index(list(self.index["filepath"]), self.index.index, target)
        self._res = (self._res[0] * ratio, self._res[1] * ratio)

    @property
    def res(self) -> tuple[float, float]:
        """Pixel size (x, y) of the samples in units of the CRS."""
        return self._res

    @res.setter
    def res(self, new: float | tuple[float, float]) -> None:
        self._res = _pair(new)

    def __getitem__(self, query: Any) -> Sample:
        """The sample of a window.

        Args:
            query: ``[x0:x1:xres, y0:y1:yres, t0:t1:tstep]``; what is left open is the dataset's.

        Raises:
            IndexError: no file there.
            InputError: a file breaks off or is damaged.
        """
        place = resolve(query, self.bounds)
        data, valid, files = self._read(place)
        sample = query_tensors(place) | self._tensors(data, valid, files)
        return self.transforms(sample) if self.transforms is not None else sample

    def _read(self, place: Query) -> tuple[np.ndarray, Mask, list[SourceFile]]:
        """Values of a window as stored, the valid mask, and the files."""
        x, y, t = place
        names = self._look().hits(x.start, y.start, x.stop, y.stop, t.start, t.stop, self._res)[:: int(t.step or 1)]
        if not names:
            raise IndexError(f"query: {place} not found in index with bounds: {self.bounds}")
        shape = (max(round((y.stop - y.start) / y.step), 1), max(round((x.stop - x.start) / x.step), 1))
        grid = GeoBox(shape, Affine(x.step, 0.0, x.start, 0.0, -y.step, y.stop), self._crs)
        files = [self._header(name) for name in names]
        data, valid = read_files(files, grid, self.family, self._unit_of(files[0]), self._how)
        return data, valid, files

    def _tensors(self, data: np.ndarray, valid: Mask, files: Sequence[SourceFile]) -> Sample:
        image = torch.empty(data.shape)
        self._fill(image.numpy(), data, valid)
        return {"image": image, "valid": torch.from_numpy(valid)}

    def _fill(self, out: np.ndarray, data: np.ndarray, valid: Mask) -> None:
        """Convert stored values into ``out``, float32 of the same shape."""
        out[...] = data if self._conversion is None else self._conversion(data, valid)
        if self.stretch is not None:
            low, high = self.stretch
            np.clip((out - low) * (255 / (high - low)), 0, 255, out=out)
            out *= valid

    # --- for samplers

    @property
    def solid(self) -> bool:  # type: ignore[override]
        """Whether no file has a way to mark pixels invalid, and all lie straight in the dataset's CRS."""
        if self._solid is None:
            self._solid = not self._listed and all(
                g.crs == self._crs and is_north_up(g) and not self._header(n).mask for n, g in self._grids.items()
            )
        return self._solid

    def valid_at(self, x: np.ndarray, y: np.ndarray, time: slice | None = None) -> Mask:
        """See :meth:`_Algebra.valid_at`."""
        t = time or self.bounds[2]
        names = self._look().hits(x.min(), y.min(), x.max(), y.max(), t.start, t.stop, self._res, touch=True)
        valid = np.zeros(x.shape, bool)
        for name in names:
            rest = ~valid
            valid[rest] = valid_points(self._header(name), x[rest], y[rest], self._crs)
            if valid.all():
                break
        return valid

    def snap(self, left: float, top: float, name: str) -> tuple[float, float]:
        """See :meth:`_Algebra.snap`."""
        grid = self._grids.get(name)
        if grid is None or grid.crs != self._crs or not is_north_up(grid):
            return left, top
        a = grid.affine
        if not np.allclose((a.a, -a.e), self._res, rtol=1e-4):
            return left, top
        return a.c + math.ceil((left - a.c) / a.a - 1e-3) * a.a, a.f + math.ceil((top - a.f) / a.e - 1e-3) * a.e


class OpticalScenes(Scenes):
    """Optical scenes, see :class:`Scenes`. ``image`` has the bands in the order asked."""

    family: Family = "optical"


class SARScenes(Scenes):
    """SAR scenes, see :class:`Scenes`. Complex values come as amplitude; dB are interpolated as power."""

    family: Family = "sar"


class LabelScenes(Scenes):
    """Class rasters: ``mask`` int64 ``[H, W]`` instead of an image, interpolated by the nearest pixel.

    Args:
        classes: the classes there are; a value outside them is an error. None takes any value.
        ignore: value of pixels that are not valid.
        paths, others: see :class:`Scenes`.

    Raises:
        InputError: also, on reading, a value outside the classes, with the file.
    """

    is_image = False
    classes: ClassTable | None = None
    ignore: int = NODATA

    def __init__(
        self, paths: str | Path | Iterable[str | Path], classes: ClassTable | None = None, ignore: int = NODATA,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(paths, **kwargs)
        self.classes, self.ignore = classes, ignore

    @property
    def dtype(self) -> torch.dtype:
        """int64."""
        return torch.long

    def _tensors(self, data: np.ndarray, valid: Mask, files: Sequence[SourceFile]) -> Sample:
        values = np.where(valid, data[0].astype(np.int64), self.ignore)
        if self.classes is not None and (bad := set(np.unique(values[valid]).tolist()) - set(range(len(self.classes)))):
            raise InputError(
                f"{files[0].name} holds a value that is not a class",
                found=", ".join(map(str, sorted(bad))) + (f" (or in {files[1].name})" if len(files) > 1 else ""),
                expected=", ".join(f"{c.value} {c.name}" for c in self.classes),
            )
        return {"mask": torch.from_numpy(values), "valid": torch.from_numpy(valid)}

    def _colors(self) -> list[str]:
        return [c.color for c in self.classes or ()]

    def strips(self, rows: int) -> Iterator[tuple[GeoBox, Iterator[tuple[int, np.ndarray, Mask]]]]:
        """Every file once: its grid, and strips of ``rows`` rows as (first row, values ``[h, W]``, valid mask)."""
        for name in self.files:
            file = self._header(name)
            yield file.geobox, self._strips(file, rows)

    def _strips(self, file: SourceFile, rows: int) -> Iterator[tuple[int, np.ndarray, Mask]]:
        height, width = file.shape
        block = max(rows, 256 // rows * rows)
        for top in range(0, height, block):
            values, valid = read_window(open_source(file).dataset, file, (top, min(top + block, height), 0, width))
            for row in range(0, values.shape[1], rows):
                yield top + row, values[0, row : row + rows].astype(np.int64), valid[row : row + rows]


# ---------------------------------------------------------------------------------------------------- & and |


class ScenePairs(_Algebra, IntersectionDataset):
    """Samples of two datasets of the same place: what ``a & b`` gives.

    As in torchgeo the images are joined along the channels, first dataset first, in the first one's CRS and resolution.
    Unlike there the dates may differ (a pair of optical and SAR hardly ever shares one), and ``valid`` is where both
    are valid. The index holds one entry per pair of files that overlap, its time the span of both.

    Args:
        dataset1, dataset2: any geo datasets.
        max_days: pairs further apart in time are left out; None takes all.
        split: keep the second image apart as ``image_sar``.
        transforms: applied to every sample.

    Raises:
        InputError: they do not overlap.
    """

    def __init__(
        self,
        dataset1: GeoDataset,
        dataset2: GeoDataset,
        max_days: float | None = None,
        split: bool = False,
        transforms: Callable[[Sample], Sample] | None = None,
    ) -> None:
        for dataset in (dataset1, dataset2):
            if not isinstance(dataset, GeoDataset):
                raise ValueError("only geo datasets intersect")
        self.datasets = [dataset1, dataset2]
        self.max_days, self.split, self.transforms = max_days, split, transforms
        self.collate_fn = split_samples if split else pair_samples
        dataset2.crs, dataset2.res = dataset1.crs, dataset1.res
        self.index = _intersect(dataset1, dataset2, max_days)

    @property
    def crs(self) -> Any:
        """CRS of both."""
        return self.datasets[0].crs

    @crs.setter
    def crs(self, new: Any) -> None:
        for dataset in self.datasets:
            dataset.crs = new
        self.index = _intersect(self.datasets[0], self.datasets[1], self.max_days)

    def __getitem__(self, query: Any) -> Sample:
        """See :class:`Scenes`; an open end of the query is the end of the overlap."""
        place = resolve(query, self.bounds)
        one, two = self.datasets
        if self.collate_fn is pair_samples and _plain(one) and _plain(two):
            sample = self._read_both(one, two, place)
        else:
            sample = self.collate_fn([dataset[place] for dataset in self.datasets])
        return self.transforms(sample) if self.transforms is not None else sample

    def _parts(self) -> list[tuple[str, int | None]]:
        parts = [parts_of(dataset) for dataset in self.datasets]
        return parts[0] if self.split else parts[0] + parts[1]

    def _colors(self) -> list[str]:
        return next((c for c in map(colors_of, self.datasets) if c), [])

    @staticmethod
    def _read_both(one: Any, two: Any, place: Query) -> Sample:
        """What :func:`pair_samples` makes of both samples, converted straight into one image."""
        (a, valid, _), (b, other, _) = one._read(place), two._read(place)
        image = torch.empty(len(a) + len(b), *valid.shape)
        one._fill(image[: len(a)].numpy(), a, valid)
        two._fill(image[len(a) :].numpy(), b, other)
        return query_tensors(place) | {"image": image, "valid": torch.from_numpy(valid & other)}

    @property
    def solid(self) -> bool:  # type: ignore[override]
        """Whether both are."""
        return all(getattr(dataset, "solid", True) for dataset in self.datasets)

    def valid_at(self, x: np.ndarray, y: np.ndarray, time: slice | None = None) -> Mask:
        """See :meth:`_Algebra.valid_at`."""
        valid = np.ones(x.shape, bool)
        for dataset in self.datasets:
            if isinstance(dataset, _Algebra):
                valid &= dataset.valid_at(x, y, time)
        return valid

    def snap(self, left: float, top: float, name: str) -> tuple[float, float]:
        """See :meth:`_Algebra.snap`; the pixels are the first dataset's."""
        first = self.datasets[0]
        return first.snap(left, top, name) if isinstance(first, _Algebra) else (left, top)


class SceneUnion(_Algebra, UnionDataset):
    """Samples of either of two datasets, a mosaic where they overlap: what ``a | b`` gives.

    The first valid pixel wins, where torchgeo takes the larger number, which nodata may be.
    """

    def __init__(
        self, dataset1: GeoDataset, dataset2: GeoDataset, transforms: Callable[[Sample], Sample] | None = None
    ) -> None:
        super().__init__(dataset1, dataset2, collate_fn=mosaic_samples, transforms=transforms)

    @property
    def crs(self) -> Any:
        """CRS of both."""
        return self.datasets[0].crs

    @crs.setter
    def crs(self, new: Any) -> None:
        for dataset in self.datasets:
            dataset.crs = new
        self.index = pd.concat([dataset.index for dataset in self.datasets])

    def __getitem__(self, query: Any) -> Sample:
        """See :class:`Scenes`."""
        return super().__getitem__(resolve(query, self.bounds))

    def _parts(self) -> list[tuple[str, int | None]]:
        return parts_of(next((d for d in self.datasets if isinstance(d, _Algebra)), self.datasets[0]))

    def _colors(self) -> list[str]:
        return next((c for c in map(colors_of, self.datasets) if c), [])

    @property
    def solid(self) -> bool:  # type: ignore[override]
        """Whether both are."""
        return all(getattr(dataset, "solid", True) for dataset in self.datasets)

    def valid_at(self, x: np.ndarray, y: np.ndarray, time: slice | None = None) -> Mask:
        """See :meth:`_Algebra.valid_at`."""
        valid = np.zeros(x.shape, bool)
        for dataset in self.datasets:
            if isinstance(dataset, _Algebra):
                valid |= dataset.valid_at(x, y, time)
        return valid

    def snap(self, left: float, top: float, name: str) -> tuple[float, float]:
        """See :meth:`_Algebra.snap`."""
        for dataset in self.datasets:
            if isinstance(dataset, _Algebra) and name in set(dataset.index.get("filepath", ())):
                return dataset.snap(left, top, name)
        return left, top


def parts_of(dataset: GeoDataset) -> list[tuple[str, int | None]]:
    """Title and number of channels of the images of any dataset's samples, see :meth:`_Algebra._parts`."""
    if isinstance(dataset, _Algebra):
        return dataset._parts()
    return [("image", None)] if getattr(dataset, "is_image", True) else []


def colors_of(dataset: GeoDataset) -> list[str]:
    """Colours of the classes of any dataset's masks, where they are known."""
    return dataset._colors() if isinstance(dataset, _Algebra) else []


def _plain(dataset: GeoDataset) -> bool:
    return isinstance(dataset, Scenes) and dataset.is_image and dataset.transforms is None


def pair_samples(samples: Sequence[Mapping[str, Any]]) -> Sample:
    """Join samples of one window: images and masks along the channels, ``valid`` where all are."""
    joined: Sample = {}
    for sample in samples:
        for key, value in sample.items():
            if key not in joined:
                joined[key] = value
            elif key == "valid":
                joined[key] = joined[key] & value
            elif key.startswith("image"):
                joined[key] = torch.cat([joined[key], value])
            elif key == "mask":
                joined[key] = torch.cat([m if m.ndim == 3 else m[None] for m in (joined[key], value)])
    return joined


def split_samples(samples: Sequence[Mapping[str, Any]]) -> Sample:
    """As :func:`pair_samples`, but the second image stays apart as ``image_sar``."""
    first, *rest = samples
    return pair_samples([first, *({("image_sar" if k == "image" else k): v for k, v in s.items()} for s in rest)])


def mosaic_samples(samples: Sequence[Mapping[str, Any]]) -> Sample:
    """Samples of one window as one: the first valid pixel wins. Samples without ``valid`` count as valid everywhere."""
    merged = dict(samples[0])
    for sample in samples[1:]:
        key = next(k for k in ("image", "mask") if k in sample)
        if key not in merged or merged[key].shape != sample[key].shape:
            raise InputError(
                "the datasets of a mosaic differ in shape",
                found=f"{key} {list(sample[key].shape)}",
                expected=", ".join(f"{k} {list(v.shape)}" for k, v in merged.items() if k in ("image", "mask")),
                hint="choose the same bands in both",
            )
        have = merged.get("valid", torch.ones(merged[key].shape[-2:], dtype=torch.bool))
        other = sample.get("valid", torch.ones_like(have))
        merged[key] = torch.where(have | ~other, merged[key], sample[key])
        merged["valid"] = have | other
    return merged


def _intersect(a: GeoDataset, b: GeoDataset, max_days: float | None) -> Any:
    """The index of pairs: overlaps with an area, each with the span of both times."""
    one, two = (np.asarray(d.index.geometry.values) for d in (a, b))
    i, j = shapely.STRtree(two).query(one, predicate="intersects")
    shapes = shapely.intersection(one[i], two[j])
    solid = shapely.area(shapes) > 0
    i, j, shapes = i[solid], j[solid], shapes[solid]
    if len(i) == 0:
        raise InputError(
            "the two datasets do not overlap",
            found=f"{_extent(a)} and {_extent(b)}",
            expected="the same place",
            hint="look at both with `codemae info`",
        )
    left, right = _spans(a, i, b, j)
    if max_days is not None:
        apart = np.maximum(*left) - np.minimum(*right)
        near = apart <= np.timedelta64(int(max_days * 86400), "s")
        if not near.any():
            raise InputError(
                "no two scenes are close enough in time",
                found=f"{apart.min() / np.timedelta64(1, 'D'):.1f} days at best",
                expected=f"at most {max_days:g}",
            )
        i, j, shapes = i[near], j[near], shapes[near]
        left, right = [v[near] for v in left], [v[near] for v in right]
    order = np.lexsort((j, i))
    times = pd.IntervalIndex.from_arrays(
        np.minimum(*left)[order], np.maximum(*right)[order], closed="both", name="datetime"
    )
    # the first dataset's files, whose pixels the samples have
    names = a.index["filepath"].to_numpy()[i][order] if "filepath" in a.index.columns else np.full(len(i), "")
    return geopandas.GeoDataFrame({"filepath": names}, index=times, geometry=list(shapes[order]), crs=a.crs)


def _spans(a: GeoDataset, i: Any, b: GeoDataset, j: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """First and last moments of both files of every pair; a file without a date has those of the other."""
    left = [d.index.index.left.to_numpy().astype("M8[ns]")[k] for d, k in ((a, i), (b, j))]
    right = [d.index.index.right.to_numpy().astype("M8[ns]")[k] for d, k in ((a, i), (b, j))]
    undated = [stop.astype("M8[Y]") - start.astype("M8[Y]") > UNDATED for start, stop in zip(left, right, strict=True)]
    for k, other in ((0, 1), (1, 0)):
        free = undated[k] & ~undated[other]
        left[k] = np.where(free, left[other], left[k])
        right[k] = np.where(free, right[other], right[k])
    return left, right


def _extent(dataset: GeoDataset) -> str:
    x0, y0, x1, y1 = dataset.index.total_bounds
    return f"{number(x0)}..{number(x1)} x {number(y0)}..{number(y1)}"


def _crs_text(crs: Any) -> str:
    """Anything that means a CRS, as a code where it has one, else as WKT."""
    try:
        known = CRS.from_user_input(str(crs) if isinstance(crs, OdcCRS) else crs)
    except CRSError as error:
        raise InputError(
            f"there is no coordinate reference system {crs!r}", found=str(error), expected="EPSG:<code>, or WKT"
        ) from error
    authority = known.to_authority(min_confidence=100)
    return ":".join(authority) if authority else known.to_wkt()


def _pair(res: float | tuple[float, float]) -> tuple[float, float]:
    x, y = (res, res) if isinstance(res, int | float) else res
    if not (x > 0 and y > 0):
        raise InputError("the resolution must be positive", found=f"{x}, {y}")
    return float(x), float(y)
