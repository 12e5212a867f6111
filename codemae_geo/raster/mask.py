"""Geometries as rows of pixels: the area of interest, or everything near a building."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely import STRtree, box
from shapely.geometry.base import BaseGeometry

from codemae_geo.raster.geo import beside


class GeometryMask:
    """Tells for any rows of a grid which pixels lie in one of many geometries.

    Only the geometries that reach the rows asked for are burnt, so memory does not grow with the raster.

    Args:
        geometries: polygons in the grid's CRS, longitudes on whichever side of the date line.
        grid: the target grid; it may be rotated.
        all_touched: count every pixel that a geometry touches; else those whose centre it covers.
    """

    def __init__(self, geometries: Sequence[BaseGeometry], grid: GeoBox, *, all_touched: bool = False) -> None:
        placed = shapely.transform(
            np.asarray(geometries, dtype=object), lambda xy: np.column_stack([beside(grid, xy[:, 0]), xy[:, 1]])
        )
        self._geometries = [g for g in placed if not g.is_empty]
        self._tree = STRtree(self._geometries)
        self._grid = grid
        self._all_touched = all_touched

    def __call__(self, row0: int, row1: int) -> NDArray[np.bool_]:
        """``[row1 - row0, columns]``, true inside a geometry."""
        strip = self._grid[row0:row1, :]
        bounds = strip.boundingbox
        near = self._tree.query(box(bounds.left, bounds.bottom, bounds.right, bounds.top))
        if len(near) == 0:
            return np.zeros(strip.shape, bool)
        burnt = rasterize(
            [self._geometries[i] for i in near],
            out_shape=strip.shape,
            transform=strip.affine,
            all_touched=self._all_touched,
            default_value=1,
            dtype="uint8",
        )
        return burnt.astype(bool)
