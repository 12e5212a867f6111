"""Indexes of scenes, and pairs found in them."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pystac
import pytest
import rasterio
from codemae_datasets.collection import index as indexing
from codemae_datasets.collection.index import build_index, read_index
from codemae_datasets.collection.matching import find_pairs, write_pairs
from codemae_datasets.scenes import OpticalScenes, SARScenes
from pyproj import Geod
from rasterio.transform import from_origin

from codemae_geo.errors import InputError, OutputError


def scene(
    path: Path, origin: tuple[float, float] = (500_000, 5_000_000), bands: int = 3, crs: str = "EPSG:32633",
    res: float = 10, size: int = 32,
) -> Path:  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=bands, dtype="uint8", crs=crs,
        transform=from_origin(*origin, res, res), nodata=0,
    ) as file:  # fmt: skip
        file.write(np.random.default_rng(0).integers(1, 255, (bands, size, size), dtype=np.uint8))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two optical scenes side by side and three SAR scenes: the same place, half of it, elsewhere."""
    scene(tmp_path / "in/optical/a_20200601.tif")
    scene(tmp_path / "in/optical/b_20200610.tif", (500_320, 5_000_000))
    scene(tmp_path / "in/sar/a_20200603.tif", bands=1)
    scene(tmp_path / "in/sar/half_20200601T120000.tif", (500_160, 5_000_000), bands=1)
    scene(tmp_path / "in/sar/far_20200601.tif", (700_000, 5_000_000), bands=1)
    return tmp_path


def test_what_stands_in_the_index(folder: Path) -> None:
    report = build_index([folder / "in"], folder / "index.parquet")
    assert (report.scenes, report.read, report.kept) == (5, 5, 0)
    table = read_index(folder / "index.parquet").set_index("id")
    assert table.crs == "EPSG:4326" and (table["family"] == ["optical", "optical", "sar", "sar", "sar"]).all()
    row = table.loc["half_20200601T120000"]
    assert row["datetime"] == pd.Timestamp("2020-06-01T12:00", tz="UTC") == row["end_datetime"]
    assert (row["crs"], row["shape"], row["nodata"], row["dtype"]) == ("EPSG:32633", (32, 32), 0, "uint8")
    assert row["transform"] == (10, 0, 500_160, 0, -10, 5_000_000)
    assert row["gsd"] == pytest.approx(10, rel=1e-3)
    day = table.loc["a_20200601"]
    assert pd.isna(day["datetime"]) and day["start_datetime"].day == day["end_datetime"].day == 1
    lon, lat = day.geometry.centroid.coords[0]
    assert (lon, lat) == pytest.approx((15.002, 45.151), abs=0.01)
    assert day["bbox"]["xmin"] == pytest.approx(day.geometry.bounds[0])


def test_only_what_changed_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = folder / "index.parquet"
    build_index([folder / "in"], output)
    first = output.read_bytes()
    seen: list[str] = []
    describe = indexing.describe
    monkeypatch.setattr(indexing, "describe", lambda path, *a: seen.append(Path(path).name) or describe(path, *a))
    assert build_index([folder / "in"], output).kept == 5 and not seen
    assert output.read_bytes() == first
    changed = scene(folder / "in/sar/far_20200601.tif", (800_000, 5_000_000), bands=1)
    os.utime(changed, ns=(1, 1))
    (folder / "in/optical/b_20200610.tif").unlink()
    scene(folder / "more/c_20200702.tif")
    report = build_index([folder / "in", folder / "more"], output)
    assert sorted(seen) == ["c_20200702.tif", "far_20200601.tif"]
    assert (report.scenes, report.read, report.kept, report.dropped) == (5, 2, 3, 1)
    assert build_index([folder / "in"], output, afresh=True).scenes == 4


def test_a_folder_that_moves_keeps_its_index(folder: Path) -> None:
    build_index([folder / "in"], folder / "in" / "index.parquet")
    shutil.move(folder / "in", folder / "moved")
    hrefs = read_index(folder / "moved" / "index.parquet")["href"]
    assert all(Path(h).is_file() and "moved" in h for h in hrefs)


def test_scenes_open_from_the_index_alone(folder: Path) -> None:
    build_index([folder / "in"], folder / "index.parquet")
    table = read_index(folder / "index.parquet")
    whole = OpticalScenes(folder / "in/optical")
    shutil.rmtree(folder / "in")
    opened = OpticalScenes.from_index(table[table["family"] == "optical"], bands=[1, 2, 3])
    assert len(opened) == 2 and opened.res == whole.res and opened.bounds == whole.bounds
    sar = SARScenes.from_index(table[table["family"] == "sar"], bands=[1])
    assert len(sar) == 3


def test_date_line_and_pole(tmp_path: Path) -> None:
    scene(tmp_path / "line.tif", (300_000, 8_000_000), crs="EPSG:32601", res=5000)
    scene(tmp_path / "pole.tif", (-80_000, 80_000), crs="EPSG:3413", res=5000)
    scene(tmp_path / "other.tif", (177.0, 72.0), crs="EPSG:4326", res=0.1, bands=1)
    build_index([tmp_path], tmp_path / "index.parquet")
    table = read_index(tmp_path / "index.parquet").set_index("id")
    line = table.loc["line"]
    assert line.geometry.geom_type == "MultiPolygon"
    assert line["bbox"]["xmin"] > 170 and line["bbox"]["xmax"] < -170
    true = 160_000**2 / 1e6
    earth = Geod(ellps="WGS84")
    areas = [abs(earth.geometry_area_perimeter(part)[0]) / 1e6 for part in line.geometry.geoms]
    assert sum(areas) == pytest.approx(true, rel=0.02)
    assert table.loc["pole"].geometry.bounds[3] == 90
    assert table.loc["pole"].geometry.bounds[::2] == (-180, 180)
    pairs = find_pairs(table.reset_index())
    assert list(pairs["optical"].map(lambda p: Path(p).name)) == ["line.tif"]


def test_stac_items(tmp_path: Path) -> None:
    scene(tmp_path / "data/scene.tif")
    moment = datetime(2021, 5, 6, 7, 8, 9, tzinfo=UTC)
    item = pystac.Item("S2_item", geometry=None, bbox=None, datetime=moment, properties={})
    item.add_asset("visual", pystac.Asset("./data/scene.tif", media_type=pystac.MediaType.COG, roles=["data"]))
    item.set_self_href(str(tmp_path / "item.json"))
    item.save_object(include_self_link=False)
    build_index([tmp_path / "item.json"], tmp_path / "index.parquet")
    table = read_index(tmp_path / "index.parquet")
    assert table["href"][0] == str(tmp_path / "item.json") and table["datetime"][0] == pd.Timestamp(moment)
    assert len(OpticalScenes.from_index(table, bands=[1, 2, 3])) == 1
    scene(tmp_path / "data/vv.tif", bands=1)
    item.assets = {"vv": pystac.Asset(str(tmp_path / "data/vv.tif"))}
    item.set_self_href(str(tmp_path / "radar.json"))
    item.save_object(include_self_link=False)
    build_index([tmp_path / "radar.json"], tmp_path / "index.parquet")
    assert list(read_index(tmp_path / "index.parquet")["family"]) == ["optical", "sar"]
    (tmp_path / "other.json").write_text('{"type": "FeatureCollection"}')
    with pytest.raises(InputError, match="is not a STAC item"):
        build_index([tmp_path / "other.json"], tmp_path / "other.parquet")


def test_sentinel_scenes_of_los_angeles(shared: Path, tmp_path: Path) -> None:
    build_index([shared / "data/los_angeles_s1s2"], tmp_path / "index.parquet")
    table = read_index(tmp_path / "index.parquet")
    assert set(table["family"]) == {"optical", "sar"} and set(table["proj:epsg"]) == {3395}
    pairs = find_pairs(table, min_share=0.99, max_days=3)
    same = [Path(o).stem[-3:] == Path(s).stem[-3:] for o, s in zip(pairs["optical"], pairs["sar"], strict=True)]
    assert all(same) and len(same) == (table["family"] == "optical").sum() and set(pairs["days"]) == {3.0}
    optical = OpticalScenes.from_index(table[table["family"] == "optical"], bands=[1, 2, 3])
    sar = SARScenes.from_index(table[table["family"] == "sar"], bands=[1], crs=optical.crs, res=optical.res)
    whole = OpticalScenes(shared / "data/los_angeles_s1s2/optical")
    assert optical.bounds == whole.bounds and optical.res == whole.res
    assert len(optical & sar) == len(
        whole & SARScenes(shared / "data/los_angeles_s1s2/sar", crs=whole.crs, res=whole.res)
    )


def test_pairs_by_area_and_date(folder: Path) -> None:
    build_index([folder / "in"], folder / "index.parquet")
    table = read_index(folder / "index.parquet")

    def found(**options: float) -> list[tuple[str, str]]:
        pairs = find_pairs(table, **options)
        return [(Path(o).name[0], Path(s).name[0]) for o, s in zip(pairs["optical"], pairs["sar"], strict=True)]

    assert found() == [("a", "a"), ("a", "h"), ("b", "h")]
    assert found(min_share=0.9) == [("a", "a")]
    assert found(max_days=3) == [("a", "a"), ("a", "h")]
    assert found(nearest=1) == [("a", "h"), ("b", "h")]
    assert found(min_km2=0.06) == [("a", "a")]
    pairs = find_pairs(table)
    assert pairs["days"].round(2).tolist() == [2.0, 0.0, -9.0]
    assert pairs["overlap_km2"].to_numpy() == pytest.approx([0.1024, 0.0512, 0.0512], rel=2e-3)
    assert pairs["overlap_share"].to_numpy() == pytest.approx([1, 0.5, 0.5], abs=2e-3)


def test_tables_of_pairs(folder: Path) -> None:
    build_index([folder / "in"], folder / "index.parquet")
    pairs = find_pairs(read_index(folder / "index.parquet"))
    write_pairs(pairs, folder / "pairs.csv")
    assert list(pd.read_csv(folder / "pairs.csv")["overlap_share"].round(2)) == [1, 0.5, 0.5]
    with pytest.raises(OutputError, match="exists"):
        write_pairs(pairs, folder / "pairs.csv")
    write_pairs(pairs.iloc[:0], folder / "pairs.csv", overwrite=True)
    assert pd.read_csv(folder / "pairs.csv").empty
    write_pairs(pairs, folder / "pairs.parquet")
    with pytest.raises(InputError, match=r"\.csv or \.parquet"):
        write_pairs(pairs, folder / "pairs.txt")


def test_bad_input(folder: Path) -> None:
    output = folder / "index.parquet"
    whole = (folder / "in/sar/far_20200601.tif").read_bytes()
    (folder / "in/sar/far_20200601.tif").write_bytes(whole[:600])
    with pytest.raises(InputError, match="cannot be read") as damaged:
        build_index([folder / "in"], output)
    assert "far_20200601.tif is truncated" in str(damaged.value) and not output.exists()
    assert build_index([folder / "in"], output, skip_unreadable=1).scenes == 4
    with pytest.raises(InputError, match="nowhere is not there"):
        build_index(["nowhere"], output)
    with pytest.raises(InputError, match="no sensor 'sentinel-9'"):
        build_index([folder / "in"], output, sensor="sentinel-9")
    with pytest.raises(InputError, match="there is no index"):
        read_index(folder / "other.parquet")
    (folder / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match="is not an index"):
        read_index(folder / "text.parquet")
    with pytest.raises(InputError, match="one kind only"):
        find_pairs(read_index(output).query("family == 'sar'"))
