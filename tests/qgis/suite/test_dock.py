"""The panel: what it fills in, when it may run, what it shows, what it leaves."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from codemae_qgis import settings
from codemae_qgis.engine import runtime as engine
from codemae_qgis.engine.errors import EngineError
from codemae_qgis.gui import dock as dock_module
from codemae_qgis.gui.chart import Bar, BarChart
from codemae_qgis.gui.dock import DamageDock
from codemae_qgis.gui.jobs import duration
from codemae_qgis.gui.result_box import damage_bars, shorten
from conftest import SAMPLE, alive, wait_for
from qgis.core import QgsProject, QgsRasterLayer, QgsRectangle, QgsSettings, QgsVectorLayer
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QFileDialog

MODELS = [
    {"name": "damage-tiny-optical", "task": "damage", "inputs": ["optical", "optical"], "description": "small"},
    {"name": "damage-sar", "task": "damage", "inputs": ["optical", "sar"], "description": "radar"},
    {"name": "land-cover", "task": "segment", "inputs": ["optical"], "description": "no damage"},
]
HEALTH = engine.Health("0.1.0", 1, ["cuda", "cpu"], ["damage-tiny-optical"], [], {"device": "cuda, bfloat16"})


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toolkit's short answers, without the toolkit."""
    # a name of its own: another run of the tests may share the file of settings
    mine = f"codemae_geo_test_{os.getpid()}"
    QgsSettings().remove(mine)
    monkeypatch.setattr(dock_module, "_KEYS", f"{mine}/")
    pair = engine.SamplePair(*(str(SAMPLE / name) for name in ("pre.tif", "post.tif", "buildings.gpkg")))
    monkeypatch.setattr(engine, "health", lambda *_args: HEALTH)
    monkeypatch.setattr(engine, "models", lambda _runtime: MODELS)
    monkeypatch.setattr(engine, "sample_pair", lambda _runtime: pair)
    monkeypatch.setattr(engine, "card", lambda _runtime, name: f"# {name}\n\n## Limits\n\nMany.")


@pytest.fixture
def dock(answers: None, replay: SimpleNamespace, qgis_iface: object, qtbot: object) -> Iterator[DamageDock]:
    """A panel whose engine has answered."""
    made = DamageDock(qgis_iface)
    made.show()
    wait_for(lambda: made.engine.health is not None)
    yield made
    made.shutdown()
    wait_for(lambda: not made.jobs._jobs)
    made.close()
    made.deleteLater()


@pytest.fixture
def ready(dock: DamageDock, pair: SimpleNamespace, out: Path) -> DamageDock:
    """A panel that may run, with a folder to save in."""
    wait_for(lambda: dock.post.currentLayer() is not None)
    dock.folder.setFilePath(str(out))
    settle()
    assert dock.problem() == ""
    return dock


def settle(seconds: float = 0.05) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()


def click(widget: object) -> None:
    assert widget.isEnabled()
    QTest.mouseClick(widget, Qt.MouseButton.LeftButton)


def states(dock: DamageDock) -> list[str]:
    return [run.state.value for run in dock.queue.runs]


def run_to_end(dock: DamageDock) -> None:
    click(dock.runs.run_button)
    wait_for(lambda: dock.queue.runs[-1].state.over, 20)


def polygons(name: str = "area") -> QgsVectorLayer:
    layer = QgsVectorLayer("Polygon?crs=EPSG:26915", name, "memory")
    return QgsProject.instance().addMapLayer(layer)


def test_scenes_are_guessed_and_never_twice_the_same(dock: DamageDock, pair: SimpleNamespace) -> None:
    settle()
    assert (dock.pre.currentLayer(), dock.post.currentLayer()) == (pair.pre, pair.post)
    QgsProject.instance().removeMapLayer(pair.pre.id())
    settle()
    assert dock.pre.currentLayer() is None and dock.post.currentLayer() is not None
    assert dock.problem() == "Choose the scene before the event."


def test_what_the_user_chose_stays(dock: DamageDock, pair: SimpleNamespace) -> None:
    settle()
    dock.choose(pair.post, pair.pre)
    QgsProject.instance().addMapLayer(QgsRasterLayer(str(SAMPLE / "pre.tif"), "before", "gdal"))
    settle()
    assert (dock.pre.currentLayer(), dock.post.currentLayer()) == (pair.post, pair.pre)
    click(dock.swap_button)
    assert (dock.pre.currentLayer(), dock.post.currentLayer()) == (pair.pre, pair.post)


def test_one_side_is_chosen_and_the_other_guessed_among_the_rest(dock: DamageDock, pair: SimpleNamespace) -> None:
    settle()
    dock._chosen = {dock.pre}
    dock.pre.setLayer(pair.post)
    dock._guess()
    assert (dock.pre.currentLayer(), dock.post.currentLayer()) == (pair.post, pair.pre)


def test_run_says_why_it_is_disabled(ready: DamageDock, pair: SimpleNamespace, tmp_path: Path) -> None:
    def reason() -> str:
        settle()
        assert not ready.runs.run_button.isEnabled()
        assert not ready.runs.reason.isHidden() and ready.runs.run_button.toolTip() == ready.runs.reason.text()
        return ready.runs.reason.text()

    ready.choose(pair.pre, pair.pre)
    assert "same file" in reason()
    ready.choose(None, None)
    assert "sample pair" in reason()
    ready.choose(pair.pre, None)
    assert reason() == "Choose the scene after the event."
    ready.choose(pair.pre, pair.post)
    ready.area.set_kind("layer")
    assert reason() == "Choose the layer whose polygons are the area."
    ready.area.set_kind("drawn")
    assert "Draw a rectangle" in reason()
    ready.area.set_kind("overlap")
    ready.sensor.setCurrentIndex(ready.sensor.findData("sar"))
    assert "reads optical images after the event" in reason()
    ready.sensor.setCurrentIndex(0)
    ready.folder.setFilePath(str(tmp_path / "nowhere"))
    assert "nowhere" in reason()
    ready.folder.setFilePath("")
    settle()
    assert ready.runs.run_button.isEnabled() and ready.runs.reason.isHidden()


def test_without_a_runtime(answers: None, qgis_iface: object, pair: SimpleNamespace, monkeypatch: object) -> None:
    monkeypatch.setenv("CODEMAE_GEO_PYTHON", "/nowhere/python")
    dock = DamageDock(qgis_iface)
    settle()
    for label in (dock.runs.reason, dock.engine.line):
        assert "/nowhere/python" in label.text() and "remove the variable and start QGIS" in label.text()
    assert not dock.runs.run_button.isEnabled()
    monkeypatch.delenv("CODEMAE_GEO_PYTHON")
    monkeypatch.setattr(settings, "runtime_python", lambda: "/nowhere/else")
    dock.engine.check()
    settle()
    assert "click Set up" in dock.runs.reason.text() and "/nowhere/else" in dock.engine.line.text()
    assert not dock.runs.run_button.isEnabled()
    assert not dock.sample_button.isEnabled()
    dock.shutdown()
    dock.deleteLater()


def test_runtime_that_does_not_answer(dock: DamageDock, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> engine.Health:
        raise EngineError("codemae-geo is too old", hint="update it", details="a line on stderr")

    monkeypatch.setattr(engine, "health", broken)
    dock.engine.check(refresh=True)
    wait_for(lambda: dock.engine.error is not None)
    assert dock.engine.line.text() == "codemae-geo is too old. Update it."
    assert dock.engine.line.toolTip() == "a line on stderr"
    assert not dock.runs.run_button.isEnabled()
    newer = EngineError(
        "the runtime speaks protocol 2, this plugin speaks 1", code="protocol", hint="update the plugin"
    )
    dock.engine._on_broken(newer)
    assert dock.problem() == str(newer)  # set-up would not help


def test_only_models_of_damage_and_only_devices_that_exist(dock: DamageDock) -> None:
    assert [dock.model.itemData(i) for i in range(dock.model.count())] == ["damage-tiny-optical", "damage-sar", ""]
    assert [dock.device.itemData(i) for i in range(dock.device.count())] == ["auto", "cuda", "cpu"]


def test_model_from_a_file(ready: DamageDock, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def choose(*_args: object) -> tuple[str, str]:
        asked.append(_args)
        return answer, ""

    monkeypatch.setattr(QFileDialog, "getOpenFileName", choose)
    answer = ""
    ready.model.setCurrentIndex(2)
    ready.model.activated.emit(2)
    assert asked and ready.model.currentData() == "damage-tiny-optical"  # nothing chosen: as it was
    answer = "/models/town.safetensors"
    ready.model.activated.emit(2)
    assert ready.model.currentText() == "town.safetensors" and ready.parameters()["MODEL"] == answer
    assert ready.problem() == ""


def test_choices_reach_the_engine(ready: DamageDock, replay: SimpleNamespace) -> None:
    buildings = QgsProject.instance().addMapLayer(QgsVectorLayer(str(SAMPLE / "buildings.gpkg"), "houses", "ogr"))
    ready.footprints.setLayer(buildings)
    settle()
    ready.near.setChecked(True)
    ready.tta.setChecked(True)
    ready.model.setCurrentIndex(1)
    ready.sensor.setCurrentIndex(ready.sensor.findData("sar"))
    ready.device.setCurrentIndex(ready.device.findData("cpu"))
    run_to_end(ready)
    asked = replay.arguments()
    assert asked["model"] == "damage-sar" and asked["post_sensor"] == "sar" and asked["device"] == "cpu"
    assert asked["only_near_buildings"] is True and asked["tta"] is True
    assert Path(asked["pre"][0]).name == "pre.tif" and Path(asked["post"][0]).name == "post.tif"
    assert "buildings.gpkg" in asked["footprints"]
    assert "bounds" not in asked and "aoi" not in asked


def test_area_of_a_rectangle_and_of_a_layer(ready: DamageDock, replay: SimpleNamespace) -> None:
    ready._iface.mapCanvas().setDestinationCrs(ready.pre.currentLayer().crs())
    ready.area.set_kind("drawn")
    ready.area.set_rectangle(QgsRectangle(367400, 4103800, 367500, 4103950))
    settle()
    run_to_end(ready)
    assert replay.arguments()["bounds"] == pytest.approx([367400, 4103800, 367500, 4103950])
    assert ready.area.hint.text() == "100 × 150 m"
    ready.area.layer.setLayer(polygons())
    ready.area.set_kind("layer")
    settle()
    assert ready.parameters()["AOI"] == ready.area.layer.currentLayer().id() and "EXTENT" not in ready.parameters()


def test_result_comes_as_a_group_with_chart_limits_and_report(ready: DamageDock, replay: SimpleNamespace) -> None:
    ready.footprints.setLayer(
        QgsProject.instance().addMapLayer(QgsVectorLayer(str(SAMPLE / "buildings.gpkg"), "houses", "ogr"))
    )
    settle()
    run_to_end(ready)
    assert states(ready) == ["done"], ready.queue.runs[0].message
    settle(0.2)
    assert QgsProject.instance().layerTreeRoot().children()[0].name() == "Damage post"
    counts = replay.summary["buildings"]["classes"]
    assert {b.name: b.count for b in ready.result.chart.bars} == {
        name.capitalize(): counts.get(name, 0) for name in ("intact", "damaged", "destroyed")
    }
    assert [b.color for b in ready.result.chart.bars] == ["#56b4e9", "#f0e442", "#d55e00"]
    assert "Trained on one town" in ready.result.limits.text() and "more" in ready.result.limits.text()
    ready.result.limits.linkActivated.emit("more")
    assert "SAR tokenizer" in ready.result.limits.text()
    assert not ready.result.report.isHidden() and not ready.result.zoom.isHidden()
    folder = Path(ready.folder.filePath()) / "damage_post"
    names = {p.name for p in folder.iterdir()}
    assert {"damage.tif", "confidence.tif", "damage.gpkg", "buildings.gpkg", "report.html"} <= names


def test_without_footprints_areas_are_shown(replay: SimpleNamespace) -> None:
    legend = {1: ("Intact", "#56b4e9"), 3: ("Destroyed", "#d55e00")}
    kind, bars = damage_bars({**replay.summary, "buildings": None}, legend)
    areas = {c["name"]: c["area_m2"] for c in replay.summary["classes"]}
    assert kind == "area" and [(b.name, b.count) for b in bars] == [
        ("Intact", areas["intact"]),
        ("Destroyed", areas["destroyed"]),
    ]
    assert bars[1].text == f"{areas['destroyed'] / 10_000:,.2f} ha"


def test_two_runs_finish_in_order_in_own_folders(ready: DamageDock, replay: SimpleNamespace, out: Path) -> None:
    (replay.folder / "wait").touch()
    click(ready.runs.run_button)
    wait_for(lambda: ready.runs.bar.value() > 20)
    assert "of 4" in ready.runs.line.text() and "left" in ready.runs.line.text()
    settle()
    assert ready.runs.run_button.text() == "Add to the queue"
    click(ready.runs.run_button)
    assert states(ready) == ["running", "waiting"]
    (replay.folder / "wait").unlink()
    wait_for(lambda: states(ready) == ["done", "done"], 20)
    assert sorted(p.name for p in out.iterdir()) == ["damage_post", "damage_post_2"]
    settle()
    assert ready.runs.run_button.text() == "Run" and ready.runs.bar.isHidden()
    assert ready.runs.list.topLevelItemCount() == 2


def test_cancel_leaves_nothing(ready: DamageDock, replay: SimpleNamespace, out: Path) -> None:
    (replay.folder / "wait").touch()
    click(ready.runs.run_button)
    wait_for(lambda: ready.runs.bar.value() > 20)
    pid = int((replay.folder / "pid").read_text())
    click(ready.runs.cancel_button)  # the engine waits for a file to go, which stays
    wait_for(lambda: states(ready) == ["cancelled"])
    wait_for(lambda: not alive(pid))
    assert list(out.iterdir()) == []
    assert not QgsProject.instance().layerTreeRoot().findGroup("Damage post")


def test_failure_is_said_in_one_sentence_and_logged(ready: DamageDock, replay: SimpleNamespace, out: Path) -> None:
    told: list[str] = []
    ready.engine.tell = lambda text, level: told.append(text)
    error = {"code": "disk-full", "message": "the disk is full", "hint": "free 2 GB", "found": None, "expected": None}
    (replay.folder / "fail").write_text(json.dumps(error))
    run_to_end(ready)
    assert states(ready) == ["failed"]
    settle()
    assert told == ["The disk is full. Free 2 GB."] and ready.engine.last_failure == told[0]
    settle(0.2)
    assert ready.result.headline.text() == told[0] and not ready.result.log.isHidden()
    assert ready.result.chart.isHidden() and list(out.iterdir()) == []
    error |= {"hint": "leave --device at auto", "options": {"device": "--device"}}
    (replay.folder / "fail").write_text(json.dumps(error))
    run_to_end(ready)
    settle()
    assert told[-1] == "The disk is full. Leave “Device” at auto."  # no option of a command line


def test_closing_the_project_stops_the_run_and_loads_nothing(
    ready: DamageDock, replay: SimpleNamespace, out: Path
) -> None:
    (replay.folder / "wait").touch()
    for _ in range(2):
        click(ready.runs.run_button)
    wait_for(lambda: ready.runs.bar.value() > 20)
    pid = int((replay.folder / "pid").read_text())
    QgsProject.instance().clear()
    wait_for(lambda: states(ready) == ["cancelled", "cancelled"])
    wait_for(lambda: not alive(pid))
    settle(0.2)
    assert QgsProject.instance().count() == 0 and list(out.iterdir()) == []


def test_layer_removed_while_its_run_waits(ready: DamageDock, pair: SimpleNamespace, replay: SimpleNamespace) -> None:
    (replay.folder / "wait").touch()
    for _ in range(2):
        click(ready.runs.run_button)
    wait_for(lambda: ready.runs.bar.value() > 20)
    QgsProject.instance().removeMapLayer(pair.pre.id())
    (replay.folder / "wait").unlink()
    wait_for(lambda: all(run.state.over for run in ready.queue.runs), 20)
    assert states(ready) == ["done", "failed"]
    assert "has been removed from the project" in ready.queue.runs[1].message


def test_runs_leave_the_list_by_their_button(ready: DamageDock, replay: SimpleNamespace) -> None:
    (replay.folder / "wait").touch()
    for _ in range(2):
        click(ready.runs.run_button)
    button = lambda row: ready.runs.list.itemWidget(ready.runs.list.topLevelItem(row), 2)  # noqa: E731
    click(button(1))
    assert states(ready)[1] == "cancelled"
    click(button(1))
    assert len(ready.queue.runs) == 1 == ready.runs.list.topLevelItemCount()
    click(ready.runs.cancel_button)
    wait_for(lambda: states(ready) == ["cancelled"])


def test_before_and_after_are_shown_in_turn(ready: DamageDock, pair: SimpleNamespace) -> None:
    root = QgsProject.instance().layerTreeRoot()
    click(ready.show_before)
    assert root.findLayer(pair.pre).isVisible() and not root.findLayer(pair.post).isVisible()
    click(ready.show_after)
    assert root.findLayer(pair.post).isVisible() and not root.findLayer(pair.pre).isVisible()
    assert ready.show_after.isChecked() and not ready.show_before.isChecked()


def test_sample_pair(dock: DamageDock) -> None:
    click(dock.sample_button)
    wait_for(lambda: dock.footprints.currentLayer() is not None)
    settle(0.2)
    assert Path(dock.pre.currentLayer().source()).name == "pre.tif"
    assert Path(dock.post.currentLayer().source()).name == "post.tif"
    assert QgsProject.instance().crs().authid() == "EPSG:26915"
    assert dock.runs.run_button.isEnabled(), dock.problem()


def test_model_card(dock: DamageDock) -> None:
    click(dock.card_button)
    shown = lambda: [w for w in QApplication.topLevelWidgets() if type(w).__name__ == "TextDialog" and w.isVisible()]  # noqa: E731
    wait_for(shown)
    assert "Many." in shown()[0].browser.toPlainText()
    shown()[0].close()


def test_last_values_are_remembered(ready: DamageDock, qgis_iface: object, out: Path) -> None:
    ready.tta.setChecked(True)
    ready.area.set_kind("canvas")
    ready._iface.mapCanvas().setDestinationCrs(ready.pre.currentLayer().crs())
    ready._iface.mapCanvas().setExtent(ready.pre.currentLayer().extent())
    ready.model.setCurrentIndex(1)
    ready.device.setCurrentIndex(ready.device.findData("cuda"))
    settle()
    run_to_end(ready)
    again = DamageDock(qgis_iface)
    wait_for(lambda: again.engine.health is not None)
    assert again.tta.isChecked() and again.area.kind.currentData() == "canvas"
    assert (again.model.currentData(), again.device.currentData()) == ("damage-sar", "cuda")
    assert again.folder.filePath() == str(out)
    again.shutdown()
    again.deleteLater()


def test_diagnostics_without_the_home_folder(dock: DamageDock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    dock.engine.last_failure = f"no such file {tmp_path / 'secret'}"
    dock.engine.copy_diagnostics()
    text = QApplication.clipboard().text()
    assert "secret" in text and str(tmp_path) not in text
    assert "0.1.0" in text or "cuda, bfloat16" in text


def test_unloading_in_mid_run_leaves_no_engine(
    answers: None, replay: SimpleNamespace, qgis_iface: object, pair: SimpleNamespace, out: Path
) -> None:
    dock = DamageDock(qgis_iface)
    wait_for(lambda: dock.runs.run_button.isEnabled())
    dock.folder.setFilePath(str(out))
    (replay.folder / "wait").touch()
    click(dock.runs.run_button)
    wait_for(lambda: dock.runs.bar.value() > 20)
    pid = int((replay.folder / "pid").read_text())
    dock.shutdown()
    dock.deleteLater()
    wait_for(lambda: not alive(pid))
    settle(0.2)
    assert list(out.iterdir()) == [] and not QgsProject.instance().layerTreeRoot().findGroup("Damage post")


def test_chart_draws_bars_in_proportion(qtbot: object) -> None:
    chart = BarChart()
    chart.show_bars([Bar("Intact", 30, "#56b4e9"), Bar("Destroyed", 10, "#d55e00"), Bar("Damaged", 0, "#f0e442")])
    chart.resize(chart.sizeHint())
    picture = chart.grab().toImage()
    colors = [picture.pixelColor(x, y).name() for y in range(picture.height()) for x in range(picture.width())]
    intact, destroyed = colors.count("#56b4e9"), colors.count("#d55e00")
    assert intact == pytest.approx(3 * destroyed, rel=0.15) and destroyed > 0
    assert "#f0e442" not in colors
    assert "Destroyed: 10" in chart.toolTip()


def test_words() -> None:
    assert (duration(75), duration(3700)) == ("1:15", "1:01:40")
    assert shorten("one two three", 8) == "one two …" and shorten("one", 8) == "one"
