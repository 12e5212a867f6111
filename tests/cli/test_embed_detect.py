"""`codemae embed` and `codemae detect`: outputs, events, dry runs, and bad input in one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import rasterio
import typer
from codemae_cli.app import app
from codemae_cli.protocol import problems
from codemae_cli.request import Request, run_request
from support.packages import make_detector, make_encoder
from support.scenes import Result, write_raster
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("model") / "encoder.safetensors")


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_detector(tmp_path_factory.mktemp("model") / "detector.safetensors")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif")


def run(*args: object) -> Result:
    """The command in this process."""
    done = CliRunner().invoke(app, [str(a) for a in args])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return Result(done.exit_code, done.stdout, done.stderr)


def events(result: Result) -> list[dict[str, Any]]:
    """The JSON lines of a run, each of protocol v1."""
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert not [p for line in lines for p in problems(line)]
    return lines


def test_embed_as_installed(encoder: Path, scene: Path, tmp_path: Path, codemae: Callable[..., Result]) -> None:
    out = tmp_path / "out"
    result = codemae("embed", encoder, scene, "-o", out, "--sensor", "optical", "--progress", "json")
    assert result.code == 0, result.err
    *_, last = events(result)
    assert last["event"] == "result"
    assert {k: Path(v) for k, v in last["outputs"].items()} == {
        "embedding": out / "embedding.tif", "components": out / "components.tif", "summary": out / "summary.json",
    }  # fmt: skip
    assert last["summary"] == json.loads((out / "summary.json").read_text())
    with rasterio.open(out / "embedding.tif") as raster:
        assert (raster.count, raster.shape) == (32, (7, 8))


def test_embed_options(encoder: Path, scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--stride", 8, "--dtype", "float32", "--bounds", 366000, 4103960, 366040, 4104000, "--overlap", 0.75]
    result = run("embed", encoder, scene, "-o", out, *options, "--json", "--quiet")
    assert result.code == 0, result.err
    summary = result.json["summary"]
    assert (summary["grid"]["width"], summary["grid"]["height"]) == (10, 10)
    assert summary["embedding"]["dimensions"] == 16 and summary["parameters"]["dtype"] == "float32"
    with rasterio.open(out / "embedding.tif") as raster:
        assert raster.res == (4, 4) and "NBITS" not in raster.tags(1, ns="IMAGE_STRUCTURE")
    again = run("embed", encoder, scene, "-o", out, "--quiet")
    assert again.code == 1 and "exists and is not empty" in again.err and again.err.count("error:") == 1
    plain = run("embed", encoder, scene, "-o", out, "--overwrite")
    assert plain.code == 0 and "48 vectors of 32" in plain.out and "embedding.tif" in plain.out


def test_a_program_asks_by_request(
    encoder: Path, detector: Path, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = {"inputs": [str(scene)], "bounds": [366000, 4103960, 366040, 4104000], "device": "cpu"}
    requests = {
        "embed": {"model": str(encoder), "sensor": "optical", "stride": "8", "keep_positions": True},
        "detect": {"model": str(detector), "score_threshold": 0.2},
    }
    application = typer.main.get_command(app)
    for name, arguments in requests.items():
        assert run_request(Request(name, {**common, **arguments, "output": str(tmp_path / name)}), application) == 0
        last = events(Result(0, capsys.readouterr().out, ""))[-1]
        assert last["event"] == "result" and last["summary"]["parameters"]["bounds"]


@pytest.mark.parametrize("command", ["embed", "detect"])
def test_a_dry_run_tells_what_it_takes_and_writes_nothing(
    command: str, encoder: Path, detector: Path, scene: Path, tmp_path: Path
) -> None:
    model = encoder if command == "embed" else detector
    result = run(command, model, scene, "-o", tmp_path / "out", "--dry-run", "--json", "--quiet")
    assert result.code == 0, result.err
    plan = result.json
    assert plan["windows"]["count"] > 1 and plan["memory_bytes"]["total"] > 0
    assert (plan["disk_bytes"] > 0) == (command == "embed")
    assert plan["grid"]["width"] == (8 if command == "embed" else 120)
    assert not list(tmp_path.iterdir())
    assert "windows" in run(command, model, scene, "-o", tmp_path / "out", "--dry-run", "--quiet").out


def test_detect_writes_a_table_and_counts(detector: Path, scene: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("detect", detector, scene, "-o", out, "--overlap", 0.25, "--progress", "json")
    assert result.code == 0, result.err
    told = events(result)
    assert [e["name"] for e in told if e["event"] == "stage"] == ["check", "predict", "merge", "write"]
    assert {k: Path(v).name for k, v in told[-1]["outputs"].items()} == {
        "detections": "detections.gpkg", "summary": "summary.json",
    }  # fmt: skip
    table = gpd.read_file(out / "detections.gpkg", layer="detections")
    counts = told[-1]["summary"]["detections"]
    assert counts["n"] == len(table) > 0
    assert counts["classes"] == {name: int((table["name"] == name).sum()) for name in ("boat", "ship")}
    none = run("detect", detector, scene, "-o", tmp_path / "none", "--score-threshold", 1)
    assert none.code == 0 and "0 objects with a score of 1 or more" in none.out


@pytest.mark.parametrize(
    ("command", "fault", "words"),
    [
        ("embed", ["--sensor", "sar", "--bands", "1", "--bounds", 0, 0, 9, 9], "outside the scene"),
        ("detect", ["--bounds", 0, 0, 9, 9], "outside the scene"),
        ("embed", ["--unit", "furlongs"], "no unit 'furlongs'"),
        ("detect", ["--aoi", "missing.geojson"], "missing.geojson"),
    ],
)
def test_bad_options_are_one_message(
    command: str, fault: list[object], words: str, encoder: Path, detector: Path, scene: Path, tmp_path: Path
) -> None:
    model = encoder if command == "embed" else detector
    result = run(command, model, scene, "-o", tmp_path / "out", "--progress", "json", *fault)
    assert result.code == 1
    assert result.err.count("error:") == 1 and words in result.err
    assert events(result)[-1]["event"] == "error"
    assert not list(tmp_path.iterdir())


def test_the_wrong_model_is_named(encoder: Path, detector: Path, scene: Path, tmp_path: Path) -> None:
    result = run("detect", encoder, scene, "-o", tmp_path / "out")
    assert result.code == 1 and "codemae embed" in result.err
    result = run("predict", detector, scene, "-o", tmp_path / "out")
    assert result.code == 1 and "codemae detect" in result.err
    radar = write_raster(tmp_path / "radar.tif", count=1)
    result = run("embed", encoder, radar, "-o", tmp_path / "out", "--sensor", "optical")
    assert result.code == 1 and "looks like sar" in result.err
    assert not (tmp_path / "out").exists()


def test_a_detection_package_has_a_card(detector: Path) -> None:
    card = run("models", "card", detector)
    assert card.code == 0 and "task: object-detection" in card.out and "1 ship (#0072b2)" in card.out
