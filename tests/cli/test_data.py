"""`codemae data ...`: what it prints, what it writes, how it fails."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from codemae_cli.app import app, hoist_globals
from codemae_datasets.public import CATALOGUE
from PIL import Image
from support.pairs import make_ospretrain
from support.scenes import run_codemae, write_raster
from support.sources import generate
from typer.testing import CliRunner

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
COMMANDS = ("list", "info", "verify", "stats", "build", "pack", "index", "pairs")


def data(*args: object, code: int = 0) -> Any:
    """The command in this process; ``json`` is the object that ends stdout."""
    result = CliRunner().invoke(app, ["data", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    result.json = json.loads(result.stdout.strip().splitlines()[-1]) if "--json" in args else None
    return result


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(name: str) -> None:
    text = data(name, "--help").stdout
    assert f"codemae data {name}" in text and "Example" in text


def test_global_options_may_come_first() -> None:
    assert hoist_globals(["--json", "data", "list"]) == ["data", "list", "--json"]
    assert data(code=2).exit_code == 2
    assert data("build", "another", "--from", "x", "-o", "y", code=2).exit_code == 2


def test_datasets_and_their_cards() -> None:
    listed = data("list", "--json").json["datasets"]
    assert [d["name"] for d in listed] == list(CATALOGUE)
    assert "EarthMiss" in data("list").stdout
    card = data("info", "earthmiss", "--json").json
    assert card["gsd_m"] == [0.6, 0.6] and "playground" in card["classes"]
    text = data("info", "msaw").stdout
    assert "CC BY-SA 4.0" in text and "SN6_buildings_AOI_11_Rotterdam_train.tar.gz" in text
    wrong = data("info", "earthmis", code=1)
    assert "there is no dataset 'earthmis'" in wrong.stderr and "earthmiss" in wrong.stderr


def test_statistics(tmp_path: Path) -> None:
    whole = []
    for i in range(3):
        write_raster(tmp_path / f"{i}.tif", seed=i, nodata=7)
        with rasterio.open(tmp_path / f"{i}.tif") as file:
            pixels = file.read()
        whole.append(pixels[:, ~(pixels == 7).all(0)])
    pixels = np.concatenate(whole, axis=1)
    result = data("stats", tmp_path, "--scale", 255, "--quantiles", "0.1,0.9", "--json").json
    for band, values in zip(result["groups"][0]["bands"], pixels / 255, strict=True):
        assert band["mean"] == pytest.approx(values.mean()) and band["std"] == pytest.approx(values.std())
        assert band["quantiles"] == pytest.approx({"0.1": np.quantile(values, 0.1), "0.9": np.quantile(values, 0.9)})
    text = data("stats", tmp_path / "0.tif", tmp_path / "1.tif", "--each", "-q").stdout
    assert text.count("band 1") == 2 and "0.98" in text
    (tmp_path / "empty").mkdir()
    empty = write_raster(tmp_path / "empty/e.tif", fill=7, nodata=7)
    band = data("stats", empty, "--json").json["groups"][0]["bands"][0]
    assert (band["count"], band["invalid"], band["mean"]) == (0, 12000, None)
    assert "12000" in data("stats", empty, "-q").stdout
    assert "'a,b' cannot be read as quantiles" in data("stats", tmp_path, "--quantiles", "a,b", code=1).stderr
    failed = data("stats", tmp_path / "none", "--json", code=1)
    assert failed.json["error"]["code"] == "input" and "is not there" in failed.stderr


def test_build_verify_pack_verify(tmp_path: Path) -> None:
    sources = generate(tmp_path / "in", ["qxs_saropt", "earthmiss", "fair1m", "sardet_180k"])
    built, shards = tmp_path / "os", tmp_path / "shards"
    names = "qxs_saropt,earthmiss,fair1m,sardet_180k"
    arguments = ["build", "ospretrain", "--from", sources, "-o", built, "--sources", names, "--patch", 8]
    report = data(*arguments, "--json").json
    assert report["sources"]["earthmiss"]["patches"] == 52
    assert "everything is there already" in data(*arguments).stderr
    found = data("verify", "ospretrain1m", built, "--json").json
    assert found["ok"] and found["splits"]["train"]["samples"] == 64
    assert "sound" in data("verify", "ospretrain1m", built).stdout
    packed = data("pack", built, "-o", shards, "--shard-size", 0.02, "--json").json
    assert len(packed["shards"]) > 3 and packed["datasets"]["EarthMiss"]["train"] == 28
    assert "shards are whole" in data("verify", "packed", shards).stdout
    (shards / "paired-00001.tar").write_bytes((shards / "paired-00001.tar").read_bytes()[:-600])
    broken = data("verify", "packed", shards, code=1)
    assert "paired-00001.tar is truncated" in broken.stderr
    victim = sorted((built / "EarthMiss/SAR").iterdir())[0]
    victim.write_bytes(b"")
    bad = data("verify", "ospretrain1m", built, code=1)
    assert "not sound" in bad.stdout and str(victim) in bad.stdout


def test_what_build_refuses(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    everything = ["build", "ospretrain", "--from", tmp_path / "in", "-o", tmp_path / "os"]
    failed = data(*everything, code=1)
    assert "17 sources are missing" in failed.stderr and "https://spacenet.ai" in failed.stderr
    assert not (tmp_path / "os").exists()
    assert "'msaw' is not a stretch" in data(*everything, "--stretch", "msaw", code=1).stderr
    assert "cannot be read as limits" in data(*everything, "--stretch", "msaw.sar=low,high", code=1).stderr
    assert "'spacenet' is not a source" in data(*everything, "--sources", "spacenet", code=1).stderr


def test_events_for_programs(tmp_path: Path) -> None:
    root = make_ospretrain(tmp_path / "in", {"EarthMiss": 8})
    text = data("pack", root, "-o", tmp_path / "out", "--progress", "json").stdout
    events = [json.loads(line) for line in text.splitlines()]
    assert events[0]["event"] == "hello" and events[-1]["event"] == "result"
    assert {"listing images", "writing shards"} <= {e["name"] for e in events if e["event"] == "stage"}


def test_index_and_pairs(tmp_path: Path) -> None:
    for folder in ("optical", "sar"):
        (tmp_path / folder).mkdir()
    write_raster(tmp_path / "optical/a_20200601.tif")
    write_raster(tmp_path / "optical/b_20200601.tif", origin=(366060.0, 4104000.0))
    write_raster(tmp_path / "sar/c_20200604.tif", count=1)
    index = tmp_path / "index.parquet"
    first = data("index", tmp_path / "optical", "-o", index, "--json").json
    assert (first["scenes"], first["read"]) == (2, 2)
    assert "one kind only" in data("pairs", index, code=1).stderr
    assert "3 scenes, 1 read, 2 unchanged, 0 gone" in data("index", tmp_path / "sar", "-o", index).stdout
    found = data("pairs", index, "--json").json["pairs"]
    assert [Path(p["optical"]).name for p in found] == ["a_20200601.tif"] and found[0]["days"] == 3
    assert data("pairs", index, "--max-days", 2, "--json").json["pairs"] == []
    shown = data("pairs", index, "-o", tmp_path / "pairs.csv").stdout
    assert "1 pair;" in shown and "c_20200604.tif" in shown
    with (tmp_path / "pairs.csv").open() as file:
        assert next(csv.DictReader(file))["overlap_share"] == "1.0"
    assert "--overwrite" in data("pairs", index, "-o", tmp_path / "pairs.csv", code=1).stderr
    (tmp_path / "sar/bad.tif").write_bytes(b"II*\0 broken")
    assert "bad.tif cannot be read" in data("index", tmp_path / "sar", "-o", index, code=1).stderr
    assert data("index", tmp_path / "sar", "-o", index, "--skip-unreadable", 1, "--json").json["scenes"] == 3


def test_pretraining_reads_the_shards(tmp_path: Path) -> None:
    root = make_ospretrain(tmp_path / "in", {"EarthMiss": 16}, (8, 9))
    data("pack", root, "-o", tmp_path / "shards", "--shard-size", 0.02)
    tiny = [
        "model.encoder={embed_dim: 32, mlp_depth1: 1, mlp_depth2: 1, depth: 4, num_heads: 2, fpn_dim: 16}",
        *("model.img_size=32", "model.decoder_dim=32", "model.decoder_depth=1", "model.decoder_heads=2"),
        *("model.teacher=random-small", "train.precision=32-true", "train.accelerator=cpu", "train.devices=1"),
        *("train.batch=4", "train.epochs=1", "train.log_every=1", "train.validate_batches=2", "data.workers=0"),
    ]
    source = ["data.kind=packed", f"data.root={tmp_path / 'shards'}"]
    done = CliRunner().invoke(app, ["pretrain", "ablation", *source, *tiny, "-o", str(tmp_path / "run")])
    assert done.exit_code == 0, done.stderr
    with (tmp_path / "run/log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and sum(float(r["cross"]) == 0 for r in rows) == 2  # two unpaired batches


def test_as_installed(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 5).save(tmp_path / "a.png")
    result = run_codemae("--json", "data", "stats", tmp_path)
    assert result.code == 0 and result.json["groups"][0]["bands"][0]["mean"] == 5, result.err
