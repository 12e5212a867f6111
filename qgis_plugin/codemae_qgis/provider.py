"""The Processing provider."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .algorithms.base import ICON
from .algorithms.buildings import Buildings
from .algorithms.checkpair import CheckPair
from .algorithms.damagemap import DamageMap
from .algorithms.detect import Detect
from .algorithms.embed import Embed
from .algorithms.segment import Segment
from .translate import tr


class CodemaeProvider(QgsProcessingProvider):
    """`codemae`: everything that the toolkit does for QGIS."""

    def id(self) -> str:
        return "codemae"

    def name(self) -> str:
        return "CoDe-MAE"

    def longName(self) -> str:
        return tr("CoDe-MAE: maps from optical and radar images")

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def svgIconPath(self) -> str:
        return ICON

    def loadAlgorithms(self) -> None:
        for algorithm in (DamageMap, CheckPair, Buildings, Segment, Detect, Embed):
            self.addAlgorithm(algorithm())

    def supportsNonFileBasedOutput(self) -> bool:
        return False

    def defaultRasterFileExtension(self) -> str:
        return "tif"

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        return ["tif"]

    def defaultVectorFileExtension(self, hasGeometry: bool = True) -> str:
        return "gpkg"
