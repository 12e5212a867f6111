"""Read building footprints and areas of interest from any vector file that OGR reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from codemae_geo.errors import InputError, param

#: column with the feature's number in its own file, by which a result is joined back to it
SOURCE_FID = "source_fid"

_POLYGONS = (3, 6)  # GEOS type ids of Polygon and MultiPolygon
_COLLECTION = 7


def read_footprints(
    path: str | Path,
    *,
    layer: str | None = None,
    to_crs: Any = None,
    bounds: tuple[float, float, float, float] | None = None,
    src_crs: Any = None,
) -> gpd.GeoDataFrame:
    """Read building footprints, all of their attributes, and a stable number for each.

    Invalid polygons (bow-ties, repeated rings) are repaired; features without a geometry stay, with an empty one.
    Z values are dropped.

    Args:
        path: any OGR vector file; ``file.gpkg|layername=name`` names a layer as QGIS does.
        layer: name of the layer, needed where a file has more than one polygon layer.
        to_crs: CRS of the result, anything pyproj understands; None keeps the file's own.
        bounds: (left, bottom, right, top) in ``to_crs``: read only features that touch it.
        src_crs: CRS of a file that does not state one.

    Returns:
        GeoDataFrame with the file's columns and ``source_fid`` (int64, the file's feature id).

    Raises:
        InputError: the file is unreadable, empty, has no CRS, or has features that are no polygons.
    """
    frame = _read_polygons(
        path,
        layer,
        src_crs,
        "footprints",
        f"say which one it is with {param('footprints_crs', 'EPSG:...')}",
        to_crs=to_crs,
        bounds=bounds,
    )
    if to_crs is None or CRS.from_user_input(to_crs).equals(CRS.from_user_input(frame.crs)):
        return frame
    return _finite(frame.to_crs(CRS.from_user_input(to_crs)), path, to_crs)


def read_aoi(path: str | Path, *, to_crs: Any, layer: str | None = None, src_crs: Any = None) -> shapely.Geometry:
    """The union of all polygons of a file, in ``to_crs``.

    Long edges get intermediate vertices before reprojection, so that a box in degrees stays one on a UTM grid.

    Raises:
        InputError: the file is unreadable, empty, has no CRS, or has features that are no polygons.
    """
    frame = _read_polygons(
        path, layer, src_crs, "area of interest", "give it one, for instance with ogr2ogr -a_srs EPSG:..."
    )
    union = shapely.union_all(frame.geometry.array)
    if union.is_empty:
        raise InputError(f"the area of interest {path} has no area", expected="at least one polygon")
    target = CRS.from_user_input(to_crs)
    if target.equals(CRS.from_user_input(frame.crs)):
        return union
    left, bottom, right, top = union.bounds
    dense = gpd.GeoSeries([shapely.segmentize(union, max(right - left, top - bottom) / 100)], crs=frame.crs)
    projected = _finite(gpd.GeoDataFrame(geometry=dense).to_crs(target), path, to_crs)
    return shapely.union_all(polygons_only(projected.geometry.array))


def polygons_only(geometries: Iterable[Any] | NDArray[Any]) -> NDArray[Any]:
    """Two-dimensional valid polygons: each geometry repaired, without lines and points, empty where nothing is left."""
    out = shapely.force_2d(np.asarray(geometries, dtype=object))
    out[shapely.is_missing(out)] = shapely.Polygon()
    broken = np.flatnonzero(~shapely.is_valid(out))
    out[broken] = shapely.make_valid(out[broken])
    for index in np.flatnonzero(~np.isin(shapely.get_type_id(out), _POLYGONS)):
        parts = shapely.get_parts(out[index])
        nested = shapely.get_type_id(parts) == _POLYGONS[1]
        parts = np.concatenate([parts[~nested], shapely.get_parts(parts[nested])])
        out[index] = shapely.union_all(parts[shapely.get_type_id(parts) == _POLYGONS[0]])
    return out


def _read_polygons(
    path: str | Path,
    layer: str | None,
    src_crs: Any,
    what: str,
    crs_hint: str,
    *,
    to_crs: Any = None,
    bounds: tuple[float, float, float, float] | None = None,
) -> gpd.GeoDataFrame:
    """Read, check and repair; the CRS stays the file's own."""
    source, _, named = str(path).partition("|layername=")
    layer = _choose_layer(source, layer or named or None, what)
    try:
        info = pyogrio.read_info(source, layer=layer)
        if src_crs is None and info["crs"] is None:
            raise InputError(
                f"the {what} {path} has no coordinate reference system",
                expected="a file that states one",
                hint=crs_hint,
            )
        crs = CRS.from_user_input(src_crs if src_crs is not None else info["crs"])
        frame = pyogrio.read_dataframe(source, layer=layer, bbox=_bbox(bounds, to_crs, crs), fid_as_index=True)
    except (DataSourceError, DataLayerError, CRSError) as error:
        raise InputError(f"the {what} {path} cannot be read", found=str(error)) from error
    if not isinstance(frame, gpd.GeoDataFrame):
        raise InputError(f"the {what} {path} has no geometry", expected="polygons")
    if frame.empty and bounds is None:
        raise InputError(f"the {what} {path} is empty", expected="at least one polygon")
    frame = frame.set_crs(crs, allow_override=True)
    kinds = frame.geometry.dropna().geom_type
    other = sorted(set(kinds[~kinds.isin(["Polygon", "MultiPolygon"])]))
    if other:
        raise InputError(
            f"the {what} {path} must be polygons", found=", ".join(other), expected="Polygon, MultiPolygon"
        )
    frame = frame.set_geometry(polygons_only(frame.geometry.array), crs=crs)
    name = SOURCE_FID
    while name in frame.columns:  # a result of ours as input
        name += "_"
    frame.insert(0, name, frame.index.to_numpy(np.int64))
    return frame.reset_index(drop=True)


def _choose_layer(source: str, layer: str | None, what: str) -> str:
    if "://" not in source and not source.startswith("/vsi") and not Path(source).exists():
        raise InputError(f"the {what} {source} does not exist")
    try:
        layers = {str(name): kind for name, kind in pyogrio.list_layers(source)}
    except DataSourceError as error:
        raise InputError(f"the {what} {source} is not a vector file that can be read", found=str(error)) from error
    spatial = [name for name, kind in layers.items() if kind is not None]
    if layer is None:
        if not spatial:
            raise InputError(f"the {what} {source} has no layer with a geometry", found=", ".join(layers) or "no layer")
        polygons = [n for n in spatial if "Polygon" in layers[n]]
        candidates = polygons or spatial
        if len(candidates) > 1:
            raise InputError(
                f"the {what} {source} has more than one layer",
                found=", ".join(candidates),
                hint=f'name one: "{source}|layername={candidates[0]}"',
            )
        return candidates[0]
    if layer not in layers:
        raise InputError(f"the {what} {source} has no layer {layer!r}", found=", ".join(layers))
    return layer


def _bbox(
    bounds: tuple[float, float, float, float] | None, to_crs: Any, crs: CRS
) -> tuple[float, float, float, float] | None:
    if bounds is None or to_crs is None:
        return bounds
    left, bottom, right, top = Transformer.from_crs(to_crs, crs, always_xy=True).transform_bounds(*bounds)
    return (left, bottom, right, top) if left <= right else None  # across the antimeridian: read all


def _finite(frame: gpd.GeoDataFrame, path: str | Path, to_crs: Any) -> gpd.GeoDataFrame:
    if not np.isfinite(shapely.get_coordinates(frame.geometry.array)).all():
        raise InputError(
            f"{path} has places that {CRS.from_user_input(to_crs).name} cannot represent",
            hint="check that its coordinate reference system is the right one",
        )
    return frame
