"""What happens to a layer when QGIS has loaded it: its metadata say which model, inputs and date made it."""

from __future__ import annotations

from qgis.core import (
    QgsLayerMetadata,
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
)

from ..engine.runner import Outcome
from ..translate import tr
from .summaries import input_lines, model_of


class StyledLayer(QgsProcessingLayerPostProcessorInterface):
    """Names a layer's origin. The style came with the file: a QML, or the style table of a GeoPackage."""

    def __init__(self, title: str, outcome: Outcome) -> None:
        super().__init__()
        self._title = title
        self._outcome = outcome

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        """Called by QGIS on the main thread."""
        # Processing opens its results without the style that came with them
        layer.loadDefaultStyle()
        layer.loadDefaultMetadata()  # the QMD beside the file, which QGIS reads by itself only in its window
        if not layer.metadata().abstract():
            layer.setMetadata(metadata(self._title, self._outcome))


def metadata(title: str, outcome: Outcome) -> QgsLayerMetadata:
    """Which model, inputs and date made a layer."""
    summary = outcome.summary
    model = model_of(summary)
    found = QgsLayerMetadata()
    found.setTitle(title)
    lines = input_lines(summary)
    if model:
        words = [model.get("name", ""), model.get("version", "")]
        words += ["sha256", model["sha256"]] if "sha256" in model else []
        lines.append(f"{tr('Model')}: {' '.join(filter(None, words))}")
    lines.append(f"{tr('Made by')}: codemae-geo {outcome.version}, {summary.get('device', '')}".rstrip(", "))
    if model.get("limits"):
        lines.append(f"{tr('Limits')}: {model['limits']}")
    found.setAbstract("\n".join(lines))
    found.setHistory([f"{summary.get('created', '')} codemae-geo {outcome.version} {summary.get('task', '')}".strip()])
    if model.get("licence"):
        found.setLicenses([model["licence"]])
    return found
