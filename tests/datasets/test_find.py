"""`codemae data find`: the right pair first, and coverage as measured apart."""

from __future__ import annotations

import json
import shlex
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import pystac
import pytest
import rasterio
import shapely
from codemae_cli.app import app, spread_values
from codemae_cli.show import damage_call
from codemae_datasets.find import Entry as Line
from codemae_datasets.find import Ground, find_pairs, of_item, read_event
from odc.geo.geobox import GeoBox
from shapely.geometry import box, mapping
from typer.testing import CliRunner

from codemae_geo.errors import InputError
from codemae_geo.progress import Reporter
from codemae_geo.raster.geo import outline

EVENT = "2011-05-22T22:41Z"


def make_item(folder: Path, name: str, shape: Any, moment: str, href: str = "image.tif", **props: Any) -> Path:
    """A STAC item on disk; its name may begin with those of folders."""
    item = pystac.Item(Path(name).name, mapping(shape), list(shape.bounds), datetime.fromisoformat(moment), props)
    item.add_asset("data", pystac.Asset(href))
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(item.to_dict(include_self_link=False)))
    return path


def area_file(folder: Path, shape: Any, crs: str = "EPSG:4326") -> Path:
    path = folder / "area.geojson"
    gpd.GeoDataFrame(geometry=[shape], crs=crs).to_crs("EPSG:4326").to_file(path)
    return path


@pytest.fixture(scope="module")
def catalogue(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items for the scenes of ``shared/data``, each with the outline of its raster."""
    folder = tmp_path_factory.mktemp("stac")
    kinds = {
        "joplin/pre/*.tif": ("2010-06-20T16:00:00+00:00", {"platform": "naip", "gsd": 0.6}),
        "joplin/post/*.tif": ("2011-05-24T15:00:00+00:00", {"platform": "noaa", "gsd": 0.6}),
        "umbra/*.tif": ("2023-05-01T00:00:00+00:00", {"platform": "umbra-04", "gsd": 0.5}),
        "spacenet6_rotterdam/rgb*.tif": ("2019-08-31T11:00:00+00:00", {"platform": "worldview-2", "gsd": 0.5}),
        "los_angeles_s1s2/optical/*0.tif": ("2020-11-04T18:00:00+00:00", {"platform": "sentinel-2a", "gsd": 10}),
        "los_angeles_s1s2/sar/*0.tif": ("2020-11-07T13:00:00+00:00", {"platform": "sentinel-1a", "gsd": 10}),
    }
    for pattern, (moment, props) in kinds.items():
        for path in sorted((shared / "data").glob(pattern)):
            with rasterio.open(path) as file:
                grid = GeoBox(file.shape, file.transform, file.crs.to_wkt())
            make_item(folder, f"{path.parent.name}/{path.stem}", outline(grid, "EPSG:4326"), moment, str(path), **props)
    # the same ground long before, and a month after through clouds
    with rasterio.open(next((shared / "data/joplin/post").glob("*.tif"))) as file:
        around = outline(GeoBox(file.shape, file.transform, file.crs.to_wkt()), "EPSG:4326").buffer(0.05)
    make_item(folder, "old", around, "2007-08-01T00:00:00+00:00", platform="naip", gsd=1.0)
    make_item(folder, "cloudy", around, "2011-05-23T10:00:00+00:00", platform="wv", gsd=0.5, **{"eo:cloud_cover": 80})
    make_item(folder, "late", around, "2011-07-20T10:00:00+00:00", platform="wv", gsd=0.5, **{"eo:cloud_cover": 0})
    (folder / "notes.json").write_text('{"type": "Feature"}')
    return folder


def test_the_right_pair_of_the_scenes_of_shared(catalogue: Path, shared: Path, tmp_path: Path) -> None:
    """Joplin before and after, all tiles of each, and the area that they cover as planar areas in UTM say it."""
    tiles = {role: sorted((shared / "data/joplin" / role).glob("*.tif")) for role in ("pre", "post")}
    boxes = {}
    for role, paths in tiles.items():
        shapes = []
        for path in paths:
            with rasterio.open(path) as file:
                shapes.append(gpd.GeoSeries([shapely.segmentize(box(*file.bounds), file.res[0] * 50)], crs=file.crs))
        boxes[role] = shapely.union_all([s.to_crs("EPSG:26915").iloc[0] for s in shapes])
    left, bottom, right, top = boxes["pre"].bounds
    area = box(left + 150, bottom - 200, right + 100, top - 100)  # no scene covers all of it
    area = gpd.GeoSeries([shapely.segmentize(area, 20)], crs="EPSG:26915")
    found = find_pairs(area_file(tmp_path, area.iloc[0], "EPSG:26915"), EVENT, [catalogue], after=30)
    best = found.pairs[0]
    assert [sorted(Path(e.id).name for e in side.entries) for side in (best.pre, best.post)] == [
        [p.stem for p in tiles[role] if boxes_meet(p, area)] for role in ("pre", "post")
    ]
    for candidate, role in ((best.pre, "pre"), (best.post, "post")):
        expected = boxes[role].intersection(area.iloc[0]).area / area.iloc[0].area
        assert 0.3 < expected < 0.99
        assert candidate.coverage == pytest.approx(expected, abs=0.0005)
    both = boxes["pre"].intersection(boxes["post"]).intersection(area.iloc[0]).area / area.iloc[0].area
    assert best.coverage == pytest.approx(both, abs=0.0005)
    # nothing of Los Angeles, Rotterdam or Vanuatu, nothing older than three years, and the clouds come last
    assert [c.first.id for c in found.post][-1] == "cloudy" and len(found.pre) == 1
    assert found.seen > 20


def boxes_meet(path: Path, area: gpd.GeoSeries) -> bool:
    with rasterio.open(path) as file:
        shape = gpd.GeoSeries([box(*file.bounds)], crs=file.crs).to_crs(area.crs).iloc[0]
    return bool(shape.intersection(area.iloc[0]).area > 0)


def test_the_line_to_type_next_works(catalogue: Path, shared: Path, tmp_path: Path) -> None:
    with rasterio.open(next((shared / "data/joplin/pre").glob("*9136.tif"))) as file:
        left, bottom, *_ = file.bounds
    aoi = area_file(tmp_path, box(left + 300, bottom + 200, left + 360, bottom + 260), "EPSG:26915")
    words = ["data", "find", "--aoi", aoi, "--event", EVENT, "--stac", catalogue, "--progress", "none"]
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, done.output
    line = shlex.split(done.stdout.strip().splitlines()[-1])
    assert line[:2] == ["codemae", "damage"]
    plan = CliRunner().invoke(
        app, spread_values([*line[1:-1], str(tmp_path / "out"), "--dry-run", "--json", "--progress", "none"])
    )
    assert plan.exit_code == 0, plan.output
    assert 90 < json.loads(plan.stdout.splitlines()[-1])["grid"]["height"] < 110


SQUARE = box(10, 50, 10.1, 50.1)


def test_order(tmp_path: Path) -> None:
    """Coverage without cloud first, then optical, then days; the day of the event is neither before nor after."""
    folder = tmp_path / "items"
    half = box(10, 50, 10.05, 50.1)
    for name, shape, day, props in (
        ("pre", SQUARE, "2024-01-01T00:00:00", {"platform": "a"}),
        ("pre-nearer", SQUARE, "2024-02-01T00:00:00", {"platform": "a"}),
        ("pre-half", half, "2024-02-27T00:00:00", {"platform": "a"}),
        ("pre-sar", SQUARE, "2024-02-28T00:00:00", {"platform": "umbra-05"}),
        ("that-day", SQUARE, "2024-03-01T09:00:00", {"platform": "a"}),
        ("post-late", SQUARE, "2024-03-20T00:00:00", {"platform": "a", "eo:cloud_cover": 1.0}),
        ("post-soon", SQUARE, "2024-03-05T00:00:00", {"platform": "a", "eo:cloud_cover": 2.0}),
        ("post-cloudy", SQUARE, "2024-03-02T00:00:00", {"platform": "a", "eo:cloud_cover": 60.0}),
        ("post-sar", SQUARE, "2024-03-02T01:00:00", {"sar:instrument_mode": "spotlight", "eo:cloud_cover": 90.0}),
    ):
        make_item(folder, name, shape, day, **props)
    reporter = Reporter()
    aoi = area_file(tmp_path, SQUARE)
    found = find_pairs(aoi, "2024-03-01", [folder], reporter=reporter)
    assert [c.first.id for c in found.pre] == ["pre-nearer", "pre", "pre-half"]
    assert [c.first.id for c in found.post] == ["post-soon", "post-late", "post-sar", "post-cloudy"]
    assert (found.undated, found.same_day, len(reporter.warnings)) == (0, 1, 1)
    assert [round(c.coverage, 4) for c in found.pre] == [1, 1, 0.5]
    assert (found.pairs[0].pre.first.id, found.pairs[0].post.first.id) == ("pre-nearer", "post-soon")
    only = find_pairs(aoi, "2024-03-01", [folder], post_sensor="sar").pairs[0]
    assert only.post.first.id == "post-sar"
    assert str(damage_call(only.as_dict(), "a b.gpkg")).endswith("--aoi 'a b.gpkg' -o out --post-sensor sar")
    # with the time of the event, the scene of that day is one after
    assert find_pairs(aoi, "2024-03-01T08:00Z", [folder]).post[0].first.id == "that-day"


def test_collections_indexes_and_catalogues(tmp_path: Path) -> None:
    """The same two scenes however they are listed."""
    folder = tmp_path / "items"
    paths = [
        make_item(folder, name, SQUARE, day, f"{name}.tif", platform="a", gsd=0.5)
        for name, day in (("one", "2024-01-01T00:00:00+00:00"), ("two", "2024-05-01T00:00:00+00:00"))
    ]
    items = [pystac.Item.from_file(str(p)) for p in paths]
    raw = [json.loads(p.read_text()) for p in paths]
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": raw}))
    catalog = pystac.Catalog("c", "of two scenes")
    catalog.add_items(items)
    catalog.normalize_and_save(str(tmp_path / "cat"), pystac.CatalogType.SELF_CONTAINED)
    frame = gpd.GeoDataFrame(
        {
            "path": ["one.tif", "two.tif"],
            "date": [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 5, 1, tzinfo=UTC)],
            "sensor": ["a", "a"],
        },
        geometry=[SQUARE, SQUARE],
        crs="EPSG:4326",
    )
    frame.to_parquet(tmp_path / "index.parquet")
    frame.to_crs("EPSG:3857").to_file(tmp_path / "index.gpkg")
    aoi = area_file(tmp_path, SQUARE)
    for source, ends in (
        (folder, "one.json"),
        (tmp_path / "items.json", "one.tif"),
        (tmp_path / "cat/catalog.json", "one.json"),
        (tmp_path / "cat", "one.json"),
        (tmp_path / "index.parquet", "one.tif"),
        (tmp_path / "index.gpkg", "one.tif"),
    ):
        (pair,) = find_pairs(aoi, "2024-03-01", [source]).pairs
        (pre,), (post,) = pair.pre.entries, pair.post.entries
        assert Path(pre.path).name == ends and Path(pre.path).is_absolute(), source
        assert pair.coverage == pytest.approx(1, abs=1e-6) and post.moment == datetime(2024, 5, 1, tzinfo=UTC)


def test_an_area_at_the_date_line_and_a_geometry_that_is_none() -> None:
    ground = Ground(box(179.9, -17, 180, -16.9))
    assert ground.share(ground.within(box(179.95, -17, 180, -16.9))) == pytest.approx(0.5, abs=1e-4)
    item = pystac.Item("x", {"type": "Polygon", "coordinates": [[[0, float("nan")]]]}, None, datetime(2024, 1, 1), {})
    assert of_item(item) is None
    item = pystac.Item("x", None, None, datetime(2024, 1, 1), {})
    assert of_item(item) is None
    assert read_event("2024-02-01T10:00+02:00") == (datetime(2024, 2, 1, 8, tzinfo=UTC), False)
    assert isinstance(of_item(pystac.Item("x", None, [0, 0, 1, 1], datetime(2024, 1, 1), {})), Line)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("path", ["", "/catalog.json"])
def test_a_catalogue_that_does_not_answer_is_one_clear_message(tmp_path: Path, path: str) -> None:
    if not path:
        pytest.importorskip("pystac_client")
    url = f"http://127.0.0.1:{closed_port()}{path}"
    with pytest.raises(InputError, match="cannot be read") as error:
        find_pairs(area_file(tmp_path, SQUARE), "2024-03-01", [url])
    assert "network" in str(error.value)


def test_what_cannot_be_searched(tmp_path: Path) -> None:
    aoi = area_file(tmp_path, SQUARE)
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.parquet").write_text("x")
    gpd.GeoDataFrame({"a": [1]}, geometry=[SQUARE], crs="EPSG:4326").to_file(tmp_path / "odd.gpkg")
    for event, source, message in (
        ("yesterday", "empty", "is not a date"),
        ("2024-03-01", "empty", "hold no scene"),
        ("2024-03-01", "nothing", "does not exist"),
        ("2024-03-01", "x.parquet", "cannot be read"),
        ("2024-03-01", "odd.gpkg", "does not say where"),
    ):
        with pytest.raises(InputError, match=message):
            find_pairs(aoi, event, [tmp_path / source])


def test_scenes_without_a_date_are_counted(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"path": ["a.tif"], "date": [None]}, geometry=[SQUARE], crs="EPSG:4326")
    frame.to_file(tmp_path / "index.gpkg")
    reporter = Reporter()
    found = find_pairs(area_file(tmp_path, SQUARE), "2024-03-01", [tmp_path / "index.gpkg"], reporter=reporter)
    assert (found.seen, found.undated, found.pairs) == (1, 1, [])
    assert "state no date" in reporter.warnings[0]["message"]
