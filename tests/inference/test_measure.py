"""What a run will take, measured before it; and inputs that change under it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.scenes import make_model, run_codemae, write_raster

from codemae_geo.errors import InputError
from codemae_geo.inference.maps import MapSink
from codemae_geo.inference.request import RunOptions
from codemae_geo.inference.segment import open_prediction

CPU = {"device": "cpu", "runtime": "torch", "precision": "float32"}


def test_windows_asked_for_are_those_that_a_run_runs(tmp_path: Path) -> None:
    scene, model = write_raster(tmp_path / "scene.tif", size=(200, 230)), tmp_path / "model.safetensors"
    make_model(model, task="segmentation")
    job = open_prediction(model, scene, polygons=False, options=RunOptions(**CPU, tta=True))
    assert job.measure()["windows"] == len(job.plan) and job.measure()["passes"] == 8

    def region(row0: int, row1: int) -> Any:
        inside = np.zeros((row1 - row0, 230), bool)
        inside[max(90 - row0, 0) : max(97 - row0, 0), 140:150] = True
        return inside

    job.region = region
    measured = job.measure()
    stats = job.run(tmp_path / "out").summary["windows"]
    assert 0 < measured["windows"] == stats["run"] < len(job.plan)
    assert measured["seconds"] == pytest.approx(measured["windows"] * measured["seconds_per_window"])


def test_a_dry_run_says_how_long_it_will_take(tmp_path: Path) -> None:
    scene, model = write_raster(tmp_path / "scene.tif"), tmp_path / "model.safetensors"
    make_model(model, task="segmentation")
    told = run_codemae("predict", model, scene, "-o", tmp_path / "out", "--dry-run", "--measure", "--tta", "-q")
    assert told.code == 0 and "for the network: 9 windows asked for" in told.out and "8 passes each" in told.out
    assert not (tmp_path / "out").exists()


def test_an_input_that_changes_under_a_run_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, model = write_raster(tmp_path / "scene.tif", size=(200, 230)), tmp_path / "model.safetensors"
    make_model(model, task="segmentation")
    take = MapSink.__call__

    def touched(self: Any, row: int, *rest: Any) -> None:
        os.utime(scene, ns=(1, 1))
        take(self, row, *rest)

    monkeypatch.setattr(MapSink, "__call__", touched)
    with pytest.raises(InputError, match="changed while it was read"):
        open_prediction(model, scene, options=RunOptions(**CPU)).run(tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
