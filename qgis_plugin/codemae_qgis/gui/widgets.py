"""Small widgets that the panel uses more than once."""

from __future__ import annotations

from qgis.core import QgsMapLayerProxyModel
from qgis.gui import QgsMapLayerComboBox
from qgis.PyQt.QtWidgets import QComboBox, QHBoxLayout, QSizePolicy, QWidget


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
