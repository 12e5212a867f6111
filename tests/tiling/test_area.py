"""Ground area of pixels against independent geodesic and closed-form values."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer

from codemae_geo.tiling.area import pixel_area_m2

#: surface of the WGS 84 ellipsoid in m2
EARTH = 510065621724088.44


def test_all_pixels_of_the_globe_are_its_surface() -> None:
    grid = GeoBox((720, 1440), Affine(0.25, 0, -180, 0, -0.25, 90), "EPSG:4326")
    total = pixel_area_m2(grid, np.arange(720)).sum() * 1440
    assert total == pytest.approx(EARTH, rel=1e-6)


@pytest.mark.parametrize(
    ("crs", "affine"),
    [
        ("EPSG:4326", Affine(1e-3, 0, -94.5, 0, -1e-3, 37.1)),
        ("EPSG:4326", Affine(1e-3, 0, 179.9, 0, -1e-3, -17.0)),
        ("EPSG:3395", Affine(100, 0, -13170000, 0, -100, 4020000)),
        ("EPSG:3857", Affine(100, 0, 500000, 0, -100, 8000000)),
        ("EPSG:26915", Affine(100, 0, 365000, 0, -100, 4100000)),
        ("EPSG:32631", Affine(90, -40, 365000, -30, -80, 5800000)),
        ("EPSG:2263", Affine(300, 0, 990000, 0, -300, 200000)),  # feet
        ("EPSG:6933", Affine(100, 0, 990000, 0, -100, 2000000)),
    ],
)
def test_agrees_with_geodesic_polygons(crs: str, affine: Affine) -> None:
    grid = GeoBox((200, 200), affine, crs)
    to_lonlat = Transformer.from_crs(crs, CRS(crs).geodetic_crs, always_xy=True)
    geod = CRS(crs).get_geod() or Geod(ellps="WGS84")
    for row in (0, 77, 199):
        corners = [(100 - 0.5, row), (100 + 0.5, row), (100 + 0.5, row + 1), (100 - 0.5, row + 1)]
        x, y = zip(
            *((affine.a * c + affine.b * r + affine.c, affine.d * c + affine.e * r + affine.f) for c, r in corners),
            strict=True,
        )
        area, _ = geod.polygon_area_perimeter(*to_lonlat.transform(x, y))
        assert pixel_area_m2(grid, row) == pytest.approx(abs(area), rel=2e-6)


def test_equal_area_projection_has_equal_pixels() -> None:
    grid = GeoBox((200, 200), Affine(10, 0, 990000, 0, -10, 2000000), "EPSG:6933")
    np.testing.assert_allclose(pixel_area_m2(grid, np.arange(200)), 100, rtol=1e-7)


def test_local_grid_is_planar() -> None:
    local = 'LOCAL_CS["site",UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    grid = GeoBox((4, 4), Affine(2, 0, 0, 0, -3, 0), local)
    np.testing.assert_allclose(pixel_area_m2(grid, np.arange(4)), 6)


def test_grid_without_crs_is_refused() -> None:
    with pytest.raises(ValueError, match="CRS"):
        pixel_area_m2(GeoBox((4, 4), Affine.identity(), None), 0)
