from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from qgis.core import QgsApplication, QgsProject, QgsRasterLayer, QgsSettings

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "qgis_plugin"))
SAMPLE = ROOT / "codemae_geo" / "data" / "joplin"
REPLAY = Path(__file__).with_name("replay.py")


@pytest.fixture(scope="session")
def toolkit() -> str:
    """The Python with the real toolkit."""
    return os.environ["CODEMAE_GEO_PYTHON"]


@pytest.fixture(scope="session")
def recorded(toolkit: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the real toolkit on a part of the sample pair: the folder of its outputs, result.json beside it."""
    folder = tmp_path_factory.mktemp("recorded")
    command = [toolkit, "-I", "-m", "codemae_cli", "damage", "--pre", SAMPLE / "pre.tif", "--post", SAMPLE / "post.tif"]
    command += ["--footprints", SAMPLE / "buildings.gpkg", "--device", "cpu", "--json", "--progress", "none"]
    command += ["--bounds", "367400", "4103800", "367640", "4104040", "-o", folder / "outputs"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PROJ_", "GDAL_"))}
    done = subprocess.run([str(c) for c in command], env=clean, capture_output=True, text=True, check=True)
    data = json.loads(done.stdout.strip().splitlines()[-1])
    data["outputs"] = {kind: Path(path).name for kind, path in data["outputs"].items()}
    (folder / "result.json").write_text(json.dumps(data))
    return folder


@pytest.fixture
def replay(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The engine that replays the recorded run, used by the plugin; paths have spaces and are not ASCII."""
    folder = tmp_path / "Kontrolle für Zoë"
    folder.mkdir()
    shutil.copytree(recorded / "outputs", folder / "outputs")
    shutil.copy(recorded / "result.json", folder)
    script = folder / "codemae"
    script.write_text(f'#!/bin/sh\nexec /usr/bin/python3 -I "{REPLAY}" "{folder}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CODEMAE_GEO_PYTHON", str(script))

    def arguments() -> dict:
        return json.loads((folder / "request.json").read_text())["arguments"]

    summary = json.loads((recorded / "result.json").read_text())["summary"]
    return SimpleNamespace(folder=folder, outputs=folder / "outputs", arguments=arguments, summary=summary)


@pytest.fixture(scope="session")
def provider(qgis_processing: None) -> object:
    """The plugin's provider in the registry."""
    from codemae_qgis.provider import CodemaeProvider

    made = CodemaeProvider()
    assert QgsApplication.processingRegistry().addProvider(made)
    return made


@pytest.fixture(autouse=True)
def clean(provider: object, qgis_new_project: None) -> None:
    """An empty project, no setting of ours."""
    QgsSettings().remove("codemae_geo/runtime_python")


@pytest.fixture
def pair(tmp_path: Path) -> SimpleNamespace:
    """The sample pair as layers of the project; a copy of the footprints, because QGIS writes into what it opens."""
    found = {}
    for name in ("pre", "post"):
        layer = QgsRasterLayer(str(SAMPLE / f"{name}.tif"), name, "gdal")
        assert layer.isValid()
        found[name] = QgsProject.instance().addMapLayer(layer)
    return SimpleNamespace(**found, footprints=shutil.copy(SAMPLE / "buildings.gpkg", str(tmp_path)))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for outputs whose name has a space and an umlaut."""
    folder = tmp_path / "Karten für Zoë"
    folder.mkdir()
    return folder


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def wait_for(condition, seconds: float = 10.0) -> None:
    """Let Qt work until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        QgsApplication.processEvents()
        time.sleep(0.01)
