"""Our outputs open styled in QGIS, with no plugin: checked by QGIS itself.

Skips where the system's Python has no PyQGIS; with CODEMAE_REQUIRE_QGIS=1 it fails there instead.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from codemae_geo.classes import DAMAGE_CLASSES, NODATA
from codemae_geo.raster.write import RasterWriter, encode_probability
from codemae_geo.styles import CONFIDENCE_RAMP
from codemae_geo.vector.buildings import aggregate_buildings
from codemae_geo.vector.geopackage import GeoPackageWriter
from codemae_geo.vector.polygons import polygonize

SYSTEM_PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).with_name("render.py")
GRID = GeoBox((600, 600), Affine(0.6, 0, 365000, 0, -0.6, 4100000), "EPSG:26915")
#: class of each quarter: background, intact / damaged, destroyed
QUARTERS = np.kron(np.array([[0, 1], [2, 3]], np.uint8), np.ones((300, 300), np.uint8))
CENTRES = {0: (150, 150), 1: (450, 150), 2: (150, 450), 3: (450, 450)}


def _run(*arguments: str | Path, timeout: int = 120) -> subprocess.CompletedProcess[str]:
    # QGIS has its own PROJ and GDAL: nothing of this environment's may reach it
    keep = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR"}}
    return subprocess.run(
        [SYSTEM_PYTHON, *map(str, arguments)],
        env=keep | {"QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture(scope="module")
def qgis() -> None:
    """PyQGIS in the system's interpreter, or a visible skip."""
    why = f"{SYSTEM_PYTHON} is missing"
    if Path(SYSTEM_PYTHON).exists():
        probe = _run("-c", "import qgis.core")
        if probe.returncode == 0:
            return
        why = probe.stderr.strip().splitlines()[-1]
    if os.environ.get("CODEMAE_REQUIRE_QGIS") == "1":
        pytest.fail(f"QGIS is required and cannot be used: {why}")
    pytest.skip(f"QGIS cannot be used: {why}")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """damage.tif (with damage.qml), confidence.tif and damage.gpkg of four quarters, the first 20 rows not analysed."""
    folder = tmp_path_factory.mktemp("outputs")
    values = QUARTERS.copy()
    values[:20] = NODATA
    with RasterWriter.classes(folder / "damage.tif", GRID, DAMAGE_CLASSES) as writer:
        writer.write_rows(0, values)
    with RasterWriter.probability(folder / "confidence.tif", GRID) as writer:
        writer.write_rows(0, encode_probability(np.full(values.shape, 0.75), values != NODATA))
    boxes = [
        shapely.box(
            365000 + 0.6 * (c - 40), 4100000 - 0.6 * (r + 40), 365000 + 0.6 * (c + 40), 4100000 - 0.6 * (r - 40)
        )
        for c, r in CENTRES.values()
    ]
    footprints = gpd.GeoDataFrame(geometry=[*boxes, shapely.box(365010, 4099995, 365040, 4099999)], crs=26915)
    with GeoPackageWriter(folder / "damage.gpkg") as writer:
        aggregate_buildings(footprints, folder / "damage.tif", folder / "confidence.tif", DAMAGE_CLASSES, out=writer)
        polygonize(folder / "damage.tif", writer, DAMAGE_CLASSES)
    return folder


def _render(outputs: Path, name: str, *arguments: str | Path) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    png = outputs / name
    done = _run(SCRIPT, *arguments, "-o", png, "--size", "600")
    assert done.returncode == 0, done.stderr
    with rasterio.open(png) as image:
        return json.loads(done.stdout), image.read()  # [4, 600, 600]


def _rgb(color: str) -> NDArray[np.float64]:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], float)


def _over_white(color: str, opacity: float) -> NDArray[np.float64]:
    return _rgb(color) * opacity + 255 * (1 - opacity)


@pytest.mark.usefixtures("qgis")
def test_class_raster_opens_with_its_classes(outputs: Path) -> None:
    report, image = _render(outputs, "class.png", "--raster", outputs / "damage.tif")
    assert report["damage.tif"]["renderer"] == "paletted"
    assert report["damage.tif"]["categories"] == {
        str(c.value): {"label": c.name.capitalize(), "color": c.color} for c in DAMAGE_CLASSES.foreground
    }
    for info in DAMAGE_CLASSES.foreground:
        col, row = CENTRES[info.value]
        np.testing.assert_allclose(image[:3, row, col], _over_white(info.color, 0.8), atol=2)
    for col, row in (CENTRES[0], (450, 8)):  # background and nodata are transparent
        np.testing.assert_array_equal(image[:3, row, col], 255)


@pytest.mark.usefixtures("qgis")
def test_class_raster_without_its_qml_has_named_classes_and_colours(outputs: Path, tmp_path: Path) -> None:
    for name in ("damage.tif", "damage.tif.aux.xml"):
        (tmp_path / name).write_bytes((outputs / name).read_bytes())
    report, image = _render(outputs, "noqml.png", "--raster", tmp_path / "damage.tif")
    categories = report["damage.tif"]["categories"]
    assert [categories[str(c.value)]["label"] for c in DAMAGE_CLASSES] == DAMAGE_CLASSES.names
    col, row = CENTRES[3]
    np.testing.assert_allclose(image[:3, row, col], _rgb(DAMAGE_CLASSES[3].color), atol=2)


@pytest.mark.usefixtures("qgis")
def test_confidence_raster_opens_in_zero_to_one(outputs: Path) -> None:
    report, image = _render(outputs, "confidence.png", "--raster", outputs / "confidence.tif")
    assert report["confidence.tif"]["renderer"] == "singlebandpseudocolor"
    assert list(report["confidence.tif"]["categories"]) == [f"{v:g}" for v, _ in CONFIDENCE_RAMP]
    # 188/250 = 0.752: the ramp's colour at 0.75, so QGIS applied the band's scale
    np.testing.assert_allclose(image[:3, 300, 300], _over_white(dict(CONFIDENCE_RAMP)[0.75], 0.8), atol=4)


@pytest.mark.usefixtures("qgis")
def test_geopackage_opens_categorised(outputs: Path) -> None:
    report, image = _render(outputs, "damage.png", "--vector", outputs / "damage.gpkg", "--extent-of", "vector")
    assert {name: layer["features"] for name, layer in report.items()} == {"buildings": 5, "polygons": 3}
    for layer in report.values():
        assert layer["field"] == "class"
        for info in DAMAGE_CLASSES.foreground:
            shown = {"label": info.name.capitalize(), "color": info.color, "opacity": 0.8}
            assert layer["categories"][str(info.value)] == shown
    assert report["buildings"]["categories"][""]["label"] == "Not analysed"
    assert image[:3].std() > 20


@pytest.mark.usefixtures("qgis")
def test_unstyled_layer_is_noticed(outputs: Path, tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs=4326).to_file(tmp_path / "plain.gpkg")
    done = _run(SCRIPT, "--vector", tmp_path / "plain.gpkg", "--extent-of", "vector", "-o", tmp_path / "x.png")
    assert done.returncode == 1
    assert "not categorised" in done.stderr
