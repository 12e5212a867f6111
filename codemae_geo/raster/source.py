"""One raster file: what its header says, and windows of it with one valid mask.

Convention: a window is (row0, row1, col0, col1), half open, in pixels of the file; (0, 0) is the outer corner of the
first pixel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError as ProjCRSError
from pyproj.exceptions import ProjError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import CRSError, RasterioError, RasterioIOError
from rasterio.vrt import WarpedVRT

from codemae_geo.errors import InputError, param
from codemae_geo.raster.env import gdal_env, is_remote
from codemae_geo.raster.evidence import product_of, said_units
from codemae_geo.raster.gcps import WARN_PX, GcpFit, GcpMethod, check_method, check_points, fit_points, warp_options
from codemae_geo.raster.place import check_affine, check_earth, check_place, horizontal
from codemae_geo.raster.reach import open_raster
from codemae_geo.raster.safe import product_scaling
from codemae_geo.sensors import Array, Family, Mask, Unit
from codemae_geo.texts import read_text

Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class SourceFile:
    """The header of one raster.

    Args:
        path: what GDAL opens; an XML text for stacked STAC assets.
        name: what a person calls it.
        driver: GDAL driver.
        geobox: shape, affine and CRS; for ground control points, of the grid they are warped to on reading.
        count: number of bands in the file.
        dtype: type of the values as they are read: the stored type, float32 where the header scales (see ``scaling``),
            complex64 for complex integers.
        stored: type of the stored values; ``dtype`` where it is empty.
        nodata: stored value that means "nothing here"; None without one.
        mask: what makes a pixel invalid, any of ``nodata``, ``alpha``, ``mask`` (internal or .msk) and ``nan``.
        bands: indexes of the bands in use, from 1.
        alpha: index of the alpha band.
        block_shape: (rows, columns) of one stored block.
        overviews: decimation factors.
        scaling: (scale, offset) of each band of the file, where a header says that measured value = stored value x
            scale + offset; empty where none does. It is applied as the values are read, before any decision.
        gcps: how well its ground control points are met, of a file that has nothing else.
        src_crs: CRS given by the user for a file without one.
        product: kind of radar product, where its name or its tags tell.
        said: what name, bands and tags say of the unit of radar values: (unit, where).
        notes: remarks for the log.
        warnings: (code, message) of what a user should know.
    """

    path: str
    name: str
    driver: str
    geobox: GeoBox
    count: int
    dtype: str
    nodata: float | None
    mask: tuple[str, ...]
    bands: tuple[int, ...]
    alpha: int | None
    block_shape: tuple[int, int]
    overviews: tuple[int, ...]
    stored: str = ""
    scaling: tuple[tuple[float, float], ...] = ()
    gcps: GcpFit | None = None
    src_crs: str | None = None
    product: str = ""
    said: tuple[tuple[Unit, str], ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()

    @property
    def crs(self) -> Any:
        """Coordinate reference system (``odc.geo.crs.CRS``)."""
        return self.geobox.crs

    @property
    def stored_type(self) -> np.dtype[Any]:
        """Type of the stored values."""
        return np.dtype(self.stored or self.dtype)

    @property
    def gcp_method(self) -> GcpMethod:
        """How its ground control points are used, where it has nothing else."""
        return self.gcps.method if self.gcps else "tps"

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.geobox.shape.yx

    @property
    def dtype_family(self) -> str:
        """``uint8``, ``int``, ``float`` or ``complex``."""
        kind = np.dtype(self.dtype)
        return "uint8" if kind == np.uint8 else {"u": "int", "i": "int", "f": "float", "c": "complex"}[kind.kind]


# ---------------------------------------------------------------------------------------------------- opening


class OpenSource:
    """An open file: the dataset (a warped view for ground control points), closed with :meth:`close`."""

    def __init__(self, path: str, name: str, *, src_crs: str | None = None, gcps: GcpMethod = "tps") -> None:
        self._stack = ExitStack()
        self._gcps, self._name = gcps, name
        try:
            option = "EMPTY_DIR" if is_remote(path) else "TRUE"
            with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN=option), safe_threads(path):
                raw = self._stack.enter_context(open_raster(path, name))
                self.raw = raw
                self.dataset = self._georeferenced(raw, src_crs)
        except RasterioError as error:
            self._stack.close()
            raise unreadable(name, error) from error
        except BaseException:
            self._stack.close()
            raise

    def _georeferenced(self, raw: Any, src_crs: str | None) -> Any:
        gcps, gcp_crs = raw.gcps
        if not gcps or not raw.transform.is_identity:
            return raw
        # complex numbers must not be averaged (their phases cancel); other values are resampled once more on alignment
        if not (gcp_crs or src_crs):
            return raw
        check_points(gcps, self._gcps, self._name)
        cplx = value_type(raw.dtypes[0]).kind == "c"
        has_alpha = ColorInterp.alpha in raw.colorinterp
        options = {"nodata": raw.nodata} if raw.nodata is not None else {"add_alpha": not has_alpha and not cplx}
        return self._stack.enter_context(
            WarpedVRT(
                raw, src_crs=gcp_crs or src_crs, crs=gcp_crs or src_crs,
                resampling=Resampling.nearest if cplx else Resampling.bilinear, tolerance=0.01,
                **warp_options(self._gcps), **options,
            )
        )  # fmt: skip

    def close(self) -> None:
        """Close the file and its view."""
        self._stack.close()

    def __enter__(self) -> OpenSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@lru_cache(maxsize=4096)
def reads_network(path: str) -> bool:
    """Whether pixels of ``path`` come over the network, those of a VRT's sources included."""
    if is_remote(path):
        return True
    if path.startswith("<"):
        text = path
    elif path.lower().endswith(".vrt") and Path(path).is_file():
        text = read_text(Path(path), errors="replace")
    else:
        return False
    return "://" in text or "/vsi" in text


def safe_threads(path: str) -> AbstractContextManager[Any]:
    """GDAL's settings for opening and reading ``path``: one decoding thread for pixels from the network.

    A request that fails in a decoding thread of GDAL's own raises nothing: its blocks come back as zeros.
    """
    return rasterio.Env(GDAL_NUM_THREADS="1") if reads_network(path) else nullcontext()


def unreadable(name: str, error: Exception) -> InputError:
    """The error for a file that GDAL cannot read, at opening or later."""
    reason = str(error.__cause__ or error).strip().splitlines()
    if "No such file" in str(error) and not is_remote(name):
        return InputError(
            f"{name} is not there",
            found=f"no such file, looked for in {Path(name).absolute().parent}",
            hint="check its name and folder",
        )
    return InputError(
        f"{name} cannot be read",
        found=reason[-1] if reason else type(error).__name__,
        expected="a complete raster in a format that GDAL reads",
        hint="check that it is a raster, and copy or download it again",
    )


def read_header(
    path: str,
    *,
    name: str | None = None,
    family: Family,
    bands: Sequence[int] | None = None,
    src_crs: str | None = None,
    nodata: float | None = None,
    gcps: GcpMethod = "tps",
    catalogue: Sequence[tuple[float, float]] = (),
) -> SourceFile:
    """Header of one raster; reads no pixel, but for some of an alpha band.

    Args:
        path: anything GDAL opens.
        name: name in messages; ``path`` without one.
        family: ``optical`` takes three bands, ``sar`` one.
        bands: indexes of the bands to use, from 1; None chooses by :func:`choose_bands`.
        src_crs: CRS for a file that has none.
        nodata: stored value that overrides the header's.
        gcps: how ground control points are used, of a file that has nothing else.
        catalogue: (scale, offset) per band that a catalogue states; the file's own count first.

    Raises:
        InputError: the file is unreadable or truncated, has no CRS or georeference, one that is no place on the Earth,
            or the wrong bands.
    """
    name = name or path
    check_method(gcps)
    if src_crs is not None:
        _check_crs(src_crs)
    with gdal_env(), OpenSource(path, name, src_crs=src_crs, gcps=gcps) as source:
        raw, ds = source.raw, source.dataset
        check_complete(raw, path, name)
        fit = fit_points(raw.gcps[0], gcps, name) if ds is not raw else None
        geobox = locate(raw, ds, name, src_crs)
        notes, warnings = [], []
        alpha, doubt = find_alpha(raw)
        if doubt:
            warnings.append(("alpha", doubt))
        if ds.count > raw.count:  # the view of ground control points has one of its own
            alpha = ds.count
        types = tuple(value_type(t).name for t in ds.dtypes)
        chosen, note = choose_bands(name, family, ds.count, alpha, ds.colorinterp, ds.descriptions, types, bands)
        if note:
            notes.append(note)
        if family == "optical" and bands is None and (doubt := doubt_bands(chosen, alpha, raw)):
            warnings.append(("bands", doubt))
        if len({types[b - 1] for b in chosen}) > 1:
            raise InputError(
                f"{name} has bands of different types", found=", ".join(ds.dtypes), expected="one type",
                hint=f"choose bands of one type with {param('bands')}",
            )  # fmt: skip
        if fit is not None:
            notes.append(fit.describe())
            if fit.doubt_px > WARN_PX:
                warnings.append(("gcps", _doubtful_points(fit)))
        if raw.rpcs is not None and not raw.transform.is_identity:
            notes.append("rational polynomial coefficients beside the geotransform: not used")
        scaling, said = scaling_of(raw, ds.count, catalogue, name)
        notes += said
        stored = types[chosen[0] - 1]
        declared = nodata if nodata is not None else ds.nodatavals[chosen[0] - 1]
        product, said_units = evidence_of(raw, name, chosen[0])
        return SourceFile(
            path=path, name=name, driver=raw.driver, geobox=geobox, count=ds.count, product=product, said=said_units,
            dtype=np.result_type(stored, np.float32).name if scaling and stored[0] != "c" else stored,
            nodata=None if declared is None else float(declared),
            mask=mask_kinds(ds, chosen[0], stored, declared, alpha, override=nodata is not None),
            bands=chosen, alpha=alpha, block_shape=tuple(raw.block_shapes[chosen[0] - 1]),
            overviews=tuple(raw.overviews(chosen[0])) if ds is raw else (),
            stored=stored, scaling=scaling, gcps=fit, src_crs=src_crs, notes=tuple(notes), warnings=tuple(warnings),
        )  # fmt: skip


def evidence_of(raw: Any, name: str, band: int) -> tuple[str, tuple[tuple[Unit, str], ...]]:
    """What an open file says of its product, and of the unit of a band's values."""
    band = min(band, raw.count)
    tags = {**raw.tags(), **raw.tags(band)}
    # not /science/LSAR/GCOV/..., which tells the product, but neither the folders of the user
    short = name if name.startswith(("NETCDF:", "HDF5:")) else Path(name).name
    product = product_of(short, tags)
    said = said_units(
        short, value_type(raw.dtypes[band - 1]), raw.descriptions[band - 1] or "", raw.units[band - 1] or "", tags
    )
    return (product.name if product else ""), said


def value_type(stored: str) -> np.dtype[Any]:
    """The type that values stored in a type of GDAL's are read as."""
    return np.dtype({"complex_int16": "complex64", "complex_int32": "complex64"}.get(stored, stored))


def _doubtful_points(fit: GcpFit) -> str:
    if fit.method == "tps":
        return (
            f"between its ground control points the scene may lie {fit.doubt_px:.2g} pixels off (a point left out is "
            "missed by as much, in the median): prefer a terrain-corrected product where positions matter"
        )
    return (
        f"a polynomial of order {fit.method} misses the ground control points by up to {fit.residual_px:.2g} pixels: "
        "a thin-plate spline (tps) goes through all of them"
    )


def scaling_of(
    raw: Any, count: int, catalogue: Sequence[tuple[float, float]], name: str
) -> tuple[tuple[tuple[float, float], ...], list[str]]:
    """(scale, offset) of every band, and remarks: the file's own, else its product's metadata, else the catalogue's.

    Raises:
        InputError: a scale of zero, or no number.
    """
    own = tuple(zip(map(float, raw.scales), map(float, raw.offsets), strict=True))
    source = "the header"
    # a picture is not what a product's numbers are about
    if all(pair == (1.0, 0.0) for pair in own) and value_type(raw.dtypes[0]).itemsize > 1:
        if (product := product_scaling(raw.name)) is not None:
            own, source = (product[0],) * raw.count, product[1]
        elif catalogue:
            own, source = tuple(catalogue)[: raw.count], "the catalogue"
            own += ((1.0, 0.0),) * (raw.count - len(own))
    if not np.isfinite(own).all() or any(scale == 0 for scale, _ in own):
        raise InputError(
            f"{source} of {name} scales values in a way that cannot be",
            found=", ".join(f"scale {a:g} offset {b:g}" for a, b in dict.fromkeys(own)),
            expected="finite numbers, and no scale of zero",
        )
    if all(pair == (1.0, 0.0) for pair in own):
        return (), []
    said = ", ".join(f"x {a:g} {b:+g}" for a, b in dict.fromkeys(own))
    return own + ((1.0, 0.0),) * (count - len(own)), [f"stored values {said}, as {source} says"]


def _check_crs(text: str) -> None:
    try:
        CRS.from_user_input(text)
    except (CRSError, ValueError) as error:
        raise InputError(
            f"{text} is not a coordinate reference system", expected="for instance EPSG:32633", option="src_crs"
        ) from error


def check_complete(raw: Any, path: str, name: str) -> None:
    """Refuse a GeoTIFF whose last blocks lie beyond the end of the file, which opens without complaint.

    Raises:
        InputError: its block table names bytes that are not there.
    """
    if raw.driver != "GTiff" or not Path(path).is_file():
        return
    size = Path(path).stat().st_size
    rows, cols = raw.block_shapes[-1]
    last_row, last_col = (raw.height - 1) // rows, (raw.width - 1) // cols
    for x, y, band in {(0, 0, 1), (last_col, 0, 1), (0, last_row, 1), (last_col, last_row, raw.count)}:
        offset = raw.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=band)
        length = raw.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=band)
        if offset and length and int(offset) + int(length) > size:
            raise InputError(
                f"{name} is truncated", found=f"{size:,} bytes",
                expected=f"at least {int(offset) + int(length):,} bytes",
                hint="copy or download the file again",
            )  # fmt: skip


def locate(raw: Any, ds: Any, name: str, src_crs: str | None = None) -> GeoBox:
    """The grid of an open file.

    Args:
        raw: the dataset itself.
        ds: the same, or the view of it that its ground control points give.
        name: for messages.
        src_crs: CRS for a file that has none.

    Raises:
        InputError: it has no georeference, or one that is no place on the Earth.
    """
    if ds.transform.is_identity:
        rpc = raw.rpcs is not None
        raise InputError(
            f"{name} is not georeferenced",
            found="rational polynomial coefficients (RPC) only"
            if rpc
            else "no geotransform and no ground control points",
            expected="a geotransform or ground control points",
            hint=f"orthorectify it with a terrain model: gdalwarp -rpc -to RPC_DEM=dem.tif {name} ortho.tif"
            if rpc
            else "georeference it first, or give the original file instead of an export",
        )
    check_affine(ds.transform, name)
    crs = CRS.from_user_input(src_crs) if src_crs and not has_place(ds.crs) else ds.crs
    if crs is None or not has_place(crs):
        raise InputError(
            f"{name} has no coordinate reference system",
            found="none" if crs is None else "a local (engineering) system",
            expected="a geographic or projected system",
            hint=f"give it with {param('src_crs')}, for instance {param('src_crs', 'EPSG:32633')}",
            option="src_crs",
        )
    # a code, where the file names one, is shorter and faster to compare than the text of the definition
    authority = crs.to_authority(confidence_threshold=100)
    text = ":".join(authority) if authority else crs.to_wkt()
    try:
        check_earth(text, name)
        grid = GeoBox((ds.height, ds.width), ds.transform, horizontal(text))
    except (ProjCRSError, ProjError, ValueError) as error:
        raise InputError(
            f"the coordinate reference system of {name} cannot be used",
            found=str(error).splitlines()[0][:200],
            expected="a geographic or projected system of the Earth",
            hint="assign the right one, for instance with gdal_edit.py -a_srs",
        ) from error
    check_place(grid, name)
    return grid


def has_place(crs: Any) -> bool:
    """Whether coordinates in a CRS are places, unlike those of none or of a local (engineering) one."""
    if crs is None:
        return False
    if crs.is_geographic or crs.is_projected:
        return True
    try:  # a compound of a horizontal and a vertical system
        return horizontal(crs.to_wkt()) is not None
    except (ProjCRSError, CRSError):
        return False


#: a band in which more of the sampled pixels than this are neither zero nor the largest value is not a mask
_MASK_SHARE = 0.05
#: words in the description of a band that measures something
_SPECTRAL = re.compile(r"nir|infrared|swir|edge|thermal|red|green|blue|pan|coastal|vv|vh|hh|hv|b\d+a?")


def find_alpha(raw: Any) -> tuple[int | None, str]:
    """Index (from 1) of the alpha band of an open dataset, and a warning about a band that is only called so.

    GDAL calls the fourth of four 8-bit bands alpha by default, whatever it holds. A band named after a colour is none,
    nor is one with more than a few values between zero and its largest.
    """
    found = [i for i, c in enumerate(raw.colorinterp, 1) if c == ColorInterp.alpha]
    if not found or raw.count == 1:
        return None, ""
    index = found[0]
    name = raw.descriptions[index - 1] or ""
    if _SPECTRAL.search(name.lower()):
        return None, f"band {index} is marked alpha and named {name!r}: it is not used as a mask"
    try:
        values = np.concatenate([raw.read(index, window=place).ravel() for place in _spots(*raw.shape)])
    except RasterioError as error:
        raise unreadable(raw.name, error) from error
    between = (values != 0) & (values != values.max())
    if between.mean() > _MASK_SHARE:
        return None, (
            f"band {index} is marked alpha and holds {len(np.unique(values))} values, as a measurement does and a mask"
            " does not: it is not used as a mask"
        )
    return index, ""


def _spots(rows: int, cols: int, side: int = 64) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Five windows: the middle, and the middles of the quarters."""
    places = []
    for v, u in ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        r, c = max(int(rows * v) - side // 2, 0), max(int(cols * u) - side // 2, 0)
        places.append(((r, min(r + side, rows)), (c, min(c + side, cols))))
    return list(dict.fromkeys(places))


def mask_kinds(
    ds: Any, band: int, dtype: str, nodata: float | None, alpha: int | None, *, override: bool
) -> tuple[str, ...]:
    """What can make a pixel of a band invalid: see :class:`SourceFile`. An override of nodata replaces mask bands."""
    kinds = []
    if nodata is not None and not np.isnan(nodata):
        kinds.append("nodata")
    if alpha is not None:
        kinds.append("alpha")
    if (
        MaskFlags.per_dataset in (flags := ds.mask_flag_enums[band - 1])
        and MaskFlags.alpha not in flags
        and not override
    ):
        kinds.append("mask")
    if np.dtype(dtype).kind in "fc":
        kinds.append("nan")
    return tuple(kinds)


# ---------------------------------------------------------------------------------------------------- bands

_COLORS = (("red", "r", "b04", "b4"), ("green", "g", "b03", "b3"), ("blue", "b", "b02", "b2"))
_POLARISATIONS = ("vv", "hh", "vh", "hv")


def choose_bands(
    name: str,
    family: Family,
    count: int,
    alpha: int | None,
    colorinterp: Sequence[ColorInterp],
    descriptions: Sequence[str | None],
    dtypes: Sequence[str],
    asked: Sequence[int] | None = None,
) -> tuple[tuple[int, ...], str]:
    """Indexes (from 1) of the bands to use, and a remark.

    Optical: red, green, blue by description, else by colour interpretation (of which GDAL makes a default where the
    file has none), else Sentinel-2's 4, 3, 2 for 12 or 13 unnamed 16-bit bands, else the first three. SAR: the first of
    VV, HH, VH, HV that a description names, else band 1.

    Raises:
        InputError: too few bands, or an index that does not exist.
    """
    usable = [i for i in range(1, count + 1) if i != alpha]
    need = 3 if family == "optical" else 1
    if asked is not None:
        missing = [b for b in asked if b not in usable]
        if missing or len(asked) != need:
            raise InputError(
                f"the bands {','.join(map(str, asked))} do not fit {name}",
                found=f"{len(usable)} band(s) without alpha",
                expected=f"{need} band(s) of 1 to {count}",
                hint="list the bands with `codemae info`",
            )
        return tuple(asked), "as asked"
    if len(usable) < need:
        raise InputError(
            f"{name} has too few bands for an {family} scene", found=f"{len(usable)} band(s) without alpha",
            expected="3 bands (red, green, blue)",
            hint=f"radar needs a model for radar ({param('sensor', 'sar')}); "
            "gdal_translate -expand rgb expands a palette",
        )  # fmt: skip
    words = {i: _words(descriptions[i - 1] or "") for i in usable}
    if family == "sar":
        colored = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        if all(c in colorinterp for c in colored):
            raise InputError(
                f"{name} looks like an optical scene, where radar is asked for",
                found="bands marked red, green and blue",
                expected="one radar band",
                hint=f"radar stored in three equal bands: {param('bands', 1)}; "
                f"an optical scene: {param('sensor', 'optical')}",
            )
        for pol in _POLARISATIONS:
            if found := [i for i in usable if pol in words[i]]:
                return (found[0],), f"band {found[0]}, named {pol.upper()}"
        return (usable[0],), "" if len(usable) == 1 else f"band {usable[0]} of {len(usable)}, none is named"
    named = [[i for i in usable if words[i] & set(color)] for color in _COLORS]
    if all(named):
        return tuple(n[0] for n in named), "red, green, blue by band description"
    colors = [
        [i for i in usable if colorinterp[i - 1] == c] for c in (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    ]
    if all(colors):
        return tuple(c[0] for c in colors), "red, green, blue by colour interpretation"
    if len(usable) in (12, 13) and np.dtype(dtypes[0]).itemsize == 2:
        return (4, 3, 2), f"bands 4, 3, 2 of {len(usable)}, taken as Sentinel-2"
    return tuple(usable[:3]), "" if len(usable) == 3 else f"first three of {len(usable)} bands, none is named"


def doubt_bands(chosen: Sequence[int], alpha: int | None, raw: Any) -> str:
    """What is doubtful about the optical bands that :func:`choose_bands` chose by itself; empty if nothing is."""
    marked = [raw.colorinterp[b - 1] for b in chosen]
    names = [raw.descriptions[b - 1] or "" for b in chosen]
    list_ = ", ".join(map(str, chosen))
    colors = ("red", "green", "blue")
    by_name = [
        next((c for c, known in zip(colors, _COLORS, strict=True) if _words(name) & set(known)), None) for name in names
    ]
    standard = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    if by_name == list(colors):
        if all(m in standard for m in marked) and marked != standard:
            return f"bands {list_} are used as red, green, blue, as they are named; they are marked otherwise"
        return ""
    if marked == standard and any(names):
        told = ", ".join(f"{b} {n!r}" for b, n in zip(chosen, names, strict=True) if n)
        if any(c is not None and c != k for c, k in zip(by_name, colors, strict=True)) or any(
            _INFRARED.search(n.lower()) for n in names
        ):
            return f"bands {list_} are used as red, green, blue, as they are marked, but are named {told}"
    usable = raw.count - (alpha is not None)
    if marked != standard and usable > 3 and usable not in (12, 13):
        return (
            f"none of the {usable} bands is named: bands {list_} are used as red, green, blue; many products of four "
            "bands begin with blue, so look at the scene, and give the bands if they are others"
        )
    return ""


_INFRARED = re.compile(r"nir|infrared|swir|edge|thermal")


def _words(text: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", text.lower()))


# ---------------------------------------------------------------------------------------------------- reading


def read_window(
    ds: Any, file: SourceFile, window: Window, decimation: int = 1, *, stored: bool = False
) -> tuple[Array, Mask]:
    """Values ``[C, h, w]``, scaled as the header says, and the valid mask ``[h, w]`` of one window inside the file.

    Args:
        ds: the open dataset of ``file``.
        file: its header.
        window: (row0, row1, col0, col1).
        decimation: read every n-th pixel, which GDAL takes from the overviews that the caller has checked for.
        stored: values as they are stored.

    Raises:
        InputError: the file breaks off or is damaged.
    """
    row0, row1, col0, col1 = window
    shape = (-(-(row1 - row0) // decimation), -(-(col1 - col0) // decimation))
    place = ((row0, row1), (col0, col1))
    indexes = [*file.bands, *([file.alpha] if file.alpha else [])]
    try:
        with safe_threads(file.path):
            # alpha comes with the data: both often share a block
            data = ds.read(indexes, window=place, out_shape=(len(indexes), *shape))
            inside = ds.read_masks(file.bands[0], window=place, out_shape=shape) if "mask" in file.mask else None
    except RasterioIOError as error:
        raise unreadable(file.name, error) from error
    values = data[: len(file.bands)]
    valid = valid_mask(values, file.nodata)
    if file.alpha:
        valid &= data[-1] != 0
    if inside is not None:
        valid &= inside != 0
    return values if stored else measured(values, file), valid


def measured(stored: Array, file: SourceFile) -> Array:
    """Stored values ``[C, h, w]`` of the bands in use as measured values, in the type ``file.dtype``."""
    if not file.scaling:
        return stored
    kind = np.dtype(file.dtype)
    scale, offset = np.array([file.scaling[b - 1] for b in file.bands], kind).T[:, :, None, None]
    return np.asarray(stored.astype(kind) * scale + offset, kind)


def valid_mask(values: Array, nodata: float | None) -> Mask:
    """Where ``[C, h, w]`` holds measurements, ``[h, w]``.

    NaN and infinity in any band invalidate a pixel. So does the nodata value, except that zero, and every value of
    uint8, also occur as measurements in single bands (black, white): there all bands must carry it.
    """
    valid = np.ones(values.shape[1:], bool)
    if values.dtype.kind in "fc":
        valid &= np.isfinite(values).all(0)
    if nodata is not None and not np.isnan(nodata):
        if values.dtype.kind == "f":  # -3.4e38 in a header is rarely the float32 in the pixels
            with np.errstate(over="ignore"):
                empty = values == values.dtype.type(nodata)
        else:
            empty = values == nodata
        everywhere = nodata == 0 or values.dtype == np.uint8
        valid &= ~(empty.all(0) if everywhere else empty.any(0))
    return valid


def sample_files(files: Sequence[SourceFile], size: int = 1024, patch: int = 128) -> tuple[Array, Mask]:
    """Patches at full resolution, spread evenly over the files, side by side in one sheet: for statistics.

    Full resolution because averages (and overviews) have lost the speckle that tells power from amplitude, and patches
    because a raster without overviews would have to be decoded whole.

    Args:
        files: headers with the same bands.
        size: side of the sheet in pixels; (size / patch)^2 patches are read at most.
        patch: side of one patch in pixels.

    Returns:
        Values ``[C, size, size]`` as stored and the valid mask; unused places are invalid.
    """
    per_side = max(size // patch, 1)
    sheet = np.zeros((len(files[0].bands), per_side * patch, per_side * patch), files[0].dtype)
    valid = np.zeros(sheet.shape[1:], bool)
    for slot, (data, ok) in enumerate(read_patches(files, per_side * per_side, patch)):
        r, c = slot // per_side * patch, slot % per_side * patch
        sheet[:, r : r + ok.shape[0], c : c + ok.shape[1]] = data
        valid[r : r + ok.shape[0], c : c + ok.shape[1]] = ok
    return sheet, valid


def read_patches(files: Sequence[SourceFile], count: int, patch: int = 128) -> Iterator[tuple[Array, Mask]]:
    """Up to ``count`` patches of ``patch`` x ``patch`` pixels, spread evenly over the files: values and valid mask.

    Files smaller than a patch give what they have; of more files than ``count``, every n-th gives one patch.
    """
    if len(files) > count:
        files = [files[int(i)] for i in np.linspace(0, len(files) - 1, count)]
    side = max(int((count // len(files)) ** 0.5), 1)
    for file in files:
        rows, cols = file.shape
        with gdal_env(), OpenSource(file.path, file.name, src_crs=file.src_crs, gcps=file.gcp_method) as source:
            for window in patch_windows(rows, cols, side * side, patch):
                yield read_window(source.dataset, file, window)


def patch_windows(rows: int, cols: int, count: int, patch: int) -> list[Window]:
    """Up to ``count`` windows of ``patch`` x ``patch`` pixels, spread evenly over a raster."""
    side = max(int(count**0.5), 1)
    return [
        (r, min(r + patch, rows), c, min(c + patch, cols))
        for r in _starts(rows, patch, side)
        for c in _starts(cols, patch, side)
    ]


def _starts(length: int, patch: int, side: int) -> list[int]:
    """At most ``side`` non-overlapping patch starts, spread over ``length``, as evenly inside as at the ends."""
    n = max(min(side, length // patch), 1)
    step = length / n
    return [max(min(int(i * step + (step - patch) / 2), length - patch), 0) for i in range(n)]
