"""Runs the tests of suite/ in QGIS's own Python; they are a program of their own, see run_suite.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_suite_inside_qgis() -> None:
    probe = subprocess.run(["/usr/bin/python3", "-I", "-c", "import qgis.core"], capture_output=True, text=True)
    if probe.returncode != 0:
        if os.environ.get("CODEMAE_REQUIRE_QGIS") == "1":
            pytest.fail(f"QGIS is required and cannot be used: {probe.stderr}")
        pytest.skip("QGIS cannot be used")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("run_suite.py")], capture_output=True, text=True, timeout=600
    )
    print(done.stdout[-6000:], done.stderr[-2000:])
    assert done.returncode == 0
