"""What is refused before anything runs, each in one plain sentence with the next step."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from codemae_qgis.algorithms import checks
from codemae_qgis.engine import runtime
from conftest import SAMPLE
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsProcessingContext,
    QgsProcessingFeatureSourceDefinition,
    QgsProject,
    QgsRasterLayer,
    QgsSettings,
)


def check(parameters: dict, name: str = "damagemap") -> str:
    """The message of checkParameterValues; empty if it is content."""
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    algorithm = QgsApplication.processingRegistry().algorithmById(f"codemae:{name}").create()
    good, message = algorithm.checkParameterValues(parameters, context)
    assert good == (not message)
    assert message.count("\n") == 0
    return message


@pytest.fixture(autouse=True)
def engine(replay: SimpleNamespace) -> SimpleNamespace:
    return replay


@pytest.fixture
def good(pair: SimpleNamespace, out: Path) -> dict:
    return {"PRE": pair.pre, "POST": pair.post, "CLASSES": str(out / "c.tif")}


def added(path: Path, name: str = "layer") -> QgsRasterLayer:
    return QgsProject.instance().addMapLayer(QgsRasterLayer(str(path), name, "gdal"))


def shifted(folder: Path) -> Path:
    """The scene after, a hundred kilometres further east."""
    target = folder / "elsewhere.tif"
    source = gdal.Open(str(SAMPLE / "post.tif"))
    left, dx, a, top, b, dy = source.GetGeoTransform()
    made = gdal.GetDriverByName("GTiff").CreateCopy(str(target), source)
    made.SetGeoTransform((left + 1, dx, a, top, b, dy))
    made = None
    return target


def test_good_parameters(good: dict) -> None:
    assert check(good) == ""
    assert check({**good, "CLASSES": "TEMPORARY_OUTPUT", "REPORT": "TEMPORARY_OUTPUT"}) == ""


def test_same_layer_twice(good: dict, pair: SimpleNamespace, tmp_path: Path) -> None:
    assert "are the same file (pre.tif); choose" in check({**good, "POST": pair.pre})
    link = tmp_path / "other name.tif"
    link.symlink_to(SAMPLE / "pre.tif")
    assert "are the same file" in check({**good, "POST": str(link)})
    assert "are the same file" in check({**good, "POST_MORE": [pair.pre]})


def test_no_overlap(good: dict, tmp_path: Path) -> None:
    message = check({**good, "POST": str(shifted(tmp_path))})
    assert message.startswith("Before and after do not overlap; check with “Zoom to layer”")
    assert check({**good, "POST": str(shifted(tmp_path))}, "checkpair") == ""  # there it is the answer


@pytest.mark.parametrize(
    "source",
    [
        "type=xyz&url=http://127.0.0.1:9/{z}/{x}/{y}.png&zmin=0&zmax=1",
        "crs=EPSG:4326&format=image/png&layers=a&styles&url=http://127.0.0.1:9/wms",
    ],
)
def test_layers_from_a_server(good: dict, source: str) -> None:
    layer = QgsRasterLayer(source, "Satellite imagery", "wms")
    QgsProject.instance().addMapLayer(layer)
    message = check({**good, "PRE": layer})
    assert message.startswith("Before: “Satellite imagery” comes from a server")
    assert "Export > Save As, raw data, GeoTIFF" in message


def test_layer_whose_file_has_moved(good: dict, tmp_path: Path) -> None:
    copy = Path(shutil.copy(SAMPLE / "post.tif", tmp_path / "after.tif"))
    layer = added(copy, "after")
    copy.rename(tmp_path / "moved.tif")
    message = check({**good, "POST": layer})
    assert message.startswith(f"After: the file of “after” is no longer at {copy}; repair")


def test_file_that_is_not_there(good: dict, pair: SimpleNamespace, tmp_path: Path) -> None:
    words = "/nowhere/x.tif is not there or cannot be opened; choose the file again."
    assert check({**good, "POST": "/nowhere/x.tif"}) == f"After: {words}"
    assert check({**good, "FOOTPRINTS": "/nowhere/x.tif"}) == f"Building footprints: {words}"
    selected = QgsProcessingFeatureSourceDefinition("/nowhere/x.tif", True)
    assert check({**good, "FOOTPRINTS": selected}) == f"Building footprints: {words}"
    assert check({"INPUT": "/nowhere/x.tif", "MODEL": "m"}, "segment") == f"Scene: {words}"
    assert "cannot be opened; choose" in check({**good, "FOOTPRINTS": pair.pre.source()})  # a raster
    gone = added(tmp_path / "gone.tif")  # as of a project that was opened after its file had moved
    assert check({**good, "POST": gone.id()}).startswith(f"After: {gone.source()} is not there")
    message = check({**good, "POST_MORE": ["/nowhere/x.tif"]})
    assert message.startswith("After: further tiles: /nowhere/x.tif is not there")


def test_layer_without_crs(good: dict, tmp_path: Path) -> None:
    bare = tmp_path / "bare.tif"
    gdal.Translate(str(bare), str(SAMPLE / "pre.tif"))
    data = gdal.Open(str(bare), gdal.GA_Update)
    data.SetProjection("")
    data = None
    layer = added(bare, "bare")
    assert not layer.crs().isValid()
    assert "has no coordinate reference system; set it" in check({**good, "PRE": layer})


def test_near_buildings_needs_buildings(good: dict, pair: SimpleNamespace) -> None:
    assert "choose the layer with their footprints" in check({**good, "NEAR_BUILDINGS": True})
    assert check({**good, "NEAR_BUILDINGS": True, "FOOTPRINTS": pair.footprints}) == ""


def test_outputs_that_cannot_be_written(good: dict, out: Path) -> None:
    (out / "file").touch()
    assert "does not exist; create it" in check({**good, "POLYGONS": str(out / "gone" / "p.gpkg")})
    assert "is a file, not a folder" in check({**good, "POLYGONS": str(out / "file" / "p.gpkg")})
    assert "ends in .tif" in check({**good, "CLASSES": str(out / "c.img")})
    same = str(out / "x.gpkg")
    assert "Two outputs have the same file" in check({**good, "POLYGONS": same, "BUILDINGS": same})


def test_single_layers_of_the_other_algorithms(tmp_path: Path, pair: SimpleNamespace) -> None:
    gone = Path(shutil.copy(SAMPLE / "post.tif", tmp_path / "gone.tif"))
    layer = added(gone, "gone")
    gone.unlink()
    assert check({"INPUT": layer, "MODEL": "m"}, "segment").startswith("Scene: the file of “gone”")
    assert check({"RASTER": layer, "FOOTPRINTS": pair.footprints}, "buildings").startswith("Damage classes: the file")
    assert check({"PRE": pair.pre, "POST": layer}, "checkpair").startswith("After: the file")


def test_no_runtime(good: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CODEMAE_GEO_PYTHON")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(runtime, "managed_folder", lambda: tmp_path / "none")
    assert check(good).startswith("There is no codemae-geo runtime yet. Open Raster > CoDe-MAE > Set up runtime")
    QgsSettings().setValue("codemae_geo/runtime_python", str(tmp_path / "gone" / "python"))
    assert "names a codemae-geo runtime that is not there" in check(good)
    assert checks.runtime_problem() == check(good)


def test_dock_and_algorithm_say_the_same(good: dict, pair: SimpleNamespace) -> None:
    assert checks.pair_problem(pair.pre, pair.pre) == check({**good, "POST": pair.pre})
    assert checks.pair_problem(pair.pre, pair.post) == ""
    assert "choose a raster layer" in checks.pair_problem(None, pair.post)


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("/vsicurl/https://x/a.tif", ""),
        ("https://x/a.tif", ""),
        ("NETCDF:/a/b.nc:v", ""),
        ("<VRTDataset/>", ""),
        ("/a/b.tif", "/a/b.tif"),
        ("C:/a/b.tif", "C:/a/b.tif"),
    ],
)
def test_only_local_files_are_looked_for(source: str, file: str) -> None:
    assert checks.file_of(source) == file
