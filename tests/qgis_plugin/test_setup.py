"""Making a runtime from a wheel folder: nothing is downloaded, all is real but the wheels' content."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from codemae_qgis.engine import setup
from codemae_qgis.engine.errors import Cancelled, EngineError
from codemae_qgis.engine.runtime import managed_folder

DOCTOR = """
import json, sys
print(json.dumps({"version": "0.1.0", "protocol": 1, "devices": ["cpu"], "models": [], "problems": [],
                  "facts": {"device": "cpu", "python": sys.executable}}))
"""


def make_wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    """A wheel by hand: the files, METADATA, WHEEL and RECORD."""
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(text.encode())}\n"
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the lock names, which is little here."""
    folder = tmp_path / "wheels für offline"
    folder.mkdir()
    lock = tmp_path / "lock.txt"
    lock.write_text(
        "# made by lock.py\nsmall==1.0\ntorch==2.0 ; python_version > '3'\nother==1.0 ; python_version < '3'\n"
    )
    monkeypatch.setattr(setup, "LOCK", lock)
    make_wheel(folder, "small", "1.0", {"small.py": "size = 1\n"})
    make_wheel(folder, "torch", "2.0", {"torch.py": ""})
    cli = {"codemae_cli/__init__.py": "", "codemae_cli/__main__.py": DOCTOR}
    make_wheel(folder, "codemae_geo", "0.1.0", cli)
    return folder


@pytest.mark.parametrize("tool", ["uv", "venv"])
def test_create_from_wheels_at_a_spaced_non_ascii_path(tool: str, wheels: Path, tmp_path: Path) -> None:
    if (setup.find_uv() if tool == "uv" else setup.find_python()) is None:
        pytest.skip(f"there is nothing to make an environment with {tool}")
    folder = tmp_path / "Laufzeit für Zoë"
    plan = setup.plan(folder, wheels=wheels, tool=tool)
    assert plan.tool == tool
    steps: list[str] = []
    lines: list[str] = []
    shares: list[float] = []
    runtime = setup.create(plan, lambda i, n, s: steps.append(s.name), lines.append, shares.append)
    assert steps == ["environment", "libraries", "torch", "toolkit"]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert runtime.program == str(folder / "bin" / "python")
    assert lines[-1] == "codemae-geo 0.1.0, cpu"
    site = next(folder.glob("lib/python*/site-packages"))
    assert (site / "small.py").exists()
    assert (site / "torch.py").exists()
    assert not (site / "other.py").exists()
    assert setup.disk_used(folder) > 1000
    # again: nothing is left to do
    lines.clear()
    setup.create(plan, on_log=lines.append)
    assert lines == ["codemae-geo 0.1.0, cpu"]
    setup.remove(folder)
    assert not folder.exists()


def test_without_pytorch_nothing_of_it_is_installed(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock_plain.txt"
    lock.write_text("# made by lock.py\nsmall==1.0\n")
    monkeypatch.setattr(setup, "PLAIN_LOCK", lock)
    setup.create(setup.plan(tmp_path / "env", wheels=wheels, variant="plain"))
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    assert (site / "small.py").exists() and not (site / "torch.py").exists()


def test_the_plain_lock_is_a_part_of_the_other() -> None:
    plain, whole = (set(path.read_text().splitlines()) for path in (setup.PLAIN_LOCK, setup.LOCK))
    assert {line.partition("==")[0] for line in plain} < {line.partition("==")[0] for line in whole}
    assert plain <= whole
    assert not {line.partition("==")[0] for line in plain} & {"torch", "timm", "torchvision", "safetensors"}
    assert "openvino" in {line.partition("==")[0] for line in plain}


def test_failed_step_is_repeated_and_finished_ones_are_not(wheels: Path, tmp_path: Path) -> None:
    plan = setup.plan(tmp_path / "env", wheels=wheels)
    hidden = tmp_path / "hidden"
    torch = next(wheels.glob("torch*"))
    shutil.move(torch, hidden)
    with pytest.raises(EngineError, match=r"(?s)Installing PyTorch failed.*try again") as info:
        setup.create(plan)
    assert "torch" in info.value.details
    shutil.move(hidden, torch)
    commands: list[str] = []
    setup.create(plan, on_log=commands.append)
    text = "\n".join(commands)
    assert "torch==2.0" in text
    assert "libraries.txt" not in text


def test_cancel_stops_the_tool_and_keeps_finished_steps(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = setup.plan(tmp_path / "env", wheels=wheels)
    slow = setup.Step(
        "libraries", "Installing libraries", ((sys.executable, "-c", "import time; time.sleep(60)"),), 1, 1
    )
    slow_plan = setup.Plan(plan.folder, plan.tool, plan.variant, (plan.steps[0], slow))
    asked: list[str] = []
    step: list[str] = []

    def is_cancelled() -> bool:
        if step[-1:] == ["libraries"]:
            asked.append("while the tool works")
        return len(asked) > 3

    with pytest.raises(Cancelled):  # left alone, the tool would work for a minute and the step be done
        setup.create(slow_plan, lambda i, n, s: step.append(s.name), is_cancelled=is_cancelled)
    assert setup._marker(plan.folder)["done"] == ["environment"]


def test_other_plan_begins_anew(wheels: Path, tmp_path: Path) -> None:
    setup.create(setup.plan(tmp_path / "env", wheels=wheels))
    (tmp_path / "env" / "left").touch()
    setup.create(setup.plan(tmp_path / "env", wheels=wheels, variant="cuda"))
    assert not (tmp_path / "env" / "left").exists()


def test_folders_of_others_are_left_alone(wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(EngineError, match="content that set-up did not make"):
        setup.plan(tmp_path / "mine", wheels=wheels)
    with pytest.raises(EngineError, match="not made by set-up"):
        setup.remove(tmp_path / "mine")
    with pytest.raises(EngineError, match="is a file"):
        setup.plan(tmp_path / "mine" / "thesis.txt", wheels=wheels)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    setup.remove(tmp_path / "not there")


def test_full_disk_is_said_before_anything_is_downloaded(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(setup.shutil, "disk_usage", lambda p: usage._replace(free=100 * 2**20))
    lines: list[str] = []
    with pytest.raises(EngineError, match="has 100 MB free"):
        setup.create(setup.plan(tmp_path / "env", wheels=wheels), on_log=lines.append)
    assert lines == []


def test_folder_that_cannot_be_made(wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match=r"cannot be written to.*Ask for the right"):
        setup.create(setup.plan(tmp_path / "file" / "env", wheels=wheels))


def test_no_tool_at_all_gives_two_commands_to_copy(clean_lookup: Path) -> None:
    with pytest.raises(EngineError) as info:
        setup.plan()
    assert info.value.code == "no-python"
    commands = str(info.value).splitlines()[-2:]
    assert commands[0] == f'python3 -m venv "{managed_folder()}"'
    assert "-m pip install codemae-geo==" in commands[1]


def test_proxy_reaches_the_tools_but_not_the_log(tmp_path: Path) -> None:
    script = "import os; print('seen' if os.environ['HTTPS_PROXY'] == 'http://u:p@h:1' else 'no')"
    step = setup.Step("environment", "t", ((sys.executable, "-c", script),), 1, 1)
    lines: list[str] = []
    with pytest.raises(EngineError):  # there is no runtime in the end
        setup.create(setup.Plan(tmp_path / "env", "venv", "cpu", (step,)), on_log=lines.append, proxy="http://u:p@h:1")
    assert "seen" in lines
    assert not any("u:p" in line for line in lines if script not in line)


@pytest.mark.parametrize(
    ("system", "variant", "index", "lone"),
    [
        ("linux", "cpu", setup._CPU_INDEX, True),
        ("linux", "cuda", "", False),
        ("win32", "cpu", setup._CPU_INDEX, True),
        ("win32", "cuda", setup._WINDOWS_CUDA_INDEX, True),
        ("darwin", "cpu", "", True),
    ],
)
def test_where_builds_of_torch_come_from(
    system: str, variant: str, index: str, lone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup.sys, "platform", system)
    assert setup._build_index(variant) == (index, lone)


def test_sizes_are_told_before() -> None:
    if setup.find_uv() is None and setup.find_python() is None:
        pytest.skip("neither uv nor a Python for environments")
    plain, cpu, cuda = (setup.plan("/nowhere/env", variant=v) for v in ("plain", "cpu", "cuda"))
    assert plain.download_mb < 300 and plain.disk_mb == setup.disk_mb("plain") < cpu.disk_mb
    assert [step.name for step in plain.steps] == ["environment", "libraries", "toolkit"]
    assert 300 < cpu.download_mb < 1000 < cuda.download_mb
    assert cpu.disk_mb < cuda.disk_mb
    assert not os.path.exists("/nowhere")  # noqa: PTH110


def test_a_python_inside_qgis_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not setup._inside_qgis("/usr/bin/python3")
    monkeypatch.setattr(setup.sys, "platform", "darwin")
    assert setup._inside_qgis("/Applications/QGIS.app/Contents/MacOS/bin/python3")
    monkeypatch.setattr(setup.sys, "prefix", "/opt/bundle")
    assert setup._inside_qgis("/opt/bundle/bin/python3")
    assert not setup._inside_qgis("/opt/homebrew/bin/python3")
