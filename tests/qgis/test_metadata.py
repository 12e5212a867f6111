"""QGIS reads which model, inputs and date made a raster."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.raster.write import RasterWriter

SYSTEM_PYTHON = "/usr/bin/python3"
READ = """
import json, os, sys
from qgis.core import QgsApplication, QgsRasterLayer
app = QgsApplication([], False)
app.initQgis()
layer = QgsRasterLayer(sys.argv[1], "layer")
layer.loadDefaultMetadata()
found = layer.metadata()
print(json.dumps([found.title(), found.abstract(), found.history(), layer.crs().authid()]))
sys.stdout.flush()
os._exit(0)
"""


def test_layer_metadata(tmp_path: Path) -> None:
    if (
        not Path(SYSTEM_PYTHON).exists()
        or subprocess.run([SYSTEM_PYTHON, "-c", "import qgis.core"], capture_output=True).returncode
    ):
        if os.environ.get("CODEMAE_REQUIRE_QGIS") == "1":
            pytest.fail("QGIS is required and cannot be used")
        pytest.skip("the system's Python has no PyQGIS")
    grid = GeoBox((20, 30), Affine(0.6, 0, 365000, 0, -0.6, 4100000), "EPSG:26915")
    inputs = {"pre": [{"file": "before ü.tif", "bytes": 3}], "post": [{"file": "after.tif"}]}
    tags = {
        "SOFTWARE": "codemae-geo 1", "MODEL": "damage-tiny-optical 1", "MODEL_SHA256": "ab" * 32,
        "INPUTS": json.dumps(inputs), "DATE": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    with RasterWriter.classes(tmp_path / "damage.tif", grid, DAMAGE_CLASSES, "damage", tags=tags) as writer:
        writer.write_rows(0, np.zeros(grid.shape, np.uint8))
    keep = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "LC_ALL"}}
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", READ, str(tmp_path / "damage.tif")], capture_output=True, text=True, timeout=60,
        env=keep | {"QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    title, abstract, history, crs = json.loads(done.stdout.splitlines()[-1])
    assert (title, crs) == ("damage", "EPSG:26915")
    for word in ("codemae-geo 1", "damage-tiny-optical 1", "2026-01-02", "before ü.tif", "after.tif"):
        assert word in abstract
    assert f"MODEL_SHA256: {'ab' * 32}" in history
