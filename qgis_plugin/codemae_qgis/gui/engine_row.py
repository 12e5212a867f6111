"""One line about the runtime: is there an engine, which, on what device; set-up and diagnostics beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qgis.core import Qgis, QgsApplication
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QT_VERSION_STR, pyqtSignal
from qgis.PyQt.QtWidgets import QApplication, QHBoxLayout, QLabel, QMenu, QPushButton, QSizePolicy, QToolButton, QWidget
from qgis.utils import pluginMetadata

from .. import settings
from ..engine import runtime as engine
from ..engine.errors import EngineError, without_way
from ..translate import tr
from .background import Call


class EngineRow(QWidget):
    """Finds the runtime, asks after its health in the background, and says what came of it."""

    changed = pyqtSignal()

    def __init__(self, iface: QgisInterface, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._iface = iface
        self._calls: list[Call] = []
        self._check: Call | None = None
        #: said in diagnostics: what the last failed run said
        self.last_failure = ""
        self.runtime: engine.Runtime | None = None
        self.health: engine.Health | None = None
        self.error: EngineError | None = None
        self.models: list[dict[str, Any]] = []

        self.icon = QLabel()
        self.line = QLabel()
        self.line.setWordWrap(True)
        self.line.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setup_button = QPushButton(tr("Set up..."))
        self.setup_button.clicked.connect(self.open_setup)
        self.more_button = QToolButton()
        self.more_button.setText("…")
        self.more_button.setToolTip(tr("More"))
        self.more_button.setAutoRaise(True)
        self.more_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.more_button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.menu = QMenu(self.more_button)
        self.menu.addAction(tr("Copy diagnostics")).triggered.connect(self.copy_diagnostics)
        self.menu.addAction(tr("Check the runtime again")).triggered.connect(lambda: self.check(refresh=True))
        self.more_button.setMenu(self.menu)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.icon)
        row.addWidget(self.line, 1)
        row.addWidget(self.setup_button)
        row.addWidget(self.more_button)

    def check(self, refresh: bool = False) -> None:
        """Look for the runtime; :attr:`changed` tells when it is known."""
        if self._check is not None:
            self._check.forget()
        self.runtime = self.health = self.error = self._check = None
        try:
            runtime = settings.runtime()
        except EngineError as error:
            self._on_broken(error)
            return
        self._show("", tr("Looking for the engine ..."))
        self._check = self.call(
            tr("Check the codemae-geo runtime"),
            lambda cancelled: (runtime, engine.health(runtime, refresh, cancelled), engine.models(runtime)),
            self._on_health,
            self._on_broken,
        )
        self.changed.emit()

    def call(
        self,
        title: str,
        work: Callable[[Callable[[], bool]], Any],
        done: Callable[[Any], None],
        failed: Callable[[EngineError], None] | None = None,
    ) -> Call:
        """A short call of the engine in the background; a failure is said in the message bar if nobody takes it."""
        call = Call(title, work, done, failed or (lambda error: self.tell(str(error), Qgis.MessageLevel.Warning)))
        self._calls = [*self._calls[-7:], call]
        return call.begin()

    def tell(self, text: str, level: Qgis.MessageLevel) -> None:
        """A line in QGIS's message bar; failures stay until they are closed."""
        self._iface.messageBar().pushMessage("CoDe-MAE", text, level, 0 if level == Qgis.MessageLevel.Critical else 8)

    def open_setup(self) -> None:
        """The set-up dialog; afterwards the runtime is looked at again."""
        from .setup_dialog import SetupDialog

        SetupDialog(self._iface.mainWindow()).exec()
        self.check(refresh=True)

    def copy_diagnostics(self) -> None:
        """Facts for whoever helps, to the clipboard; the home folder is masked."""
        unknown = self.error or EngineError(tr("not looked for yet"))
        extra = {
            "plugin": pluginMetadata("codemae_qgis", "version"),
            "QGIS": Qgis.QGIS_VERSION,
            "Qt": QT_VERSION_STR,
            "last failed run": self.last_failure,
        }
        QApplication.clipboard().setText(engine.diagnostics(self.runtime or unknown, self.health, extra))
        self.tell(tr("The diagnostics are in the clipboard."), Qgis.MessageLevel.Info)

    def shutdown(self) -> None:
        """Forget what is asked."""
        for call in self._calls:
            call.forget()

    def _on_health(self, answer: tuple[engine.Runtime, engine.Health, list[dict[str, Any]]]) -> None:
        self.runtime, self.health, self.models = answer
        if self.health.problems:
            self._show("/mIconWarning.svg", self.health.line())
        else:
            device = self.health.facts.get("device", self.health.devices[0]).split(",")[0]
            self._show(
                "/mIconSuccess.svg",
                tr("Engine {version} on {device}").format(version=self.health.version, device=device),
            )
        self.line.setToolTip("\n".join([self.health.line(), self.runtime.program, *self.health.problems]))
        self.changed.emit()

    def _on_broken(self, error: EngineError) -> None:
        self.error = error
        self._show("/mIconWarning.svg", without_way(error))
        self.line.setToolTip(error.details)
        self.changed.emit()

    def _show(self, icon: str, text: str) -> None:
        self.icon.setVisible(bool(icon))
        if icon:
            side = self.fontMetrics().height()
            self.icon.setPixmap(QgsApplication.getThemeIcon(icon).pixmap(side, side))
        self.line.setText(text)
