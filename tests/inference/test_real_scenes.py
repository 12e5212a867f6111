"""Whole runs on real pairs: mosaics in two coordinate systems, rotated complex SAR, SAR with gaps, optical with SAR."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from support.scenes import make_model

from codemae_geo import map_damage
from codemae_geo.classes import NODATA
from codemae_geo.inference.job import MapResult
from codemae_geo.inference.request import RunOptions


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small random models for an optical and for a SAR post scene."""
    folder = tmp_path_factory.mktemp("models")
    sensors: tuple[Literal["optical", "sar"], ...] = ("optical", "sar")
    return {s: make_model(folder / f"{s}.safetensors", s) for s in sensors}


@pytest.fixture(scope="module")
def joplin(shared: Path, models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> MapResult:
    """All ten Joplin tiles with all footprints."""
    data = shared / "data/joplin"
    return map_damage(
        data / "pre",
        data / "post",
        tmp_path_factory.mktemp("joplin") / "out",
        model=models["optical"],
        footprints=data / "buildings_2020.gpkg",
        options=RunOptions(window=256, overlap=0.25),
    )


def test_joplin_has_the_corners_of_the_pre_mosaic(joplin: MapResult, shared: Path) -> None:
    corners = []
    for tile in (shared / "data/joplin/pre").glob("*.tif"):
        with rasterio.open(tile) as file:
            corners.append(file.bounds)
            pixel = file.res[0]
    left, top = min(b.left for b in corners), max(b.top for b in corners)
    right, bottom = max(b.right for b in corners), min(b.bottom for b in corners)
    with rasterio.open(joplin.outputs["classes"]) as raster:
        found = raster.bounds
        assert raster.crs == "EPSG:26915"
        assert raster.shape == (2048, 2048)
    for ours, theirs in zip(found, (left, bottom, right, top), strict=True):
        assert abs(ours - theirs) <= 1e-9 * pixel


def test_joplin_names_every_building(joplin: MapResult, shared: Path) -> None:
    table = gpd.read_file(joplin.outputs["vector"], layer="buildings")
    source = gpd.read_file(shared / "data/joplin/buildings_2020.gpkg")
    assert len(table) == len(source) == 2823
    assert set(table["status"]) <= {"covered", "partly", "nodata", "outside"}
    assert joplin.summary["buildings"]["n"] == 2823
    assert sum(joplin.summary["buildings"]["statuses"].values()) == 2823
    inside = table[table["status"] == "covered"]
    assert len(inside) > 300
    assert inside["confidence"].between(0, 1).all()
    # areas of roofs, not of degrees
    assert 100 < inside["area_m2"].median() < 400


def test_joplin_is_nodata_where_there_is_no_post_scene(joplin: MapResult) -> None:
    with rasterio.open(joplin.outputs["classes"]) as raster:
        labels = raster.read(1)
        overview = raster.read(1, out_shape=(raster.height // 4, raster.width // 4))
    assert (labels == NODATA).mean() == pytest.approx(1 - 0.755, abs=0.01)
    assert set(np.unique(overview)) <= {0, 1, 2, 3, NODATA}
    assert joplin.summary["overlap"]["share_of_pre"] == pytest.approx(0.755, abs=0.01)
    assert joplin.summary["offset"]["quality"] == "good"


def run_rotterdam(shared: Path, post: str, models: dict[str, Path], out: Path) -> tuple[MapResult, Any]:
    data = shared / "data/spacenet6_rotterdam"
    result = map_damage(data / "rgb_unmasked.tif", data / post, out, model=models["sar"], post_sensor="sar")
    with rasterio.open(result.outputs["classes"]) as raster:
        return result, raster.read(1)


def test_rotated_complex_sar(shared: Path, models: dict[str, Path], tmp_path: Path) -> None:
    result, labels = run_rotterdam(shared, "sar_hh.tif", models, tmp_path / "out")
    post = result.summary["inputs"]["post"]
    assert (post["unit"], post["conversion"]["target"]) == ("complex", "uint8")
    analysed = labels != NODATA
    # the radar image covers 500 m x 500 m of the optical one's 900 m x 900 m
    assert analysed.mean() == pytest.approx((500 / 900) ** 2, abs=0.01)
    assert len(np.unique(labels[analysed])) > 1


def test_sar_in_decibels_with_gaps(shared: Path, models: dict[str, Path], tmp_path: Path) -> None:
    result, labels = run_rotterdam(shared, "sar_masked.tif", models, tmp_path / "out")
    assert result.summary["inputs"]["post"]["unit"] == "db"
    with rasterio.open(shared / "data/spacenet6_rotterdam/sar_masked.tif") as file:
        measured = np.isfinite(file.read(1))
    assert ((labels != NODATA) == measured).mean() > 0.99
    assert (labels != NODATA).mean() == pytest.approx(0.61, abs=0.01)


def test_los_angeles_mosaic_optical_then_sar(shared: Path, models: dict[str, Path], tmp_path: Path) -> None:
    data = shared / "data/los_angeles_s1s2"
    result = map_damage(
        data / "optical",
        data / "sar",
        tmp_path / "out",
        model=models["sar"],
        options=RunOptions(window=512, overlap=0.1),
    )
    with rasterio.open(result.outputs["classes"]) as raster:
        assert raster.shape == (5303, 5968)
        assert raster.crs == "EPSG:3395"
    summary = json.loads(result.outputs["summary"].read_text())
    # Mercator at 34 degrees: a 10 m pixel covers 8.3 m x 8.3 m, and areas must say so
    assert summary["grid"]["gsd_m"] == pytest.approx(8.3, abs=0.05)
    assert summary["analysed"]["area_m2"] == pytest.approx(summary["overlap"]["area_m2"], rel=2e-3)
    assert summary["windows"]["skipped"] > 0
    assert any(w["code"] == "gsd" for w in summary["warnings"]) is False
