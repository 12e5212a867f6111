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
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely.errors import ShapelyError

from codemae_geo.errors import InputError, OutputError, param
from codemae_geo.outputs import check_name
from codemae_geo.raster.reach import check_driver, check_file
from codemae_geo.vector.published import published_files, read_published

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
    around: GeoBox | None = None,
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
        around: of a collection of whole countries (:mod:`codemae_geo.vector.published`), only features that touch this
            grid's extent are read; a file of one's own stays whole.

    Returns:
        GeoDataFrame with the file's columns and ``source_fid`` (int64, the file's feature id).

    Raises:
        InputError: the file is unreadable, empty, has no CRS, or has features that are no polygons.
    """
    if around is not None and bounds is None and layer is None and published_files(str(path)) is not None:
        box = around.boundingbox
        clip, clip_crs = (box.left, box.bottom, box.right, box.top), around.crs
        frame = read_footprints(path, to_crs=clip_crs, bounds=clip, src_crs=src_crs)
        return frame if to_crs is None else frame.to_crs(CRS.from_user_input(to_crs))
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
        while (nested := np.isin(shapely.get_type_id(parts), (_POLYGONS[1], _COLLECTION))).any():
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
    try:
        check_name(str(path))
    except OutputError as error:
        raise InputError(error.message, found=error.found, expected=error.expected, hint=error.hint) from None
    source, _, named = str(path).partition("|layername=")
    files = None if layer or named else published_files(source)
    try:
        if files is not None:
            frame = read_published(files, bounds, to_crs, src_crs)
            crs = CRS.from_user_input(frame.crs)
        else:
            layer = _choose_layer(source, layer or named or None, what)
            info = pyogrio.read_info(source, layer=layer)
            check_driver(info["driver"], f"the {what} {path}")
            if src_crs is None and info["crs"] is None:
                raise InputError(
                    f"the {what} {path} has no coordinate reference system",
                    expected="a file that states one",
                    hint=crs_hint,
                )
            crs = CRS.from_user_input(src_crs if src_crs is not None else info["crs"])
            frame = pyogrio.read_dataframe(source, layer=layer, bbox=_bbox(bounds, to_crs, crs), fid_as_index=True)
    except (DataSourceError, DataLayerError, CRSError, ShapelyError, ValueError, RecursionError) as error:
        raise InputError(f"the {what} {path} cannot be read", found=_first_line(error)) from error
    if not isinstance(frame, gpd.GeoDataFrame):
        raise InputError(f"the {what} {path} has no geometry", expected="polygons")
    if frame.empty and bounds is None:
        raise InputError(f"the {what} {path} is empty", expected="at least one polygon")
    frame = frame.set_crs(crs, allow_override=True)
    _check_shapes(frame, path, what)
    try:
        frame = frame.set_geometry(polygons_only(frame.geometry.array), crs=crs)
    except ShapelyError as error:
        raise InputError(f"the {what} {path} has polygons that cannot be repaired", found=_first_line(error)) from error
    name = SOURCE_FID
    while name in frame.columns:  # a result of ours as input
        name += "_"
    frame.insert(0, name, frame.index.to_numpy(np.int64))
    return frame.reset_index(drop=True)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _check_shapes(frame: gpd.GeoDataFrame, path: str | Path, what: str) -> None:
    """Refuse what are no polygons, or none anywhere."""
    shapes = np.asarray(frame.geometry.array, dtype=object)
    kinds = shapely.get_type_id(shapes)
    allowed = np.isin(kinds, (-1, *_POLYGONS))
    for index in np.flatnonzero(kinds == _COLLECTION):
        allowed[index] = len(shapes[index].geoms) == 0 or polygon_parts(shapes[index])
    allowed |= shapely.is_empty(shapes)
    if not allowed.all():
        names = sorted({str(shape.geom_type) for shape in shapes[~allowed]})
        points = all("Point" in name for name in names)
        raise InputError(
            f"the {what} {path} must be polygons",
            found=", ".join(names),
            expected="Polygon, MultiPolygon",
            hint="make areas of the points first, for instance with QGIS's Buffer in a CRS of metres, or: ogr2ogr"
            ' areas.gpkg FILE -dialect SQLite -sql "SELECT ST_Buffer(geometry, 6) AS geometry, * FROM LAYER"'
            if points
            else None,
        )
    broken = ~np.isfinite(shapely.bounds(shapes)).all(1) & ~shapely.is_empty(shapes) & (kinds >= 0)
    # bounds pass over NaN
    finite = np.ones(len(shapes), bool)
    coordinates, owners = shapely.get_coordinates(shapes, return_index=True)
    finite[owners[~np.isfinite(coordinates).all(1)]] = False
    broken |= ~finite
    if broken.any():
        raise InputError(
            f"the {what} {path} has coordinates that are not numbers",
            found=f"NaN or infinite in {int(broken.sum())} of {len(shapes)} features, first number"
            f" {frame.index[np.flatnonzero(broken)[0]]}",
            hint="remove these features",
        )


def polygon_parts(collection: Any) -> bool:
    """Whether a collection holds a polygon, at any depth."""
    todo = [collection]
    while todo:
        shape = todo.pop()
        if shape.geom_type in ("Polygon", "MultiPolygon"):
            return True
        todo += list(getattr(shape, "geoms", ()))
    return False


def _choose_layer(source: str, layer: str | None, what: str) -> str:
    if "://" not in source and not source.startswith("/vsi") and not Path(source).exists():
        raise InputError(f"the {what} {source} does not exist")
    check_file(source, f"the {what} {source}")
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
