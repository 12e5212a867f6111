"""What a run tells of itself, in ``summary.json`` and in the tags of its rasters."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from codemae_geo import __version__
from codemae_geo.outputs import write_failure
from codemae_geo.raster.datum import scene_shift
from codemae_geo.raster.env import is_remote
from codemae_geo.raster.geo import ground_sample_distance
from codemae_geo.raster.scene import Scene
from codemae_geo.sensors import Conversion
from codemae_geo.weights import PackageFile

#: bytes of each end of a file that its fingerprint covers
_FINGERPRINT_ENDS = 2**20


def describe_model(package: PackageFile) -> dict[str, Any]:
    """Which model it was, and what it cannot do."""
    contract = package.contract
    return {
        "name": contract.name,
        "version": contract.version,
        "sha256": package.sha256,
        "licence": contract.licence,
        "limits": contract.limits,
        "building_calibration": contract.building_calibration.split if contract.building_calibration else None,
    }


def describe_scene(scene: Scene, conversion: Conversion, grid: GeoBox) -> dict[str, Any]:
    """Files of a scene, how their values were read, and how they were brought to a grid."""
    shift, _ = scene_shift(tuple(f.geobox for f in scene.files), grid)
    return {
        "files": scene.names,
        "bands": list(scene.files[0].bands),
        "src_crs": scene.files[0].src_crs,
        "family": scene.family,
        "unit": scene.unit,
        "unit_reason": scene.unit_reason,
        "conversion": conversion.as_dict(),
        "crs": str(scene.crs),
        "gsd_m": scene.gsd,
        **({"gcps": scene.gcps} if scene.gcps else {}),
        **({"datum_shift": asdict(shift)} if shift else {}),
    }


def describe_grid(grid: GeoBox) -> dict[str, Any]:
    """A grid as JSON: CRS, shape, affine (row-major, six numbers), bounds, ground sample distance in metres."""
    crs = grid.crs
    assert crs is not None
    box = grid.boundingbox
    return {
        "crs": f"EPSG:{crs.to_epsg()}" if crs.to_epsg() else crs.to_wkt(),
        "height": grid.shape[0],
        "width": grid.shape[1],
        "transform": list(grid.affine)[:6],
        "bounds": [box.left, box.bottom, box.right, box.top],
        "gsd_m": ground_sample_distance(grid),
    }


def versions(*libraries: str) -> dict[str, str]:
    """Versions of ourselves, Python and those of the libraries that are installed."""
    found = {"codemae_geo": __version__, "python": platform.python_version()}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def gdal_versions() -> dict[str, str]:
    """Versions of the GDAL and PROJ that rasterio brings: they decode files and transform coordinates."""
    import rasterio

    return {"gdal": rasterio.__gdal_version__, "proj": rasterio.__proj_version__}


def fingerprint(path: str) -> dict[str, Any]:
    """Size, and SHA-256 of the size, first and last MiB, of a local file: cheap for any scene; {} for a remote one."""
    local = Path(path)
    if is_remote(path) or not local.is_file():
        return {}
    size = local.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with local.open("rb") as file:
        digest.update(file.read(_FINGERPRINT_ENDS))
        if size > _FINGERPRINT_ENDS:
            file.seek(max(size - _FINGERPRINT_ENDS, _FINGERPRINT_ENDS))
            digest.update(file.read())
    return {"bytes": size, "sha256_ends": digest.hexdigest()}


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write ``summary.json``.

    Raises:
        OutputError: the disk is full.
    """
    try:
        text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False, default=str)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise write_failure(error, path) from error
