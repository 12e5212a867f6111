"""Geometry of grids: outlines in other systems, lattices, ground distances. Pure functions over GeoBox; reads nothing.

Convention: pixel coordinates are (column, row), (0, 0) the outer corner of the first pixel. Map coordinates are always
(x, y) or (longitude, latitude), whatever the axis order of the CRS says.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer

from codemae_geo.sensors import Array

#: two grids share a lattice when they agree within this fraction of a pixel over their whole extent: a thousandth
#: changes an interpolated uint8 value by a quarter of a grey level at most, and is what rounded headers leave
LATTICE_TOLERANCE = 1e-3
_WGS84 = Geod(ellps="WGS84")


@lru_cache(maxsize=256)
def _transformer(src: str, dst: str) -> Transformer:
    return Transformer.from_crs(CRS.from_user_input(src), CRS.from_user_input(dst), always_xy=True)


def transform_points(x: Array, y: Array, src: Any, dst: Any) -> tuple[Array, Array]:
    """Points from one CRS to another; infinite where there is no answer."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if src == dst:
        return x, y
    return _transformer(str(src), str(dst)).transform(x, y)


def apply(affine: Affine, x: Array, y: Array) -> tuple[Array, Array]:
    """An affine on arrays."""
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def edge_pixels(rows: int, cols: int, n: int = 33) -> tuple[Array, Array]:
    """(column, row) of points along the outline of a grid, closed, clockwise."""
    c, r = np.linspace(0, cols, n), np.linspace(0, rows, n)
    zero_c, zero_r = np.zeros(n), np.zeros(n)
    return (
        np.concatenate([c, zero_c + cols, c[::-1], zero_c]),
        np.concatenate([zero_r, r, zero_r + rows, r[::-1]]),
    )


def outline(grid: GeoBox, crs: Any = None) -> Any:
    """The extent of a grid as a shapely polygon in ``crs`` (the grid's own without one), edges densified."""
    x, y = apply(grid.affine, *edge_pixels(*grid.shape.yx))
    if crs is not None:
        x, y = transform_points(x, y, grid.crs, crs)
    keep = np.isfinite(x) & np.isfinite(y)
    if keep.sum() < 4:
        return shapely.Polygon()
    return shapely.make_valid(shapely.Polygon(np.column_stack([x[keep], y[keep]])))


def lattice_offset(reference: GeoBox, other: GeoBox) -> tuple[int, int] | None:
    """(column, row) of ``other``'s first pixel in ``reference``, when both lie on one lattice; else None."""
    if reference.crs != other.crs:
        return None
    relative = ~reference.affine * other.affine
    rows, cols = other.shape.yx
    drift = max(
        abs(relative.a - 1) * cols + abs(relative.b) * rows, abs(relative.d) * cols + abs(relative.e - 1) * rows
    )
    col, row = round(relative.c), round(relative.f)
    if max(abs(relative.c - col), abs(relative.f - row)) + drift > LATTICE_TOLERANCE:
        return None
    return col, row


def is_north_up(grid: GeoBox) -> bool:
    """No rotation or skew, x to the right, y upwards."""
    a = grid.affine
    return bool(a.b == 0 and a.d == 0 and a.a > 0 and a.e < 0)


def shifted(grid: GeoBox, row0: int, row1: int, col0: int, col1: int) -> GeoBox:
    """The part of a grid's lattice between rows and columns that may lie outside the grid."""
    affine = grid.affine if row0 == col0 == 0 else grid.affine * Affine.translation(col0, row0)
    return GeoBox((row1 - row0, col1 - col0), affine, grid.crs)


def cover(lattice: GeoBox, x: Array, y: Array) -> tuple[int, int, int, int] | None:
    """(row0, row1, col0, col1) of the whole pixels of a lattice that cover points in its CRS; None without points."""
    keep = np.isfinite(x) & np.isfinite(y)
    if not keep.any():
        return None
    col, row = apply(~lattice.affine, x[keep], y[keep])
    tol = LATTICE_TOLERANCE
    row0, col0 = int(np.floor(row.min() + tol)), int(np.floor(col.min() + tol))
    return row0, max(int(np.ceil(row.max() - tol)), row0 + 1), col0, max(int(np.ceil(col.max() - tol)), col0 + 1)


@lru_cache(maxsize=256)
def _full_turn(crs: str) -> float | None:
    known = CRS.from_user_input(crs)
    return 2 * np.pi / known.axis_info[0].unit_conversion_factor if known.is_geographic else None


def _middle(grid: GeoBox) -> float:
    """X of the middle of a grid."""
    rows, cols = grid.shape.yx
    return float(grid.affine.a * cols / 2 + grid.affine.b * rows / 2 + grid.affine.c)


def beside(grid: GeoBox, x: Array) -> Array:
    """Longitudes in the CRS of a grid, moved by whole turns to where it is: -94 becomes 266 beside one of 200 to 300.

    In a system without longitudes x stays.
    """
    turn = _full_turn(str(grid.crs))
    if turn is None:
        return x
    with np.errstate(invalid="ignore"):
        turns = np.round((_middle(grid) - x) / turn)
    return np.where(np.isfinite(turns) & (turns != 0), x + turns * turn, x)


def turned(grid: GeoBox, lon: float) -> GeoBox:
    """A grid of longitudes, moved by whole turns to where its middle is nearest to ``lon`` degrees; others stay."""
    turn = _full_turn(str(grid.crs))
    if turn is None or not np.isfinite(lon):
        return grid
    turns = round(lon / 360 - _middle(grid) / turn)
    return GeoBox(grid.shape, Affine.translation(turns * turn, 0) * grid.affine, grid.crs) if turns else grid


def center_lonlat(grid: GeoBox) -> tuple[float, float]:
    """Longitude and latitude of the middle of a grid, degrees."""
    rows, cols = grid.shape.yx
    x, y = apply(grid.affine, np.array([cols / 2]), np.array([rows / 2]))
    lon, lat = transform_points(x, y, grid.crs, "EPSG:4326")
    return float(lon[0]), float(lat[0])


def ground_size(grid: GeoBox) -> tuple[float, float]:
    """Length on the ellipsoid, in metres, of one pixel along a row and along a column, at the middle of the grid."""
    rows, cols = grid.shape.yx
    r, c = rows / 2, cols / 2
    col = np.array([c - 0.5, c + 0.5, c, c])
    row = np.array([r, r, r - 0.5, r + 0.5])
    lon, lat = transform_points(*apply(grid.affine, col, row), grid.crs, "EPSG:4326")
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return float("nan"), float("nan")
    along = _WGS84.inv(lon[[0, 2]], lat[[0, 2]], lon[[1, 3]], lat[[1, 3]])[2]
    return float(along[0]), float(along[1])


def ground_sample_distance(grid: GeoBox) -> float:
    """Side in metres of a square as large as the pixel in the middle of the grid. Web Mercator's 10 m at 34 degrees
    north is 8.3 m here: the ground counts, not the map.
    """
    a, b = ground_size(grid)
    return float((a * b) ** 0.5)


def local_scale(grid: GeoBox, crs: Any) -> float:
    """Side, in units of ``crs``, of a square as large as the pixel in the middle of the grid."""
    rows, cols = grid.shape.yx
    r, c = rows / 2, cols / 2
    col = np.array([c - 0.5, c + 0.5, c, c])
    row = np.array([r, r, r - 0.5, r + 0.5])
    x, y = transform_points(*apply(grid.affine, col, row), grid.crs, crs)
    det = (x[1] - x[0]) * (y[3] - y[2]) - (x[3] - x[2]) * (y[1] - y[0])
    return float(abs(det) ** 0.5)


def utm_crs(lon: float, lat: float) -> str:
    """EPSG code of the UTM zone at a place; universal polar stereographic beyond 84 N and 80 S."""
    if lat > 84:
        return "EPSG:32661"
    if lat < -80:
        return "EPSG:32761"
    zone = int((lon + 180) // 6) % 60 + 1
    return f"EPSG:{32600 + zone if lat >= 0 else 32700 + zone}"


def equal_area_crs(lon: float, lat: float) -> str:
    """Equal-area system centred on a place: areas are true, and neither pole nor date line is an edge."""
    return f"+proj=laea +lat_0={lat:.6f} +lon_0={lon:.6f} +datum=WGS84 +units=m +no_defs"


def crs_name(crs: Any) -> str:
    """``EPSG:32633`` where there is a code, else the name in the definition."""
    known = CRS.from_user_input(str(crs))
    authority = known.to_authority(min_confidence=100)
    return ":".join(authority) if authority else known.name
