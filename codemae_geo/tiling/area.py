"""True ground area of pixels, whatever the projection."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer


def pixel_area_m2(grid: GeoBox, rows: ArrayLike) -> NDArray[np.float64]:
    """Ground area of one pixel of each row, in m2 on the CRS's ellipsoid.

    The Jacobian from pixel to metres at the pixel centre of the middle column: central differences of longitude and
    latitude over one pixel, times the radii of curvature of the prime vertical and the meridian (Snyder 1987, *Map
    Projections: A Working Manual*, eqs. 4-18 to 4-21). Along a row the area is constant in geographic and Mercator
    grids, and varies by less than 0.1 % within a UTM zone.

    Args:
        grid: any GeoBox; rotated, geographic and south-up ones included.
        rows: row indices, row 0 at the top; half integers allowed.

    Returns:
        Areas of the shape of ``rows``. For a CRS without an ellipsoid (a local engineering grid), the planar area.

    Raises:
        ValueError: the grid has no CRS.
    """
    at = np.asarray(rows, np.float64) + 0.5
    affine = grid.affine
    if grid.crs is None:
        raise ValueError("the area of a pixel needs a CRS")
    crs = CRS.from_wkt(grid.crs.to_wkt())
    if crs.geodetic_crs is None:
        unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
        return np.full(at.shape, abs(affine.determinant) * unit**2)
    column = np.full(at.shape, grid.shape[1] / 2)
    # the four mid-points of a pixel's sides: left, right, top, bottom                            [4, rows]
    col = np.stack([column - 0.5, column + 0.5, column, column])
    row = np.stack([at, at, at - 0.5, at + 0.5])
    lonlat = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    lon, lat = (np.radians(v) for v in lonlat.transform(*_apply(affine, col, row)))
    wrap = (lon - lon[:1] + np.pi) % (2 * np.pi) - np.pi  # across the antimeridian
    east, north = _radii(crs, lat.mean(axis=0))
    d_col = (wrap[1] - wrap[0]) * east, (lat[1] - lat[0]) * north
    d_row = (wrap[3] - wrap[2]) * east, (lat[3] - lat[2]) * north
    return np.abs(d_col[0] * d_row[1] - d_col[1] * d_row[0])


def _apply(affine: Any, col: NDArray[np.float64], row: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    return affine.a * col + affine.b * row + affine.c, affine.d * col + affine.e * row + affine.f


def _radii(crs: CRS, lat: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Metres per radian of longitude and of latitude."""
    ellipsoid = crs.ellipsoid
    a, b = (ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre) if ellipsoid else (6378137.0, 6356752.314245)
    e2 = 1 - (b / a) ** 2
    root = np.sqrt(1 - e2 * np.sin(lat) ** 2)
    return a / root * np.cos(lat), a * (1 - e2) / root**3
