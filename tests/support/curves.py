"""Runs of training as installed: the command, generated copies of public datasets, and the curves that runs write."""

from __future__ import annotations

import csv
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from codemae_cli.app import app
from typer.testing import CliRunner

from codemae_geo.weights.package import load_package

DATA = Path(__file__).parents[1] / "data"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
CODEMAE = [str(Path(sys.executable).with_name("codemae"))]


def invoke(*args: object) -> Any:
    """The command in this process; what it raises is raised here."""
    result = CliRunner().invoke(app, list(map(str, args)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def installed(*args: object) -> subprocess.CompletedProcess[str]:
    """The command as a shell starts it; it must end well."""
    done = subprocess.run([*CODEMAE, *map(str, args)], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def curve(folder: Path, name: str = "log.csv") -> list[dict[str, float]]:
    """Rows of a run's log, without its speed."""
    with (folder / name).open() as file:
        return [{k: float(v) for k, v in row.items() if k != "images_per_s"} for row in csv.DictReader(file)]


def killed_and_resumed(command: list[str], whole: Path, folder: Path) -> None:
    """Ends a run in mid-epoch, and takes it up again: the same curve, validations and weights."""
    process = subprocess.Popen([*CODEMAE, *command, "-o", str(folder), "-q"], env=ENVIRONMENT)
    for _ in range(12000):
        if (folder / "checkpoint.pt").exists() or process.poll() is not None:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "checkpoint.pt").exists() and not (folder / "model.safetensors").exists()
    installed(*command, "-o", folder, "-q", "--resume")
    assert curve(folder) == curve(whole)
    assert (folder / "validation.csv").exists() == (whole / "validation.csv").exists()
    if (whole / "validation.csv").exists():
        assert curve(folder, "validation.csv") == curve(whole, "validation.csv")
    one, other = (load_package(f / "model.safetensors").contract.tensors_sha256 for f in (folder, whole))
    assert one == other


def generated(dataset: str, root: Path) -> Path:
    """The generated copy of a public dataset."""
    spec = importlib.util.spec_from_file_location(f"{dataset}_make", DATA / dataset / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make(root)
    return root
