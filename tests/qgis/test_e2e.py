"""The plugin in a real QGIS window, by clicks, with the real engine (CODEMAE_GEO_PYTHON, by default this Python).

Screenshots stay in the folder named by CODEMAE_E2E_OUT, else in pytest's temporary folder. Skips where there is no QGIS
or no Xvfb; with CODEMAE_REQUIRE_QGIS=1 it fails there instead.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.qgis import desktop_environment

SCENARIO = Path(__file__).with_name("e2e") / "scenario.py"
PICTURES = [
    "01-panel",
    "02-sample-pair",
    "03-same-layer",
    "04-before",
    "05-model-card",
    "06-running",
    "07-result",
    "08-queue",
    "09-rectangle",
    "10-set-up",
    "11-set-up-existing",
    "12-dark-narrow",
]
#: a profile without questions: the plugin is on, nothing is asked at start or at the end
PROFILE = """[PythonPlugins]
codemae_qgis=true
[qgis]
checkVersion=false
showTips=false
askToSaveProjectChanges=false
[app]
ask_to_save_project_changes=false
projections\\unknownCrsBehavior=NoAction
[locale]
overrideFlag=true
userLocale=en_US
"""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _ended(pids: list[int], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while any(_alive(p) for p in pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(_alive(p) for p in pids)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, root: Path) -> dict[str, Any]:
    """The report of the scenario, after QGIS was killed in mid-run."""
    if not shutil.which("qgis") or not shutil.which("xvfb-run"):
        if os.environ.get("CODEMAE_REQUIRE_QGIS"):
            pytest.fail("qgis or xvfb-run is missing: apt-get install qgis python3-qgis xvfb xauth")
        pytest.skip("needs qgis and xvfb-run")
    work = tmp_path_factory.mktemp("e2e")
    out = Path(os.environ.get("CODEMAE_E2E_OUT") or work / "out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    ini = work / "profiles" / "profiles" / "default" / "QGIS" / "QGIS3.ini"
    ini.parent.mkdir(parents=True)
    ini.write_text(PROFILE)
    (work / "run").mkdir(mode=0o700)
    env = desktop_environment()
    env |= {
        "XDG_RUNTIME_DIR": str(work / "run"),
        "QGIS_PLUGINPATH": str(root / "qgis_plugin"),
        "CODEMAE_GEO_PYTHON": os.environ.get("CODEMAE_GEO_PYTHON") or sys.executable,
        "CODEMAE_E2E_OUT": str(out),
    }
    command = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24", "qgis", "--nologo"]
    command += ["--profiles-path", str(work / "profiles"), "--code", str(SCENARIO)]
    with (out / "qgis.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + 400
            while not (out / "report.json").exists() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
            if not (out / "report.json").exists():
                pytest.fail("QGIS ended or hung without a report:\n" + (out / "qgis.log").read_text()[-3000:])
            report = json.loads((out / "report.json").read_text())
            if report["ok"]:
                os.kill(report["pid"], signal.SIGKILL)
                report["engines_ended"] = _ended(report["engines"], 10)
                report["left"] = sorted({p.name for p in (out / "maps").iterdir()} - set(report["maps"]))
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # QGIS, the shell around it and its screen
            process.wait(20)
    report["out"] = out
    return report


def test_an_analyst_maps_damage_by_clicks(played: dict[str, Any]) -> None:
    assert played["ok"], f"{played['steps'][-1]['name']}: {played.get('error')}\n{played.get('trace')}"


def test_no_engine_outlives_a_killed_qgis(played: dict[str, Any]) -> None:
    assert played["engines"] and played["engines_ended"]


def test_nothing_stays_of_the_run_that_was_killed_with_qgis(played: dict[str, Any]) -> None:
    assert played["maps"] and played["left"] == []


def test_screenshots_are_kept(played: dict[str, Any]) -> None:
    pictures = {p.stem: p.stat().st_size for p in played["out"].glob("*.png")}
    assert set(PICTURES) <= set(pictures)
    assert min(pictures.values()) > 5000
