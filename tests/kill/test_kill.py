"""Long commands, ended at random moments by every kind of end: nothing mixed, nothing half, nothing left after a rerun.

The gate does :data:`FEW` of them. ``CODEMAE_KILLS=200 pytest tests/kill -s`` does more, and also the slow ones: the
demo, and the conversion of a published checkpoint; ``CODEMAE_KILL_SEED`` repeats a sequence, whose seed is printed, and
``CODEMAE_KILL_ONLY=adapt,probe`` keeps to some commands.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from support import kills
from support.labelled import buildings, cover, scene
from support.packages import make_detector, make_encoder
from support.pairs import make_ospretrain
from support.scenes import make_model, write_raster
from support.sources import generate
from support.towns import make_images, make_start

from codemae_geo import models

FEW = 12
COUNT = int(os.environ.get("CODEMAE_KILLS", FEW))
SEED = int(os.environ.get("CODEMAE_KILL_SEED", random.SystemRandom().randrange(10**6)))
#: what ends a run: a signal to the process or to its whole group
ENDS = [(s, group) for s in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT) for group in (False, True)]
TINY = [
    "model.encoder={embed_dim: 32, mlp_depth1: 1, mlp_depth2: 1, depth: 4, num_heads: 2, fpn_dim: 16}",
    *("model.img_size=32", "model.decoder_dim=32", "model.decoder_depth=1", "model.decoder_heads=2"),
    *("model.teacher=random-small", "train.precision=32-true", "train.accelerator=cpu", "train.devices=1"),
    *("train.batch=4", "train.epochs=1", "train.log_every=1", "train.save_every=1", "train.validate_batches=2"),
    *("data.workers=0", "model.gather=exact"),
]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals to groups")


#: a learner of a task that is done in no time
LEARNER = [
    "model.encoder={embed_dim: 32, mlp_depth1: 1, mlp_depth2: 1, depth: 2, num_heads: 2, fpn_dim: 16}",
    *("model.img_size=32", "model.channels=16", "model.aux_channels=8", "train.precision=32-true"),
    *("train.accelerator=cpu", "train.devices=1", "train.epochs=2", "train.log_every=1", "train.save_every=1"),
    *("train.validate_every=1", "train.validate_steps=2", "train.batch=2", "data.workers=0"),
    *("data.block=32", "data.samples=8", "augment.crop=32", "evaluate.window=32", "evaluate.stride=32"),
]


@dataclass
class Long:
    """A long command: its words (``{place}`` is where its output goes), how to run it again after an end, and its
    output."""

    words: list[Any]
    again: tuple[str, ...] = ()
    output: str = "out"
    #: a later run of it finds the same files with the same bytes
    exact: bool = False


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Long]:
    folder = tmp_path_factory.mktemp("inputs")
    pre, post = (write_raster(folder / f"{n}.tif", seed=i) for i, n in enumerate(("pre", "post")))
    model, segmenter = make_model(folder / "m.safetensors"), make_model(folder / "s.safetensors", task="segmentation")
    encoder, detector = make_encoder(folder / "e.safetensors"), make_detector(folder / "d.safetensors")
    images = make_ospretrain(folder / "images", {"EarthMiss": 16}, (8, 9))
    sources = generate(folder / "sources", ["qxs_saropt", "gfge_so"])
    from geopandas import GeoDataFrame
    from shapely.geometry import box

    houses = folder / "houses.gpkg"
    squares = [box(x, 4103970, x + 6, 4103976) for x in range(366002, 366050, 8)]
    GeoDataFrame(geometry=squares, crs="EPSG:32615").to_file(houses)
    town = folder / "town"
    scene(town / "pre.tif")
    scene(town / "post.tif", seed=1, shift=40)
    buildings(town / "buildings.gpkg")
    cover(town / "cover.tif")
    make_start(town / "start.safetensors")
    classified = make_images(folder / "classified")
    shutil.copy(pre, folder / "classes.tif")
    classes = write_raster(folder / "classes.tif", count=1, fill=1)
    over = ("--overwrite",)
    event = ["--pre", town / "pre.tif", "--post", town / "post.tif"]
    judged = ["--labels", town / "buildings.gpkg", "--column", "damage"]
    found = {
        "damage": Long(["damage", "--pre", pre, "--post", post, "--model", model, "--footprints", houses], over),
        "predict": Long(["predict", segmenter, pre], over),
        "embed": Long(["embed", encoder, pre, "--sensor", "optical"], over),
        "detect": Long(["detect", detector, pre], over),
        "buildings": Long(
            ["buildings", classes, "--footprints", houses, "--classes", "a,b"], over, output="table.gpkg"
        ),
        "pretrain": Long(["pretrain", "ablation", f"data.root={images}", *TINY]),
        "build": Long(
            ["data", "build", "ospretrain", "--from", sources, "--sources", "qxs_saropt,gfge_so", "--patch", 8],
            exact=True,
        ),
        "pack": Long(["data", "pack", images, "--shard-size", 0.02], exact=True),
        "stats": Long(["data", "stats", images / "EarthMiss/RGB"], output=""),
        "index": Long(["data", "index", pre, post], output="index.parquet"),
        "finetune": Long(["finetune", "damage", *event, *judged, *LEARNER]),
        "landcover": Long(
            ["finetune", "segmentation", "--images", town / "pre.tif", "--labels", town / "cover.tif", *LEARNER]
        ),
        "adapt": Long(
            ["adapt", *event, "--footprints", town / "buildings.gpkg", *judged, "--model", town / "start.safetensors"],
            over,
        ),
        "probe": Long(
            ["probe", encoder, classified, "--seeds", 1, "--size", 32, "--epochs", 2, "--cache", "{place}/cache"],
            over,
            output="probe.json",
        ),
        "evaluate": Long(["evaluate", town / "start.safetensors", *event, *judged], over),
        "export": Long(["models", "export", segmenter], over, output="model.onnx"),
    }
    if COUNT > FEW:
        found["demo"] = Long(["demo"], over)
        preset = "damageformer-base"
        from codemae_geo.weights.convert import PRESETS

        contract = PRESETS[preset].contract
        module = models.build(contract["architecture"].name, contract["architecture"].config)
        torch.save(module.state_dict(), folder / "published.pth")
        words = ["models", "convert", folder / "published.pth", "--preset", preset]
        found["convert"] = Long(words, over, output="model.safetensors")
    only = os.environ.get("CODEMAE_KILL_ONLY", ",".join(found)).split(",")
    return {name: found[name] for name in only}


def words_of(command: Long, place: Path, *more: str) -> list[str]:
    output = ["-o", str(place / command.output)] if command.output else []
    return [str(word).replace("{place}", str(place)) for word in command.words] + [*output, *more]


def run(command: Long, folder: Path, place: Path, *more: str) -> tuple[int, float]:
    began = time.monotonic()
    process = kills.start(words_of(command, place, *more), folder)
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode, time.monotonic() - began


def tree(place: Path) -> dict[str, bytes]:
    return {p.relative_to(place).as_posix(): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}


def hidden(place: Path) -> list[str]:
    """What an unfinished run leaves."""
    ends = (".part", ".codemae-run")
    return [str(p.relative_to(place)) for p in place.rglob("*") if p.name.endswith(ends)]


def names(place: Path) -> set[str]:
    """Files, less those whose name holds a time."""
    return {n for n in tree(place) if "tensorboard" not in n}


def test_ended_at_random_moments(commands: dict[str, Long], tmp_path: Path) -> None:
    print(f"\nCODEMAE_KILL_SEED={SEED}, {COUNT} ends")
    rng = random.Random(SEED)
    whole: dict[str, tuple[float, dict[str, bytes], set[str]]] = {}
    faults: list[str] = []
    order = list(commands)
    for number in range(COUNT):
        name = order[number % len(order)] if number < 2 * len(order) else rng.choice(order)
        command = commands[name]
        if name not in whole:
            place = tmp_path / f"whole-{name}"
            place.mkdir()
            code, seconds = run(command, tmp_path, place)
            assert code == 0, (name, (tmp_path / "err").read_text())
            files = tree(place), names(place)
            shutil.rmtree(place)
            if COUNT > FEW:  # the first takes longer
                place.mkdir()
                _, seconds = run(command, tmp_path, place)
                shutil.rmtree(place)
            whole[name] = (seconds, *files)
        found = [f"{number} {name}: {fault}" for fault in end_one(command, whole[name], rng, tmp_path)]
        print(f"{number} {name}, {whole[name][0]:.1f} s", *found, sep="\n", flush=True)
        faults += found
    print(f"{len(faults)} faults")
    assert not faults, "\n".join(faults)


def end_one(
    command: Long, whole: tuple[float, dict[str, bytes], set[str]], rng: random.Random, folder: Path
) -> list[str]:
    """End one run somewhere, look at what is there, and run again; what is wrong."""
    seconds, files, expected = whole
    place = folder / "place"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    replacing = bool(command.again) and rng.random() < 0.4
    if replacing:
        run(command, folder, place)
    number, group = rng.choice(ENDS)
    after = rng.uniform(0, 1.05 * seconds)
    what = f"{signal.Signals(number).name} to the {'group' if group else 'process'} after {after:.3f} s"
    process = kills.start(words_of(command, place, *(command.again if replacing else ())), folder)
    time.sleep(after)
    try:
        (os.killpg if group else os.kill)(process.pid, number)
    except (ProcessLookupError, PermissionError):  # it has ended, or leads no group yet
        if process.is_alive():
            os.kill(process.pid, number)
    process.join(60)
    if process.exitcode is None:
        process.kill()
        return [f"{what}: hangs"]
    faults = []
    said = (folder / "err").read_text(errors="replace")
    if "Traceback" in said or "Exception ignored" in said:
        faults.append(f"{what}: {said[-2000:]}")
    if number != signal.SIGKILL:
        # before our code takes the signals over, the system does it
        if process.exitcode not in (0, 130, 143, -number):
            faults.append(f"{what}: exit code {process.exitcode}, {said[-500:]}")
        if hidden(place) and "what is finished is kept" not in said:  # for --resume, and said so
            faults.append(f"{what}: left {hidden(place)}, exit code {process.exitcode}")
    if command.again and command.output == "out" and (place / "out/summary.json").is_file():
        missing = {n.partition("/")[2] for n in expected} - {p.name for p in (place / "out").iterdir()}
        if missing and number != signal.SIGKILL:
            faults.append(f"{what}: half an output, without {missing}")
    more = list(command.again) if any(place.iterdir()) else []
    trains = command.words[0] in ("pretrain", "finetune")
    if trains:
        more = ["--resume"] if (place / "out/checkpoint.pt").is_file() else ["--overwrite"]
    code, _ = run(command, folder, place, *more)
    if code != 0 and not (trains and "trained to its end" in (folder / "err").read_text()):
        faults.append(f"{what}, then again: exit code {code}, {(folder / 'err').read_text()[-1000:]}")
    if hidden(place):
        faults.append(f"{what}, then again: left {hidden(place)}")
    if names(place) != expected:
        faults.append(f"{what}, then again: files differ by {sorted(names(place) ^ expected)}")
    elif command.exact and tree(place) != files:
        faults.append(f"{what}, then again: other bytes")
    return faults
