"""The packages to try with each command: offered, small, run as typed, and plain about what they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from codemae_cli.app import app
from support.scenes import make_model, write_raster
from typer.testing import CliRunner

from codemae_geo.demo import SAR_MODEL, SCENES
from codemae_geo.errors import InputError, ModelError
from codemae_geo.inference.segment import predict
from codemae_geo.progress import Reporter
from codemae_geo.raster.scene import expand_paths
from codemae_geo.weights import models_for, registry, resolve
from codemae_geo.weights.contract import read_contract
from codemae_geo.weights.registry import TO_TRY

BOUNDS = ["--bounds", "367500", "4103900", "367600", "4103990"]


def test_they_are_small_and_say_what_they_are() -> None:
    for name in TO_TRY:
        path = resolve(name)
        assert path.stat().st_size < 4_200_000 and path.with_suffix(".onnx").is_file()
        contract = read_contract(path)
        assert contract.name == name and contract.metrics and contract.limits and contract.training_data
        assert all("left out of all training" in m.split for m in contract.metrics)
        assert contract == read_contract(path.with_suffix(".onnx"))
    assert {models_for(task)[0] for task in ("segmentation",)} <= set(TO_TRY)
    assert read_contract(resolve(SAR_MODEL)).caution and SAR_MODEL in models_for("damage")


def test_buildings_of_the_demo_scene(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["predict", "buildings-tiny-optical", "demo:pre", *BOUNDS, "-o", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    with rasterio.open(tmp_path / "out" / "classes.tif") as found:
        labels = found.read(1)
    assert 0.02 < (labels == 1).mean() < 0.4


def test_a_damage_model_given_to_predict_names_one_that_fits(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        predict("damage-tiny-optical", "demo:pre", tmp_path / "out")
    assert "buildings-tiny-optical" in str(caught.value.raw["hint"])


def test_simulated_radar_is_said_in_log_and_summary(tmp_path: Path) -> None:
    scenes = ["--pre", "demo:pre", "--post", "demo:post-sar", "--post-sensor", "sar", "--model", SAR_MODEL]
    done = CliRunner().invoke(app, ["damage", *scenes, *BOUNDS, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "simulated" in done.stderr
    warnings = json.loads((tmp_path / "out" / "summary.json").read_text())["warnings"]
    assert any("simulated" in str(w) for w in warnings)
    with rasterio.open(tmp_path / "out" / "damage.tif") as found:
        assert len(np.unique(found.read(1))) > 1


def test_a_caution_is_a_warning_of_every_run(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", size=(64, 64))
    for caution in ("", "made of noise"):
        model = make_model(tmp_path / f"m{len(caution)}.safetensors", task="segmentation", caution=caution)
        reporter = Reporter()
        predict(model, scene, tmp_path / f"out{len(caution)}", polygons=False, reporter=reporter)
        assert any("made of noise" in str(w) for w in reporter.warnings) == bool(caution)


def test_names_of_the_demo_and_an_installation_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert expand_paths(["demo:pre", "demo:post"], "pre") == [str(SCENES["demo:pre"]), str(SCENES["demo:post"])]
    with pytest.raises(InputError, match="the demo has no scene demo:after"):
        expand_paths(["demo:after"], "post")
    monkeypatch.setattr(registry, "BUNDLED", tmp_path)
    with pytest.raises(ModelError, match="not part of this installation"):
        resolve(SAR_MODEL)
