"""Where the runtime is looked for, and what its answers become."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from codemae_qgis.engine import runtime
from codemae_qgis.engine.errors import EngineError
from codemae_qgis.engine.runtime import Health, Runtime, find, managed_folder

FAKE = Runtime((sys.executable, str(Path(__file__).with_name("fake_engine.py"))), "setting")


def make_python(folder: Path) -> Path:
    """An environment that has an interpreter, for looking up only."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    return python


def test_order_of_places(clean_lookup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match=r"no codemae-geo runtime yet.*Set up runtime") as info:
        find()
    assert info.value.code == "runtime-missing"
    script = make_python(tmp_path / "tool").parent / "codemae"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (tmp_path / "codemae").symlink_to(script)  # as uv tool and pipx do
    on_path = find()
    assert (on_path.program, on_path.origin) == (str(tmp_path / "tool" / "bin" / "python"), "path")
    managed = make_python(managed_folder())
    assert find() == Runtime((str(managed), "-I", "-m", "codemae_cli"), "managed")
    chosen = make_python(tmp_path / "my env ü")
    assert find(str(chosen)).origin == "setting"
    assert find(str(tmp_path / "my env ü")) == find(str(chosen))  # the folder will do
    monkeypatch.setenv("CODEMAE_GEO_PYTHON", str(managed))
    assert find(str(chosen)) == Runtime((str(managed), "-I", "-m", "codemae_cli"), "variable")


def test_never_the_python_that_runs(clean_lookup: Path) -> None:
    with pytest.raises(EngineError):
        find()
    assert sys.executable not in Path(runtime.__file__).read_text()
    assert "sys.executable" not in Path(runtime.__file__).read_text()


@pytest.mark.parametrize("place", ["variable", "setting"])
def test_a_choice_that_is_gone_is_told_not_replaced(
    place: str, clean_lookup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_python(managed_folder())
    gone = "/gone/bin/python"
    if place == "variable":
        monkeypatch.setenv("CODEMAE_GEO_PYTHON", gone)
    with pytest.raises(EngineError, match=f"{place}.*not there: {gone}"):
        find("" if place == "variable" else gone)


def test_script_without_a_python_beside_it_is_run_itself(clean_lookup: Path, tmp_path: Path) -> None:
    script = tmp_path / "codemae"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert find() == Runtime((str(script),), "path")
    assert find(str(script)) == Runtime((str(script),), "setting")


@pytest.mark.parametrize(
    ("system", "environ", "expected"),
    [
        ("win32", {"LOCALAPPDATA": "C:/L"}, "C:/L/codemae_geo/runtime"),
        ("win32", {"USERPROFILE": "C:/U"}, "C:/U/AppData/Local/codemae_geo/runtime"),
        ("darwin", {"HOME": "/Users/a"}, "/Users/a/Library/Application Support/codemae_geo/runtime"),
        ("linux", {"HOME": "/home/a"}, "/home/a/.local/share/codemae_geo/runtime"),
        ("linux", {"HOME": "/home/a", "XDG_DATA_HOME": "/x"}, "/x/codemae_geo/runtime"),
    ],
)
def test_managed_folder(system: str, environ: dict[str, str], expected: str) -> None:
    assert managed_folder(environ, system) == Path(expected)


def test_health_is_asked_once_until_the_environment_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_PROTOCOL", "1")
    asked = []
    real = runtime.call
    monkeypatch.setattr(runtime, "call", lambda *a, **k: asked.append(a) or real(*a, **k))
    monkeypatch.setattr(runtime, "_known_health", {})
    report = runtime.health(FAKE)
    assert (report.version, report.protocol, report.devices, report.problems) == ("0.1.0", 1, ["cpu"], [])
    assert report.line() == "codemae-geo 0.1.0, cpu, float32"
    assert runtime.health(FAKE) is report
    assert len(asked) == 1
    runtime.health(FAKE, refresh=True)
    monkeypatch.setattr(runtime, "_changed", lambda program: 1e12)
    runtime.health(FAKE)
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({}, "runtime-old"),  # before there was a protocol
        ({"FAKE_PROTOCOL": "1", "FAKE_VERSION": "0.0.9"}, "runtime-old"),
        ({"FAKE_PROTOCOL": "2"}, "protocol"),
    ],
)
def test_unfit_runtimes(variables: dict[str, str], code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_known_health", {})
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(EngineError) as info:
        runtime.health(FAKE)
    assert info.value.code == code


def test_program_that_is_no_toolkit() -> None:
    with pytest.raises(EngineError, match="something else than codemae-geo"):
        runtime.health(Runtime(("/bin/echo", "hello"), "setting"))
    with pytest.raises(EngineError, match="does not start"):
        runtime.health(Runtime(("/bin/false",), "setting"))


def test_problems_come_first_in_the_line() -> None:
    health = Health("0.1.0", 1, ["cpu"], [], ["no model is installed"], {"device": "cpu"})
    assert health.line() == "codemae-geo 0.1.0: no model is installed"


def test_sample_pair_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data ü"))
    monkeypatch.setenv("FAKE_MODEL", str(tmp_path / "pkg" / "weights" / "bundled" / "m.safetensors"))
    with pytest.raises(EngineError, match="no sample pair"):
        runtime.sample_pair(FAKE)
    folder = tmp_path / "pkg" / "data" / "joplin"
    folder.mkdir(parents=True)
    for name in ("pre.tif", "post.tif", "buildings.gpkg"):
        (folder / name).write_text(name)
    pair = runtime.sample_pair(FAKE)
    assert pair.post == str(tmp_path / "data ü" / "codemae_geo" / "sample" / "post.tif")
    assert Path(pair.footprints).read_text() == "buildings.gpkg"
    Path(pair.footprints).write_text("edited in QGIS")
    assert runtime.sample_pair(FAKE) == pair
    assert Path(pair.footprints).read_text() == "edited in QGIS"


def test_diagnostics_mask_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    health = Health("0.1.0", 1, ["cpu"], ["m"], [], {"python": f"3.11 {tmp_path}/env/bin/python"})
    text = runtime.diagnostics(Runtime((f"{tmp_path}/env/bin/python",), "setting"), health, {"QGIS": "3.22"})
    assert str(tmp_path) not in text
    assert {"QGIS: 3.22", "python: 3.11 ~/env/bin/python", "protocol: 1", "problems: none"} <= set(text.splitlines())
    error = EngineError("it is broken", details=f"{os.environ['HOME']}/x failed")
    assert "last output: ~/x failed" in runtime.diagnostics(error, None)


@pytest.mark.parametrize(
    ("text", "numbers"), [("0.10.1", [0, 10, 1]), ("0.2.0rc1", [0, 2, 0]), ("1.0+local.3", [1, 0])]
)
def test_versions_compare_as_numbers(text: str, numbers: list[int]) -> None:
    assert runtime._numbers(text) == numbers


def test_real_toolkit_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    real = runtime.with_python(Path(sys.executable), "setting")
    report = runtime.health(real)
    assert (report.protocol, report.problems) == (1, [])
    assert "damage-tiny-optical" in report.models
    pair = runtime.sample_pair(real)
    assert Path(pair.footprints).is_file()
    assert "# " in runtime.card(real, "damage-tiny-optical")
