"""Where to look: the whole overlap, what the map shows, polygons of a layer, or a rectangle drawn on the map."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsGeometry,
    QgsMapLayerProxyModel,
    QgsRectangle,
    QgsUnitTypes,
    QgsWkbTypes,
)
from qgis.gui import QgsMapCanvas, QgsMapTool, QgsMapToolExtent, QgsRubberBand
from qgis.PyQt.QtCore import pyqtSignal
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ..translate import tr
from .widgets import layer_combo


class AreaChooser(QWidget):
    """A choice and, beneath it, what the choice needs."""

    changed = pyqtSignal()

    def __init__(self, canvas: QgsMapCanvas, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._canvas = canvas
        self._tool: QgsMapToolExtent | None = None
        self._previous: QgsMapTool | None = None
        self._band: QgsRubberBand | None = None
        self.rectangle = QgsRectangle()
        self._crs = QgsCoordinateReferenceSystem()

        self.kind = QComboBox()
        for key, text in (
            ("overlap", tr("Whole overlap")),
            ("canvas", tr("What the map shows")),
            ("layer", tr("Polygons of a layer")),
            ("drawn", tr("Rectangle drawn on the map")),
        ):
            self.kind.addItem(text, key)
        self.kind.currentIndexChanged.connect(self._on_kind)
        self.layer = layer_combo(QgsMapLayerProxyModel.Filter.PolygonLayer, tr("Choose a polygon layer"))
        self.layer.layerChanged.connect(self.changed)
        self.draw_button = QPushButton(tr("Draw..."))
        self.draw_button.setCheckable(True)
        self.draw_button.clicked.connect(self._on_draw)
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        self._drawing = QWidget()
        row = QHBoxLayout(self._drawing)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.draw_button)
        row.addWidget(self.hint, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.kind)
        column.addWidget(self.layer)
        column.addWidget(self._drawing)
        self.layer.hide()
        self._drawing.hide()

    def problem(self) -> str:
        """What is missing, in a sentence; empty if nothing is."""
        kind = self.kind.currentData()
        if kind == "layer" and self.layer.currentLayer() is None:
            return tr("Choose the layer whose polygons are the area.")
        if kind == "drawn" and self.rectangle.isEmpty():
            return tr("Draw a rectangle on the map, or choose another area.")
        return ""

    def parameters(self) -> dict[str, Any]:
        """EXTENT or AOI of an algorithm; neither for the whole overlap."""
        kind = self.kind.currentData()
        if kind == "canvas":
            return {"EXTENT": extent_text(self._canvas.extent(), self._canvas.mapSettings().destinationCrs())}
        if kind == "drawn" and not self.rectangle.isEmpty():
            return {"EXTENT": extent_text(self.rectangle, self._crs)}
        if kind == "layer" and self.layer.currentLayer() is not None:
            return {"AOI": self.layer.currentLayer().id()}
        return {}

    def set_kind(self, kind: str) -> None:
        """Choose by key; an unknown key changes nothing."""
        index = self.kind.findData(kind)
        if index >= 0:
            self.kind.setCurrentIndex(index)

    def set_rectangle(self, rectangle: QgsRectangle) -> None:
        """Take a rectangle in the map's coordinates as the drawn one."""
        self.rectangle, self._crs = QgsRectangle(rectangle), self._canvas.mapSettings().destinationCrs()
        if self._band is None:
            self._band = QgsRubberBand(self._canvas, QgsWkbTypes.GeometryType.PolygonGeometry)
            self._band.setStrokeColor(QColor(213, 94, 0))
            self._band.setFillColor(QColor(213, 94, 0, 20))
            self._band.setWidth(2)
        self._band.setToGeometry(QgsGeometry.fromRect(self.rectangle), self._crs)
        self._band.setVisible(self.kind.currentData() == "drawn")
        form = "{:.4f} × {:.4f}°" if self._crs.isGeographic() else "{:,.0f} × {:,.0f} {}"
        unit = QgsUnitTypes.toAbbreviatedString(self._crs.mapUnits())
        self.hint.setText(form.format(self.rectangle.width(), self.rectangle.height(), unit))
        self.changed.emit()

    def clear(self) -> None:
        """Forget the drawn rectangle; the project it was drawn in is gone."""
        self.rectangle = QgsRectangle()
        self.hint.clear()
        if self._band is not None:
            self._band.reset(QgsWkbTypes.GeometryType.PolygonGeometry)
        self._stop()

    def shutdown(self) -> None:
        """Take everything off the map."""
        self._stop()
        if self._band is not None:
            self._canvas.scene().removeItem(self._band)
            self._band = None

    def _on_kind(self) -> None:
        kind = self.kind.currentData()
        self.layer.setVisible(kind == "layer")
        self._drawing.setVisible(kind == "drawn")
        if self._band is not None:
            self._band.setVisible(kind == "drawn")
        if kind != "drawn":
            self._stop()
        elif self.rectangle.isEmpty() and self.isVisible():
            self._begin()
        self.changed.emit()

    def _on_draw(self, on: bool) -> None:
        if on:
            self._begin()
        else:
            self._stop()

    def _begin(self) -> None:
        if self._tool is None:
            self._tool = QgsMapToolExtent(self._canvas)
            self._tool.extentChanged.connect(self._on_drawn)
            self._tool.deactivated.connect(lambda: self.draw_button.setChecked(False))
        if self._canvas.mapTool() is not self._tool:
            self._previous = self._canvas.mapTool()
            self._canvas.setMapTool(self._tool)
        self.draw_button.setChecked(True)
        self.hint.setText(tr("Drag a rectangle on the map"))

    def _on_drawn(self, rectangle: QgsRectangle) -> None:
        # clearing the tool's own band reports an empty rectangle
        if rectangle.isEmpty() or self._canvas.mapTool() is not self._tool:
            return
        self.set_rectangle(rectangle)
        self._stop()

    def _stop(self) -> None:
        """Give the map back the tool that was in use before."""
        if self._tool is not None and self._canvas.mapTool() is self._tool:
            self._canvas.unsetMapTool(self._tool)
            if self._previous is not None:
                self._canvas.setMapTool(self._previous)
            self._tool.clearRubberBand()
        self._previous = None
        self.draw_button.setChecked(False)


def extent_text(rectangle: QgsRectangle, crs: QgsCoordinateReferenceSystem) -> str:
    """An extent as Processing writes it, exact to the last digit."""
    edges = (rectangle.xMinimum(), rectangle.xMaximum(), rectangle.yMinimum(), rectangle.yMaximum())
    return ",".join(repr(edge) for edge in edges) + f" [{crs.authid()}]"
