"""`codemae clean`, and streams that cannot be written to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.scenes import Pair, Result

#: leaves what a killed run leaves, in the folder given
KILLED = """
import os, sys
from codemae_geo.outputs import FolderStaging
staging = FolderStaging(sys.argv[1])
(staging.folder / "half.tif").write_bytes(b"x" * 2**20)
os.kill(os.getpid(), 9)
"""


def test_what_killed_runs_left_is_listed_and_removed(tmp_path: Path, codemae: Callable[..., Result]) -> None:
    (tmp_path / "below").mkdir()
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "below/out"])
    assert len(list((tmp_path / "below").iterdir())) == 2
    listed = codemae("clean", tmp_path, "--dry-run")
    assert listed.code == 0, listed.err
    assert "below/out" in listed.out and "1.0 MiB" in listed.out and "would be removed" in listed.out
    assert len(list((tmp_path / "below").iterdir())) == 2
    done = codemae("clean", tmp_path, "--json")
    assert [e["done"] for e in done.json["found"]] == ["removed"]
    assert list((tmp_path / "below").iterdir()) == []
    assert "nothing is left" in codemae("clean", tmp_path).err
    assert codemae("clean", tmp_path / "gone").code == 1


def run_with(stdout: int | None, *words: object, close: bool = False) -> tuple[int, str]:
    command = [sys.executable, "-m", "codemae_cli", *map(str, words)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "LANG": "C", "LC_ALL": "C"}
    if close:
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=env)
    return done.returncode, done.stderr.decode()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_output_that_cannot_be_shown_costs_no_files(tmp_path: Path, pair: Pair, model: Path) -> None:
    words = ["damage", "--pre", pair.pre, "--post", pair.post, "--model", model, "--json", "-o"]
    with Path("/dev/full").open("wb") as full:
        code, err = run_with(full.fileno(), *words, tmp_path / "full ü")
    assert (code, err.count("error: ")) == (1, 1), err
    assert "standard output" in err and "Traceback" not in err
    summary = json.loads((tmp_path / "full ü/summary.json").read_text(encoding="utf-8"))
    assert all((tmp_path / "full ü" / name).is_file() for name in summary["outputs"].values())


@pytest.mark.parametrize("words", [["--help"], ["models", "list"], ["models", "list", "--json"]])
def test_readers_that_have_gone_and_streams_that_are_closed(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert run_with(writing, *words) == (0, "")
    os.close(writing)
    assert run_with(None, *words, close=True) == (0, "")
