"""What an analyst does, done by clicks inside a real QGIS: started by `qgis --code`, which passes no arguments.

Reads CODEMAE_E2E_OUT, the folder for screenshots and report.json. Ends QGIS by itself; QGIS has no exit code of its
own, so the report says how it went.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
import traceback
from pathlib import Path

from qgis.core import Qgis, QgsApplication, QgsProject, QgsRasterLayer, QgsRectangle, QgsVectorLayer
from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QEvent, QPoint, Qt, QTimer
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QDockWidget, QWidget
from qgis.utils import iface, loadPlugin, plugins, startPlugin, unloadPlugin

OUT = Path(os.environ["CODEMAE_E2E_OUT"])
NAME = "codemae_qgis"
PROJECT = QgsProject.instance()
report = {"qgis": Qgis.QGIS_VERSION, "steps": [], "exceptions": [], "ok": False}
# QGIS would only show them in its message bar
sys.excepthook = lambda *error: report["exceptions"].append("".join(traceback.format_exception(*error)))


class Failed(Exception):
    """An expectation that was not met."""


def expect(good: object, what: str) -> None:
    if not good:
        raise Failed(what)


def wait(until: object, seconds: float, what: str) -> float:
    """Let QGIS work until ``until()`` is true; the seconds it took."""
    began = time.monotonic()
    while not until():
        QApplication.processEvents()
        time.sleep(0.005)
        if time.monotonic() - began > seconds:
            raise Failed(f"{what}: not within {seconds} s")
    return time.monotonic() - began


def settle(seconds: float = 0.3) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def picture(name: str, widget: QWidget | None = None) -> None:
    settle()
    file = OUT / f"{name}.png"
    if not file.exists():  # a step that is repeated shows nothing new
        (widget or iface.mainWindow()).grab().save(str(file))


def click(widget: QWidget) -> None:
    expect(widget.isVisible() and widget.isEnabled(), f"{widget.objectName() or type(widget).__name__} can be clicked")
    QTest.mouseClick(widget, Qt.MouseButton.LeftButton)


def engines() -> list[int]:
    """Processes of the toolkit that this QGIS has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(folder.joinpath("stat").read_text().rsplit(")", 1)[1].split()[1])
            command = folder.joinpath("cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if parent == os.getpid() and b"codemae" in command and b"engine" in command:
            found.append(int(folder.name))
    return found


def dock():
    return plugins[NAME].dock


def states() -> list[str]:
    return [run.state.value for run in dock().queue.runs]


def group(title: str):
    return PROJECT.layerTreeRoot().findGroup(title)


def wait_ready() -> None:
    wait(lambda: dock().engine.health or dock().engine.error, 60, "the engine answers")
    expect(dock().engine.error is None, f"a healthy engine: {dock().engine.error}")


def wait_working() -> None:
    """A run is among its windows: the engine has started and reports."""
    wait(lambda: dock().runs.bar.maximum() == 100 and dock().runs.bar.value() > 10, 60, "the run makes progress")


class Watchman(QTimer):
    """Closes dialogs that nobody expects: they would block the scenario for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.expected = False
        self.timeout.connect(self.look)
        self.start(1000)

    def look(self) -> None:
        dialog = QApplication.activeModalWidget()
        if dialog is None or self.expected:
            return
        report.setdefault("unexpected_dialogs", []).append(dialog.windowTitle())
        print("unexpected:", dialog.windowTitle(), flush=True)
        dialog.grab().save(str(OUT / "unexpected-dialog.png"))
        dialog.close()


# -- steps, in order --------------------------------------------------------------------------------------------------


def open_the_panel():
    """By the button in the toolbar."""
    action = next(a for a in plugins[NAME].actions if a.objectName() == "codemaeShowDock")
    button = next(w for w in action.associatedWidgets() if isinstance(w, QWidget) and w.isVisible())
    click(button.widgetForAction(action) if hasattr(button, "widgetForAction") else button)
    wait_ready()
    settle()
    expect(dock().isVisible(), "the panel is there")
    expect(not dock().runs.run_button.isEnabled(), "Run is disabled without scenes")
    expect("Choose a scene before" in dock().runs.reason.text(), f"Run says why: {dock().runs.reason.text()}")
    picture("01-panel")


def load_the_sample_pair():
    click(dock().sample_button)
    wait(lambda: dock().pre.currentLayer() and dock().runs.run_button.isEnabled(), 90, "the pair is loaded")
    settle(1)
    expect(dock().pre.currentLayer().name() == "Joplin before", dock().pre.currentLayer().name())
    expect(dock().post.currentLayer().name() == "Joplin after", dock().post.currentLayer().name())
    expect(dock().footprints.currentLayer().featureCount() > 0, "footprints")
    expect(PROJECT.crs().authid() == "EPSG:26915", f"the map has the scene's CRS, not {PROJECT.crs().authid()}")
    picture("02-sample-pair")


def refuse_the_same_layer_twice():
    before = dock().pre.currentLayer()
    dock().pre.setLayer(dock().post.currentLayer())
    settle()
    expect(not dock().runs.run_button.isEnabled(), "Run is disabled for a layer with itself")
    expect("same file" in dock().runs.reason.text(), dock().runs.reason.text())
    picture("03-same-layer")
    dock().pre.setLayer(before)
    settle()
    expect(dock().runs.run_button.isEnabled(), dock().runs.reason.text())


def look_at_before_and_after():
    root = PROJECT.layerTreeRoot()
    shown = lambda combo: root.findLayer(combo.currentLayer()).isVisible()  # noqa: E731
    click(dock().show_before)
    expect(shown(dock().pre) and not shown(dock().post), "before is shown")
    settle(0.5)
    picture("04-before")
    click(dock().show_after)
    expect(shown(dock().post) and not shown(dock().pre), "after is shown")


def read_the_model_card():
    click(dock().card_button)
    found = lambda: [w for w in QApplication.topLevelWidgets() if type(w).__name__ == "TextDialog" and w.isVisible()]  # noqa: E731
    wait(found, 90, "the card opens")
    card = found()[0]
    expect("Limits" in card.browser.toPlainText(), "the card names limits")
    picture("05-model-card", card)
    card.close()


def cancel_a_run():
    dock().folder.setFilePath(str(OUT / "maps"))
    settle(0.1)
    click(dock().runs.run_button)
    wait_working()
    expect(engines(), "an engine works")
    picture("06-running")
    click(dock().runs.cancel_button)
    took = wait(lambda: states() == ["cancelled"], 60, "the run is cancelled")
    report["cancel_s"] = round(took + wait(lambda: not engines(), 60, "the engine is gone"), 2)
    expect(not list((OUT / "maps").iterdir()), "a cancelled run leaves nothing")
    expect(not group("Damage Joplin after"), "a cancelled run loads nothing")


def run_again():
    click(dock().runs.run_button)
    report["run_s"] = round(wait(lambda: states()[-1] in ("done", "failed"), 90, "the run ends"), 1)
    expect(states()[-1] == "done", dock().queue.runs[-1].message)
    settle(1.5)
    made = group("Damage Joplin after")
    expect(made is not None and PROJECT.layerTreeRoot().children()[0] is made, "one group on top")
    kinds = [type(node.layer()) for node in made.findLayers()]
    expect(kinds == [QgsVectorLayer] * 2 + [QgsRasterLayer] * 2, f"polygons above rasters: {kinds}")
    renderers = [node.layer().renderer().type() for node in made.findLayers()][:3]
    expect(renderers == ["categorizedSymbol", "categorizedSymbol", "paletted"], f"styled: {renderers}")
    bars = {bar.name: bar.count for bar in dock().result.chart.bars}
    results = dock().queue.runs[-1].results
    expect(bars.get("Destroyed") == results["BUILDINGS_DESTROYED"] > 0, f"the chart shows {bars}")
    expect("Limits" in dock().result.limits.text(), "the limits stand under the map")
    report["buildings"] = bars
    told = iface.messageBar().currentItem().text()
    expect(f"{bars['Destroyed']} destroyed" in told, f"the numbers lie on top in the message bar, not {told}")
    picture("07-result")
    made.setItemVisibilityChecked(False)


def queue_two_runs():
    """On a small part of the scene, one behind the other."""
    canvas: QgsMapCanvas = iface.mapCanvas()
    centre = canvas.extent().center()
    canvas.setExtent(QgsRectangle(centre.x() - 60, centre.y() - 60, centre.x() + 60, centre.y() + 60))
    dock().area.set_kind("canvas")
    settle()
    first = len(dock().queue.runs)
    click(dock().runs.run_button)
    expect(dock().queue.running is not None, "the first one runs at once")
    settle(0.1)
    expect("queue" in dock().runs.run_button.text(), dock().runs.run_button.text())
    click(dock().runs.run_button)
    expect(states()[first:] == ["running", "waiting"], states())
    seen: list[list[str]] = []

    def over() -> bool:
        now = states()[first:]
        if now not in seen:
            seen.append(now)
        return all(state in ("done", "failed") for state in now)

    picture("08-queue")
    wait(over, 120, "both runs end")
    expect(seen[-1] == ["done", "done"], [run.message for run in dock().queue.runs])
    expect(["waiting" not in s and s[0] == "done" for s in seen][-2:] == [True, True], seen)
    expect(["running", "running"] not in seen, "one at a time")
    folders = sorted(folder.name for folder in (OUT / "maps").iterdir())
    expect(len(folders) == 3, f"every run has its folder: {folders}")


def draw_a_rectangle():
    dock().area.set_kind("drawn")
    settle()
    expect("Draw a rectangle" in dock().runs.reason.text(), dock().runs.reason.text())
    map_area = iface.mapCanvas().viewport()
    middle = map_area.rect().center()
    QTest.mousePress(map_area, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, middle - QPoint(120, 90))
    QTest.mouseMove(map_area, middle)
    settle(0.1)
    QTest.mouseRelease(map_area, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, middle + QPoint(120, 90))
    wait(lambda: not dock().area.rectangle.isEmpty(), 3, "the rectangle is taken")
    settle()
    expect(dock().runs.run_button.isEnabled(), dock().runs.reason.text())
    expect("EXTENT" in dock().parameters(), "the rectangle is the extent")
    picture("09-rectangle")
    dock().area.set_kind("overlap")


def look_at_the_set_up():
    def look() -> None:
        dialog = QApplication.activeModalWidget()
        try:
            wait(dialog.plan_line.text, 90, "the dialog knows what creating takes")
            picture("10-set-up", dialog)
            report["plan"] = dialog.plan_line.text()
            dialog.tabs.setCurrentIndex(1)
            picture("11-set-up-existing", dialog)
        finally:
            dialog.reject()

    QTimer.singleShot(300, look)
    watchman.expected = True
    click(dock().engine.setup_button)
    watchman.expected = False
    expect(report.get("plan"), "the dialog says what it takes")
    wait_ready()


def copy_the_diagnostics():
    dock().engine.menu.actions()[0].trigger()
    text = QApplication.clipboard().text()
    expect("codemae-geo" in text and Qgis.QGIS_VERSION in text, text)
    expect(str(Path.home()) == "/" or str(Path.home()) + "/" not in text, "the home folder is masked")


def look_in_the_dark_and_narrow():
    QgsApplication.setUITheme("Night Mapping")
    iface.mainWindow().resizeDocks([dock()], [200], Qt.Orientation.Horizontal)
    dock().options.setCollapsed(False)
    settle(0.5)
    picture("12-dark-narrow")
    report["narrowest"] = dock().width()
    page = dock()._scroll
    expect(page.widget().width() <= page.viewport().width(), "nothing is cut off at the right of a narrow panel")
    QgsApplication.setUITheme("default")
    dock().options.setCollapsed(True)
    iface.mainWindow().resizeDocks([dock()], [340], Qt.Orientation.Horizontal)
    settle()


def close_the_project_in_mid_run():
    folders = sorted((OUT / "maps").iterdir())
    click(dock().runs.run_button)
    wait_working()
    iface.newProject(False)
    wait(lambda: states()[-1] == "cancelled", 5, "the run of a closed project is cancelled")
    wait(lambda: not engines(), 5, "its engine is gone")
    settle(0.5)
    expect(PROJECT.count() == 0, "nothing is loaded into the new project")
    expect(sorted((OUT / "maps").iterdir()) == folders, "nothing is left on disk")
    expect(not dock().runs.run_button.isEnabled(), "Run waits for scenes")


def keep_out_of_qgis():
    heavy = {"torch", "rasterio", "geopandas", "codemae_geo"} & set(sys.modules)
    expect(not heavy, f"QGIS has imported {heavy}")


def unload_in_mid_run_and_reload():
    provider = lambda: QgsApplication.processingRegistry().providerById("codemae")  # noqa: E731
    folders = sorted((OUT / "maps").iterdir())
    load_the_sample_pair()
    click(dock().runs.run_button)
    wait_working()
    expect(unloadPlugin(NAME), "unloads")
    wait(lambda: not engines(), 5, "the engine of an unloaded plugin is gone")
    settle()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)  # Qt waits for the end of this step
    settle()
    expect(sorted((OUT / "maps").iterdir()) == folders, "its run leaves nothing on disk")
    expect(not iface.mainWindow().findChildren(QDockWidget, "CodemaeDamageDock"), "the panel is gone")
    expect("CoDe-MAE" not in [action.text() for action in iface.rasterMenu().actions()], "the menu is gone")
    expect(provider() is None, "the provider is gone")
    buttons = [action.text() for action in iface.pluginToolBar().actions()]
    expect("Damage map panel" not in buttons, "the button is gone")
    iface.newProject(False)
    expect(loadPlugin(NAME) and startPlugin(NAME), "loads again")
    settle()
    expect(provider() is not None, "the provider is back")
    open_the_panel()


def be_ready_to_be_killed():
    """Leave a run at work and say so; whoever started QGIS kills it and looks for engines."""
    report["maps"] = sorted(folder.name for folder in (OUT / "maps").iterdir())
    load_the_sample_pair()
    click(dock().runs.run_button)
    wait_working()
    report["engines"] = engines()
    expect(report["engines"], "an engine works")


STEPS = (
    open_the_panel,
    load_the_sample_pair,
    refuse_the_same_layer_twice,
    look_at_before_and_after,
    read_the_model_card,
    cancel_a_run,
    run_again,
    queue_two_runs,
    draw_a_rectangle,
    look_at_the_set_up,
    copy_the_diagnostics,
    look_in_the_dark_and_narrow,
    close_the_project_in_mid_run,
    keep_out_of_qgis,
    unload_in_mid_run_and_reload,
    be_ready_to_be_killed,
)


def write_report() -> None:
    partial = OUT / "report.json.tmp"
    partial.write_text(json.dumps(report, indent=1))
    partial.rename(OUT / "report.json")


def main() -> None:
    began = time.monotonic()
    report["pid"] = os.getpid()
    try:
        (OUT / "maps").mkdir()
        window = iface.mainWindow()
        window.setGeometry(0, 0, 1600, 1000)
        settle(0.5)
        for step in STEPS:
            at = time.monotonic()
            report["steps"].append({"name": step.__name__, "ok": False})
            print(step.__name__, flush=True)  # where it was, should QGIS hang
            step()
            report["steps"][-1].update(ok=True, seconds=round(time.monotonic() - at, 1))
        expect(not report.get("unexpected_dialogs"), f"no dialogs: {report.get('unexpected_dialogs')}")
        expect(not report["exceptions"], f"no exception in a slot: {report['exceptions']}")
        report["ok"] = True
    except Exception as error:
        report["error"] = f"{type(error).__name__}: {error}"
        report["trace"] = traceback.format_exc()
        iface.mainWindow().grab().save(str(OUT / "failed.png"))
    report["seconds"] = round(time.monotonic() - began, 1)
    write_report()
    if report["ok"]:
        settle(30)  # to be killed in
    os._exit(not report["ok"])


watchman = Watchman()
faulthandler.dump_traceback_later(380)
QTimer.singleShot(500, main)
