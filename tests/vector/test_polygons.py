"""Polygons do not know where the strips were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import shapes

from codemae_geo.classes import DAMAGE_CLASSES, NODATA
from codemae_geo.errors import InputError, OutputError
from codemae_geo.raster.write import RasterWriter, encode_probability
from codemae_geo.tiling.area import pixel_area_m2
from codemae_geo.vector.geopackage import GeoPackageWriter
from codemae_geo.vector.polygons import Strip, polygonize, trace_regions

UTM = GeoBox((60, 50), Affine(0.6, 0, 365000, 0, -0.674, 4100000), "EPSG:26915")


def _strips(values: NDArray[np.uint8], rows: int) -> list[Strip]:
    height = len(values)
    return [Strip(r, values[r : r + rows], None, last=r + rows >= height) for r in range(0, height, rows)]


def _traced(values: NDArray[np.uint8], rows: int) -> list[tuple[int, str]]:
    regions = trace_regions(_strips(values, rows), DAMAGE_CLASSES)
    return sorted((r.value, shapely.normalize(r.polygon()).wkt) for r in regions)


def _whole(values: NDArray[np.uint8]) -> list[tuple[int, str]]:
    """GDAL's polygons of the whole raster, made valid and without the vertices that are no corners."""
    found = shapes(values, mask=np.isin(values, [1, 2, 3]), connectivity=4)
    polygons = [(int(v), shapely.make_valid(shapely.geometry.shape(s))) for s, v in found]
    # the union with nothing merges collinear edges at the ring's start as well
    return sorted((v, shapely.normalize(shapely.simplify(shapely.normalize(p), 0)).wkt) for v, p in polygons)


U_SHAPE = np.array([[1, 0, 1, 0, 2], [1, 0, 1, 0, 2], [1, 0, 1, 2, 2], [1, 1, 1, 0, 2]], np.uint8)
RING = np.array([[3, 3, 3], [3, 0, 3], [3, 3, 3]], np.uint8)
PINCH = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1], [1, 0, 1, 255], [1, 1, 0, 1]], np.uint8)


@settings(max_examples=300, deadline=None)
@given(
    values=hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.sampled_from([0, 1, 1, 2, 255])
    ),
    rows=st.integers(1, 15),
)
@example(values=U_SHAPE, rows=1)
@example(values=U_SHAPE, rows=2)
@example(values=U_SHAPE[::-1].copy(), rows=3)
@example(values=RING, rows=1)
@example(values=RING, rows=2)
@example(values=PINCH, rows=1)
@example(values=PINCH, rows=2)
def test_strips_give_the_polygons_of_the_whole_raster(values: NDArray[np.uint8], rows: int) -> None:
    traced = _traced(values, rows)
    assert traced == _whole(values)
    assert traced == _traced(values, 100)


@settings(max_examples=100, deadline=None)
@given(
    values=hnp.arrays(np.uint8, (11, 9), elements=st.sampled_from([0, 1, 2, 255])),
    rows=st.integers(1, 12),
)
def test_polygons_are_valid_disjoint_and_cover_the_foreground(values: NDArray[np.uint8], rows: int) -> None:
    polygons = [r.polygon() for r in trace_regions(_strips(values, rows), DAMAGE_CLASSES)]
    assert all(isinstance(p, shapely.Polygon) and p.is_valid for p in polygons)
    assert sum(p.area for p in polygons) == np.isin(values, [1, 2, 3]).sum()
    assert shapely.union_all(polygons).area == np.isin(values, [1, 2, 3]).sum()


@pytest.fixture
def blobs() -> NDArray[np.uint8]:
    rng = np.random.default_rng(1)
    values = np.kron(rng.integers(0, 4, (12, 10)), np.ones((5, 5))).astype(np.uint8)
    values[:7, :9] = NODATA
    return values


MakeRaster = Callable[..., Path]


@pytest.fixture
def make_raster(tmp_path: Path) -> MakeRaster:
    def make(values: NDArray[np.uint8], grid: GeoBox, name: str = "class.tif") -> Path:
        with RasterWriter.classes(tmp_path / name, grid, DAMAGE_CLASSES) as writer:
            writer.write_rows(0, values)
        return tmp_path / name

    return make


@pytest.mark.parametrize(
    ("crs", "affine"),
    [
        ("EPSG:26915", Affine(0.6, 0, 365000, 0, -0.674, 4100000)),
        ("EPSG:4326", Affine(6e-6, 0, -94.5, 0, -6e-6, 37.1)),
        ("EPSG:3395", Affine(10, 0, -13170000, 0, -10, 4020000)),
        ("EPSG:32631", Affine(0.52, -0.34, 365000, -0.3, -0.58, 4100000)),
    ],
)
def test_area_is_ground_area_in_any_crs(
    blobs: NDArray[np.uint8], make_raster: MakeRaster, tmp_path: Path, crs: str, affine: Affine
) -> None:
    grid = GeoBox(blobs.shape, affine, crs)
    summary = polygonize(make_raster(blobs, grid), tmp_path / "p.gpkg", DAMAGE_CLASSES, strip_rows=16)
    frame = gpd.read_file(tmp_path / "p.gpkg", layer="polygons")
    assert frame.crs == gpd.GeoSeries(crs=crs).crs
    assert summary.count == len(frame)
    rows = pixel_area_m2(grid, np.arange(60))
    for info in DAMAGE_CLASSES.foreground:
        expected = ((blobs == info.value).sum(axis=1) * rows).sum()
        assert summary.area_m2[info.name] == pytest.approx(expected, rel=1e-9)
    planar = frame.to_crs(6933).area
    np.testing.assert_allclose(frame["area_m2"], planar, rtol=1e-5)


def test_polygons_lie_on_their_pixels(blobs: NDArray[np.uint8], make_raster: MakeRaster, tmp_path: Path) -> None:
    path = make_raster(blobs, UTM)
    polygonize(path, tmp_path / "p.gpkg", DAMAGE_CLASSES, strip_rows=7)
    frame = gpd.read_file(tmp_path / "p.gpkg", layer="polygons")
    again = rasterio.features.rasterize(
        zip(frame.geometry, frame["class"], strict=True), out_shape=blobs.shape, transform=UTM.affine
    )
    np.testing.assert_array_equal(again, np.where(blobs == NODATA, 0, blobs))
    assert set(frame["name"]) == {"intact", "damaged", "destroyed"}


def test_confidence_is_the_mean_over_the_region(
    blobs: NDArray[np.uint8], make_raster: MakeRaster, tmp_path: Path
) -> None:
    rng = np.random.default_rng(2)
    raw = encode_probability(rng.random(blobs.shape), blobs != NODATA)
    with RasterWriter.probability(tmp_path / "conf.tif", UTM) as writer:
        writer.write_rows(0, raw)
    path = make_raster(blobs, UTM)
    found = {}
    for rows in (11, 100):
        out = tmp_path / f"p{rows}.gpkg"
        polygonize(path, out, DAMAGE_CLASSES, strip_rows=rows, confidence_raster=tmp_path / "conf.tif")
        found[rows] = gpd.read_file(out, layer="polygons")
    for _, row in found[11].iterrows():
        inside = rasterio.features.geometry_mask([row.geometry], blobs.shape, UTM.affine, invert=True)
        assert row["confidence"] == pytest.approx(raw[inside].mean() / 250, abs=1e-6)
    assert sorted(found[11]["confidence"].round(9)) == sorted(found[100]["confidence"].round(9))


def test_small_polygons_can_be_left_out(blobs: NDArray[np.uint8], make_raster: MakeRaster, tmp_path: Path) -> None:
    path = make_raster(blobs, UTM)
    everything = polygonize(path, tmp_path / "all.gpkg", DAMAGE_CLASSES)
    large = polygonize(path, tmp_path / "large.gpkg", DAMAGE_CLASSES, min_area_m2=15)
    areas = gpd.read_file(tmp_path / "all.gpkg", layer="polygons")["area_m2"]
    assert large.count == (areas >= 15).sum() < everything.count


def test_nothing_found_is_an_empty_styled_layer(make_raster: MakeRaster, tmp_path: Path) -> None:
    path = make_raster(np.zeros((60, 50), np.uint8), UTM)
    summary = polygonize(path, tmp_path / "p.gpkg", DAMAGE_CLASSES)
    assert summary.count == 0
    assert summary.area_m2 == {"intact": 0, "damaged": 0, "destroyed": 0}
    frame = gpd.read_file(tmp_path / "p.gpkg", layer="polygons")
    assert len(frame) == 0
    assert {"class", "name", "area_m2"} <= set(frame.columns)


def test_unknown_class_value_is_refused_and_leaves_no_file(make_raster: MakeRaster, tmp_path: Path) -> None:
    path = make_raster(np.full((60, 50), 9, np.uint8), UTM)
    with pytest.raises(InputError, match="outside the table"):
        polygonize(path, tmp_path / "p.gpkg", DAMAGE_CLASSES)
    assert not list(tmp_path.glob("*p.gpkg*"))


def test_existing_file_needs_overwrite(blobs: NDArray[np.uint8], make_raster: MakeRaster, tmp_path: Path) -> None:
    path = make_raster(blobs, UTM)
    out = tmp_path / "p.gpkg"
    polygonize(path, out, DAMAGE_CLASSES)
    with pytest.raises(OutputError, match="overwrite"):
        polygonize(path, out, DAMAGE_CLASSES)
    polygonize(path, out, DAMAGE_CLASSES, overwrite=True)
    with GeoPackageWriter(tmp_path / "both.gpkg") as writer:
        polygonize(path, writer, DAMAGE_CLASSES)
        polygonize(path, writer, DAMAGE_CLASSES, layer="large", min_area_m2=15)
    assert set(gpd.list_layers(tmp_path / "both.gpkg")["name"]) == {"polygons", "large", "layer_styles"}
