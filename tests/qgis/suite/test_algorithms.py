from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import processing
import pytest
from codemae_qgis import vectors
from codemae_qgis.engine.errors import EngineError
from conftest import ROOT
from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsFeature,
    QgsFeatureRequest,
    QgsGeometry,
    QgsLayerMetadata,
    QgsPointXY,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsReferencedRectangle,
    QgsVectorLayer,
)

RASTER_NAMES = ("damage.tif", "damage.tif.aux.xml", "damage.qml")


def algorithm(name: str) -> QgsProcessingAlgorithm:
    return QgsApplication.processingRegistry().algorithmById(f"codemae:{name}")


class Listener(QgsProcessingFeedback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(False)
        self.infos: list[str] = []
        self.headings: list[str] = []
        self.warnings: list[str] = []
        self.values: list[float] = []
        self.progressChanged.connect(self.values.append)

    def pushInfo(self, info: str) -> None:
        self.infos.append(info)

    def pushWarning(self, warning: str) -> None:
        self.warnings.append(warning)

    def setProgressText(self, text: str) -> None:
        self.headings.append(text)


def test_algorithms_and_parameters_are_those_of_the_developers_page() -> None:
    text = (ROOT / "qgis_plugin" / "README.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `codemae:(\w+)` \| (.*)$", text, re.M))
    algorithms = QgsApplication.processingRegistry().providerById("codemae").algorithms()
    assert {a.name() for a in algorithms} == set(table)
    for found in algorithms:
        words = set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", re.sub(r"\{([A-Z_,]+)\}", "", table[found.name()])))
        names = {d.name() for d in found.parameterDefinitions()} | {o.name() for o in found.outputDefinitions()}
        families = {n for n in names if re.match(r"(AREA|BUILDINGS)_", n)}
        assert names - families <= words, found.name()
        assert {w for w in words if "__" not in w and not w.endswith("_")} - {"AOI", "JSON"} <= names | {"AOI"}, (
            found.name()
        )


@pytest.mark.parametrize("name", ["damagemap", "segment", "detect", "embed", "buildings", "checkpair"])
def test_algorithms_describe_themselves(name: str) -> None:
    found = algorithm(name)
    assert found.displayName() and found.shortDescription() and found.shortHelpString() and found.tags()
    assert found.helpUrl().startswith("https://")
    assert not found.icon().isNull()
    assert found.flags() & QgsProcessingAlgorithm.Flag.FlagCanCancel
    assert not found.flags() & QgsProcessingAlgorithm.Flag.FlagNoThreading
    assert type(found.create()) is not None


# a whole run


def test_run_delivers_the_engines_files_and_numbers(pair: SimpleNamespace, replay: SimpleNamespace, out: Path) -> None:
    listener = Listener()
    results = processing.run(
        "codemae:damagemap",
        {
            "PRE": pair.pre,
            "POST": pair.post,
            "FOOTPRINTS": pair.footprints,
            "DEVICE": "cpu",
            "CLASSES": str(out / "classes map.tif"),
            "CONFIDENCE": str(out / "confidence.tif"),
            "POLYGONS": str(out / "polygons.gpkg"),
            "BUILDINGS": str(out / "buildings.geojson"),
            "REPORT": str(out / "report.html"),
        },
        feedback=listener,
    )
    # rasters byte for byte, with their side-cars
    for source, target in zip(
        RASTER_NAMES, ("classes map.tif", "classes map.tif.aux.xml", "classes map.qml"), strict=True
    ):
        assert (out / target).read_bytes() == (replay.outputs / source).read_bytes()
    assert (out / "confidence.tif").read_bytes() == (replay.outputs / "confidence.tif").read_bytes()
    assert QgsRasterLayer(results["CLASSES"], "c").renderer().type() == "paletted"
    # vectors with the same features and the same style, whatever the format
    for name, layer in (("POLYGONS", "polygons"), ("BUILDINGS", "buildings")):
        made = QgsVectorLayer(results[name], name)
        source = QgsVectorLayer(f"{replay.outputs / 'damage.gpkg'}|layername={layer}", layer)
        assert made.featureCount() == source.featureCount() > 0
        assert made.crs() == source.crs()
        assert made.renderer().type() == "categorizedSymbol"
        assert [(str(c.value()), c.label(), c.symbol().color().name()) for c in made.renderer().categories()] == [
            (str(c.value()), c.label(), c.symbol().color().name()) for c in source.renderer().categories()
        ]
        wanted = {f.name() for f in source.fields()} - {"fid"}
        assert wanted <= {f.name() for f in made.fields()}
        first = next(made.getFeatures(QgsFeatureRequest().setLimit(1)))
        twin = next(source.getFeatures(QgsFeatureRequest().setLimit(1)))
        assert [first[n] for n in sorted(wanted)] == [twin[n] for n in sorted(wanted)]
    # numbers
    summary = replay.summary
    assert json.loads(results["SUMMARY"]) == summary
    for c in summary["classes"]:
        assert results[f"AREA_{c['name'].upper()}_M2"] == c["area_m2"]
        assert results[f"BUILDINGS_{c['name'].upper()}"] == summary["buildings"]["classes"][c["name"]]
    assert results["BUILDINGS_TOTAL"] == summary["buildings"]["n"]
    assert results["POLYGON_COUNT"] == summary["polygons"]["count"]
    assert results["MODEL_NAME"] == "damage-tiny-optical"
    report = (out / "report.html").read_text(encoding="utf-8")
    assert all(
        w in report
        for w in (
            "Destroyed",
            "damage-tiny-optical",
            "the pixels are large",
            summary["model"]["limits"][:40],
            "pre.tif",
        )
    )
    # and nothing else
    assert sorted(p.name for p in out.iterdir() if p.suffix != ".qmd") == [
        "buildings.geojson",
        "buildings.qml",
        "classes map.qml",
        "classes map.tif",
        "classes map.tif.aux.xml",
        "confidence.qml",
        "confidence.tif",
        "polygons.gpkg",
        "report.html",
    ]
    # what was told
    assert "device: replayed" in listener.infos
    assert listener.headings == ["Looking at the images"]
    assert listener.warnings == ["the pixels are large"]
    assert listener.values == sorted(listener.values)


def test_outputs_that_are_not_asked_for_are_not_made(pair: SimpleNamespace, replay: SimpleNamespace, out: Path) -> None:
    results = processing.run("codemae:damagemap", {"PRE": pair.pre, "POST": pair.post, "POLYGONS": str(out / "p.gpkg")})
    assert [p.name for p in out.iterdir()] == ["p.gpkg"]
    assert "CLASSES" not in results
    assert "BUILDINGS" not in results


def test_temporary_outputs(pair: SimpleNamespace, replay: SimpleNamespace) -> None:
    parameters = {"PRE": pair.pre, "POST": pair.post, "CLASSES": "TEMPORARY_OUTPUT", "POLYGONS": "TEMPORARY_OUTPUT"}
    results = processing.run("codemae:damagemap", parameters)
    assert results["CLASSES"].endswith(".tif")
    assert results["POLYGONS"].endswith(".gpkg")
    assert Path(results["CLASSES"]).read_bytes() == (replay.outputs / "damage.tif").read_bytes()


def test_former_outputs_are_replaced_whole(pair: SimpleNamespace, replay: SimpleNamespace, out: Path) -> None:
    (out / "c.tif").write_text("old")
    (out / "c.tif.ovr").write_text("old")
    parameters = {"PRE": pair.pre, "POST": pair.post, "CLASSES": str(out / "c.tif")}
    processing.run("codemae:damagemap", parameters)
    processing.run("codemae:damagemap", parameters)
    assert (out / "c.tif").read_bytes() == (replay.outputs / "damage.tif").read_bytes()
    assert not (out / "c.tif.ovr").exists()


def test_buildings_on_an_existing_raster(replay: SimpleNamespace, pair: SimpleNamespace, out: Path) -> None:
    raster = str(replay.outputs / "damage.tif")
    confidence = str(replay.outputs / "confidence.tif")
    results = processing.run(
        "codemae:buildings",
        {
            "RASTER": raster,
            "CONFIDENCE_RASTER": confidence,
            "FOOTPRINTS": pair.footprints,
            "BUILDINGS": str(out / "b.gpkg"),
        },
    )
    arguments = replay.arguments()
    assert (arguments["raster"], arguments["confidence"]) == (raster, confidence)
    assert results["BUILDINGS_TOTAL"] == QgsVectorLayer(results["BUILDINGS"], "b").featureCount()


# parameters to arguments


def run(pair: SimpleNamespace, out: Path, **parameters: object) -> dict:
    return processing.run(
        "codemae:damagemap", {"PRE": pair.pre, "POST": pair.post, "CLASSES": str(out / "c.tif"), **parameters}
    )


def test_defaults_are_left_to_the_engine(pair: SimpleNamespace, replay: SimpleNamespace, out: Path) -> None:
    run(pair, out)
    arguments = replay.arguments()
    assert not Path(arguments.pop("output")).exists()  # the engine's folder is gone
    assert arguments == {"pre": [pair.pre.source()], "post": [pair.post.source()], "device": "auto"}


def test_choices_reach_the_engine(pair: SimpleNamespace, replay: SimpleNamespace, out: Path) -> None:
    run(
        pair,
        out,
        POST_SENSOR="optical",
        MODEL=" my model ",
        TTA=True,
        FOOTPRINTS=pair.footprints,
        NEAR_BUILDINGS=True,
        NEAR_DISTANCE=20,
        CRS="EPSG:32615",
        RESOLUTION=1.2,
        DEVICE="cuda",
    )
    arguments = replay.arguments()
    expected = {
        "post_sensor": "optical",
        "model": "my model",
        "tta": True,
        "footprints": pair.footprints,
        "only_near_buildings": True,
        "near_distance": 20.0,
        "dst_crs": "EPSG:32615",
        "res": 1.2,
        "device": "cuda",
    }
    assert {k: arguments[k] for k in expected} == expected


@pytest.mark.parametrize("crs", ["", "EPSG:32615"])
def test_extent_is_given_in_the_crs_of_the_map(
    pair: SimpleNamespace, replay: SimpleNamespace, out: Path, crs: str
) -> None:
    box = pair.post.extent()
    box.scale(0.5)
    run(pair, out, EXTENT=QgsReferencedRectangle(box, pair.post.crs()), CRS=crs)
    left, bottom, right, top = replay.arguments()["bounds"]
    assert 366000 < left < right < 369000
    assert 4103000 < bottom < top < 4105000


def test_tiles_of_a_scene(pair: SimpleNamespace, replay: SimpleNamespace, out: Path, tmp_path: Path) -> None:
    tile = tmp_path / "second tile.tif"
    tile.write_bytes(Path(pair.pre.source()).read_bytes())
    run(pair, out, PRE_MORE=[str(tile)])
    assert replay.arguments()["pre"] == [pair.pre.source(), str(tile)]


def test_layers_without_a_file_of_their_own_are_exported(
    pair: SimpleNamespace, replay: SimpleNamespace, out: Path
) -> None:
    area = QgsVectorLayer("Polygon?crs=EPSG:26915&field=name:string", "drawn", "memory")
    feature = QgsFeature(area.fields())
    feature["name"] = "here"
    points = [QgsPointXY(*p) for p in ((367400, 4103800), (367600, 4103800), (367600, 4104000))]
    feature.setGeometry(QgsGeometry.fromPolygonXY([points]))
    area.dataProvider().addFeature(feature)
    footprints = QgsVectorLayer(pair.footprints, "houses")
    QgsProject.instance().addMapLayer(footprints)
    footprints.selectByIds([f.id() for f in list(footprints.getFeatures())[:3]])
    seen: dict = {}

    class Copier(Listener):
        def pushInfo(self, info: str) -> None:  # the exports live as long as the run
            arguments = replay.arguments() if (replay.folder / "request.json").exists() else {}
            for name in {"aoi", "footprints"} & arguments.keys():
                seen.setdefault(name, QgsVectorLayer(arguments[name], name).featureCount())

    processing.run(
        "codemae:damagemap",
        {
            "PRE": pair.pre,
            "POST": pair.post,
            "AOI": area,
            "FOOTPRINTS": QgsProcessingFeatureSourceDefinition(footprints.id(), True),
            "CLASSES": str(out / "c.tif"),
        },
        feedback=Copier(),
    )
    assert seen == {"aoi": 1, "footprints": 3}
    filtered = QgsVectorLayer(pair.footprints, "some houses")
    filtered.setSubsetString("fid <= 5")
    QgsProject.instance().addMapLayer(filtered)
    seen.clear()
    processing.run(
        "codemae:damagemap",
        {"PRE": pair.pre, "POST": pair.post, "FOOTPRINTS": filtered, "CLASSES": str(out / "c.tif")},
        feedback=Copier(),
    )
    assert seen == {"footprints": 5}


def test_layer_whose_file_has_no_crs_gets_the_one_set_in_qgis(
    pair: SimpleNamespace, replay: SimpleNamespace, out: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.tif"
    gdal.Translate(str(bare), pair.pre.source(), noData=None)
    data = gdal.Open(str(bare), gdal.GA_Update)
    data.SetProjection("")
    data = None
    layer = QgsRasterLayer(str(bare), "bare")
    layer.setCrs(pair.pre.crs())
    QgsProject.instance().addMapLayer(layer)
    run(SimpleNamespace(pre=layer, post=pair.post), out)
    assert replay.arguments()["src_crs"] == "EPSG:26915"


# failures


def test_error_of_the_engine_is_told_in_the_words_of_the_dialog(
    pair: SimpleNamespace, replay: SimpleNamespace, out: Path
) -> None:
    error = {
        "code": "model",
        "message": "the model does not take a sar post scene",
        "hint": "leave out --post-sensor, or name another --model; --unknown stays",
        "found": "--post-sensor sar",
        "options": {"post_sensor": "--post-sensor", "model": "--model", "unknown": "--unknown"},
    }
    (replay.folder / "fail").write_text(json.dumps(error))
    with pytest.raises(QgsProcessingException) as info:
        run(pair, out)
    text = str(info.value)
    assert "“Sensor of the scene after”" in text
    assert "another “Model (name or file; empty: the bundled one)”" in text
    assert "--unknown stays" in text
    assert list(out.iterdir()) == []


def test_engine_that_is_no_toolkit(pair: SimpleNamespace, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEMAE_GEO_PYTHON", "/bin/false")
    with pytest.raises(QgsProcessingException, match="does not start"):
        run(pair, out)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("free", "words"), [(0, "The disk that holds .* is full"), (10**9, "cannot be written as GPKG")]
)
def test_vector_file_that_cannot_be_written(
    replay: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, words: str
) -> None:
    monkeypatch.setattr(vectors.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    source, target = str(replay.outputs / "damage.gpkg"), str(tmp_path / "none" / "p.gpkg")
    with pytest.raises(EngineError, match=words):
        vectors.copy_layer(source, "polygons", target, QgsLayerMetadata(), QgsProcessingContext())
    with pytest.raises(EngineError, match=r"no vector format that ends in \.docx"):
        vectors.copy_layer(source, "polygons", str(tmp_path / "p.docx"), QgsLayerMetadata(), QgsProcessingContext())
