#!/usr/bin/env python3
"""Run the tests in suite/ inside QGIS's own Python.

    python tests/qgis/run_suite.py [pytest arguments]

Makes `.venv-qgis` in the project on first use: the system's interpreter (the one that has PyQGIS) with its packages,
and pytest-qgis. CODEMAE_GEO_PYTHON names the runtime with the toolkit; the interpreter that runs this file by default.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITE = Path(__file__).with_name("suite")
SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = ("pytest>=8", "pytest-qgis>=5", "pytest-qt>=4.4")


def environment() -> Path:
    """The interpreter of the environment, made if it is not there."""
    python = ROOT / ".venv-qgis" / "bin" / "python"
    if (
        subprocess.run([python, "-c", "import pytest_qgis"], capture_output=True, check=False).returncode
        if (python.exists())
        else True
    ):
        uv = os.environ.get("UV") or "uv"  # `uv run` names itself
        folder = str(python.parents[1])
        subprocess.run(
            [uv, "venv", "-q", "--clear", "--system-site-packages", "--python", SYSTEM_PYTHON, folder], check=True
        )
        subprocess.run([uv, "pip", "install", "-q", "--python", str(python), *PACKAGES], check=True)
    return python


def _fails(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode != 0


def main() -> int:
    """Run pytest there and return its status."""
    foreign = ("PYTHON", "PYTEST_", "VIRTUAL_ENV", "GDAL_", "PROJ_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    env.setdefault("CODEMAE_GEO_PYTHON", sys.executable)
    env["QT_QPA_PLATFORM"] = "offscreen"
    env["LC_ALL"] = "C.UTF-8"
    with tempfile.TemporaryDirectory(prefix="codemae-qgis-") as runtime:
        Path(runtime).chmod(0o700)
        env["XDG_RUNTIME_DIR"] = runtime
        command = [
            environment(),
            "-m",
            "pytest",
            "-c",
            SUITE / "pytest.ini",
            "--confcutdir",
            SUITE,
            "--rootdir",  # pytest-qgis keeps the settings there: none in the sources, and every run its own
            runtime,
            *sys.argv[1:],
            SUITE,
        ]
        return subprocess.run(command, env=env, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
