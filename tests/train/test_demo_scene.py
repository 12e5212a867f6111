"""The scene that the package bundles: small, in two coordinate systems, overlapping, with its licences named."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from rasterio.merge import merge
from rasterio.warp import transform_bounds
from shapely.geometry import box


@pytest.fixture
def joplin(root: Path) -> Path:
    return root / "codemae_geo" / "data" / "joplin"


def test_dates_overlap_in_their_own_coordinate_systems(joplin: Path) -> None:
    with rasterio.open(joplin / "pre.tif") as pre, rasterio.open(joplin / "post.tif") as post:
        assert (pre.crs.to_epsg(), post.crs.to_epsg()) == (26915, 4326)
        assert pre.count == post.count == 3
        assert pre.block_shapes[0] == (256, 256)
        before = box(*pre.bounds)
        after = box(*transform_bounds(post.crs, pre.crs, *post.bounds))
        assert before.intersection(after).area > 0.95 * before.area
        assert pre.read(1).std() > 10
        assert post.read(1).std() > 10


def test_pixels_are_those_of_the_tiles(joplin: Path, shared: Path) -> None:
    """Lossless: every GDAL decodes the same pixels, those that the scene was cut from."""
    with rasterio.open(joplin / "pre.tif") as scene:
        assert scene.compression.name == "webp"
        pixels, bounds = scene.read(), scene.bounds
    tiles, _ = merge(sorted((shared / "data" / "joplin" / "pre").glob("*.tif")), bounds=bounds)
    assert np.array_equal(pixels, tiles)


def test_footprints_lie_in_the_scene(joplin: Path) -> None:
    footprints = geopandas.read_file(joplin / "buildings.gpkg")
    with rasterio.open(joplin / "pre.tif") as pre:
        area = box(*transform_bounds(pre.crs, footprints.crs, *pre.bounds)).buffer(1e-5)
    assert len(footprints) > 50
    assert footprints.intersects(area).all()


def test_small_and_attributed(joplin: Path) -> None:
    assert sum(f.stat().st_size for f in joplin.iterdir()) < 5e6
    text = (joplin / "README.md").read_text(encoding="utf-8")
    for words in ("ODbL", "NOAA", "Agriculture", "MIT-licensed"):
        assert words in text
