"""`codemae pretrain` as installed: whole runs, resuming, several processes, bad input."""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import rasterio
import torch
from codemae_cli.app import app
from PIL import Image
from support.pairs import make_ospretrain, make_scenes
from typer.testing import CliRunner

from codemae_geo.weights.package import read_contract
from codemae_geo.weights.verify import verify_package

#: a model that trains in no time, distilled from a teacher that teaches nothing
TINY = [
    "model.encoder={embed_dim: 32, mlp_depth1: 1, mlp_depth2: 1, depth: 4, num_heads: 2, fpn_dim: 16}",
    *("model.img_size=32", "model.decoder_dim=32", "model.decoder_depth=1", "model.decoder_heads=2"),
    *("model.teacher=random-small", "train.precision=32-true", "train.accelerator=cpu", "train.devices=1"),
    *("train.batch=4", "train.epochs=2", "train.log_every=1", "train.save_every=2", "train.warmup_epochs=1"),
    *("train.base_lr=0.01", "train.validate_batches=2", "data.workers=0"),
]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
CODEMAE = [str(Path(sys.executable).with_name("codemae"))]


def run(*args: object, launcher: list[str] | None = None, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    command = [*(launcher or CODEMAE), "pretrain", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, **kwargs)


def invoke(*args: object) -> Any:
    """The same command in this process: what it prints to stderr, and its exit code."""
    result = CliRunner().invoke(app, ["pretrain", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def curve(folder: Path, name: str = "log.csv") -> list[dict[str, float]]:
    with (folder / name).open() as file:
        return [{k: float(v) for k, v in row.items() if k != "pairs_per_s"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 pairs and 8 of unpaired images: four paired and two unpaired batches an epoch."""
    return make_ospretrain(tmp_path_factory.mktemp("os") / "data", {"EarthMiss": 16}, (8, 9))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of 12 steps."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    done = run("ablation", f"data.root={data}", *TINY, "model.gather=exact", "-o", folder, "--json")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_leaves_what_it_says(whole: Path) -> None:
    rows = curve(whole)
    assert [row["step"] for row in rows] == list(range(1, 13))
    unpaired = [row for row in rows if row["cross"] == 0]
    assert len(unpaired) == 4 and all(row["contrast"] == 0 for row in unpaired)
    assert all(row["distillation"] > 0 for row in rows)
    for name in ("recipe.yaml", "run.json", "validation.csv", "checkpoint.pt", "tensorboard", "encoder.safetensors"):
        assert (whole / name).exists()
    assert verify_package(whole / "encoder.safetensors")["answers"] == [[1, 32], [1, 32]]


def test_killed_in_mid_epoch_and_resumed_the_curve_is_the_same(data: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    arguments = ["pretrain", "ablation", f"data.root={data}", *TINY, "model.gather=exact", "-o", str(folder), "-q"]
    process = subprocess.Popen([*CODEMAE, *arguments], env=ENVIRONMENT)
    for _ in range(6000):
        lines = (folder / "log.csv").read_text().count("\n") if (folder / "log.csv").exists() else 0
        if lines > 3 and (folder / "checkpoint.pt").exists():  # the header and three steps
            break
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= len(curve(folder)) < 12
    again = invoke(*arguments[1:])
    assert again.exit_code == 1 and "--resume" in again.stderr
    resumed = run(*arguments[1:], "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert curve(folder) == curve(whole)


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "codemae_cli"]


def test_two_processes_train_as_one(data: Path, whole: Path, tmp_path: Path) -> None:
    """With the exact gather all steps agree; with the published one, whose columns have no gradient, the first.

    The recipe's devices need not say what torchrun starts, and of two processes one speaks.
    """
    for gather, steps, devices in (("exact", 12, 1), ("published", 1, 8)):
        folder = tmp_path / gather
        limit = [] if steps == 12 else ["train.max_steps=2"]
        arguments = ["ablation", f"data.root={data}", *TINY, f"train.devices={devices}", f"model.gather={gather}"]
        done = run(*arguments, *limit, "-o", folder, "--json", launcher=TORCHRUN)
        assert done.returncode == 0, done.stderr[-2000:]
        assert json.loads(done.stdout)["processes"] == 2 and done.stderr.count("preparing ...") == 1
        for ours, theirs in zip(curve(folder)[:steps], curve(whole)[:steps], strict=True):
            assert ours == pytest.approx(theirs, rel=2e-4)
    validated = curve(tmp_path / "exact", "validation.csv")
    for ours, theirs in zip(validated, curve(whole, "validation.csv"), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-4)


def test_unreadable_files_of_all_processes_count_together(tmp_path: Path) -> None:
    """With this seed each of the two processes meets one of the two broken files."""
    root = make_ospretrain(tmp_path / "data", {"EarthMiss": 8})
    for name in ("0.png", "4.png"):
        (root / "EarthMiss" / "RGB" / name).write_bytes(b"broken")
    arguments = ["ablation", f"data.root={root}", *TINY, "train.batch=8", "train.epochs=1", "train.seed=1", "-q"]
    refused = run(*arguments, "--skip-unreadable", 1, "-o", tmp_path / "run", launcher=TORCHRUN)
    assert refused.returncode and "than tolerated" in refused.stderr, refused.stderr[-2000:]


def test_scenes_train_and_the_dry_run_writes_nothing(tmp_path: Path) -> None:
    folder = make_scenes(tmp_path / "scenes")
    arguments = [
        *("small", f"data.optical={folder / 'optical'}", f"data.sar={folder / 'sar'}", *TINY),
        *("data.window=32", "data.places=8", "model.distill=false", "train.epochs=1", "-o", tmp_path / "run"),
    ]
    dry = invoke(*arguments, "--dry-run")
    assert dry.exit_code == 0 and "nothing was written" in dry.stderr, dry.stderr
    assert not (tmp_path / "run").exists()
    assert invoke(*arguments).exit_code == 0
    assert len(curve(tmp_path / "run")) == 2
    assert "holds a run" in invoke(*arguments).stderr


def test_a_run_that_is_done_is_not_trained_on(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ["ablation", f"data.root={data}", *TINY, "train.max_steps=3", "-o", folder]
    assert invoke(*arguments).exit_code == 0
    before = (folder / "checkpoint.pt").read_bytes(), curve(folder), curve(folder, "validation.csv")
    assert invoke(*arguments, "--resume").exit_code == 0
    assert ((folder / "checkpoint.pt").read_bytes(), curve(folder), curve(folder, "validation.csv")) == before
    assert [row["step"] for row in before[1]] == [1, 2, 3]


def test_resuming_with_another_recipe(data: Path, tmp_path: Path) -> None:
    """The new settings count, what changed is said and kept, and a broken epoch of other batches begins again."""
    folder = tmp_path / "run"
    arguments = ["ablation", f"data.root={data}", *TINY, "-o", folder]
    assert invoke(*arguments, "train.max_steps=3").exit_code == 0  # of six
    changes = ["train.batch=8", "train.weight_decay=0.5", "train.betas=[0.8,0.9]"]
    done = invoke(*arguments, *changes, "--resume")
    assert done.exit_code == 0, done.stderr
    assert "train.batch: 8, was 4" in done.stderr and "epoch 1 begins again" in done.stderr
    rows = curve(folder)
    assert [(row["step"], row["epoch"]) for row in rows] == [
        (1, 0),
        (2, 0),
        (3, 0),
        *((n, n // 7) for n in range(4, 10)),
    ]
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)["optimizer"]["param_groups"]
    assert [group["weight_decay"] for group in saved] == [0.5, 0] and saved[0]["betas"] == (0.8, 0.9)
    (again,) = json.loads((folder / "run.json").read_text())["resumed"]
    assert again["step"] == 3 and "train.weight_decay: 0.5, was 0.05" in again["changes"]


def test_validation_means(whole: Path) -> None:
    """Two batches, of which one has pairs: its cross loss is not halved by the other, which has none."""
    before, after = curve(whole, "validation.csv")
    assert before["cross"] > 0.8 and after["cross"] > 0.8
    splits = {metric.split for metric in read_contract(whole / "encoder.safetensors").metrics}
    assert splits == {"images of the training set"}  # the published layout holds nothing out


def test_starting_from_a_published_checkpoint(data: Path, whole: Path, tmp_path: Path) -> None:
    """Such files hold the trainer's arguments too; a missing one is not called a teacher."""
    weights = torch.load(whole / "checkpoint.pt", weights_only=True)["model"]
    file = tmp_path / "published.pth"
    torch.save({"model": weights, "epoch": 3, "args": argparse.Namespace(model="itpn_base_dec512d8b")}, file)
    arguments = ["ablation", f"data.root={data}", *TINY, "train.max_steps=1", "-o", tmp_path / "run"]
    started = invoke(*arguments, f"model.init={file}")
    assert started.exit_code == 0, started.stderr
    (first,) = curve(tmp_path / "run")
    assert first["reconstruction"] < curve(whole)[0]["reconstruction"] - 0.001
    missing = invoke(*arguments, "model.init=nowhere.pth", "--overwrite")
    assert missing.exit_code == 1 and "nowhere.pth" in missing.stderr and "teacher" not in missing.stderr


BAD = {
    "mistyped key": (["model.cros_target=grey"], ["cros_target", "did you mean 'model.cross_target'"]),
    "key in the wrong place": (["epochs=3"], ["'epochs'", "train.epochs"]),
    "wrong value": (["train.epochs=many"], ["train.epochs", "many"]),
    "key of the encoder": (["model.encoder={embed_dims: 32}"], ["embed_dims", "did you mean 'embed_dim'"]),
    "all is masked": (["model.mask_ratio=0.9"], ["mask_ratio leaves no patch", "0.9 of 4"]),
    "no such device": (["train.accelerator=mps"], ["devices of the recipe", "train.accelerator"]),
    "float16 on a CPU": (["train.precision=16-mixed"], ["float16", "train.precision=bf16-mixed"]),
    "missing folder": (["data.root=nowhere"], ["nowhere does not exist"]),
    "large batch": (["train.batch=17"], ["larger than the pairs", "train.batch=16"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_recipes(data: Path, tmp_path: Path, case: str) -> None:
    change, words = BAD[case]
    done = invoke("ablation", f"data.root={data}", *TINY, *change, "-o", tmp_path / "run")
    assert done.exit_code == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert not (tmp_path / "run").exists()


def test_a_recipe_for_gpus_starts_no_processes_on_a_cpu(data: Path, tmp_path: Path) -> None:
    change = ["train.accelerator=auto", "train.devices=8"]
    done = run("ablation", f"data.root={data}", *TINY, *change, "-o", tmp_path / "run")  # sees no GPU
    assert done.returncode == 1 and "8 GPUs" in done.stderr and "train.devices=1" in done.stderr, done.stderr


def test_bad_images(tmp_path: Path) -> None:
    root = make_ospretrain(tmp_path / "data", {"EarthMiss": 8})
    (root / "EarthMiss" / "RGB" / "3.png").write_bytes(b"\x89PNG broken")
    arguments = ["ablation", f"data.root={root}", *TINY, "train.epochs=1"]
    refused = run(*arguments, "-o", tmp_path / "a")
    assert refused.returncode == 1 and "3.png does not decode" in refused.stderr and "Traceback" not in refused.stderr
    tolerated = invoke(*arguments, "-o", tmp_path / "b", "--skip-unreadable", 1)
    assert tolerated.exit_code == 0 and "3.png" in tolerated.stderr, tolerated.stderr
    (root / "EarthMiss" / "RGB" / "6.png").unlink()  # a second file, not the next one
    too_many = invoke(*arguments, "-o", tmp_path / "c", "--skip-unreadable", 1)
    assert too_many.exit_code == 1 and "more files are unreadable than tolerated" in too_many.stderr, too_many.stderr


def test_a_run_directory_that_is_a_file(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    done = invoke("ablation", f"data.root={data}", *TINY, "-o", tmp_path / "run")
    assert done.exit_code == 1 and "cannot make the folder" in done.stderr, done.stderr


def test_scenes_that_do_not_decode(tmp_path: Path) -> None:
    folder = make_scenes(tmp_path / "scenes", tiles=3)
    broken = folder / "sar" / "sar_1.tif"
    with rasterio.open(broken) as file:
        pixels, profile = file.read(), file.profile | {"compress": "deflate"}
    with rasterio.open(broken, "w", **profile) as file:
        file.write(pixels)
    content = bytearray(broken.read_bytes())
    content[1000:-1000] = b"U" * (len(content) - 2000)
    broken.write_bytes(content)
    arguments = ["small", f"data.optical={folder / 'optical'}", f"data.sar={folder / 'sar'}", *TINY]
    arguments += ["data.window=32", "data.places=16", "model.distill=false", "train.epochs=1"]
    refused = run(*arguments, "-o", tmp_path / "a")
    assert refused.returncode == 1 and "sar_1.tif cannot be read" in refused.stderr, refused.stderr
    tolerated = run(*arguments, "-o", tmp_path / "b", "--skip-unreadable", 1)
    assert tolerated.returncode == 0, tolerated.stderr
    assert tolerated.stderr.count("warning: a scene does not decode") == 1  # one file, many windows


def test_unequal_sizes_of_a_pair(tmp_path: Path) -> None:
    root = make_ospretrain(tmp_path / "data", {"EarthMiss": 8})
    Image.new("L", (30, 50)).save(root / "EarthMiss" / "SAR" / "5.png")
    done = invoke("ablation", f"data.root={root}", *TINY, "-o", tmp_path / "run")
    assert done.exit_code == 1 and "5.png of EarthMiss differ in size" in done.stderr, done.stderr


def test_another_architecture_and_a_full_disk_leave_the_checkpoint(data: Path, whole: Path) -> None:
    before = (whole / "checkpoint.pt").read_bytes()
    other = invoke("ablation", f"data.root={data}", *TINY, "model.decoder_depth=2", "-o", whole, "--resume")
    assert other.exit_code == 1 and "missing decoder_blocks.1.norm2.weight" in other.stderr, other.stderr
    arguments = ["ablation", f"data.root={data}", *TINY, "train.epochs=3", "-o", whole, "--resume"]
    limited = ["bash", "-c", f'ulimit -f {len(before) // 2048}; exec "$@"', "bash", *CODEMAE]
    full = run(*arguments, launcher=limited)
    assert full.returncode == 1 and "Traceback" not in full.stderr, full.stderr
    assert "checkpoint.pt" in full.stderr
    assert (whole / "checkpoint.pt").read_bytes() == before
    assert not list(whole.glob("*.part"))


def test_a_loss_that_is_not_finite_stops_with_the_batch_saved(data: Path, tmp_path: Path) -> None:
    changes = ["train.base_lr=1e30", "train.warmup_epochs=0"]
    done = invoke("ablation", f"data.root={data}", *TINY, *changes, "-o", tmp_path / "run")
    assert done.exit_code == 1 and "not finite" in done.stderr
    assert list((tmp_path / "run").glob("not_finite_step*.pt"))
