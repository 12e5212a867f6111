"""The set-up dialog and the options page, with a set-up that installs nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from codemae_qgis import settings
from codemae_qgis.engine import runtime as engine
from codemae_qgis.engine import setup
from codemae_qgis.engine.errors import Cancelled, EngineError
from codemae_qgis.gui.options import OptionsFactory
from codemae_qgis.gui.setup_dialog import SetupDialog
from conftest import wait_for
from qgis.PyQt.QtWidgets import QApplication, QMessageBox

PLAN = setup.Plan(Path("/data/runtime"), "uv", "cpu", (setup.Step("a", "Python", (), 35, 110),) * 2)


@pytest.fixture(autouse=True)
def setting_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run of the tests may share the file of settings."""
    monkeypatch.setattr(settings, "_RUNTIME", f"codemae_geo_test_{os.getpid()}/runtime_python")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the dialog asks of set-up, and what set-up does."""
    log = SimpleNamespace(plans=[], created=0, removed=0, used=0, hold=False, error=None)

    def plan(**asked: object) -> setup.Plan:
        log.plans.append(asked)
        if log.error:
            raise log.error
        return PLAN

    def create(plan, on_step, on_log, on_progress, is_cancelled, proxy) -> engine.Runtime:
        on_step(0, 2, plan.steps[0])
        on_log("installing")
        on_progress(0.5)
        while log.hold:
            if is_cancelled():
                raise Cancelled
            time.sleep(0.01)
        on_step(1, 2, plan.steps[1])
        log.created += 1
        log.used = 830_000_000
        return engine.Runtime(("python",), "managed")

    def remove() -> None:
        log.removed += 1
        log.used = 0

    monkeypatch.setattr(setup, "plan", plan)
    monkeypatch.setattr(setup, "create", create)
    monkeypatch.setattr(setup, "remove", remove)
    monkeypatch.setattr(setup, "disk_used", lambda: log.used)
    return log


@pytest.fixture
def dialog(made: SimpleNamespace, qtbot: object) -> Iterator[SetupDialog]:
    shown = SetupDialog()
    shown.show()
    wait_for(lambda: shown.plan is not None)
    yield shown
    made.hold = False
    shown.reject()
    wait_for(lambda: not shown.isVisible())
    shown.deleteLater()


def test_says_what_it_takes_and_creates(
    dialog: SetupDialog, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Download about 70 MB, on disk about 220 MB, in /data/runtime (with uv)." in dialog.plan_line.text()
    settings.set_runtime_python("/old/python")
    monkeypatch.delenv("CODEMAE_GEO_PYTHON", raising=False)
    dialog.create_button.click()
    wait_for(lambda: made.created == 1 and dialog._call is None)
    assert "ready" in dialog.step_line.text() and dialog.bar.value() == 100
    assert "installing" in dialog.log.toPlainText() and "== 2/2  Python" in dialog.log.toPlainText()
    assert settings.runtime_python() == ""
    wait_for(lambda: "830 MB" in dialog.plan_line.text())


def test_choices_are_planned_anew(dialog: SetupDialog, made: SimpleNamespace, tmp_path: Path) -> None:
    assert dialog.variant.currentData() == "plain"
    assert "MB: without PyTorch" in dialog.variant.currentText()
    dialog.variant.setCurrentIndex(dialog.variant.findData("cuda"))
    dialog.wheels.setFilePath(str(tmp_path))
    wait_for(lambda: {"variant": "cuda", "wheels": str(tmp_path)} in made.plans)


def test_stops_and_goes_on(dialog: SetupDialog, made: SimpleNamespace) -> None:
    made.hold = True
    dialog.create_button.click()
    wait_for(lambda: dialog.bar.value() == 50)
    assert not dialog.tabs.isEnabled()
    dialog.cancel_button.click()
    wait_for(lambda: dialog._call is None)
    assert "Stopped" in dialog.step_line.text() and made.created == 0
    made.hold = False
    wait_for(dialog.create_button.isEnabled)
    dialog.create_button.click()
    wait_for(lambda: made.created == 1)


def test_closing_stops_first(dialog: SetupDialog, made: SimpleNamespace) -> None:
    made.hold = True
    dialog.create_button.click()
    wait_for(lambda: dialog.bar.value() == 50)
    dialog.reject()
    wait_for(lambda: not dialog.isVisible())
    assert made.created == 0


def test_without_a_python_it_says_how_to_get_one(made: SimpleNamespace, qtbot: object) -> None:
    made.error = EngineError("there is no Python to use", code="no-python", hint="install uv and run: uv venv")
    dialog = SetupDialog()
    wait_for(lambda: dialog.plan_line.text() != "")
    assert dialog.plan_line.text() == "There is no Python to use. Install uv and run: uv venv."
    assert not dialog.create_button.isEnabled()
    dialog.reject()
    dialog.deleteLater()


def test_existing_python_is_checked_before_it_is_kept(
    dialog: SetupDialog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CODEMAE_GEO_PYTHON", raising=False)
    dialog.python.setFilePath(str(tmp_path / "python"))
    dialog.use_button.click()
    assert "not there" in dialog.step_line.text() and settings.runtime_python() == ""
    (tmp_path / "python").touch()

    def broken(*_args: object) -> engine.Health:
        raise EngineError("codemae-geo is not installed there", details="No module named codemae_cli")

    monkeypatch.setattr(engine, "health", broken)
    dialog.use_button.click()
    wait_for(lambda: "not installed" in dialog.step_line.text())
    assert "No module named codemae_cli" in dialog.log.toPlainText() and settings.runtime_python() == ""
    monkeypatch.setattr(engine, "health", lambda *_args: engine.Health("0.1.0", 1, ["cpu"], [], [], {"device": "cpu"}))
    dialog.use_button.click()
    wait_for(lambda: settings.runtime_python() == str(tmp_path / "python"))
    assert dialog.step_line.text() == "codemae-geo 0.1.0, cpu"
    settings.set_runtime_python("")


def test_variable_comes_before_the_choice(
    dialog: SetupDialog, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEMAE_GEO_PYTHON", "/some/python")
    dialog.python.setFilePath("/other/python")
    dialog.use_button.click()
    assert "CODEMAE_GEO_PYTHON" in dialog.step_line.text() and settings.runtime_python() == ""
    dialog.step_line.clear()
    dialog.create_button.click()
    wait_for(lambda: made.created == 1 and dialog._call is None)
    assert "CODEMAE_GEO_PYTHON comes before" in dialog.step_line.text()


def test_uninstall_asks_first(dialog: SetupDialog, made: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    made.used = 5_000_000
    dialog._show_status()
    assert dialog.remove_button.isVisibleTo(dialog)
    answer = QMessageBox.StandardButton.No
    monkeypatch.setattr(QMessageBox, "question", lambda *_args: answer)
    dialog.remove_button.click()
    assert made.removed == 0
    answer = QMessageBox.StandardButton.Yes
    dialog.remove_button.click()
    wait_for(lambda: made.removed == 1 and dialog._call is None)
    assert not dialog.remove_button.isVisibleTo(dialog)


def test_log_can_be_copied_without_the_home_folder(dialog: SetupDialog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    dialog.log.appendPlainText("error in /home/somebody/x")
    next(b for b in dialog.buttons.buttons() if "Copy" in b.text()).click()
    assert QApplication.clipboard().text().endswith("error in ~/x")


def test_options_page_keeps_the_python(qtbot: object) -> None:
    factory = OptionsFactory()
    assert factory.title() == "CoDe-MAE"
    page = factory.createWidget(None)
    page.python.setFilePath("/opt/toolkit/bin/python")
    page.apply()
    assert settings.runtime_python() == "/opt/toolkit/bin/python"
    settings.set_runtime_python("")
    page.deleteLater()
