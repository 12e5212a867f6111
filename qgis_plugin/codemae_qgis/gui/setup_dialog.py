"""Set up the runtime: create one, or point to one; see what it takes on disk, remove it."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import QgsApplication
from qgis.gui import QgsFileWidget
from qgis.PyQt.QtCore import Qt, pyqtSignal
from qgis.PyQt.QtGui import QFontDatabase, QTextOption
from qgis.PyQt.QtWidgets import (
    QApplication,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from .. import settings
from ..engine import runtime as engine
from ..engine import setup
from ..engine.errors import Cancelled, EngineError, without_way
from ..translate import tr
from .background import Call


class SetupDialog(QDialog):
    """Nothing here touches QGIS's own Python."""

    # the worker thread speaks through signals
    _step = pyqtSignal(str)
    _logged = pyqtSignal(str)
    _progress = pyqtSignal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Set up CoDe-MAE"))
        self.resize(640, 560)
        self._call: Call | None = None
        self._planning: Call | None = None
        self.plan: setup.Plan | None = None
        self._closing = False

        intro = QLabel(
            tr(
                "CoDe-MAE computes in a Python environment of its own, the runtime. Nothing is installed into QGIS, "
                "and images never leave this computer."
            )
        )
        intro.setWordWrap(True)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.tabs = QTabWidget()
        self.tabs.addTab(self._build_create(), tr("Create a runtime"))
        self.tabs.addTab(self._build_existing(), tr("Use an existing one"))
        self.tabs.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Maximum)
        self.step_line = QLabel()
        self.step_line.setWordWrap(True)
        self.bar = QProgressBar()
        self.bar.setRange(0, 100)
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(5000)
        self.log.setWordWrapMode(QTextOption.WrapMode.WrapAnywhere)
        self.log.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.buttons.rejected.connect(self.reject)
        copy = self.buttons.addButton(tr("Copy log"), QDialogButtonBox.ButtonRole.ActionRole)
        copy.clicked.connect(lambda: QApplication.clipboard().setText(engine.mask_home(self.log.toPlainText())))
        self.cancel_button = self.buttons.addButton(tr("Stop"), QDialogButtonBox.ButtonRole.ActionRole)
        self.cancel_button.clicked.connect(self.stop)
        for label in (self.status, self.plan_line, self.step_line):
            # they may hold paths and commands to copy
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        column = QVBoxLayout(self)
        for widget in (intro, self.status, self.tabs, self.step_line, self.bar):
            column.addWidget(widget)
        column.addWidget(self.log, 1)
        column.addWidget(self.buttons)
        self._step.connect(self._on_step)
        self._logged.connect(self.log.appendPlainText)
        self._progress.connect(lambda share: self.bar.setValue(int(100 * share)))
        self._show_status()
        self._show_plan()
        self._busy(False)
        self.bar.hide()

    # -- layout -----------------------------------------------------------------------------------------------------

    def _build_create(self) -> QWidget:
        page = QWidget()
        form = QFormLayout(page)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.variant = QComboBox()
        for name, text in (
            ("plain", tr("Processor, {size}: without PyTorch, maps with exported models")),
            ("cpu", tr("Processor, {size}: with PyTorch, any model and training")),
            ("cuda", tr("NVIDIA graphics card, {size}: with PyTorch (CUDA), many times faster")),
        ):
            self.variant.addItem(text.format(size=size_text(setup.disk_mb(name))), name)
        self.variant.currentIndexChanged.connect(self._show_plan)
        self.wheels = QgsFileWidget()
        self.wheels.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.wheels.lineEdit().setPlaceholderText(tr("Download from the Python package index"))
        self.wheels.setToolTip(tr("Without a network: a folder with the wheels of codemae-geo and all it needs"))
        self.wheels.fileChanged.connect(self._show_plan)
        self.plan_line = QLabel()
        self.plan_line.setWordWrap(True)
        self.create_button = QPushButton(tr("Create"))
        self.create_button.setIcon(QgsApplication.getThemeIcon("/mActionStart.svg"))
        self.create_button.clicked.connect(self.create_runtime)
        self.remove_button = QPushButton(tr("Uninstall"))
        self.remove_button.clicked.connect(self.remove)
        row = QHBoxLayout()
        row.addWidget(self.create_button)
        row.addWidget(self.remove_button)
        row.addStretch()
        form.addRow(tr("Compute on"), self.variant)
        form.addRow(tr("Wheel folder"), self.wheels)
        form.addRow(self.plan_line)
        form.addRow(row)
        return page

    def _build_existing(self) -> QWidget:
        page = QWidget()
        form = QFormLayout(page)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        hint = QLabel(tr("The python (or the environment's folder) in which you have run: pip install codemae-geo"))
        hint.setWordWrap(True)
        self.python = QgsFileWidget()
        self.python.setStorageMode(QgsFileWidget.StorageMode.GetFile)
        self.python.setFilePath(settings.runtime_python())
        self.python.lineEdit().setPlaceholderText(tr("Look for it: created runtime, then codemae on the PATH"))
        self.use_button = QPushButton(tr("Check and use"))
        self.use_button.clicked.connect(self.use_existing)
        row = QHBoxLayout()
        row.addWidget(self.use_button)
        row.addStretch()
        form.addRow(hint)
        form.addRow(tr("Python"), self.python)
        form.addRow(row)
        return page

    # -- what there is ----------------------------------------------------------------------------------------------

    def _show_status(self) -> None:
        try:
            found = settings.runtime()
        except EngineError as error:
            self.status.setText(without_way(error))
        else:
            origin = {
                "variable": tr("named by the variable {name}").format(name=engine.VARIABLE),
                "setting": tr("chosen here"),
                "managed": tr("created here"),
                "path": tr("found on the PATH"),
            }.get(found.origin, found.origin)
            self.status.setText(tr("In use: {program}, {origin}.").format(program=found.program, origin=origin))
        self._used = setup.disk_used()
        self.remove_button.setVisible(self._used > 0)
        self.remove_button.setToolTip(str(engine.managed_folder()))

    def _show_plan(self, *_anything: Any) -> None:
        """Say what creating takes; looking for a Python may take a while, so it happens in the background."""
        if self._planning is not None:
            self._planning.forget()
        self.plan = None
        self.create_button.setEnabled(False)
        variant, wheels = self.variant.currentData(), self.wheels.filePath().strip() or None
        self._planning = Call(
            tr("Plan the CoDe-MAE runtime"),
            lambda _c: setup.plan(variant=variant, wheels=wheels),
            self._on_plan,
            lambda error: self.plan_line.setText(str(error)),
        ).begin()

    def _on_plan(self, plan: setup.Plan) -> None:
        self.plan = plan
        text = tr("Download about {download}, on disk about {disk}, in {folder} (with {tool}).").format(
            download=size_text(plan.download_mb),
            disk=size_text(plan.disk_mb),
            folder=engine.mask_home(str(plan.folder)),
            tool=plan.tool,
        )
        if self._used:
            text += " " + tr("There is one already: {used}.").format(used=size_text(self._used / 1e6))
        self.plan_line.setText(text)
        self.create_button.setEnabled(self._call is None)

    # -- what is done -----------------------------------------------------------------------------------------------

    def create_runtime(self) -> None:
        """Create the runtime in the background; steps that were finished earlier are not repeated."""
        if self.plan is None:
            return
        plan = self.plan
        proxy = settings.proxy()
        self.bar.setValue(0)
        self.bar.show()
        self._begin(
            Call(
                tr("Create the CoDe-MAE runtime"),
                lambda cancelled: setup.create(
                    plan,
                    on_step=lambda i, n, step: self._step.emit(f"{i + 1}/{n}  {step.title}"),
                    on_log=self._logged.emit,
                    on_progress=self._progress.emit,
                    is_cancelled=cancelled,
                    proxy=proxy,
                ),
                self._on_created,
                self._on_failed,
            )
        )

    def use_existing(self) -> None:
        """Keep the chosen Python if the toolkit in it is healthy."""
        path = self.python.filePath().strip()
        if _variable_problem():
            self.step_line.setText(_variable_problem())
            return
        try:
            runtime = engine.find(path)
        except EngineError as error:
            self._on_failed(error)
            return
        self.step_line.setText(tr("Checking {program} ...").format(program=runtime.program))
        self._begin(
            Call(
                tr("Check the codemae-geo runtime"),
                lambda cancelled: (path, engine.health(runtime, True, cancelled)),
                self._on_checked,
                self._on_failed,
            )
        )

    def remove(self) -> None:
        """Remove the runtime that was created here, after asking."""
        question = tr("Remove the runtime in {folder} ({used})?").format(
            folder=engine.managed_folder(), used=size_text(self._used / 1e6)
        )
        yes = QMessageBox.StandardButton.Yes
        if QMessageBox.question(self, self.windowTitle(), question) != yes:
            return
        self.step_line.setText(tr("Removing ..."))
        self._begin(
            Call(tr("Remove the CoDe-MAE runtime"), lambda _c: setup.remove(), self._on_removed, self._on_failed)
        )

    def stop(self) -> None:
        """Ask what is under way to end; what is finished stays, and the next start goes on from there."""
        if self._call is not None:
            self.step_line.setText(tr("Stopping ..."))
            self._call.cancel()

    def reject(self) -> None:
        """Close; what is under way is stopped first."""
        if self._call is not None:
            self._closing = True
            self.stop()
            return
        self._leave()

    # -- what came of it --------------------------------------------------------------------------------------------

    def _begin(self, call: Call) -> None:
        self._call = call
        self._busy(True)
        call.begin()

    def _busy(self, busy: bool) -> None:
        self.tabs.setEnabled(not busy)
        self.cancel_button.setVisible(busy)

    def _end(self, text: str) -> None:
        self._call = None
        self._busy(False)
        self.step_line.setText(text)
        self._show_status()
        self._show_plan()
        if self._closing:
            self._leave()

    def _leave(self) -> None:
        if self._planning is not None:
            self._planning.forget()
        super().reject()

    def _on_step(self, text: str) -> None:
        self.step_line.setText(text)
        self._logged.emit(f"== {text}")

    def _on_created(self, _runtime: engine.Runtime) -> None:
        # a Python chosen earlier would come before the new one
        settings.set_runtime_python("")
        self.python.setFilePath("")
        self.bar.setValue(100)
        ready = tr("The runtime is ready. Close this window and run.")
        self._end(_variable_problem() or ready)

    def _on_checked(self, answer: tuple[str, engine.Health]) -> None:
        path, health = answer
        settings.set_runtime_python(path)
        self._end(health.line())

    def _on_removed(self, _nothing: None) -> None:
        self._end(tr("The runtime has been removed."))

    def _on_failed(self, error: EngineError) -> None:
        if isinstance(error, Cancelled):
            self._end(tr("Stopped. Create goes on where it stopped."))
            return
        if error.details:
            self.log.appendPlainText(error.details)
        self._end(str(error))


def _variable_problem() -> str:
    """What keeps a choice made here from being used; empty if nothing does."""
    if not os.environ.get(engine.VARIABLE):
        return ""
    text = tr("The variable {name} comes before this choice: remove it and start QGIS again.")
    return text.format(name=engine.VARIABLE)


def size_text(megabytes: float) -> str:
    """``450 MB`` or ``1.4 GB``."""
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"
