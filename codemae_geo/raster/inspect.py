"""What a raster is, as `codemae info` tells it. Works on files that a run would refuse, and says what they lack."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from codemae_geo.errors import InputError, Speak, as_keyword
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.evidence import agreed
from codemae_geo.raster.fill import without_fill
from codemae_geo.raster.gcps import GcpMethod
from codemae_geo.raster.geo import center_lonlat, crs_name, ground_sample_distance
from codemae_geo.raster.source import (
    OpenSource,
    SourceFile,
    check_complete,
    evidence_of,
    find_alpha,
    locate,
    mask_kinds,
    read_header,
    read_patches,
    scaling_of,
    unreadable,
    value_type,
)
from codemae_geo.raster.stac import is_stac_item, item_assets
from codemae_geo.sensors import Array, Family, Mask, detect_unit

#: a raster of classes has at most so many different values
_FEW_VALUES = 32


def inspect(path: str, gcps: GcpMethod = "tps", speak: Speak = as_keyword) -> dict[str, Any]:
    """Facts about one raster, ready for JSON.

    Args:
        path: anything GDAL opens, or a STAC item.
        gcps: how ground control points are used, of a file that has nothing else.
        speak: how problems spell the parameters that they name.

    Returns:
        Driver, grid, bands with type, nodata, range and mean of sampled patches, valid share, sensor and unit with the
        reason, overviews, tiling, tags; ``problems`` lists what keeps the file from being used, ``warnings`` what a
        user should know when using it.

    Raises:
        InputError: the file cannot be read.
    """
    if is_stac_item(path):
        return {"path": path, "driver": "STAC item", "assets": item_assets(path), "problems": []}
    with gdal_env():
        try:
            with OpenSource(path, path, gcps=gcps) as source:
                check_complete(source.raw, path, path)
                info, file = _header(source.raw, source.dataset, path)
        except RasterioError as error:
            raise unreadable(path, error) from error
    (file,) = without_fill([file])
    patches = list(read_patches([file], 16))
    info["valid_share"] = sum(int(ok.sum()) for _, ok in patches) / sum(ok.size for _, ok in patches)
    for i, band in enumerate(info["bands"]):
        band.update(_statistics(np.concatenate([values[i][ok] for values, ok in patches])))
    sample, valid = max(patches, key=lambda p: int(p[1].sum()))
    info["guess"] = _guess(info, file, sample, valid)
    info |= _verdict(path, info["guess"]["family"], gcps, speak)
    info["warnings"] += [text for _, text in file.warnings]
    return info


def _header(raw: Any, ds: Any, path: str) -> tuple[dict[str, Any], SourceFile]:
    alpha, _ = find_alpha(raw)
    if ds.count > raw.count:
        alpha = ds.count
    bands = tuple(i for i in range(1, ds.count + 1) if i != alpha)
    dtype = np.result_type(*(value_type(ds.dtypes[b - 1]) for b in bands)).name
    nodata = ds.nodatavals[bands[0] - 1]
    try:
        grid, located = locate(raw, ds, path), True
    except InputError:
        grid, located = GeoBox((ds.height, ds.width), Affine.identity(), None), False
    try:
        scaling, _ = scaling_of(raw, ds.count, (), path)
    except InputError:
        scaling = ()
    product, said = evidence_of(raw, path, bands[0])
    file = SourceFile(
        path=path, name=path, driver=raw.driver, geobox=grid, count=ds.count,
        dtype=np.result_type(dtype, np.float32).name if scaling else dtype,
        nodata=None if nodata is None else float(nodata), bands=bands,
        mask=mask_kinds(ds, bands[0], dtype, nodata, alpha, override=False),
        alpha=alpha, block_shape=tuple(raw.block_shapes[0]), overviews=tuple(raw.overviews(1)),
        stored=dtype, scaling=scaling, product=product, said=said,
    )  # fmt: skip
    return {
        "path": path,
        "driver": raw.driver,
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
        "gcps": len(raw.gcps[0]),
        "mask": list(file.mask),
        "bands": [
            {
                "index": b,
                "dtype": ds.dtypes[b - 1],
                "nodata": ds.nodatavals[b - 1],
                "description": ds.descriptions[b - 1],
                "color": ds.colorinterp[b - 1].name,
                **({"scale": scaling[b - 1][0], "offset": scaling[b - 1][1]} if scaling else {}),
            }
            for b in bands
        ],
        "block": list(file.block_shape),
        "tiled": bool(file.block_shape[1] < ds.width or file.block_shape[0] >= ds.height),
        "overviews": list(file.overviews),
        "compression": raw.compression.name if raw.compression else None,
        "tags": {k: v for k, v in raw.tags().items() if k.lower().startswith("codemae")},
    }, file


def _statistics(values: Array) -> dict[str, float | None]:
    values = np.abs(values) if np.iscomplexobj(values) else values
    if values.size == 0:
        return {"min": None, "max": None, "mean": None}
    return {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean(dtype=np.float64))}


def _guess(info: dict[str, Any], file: SourceFile, sample: Array, valid: Mask) -> dict[str, str]:
    """Family by bands and metadata, unit by all evidence, and the row of the sensor table that fits.

    The unit is ``unknown`` where the evidence does not settle it.
    """
    names = " ".join((b["description"] or "").lower() for b in info["bands"])
    radar = any(p in re.split(r"[^a-z0-9]+", names) for p in ("vv", "vh", "hh", "hv")) or any(
        w in names for w in ("amplitude", "backscatter", "sigma0", "gamma0")
    )
    few = len(file.bands) < 3
    is_complex = file.dtype_family == "complex"
    decibel = not few and not radar and file.dtype_family == "float" and _unit("sar", file, sample, valid)[0] == "db"
    family: Family = "sar" if few or radar or decibel or is_complex or file.product else "optical"
    reason = (
        f"a product of {file.product}" if file.product else "named after polarisation" if radar
        else "complex values" if is_complex
        else f"{len(file.bands)} band(s)" if few else "values like decibels" if decibel else f"{len(file.bands)} bands"
    )  # fmt: skip
    unit, why = _unit(family, file, sample, valid)
    if family == "optical":
        sensor = _optical_sensor(info, unit)
    else:
        sensor = file.product or ("sentinel-1-rtc-db" if unit == "db" and len(file.bands) == 2 else "sar")
    kind, kind_reason = str(family), reason
    if few and not (radar or is_complex or file.product or file.said) and file.dtype_family != "float":
        kind, kind_reason = _kind_of_integers(info, file, sample, valid)
    return {
        "kind": kind, "kind_reason": kind_reason,
        "family": family, "family_reason": reason, "unit": unit, "unit_reason": why, "sensor": sensor,
    }  # fmt: skip


def _optical_sensor(info: dict[str, Any], unit: str) -> str:
    """Sentinel-2 by its bands: B10, of cirrus, is in level 1C alone."""
    names = {(b["description"] or "").upper() for b in info["bands"]}
    named = {name for name in names if re.fullmatch(r"B(0?\d|1[0-2]|8A)", name)}
    if unit != "dn" or not (named or len(info["bands"]) in (12, 13)):
        return "rgb"
    if named and len(named) < 12:  # a selection: its level cannot be told, and the values are alike
        return "sentinel-2-l2a"
    return "sentinel-2-l1c" if "B10" in named or (not named and len(info["bands"]) == 13) else "sentinel-2-l2a"


def _kind_of_integers(info: dict[str, Any], file: SourceFile, sample: Array, valid: Mask) -> tuple[str, str]:
    """What one or two bands of whole numbers without a word on their origin may be."""
    if len(file.bands) == 1:
        if info["bands"][0]["color"] == "palette":
            return "classes", "a palette"
        values = np.unique(sample[0][valid])
        if 0 < len(values) <= _FEW_VALUES and values.max() <= np.iinfo(np.uint8).max:
            return "classes", f"whole numbers, {len(values)} different values"
    return "unknown", f"{len(file.bands)} band(s) of whole numbers, nothing says of what; read as SAR where asked for"


def _unit(family: Family, file: SourceFile, sample: Array, valid: Mask) -> tuple[str, str]:
    try:
        return detect_unit(family, file.dtype, sample, valid, agreed([file.said]) if family == "sar" else ())
    except InputError as error:
        return "unknown", f"{error.message}: {error.found}"


def _verdict(path: str, family: Family, gcps: GcpMethod, speak: Speak) -> dict[str, Any]:
    """What a run would say of the file: ``problems``, or ``warnings`` and the fit of ground control points."""
    try:
        file = read_header(path, family=family, gcps=gcps)
    except InputError as error:
        return {"problems": [error.text(speak)], "warnings": []}
    fit = {"gcps_fit": asdict(file.gcps)} if file.gcps else {}
    return {"problems": [], "warnings": [text for _, text in file.warnings], "notes": list(file.notes), **fit}


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
        nodata = "" if band["nodata"] is None else f", nodata {band['nodata']!r}".removesuffix(".0")
        row(f"band {band['index']}", f"{band['dtype']}{name}: {span}{nodata}")
    guess = info["guess"]
    if guess["kind"] in ("optical", "sar"):
        row("sensor", f"{guess['family']} ({guess['family_reason']}), like {guess['sensor']}")
        row("unit", f"{guess['unit']} ({guess['unit_reason']})")
    else:
        looks = "looks like classes" if guess["kind"] == "classes" else "unknown"
        row("sensor", f"{looks} ({guess['kind_reason']})")
    for note in info.get("notes", ()):
        row("note", note)
    for key, value in info["tags"].items():
        row("tag", f"{key}={value}")
    for text in info.get("warnings", ()):
        row("warning", text)
    lines += ["  problem     " + p.replace("\n", "\n              ") for p in info["problems"]]
    return "\n".join(lines)
