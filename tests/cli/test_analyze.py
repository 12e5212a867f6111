"""`codemae analyze`: every analysis on small scenes, what its numbers mean, and bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from codemae_cli.app import app
from PIL import Image
from support.pairs import make_scenes
from typer.testing import CliRunner

TINY = [
    "model.encoder={embed_dim: 32, mlp_depth1: 1, mlp_depth2: 1, depth: 2, num_heads: 2, fpn_dim: 16}",
    *("model.img_size=64", "model.decoder_dim=32", "model.decoder_depth=1", "model.decoder_heads=2"),
    *("model.distill=false", "train.precision=32-true", "train.accelerator=cpu", "train.batch=8", "train.epochs=1"),
    *("train.max_steps=2", "train.validate_batches=2", "data.window=64", "data.places=16", "data.holdout=null"),
]


def invoke(*args: object) -> Any:
    """The command in this process, which has everything imported."""
    result = CliRunner().invoke(app, [*map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs of scenes; the SAR image is the optical one inverted."""
    return make_scenes(tmp_path_factory.mktemp("scenes"), tiles=2, size=192)


@pytest.fixture(scope="module")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "short"
    where = [f"data.optical={scenes / 'optical'}", f"data.sar={scenes / 'sar'}"]
    done = invoke("pretrain", "small", *where, *TINY, "-o", folder, "--quiet")
    assert done.exit_code == 0, done.stderr
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


ANALYSES = ["ssim-gsd", "spectrum", "alignment", "saliency", "reconstruct"]


@pytest.mark.parametrize("name", [*ANALYSES, pytest.param("projection", marks=pytest.mark.slow)])
def test_every_analysis_writes_a_table_and_pictures(name: str, trained: Path, scenes: Path, tmp_path: Path) -> None:
    if name == "projection":
        pytest.importorskip("umap")
    models = [] if name == "ssim-gsd" else [trained]
    words = ["--optical", scenes / "optical", "--sar", scenes / "sar", "--window", "64", "--count", "16"]
    done = invoke("analyze", name, *models, *words, "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    rows = table(tmp_path / "out" / f"{name}.csv")
    assert rows and told["windows"] == 16
    with Image.open(tmp_path / "out" / f"{name}.png") as picture:
        assert min(picture.size) > 200
    assert (tmp_path / "out" / f"{name}.svg").read_text().startswith("<?xml")
    if name == "alignment":
        told = told["summary"]["short"]
        assert {"raw", "standardised"} <= set(told)
        assert told["raw"]["cosine of pairs"] != told["standardised"]["cosine of pairs"]
    if name == "ssim-gsd":  # grey of noise against its negative: unlike at every resolution
        assert all(float(row["ssim"]) < 0.1 for row in rows)
        assert [float(row["gsd"]) for row in rows] == [10 * 2**k for k in range(len(rows))]
    if name == "reconstruct":
        assert {row["way"] for row in rows} == {
            "optical from optical", "sar from sar", "sar from optical", "optical from sar",
        }  # fmt: skip


def test_models_stand_side_by_side(trained: Path, scenes: Path, tmp_path: Path) -> None:
    words = ["--optical", scenes / "optical", "--sar", scenes / "sar", "--window", "64", "--count", "8"]
    package = trained / "encoder.safetensors"
    done = invoke("analyze", "spectrum", trained, package, *words, "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    first, second = (json.loads(done.stdout)["summary"][name] for name in ("short", "short #2"))
    assert first == second  # the same weights, told apart by their names


def test_what_cannot_be_analysed_is_told(trained: Path, scenes: Path, tmp_path: Path) -> None:
    words = ["--optical", scenes / "optical", "--sar", scenes / "sar", "--window", "64", "--count", "8"]
    for name, arguments, said in (
        ("spectrum", ["damage-tiny-optical"], "takes no sar images"),
        ("spectrum", [scenes], "holds no finished pretraining run"),
        ("reconstruct", [trained / "encoder.safetensors"], "has no decoder"),
        ("reconstruct", [trained, "--box", "10,10,10,20"], "the box cannot be masked"),
        ("alignment", [trained, "--window", "72"], "multiple of 16"),
        ("alignment", [trained, "--window", "4096"], "no scene has room"),
        ("alignment", [trained, "--optical-stretch", "5,5"], "the stretch is empty"),
    ):
        done = invoke("analyze", name, *words, *arguments, "-o", tmp_path / "out")
        assert done.exit_code == 1 and said in done.stderr, (name, done.stderr)
        assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
