"""Small widgets that the panel uses more than once."""

from __future__ import annotations

from qgis.core import QgsMapLayerProxyModel
from qgis.gui import QgsMapLayerComboBox, QgsScrollArea
from qgis.PyQt.QtCore import QEvent, QObject, QSize, Qt
from qgis.PyQt.QtWidgets import QComboBox, QHBoxLayout, QSizePolicy, QStyle, QWidget


def layer_combo(kind: QgsMapLayerProxyModel.Filter, empty: str) -> QgsMapLayerComboBox:
    """A choice of layers that starts with none and does not widen the panel for a long name."""
    combo = QgsMapLayerComboBox()
    combo.setFilters(kind)
    combo.setAllowEmptyLayer(True, empty)
    combo.setLayer(None)
    keep_narrow(combo)
    return combo


def keep_narrow(combo: QComboBox) -> None:
    """Long entries are cut short, not the panel made wide."""
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)


def in_row(*widgets: QWidget, spacing: int = 4) -> QWidget:
    """Side by side; the first takes the room that is left."""
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(spacing)
    for widget in widgets:
        row.addWidget(widget)
    return holder


class TallPage(QgsScrollArea):
    """Scrolls up and down only: never narrower than its page, whose right edge would be out of reach."""

    def __init__(self, page: QWidget, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QgsScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(page)
        page.installEventFilter(self)

    def minimumSizeHint(self) -> QSize:
        """As wide as the page, with its scroll bar; as low as you like."""
        bar = self.verticalScrollBar()
        # style sheets of themes let the hint be less than what the bar takes
        extent = self.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent, None, bar)
        wide = max(bar.sizeHint().width(), extent, bar.width() if bar.isVisible() else 0)
        return QSize(self.widget().minimumSizeHint().width() + wide + 2 * self.frameWidth(), 120)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The page has other contents: ask for another width."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return super().eventFilter(watched, event)
