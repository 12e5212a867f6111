"""Areas as rows of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import Polygon, box

from codemae_geo.raster.mask import GeometryMask


@pytest.mark.parametrize("turn", [0, 360, -360])
def test_an_area_is_found_a_turn_of_longitude_away(turn: float) -> None:
    grid = GeoBox((10, 20), Affine(0.1, 0, 179 + turn, 0, -0.1, -17), "EPSG:4326")
    mask = GeometryMask([Polygon(), box(179.5, -17.8, 180, -17.2), box(-180, -17.8, -179.5, -17.2)], grid)
    expected = np.zeros((10, 20), bool)
    expected[2:8, 5:15] = True
    np.testing.assert_array_equal(mask(0, 10), expected)
    np.testing.assert_array_equal(mask(1, 4), expected[1:4])


def test_no_area_is_nothing() -> None:
    grid = GeoBox((4, 5), Affine(1, 0, 0, 0, -1, 0), "EPSG:32633")
    assert not GeometryMask([], grid)(0, 4).any()
