"""Runs of training as installed: the command, generated copies of public datasets, and the curves that runs write."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from codemae_cli.app import app
from typer.testing import CliRunner

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


def generated(dataset: str, root: Path) -> Path:
    """The generated copy of a public dataset."""
    spec = importlib.util.spec_from_file_location(f"{dataset}_make", DATA / dataset / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make(root)
    return root
