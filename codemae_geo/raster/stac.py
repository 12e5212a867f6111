"""STAC items as scenes: assets by name, one file or one stack of single-band files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pystac
from rasterio.errors import RasterioError

from codemae_geo.errors import InputError, param
from codemae_geo.raster.env import gdal_env, is_remote
from codemae_geo.raster.reach import check_href, open_raster
from codemae_geo.sensors import Family
from codemae_geo.texts import read_text

#: asset names tried in turn when the user names none
_DEFAULT_ASSETS: dict[Family, tuple[tuple[str, ...], ...]] = {
    "optical": (("visual",), ("red", "green", "blue"), ("B04", "B03", "B02"), ("data",), ("image",)),
    "sar": (("VV",), ("vv",), ("HH",), ("hh",), ("GEC",), ("data",), ("image",)),
}
_VSI = {"http://": "/vsicurl/http://", "https://": "/vsicurl/https://", "s3://": "/vsis3/", "gs://": "/vsigs/"}
_GDAL_TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32", "int32": "Int32",
    "float32": "Float32", "float64": "Float64", "complex_int16": "CInt16", "complex64": "CFloat32",
    "complex128": "CFloat64",
}  # fmt: skip


@dataclass(frozen=True)
class Asset:
    """What a STAC item offers: ``path`` for GDAL (a VRT text for several assets), a ``name`` for people, (scale,
    offset) per band where the item states them, and what is doubtful about them.
    """

    path: str
    name: str
    scaling: tuple[tuple[float, float], ...] = ()
    doubt: str = ""


def is_stac_item(path: str) -> bool:
    """Whether the name looks like one: a .json that is no GDAL raster."""
    return path.lower().split("?")[0].endswith((".json", ".geojson"))


def open_item(path: str, family: Family, assets: Sequence[str] | None = None) -> Asset:
    """The raster behind a STAC item.

    Args:
        path: file name or URL of the item.
        family: decides the assets when none are named.
        assets: one asset with all bands, or one single-band asset per band.

    Raises:
        InputError: not a STAC item, an asset that is not there, or assets on different grids.
    """
    item = _item(path)
    have = item.assets
    wanted = list(assets) if assets else next((list(n) for n in _DEFAULT_ASSETS[family] if set(n) <= set(have)), None)
    if wanted is None or not set(wanted) <= set(have):
        raise InputError(
            f"the STAC item {item.id} does not have the assets {', '.join(wanted)}" if wanted
            else f"the STAC item {item.id} has no asset with a usual name for an {family} scene",
            found=", ".join(have) or "no assets", expected="names of its assets",
            hint=f"name them with {param('assets')}, such as red,green,blue",
            option="assets",
        )  # fmt: skip
    hrefs = [str(have[name].href) for name in wanted]
    for href in hrefs:
        check_href(href, path, str(item.id))
    paths = [_gdal_path(href) for href in hrefs]
    name = f"{item.id}[{','.join(wanted)}]"
    scaling = _scaling(item, wanted)
    doubt = _doubt(item, scaling) if family == "optical" and wanted != ["visual"] else ""
    return Asset(paths[0] if len(paths) == 1 else _stack(paths, wanted, name), name, scaling, doubt)


def _scaling(item: pystac.Item, wanted: Sequence[str]) -> tuple[tuple[float, float], ...]:
    """(scale, offset) per band of the assets, by the raster extension of either version; empty where not stated.

    Earth Search says of its Sentinel-2 that the offset was applied to the pixels, and states it nevertheless.
    """
    applied = item.properties.get("earthsearch:boa_offset_applied") is True
    found: list[tuple[float, float]] = []
    stated = False
    for name in wanted:
        fields = item.assets[name].extra_fields
        bands = fields.get("raster:bands") or fields.get("bands") or [{}]
        if not isinstance(bands, list):
            bands = [{}]
        # common fields of all bands stand at the asset
        for band in bands if len(wanted) == 1 else bands[:1]:
            of = {**fields, **(band if isinstance(band, dict) else {})}
            scale = of.get("scale", of.get("raster:scale"))
            offset = of.get("offset", of.get("raster:offset"))
            stated = stated or scale is not None or offset is not None
            found.append((_number(scale, 1.0), 0.0 if applied else _number(offset, 0.0)))
    return tuple(found) if stated else ()


def _number(value: Any, default: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e30:  # NaN is none either
        return default
    return float(value)


def _doubt(item: pystac.Item, scaling: Sequence[tuple[float, float]]) -> str:
    """Sentinel-2 after baseline 04.00 stores 1000 more than it measures, unless a catalogue has removed that."""
    props = item.properties
    baseline = str(props.get("s2:processing_baseline") or props.get("processing:version") or "")
    about = f"{item.collection_id} {props.get('platform')} {props.get('constellation')} {item.id}".lower()
    if "sentinel-2" not in about and not item.id.startswith(("S2A", "S2B", "S2C")):
        return ""
    number = re.match(r"\d{1,3}\.\d{1,3}", baseline)
    if number is None or float(number[0]) < 4:
        return ""
    if "earthsearch:boa_offset_applied" in props or any(offset for _, offset in scaling):
        return ""
    return (
        f"Sentinel-2 of baseline {baseline} is stored with an offset of 1000, unless the catalogue has removed it; the"
        " item does not say, so nothing is subtracted"
    )


def item_assets(path: str) -> dict[str, dict[str, str | None]]:
    """Names of the assets of a STAC item, each with ``href`` and media ``type``.

    Raises:
        InputError: not a STAC item.
    """
    return {name: {"href": asset.href, "type": asset.media_type} for name, asset in _item(path).assets.items()}


def _item(path: str) -> pystac.Item:
    try:
        if not is_remote(path):  # pystac reads to the end, of a pipe or a device too
            read_text(Path(path.removeprefix("file://")))
        item = pystac.Item.from_file(path)
        item.make_asset_hrefs_absolute()
    except Exception as error:  # pystac takes the text for what it should be, and fails by whatever comes of it
        raise InputError(
            f"{path} is not a STAC item", found=(str(error).splitlines() or [type(error).__name__])[0][:300],
            expected="a STAC item (JSON) with raster assets",
        ) from error  # fmt: skip
    return item


def _gdal_path(href: str) -> str:
    for prefix, vsi in _VSI.items():
        if href.startswith(prefix):
            return vsi + href[len(prefix) :]
    return href.removeprefix("file://")


def _stack(paths: Sequence[str], bands: Sequence[str], name: str) -> str:
    """A VRT text with the first band of each file, which must share one grid."""
    heads, scales, points = [], [], []
    with gdal_env():
        for path in paths:
            try:
                with open_raster(path) as ds:
                    heads.append((ds.width, ds.height, ds.transform, ds.crs, ds.dtypes[0], ds.nodata))
                    scales.append((ds.scales[0], ds.offsets[0]))
                    points.append(ds.gcps)
            except RasterioError as error:
                raise InputError(
                    f"{path} cannot be read", found=str(error), expected=f"a raster, as {name} says"
                ) from error
    width, height, transform, crs, dtype, nodata = heads[0]
    for band, head in zip(bands, heads, strict=True):
        if head[:2] != (width, height) or not np.allclose(head[2], transform) or head[4] != dtype:
            raise InputError(
                f"the assets of {name} are on different grids", found=f"{band}: {head[0]} x {head[1]} {head[4]}",
                expected=f"{width} x {height} {dtype}, as {bands[0]}", hint="choose assets of one resolution",
            )  # fmt: skip
    rows = [f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">']
    gcps, gcp_crs = points[0]
    if gcps and transform.is_identity:
        rows += [f"<GCPList Projection={quoteattr(gcp_crs.to_wkt() if gcp_crs else '')}>"]
        rows += [
            f'<GCP Id="{p.id}" Pixel="{p.col!r}" Line="{p.row!r}" X="{p.x!r}" Y="{p.y!r}" Z="{p.z or 0.0!r}"/>'
            for p in gcps
        ]
        rows += ["</GCPList>"]
    else:
        rows += [f"<SRS>{escape(crs.to_wkt())}</SRS>"] if crs else []
        rows += [f"<GeoTransform>{', '.join(repr(float(v)) for v in transform.to_gdal())}</GeoTransform>"]
    for number, (path, band, (scale, offset)) in enumerate(zip(paths, bands, scales, strict=True), 1):
        local = Path(path).resolve().as_posix() if Path(path).is_file() else path
        rows += [
            f'<VRTRasterBand dataType="{_GDAL_TYPES[dtype]}" band="{number}"><Description>{escape(band)}</Description>',
            f"<Offset>{offset!r}</Offset><Scale>{scale!r}</Scale>",
            "" if nodata is None else f"<NoDataValue>{nodata}</NoDataValue>",
            f'<SimpleSource><SourceFilename relativeToVRT="0">{escape(local)}</SourceFilename>'
            "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>",
        ]
    return "".join([*rows, "</VRTDataset>"])
