"""A map that was killed, interrupted or refused its disk goes on to the bytes that an uninterrupted run writes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.scenes import make_model, run_codemae, write_raster

#: kills of the test below; the same test with 50 is run by hand
KILLS = int(os.environ.get("CODEMAE_KILLS", "10"))
#: both runs write the same date
DATED = {"SOURCE_DATE_EPOCH": "1700000000"}
SIZE = (1000, 352)
STRIPS = 31  # windows of 64 at half overlap, down 1,000 rows


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with scenes and a model, and the arguments of a run of some hundred windows."""
    folder = tmp_path_factory.mktemp("resume")
    write_raster(folder / "pre.tif", size=SIZE)
    write_raster(folder / "post.tif", size=SIZE, seed=1)
    model = make_model(folder / "model.safetensors")
    words = ["damage", "--pre", folder / "pre.tif", "--post", folder / "post.tif", "-m", model, "--window", "64"]
    return folder, [*map(str, words), "--precision", "float32", "--probabilities", "--progress", "plain"]


@pytest.fixture(scope="module")
def whole(job: tuple[Path, list[str]]) -> Path:
    """The outputs of a run that nobody stopped."""
    folder, words = job
    done = run_codemae(*words, "-o", folder / "whole", env=DATED)
    assert done.code == 0, done.err
    return folder / "whole"


def start(words: list[str], out: Path) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).with_name("codemae")), *words, "-o", str(out), "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **DATED}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def journal(out: Path) -> list[str]:
    """Lines of the journal among the unfinished files, strips after the first."""
    files = list(out.parent.glob(f".{out.name}.*.part/journal/damage.journal"))
    return files[0].read_text().splitlines() if files else []


def assert_same(out: Path, whole: Path) -> None:
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in whole.iterdir())
    for path in whole.iterdir():
        if path.name != "summary.json":  # it tells seconds, and how many windows this run has run
            assert path.read_bytes() == (out / path.name).read_bytes(), path.name
    one, other = (json.loads((p / "summary.json").read_text()) for p in (whole, out))
    for key in ("classes", "analysed", "polygons", "inputs", "parameters", "created", "grid"):
        assert one[key] == other[key]


def assert_nothing_hidden(folder: Path, out: Path) -> None:
    assert not list(folder.glob(f".{out.name}*"))


@pytest.mark.slow
def test_kills_at_random_moments(job: tuple[Path, list[str]], whole: Path) -> None:
    seed = int(os.environ.get("CODEMAE_SEED", time.time_ns() % 10**6))
    print(f"seed {seed}: CODEMAE_SEED={seed} repeats it")
    moments = random.Random(seed)
    folder, words = job
    killed = number = 0
    went_on: set[str] = set()
    while killed < KILLS:
        out = folder / f"killed-{number}"
        number += 1
        while killed < KILLS:
            before = len(journal(out))
            process = start(words, out)
            assert process.stderr is not None
            # into the work, and then a moment more: while strips, rasters or polygons are written
            for line in process.stderr:
                went_on |= {word for word in ("goes on",) if word in line}
                if line.startswith("predict ..."):
                    break
            time.sleep(moments.uniform(0, 1.5))
            process.kill()
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
            if out.exists():
                break
            # all strips finished: the journal goes when the rasters are, a moment before they move into place
            assert len(journal(out)) >= before or before == STRIPS + 1, "a strip that was finished stays finished"
        else:
            process = start(words, out)
            _, err = process.communicate()
            assert process.returncode == 0, err
        assert_same(out, whole)
        assert_nothing_hidden(folder, out)
    assert went_on or KILLS < 5


def test_ctrl_c_keeps_what_is_done_and_says_so(job: tuple[Path, list[str]], whole: Path) -> None:
    folder, words = job
    out = folder / "interrupted"
    process = start(words, out)
    while len(journal(out)) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "--resume goes on from there" in err
    assert "Traceback" not in err
    other = run_codemae(*words, "-o", folder / "beside", env=DATED)
    assert other.code == 0 and len(journal(out)) >= 3, "a run for another folder leaves it alone"
    refused = run_codemae(*words, "--overlap", "0.25", "-o", out, "--resume", env=DATED)
    assert refused.code == 1
    assert "a different one" in refused.err and "parameters.overlap is 0.25" in refused.err
    done = run_codemae(*words, "-o", out, "--resume", env=DATED)
    assert done.code == 0 and "goes on at row" in done.err
    assert_same(out, whole)
    assert_nothing_hidden(folder, out)


def test_an_input_that_changed_is_refused(job: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, words = job
    scene = tmp_path / "pre.tif"
    scene.write_bytes((folder / "pre.tif").read_bytes())
    words = [str(scene) if w == str(folder / "pre.tif") else w for w in words]
    out = tmp_path / "out"
    process = start(words, out)
    while len(journal(out)) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    write_raster(scene, size=SIZE, seed=2)
    refused = run_codemae(*words, "-o", out, "--resume")
    assert refused.code == 1 and "a different one" in refused.err and "sha256" in refused.err
    anew = run_codemae(*words, "-o", out)
    assert anew.code == 0, anew.err
    assert_nothing_hidden(tmp_path, out)


def test_nothing_to_go_on_with_is_a_beginning(job: tuple[Path, list[str]], whole: Path) -> None:
    folder, words = job
    done = run_codemae(*words, "-o", folder / "first", "--resume", env=DATED)
    assert done.code == 0 and "goes on" not in done.err
    assert_same(folder / "first", whole)
