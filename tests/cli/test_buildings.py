"""`codemae buildings`: the table of a damage run, made again from its rasters."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.transform import from_origin
from shapely.geometry import box
from support.scenes import Pair, Result, write_raster

from codemae_geo.classes import DAMAGE_CLASSES, STANDARD_COLORS
from codemae_geo.errors import InputError, OutputError
from codemae_geo.inference.damage import map_damage
from codemae_geo.raster.classified import read_classes
from codemae_geo.vector.aggregate import map_buildings
from codemae_geo.vector.polygons import polygonize


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pair: Pair, model: Path) -> Path:
    """A damage run with footprints in another CRS, some with odd columns."""
    folder = tmp_path_factory.mktemp("run")
    houses = [box(366003 + 9 * i, 4103960 + 5 * j, 366009 + 9 * i, 4103964 + 5 * j) for i in range(7) for j in range(8)]
    frame = gpd.GeoDataFrame({"class": ["mine"] * 56, "fid": range(56)}, geometry=houses, crs="EPSG:32615")
    frame.to_crs("EPSG:4326").to_file(folder / "houses.geojson")
    map_damage(pair.pre, pair.post, folder / "out", model=model, footprints=folder / "houses.geojson")
    return folder


def read(path: Path) -> pd.DataFrame:
    return gpd.read_file(path, layer="buildings")


def test_the_table_is_the_runs_own(run: Path, tmp_path: Path, codemae: Callable[..., Result]) -> None:
    out = tmp_path / "table ü.gpkg"
    result = codemae(
        "buildings", run / "out/damage.tif", "--confidence", run / "out/confidence.tif", "--footprints",
        run / "houses.geojson", "-o", out, "--progress", "json",
    )  # fmt: skip
    assert result.code == 0, result.err
    events = [json.loads(line) for line in result.out.splitlines()]
    assert events[-1]["outputs"] == {"buildings": str(out)}
    summary = events[-1]["summary"]
    pd.testing.assert_frame_equal(read(out), read(run / "out/damage.gpkg"), check_exact=True)
    of_run = json.loads((run / "out/summary.json").read_text())
    assert summary["buildings"] == of_run["buildings"]
    assert summary["model"] == "random 1"
    assert len({c for c, n in summary["buildings"]["classes"].items() if n}) > 1


def test_metadata_and_style_come_along(run: Path, tmp_path: Path) -> None:
    map_buildings(run / "out/damage.tif", run / "houses.geojson", tmp_path / "t.gpkg")
    with sqlite3.connect(tmp_path / "t.gpkg") as db:
        (metadata,) = db.execute("SELECT metadata FROM gpkg_metadata").fetchone()
        (qml,) = db.execute("SELECT styleQML FROM layer_styles").fetchone()
    with rasterio.open(run / "out/damage.tif") as raster:
        assert raster.tags()["MODEL_SHA256"] in metadata
        assert json.loads(raster.tags()["CLASSES"]) == DAMAGE_CLASSES.as_list()
    assert "damage.tif" in metadata and "houses.geojson" in metadata
    assert "213,94,0,255" in qml
    with sqlite3.connect(run / "out/damage.gpkg") as db:
        assert (qml,) in db.execute("SELECT styleQML FROM layer_styles WHERE f_table_name = 'buildings'").fetchall()


def write_classes(path: Path, values: Any, nodata: float | None = None, dtype: str = "uint8") -> Path:
    data = np.asarray(values, dtype)
    with rasterio.open(
        path, "w", driver="GTiff", width=data.shape[1], height=data.shape[0], count=1, dtype=dtype, nodata=nodata,
        crs="EPSG:32615", transform=from_origin(0, 4, 1, 1),
    ) as out:  # fmt: skip
        out.write(data[None])
    return path


def write_houses(path: Path, *houses: tuple[float, float, float, float]) -> Path:
    gpd.GeoDataFrame(geometry=[box(*h) for h in houses], crs="EPSG:32615").to_file(path)
    return path


def test_any_class_raster_with_a_table(tmp_path: Path) -> None:
    raster = write_classes(
        tmp_path / "flood.tif", [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, -1, -1], [2, 2, -1, -1]], -1, "int16"
    )
    houses = write_houses(tmp_path / "h.gpkg", (0, 2, 2, 4), (1, 2, 3, 4), (0, 0, 2, 2), (2, 0, 4, 2), (90, 0, 92, 2))
    found = map_buildings(raster, houses, tmp_path / "t.gpkg", classes=["dry", "wet", "deep"]).summary
    assert found["buildings"]["classes"] == {"dry": 1, "wet": 1, "deep": 1}
    assert found["buildings"]["statuses"] == {"covered": 3, "partly": 0, "nodata": 1, "outside": 1}
    assert [c["color"] for c in found["classes"]] == list(STANDARD_COLORS[:3])
    table = read(tmp_path / "t.gpkg")
    assert list(table["class_name"][:3]) == ["dry", "wet", "deep"]
    assert table["share_wet"][1] == 0.5
    entries = [{"value": 0, "name": "a"}, {"value": 1, "name": "b"}, {"value": 2, "name": "c", "color": "#010203"}]
    colours = map_buildings(raster, houses, tmp_path / "u.gpkg", classes=entries).summary["classes"]
    assert colours[2]["color"] == "#010203" and not any(c["background"] for c in colours)


def test_values_may_have_gaps(tmp_path: Path) -> None:
    raster = write_classes(tmp_path / "cover.tif", [[10, 10, 30, 30], [10, 10, 30, 0]])
    houses = write_houses(tmp_path / "h.gpkg", (0, 2, 2, 4), (2, 2, 4, 4), (1, 2, 3, 4))
    entries = [{"value": 30, "name": "built"}, {"value": 0, "name": "sea", "background": True}]
    entries += [{"value": 10, "name": "tree"}]
    found = map_buildings(raster, houses, tmp_path / "t.gpkg", classes=entries).summary
    assert found["buildings"]["classes"] == {"sea": 0, "tree": 1, "built": 2}
    table = read(tmp_path / "t.gpkg")
    assert list(table["class"]) == [10, 30, 30] and list(table["class_name"]) == ["tree", "built", "built"]
    np.testing.assert_allclose(
        table[["share_sea", "share_tree", "share_built"]], [[0, 1, 0], [1 / 4, 0, 3 / 4], [0, 1 / 2, 1 / 2]]
    )
    with sqlite3.connect(tmp_path / "t.gpkg") as db:
        (qml,) = db.execute("SELECT styleQML FROM layer_styles").fetchone()
    assert all(f'value="{value}"' in qml for value in (0, 10, 30))
    polygons = polygonize(raster, tmp_path / "p.gpkg", read_classes(raster, entries))
    assert polygons.count == 2 and set(gpd.read_file(tmp_path / "p.gpkg", layer="polygons")["class"]) == {10, 30}


def test_tables_of_other_programs(tmp_path: Path) -> None:
    raster = write_classes(tmp_path / "c.tif", [[0, 1]])
    side_car = tmp_path / "c.tif.aux.xml"
    side_car.write_text(
        "<PAMDataset><PAMRasterBand band='1'><CategoryNames><Category>none</Category><Category>wood</Category>"
        "<Category/><Category>field</Category></CategoryNames></PAMRasterBand></PAMDataset>"
    )
    found = [(c.value, c.name, c.background) for c in read_classes(raster)]
    assert found == [(0, "none", True), (1, "wood", False), (3, "field", False)]
    with rasterio.open(tmp_path / "c.tif", "r+") as file:
        file.update_tags(CLASSES=json.dumps(DAMAGE_CLASSES.as_list()))
    assert read_classes(raster) == DAMAGE_CLASSES


def test_a_run_whose_files_got_separated(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.tif"
    alone.write_bytes((run / "out/damage.tif").read_bytes())
    assert read_classes(alone) == DAMAGE_CLASSES


def test_footprints_elsewhere_are_warned_of(run: Path, tmp_path: Path, pair: Pair, model: Path) -> None:
    houses = write_houses(tmp_path / "h.gpkg", (0, 0, 9, 9))
    summary = map_buildings(run / "out/damage.tif", houses, tmp_path / "t.gpkg").summary
    assert [w["code"] for w in summary["warnings"]] == ["footprints"]
    gpd.GeoDataFrame(geometry=[box(366003, 4103960, 366009, 4103964)], crs="EPSG:4326").to_file(tmp_path / "m.gpkg")
    result = map_damage(pair.pre, pair.post, tmp_path / "out", model=model, footprints=tmp_path / "m.gpkg")
    assert [w["code"] for w in result.summary["warnings"]] == ["footprints"]
    assert result.summary["buildings"]["statuses"]["outside"] == 1


def no_table(folder: Path) -> dict[str, Any]:
    return {"raster": write_classes(folder / "c.tif", [[0, 1]])}


def picture(folder: Path) -> dict[str, Any]:
    return {"raster": write_raster(folder / "rgb.tif")}


def one_value_twice(folder: Path) -> dict[str, Any]:
    entries = [{"value": 10, "name": "tree"}, {"value": 10, "name": "shrub"}]
    return {"raster": write_classes(folder / "c.tif", [[10, 20]]), "classes": entries}


def more_values(folder: Path) -> dict[str, Any]:
    return {"raster": write_classes(folder / "c.tif", [[0, 7]]), "classes": ["a", "b"]}


def missing(folder: Path) -> dict[str, Any]:
    return {"raster": folder / "gone.tif"}


def other_grid(folder: Path) -> dict[str, Any]:
    confidence = write_classes(folder / "sure.tif", [[0, 1, 1]])
    return {"raster": write_classes(folder / "c.tif", [[0, 1]]), "classes": ["a", "b"], "confidence": confidence}


def lost_confidence(folder: Path) -> dict[str, Any]:
    return {"raster": write_classes(folder / "c.tif", [[0, 1]]), "classes": ["a", "b"], "confidence": folder / "no.tif"}


def other_values(folder: Path) -> dict[str, Any]:
    confidence = write_classes(folder / "sure.tif", [[0, 7]])
    return {"raster": write_classes(folder / "c.tif", [[0, 1]]), "classes": ["a", "b"], "confidence": confidence}


def no_footprints(folder: Path) -> dict[str, Any]:
    return {
        "raster": write_classes(folder / "c.tif", [[0, 1]]),
        "classes": ["a", "b"],
        "footprints": folder / "no.gpkg",
    }


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (no_table, ["hint:", "classes"]),
        (picture, ["not a class raster", "3 band"]),
        (one_value_twice, ["values must differ"]),
        (more_values, ["outside the table", "7"]),
        (missing, ["gone.tif", "is not there"]),
        (other_grid, ["another grid"]),
        (lost_confidence, ["no.tif"]),
        (other_values, ["not a confidence raster", "0 to 7"]),
        (no_footprints, ["no.gpkg"]),
    ],
    ids=lambda c: getattr(c, "__name__", ""),
)
def test_bad_input(tmp_path: Path, case: Callable[[Path], dict[str, Any]], words: list[str]) -> None:
    arguments = {"footprints": write_houses(tmp_path / "h.gpkg", (0, 3, 1, 4)), **case(tmp_path)}
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as refused:
        map_buildings(out=tmp_path / "t.gpkg", **arguments)
    for word in words:
        assert word in str(refused.value)
    assert sorted(tmp_path.iterdir()) == before


def test_inputs_and_tables_are_not_replaced(tmp_path: Path, codemae: Callable[..., Result]) -> None:
    raster = write_classes(tmp_path / "c.tif", [[0, 1]])
    houses = write_houses(tmp_path / "h.gpkg", (0, 3, 1, 4))
    with pytest.raises(OutputError, match="one of the inputs"):
        map_buildings(raster, houses, houses, classes=["a", "b"], overwrite=True)
    with pytest.raises(OutputError, match=r"ends in \.gpkg"):
        map_buildings(raster, houses, tmp_path / "t.shp", classes=["a", "b"])
    (tmp_path / "t.gpkg").write_text("mine")
    (tmp_path / "classes.json").write_text('[{"value": 0, "name": "a"}, {"value": 1, "name": "b"}]')
    words = [
        "buildings",
        raster,
        "--footprints",
        houses,
        "-o",
        tmp_path / "t.gpkg",
        "--classes",
        tmp_path / "classes.json",
    ]
    refused = codemae(*words)
    assert refused.code == 1 and "--overwrite" in refused.err and "Traceback" not in refused.err
    done = codemae(*words, "--overwrite")
    assert done.code == 0 and "1 footprints: 1 covered" in done.out
