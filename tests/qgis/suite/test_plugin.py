"""Running in the background, loading results, and the plugin's own life."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from codemae_qgis import classFactory, deliver, results, settings, translate
from codemae_qgis.engine import protocol
from codemae_qgis.feedback import EngineFeedback
from codemae_qgis.provider import CodemaeProvider
from conftest import ROOT, alive, wait_for
from qgis.core import (
    QgsApplication,
    QgsNetworkAccessManager,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsTask,
)
from qgis.PyQt.QtCore import QCoreApplication, QTranslator
from qgis.PyQt.QtNetwork import QNetworkProxy
from qgis.PyQt.QtWidgets import QWidget

sys.path.insert(0, str(ROOT / "qgis_plugin"))
import i18n


class Run:
    """A run as the panel starts it."""

    def __init__(self, pair: SimpleNamespace, out: Path, **parameters: object) -> None:
        self.context = QgsProcessingContext()
        self.context.setProject(QgsProject.instance())
        self.feedback = EngineFeedback()
        self.events: list[protocol.Event] = []
        self.feedback.engineEvent.connect(self.events.append)
        algorithm = QgsApplication.processingRegistry().algorithmById("codemae:damagemap").create()
        asked = {"PRE": pair.pre, "POST": pair.post, "FOOTPRINTS": pair.footprints, **parameters}
        for name, file in (
            ("CLASSES", "c.tif"),
            ("CONFIDENCE", "k.tif"),
            ("POLYGONS", "p.gpkg"),
            ("BUILDINGS", "b.gpkg"),
        ):
            asked[name] = QgsProcessingOutputLayerDefinition(str(out / file), QgsProject.instance())
        self.task = QgsProcessingAlgRunnerTask(algorithm, asked, self.context, self.feedback)
        self.ended: list[tuple[bool, dict]] = []
        self.task.executed.connect(lambda ok, found: self.ended.append((ok, found)))

    def start(self) -> Run:
        QgsApplication.taskManager().addTask(self.task)
        return self


def test_results_come_as_one_group_vectors_above_rasters(
    pair: SimpleNamespace, replay: SimpleNamespace, out: Path
) -> None:
    run = Run(pair, out).start()
    wait_for(lambda: run.ended)
    assert run.ended[0][0]
    loaded = results.load(run.context, "Joplin, run 1")
    assert loaded.group.name() == "Joplin, run 1"
    assert QgsProject.instance().layerTreeRoot().children()[0] is not None
    assert QgsProject.instance().layerTreeRoot().children()[0].name() == "Joplin, run 1"
    assert [node.name() for node in loaded.group.findLayers()] == [
        "Buildings",
        "Damage polygons",
        "Damage classes",
        "Confidence",
    ]
    assert list(loaded.layers) and set(loaded.layers) == {"CLASSES", "CONFIDENCE", "POLYGONS", "BUILDINGS"}
    shown = {node.name(): node.isVisible() for node in loaded.group.findLayers()}
    assert shown == {"Buildings": True, "Damage polygons": True, "Damage classes": True, "Confidence": False}
    assert loaded.layers["CLASSES"].renderer().type() == "paletted"
    assert loaded.layers["BUILDINGS"].renderer().type() == "categorizedSymbol"
    for layer in loaded.layers.values():
        text = layer.metadata().abstract() + " ".join(layer.metadata().history())
        assert "damage-tiny-optical" in text
        assert "pre.tif" in text
        assert "2026" in text or replay.summary["created"][:4] in text
    kinds = [type(e).__name__ for e in run.events]
    assert kinds[0] == "Hello"
    assert kinds[-1] == "Result"
    assert kinds.count("Progress") == 4


def test_result_that_does_not_open_is_told(pair: SimpleNamespace, replay: SimpleNamespace, out: Path) -> None:
    run = Run(pair, out).start()
    wait_for(lambda: run.ended)
    (out / "c.tif").write_text("no raster any more")
    told: list[str] = []
    feedback = MagicMock(reportError=told.append)
    loaded = results.load(run.context, "run", feedback)
    assert "CLASSES" not in loaded.layers
    assert len(told) == 1
    assert "c.tif" in told[0]


def test_cancel_ends_the_engine_and_leaves_nothing(pair: SimpleNamespace, replay: SimpleNamespace, out: Path) -> None:
    (replay.folder / "wait").touch()
    (out / "c.tif").write_text("of an earlier run")
    run = Run(pair, out).start()
    wait_for(lambda: any(isinstance(e, protocol.Progress) for e in run.events))
    pid = int((replay.folder / "pid").read_text())
    assert alive(pid)
    run.task.cancel()  # the engine waits for a file to go, which stays: only cancelling ends it
    wait_for(lambda: run.task.status() == QgsTask.TaskStatus.Terminated and not alive(pid))
    wait_for(lambda: run.ended)
    assert not run.ended[0][0]
    assert [p.name for p in out.iterdir()] == ["c.tif"]
    assert (out / "c.tif").read_text() == "of an earlier run"


def test_failed_run_leaves_nothing(pair: SimpleNamespace, replay: SimpleNamespace, out: Path) -> None:
    (replay.folder / "fail").write_text(
        json.dumps({"code": "output", "message": "the disk is full", "hint": "free some"})
    )
    run = Run(pair, out).start()
    wait_for(lambda: run.ended)
    assert not run.ended[0][0]
    assert list(out.iterdir()) == []
    assert "The disk is full. Free some." in run.feedback.textLog()


def test_layers_removed_in_mid_run_do_not_matter(pair: SimpleNamespace, replay: SimpleNamespace, out: Path) -> None:
    (replay.folder / "wait").touch()
    run = Run(pair, out).start()
    wait_for(lambda: any(isinstance(e, protocol.Progress) for e in run.events))
    QgsProject.instance().clear()
    (replay.folder / "wait").unlink()
    wait_for(lambda: run.ended)
    assert run.ended[0][0]
    assert (out / "c.tif").exists()


def test_plugin_comes_and_goes(qtbot: object) -> None:
    registry = QgsApplication.processingRegistry()
    assert registry.removeProvider("codemae")  # the suite's own
    window = QWidget()
    iface = MagicMock()
    iface.mainWindow.return_value = window
    try:
        plugin = classFactory(iface)
        plugin.initGui()
        assert registry.providerById("codemae") is plugin.provider
        assert plugin.dock is None
        titles = [call.args[1].text() for call in iface.addPluginToRasterMenu.call_args_list]
        assert titles == ["Damage map panel", "Set up runtime"]
        assert iface.addToolBarIcon.call_count == 1
        plugin.unload()
        assert registry.providerById("codemae") is None
        assert iface.removePluginRasterMenu.call_count == 2
        assert iface.removeToolBarIcon.call_args_list[0] == iface.addToolBarIcon.call_args_list[0]
        assert iface.unregisterOptionsWidgetFactory.call_args == iface.registerOptionsWidgetFactory.call_args
        plugin.initProcessing()  # as qgis_process does, and again after an update
        assert registry.algorithmById("codemae:damagemap") is not None
        plugin.unload()
    finally:
        if registry.providerById("codemae") is None:
            registry.addProvider(CodemaeProvider())


def test_loading_brings_no_library() -> None:
    script = (
        "import sys\n"
        "from unittest.mock import MagicMock\n"
        "from qgis.core import QgsApplication\n"
        "app = QgsApplication([], True); app.initQgis()\n"
        "before = set(sys.modules)\n"
        "import codemae_qgis\n"
        "from qgis.PyQt.QtWidgets import QWidget\n"
        "window = QWidget(); iface = MagicMock(); iface.mainWindow.return_value = window\n"
        "plugin = codemae_qgis.classFactory(iface); plugin.initGui()\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "heavy = {'torch', 'rasterio', 'geopandas', 'numpy', 'pandas', 'codemae_geo', 'codemae_cli'}\n"
        "print('loaded', *sorted(new & heavy))\n"
        "plugin.unload(); window.deleteLater(); app.exitQgis()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT / "qgis_plugin")}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["loaded"], done.stderr


def test_catalogue_as_qt_reads_it(tmp_path: Path) -> None:
    catalogue = i18n.read_ts(ROOT / "qgis_plugin" / "codemae_qgis" / "i18n" / "codemae_qgis_de.ts")
    (tmp_path / "x.qm").write_bytes(i18n.compile_qm(catalogue))
    translator = QTranslator()
    assert translator.load(str(tmp_path / "x.qm"))
    QCoreApplication.installTranslator(translator)
    try:
        for (context, source), target in catalogue.items():
            assert QCoreApplication.translate(context, source) == target
        assert (
            translate.tr("Building footprints") == catalogue["codemae", "Building footprints"] != "Building footprints"
        )
        assert translate.tr("not in the catalogue") == "not in the catalogue"
        # the engine's package has no Qt, and speaks the user's language too
        assert deliver.folder_problem("/nowhere/x/y.tif").startswith("Den Ordner /nowhere/x gibt es nicht; legen Sie")
    finally:
        QCoreApplication.removeTranslator(translator)


def test_proxy_of_qgis_as_a_url() -> None:
    manager = QgsNetworkAccessManager.instance()
    before = manager.fallbackProxy()
    assert settings.proxy() is None
    try:
        kind = QNetworkProxy.ProxyType.HttpProxy
        manager.setFallbackProxyAndExcludes(QNetworkProxy(kind, "proxy.example", 3128, "me", "p@ss: w"), [], [])
        assert settings.proxy() == "http://me:p%40ss:%20w@proxy.example:3128"
    finally:
        manager.setFallbackProxyAndExcludes(before, [], [])


def test_setting_of_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODEMAE_GEO_PYTHON")
    assert settings.runtime_python() == ""
    settings.set_runtime_python(sys.executable)
    assert settings.runtime().program == sys.executable
    settings.set_runtime_python("")
    assert settings.runtime_python() == ""
