"""A package with a calibrated building confidence: the table holds it, and no other file stays behind."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from safetensors.torch import load_file
from shapely.geometry import box
from support.scenes import make_model, write_raster

from codemae_geo import map_damage
from codemae_geo.inference.request import RunOptions
from codemae_geo.weights.package import BuildingCalibration, read_contract, save_package

SLOPE, INTERCEPT = 0.7, -0.4


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pair")
    made = {name: write_raster(folder / f"{name}.tif", seed=i) for i, name in enumerate(("pre", "post"), 1)}
    with rasterio.open(made["pre"]) as file:
        left, bottom, right, top = file.bounds
    rng = np.random.default_rng(0)
    corners = rng.uniform((left, bottom), (right - 12, top - 12), (20, 2))
    houses = gpd.GeoDataFrame(geometry=[box(x, y, x + 10, y + 8) for x, y in corners], crs="EPSG:32615")
    houses.to_file(folder / "houses.gpkg")
    model = make_model(folder / "plain.safetensors")
    fitted = BuildingCalibration(slope=SLOPE, intercept=INTERCEPT, split="test")
    contract = read_contract(model).model_copy(update={"building_calibration": fitted})
    made["model"] = save_package(folder / "calibrated.safetensors", load_file(model), contract)
    return made | {"plain": model, "houses": folder / "houses.gpkg"}


def table(scene: dict[str, Path], out: Path, model: str, probabilities: bool) -> gpd.GeoDataFrame:
    options = RunOptions(precision="float32", probabilities=probabilities)
    done = map_damage(scene["pre"], scene["post"], out, model=scene[model], footprints=scene["houses"], options=options)
    assert (out / "probabilities.tif").exists() is probabilities
    assert ("probabilities" in done.outputs) is probabilities
    return gpd.read_file(done.outputs["vector"], layer="buildings")


def test_the_table_holds_the_calibrated_confidence(scene: dict[str, Path], tmp_path: Path) -> None:
    plain = table(scene, tmp_path / "plain", "plain", False)
    found = table(scene, tmp_path / "hidden", "model", False)
    kept = table(scene, tmp_path / "kept", "model", True)
    assert (found["class"] == plain["class"]).all()
    assert np.allclose(found["confidence"], kept["confidence"])
    assert not np.allclose(found["confidence"], plain["confidence"])
    with rasterio.open(tmp_path / "kept" / "probabilities.tif") as file:
        bands = file.read() * file.scales[0]
        grid = file.transform
    for row in kept.itertuples():
        # pixels whose middle lies inside stand for the exact fractions
        left, bottom, right, top = row.geometry.bounds
        cols, rows = ((left, right), (top, bottom))
        c0, c1 = (round((x - grid.c) / grid.a) for x in cols)
        r0, r1 = (round((y - grid.f) / grid.e) for y in rows)
        mean = bands[:, max(r0, 0) : r1, max(c0, 0) : c1].mean((1, 2))
        if row[kept.columns.get_loc("class") + 1] == 0:
            share = 0.02
        else:
            share = np.clip(mean[int(row[kept.columns.get_loc("class") + 1])] / mean[1:].sum(), 0.02, 0.98)
        wanted = 1 / (1 + np.exp(-(SLOPE * np.log(share / (1 - share)) + INTERCEPT)))
        assert row.confidence == pytest.approx(wanted, abs=0.03)
