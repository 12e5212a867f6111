"""Footprints and areas of interest: every readable file is read whole, every other one is named."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from codemae_geo.errors import InputError
from codemae_geo.vector.footprints import SOURCE_FID, polygons_only, read_aoi, read_footprints

BOXES = [shapely.box(x, 37.0, x + 1e-4, 37.0001) for x in (-94.5, -94.4, -94.3)]


@pytest.fixture
def houses() -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame({"name": ["a", "b", None], "floors": [1, 2, 3]}, geometry=BOXES, crs=4326)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp", ".fgb"])
def test_any_format_keeps_attributes_and_numbers_features(
    houses: gpd.GeoDataFrame, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"houses{suffix}"
    houses.to_file(path)
    read = read_footprints(path)
    assert list(read["floors"].sort_values()) == [1, 2, 3]
    assert read[SOURCE_FID].is_unique
    assert read.crs.to_epsg() == 4326
    again = read_footprints(path)
    pd.testing.assert_frame_equal(pd.DataFrame(read), pd.DataFrame(again))


def test_geopackage_fid_is_the_number(houses: gpd.GeoDataFrame, tmp_path: Path) -> None:
    houses.index = pd.Index([7, 3, 12], name="fid")
    houses.to_file(tmp_path / "h.gpkg", index=True)
    assert set(read_footprints(tmp_path / "h.gpkg")[SOURCE_FID]) == {7, 3, 12}


def test_bounds_are_in_the_asked_crs(houses: gpd.GeoDataFrame, tmp_path: Path) -> None:
    houses.to_file(tmp_path / "h.gpkg")
    middle = houses.to_crs(26915).geometry.iloc[1].bounds
    read = read_footprints(tmp_path / "h.gpkg", to_crs="EPSG:26915", bounds=middle)
    assert list(read["name"]) == ["b"]
    assert read.crs.to_epsg() == 26915
    assert read.geometry.iloc[0].bounds == pytest.approx(middle, abs=1e-6)
    nowhere = read_footprints(tmp_path / "h.gpkg", to_crs="EPSG:26915", bounds=(0, 0, 1, 1))
    assert len(nowhere) == 0


def test_invalid_and_missing_geometries_stay_as_rows(tmp_path: Path) -> None:
    bow = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    spike = shapely.Polygon([(0, 0), (1, 0), (1, 1), (1, 3), (1, 1), (0, 1)])
    high = shapely.Polygon([(0, 0, 5), (1, 0, 5), (1, 1, 5)])
    gpd.GeoDataFrame({"i": range(4)}, geometry=[bow, spike, None, high], crs=32631).to_file(tmp_path / "h.gpkg")
    read = read_footprints(tmp_path / "h.gpkg")
    assert list(read["i"]) == [0, 1, 2, 3]
    assert read.geometry.is_valid.all()
    np.testing.assert_allclose(read.geometry.area, [0.5, 1, 0, 0.5])
    assert not read.geometry.has_z.any()
    assert set(read.geometry.geom_type) <= {"Polygon", "MultiPolygon"}


def test_lines_left_over_from_repair_are_dropped() -> None:
    collapsed = shapely.Polygon([(0, 0), (1, 0), (0, 0)])
    parts = shapely.GeometryCollection(
        [shapely.box(0, 0, 1, 1), shapely.MultiPolygon([shapely.box(2, 0, 3, 1)]), shapely.Point(9, 9)]
    )
    cleaned = polygons_only([collapsed, parts])
    assert cleaned[0].is_empty
    assert cleaned[1].area == 2
    assert cleaned[1].geom_type == "MultiPolygon"


def test_no_crs_names_the_option(houses: gpd.GeoDataFrame, tmp_path: Path) -> None:
    houses.to_file(tmp_path / "h.shp")
    (tmp_path / "h.prj").unlink()
    with pytest.raises(InputError, match="no coordinate reference system") as caught:
        read_footprints(tmp_path / "h.shp")
    assert "footprints_crs" in (caught.value.hint or "")
    read = read_footprints(tmp_path / "h.shp", src_crs="EPSG:4326", to_crs="EPSG:26915")
    assert read.geometry.iloc[0].bounds == pytest.approx(houses.to_crs(26915).geometry.iloc[0].bounds)
    with pytest.raises(InputError, match="no coordinate reference system") as caught:
        read_aoi(tmp_path / "h.shp", to_crs=26915)
    assert "ogr2ogr" in (caught.value.hint or "")


def test_points_and_lines_are_refused(tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[shapely.Point(0, 0)], crs=4326).to_file(tmp_path / "p.gpkg")
    with pytest.raises(InputError, match="must be polygons") as caught:
        read_footprints(tmp_path / "p.gpkg")
    assert caught.value.found == "Point"


def test_unreadable_empty_and_tabular_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_footprints(tmp_path / "none.gpkg")
    (tmp_path / "text.gpkg").write_text("not a vector file")
    with pytest.raises(InputError, match="not a vector file"):
        read_footprints(tmp_path / "text.gpkg")
    (tmp_path / "empty.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    with pytest.raises(InputError):
        read_footprints(tmp_path / "empty.geojson")
    gpd.GeoDataFrame({"a": []}, geometry=[], crs=4326).to_file(tmp_path / "none.gpkg")
    with pytest.raises(InputError, match="is empty"):
        read_footprints(tmp_path / "none.gpkg")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column of geometries"):
        read_footprints(tmp_path / "table.csv")


def test_several_polygon_layers_must_be_chosen_from(houses: gpd.GeoDataFrame, tmp_path: Path) -> None:
    path = tmp_path / "h.gpkg"
    houses.to_file(path, layer="old")
    houses.iloc[:1].to_file(path, layer="new")
    with pytest.raises(InputError, match="more than one layer") as caught:
        read_footprints(path)
    assert "|layername=" in (caught.value.hint or "")
    assert len(read_footprints(path, layer="old")) == 3
    assert len(read_footprints(f"{path}|layername=new")) == 1
    with pytest.raises(InputError, match="no layer 'roads'"):
        read_footprints(path, layer="roads")


def test_wrong_crs_is_noticed_where_nothing_can_be_there(houses: gpd.GeoDataFrame, tmp_path: Path) -> None:
    metres = houses.to_crs(26915)
    metres.to_file(tmp_path / "h.shp")
    (tmp_path / "h.prj").unlink()
    with pytest.raises(InputError, match="cannot represent"):
        read_footprints(tmp_path / "h.shp", src_crs="EPSG:4326", to_crs="EPSG:26915")


def test_area_of_interest_is_one_geometry(tmp_path: Path) -> None:
    boxes = [shapely.box(-94.6, 37.0, -94.5, 37.1), shapely.box(-94.55, 37.0, -94.4, 37.1)]
    gpd.GeoDataFrame(geometry=boxes, crs=4326).to_file(tmp_path / "a.geojson")
    same = read_aoi(tmp_path / "a.geojson", to_crs=4326)
    assert same.equals(shapely.box(-94.6, 37.0, -94.4, 37.1))
    utm = read_aoi(tmp_path / "a.geojson", to_crs="EPSG:26915")
    # a parallel is no straight line in UTM: half-way along the box's edge must lie on its boundary still
    middle = gpd.GeoSeries([shapely.Point(-94.5, 37.0)], crs=4326).to_crs(26915).iloc[0]
    assert utm.boundary.distance(middle) < 0.1
    gpd.GeoDataFrame(geometry=[shapely.LineString([(0, 0), (1, 1)])], crs=4326).to_file(tmp_path / "l.gpkg")
    with pytest.raises(InputError, match="must be polygons"):
        read_aoi(tmp_path / "l.gpkg", to_crs=4326)


def test_joplin_footprints(shared: Path) -> None:
    read = read_footprints(shared / "data/joplin/buildings_2020.gpkg", to_crs="EPSG:26915")
    assert len(read) == 2823
    assert read[SOURCE_FID].is_unique
