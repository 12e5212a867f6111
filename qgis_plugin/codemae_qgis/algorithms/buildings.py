"""Give each building the class that a finished raster holds for it."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from qgis.core import QgsProcessingContext, QgsProcessingFeedback, QgsProcessingParameterRasterLayer

from ..translate import tr
from . import checks
from .base import EngineAlgorithm, absolute
from .summaries import add_building_outputs, building_numbers


class Buildings(EngineAlgorithm):
    """`codemae buildings`."""

    ID = "buildings"
    COMMAND = "buildings"
    VECTORS: ClassVar = {"BUILDINGS": ("buildings", "buildings")}

    def displayName(self) -> str:
        return tr("Damage class of each building")

    def tags(self) -> list[str]:
        return tr("damage,buildings,footprints,zonal statistics,aggregate").split(",")

    def shortDescription(self) -> str:
        return tr("Summarises an existing damage raster on building footprints")

    def shortHelpString(self) -> str:
        return tr(
            "Gives each footprint the class that an existing class raster holds for it, with the share of each class, "
            "the confidence and whether the footprint was covered. Nothing is computed again by the model."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.addParameter(QgsProcessingParameterRasterLayer("RASTER", tr("Damage classes")))
        self.add_polygons("FOOTPRINTS", tr("Building footprints"), optional=False)
        self.addParameter(QgsProcessingParameterRasterLayer("CONFIDENCE_RASTER", tr("Confidence"), optional=True))
        self.add_vector_output("BUILDINGS", tr("Buildings"))
        add_building_outputs(self)
        self.add_text("SUMMARY", tr("Summary as JSON"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        names = ["RASTER", *(["CONFIDENCE_RASTER"] if parameters.get("CONFIDENCE_RASTER") else [])]
        found = (
            checks.raster_problem(
                self.parameterAsRasterLayer(parameters, name, context), self.parameterDefinition(name).description()
            )
            for name in names
        )
        return next(filter(None, found), "")

    def arguments(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        confidence = self.parameterAsRasterLayer(parameters, "CONFIDENCE_RASTER", context)
        return {
            "raster": absolute(self.parameterAsRasterLayer(parameters, "RASTER", context).source()),
            "footprints": self.polygons(parameters, "FOOTPRINTS", context, feedback),
            "confidence": absolute(confidence.source()) if confidence is not None else None,
        }

    def request_output(self, folder: str) -> dict[str, Any]:
        return {"output": os.path.join(folder, "buildings.gpkg")}

    def numbers(self, summary: dict[str, Any]) -> dict[str, Any]:
        return building_numbers(summary)
