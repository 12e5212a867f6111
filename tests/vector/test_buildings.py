"""Per-building numbers against areas worked out by hand and by shapely."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from codemae_geo.classes import DAMAGE_CLASSES, NODATA, ClassInfo, ClassTable
from codemae_geo.errors import InputError, OutputError
from codemae_geo.raster.write import RasterWriter, encode_probability
from codemae_geo.vector import buildings
from codemae_geo.vector.buildings import aggregate_buildings, choose_class, measure_coverage, share_column

#: 20 x 30 pixels of 2 m; row 0 is the northern one
AFFINE = Affine(2, 0, 400000, 0, -2, 5000000)
GRID = GeoBox((20, 30), AFFINE, "EPSG:32631")
ROTATED = Affine(1.6, -1.2, 400000, -1.2, -1.6, 5000000)
SHARES = [share_column(name) for name in DAMAGE_CLASSES.names]


def _pixels(*corners: tuple[float, float], affine: Affine = AFFINE) -> shapely.Polygon:
    """A polygon from (column, row) corners."""
    return shapely.Polygon(
        [(affine.a * c + affine.b * r + affine.c, affine.d * c + affine.e * r + affine.f) for c, r in corners]
    )


def _box(col0: float, row0: float, col1: float, row1: float, affine: Affine = AFFINE) -> shapely.Polygon:
    return _pixels((col0, row0), (col1, row0), (col1, row1), (col0, row1), affine=affine)


def _write(folder: Path, values: NDArray[np.uint8], grid: GeoBox = GRID) -> Path:
    with RasterWriter.classes(folder / "class.tif", grid, DAMAGE_CLASSES, overwrite=True) as writer:
        writer.write_rows(0, values)
    return folder / "class.tif"


def _aggregate(folder: Path, shapes: list[Any], values: NDArray[np.uint8], **kwargs: Any) -> gpd.GeoDataFrame:
    """Footprints through the whole path and back from the file."""
    grid = kwargs.pop("grid", GRID)
    frame = gpd.GeoDataFrame(geometry=shapes, crs=grid.crs.to_wkt())
    confidence = kwargs.pop("confidence", None)
    if confidence is not None:
        with RasterWriter.probability(folder / "conf.tif", grid, overwrite=True) as writer:
            writer.write_rows(0, confidence)
    out = folder / "b.gpkg"
    aggregate_buildings(
        frame,
        _write(folder, values, grid),
        folder / "conf.tif" if confidence is not None else None,
        DAMAGE_CLASSES,
        out=out,
        overwrite=True,
        **kwargs,
    )
    return gpd.read_file(out, layer="buildings")


@pytest.mark.parametrize("affine", [AFFINE, ROTATED], ids=["north-up", "rotated"])
def test_l_shape_has_exact_shares(tmp_path: Path, affine: Affine) -> None:
    values = np.ones((20, 30), np.uint8)
    values[:, 6:] = 3
    shape = _pixels((4.5, 4.5), (8.5, 4.5), (8.5, 6.5), (6.5, 6.5), (6.5, 9.5), (4.5, 9.5), affine=affine)
    row = _aggregate(tmp_path, [shape], values, grid=GeoBox((20, 30), affine, "EPSG:32631")).iloc[0]
    # 14 pixels; left of column 6: 1.5 x 5 = 7.5
    assert row["share_intact"] == pytest.approx(7.5 / 14, abs=1e-6)
    assert row["share_destroyed"] == pytest.approx(6.5 / 14, abs=1e-6)
    assert row["covered"] == pytest.approx(1)
    assert (row["class"], row["class_name"], row["status"]) == (1, "intact", "covered")
    assert row["area_m2"] == pytest.approx(14 * 4, rel=2e-3)


def test_status_of_footprints_across_the_edge_and_over_nodata(tmp_path: Path) -> None:
    values = np.full((20, 30), 2, np.uint8)
    values[:, 20:] = NODATA
    shapes = [
        _box(2, 2, 6, 6),  # inside
        _box(-3, 2, 1, 6),  # one quarter inside
        _box(19, 2, 23, 6),  # one quarter analysed
        _box(22, 2, 26, 6),  # nothing analysed
        _box(-9, 2, -5, 6),  # outside
        _box(30, 2, 33, 6),  # touches the edge only
        None,
    ]
    read = _aggregate(tmp_path, shapes, values)
    assert list(read["status"]) == ["covered", "partly", "partly", "nodata", "outside", "outside", "outside"]
    np.testing.assert_allclose(read["covered"], [1, 0.25, 0.25, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(read["share_damaged"][:3], 1)
    assert list(read["class"][:3]) == [2, 2, 2]
    assert read["class"][3:].isna().all()
    assert read["class_name"][3:].isna().all()
    assert read[SHARES].iloc[3:].isna().all(axis=None)


def test_classes_whose_names_differ_in_signs_only_keep_their_shares() -> None:
    table = ClassTable([ClassInfo(i, name, "#000000") for i, name in enumerate(["Low risk", "low-risk"])])
    shares = np.array([[3.0, 1.0]])
    found = buildings.judge(buildings.Coverage(np.full(1, 4.0), np.full(1, 4.0), shares, shares, shares), table, 0.1)
    assert found[["share_low_risk", "share_low_risk_1"]].to_numpy().tolist() == [[0.75, 0.25]]


@pytest.mark.parametrize("turn", [0, 360, -360])
def test_footprints_find_a_raster_a_turn_away(tmp_path: Path, turn: float) -> None:
    affine = Affine(1e-5, 0, -94.5 + turn, 0, -1e-5, 37)
    raster = _write(tmp_path, np.full((20, 30), 2, np.uint8), GeoBox((20, 30), affine, "EPSG:4326"))
    shape = _box(2, 2, 6, 6, affine=Affine.translation(-turn, 0) * affine)
    for crs in ("EPSG:4326", "EPSG:32615"):
        frame = gpd.GeoDataFrame(geometry=[shape], crs="EPSG:4326").to_crs(crs)
        found = aggregate_buildings(frame, raster, None, DAMAGE_CLASSES, out=tmp_path / "b.gpkg", overwrite=True)
        assert found.statuses["covered"] == 1


@pytest.mark.filterwarnings("error")
def test_footprints_that_are_no_places_in_their_crs_are_outside(tmp_path: Path) -> None:
    raster = _write(tmp_path, np.full((20, 30), 2, np.uint8))
    metres = gpd.GeoDataFrame(geometry=[_box(2, 2, 6, 6), _box(8, 2, 12, 6)], crs=GRID.crs.to_wkt())
    mixed = [metres.geometry[0], metres.to_crs("EPSG:4326").geometry[1]]  # metres said to be degrees, and degrees
    frame = gpd.GeoDataFrame(geometry=mixed, crs="EPSG:4326")
    found = aggregate_buildings(frame, raster, None, DAMAGE_CLASSES, out=tmp_path / "b.gpkg")
    read = gpd.read_file(tmp_path / "b.gpkg", layer="buildings")
    assert found.statuses == {"covered": 1, "partly": 0, "nodata": 0, "outside": 1}
    assert list(read["status"]) == ["outside", "covered"]
    np.testing.assert_allclose(read["area_m2"], [np.nan, 64], rtol=2e-3)


def test_footprints_smaller_than_a_pixel_and_without_area_get_a_value(tmp_path: Path) -> None:
    values = np.arange(600, dtype=np.uint8).reshape(20, 30) % 4
    tiny = _box(5.4, 3.4, 5.41, 3.42)
    line = _pixels((8.5, 3.5), (8.501, 3.5), (8.5, 3.5))
    read = _aggregate(tmp_path, [tiny, line], values)
    assert read.loc[0, "class"] == values[3, 5]
    assert read.loc[0, "status"] == "covered"
    assert read.loc[0, SHARES[values[3, 5]]] == pytest.approx(1)
    assert read.loc[1, "status"] == "outside"  # a ring without area is no polygon
    near_zero = Affine(2, 0, 0, 0, -2, 0)  # where coordinates can be that close
    sliver = _pixels((8.4, 0.5), (8.6, 0.5), (8.6, 0.5 + 1e-12), affine=near_zero)
    assert 0 < sliver.area < 1e-9
    read = _aggregate(tmp_path, [sliver], values, grid=GeoBox((20, 30), near_zero, "EPSG:32631"))
    assert read.loc[0, "class"] == values[0, 8]


def test_confidence_is_that_of_the_winning_class(tmp_path: Path) -> None:
    values = np.ones((20, 30), np.uint8)
    values[:, 6:] = 3
    valid = np.ones((20, 30), bool)
    confidence = np.where(values == 1, 0.4, 0.8)
    confidence[4, 4] = 0.9
    valid[5, 4] = False  # a pixel with a class and without a confidence
    raw = encode_probability(confidence, valid)
    row = _aggregate(tmp_path, [_box(3.5, 4, 7, 6)], values, confidence=raw).iloc[0]
    # class 1: columns 3.5 to 6, rows 4 and 5: 5 pixels, one of them 0.9 and one unknown
    assert row["class"] == 1
    assert row["confidence"] == pytest.approx((0.9 + 3 * 0.4) / 4, abs=1e-6)


def test_winning_class_rule() -> None:
    shares = np.array(
        [
            [0.85, 0.05, 0.04, 0.06],  # foreground reaches 0.1 together; the largest of it wins
            [0.95, 0.05, 0.00, 0.00],  # too little: no building found
            [0.90, 0.10, 0.00, 0.00],  # exactly enough
            [0.00, 0.50, 0.00, 0.50],  # tie: the more severe
            [0.00, 0.40, 0.30, 0.30],
            [1.00, 0.00, 0.00, 0.00],
        ]
    )
    assert list(choose_class(shares, DAMAGE_CLASSES, 0.1)) == [3, 0, 1, 3, 1, 0]
    assert list(choose_class(shares, DAMAGE_CLASSES, 0.0)) == [3, 1, 1, 3, 1, 0]
    plain = ClassTable([ClassInfo(0, "roof", "#000000"), ClassInfo(1, "yard", "#ffffff")])
    assert list(choose_class(np.array([[0.6, 0.4], [0.5, 0.5]]), plain, 0.1)) == [0, 1]


boxes = st.tuples(st.floats(-6, 34), st.floats(-6, 24), st.floats(0.05, 12), st.floats(0.05, 12), st.floats(-0.9, 0.9))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(specs=st.lists(boxes, min_size=1, max_size=6), window=st.sampled_from([3, 7, 512]), seed=st.integers(0, 9))
def test_coverage_is_the_area_of_intersections(
    tmp_path: Path, specs: list[tuple[float, ...]], window: int, seed: int
) -> None:
    values = np.random.default_rng(seed).choice([0, 1, 2, 3, NODATA], (20, 30)).astype(np.uint8)
    skewed = [_pixels((c, r), (c + w, r + k), (c + w, r + h + k), (c, r + h)) for c, r, w, h, k in specs]
    frame = gpd.GeoDataFrame(geometry=skewed, crs=32631)
    path = tmp_path / f"{seed}.tif"
    if not path.exists():
        _write(tmp_path, values).rename(path)
    with rasterio.open(path) as source:
        coverage = measure_coverage(frame, source, None, DAMAGE_CLASSES, chunk=2, window=window)
    cells = [[_box(c, r, c + 1, r + 1) for c in range(30)] for r in range(20)]
    for index, shape in enumerate(skewed):
        overlap = shapely.area(shapely.intersection(np.array(cells, dtype=object), shape)) / 4
        for info in DAMAGE_CLASSES:
            assert coverage.by_class[index, info.value] == pytest.approx(overlap[values == info.value].sum(), abs=1e-4)
        assert coverage.inside[index] == pytest.approx(overlap.sum(), abs=1e-4)
        assert coverage.area[index] == pytest.approx(shape.area / 4)


def test_windows_chunks_and_batches_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    values = rng.choice([0, 1, 2, 3, NODATA], (20, 30)).astype(np.uint8)
    shapes = [_box(c, r, c + 5.3, r + 4.1) for c, r in rng.uniform(-5, 25, (40, 2))] + [_box(-2, -2, 40, 30)]
    whole = _aggregate(tmp_path, shapes, values)
    monkeypatch.setattr(buildings, "_CELLS", 60)
    pieces = _aggregate(tmp_path, shapes, values, window=4, chunk=7)
    columns = [c for c in whole.columns if c != "geometry"]
    for column in columns:
        if whole[column].dtype.kind == "f":
            np.testing.assert_allclose(whole[column], pieces[column], atol=1e-6)
        else:
            assert list(whole[column].fillna("-")) == list(pieces[column].fillna("-"))


def test_footprints_keep_their_crs_order_and_attributes(tmp_path: Path) -> None:
    values = np.full((20, 30), 3, np.uint8)
    shapes = gpd.GeoSeries([_box(1, 1, 4, 4), _box(8, 8, 12, 12)], crs=32631).to_crs(4326)
    frame = gpd.GeoDataFrame(
        {
            "fid": [9, 9],
            "Class": ["house", "shed"],
            "status": ["old", "new"],
            "src_status": [1, 2],
            "geom": ["x", "y"],
            "tags": [["a"], {"b": 1}],
            "when": np.array(["2011-05-22", "2011-05-23"], "datetime64[ms]"),
        },
        geometry=shapes,
        crs=4326,
    )
    summary = aggregate_buildings(
        frame, _write(tmp_path, values), None, DAMAGE_CLASSES, out=tmp_path / "b.gpkg", tags={"model": "tiny"}
    )
    assert summary.n == 2
    assert summary.classes == {"background": 0, "intact": 0, "damaged": 0, "destroyed": 2}
    assert summary.statuses == {"covered": 2, "partly": 0, "nodata": 0, "outside": 0}
    read = gpd.read_file(tmp_path / "b.gpkg", layer="buildings")
    assert read.crs.to_epsg() == 4326
    assert list(read["src_fid"]) == [9, 9]
    assert list(read["src_Class"]) == ["house", "shed"]
    assert list(read["src_src_status"]) == ["old", "new"]  # its first choice was taken
    assert list(read["src_status"]) == [1, 2]
    assert list(read["src_geom"]) == ["x", "y"]
    assert list(read["tags"]) == ['["a"]', '{"b": 1}']
    assert list(read["when"].dt.day) == [22, 23]
    assert list(read["class"]) == [3, 3]
    assert read.geometry.iloc[1].geoms[0].equals_exact(shapes.iloc[1], 1e-12)
    np.testing.assert_allclose(read["area_m2"], [36, 64], rtol=2e-3)
    geod = frame.crs.get_geod()
    np.testing.assert_allclose(read["area_m2"], [abs(geod.geometry_area_perimeter(g)[0]) for g in shapes], rtol=1e-4)


def test_no_footprints_make_an_empty_layer(tmp_path: Path) -> None:
    read = _aggregate(tmp_path, [], np.zeros((20, 30), np.uint8))
    assert len(read) == 0
    assert {"class", "status", *SHARES} <= set(read.columns)


def test_wrong_rasters_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame(geometry=[_box(1, 1, 4, 4)], crs=32631)
    other = GeoBox((20, 30), Affine(2, 0, 400001, 0, -2, 5000000), "EPSG:32631")
    path = _write(tmp_path, np.zeros((20, 30), np.uint8))
    with RasterWriter.classes(tmp_path / "conf.tif", other, None) as writer:
        writer.write_rows(0, np.zeros((20, 30), np.uint8))
    with pytest.raises(InputError, match="another grid"):
        aggregate_buildings(frame, path, tmp_path / "conf.tif", DAMAGE_CLASSES, out=tmp_path / "b.gpkg")
    _write(tmp_path, np.full((20, 30), 7, np.uint8))
    with pytest.raises(InputError, match="outside the table"):
        aggregate_buildings(frame, path, None, DAMAGE_CLASSES, out=tmp_path / "b.gpkg")
    with pytest.raises(ValueError, match="CRS"):
        aggregate_buildings(
            gpd.GeoDataFrame(geometry=[_box(1, 1, 4, 4)]), path, None, DAMAGE_CLASSES, out=tmp_path / "b.gpkg"
        )
    (tmp_path / "b.gpkg").touch()
    _write(tmp_path, np.zeros((20, 30), np.uint8))
    with pytest.raises(OutputError, match="overwrite"):
        aggregate_buildings(frame, path, None, DAMAGE_CLASSES, out=tmp_path / "b.gpkg")
