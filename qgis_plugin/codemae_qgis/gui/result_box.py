"""What a run found: a chart, a headline, warnings, and what the model cannot do."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Tuple

from qgis.PyQt.QtCore import Qt, QUrl
from qgis.PyQt.QtGui import QDesktopServices
from qgis.PyQt.QtWidgets import QGroupBox, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from ..translate import tr
from .chart import Bar, BarChart
from .queue import Run, State
from .text_dialog import TextDialog

#: legible on light and dark themes; style sheets leave the palette's colour of links alone
_LINK = "#2f8fd8"
#: value of a class -> its label and its colour as ``#rrggbb``
Legend = Dict[int, Tuple[str, str]]
#: characters of the model's limits that are shown before "more"
_SHORT = 150


def read_summary(results: dict[str, Any]) -> dict[str, Any]:
    """The engine's summary in the results of an algorithm; empty if there is none."""
    try:
        summary = json.loads(results.get("SUMMARY") or "{}")
    except ValueError:
        return {}
    return summary if isinstance(summary, dict) else {}


def damage_bars(summary: dict[str, Any], legend: Legend) -> tuple[str, list[Bar]]:
    """What is counted (``buildings`` or ``area``) and one bar per class of the legend, which has no background."""
    counts = (summary.get("buildings") or {}).get("classes")
    bars = []
    for found in summary.get("classes", []):
        label, color = legend.get(found["value"], ("", ""))
        if label and counts:
            bars.append(Bar(label, counts.get(found["name"], 0), color))
        elif label:
            bars.append(Bar(label, found["area_m2"], color, f"{found['area_m2'] / 10_000:,.2f} ha"))
    return ("buildings" if counts else "area"), bars


def count_buildings(summary: dict[str, Any]) -> tuple[int, int]:
    """Buildings within the analysed area, and those of them that the model does not take for buildings."""
    buildings = summary.get("buildings") or {}
    statuses, classes = buildings.get("statuses") or {}, buildings.get("classes") or {}
    outside = statuses.get("outside", 0) + statuses.get("nodata", 0)
    return buildings.get("n", 0) - outside, classes.get("background", 0)


def shorten(text: str, limit: int = _SHORT) -> str:
    """``text`` up to the last word before ``limit``."""
    if len(text) <= limit:
        return text
    return text[:limit].rsplit(" ", 1)[0].rstrip(",;:.") + " …"


class ResultBox(QGroupBox):
    """The result of one run; hidden until there is one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._limits = ""
        self._log = ""
        self._report = ""
        self.headline = QLabel()
        self.headline.setWordWrap(True)
        self.chart = BarChart()
        self.notes = QLabel()
        self.notes.setWordWrap(True)
        self.limits = QLabel()
        self.limits.setWordWrap(True)
        self.limits.setTextFormat(Qt.TextFormat.RichText)
        self.limits.linkActivated.connect(self._show_limits)
        for label in (self.headline, self.notes):
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.zoom = QPushButton(tr("Zoom"))
        self.report = QPushButton(tr("Report"))
        self.report.clicked.connect(self._open_report)
        self.log = QPushButton(tr("Log"))
        self.log.clicked.connect(self._show_log)
        row = QHBoxLayout()
        row.addWidget(self.zoom)
        row.addWidget(self.report)
        row.addWidget(self.log)
        row.addStretch()
        layout = QVBoxLayout(self)
        for widget in (self.headline, self.chart, self.notes, self.limits):
            layout.addWidget(widget)
        layout.addLayout(row)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.hide()

    def show_run(self, run: Run, legend: Legend, log: str, can_zoom: bool) -> None:
        """Show what has become of ``run``."""
        self._log = log
        summary = read_summary(run.results)
        self.setTitle(tr("Run {number}: {title}").format(number=run.number, title=run.title))
        kind, bars = damage_bars(summary, legend) if run.state is State.DONE else ("", [])
        self.chart.show_bars(bars)
        self.chart.setVisible(bool(bars))
        self.headline.setText(self._headline(run, kind, summary))
        warnings = [w.get("message", "") for w in summary.get("warnings", [])]
        self.notes.setText("\n".join(w[:1].upper() + w[1:] for w in warnings))
        self.notes.setVisible(bool(warnings))
        self._limits = str((summary.get("model") or {}).get("limits") or "")
        self._show_limits("less")
        self.zoom.setVisible(can_zoom)
        self._report = str(run.results.get("REPORT") or "")
        self.report.setVisible(os.path.isfile(self._report))
        self.log.setVisible(bool(log))
        self.show()

    def _headline(self, run: Run, kind: str, summary: dict[str, Any]) -> str:
        if run.state is not State.DONE:
            return run.message
        if kind == "buildings":
            looked, missed = count_buildings(summary)
            text = tr("Buildings per class. Looked at: {looked}; of these the model takes {missed} for background.")
            return text.format(looked=looked, missed=missed)
        return tr("Area of buildings per class")

    def _show_limits(self, link: str) -> None:
        short = shorten(self._limits)
        text = self._limits if link == "more" else short
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        if short != self._limits:
            label = tr("less") if link == "more" else tr("more")
            text += f" <a style='color:{_LINK}' href='{'less' if link == 'more' else 'more'}'>{label}</a>"
        self.limits.setText(f"<b>{tr('Limits of the model:')}</b> {text}")
        self.limits.setVisible(bool(self._limits))

    def _open_report(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(self._report))

    def _show_log(self) -> None:
        TextDialog(self.title(), self._log, parent=self).show()
