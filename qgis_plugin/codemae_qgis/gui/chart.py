"""A small chart: buildings per damage class, as bars with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qgis.PyQt.QtCore import QRectF, QSize, Qt
from qgis.PyQt.QtGui import QColor, QPainter, QPaintEvent, QPen
from qgis.PyQt.QtWidgets import QLabel, QSizePolicy, QWidget


@dataclass(frozen=True)
class Bar:
    """One class: its name, how many, its colour as ``#rrggbb``."""

    name: str
    count: float
    color: str
    label: str = ""

    @property
    def text(self) -> str:
        """What stands at the end of the bar."""
        return self.label or f"{self.count:,.0f}"


class BarChart(QLabel):
    """Horizontal bars in the colours of the map.

    A label because QGIS's dark themes give labels their colour of text, and plain widgets none.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bars: list[Bar] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_bars(self, bars: Sequence[Bar]) -> None:
        """Draw these, from top to bottom."""
        self.bars = list(bars)
        self.setToolTip("\n".join(f"{b.name}: {b.text}" for b in self.bars))
        self.setAccessibleDescription(", ".join(f"{b.name} {b.text}" for b in self.bars))
        self.updateGeometry()
        self.update()

    @property
    def _row(self) -> int:
        return round(self.fontMetrics().height() * 1.5)

    def sizeHint(self) -> QSize:
        """As high as its bars."""
        return QSize(220, self._row * len(self.bars))

    def minimumSizeHint(self) -> QSize:
        """Narrow docks shorten the bars, not the numbers."""
        return QSize(120, self._row * len(self.bars))

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Names to the left, bars from a common line, numbers at their ends."""
        if not self.bars:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = self.fontMetrics()
        gap = metrics.averageCharWidth()
        left = max(metrics.horizontalAdvance(b.name) for b in self.bars) + gap
        right = max(metrics.horizontalAdvance(b.text) for b in self.bars) + 2 * gap
        room = max(self.width() - left - right, 0)
        most = max(b.count for b in self.bars) or 1
        ink = self.palette().color(self.foregroundRole())
        outline = QColor(ink)
        outline.setAlpha(90)
        for i, bar in enumerate(self.bars):
            top = i * self._row
            painter.setPen(ink)
            centred = Qt.AlignmentFlag.AlignVCenter
            painter.drawText(QRectF(0, top, left - gap, self._row), centred | Qt.AlignmentFlag.AlignRight, bar.name)
            length = room * bar.count / most
            if bar.count:
                painter.setPen(QPen(outline, 1))
                painter.setBrush(QColor(bar.color))
                height = round(self._row * 0.6)
                painter.drawRect(QRectF(left + 0.5, top + (self._row - height) / 2 + 0.5, max(length, 2), height))
            painter.setPen(ink)
            painter.drawText(
                QRectF(left + max(length, 0) + gap, top, right, self._row),
                centred | Qt.AlignmentFlag.AlignLeft,
                bar.text,
            )
        painter.end()
