"""What a raster is, as `codemae info` tells it. Works on files that a run would refuse, and says what they lack."""

from __future__ import annotations

from typing import Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from codemae_geo.errors import InputError
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.geo import center_lonlat, crs_name, ground_sample_distance
from codemae_geo.raster.source import (
    SourceFile,
    alpha_index,
    check_complete,
    has_place,
    mask_kinds,
    read_header,
    read_patches,
    unreadable,
)
from codemae_geo.raster.stac import is_stac_item, item_assets
from codemae_geo.sensors import Array, Family, Mask, detect_unit


def inspect(path: str) -> dict[str, Any]:
    """Facts about one raster, ready for JSON.

    Args:
        path: anything GDAL opens, or a STAC item.

    Returns:
        Driver, grid, bands with type, nodata, range and mean of sampled patches, valid share, sensor and unit with the
        reason, overviews, tiling, tags; ``problems`` lists what keeps the file from being used.

    Raises:
        InputError: the file cannot be read.
    """
    if is_stac_item(path):
        return {"path": path, "driver": "STAC item", "assets": item_assets(path), "problems": []}
    with gdal_env():
        try:
            with rasterio.open(path) as ds:
                check_complete(ds, path, path)
                info, file = _header(ds, path)
        except RasterioError as error:
            raise unreadable(path, error) from error
    patches = list(read_patches([file], 16))
    info["valid_share"] = sum(int(ok.sum()) for _, ok in patches) / sum(ok.size for _, ok in patches)
    for i, band in enumerate(info["bands"]):
        band.update(_statistics(np.concatenate([values[i][ok] for values, ok in patches])))
    sample, valid = max(patches, key=lambda p: int(p[1].sum()))
    info["guess"] = _guess(info, file, sample, valid)
    info["problems"] = _problems(path, info["guess"]["family"])
    return info


def _header(ds: Any, path: str) -> tuple[dict[str, Any], SourceFile]:
    alpha = alpha_index(ds)
    bands = tuple(i for i in range(1, ds.count + 1) if i != alpha)
    dtype = np.result_type(*(ds.dtypes[b - 1] for b in bands)).name
    grid = GeoBox((ds.height, ds.width), ds.transform, ds.crs)
    nodata = ds.nodatavals[bands[0] - 1]
    file = SourceFile(
        path=path, name=path, driver=ds.driver, geobox=grid, count=ds.count, dtype=dtype,
        nodata=None if nodata is None else float(nodata), bands=bands,
        mask=mask_kinds(ds, bands[0], dtype, nodata, alpha, override=False),
        alpha=alpha, block_shape=tuple(ds.block_shapes[0]), overviews=tuple(ds.overviews(1)),
    )  # fmt: skip
    located = has_place(ds.crs) and not ds.transform.is_identity
    return {
        "path": path,
        "driver": ds.driver,
        "width": ds.width,
        "height": ds.height,
        "crs": crs_name(ds.crs) if ds.crs is not None else None,
        "transform": list(ds.transform)[:6],
        "rotated": bool(ds.transform.b or ds.transform.d),
        "resolution": [
            float(np.hypot(ds.transform.a, ds.transform.d)),
            float(np.hypot(ds.transform.b, ds.transform.e)),
        ],
        "gsd_m": ground_sample_distance(grid) if located else None,
        "center_lonlat": list(center_lonlat(grid)) if located else None,
        "gcps": len(ds.gcps[0]),
        "mask": list(file.mask),
        "bands": [
            {
                "index": b,
                "dtype": ds.dtypes[b - 1],
                "nodata": ds.nodatavals[b - 1],
                "description": ds.descriptions[b - 1],
                "color": ds.colorinterp[b - 1].name,
            }
            for b in bands
        ],
        "block": list(file.block_shape),
        "tiled": bool(file.block_shape[1] < ds.width or file.block_shape[0] >= ds.height),
        "overviews": list(file.overviews),
        "compression": ds.compression.name if ds.compression else None,
        "tags": {k: v for k, v in ds.tags().items() if k.lower().startswith("codemae")},
    }, file


def _statistics(values: Array) -> dict[str, float | None]:
    values = np.abs(values) if np.iscomplexobj(values) else values
    if values.size == 0:
        return {"min": None, "max": None, "mean": None}
    return {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean(dtype=np.float64))}


def _guess(info: dict[str, Any], file: SourceFile, sample: Array, valid: Mask) -> dict[str, str]:
    """Family by bands, unit by values, and the row of the sensor table that fits."""
    names = " ".join((b["description"] or "").lower() for b in info["bands"])
    radar = any(p in names.split() for p in ("vv", "vh", "hh", "hv")) or any(
        w in names for w in ("amplitude", "backscatter", "sigma0", "gamma0")
    )
    decibel = file.dtype_family == "float" and detect_unit("sar", file.dtype, sample, valid)[0] == "db"
    few = len(file.bands) < 3
    family: Family = "sar" if few or radar or decibel or file.dtype_family == "complex" else "optical"
    reason = (
        "named after polarisation" if radar else "complex values" if file.dtype_family == "complex"
        else f"{len(file.bands)} band(s)" if few else "values like decibels" if decibel else f"{len(file.bands)} bands"
    )  # fmt: skip
    unit, why = detect_unit(family, file.dtype, sample, valid)
    if family == "optical":
        sensor = "sentinel-2-l2a" if len(file.bands) in (12, 13) and unit == "dn" else "rgb"
    else:
        sensor = "sentinel-1-rtc-db" if unit == "db" and len(file.bands) == 2 else "sar"
    return {"family": family, "family_reason": reason, "unit": unit, "unit_reason": why, "sensor": sensor}


def _problems(path: str, family: Family) -> list[str]:
    try:
        read_header(path, family=family)
    except InputError as error:
        return [str(error)]
    return []


def format_info(info: dict[str, Any]) -> str:
    """The facts as plain text, legible without colour."""
    lines = [info["path"]]

    def row(label: str, text: str) -> None:
        lines.append(f"  {label:<12}{text}")

    row("format", info["driver"] + (f", {info['compression']}" if info.get("compression") else ""))
    if "assets" in info:
        for name, asset in info["assets"].items():
            row(name, f"{asset['href']} ({asset['type'] or 'unknown type'})")
        return "\n".join(lines)
    row("size", f"{info['width']} x {info['height']} pixels, {len(info['bands'])} band(s)")
    row("CRS", (info["crs"] or "none") + (f", {info['gcps']} ground control points" if info["gcps"] else ""))
    across, down = info["resolution"]
    ground = f", {info['gsd_m']:.3g} m on the ground" if info["gsd_m"] is not None else ""
    row("pixel", f"{across:.9g} x {down:.9g}{', rotated' if info['rotated'] else ''}{ground}")
    if info["center_lonlat"]:
        row("center", "{:.5f} E, {:.5f} N".format(*info["center_lonlat"]))
    kind = "tiled" if info["tiled"] else "in strips"
    row("blocks", f"{info['block'][1]} x {info['block'][0]}, {kind}, overviews {info['overviews'] or 'none'}")
    row("mask", f"{', '.join(info['mask']) or 'none'}; {info['valid_share']:.1%} of the sample valid")
    for band in info["bands"]:
        span = "no valid value" if band["min"] is None else "{min:.5g} .. {max:.5g}, mean {mean:.5g}".format(**band)
        name = f" {band['description']}" if band["description"] else ""
        nodata = "" if band["nodata"] is None else f", nodata {band['nodata']:g}"
        row(f"band {band['index']}", f"{band['dtype']}{name}: {span}{nodata}")
    guess = info["guess"]
    row("sensor", f"{guess['family']} ({guess['family_reason']}), like {guess['sensor']}")
    row("unit", f"{guess['unit']} ({guess['unit_reason']})")
    for key, value in info["tags"].items():
        row("tag", f"{key}={value}")
    lines += ["  problem     " + p.replace("\n", "\n              ") for p in info["problems"]]
    return "\n".join(lines)
