"""Runner and protocol against a fake engine: no Qt, no QGIS, no toolkit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from codemae_qgis.engine import protocol, runner
from codemae_qgis.engine.errors import Cancelled, EngineError
from codemae_qgis.engine.process import Child, clean_environment
from codemae_qgis.engine.runtime import Runtime

FAKE = str(Path(__file__).with_name("fake_engine.py"))
RUNTIME = Runtime((sys.executable, "-I", FAKE), "setting")
FIXTURE = Path(__file__).resolve().parents[1] / "data" / "protocol_v1.jsonl"


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def wait_for(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


# protocol


def test_every_line_of_the_shared_fixture_is_an_event_of_its_kind() -> None:
    kinds = {k.__name__.lower().replace("warn", "warning"): k for k in protocol._EVENTS.values()}
    lines = FIXTURE.read_text(encoding="utf-8").splitlines()
    seen = set()
    for line in lines:
        event = protocol.parse(line)
        fields = json.loads(line)
        kind = fields.pop("event")
        assert type(event) is kinds[kind]
        for name, value in fields.items():
            assert getattr(event, name) == value
        seen.add(kind)
    assert seen == set(protocol._EVENTS)


@pytest.mark.parametrize(
    "line", ["", "Downloading 12 %", "[1, 2]", "3", '{"event": "future"}', '{"event": "stage"}', '{"event": "hello"']
)
def test_other_lines_are_no_events(line: str) -> None:
    assert protocol.parse(line) is None


def test_request_leaves_none_to_the_engine() -> None:
    assert protocol.request("damage", {"pre": ["a"], "model": None, "tta": False}) == {
        "protocol": 1,
        "command": "damage",
        "arguments": {"pre": ["a"], "tta": False},
    }


# runs


def test_run_hands_on_events_and_returns_the_result(tmp_path: Path) -> None:
    events: list[protocol.Event] = []
    out = tmp_path / "maps of Zürich 地図" / "out"
    outcome = runner.run(RUNTIME, "fine", {"output": str(out), "text": "é 'quoted' \"twice\" $HOME"}, events.append)
    assert outcome.outputs == {"text": str(out / "out.txt")}
    assert outcome.warnings == [("gsd", "pixels are large")]
    assert outcome.version == "9.9.9"
    assert outcome.summary["arguments"]["text"] == "é 'quoted' \"twice\" $HOME"
    assert [type(e).__name__ for e in events] == ["Hello", "Log", "Stage", "Progress", "Log", "Warn", "Result"]


def test_request_file_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.tempfile, "tempdir", str(tmp_path))
    runner.run(RUNTIME, "fine", {})
    with pytest.raises(EngineError):
        runner.run(RUNTIME, "error", {})
    with pytest.raises(EngineError):  # which deletes nothing
        runner.run(Runtime(("/bin/false",), "setting"), "fine", {})
    assert list(tmp_path.iterdir()) == []


def test_error_event_becomes_one_plain_text() -> None:
    with pytest.raises(EngineError) as info:
        runner.run(RUNTIME, "error", {})
    assert str(info.value) == "The scenes do not overlap. Found: A. Expected: B. Check them."
    assert (info.value.code, info.value.details) == ("input", "a line on stderr")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("old", "runtime-old", "too old for this plugin"),
        ("absent", "runtime-broken", "not installed"),
        ("garbled", "runtime-broken", "libtorch.so is not what it was"),
        ("mute", "died", "without a result"),
    ],
)
def test_broken_runtimes_say_what_to_do(command: str, code: str, words: str) -> None:
    with pytest.raises(EngineError, match=words) as info:
        runner.run(RUNTIME, command, {})
    assert info.value.code == code
    assert info.value.hint


@pytest.mark.parametrize(("number", "words"), [(2, "plugin manager"), (0, "Set up runtime")])
def test_another_protocol_is_refused(number: int, words: str) -> None:
    with pytest.raises(EngineError, match=f"speaks protocol {number}.*{words}"):
        runner.run(RUNTIME, "fine", {"protocol": number})


def test_killed_engine_is_told_apart() -> None:
    with pytest.raises(EngineError, match="out of memory"):
        runner.run(RUNTIME, "dies", {"signal": signal.SIGKILL})
    with pytest.raises(EngineError, match="ended by signal 11"):
        runner.run(RUNTIME, "dies", {"signal": signal.SIGSEGV})


def test_missing_program_is_an_error_with_a_next_step() -> None:
    with pytest.raises(EngineError, match=r"cannot be started.*Set up runtime"):
        runner.run(Runtime(("/nowhere/python",), "setting"), "fine", {})


# cancelling, and the end of the caller


def test_silent_engine_is_cancelled_before_it_speaks_again(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    events: list[protocol.Event] = []
    with pytest.raises(Cancelled):  # left alone, it would answer after its minute of silence
        runner.run(RUNTIME, "silent", {"ready": str(ready)}, events.append, is_cancelled=ready.exists)
    assert [type(e) for e in events] == [protocol.Hello]
    assert not alive(int(ready.read_text()))


def test_engine_that_ignores_stdin_is_killed_with_its_children(tmp_path: Path) -> None:
    ready, child = tmp_path / "ready", tmp_path / "child"
    with pytest.raises(Cancelled):
        runner.run(RUNTIME, "stubborn", {"ready": str(ready), "child": str(child)}, is_cancelled=ready.exists)
    wait_for(lambda: not alive(int(ready.read_text())) and not alive(int(child.read_text())))


def test_engine_ends_when_its_caller_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = (
        f"import sys; sys.path.insert(0, {str(Path(runner.__file__).parents[2])!r})\n"
        "from codemae_qgis.engine import runner; from codemae_qgis.engine.runtime import Runtime\n"
        f"runner.run(Runtime(({sys.executable!r}, '-I', {FAKE!r}), 'path'), 'silent', {{'ready': {str(ready)!r}}})"
    )
    caller = subprocess.Popen([sys.executable, "-c", script])
    wait_for(ready.exists)
    pid = int(ready.read_text())
    assert alive(pid)
    caller.kill()
    caller.wait()
    wait_for(lambda: not alive(pid), 3)


def test_exception_in_the_listener_stops_the_engine(tmp_path: Path) -> None:
    pids: list[int] = []

    def listen(event: protocol.Event) -> None:
        assert isinstance(event, protocol.Hello)
        pids.append(event.pid or 0)
        raise ValueError("the panel is gone")

    with pytest.raises(ValueError, match="panel"):
        runner.run(RUNTIME, "silent", {"ready": str(tmp_path / "ready")}, listen)
    assert not alive(pids[0])


def test_call_times_out() -> None:
    with pytest.raises(EngineError, match=r"No answer within 0\.3 seconds"):
        runner.call(RUNTIME, "sleep", timeout=0.3)


def test_no_thread_and_no_file_stays_open(tmp_path: Path) -> None:
    runner.run(RUNTIME, "fine", {})
    threads, files = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        runner.run(RUNTIME, "fine", {})
        with pytest.raises(EngineError):
            runner.run(RUNTIME, "error", {})
    assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == (threads, files)


# environment


def test_nothing_of_the_callers_environment_that_misleads_reaches_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (
        "PYTHONHOME",
        "PYTHONPATH",
        "PROJ_LIB",
        "PROJ_DATA",
        "GDAL_DATA",
        "GDAL_PAM_PROXY_DIR",
        "LD_PRELOAD",
        "QT_QPA",
    )
    for name in names:
        monkeypatch.setenv(name, "/nowhere" if name != "LD_PRELOAD" else "")
    summary = runner.run(RUNTIME, "fine", {}).summary
    assert summary["environment"] == {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
    assert summary["cwd"] == os.path.realpath(runner.tempfile.gettempdir())


def test_clean_environment_keeps_what_users_set_for_their_data() -> None:
    kept = {
        "PATH": "/bin",
        "HOME": "/h",
        "AWS_PROFILE": "a",
        "HTTPS_PROXY": "p",
        "GDAL_CACHEMAX": "64",
        "OMP_NUM_THREADS": "1",
    }
    assert kept.items() <= clean_environment({**kept, "VIRTUAL_ENV": "/v", "DYLD_LIBRARY_PATH": "/d"}).items()
    assert "VIRTUAL_ENV" not in clean_environment({"VIRTUAL_ENV": "/v"})


def test_clean_environment_takes_qgis_out_of_the_path_on_windows() -> None:
    path = os.pathsep.join(["/OSGeo4W/bin", "/windows", "/osgeo4w/apps/qgis"])
    assert clean_environment({"OSGEO4W_ROOT": "/OSGEO4W", "PATH": path})["PATH"] == "/windows"


def test_merged_child_keeps_the_order_of_both_streams() -> None:
    script = "import sys; print('a', flush=True); print('b', file=sys.stderr, flush=True); print('c')"
    with Child([sys.executable, "-c", script], merge=True) as child:
        assert list(child.lines()) == ["a", "b", "c"]
        assert child.wait() == 0
