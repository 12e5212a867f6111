"""Feedback that hands on what the engine says, for a panel that shows more than a percentage."""

from __future__ import annotations

from qgis.core import QgsProcessingFeedback
from qgis.PyQt.QtCore import pyqtSignal

from .engine.protocol import Event


class EngineFeedback(QgsProcessingFeedback):
    """Emits :attr:`engineEvent` for every event; receivers on the main thread get it there."""

    engineEvent = pyqtSignal(object)
    #: the last error that was told: of a run that failed, why
    last_error = ""

    def engine_event(self, event: Event) -> None:
        """Called by the algorithm, from its thread."""
        self.engineEvent.emit(event)

    def reportError(self, error: str, fatalError: bool = False) -> None:
        """Called by the algorithm, or by QGIS with what it raised."""
        self.last_error = error
        super().reportError(error, fatalError)
