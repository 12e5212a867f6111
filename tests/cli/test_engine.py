"""`codemae engine`: requests, events, and the end of stdin as the end of the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from codemae_cli import lifeline, stopping
from codemae_cli.app import app
from codemae_cli.protocol import ERROR_CODES, EVENTS, OPTIONAL, problems
from codemae_cli.request import ProtocolError, Request, RequestError, parse_request, run_request, to_words
from support.scenes import Pair

from codemae_geo import outputs

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
#: minutes of work on the small pair
SLOW = {"tta": True, "overlap": 0.95, "window": 32}


def start(*words: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, encoding="utf-8", env=ENV, **options,
    )  # fmt: skip


def write_request(folder: Path, arguments: dict[str, Any], command: str = "damage", protocol: Any = 1) -> Path:
    path = folder / "request ü.json"
    path.write_text(json.dumps({"protocol": protocol, "command": command, "arguments": arguments}), encoding="utf-8")
    return path


def ask(request: Path, *options: str) -> tuple[int, list[dict[str, Any]], str]:
    """Run a request to its end: exit code, events, stderr."""
    with start("-m", "codemae_cli", "engine", request, *options) as process:
        out, err = wait(process)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def wait(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Read to the end while stdin stays open."""
    assert process.stdout is not None and process.stderr is not None
    out = process.stdout.read()
    err = process.stderr.read()
    process.wait(60)
    return out, err


@pytest.fixture
def slow_request(tmp_path: Path, pair: Pair, model: Path) -> Path:
    arguments = {"pre": str(pair.pre), "post": str(pair.post), "model": str(model), "output": str(tmp_path / "o/out")}
    return write_request(tmp_path, {**arguments, **SLOW})


def test_the_examples_are_of_the_protocol() -> None:
    lines = (ROOT / "tests/data/protocol_v1.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    assert {e["event"] for e in events} == set(EVENTS)
    assert {e["code"] for e in events if e["event"] == "error"} == set(ERROR_CODES) - {"error"}
    for event in events:
        assert problems(event) == []


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"event": "hallo"}, "no event"),
        ({"event": "stage", "name": "a"}, "lacks total"),
        ({"event": "stage", "name": 1, "total": None}, "stage.name"),
        ({"event": "progress", "stage": "a", "done": True, "total": 1, "eta_s": 1}, "progress.done"),
        ({"event": "log", "level": "info", "message": "", "more": 1}, "no field more"),
        ({"event": "error", "code": "nope", "message": "", "hint": None}, "error code"),
    ],
)
def test_what_is_not_of_the_protocol(event: dict[str, Any], said: str) -> None:
    assert any(said in p for p in problems(event))


def test_the_guide_names_every_event_field_and_code() -> None:
    text = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    for event, fields in EVENTS.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{event}`"))
        assert all(f"`{name}`" in row for name in fields), row
        assert ("where they help" in row) == any(kind == event for kind, _ in OPTIONAL)
    for code, meaning in ERROR_CODES.items():
        assert f"| `{code}` | {meaning} |" in text


def test_a_request_runs(tmp_path: Path, pair: Pair, model: Path) -> None:
    folder = tmp_path / "mit Leerzeichen 地図"
    folder.mkdir()
    post = folder / "nachher ß.tif"
    post.write_bytes(pair.post.read_bytes())
    arguments = {
        "pre": [str(pair.pre)], "post": str(post), "model": str(model), "output": str(folder / "out"), "device": "cpu",
        "bounds": [366000, 4103960, 366030, 4104000], "probabilities": True, "tta": False, "aoi": None,
    }  # fmt: skip
    code, events, err = ask(write_request(folder, arguments))
    assert code == 0, err
    for event in events:
        assert problems(event) == []
    assert (events[0]["event"], events[0]["device"]) == ("hello", "cpu")
    assert events[-1]["event"] == "result"
    assert Path(events[-1]["outputs"]["probabilities"]).parent == folder / "out"
    assert all(Path(p).is_file() for p in events[-1]["outputs"].values())
    assert events[-1]["summary"]["grid"]["width"] == 60


@pytest.mark.parametrize(("protocol", "code", "words"), [(2, "protocol", ["protocol 2"]), (1, "input", ["gone.tif"])])
def test_refusals_are_events(tmp_path: Path, protocol: int, code: str, words: list[str]) -> None:
    arguments = {"raster": "gone.tif", "footprints": "b", "output": str(tmp_path / "c.gpkg")}
    status, events, err = ask(write_request(tmp_path, arguments, "buildings", protocol))
    assert status == 1
    assert "Traceback" not in err
    assert [e["event"] for e in events if e["event"] != "stage"] == ["hello", "error"]
    assert events[-1]["code"] == code and problems(events[-1]) == []
    assert all(word in events[-1]["message"] for word in words)


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("damge", {}, ["damge", "did you mean 'damage'"]),
        ("models", {}, ["models"]),
        ("damage", {"pree": "a"}, ["pree", "did you mean 'pre'"]),
        ("damage", {"pre": "a", "output": "o"}, ["--post"]),
        ("damage", {"pre": "a", "post": "b", "output": "c", "device": "gpu"}, ["gpu", "cuda"]),
        ("damage", {"pre": "a", "post": "b", "output": "c", "window": 3}, ["--window"]),
    ],
)
def test_unknown_words_are_refused(command: str, arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RequestError) as refused:
        run_request(Request(command, arguments), typer.main.get_command(app))
    assert refused.value.code == "request" and refused.value.hint
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", '{"protocol": 1}', '{"protocol": 1, "command": "damage", "args": {}}'])
def test_requests_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(RequestError):
        parse_request(tmp_path / "r.json")
    with pytest.raises(RequestError, match="cannot be read"):
        parse_request(tmp_path / "none.json")


def test_a_request_without_protocol_is_of_another(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"command": "damage"}')
    with pytest.raises(ProtocolError):
        parse_request(tmp_path / "r.json")


def test_arguments_become_words() -> None:
    group: Any = typer.main.get_command(app)
    damage, predict = group.commands["damage"].params, group.commands["predict"].params

    def words(params: Any, positional: bool = False, **arguments: Any) -> list[str]:
        return to_words(params, Request("x", arguments), positional=positional)

    assert words(damage, pre=["a b", "--c"], post_nodata=-9999) == [
        "--pre",
        "a b",
        "--pre",
        "--c",
        "--post-nodata",
        "-9999",
    ]
    assert words(damage, bounds=[-1, 2.5, 3, 4], tta=True) == ["--tta", "--bounds", "-1", "2.5", "3", "4"]
    assert words(predict, polygons=False, tta=False) == ["--no-polygons"]
    assert words(predict, True, model="m", inputs=["-a", "b"], tta=True) == ["m", "-a", "b"]
    for bad in (
        {"tta": "yes"},
        {"bounds": [1, 2]},
        {"res": [1, 2]},
        {"pre": {"a": 1}},
        {"res": True},
        {"progress": "none"},
    ):
        with pytest.raises(RequestError):
            words(damage, **bad)


def test_a_request_stays_unless_its_deletion_is_asked_for(tmp_path: Path) -> None:
    request = write_request(tmp_path, {"pre": "a", "output": "o"})
    assert ask(request)[0] == 1 and request.exists()
    status, events, err = ask(request, "--delete-request")
    assert status == 1 and "--post" in events[-1]["message"], err
    assert list(tmp_path.iterdir()) == []
    request.write_text("no JSON")
    assert ask(request, "--delete-request")[1][-1]["code"] == "request"
    assert list(tmp_path.iterdir()) == []


def until_predicting(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("stage") == "predict":
            return
    raise AssertionError(process.stderr.read() if process.stderr else "")


def test_the_end_of_stdin_ends_the_run(tmp_path: Path, slow_request: Path) -> None:
    with start("-m", "codemae_cli", "engine", slow_request) as process:
        until_predicting(process)
        assert any(p.name.endswith(".part") for p in (tmp_path / "o").iterdir())
        assert process.stdin is not None
        process.stdin.close()
        out, err = wait(process)
    assert process.returncode == 130
    *before, last = [json.loads(line) for line in out.splitlines()]
    assert last["code"] == "interrupted"
    # it ended amid its windows: most were still to come, and nothing of a later stage began
    assert not [e for e in before if e["event"] in ("stage", "result")]
    assert all(e["done"] < e["total"] / 2 for e in before if e["event"] == "progress")
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == [slow_request.name]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 on this system")
def test_nothing_outlives_a_killed_caller(tmp_path: Path, slow_request: Path) -> None:
    caller = (
        "import subprocess, sys\n"
        "engine = subprocess.Popen([sys.executable, '-I', '-m', 'codemae_cli', 'engine', sys.argv[1]],\n"
        "                          stdin=subprocess.PIPE, start_new_session=True)\n"
        "engine.wait()\n"
    )
    with start("-c", caller, slow_request) as process:
        assert process.stdout is not None
        engine = json.loads(process.stdout.readline())["pid"]
        until_predicting(process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for _ in range(600):  # a guard against hanging; the work itself would take minutes
            if not running(engine):
                break
            time.sleep(0.1)
        else:
            os.kill(engine, signal.SIGKILL)
            raise AssertionError("the engine went on")
    assert [p.name for p in tmp_path.iterdir()] == [slow_request.name]


def running(pid: int) -> bool:
    """Whether a process is alive; one that only waits to be reaped is not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


#: a run whose main thread is inside one call of native code for minutes
STUCK = """
import sys
from codemae_cli import stopping, streams
from codemae_cli.lifeline import hold_stdin
from codemae_geo.outputs import FolderStaging
import torch
torch.set_num_threads(1)
stopping.listen()
streams.speak_events()
with FolderStaging(sys.argv[1]) as staging:
    (staging.folder / "half.tif").write_text("half")
    a = torch.randn(5000, 5000)
    hold_stdin()
    print("stuck", flush=True)
    torch.linalg.svd(a)
    print("done", flush=True)
"""


def test_the_end_of_stdin_ends_a_long_computation(tmp_path: Path) -> None:
    with start("-c", STUCK, tmp_path / "a/b/out") as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "stuck\n"
        time.sleep(0.3)
        assert list((tmp_path / "a/b").iterdir())
        process.stdin.close()
        out, err = wait(process)
    assert process.returncode == 130, err
    assert json.loads(out)["code"] == "interrupted"  # and no "done": the call was not waited for
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_open_go_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with outputs.FolderStaging(tmp_path / "a/b/out") as staging:
        (staging.folder / "half.tif").write_text("half")
        with monkeypatch.context() as patched:
            patched.setattr(outputs.shutil, "rmtree", lambda *_, **__: None)  # as Windows, while a file is open
            left = outputs.discard_unfinished()
        assert left == [staging.folder, tmp_path / "a/b", tmp_path / "a"]
        stopping.remove_later(left)
        for _ in range(100):
            if not list(tmp_path.iterdir()):
                break
            time.sleep(0.05)
        assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_polled_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifeline, "POLL", 0)
    answers, taken = iter([0, 5, 0, 2]), []

    def waiting() -> int:
        try:
            return next(answers)
        except StopIteration:
            raise BrokenPipeError from None

    lifeline.poll(waiting, taken.append)
    assert taken == [5, 2]


def test_a_reader_that_goes_ends_the_run(tmp_path: Path, slow_request: Path) -> None:
    with start("-m", "codemae_cli", "engine", slow_request) as process:
        until_predicting(process)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        process.wait(60)
    assert process.returncode == 130, err
    assert "Traceback" not in err and "BrokenPipe" not in err
    assert [p.name for p in tmp_path.iterdir()] == [slow_request.name]
