"""`codemae damage` and `codemae predict` on small scenes: outputs, options, events, interruption."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from shapely.geometry import box
from support.scenes import Pair, Result, write_raster

from codemae_geo.classes import DAMAGE_CLASSES, NODATA


@pytest.fixture(scope="session")
def done(
    tmp_path_factory: pytest.TempPathFactory, pair: Pair, model: Path, codemae: Callable[..., Result]
) -> tuple[Path, dict[str, Any]]:
    """One full run with footprints and probabilities."""
    out = tmp_path_factory.mktemp("done") / "out"
    arguments = ["--pre", pair.pre, "--post", pair.post, "--model", model, "--footprints", pair.footprints]
    result = codemae("--json", "--quiet", "damage", *arguments, "--probabilities", "-o", out)
    assert result.code == 0, result.err
    return out, result.json


def read(path: Path, band: int = 1) -> np.ndarray[Any, Any]:
    with rasterio.open(path) as file:
        return file.read(band)


def test_outputs_are_complete_and_named(done: tuple[Path, dict[str, Any]]) -> None:
    out, answer = done
    names = {p.name for p in out.iterdir()}
    assert {"damage.tif", "confidence.tif", "probabilities.tif", "damage.gpkg", "summary.json"} <= names
    assert not [n for n in names if n.endswith(".part") or n.startswith(".")]
    assert not list(out.parent.glob(".*"))
    for path in answer["outputs"].values():
        assert Path(path).is_file()


def test_the_class_raster_is_a_styled_cog_on_the_pre_grid(done: tuple[Path, dict[str, Any]], pair: Pair) -> None:
    with rasterio.open(done[0] / "damage.tif") as raster, rasterio.open(pair.pre) as pre:
        assert (raster.shape, raster.crs, raster.transform) == (pre.shape, pre.crs, pre.transform)
        assert raster.nodata == NODATA
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        colormap = raster.colormap(1)
        assert [colormap[c.value][:3] for c in DAMAGE_CLASSES] == [c.rgb for c in DAMAGE_CLASSES]
        tags = raster.tags()
        assert json.loads(tags["INPUTS"])["pre"][0]["file"] == "pre.tif"
        assert len(tags["MODEL_SHA256"]) == 64
        assert json.loads(tags["PARAMETERS"])["probabilities"] is True
        assert set(np.unique(raster.read(1))) <= {0, 1, 2, 3}


def test_summary_counts_the_raster(done: tuple[Path, dict[str, Any]]) -> None:
    out, answer = done
    summary = json.loads((out / "summary.json").read_text())
    assert summary == answer["summary"]
    labels = read(out / "damage.tif")
    for row in summary["classes"]:
        assert row["pixels"] == (labels == row["value"]).sum()
        # 0.5 m pixels in a UTM zone: the true area is within 0.1 % of the planar one
        assert row["area_m2"] == pytest.approx(row["pixels"] * 0.25, rel=2e-3)
    assert summary["analysed"]["pixels"] == labels.size
    assert summary["windows"]["run"] > 1
    assert set(summary["seconds"]) >= {"check", "offset", "predict", "write", "buildings", "polygons"}


def test_probabilities_agree_with_classes_and_confidence(done: tuple[Path, dict[str, Any]]) -> None:
    with rasterio.open(done[0] / "probabilities.tif") as raster:
        assert raster.descriptions == tuple(DAMAGE_CLASSES.names)
        steps = raster.read().astype(int)
    labels, confidence = read(done[0] / "damage.tif"), read(done[0] / "confidence.tif").astype(int)
    assert np.abs(steps.sum(0) - 250).max() <= 2
    won = np.take_along_axis(steps, labels[None].astype(int), 0)[0]
    assert (won == steps.max(0)).all()
    assert np.abs(won - confidence).max() <= 1


def test_every_footprint_has_a_status(done: tuple[Path, dict[str, Any]]) -> None:
    table = gpd.read_file(done[0] / "damage.gpkg", layer="buildings").set_index("name")
    assert list(table.loc[["a", "b", "c"], "status"]) == ["covered", "partly", "outside"]
    assert table.loc["a", "area_m2"] == pytest.approx(100, rel=2e-3)
    shares = table.loc["a", [f"share_{name}" for name in DAMAGE_CLASSES.names]].astype(float)
    assert shares.sum() == pytest.approx(1)


def damage(codemae: Callable[..., Result], pair: Pair, model: Path, out: Path, *more: object) -> Result:
    result = codemae(
        "damage", "--pre", pair.pre, "--post", pair.post, "--model", model, "-o", out, "--json", "--quiet", *more
    )
    assert result.code == 0, result.err
    return result


def test_batch_size_does_not_change_a_label(
    done: tuple[Path, dict[str, Any]], tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]
) -> None:
    damage(codemae, pair, model, tmp_path / "out", "--batch-size", 8)
    assert (read(tmp_path / "out/damage.tif") == read(done[0] / "damage.tif")).all()


def test_bounds_and_aoi(tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]) -> None:
    triangle = gpd.GeoSeries([box(366010, 4103960, 366040, 4103990)], crs="EPSG:32615").to_crs("EPSG:4326")
    triangle.to_file(tmp_path / "aoi.geojson")
    damage(codemae, pair, model, tmp_path / "out", "--aoi", tmp_path / "aoi.geojson")
    with rasterio.open(tmp_path / "out/damage.tif") as raster:
        assert 60 <= raster.width <= 62 and 60 <= raster.height <= 62
        left, top = raster.transform.c, raster.transform.f
        assert ((left - 366000) / 0.5).is_integer() and ((4104000 - top) / 0.5).is_integer()
        labels = raster.read(1)
    assert (labels[2:-2, 2:-2] != NODATA).all()
    bounds = ["--bounds", 366005, 4103970, 366020, 4103990]
    damage(codemae, pair, model, tmp_path / "crop", *bounds)
    with rasterio.open(tmp_path / "crop/damage.tif") as raster:
        assert tuple(raster.bounds) == (366005, 4103970, 366020, 4103990)


def test_only_near_buildings_skips_the_rest(
    tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]
) -> None:
    near = ["--footprints", pair.footprints, "--only-near-buildings", "--near-distance", 3, "--window", 32]
    summary = damage(codemae, pair, model, tmp_path / "out", *near).json["summary"]
    assert summary["windows"]["skipped"] > 0
    labels = read(tmp_path / "out/damage.tif")
    # the house covers rows 40..60 and columns 20..40; 3 m are 6 pixels
    assert (labels[34:66, 14:46] != NODATA).mean() > 0.98
    assert labels[90, 110] == NODATA


def test_dry_run_writes_nothing(tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]) -> None:
    plan = damage(codemae, pair, model, tmp_path / "out", "--dry-run").json
    assert plan["grid"]["width"] == 120 and plan["grid"]["height"] == 100
    assert plan["windows"]["count"] == 9
    assert plan["memory_bytes"]["total"] > plan["memory_bytes"]["weights"] > 0
    assert not (tmp_path / "out").exists()
    text = codemae(
        "damage", "--pre", pair.pre, "--post", pair.post, "--model", model, "-o", tmp_path / "o", "--dry-run"
    )
    assert "120 x 100 pixels" in text.out


def test_progress_as_json_lines(tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]) -> None:
    arguments = ["--pre", pair.pre, "--post", pair.post, "--model", model, "-o", tmp_path / "out"]
    result = codemae("damage", *arguments, "--progress", "json")
    assert result.code == 0, result.err
    events = [json.loads(line) for line in result.out.splitlines()]
    assert events[0]["event"] == "hello" and events[0]["protocol"] == 1
    assert [e["name"] for e in events if e["event"] == "stage"][:3] == ["check", "offset", "predict"]
    progress = [e for e in events if e["event"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == 9
    assert events[-1]["event"] == "result"
    assert Path(events[-1]["outputs"]["classes"]).is_file()


def test_several_files_behind_one_option(
    tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]
) -> None:
    east = write_raster(tmp_path / "east.tif", origin=(366060.0, 4104000.0), seed=3)
    arguments = ["--pre", pair.pre, east, "--post", pair.post, "-o", tmp_path / "out", "--model", model, "--json"]
    result = codemae("damage", *arguments)
    assert result.code == 0, result.err
    assert result.json["summary"]["grid"]["width"] == 240
    assert result.json["summary"]["analysed"]["share"] == pytest.approx(0.5)
    assert any(w["code"] == "gsd" for w in result.json["summary"]["warnings"]) is False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, pair: Pair, model: Path, number: int) -> None:
    program = Path(sys.executable).with_name("codemae")
    slow = ["--tta", "--overlap", "0.95", "--window", "32", "--progress", "json"]
    process = subprocess.Popen(
        [program, "damage", "--pre", pair.pre, "--post", pair.post, "--model", model, "-o", tmp_path / "out", *slow],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        if json.loads(line).get("stage") == "predict":
            break
    assert list(tmp_path.iterdir()), "the run works in a hidden folder"
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    *before, last = [json.loads(line) for line in rest.splitlines()]
    assert last["code"] == "interrupted"
    assert not [e for e in before if e["event"] in ("stage", "result")], "nothing of a later stage began"
    assert list(tmp_path.iterdir()) == []


def test_predict_with_a_segmentation_package(
    tmp_path: Path, pair: Pair, segmenter: Path, model: Path, codemae: Callable[..., Result]
) -> None:
    result = codemae("predict", segmenter, pair.pre, "-o", tmp_path / "out", "--json", "--quiet")
    assert result.code == 0, result.err
    with rasterio.open(tmp_path / "out/classes.tif") as raster, rasterio.open(pair.pre) as scene:
        assert (raster.shape, raster.transform, raster.crs) == (scene.shape, scene.transform, scene.crs)
    polygons = gpd.read_file(tmp_path / "out/classes.gpkg")
    assert len(polygons) == result.json["summary"]["polygons"]["count"] > 0
    plan = codemae("predict", segmenter, pair.pre, "-o", tmp_path / "dry", "--json", "--dry-run")
    assert plan.json["windows"]["count"] == 9 and not (tmp_path / "dry").exists()
    refused = codemae("predict", model, pair.pre, "-o", tmp_path / "no", "--quiet")
    assert refused.code == 1 and "task damage" in refused.err and "codemae damage" in refused.err


def test_undeclared_nodata_is_pointed_out(
    tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]
) -> None:
    with rasterio.open(pair.post) as file:
        data, profile = file.read(), file.profile
    data[:, :, :40] = 0
    with rasterio.open(tmp_path / "bordered.tif", "w", **profile) as out:
        out.write(data)
    arguments = [
        "damage",
        "--pre",
        pair.pre,
        "--post",
        tmp_path / "bordered.tif",
        "--model",
        model,
        "--json",
        "--quiet",
    ]
    plain = codemae(*arguments, "-o", tmp_path / "plain")
    warning = next(w for w in plain.json["summary"]["warnings"] if w["code"] == "nodata")
    assert "--post-nodata 0" in warning["message"] and "33%" in warning["message"]
    told = codemae(*arguments, "-o", tmp_path / "told", "--post-nodata", 0)
    assert not told.json["summary"]["warnings"]
    assert told.json["summary"]["analysed"]["share"] == pytest.approx(2 / 3)
