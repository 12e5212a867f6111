"""The foot of the panel: run, why not, how far, and the list of runs."""

from __future__ import annotations

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QSize, Qt, pyqtSignal
from qgis.PyQt.QtWidgets import (
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ..translate import tr
from .jobs import Jobs
from .queue import Run, State

_ROWS = 4


class RunArea(QWidget):
    """Buttons, progress and list; it shows the queue and asks it to cancel."""

    #: a :class:`Run` to look at, or None
    selected = pyqtSignal(object)

    def __init__(self, jobs: Jobs, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self.run_button = QPushButton(tr("Run"))
        self.run_button.setIcon(QgsApplication.getThemeIcon("/mActionStart.svg"))
        self.cancel_button = QPushButton(tr("Cancel"))
        self.cancel_button.clicked.connect(self.cancel)
        for button in (self.run_button, self.cancel_button):
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button, 2)
        buttons.addWidget(self.cancel_button, 1)
        self.reason = QLabel()
        self.reason.setWordWrap(True)
        self.bar = QProgressBar()
        self.line = QLabel()
        self.line.setWordWrap(True)
        self.list = QTreeWidget()
        self.list.setHeaderHidden(True)
        self.list.setColumnCount(3)
        self.list.setRootIsDecorated(False)
        header = self.list.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
        self.list.itemSelectionChanged.connect(lambda: self.selected.emit(self.current()))
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 4, 8, 8)
        column.addWidget(self.reason)
        column.addLayout(buttons)
        for widget in (self.bar, self.line, self.list):
            column.addWidget(widget)
        for widget in (self.cancel_button, self.bar, self.line, self.list):
            widget.hide()
        jobs.changed.connect(self._on_changed)
        jobs.progress.connect(self._on_progress)
        jobs.doing.connect(self.line.setText)

    def show_problem(self, problem: str) -> None:
        """Disable Run with a sentence that says why, or enable it."""
        self.run_button.setEnabled(not problem)
        self.run_button.setToolTip(problem)
        self.run_button.setText(tr("Run") if self._jobs.queue.running is None else tr("Add to the queue"))
        self.reason.setText(problem)
        self.reason.setVisible(bool(problem))

    def current(self) -> Run | None:
        """The run that is selected in the list."""
        item = self.list.currentItem()
        number = item.data(0, Qt.ItemDataRole.UserRole) if item is not None else None
        return next((run for run in self._jobs.queue.runs if run.number == number), None)

    def cancel(self) -> None:
        """Stop the run at work; those that wait go on."""
        if self._jobs.queue.running is not None:
            self._jobs.queue.cancel(self._jobs.queue.running)

    def _on_progress(self, percent: float) -> None:
        self.bar.setRange(0, 100)
        self.bar.setValue(int(percent))

    def _on_changed(self, run: Run) -> None:
        item = self._item(run) or self._new_item(run)
        icon, text = {
            State.WAITING: ("/mTaskQueued.svg", tr("waiting")),
            State.RUNNING: ("/mTaskRunning.svg", tr("running")),
            State.DONE: ("/mTaskComplete.svg", tr("done")),
            State.FAILED: ("/mTaskTerminated.svg", tr("failed")),
            State.CANCELLED: ("/mTaskCancel.svg", tr("cancelled")),
        }[run.state]
        item.setIcon(0, QgsApplication.getThemeIcon(icon))
        item.setText(1, text)
        for column in (0, 1):
            item.setToolTip(column, run.message or run.title)
        self.list.itemWidget(item, 2).setToolTip(
            tr("Remove from the list") if run.state.over else tr("Cancel this run")
        )
        for widget in (self.cancel_button, self.bar, self.line):
            widget.setVisible(self._jobs.queue.running is not None)
        if run.state is State.RUNNING:
            self.bar.setRange(0, 0)
        self._fit()
        if run.state.over:
            self.list.setCurrentItem(item)
            self.selected.emit(run)

    def _item(self, run: Run) -> QTreeWidgetItem | None:
        for i in range(self.list.topLevelItemCount()):
            if self.list.topLevelItem(i).data(0, Qt.ItemDataRole.UserRole) == run.number:
                return self.list.topLevelItem(i)
        return None

    def _new_item(self, run: Run) -> QTreeWidgetItem:
        item = QTreeWidgetItem(self.list, [f"{run.number}  {run.title}", "", ""])
        item.setData(0, Qt.ItemDataRole.UserRole, run.number)
        button = QToolButton()
        button.setAutoRaise(True)
        button.setIcon(QgsApplication.getThemeIcon("/mIconClose.svg"))
        button.setIconSize(QSize(12, 12))
        button.clicked.connect(lambda _checked=False: self._drop(run))
        self.list.setItemWidget(item, 2, button)
        return item

    def _drop(self, run: Run) -> None:
        if not run.state.over:
            self._jobs.queue.cancel(run)
            return
        self._jobs.queue.runs.remove(run)
        self.list.takeTopLevelItem(self.list.indexOfTopLevelItem(self._item(run)))
        self._fit()
        self.selected.emit(self.current())

    def _fit(self) -> None:
        """As high as its rows, up to a few of them."""
        count = self.list.topLevelItemCount()
        self.list.setVisible(count > 0)
        if count:
            row = self.list.visualItemRect(self.list.topLevelItem(0)).height() or self.list.sizeHintForRow(0)
            self.list.setFixedHeight(row * min(count, _ROWS) + 2 * self.list.frameWidth())
            self.list.scrollToBottom()
