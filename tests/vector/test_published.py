"""Footprints as Overture, Google and Microsoft publish them, and what else people have: the same houses from each."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry import box, mapping

from codemae_geo.errors import InputError
from codemae_geo.vector import published
from codemae_geo.vector.footprints import read_footprints

#: houses in longitude and latitude; the first two lie in the scene
HOUSES = [box(9.1, 48.7, 9.1002, 48.7001), box(9.1005, 48.7, 9.1006, 48.7002), box(30, 10, 30.001, 10.001)]
GRID = GeoBox.from_bbox((9.09, 48.69, 9.11, 48.71), crs="EPSG:4326", resolution=0.001)
FRAME = gpd.GeoDataFrame({"name": ["a", "b", "far"]}, geometry=HOUSES, crs="EPSG:4326")


def google(folder: Path) -> Path:
    path = folder / "47d_buildings.csv.gz"
    lines = ["latitude,longitude,area_in_meters,confidence,geometry,full_plus_code"]
    for house in HOUSES:
        lines.append(f'{house.centroid.y},{house.centroid.x},80.5,0.81,"{house.wkt}",8FWF')
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return path


def microsoft(folder: Path) -> Path:
    def quadkey(lon: float, lat: float, level: int = 9) -> str:
        n = 2**level
        x = int((lon + 180) / 360 * n)
        y = int((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * n)
        return "".join(str((x >> i & 1) + 2 * (y >> i & 1)) for i in reversed(range(level)))

    root = folder / "ms"
    for house in HOUSES:
        inside = root / "RegionName=X" / f"quadkey={quadkey(house.centroid.x, house.centroid.y)}"
        inside.mkdir(parents=True, exist_ok=True)
        feature = {"type": "Feature", "properties": {"height": 3.5, "confidence": -1.0}, "geometry": mapping(house)}
        with gzip.open(inside / "part-0.csv.gz", "at") as file:
            file.write(json.dumps(feature) + "\n")
        (inside / "._part-0.csv.gz").write_bytes(b"of macOS")
    return root


def overture(folder: Path) -> Path:
    pytest.importorskip("pyarrow")
    path = folder / "buildings.parquet"
    FRAME.to_parquet(path, write_covering_bbox=True, row_group_size=1)
    return path


@pytest.mark.parametrize("make", [google, microsoft, overture])
def test_clipped_to_the_scene_while_reading(tmp_path: Path, make: type) -> None:
    path = make(tmp_path)
    whole = read_footprints(path)
    assert len(whole) == 3
    clipped = read_footprints(path, around=GRID)
    assert len(clipped) == 2
    areas = sorted(clipped.geometry.area)
    assert areas == pytest.approx(sorted(h.area for h in HOUSES[:2]))
    if make is not microsoft:  # numbers count all features, also those that were passed over
        assert list(clipped["source_fid"]) == [0, 1]
    if make is google:
        assert whole["confidence"].tolist() == [0.81] * 3
    if make is microsoft:
        assert whole["height"].tolist() == [3.5] * 3


def test_what_lies_elsewhere_is_not_opened(tmp_path: Path) -> None:
    root = microsoft(tmp_path)
    far = next(
        p
        for p in root.rglob("part-0.csv.gz")
        if b"far" in p.read_bytes() or "30." in gzip.decompress(p.read_bytes()).decode()
    )
    far.write_bytes(b"no gzip at all")
    assert len(read_footprints(root, around=GRID)) == 2
    with pytest.raises(InputError, match="cannot be read"):
        read_footprints(root)


def test_a_file_of_ones_own_stays_whole(tmp_path: Path) -> None:
    FRAME.to_file(tmp_path / "own.gpkg")
    assert len(read_footprints(tmp_path / "own.gpkg", around=GRID)) == 3


def test_archives_and_other_formats(tmp_path: Path) -> None:
    FRAME.to_file(tmp_path / "own.gml", driver="GML")
    FRAME.to_file(tmp_path / "own.kml", driver="LIBKML")
    with zipfile.ZipFile(tmp_path / "own.kmz", "w") as file:
        file.write(tmp_path / "own.kml", "doc.kml")
    FRAME.to_file(tmp_path / "own.shp")
    with zipfile.ZipFile(tmp_path / "shapes.zip", "w") as file:
        for part in tmp_path.glob("own.[sdp][hbr][pxfj]"):
            file.write(part, part.name)
    for name in ("own.gml", "own.kml", "own.kmz", "shapes.zip"):
        found = read_footprints(tmp_path / name)
        assert found.total_bounds == pytest.approx(FRAME.total_bounds, abs=1e-6), f"{name}: x is longitude"


def test_polygons_of_collections_are_taken(tmp_path: Path) -> None:
    inner = shapely.GeometryCollection([HOUSES[1], shapely.Point(1, 1)])
    shapes = [shapely.GeometryCollection([HOUSES[0], inner]), HOUSES[2]]
    gpd.GeoDataFrame(geometry=shapes, crs=4326).to_file(tmp_path / "mixed.geojson")
    found = read_footprints(tmp_path / "mixed.geojson")
    assert found.geometry.area.tolist() == pytest.approx([HOUSES[0].area + HOUSES[1].area, HOUSES[2].area])


def test_points_are_told_a_way_on(tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[shapely.Point(9, 48)], crs=4326).to_file(tmp_path / "points.gpkg")
    with pytest.raises(InputError, match="must be polygons") as caught:
        read_footprints(tmp_path / "points.gpkg")
    assert "Buffer" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "geometry,latitude,longitude\nPOLYGON((0 0,1 1,2),1,2\n"),
        ("b.csv", 'geometry,latitude,longitude\n"POLYGON((0 0,1 0,1 1,0 1))",1,2\n'),
        ("c.csv", 'geometry,latitude,longitude\n"POLYGON((0 0,1 0,nan 1,0 0))",1,2\n'),
        ("d.csv", 'geometry\n"POLYGON((0 0,1 0,1 1,0 0))"\n'),
        ("e.jsonl", '{"type": "Feature", "geometry": 7}\n'),
        (
            "f.jsonl",
            '{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}}\n',
        ),
        ("g.jsonl", '{"a":' * 100_000 + "\n"),
        ("h.csv.gz", "no gzip"),
        ("i.parquet", "no parquet"),
        ("j.jsonl", '[1, 2]\n{"type": "Feature"}\n'),
    ],
)
def test_broken_ones_are_refused_in_one_message(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        read_footprints(tmp_path / name)


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "_LINE", 1000)
    (tmp_path / "a.jsonl").write_text('{"type": "Feature", "properties": {"a": "' + "x" * 5000)
    with pytest.raises(InputError, match="cannot be read"):
        read_footprints(tmp_path / "a.jsonl")
