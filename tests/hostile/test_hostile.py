"""Inputs that nobody means well: each gets one clear message, or is read; never a traceback, a hang or half an output.

``CODEMAE_HOSTILE=5000 CODEMAE_HOSTILE_SEED=7 pytest tests/hostile -s`` tries more of them, others.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import random
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx
import pytest
import rasterio
import typer
from codemae_cli.app import app
from codemae_cli.request import parse_request, run_request
from codemae_datasets.public._archives import extract
from support.packages import make_encoder
from support.scenes import make_model, run_codemae, write_raster
from typer.testing import CliRunner

from codemae_geo.errors import CodemaeError, OutputError
from hostile.generators import INPUT, KINDS, TINY, Good

#: inputs in the gate
COUNT = int(os.environ.get("CODEMAE_HOSTILE", 1120))
SEED = int(os.environ.get("CODEMAE_HOSTILE_SEED", 20261129))
#: seconds that one input may take; most take 0.1
LONGEST = 20
#: bytes that all of them together may add to the process
MOST = 2 * 2**30
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers"),
]


class Hangs(BaseException):
    """An input took too long."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    folder = tmp_path_factory.mktemp("good")
    from geopandas import GeoDataFrame
    from shapely.geometry import box

    houses = folder / "houses.gpkg"
    GeoDataFrame({"a": [1]}, geometry=[box(366010, 4103970, 366020, 4103980)], crs="EPSG:32615").to_file(houses)
    pre, post = write_raster(folder / "pre.tif", seed=1), write_raster(folder / "post.tif", seed=2)
    segmenter = make_model(folder / "segmenter.safetensors", task="segmentation")
    classes = write_raster(folder / "classes.tif", count=1, fill=1)
    trained = ["finetune", "segmentation", "--images", pre, "--labels", halves(folder / "halves.tif"), *TINY]
    assert attempt([*trained, "-o", folder / "run"])[0] == 0
    mapped = ["predict", segmenter, pre]
    left = folder / "left"
    left.mkdir()
    with pytest.MonkeyPatch.context() as patch:  # a map that ends as its last row is stored

        def stop(*_: Any) -> None:
            raise OutputError("the disk is gone")

        patch.setattr("codemae_geo.inference.job.clear", stop)
        assert attempt([*mapped, "--resume", "-o", left / "out"])[0] == 1
    assert {p.name.rpartition(".")[2] for p in left.iterdir()} == {"part", "codemae-run"}
    return Good(
        pre, post, classes, houses, make_model(folder / "damage.safetensors"), segmenter,
        make_encoder(folder / "encoder.safetensors"), make_onnx(folder / "model.onnx"), folder / "run",
        [*trained, "train.epochs=2"], left, mapped,
    )  # fmt: skip


def halves(path: Path) -> Path:
    """Classes 1 (west) and 2 (east) of the scene before."""
    write_raster(path, count=1, fill=1)
    with rasterio.open(path, "r+") as file:
        values = file.read(1)
        values[:, values.shape[1] // 2 :] = 2
        file.write(values, 1)
    return path


def make_onnx(path: Path) -> Path:
    """A network of three classes, each a band, and beside it the contract that is told of it."""
    weights = onnx.numpy_helper.from_array(np.eye(3, dtype=np.float32)[:, :, None, None], "w")
    shapes = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in ("x", "y")
    ]
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "net", shapes[:1], shapes[1:], [weights])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    code, said = attempt(["models", "wrap", path, *INPUT, "--classes", "a,b,c", "-o", path.with_suffix(".json")])
    assert code == 0, said
    return path


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(words: list[Any]) -> tuple[int, str]:
    """Run a command in this process: exit code, and what it says."""
    if words[0] == "extract":
        try:
            extract(words[1], words[2])
        except CodemaeError as error:
            return 1, f"error: {error}"
        return 0, ""
    if words[0] == "engine":
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                code = run_request(parse_request(words[1]), typer.main.get_command(app))
            except CodemaeError as error:
                return 1, f"error: {error}"
            except typer.Exit as end:
                code = end.exit_code
        return code, out.getvalue()
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stderr


def judge(kind: str, words: list[Any], broken: bool, folder: Path) -> str | None:
    """What is wrong with how an input is met."""
    inputs = set(folder.rglob("*"))
    visible = [p for p in inputs if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    try:
        with guarded():
            code, said = attempt(words)
    except Hangs:
        return "hangs"
    except BaseException as error:  # what a user would see as a traceback
        import traceback

        place = traceback.extract_tb(error.__traceback__)
        ours = next((f for f in reversed(place) if "codemae" in f.filename), place[-1])
        return f"{type(error).__name__}: {str(error)[:150]!r} at {Path(ours.filename).name}:{ours.lineno} {ours.name}"
    if code not in (0, 1, 2):
        return f"exit code {code}"
    if "Traceback" in said:
        return f"says {said[-300:]}"
    if code == 1 and said.count("error: ") < 1:
        return f"no message: {said[-200:]}"
    if code == 0 and broken:
        return "taken, though broken"
    gone = [p for p in visible if not os.path.lexists(p)]
    if gone and kind not in ("resumed",):
        return f"took {[str(p.relative_to(folder)) for p in gone]} away"
    if code and kind not in ("archive", "journal", "resumed"):
        left = [str(p.relative_to(folder)) for p in folder.rglob("*") if p not in inputs]
        if left:
            return f"left {left}"
    return None


@pytest.mark.parametrize("kind", list(KINDS))
def test_hostile(kind: str, good: Good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(f"{SEED} {kind}")
    count = -(-COUNT // len(KINDS))
    print(f"\nCODEMAE_HOSTILE_SEED={SEED}: {count} of {kind}")
    monkeypatch.setattr(logging, "raiseExceptions", False)  # of loggers that keep a stream of the test before
    faults: dict[str, str] = {}
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        folder = tmp_path / "input"
        folder.mkdir()
        words, broken = KINDS[kind](good, folder, rng)
        fault = judge(kind, words, broken, folder)
        if fault:
            faults.setdefault(fault.split(": ")[0] + fault.rpartition(" at ")[2], f"{number}: {fault}")
            if keep := os.environ.get("CODEMAE_HOSTILE_KEEP"):
                shutil.copytree(folder, Path(keep) / f"{kind}-{number}", dirs_exist_ok=True, symlinks=True)
        shutil.rmtree(folder)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert grown < MOST, f"{number} of {kind} takes {grown / 2**30:.1f} GiB"
    assert not faults, "\n".join(faults.values())


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("request", "archive", "resumed", "journal")])
def test_as_installed(kind: str, good: Good, tmp_path: Path) -> None:
    """One of each through the command itself: exit code, streams, folders."""
    rng = random.Random(f"installed {SEED} {kind}")
    words, _ = KINDS[kind](good, tmp_path, rng)
    inputs = set(tmp_path.rglob("*"))
    result = run_codemae(*words)
    assert result.code in (0, 1, 2), result.err
    assert "Traceback" not in result.err + result.out
    assert result.err.count("error: ") == (result.code == 1)
    assert not [c for c in result.out + result.err if ord(c) < 32 and c not in "\n\t\r"]
    assert result.code == 0 or set(tmp_path.rglob("*")) == inputs
