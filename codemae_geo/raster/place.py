"""Whether a grid is a place on the Earth: degenerate affines, coordinates that a system cannot have, other planets."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from codemae_geo.errors import InputError, number
from codemae_geo.raster.geo import apply, edge_pixels

#: semi-major axes of the Earth's ellipsoids lie in here, metres; Mars has 3.4e6, Venus 6.05e6
_EARTH = (6.35e6, 6.4e6)
#: no system of the Earth has larger coordinates than this (its circumference is 4e7 m, or 1.3e8 feet)
_LARGEST = 1e9


@lru_cache(maxsize=256)
def horizontal(text: str) -> str | None:
    """The geographic or projected system in a definition, as a code or WKT; None for a local (engineering) one.

    The height of a compound or three-dimensional system, and a transformation bound to it, are left out.

    Raises:
        CRSError: not a definition.
    """
    crs = CRS.from_user_input(text)
    found = crs
    for _ in range(4):
        if found.is_compound:
            found = found.sub_crs_list[0]
        elif found.is_bound and found.source_crs is not None:
            found = found.source_crs
    if not (found.is_geographic or found.is_projected):
        return None
    flat = found.to_2d() if len(found.axis_info) == 3 else found
    if flat == crs:
        return text
    code = flat.to_authority(min_confidence=100)
    return ":".join(code) if code else flat.to_wkt()


def check_earth(text: str, name: str) -> None:
    """Refuse a system of another body.

    Raises:
        InputError: its ellipsoid is not an Earth's.
    """
    crs = CRS.from_user_input(text)
    axis = crs.ellipsoid.semi_major_metre if crs.ellipsoid is not None else None
    if axis is not None and not _EARTH[0] <= axis <= _EARTH[1]:
        raise InputError(
            f"{name} is not a scene of the Earth",
            found=f"{crs.name}, on an ellipsoid of {axis / 1000:,.0f} km",
            expected="a coordinate reference system of the Earth",
        )


def check_affine(affine: Affine, name: str) -> None:
    """Refuse a geotransform that places no pixel.

    Raises:
        InputError: it holds NaN, infinity or absurd numbers, or gives pixels no area.
    """
    numbers = np.array(affine[:6])
    what = ""
    if not np.isfinite(numbers).all():
        what = "NaN or infinite numbers"
    elif np.abs(numbers).max() > _LARGEST:
        what = f"the number {number(numbers[np.abs(numbers).argmax()], 3)}"
    else:
        # area over the product of the sides: zero when the axes are parallel or one has no length
        sides = np.hypot(affine.a, affine.d) * np.hypot(affine.b, affine.e)
        if sides < 1e-30 or abs(affine.determinant) < 1e-9 * sides:
            what = "pixels without an area"
    if what:
        raise InputError(
            f"the geotransform of {name} cannot be used",
            found=f"{what}: {', '.join(number(v) for v in numbers)}",
            expected="a pixel size above zero and a corner on the Earth",
            hint="georeference it again, or give the original file instead of an export",
        )


def check_place(grid: GeoBox, name: str) -> None:
    """Refuse a grid none of whose outline is on the Earth, or that leaves the degrees there are.

    Raises:
        InputError: names the extent and what is wrong with it.
    """
    rows, cols = grid.shape.yx
    x, y = apply(grid.affine, *edge_pixels(rows, cols, 9))
    crs = CRS.from_user_input(str(grid.crs))
    extent = f"{number(x.min())}..{number(x.max())} x {number(y.min())}..{number(y.max())} in {crs.name}"
    if crs.is_geographic:
        turn = 2 * np.pi / crs.axis_info[0].unit_conversion_factor
        # world mosaics reach half a pixel beyond the poles
        slack_x, slack_y = abs(grid.affine.a) + abs(grid.affine.b), abs(grid.affine.e) + abs(grid.affine.d)
        wide = np.abs(x).max() > 2 * turn + slack_x or np.ptp(x) > 1.5 * turn
        beyond = y.min() < -turn / 4 - slack_y or y.max() > turn / 4 + slack_y
        if wide or beyond:
            metres = max(np.abs(x).max(), np.abs(y).max()) > 2 * turn
            raise InputError(
                f"{name} lies outside the Earth" if metres or wide else f"{name} reaches beyond a pole",
                found=extent,
                expected="longitudes and latitudes in degrees, up to 90 north and south",
                hint="the coordinates look like metres: name the projected system that they are in"
                if metres
                else "check the geotransform and the coordinate reference system",
            )
        return
    lon, lat = _to_degrees(str(grid.crs), x, y)
    back = np.isfinite(lon) & np.isfinite(lat)
    if back.any():
        u, v = _from_degrees(str(grid.crs), lon[back], lat[back])
        # a projection that answers with another place than it was asked for has none there
        size = max(np.ptp(x), np.ptp(y), 1.0)
        back[back] = np.hypot(u - x[back], v - y[back]) < max(size, 1e3)
    if not back.any():
        raise InputError(
            f"{name} lies outside what its coordinate reference system covers",
            found=extent,
            expected="coordinates that have a longitude and latitude",
            hint="check the geotransform, and name the system that the coordinates are in",
        )


@lru_cache(maxsize=64)
def _transformers(crs: str) -> tuple[Transformer, Transformer]:
    base = CRS.from_user_input(crs)
    degrees = base.geodetic_crs or CRS.from_epsg(4326)
    return Transformer.from_crs(base, degrees, always_xy=True), Transformer.from_crs(degrees, base, always_xy=True)


def _to_degrees(crs: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        return _transformers(crs)[0].transform(x, y)
    except (ProjError, CRSError):
        return np.full(x.shape, np.inf), np.full(x.shape, np.inf)


def _from_degrees(crs: str, lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        return _transformers(crs)[1].transform(lon, lat)
    except (ProjError, CRSError):
        return np.full(lon.shape, np.inf), np.full(lon.shape, np.inf)
