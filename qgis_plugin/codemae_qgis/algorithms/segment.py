"""Segment a scene with any segmentation model."""

from __future__ import annotations

from typing import Any, ClassVar

from qgis.core import QgsProcessingContext, QgsProcessingFeedback, QgsProcessingParameterBoolean

from ..engine.runner import Outcome
from ..translate import tr
from .base import EngineAlgorithm
from .summaries import about, class_table


class Segment(EngineAlgorithm):
    """`codemae predict`."""

    ID = "segment"
    COMMAND = "predict"
    RASTERS: ClassVar = {"classes": "CLASSES", "confidence": "CONFIDENCE"}
    VECTORS: ClassVar = {"POLYGONS": ("vector", "polygons")}

    def displayName(self) -> str:
        return tr("Segment a scene")

    def tags(self) -> list[str]:
        return tr("segmentation,classification,land cover,deep learning,inference").split(",")

    def shortDescription(self) -> str:
        return tr("A class for every pixel, by any segmentation model package")

    def shortHelpString(self) -> str:
        return tr(
            "Gives every pixel of a scene a class with any segmentation model package (.safetensors).\n\n"
            "The package says which sensor and bands it takes; scenes of any size are read in windows without seams."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_scene("INPUT", tr("Scene"), "INPUT_MORE")
        self.add_model(tr("Model (name or file)"), optional=False)
        self.add_area()
        self.add_grid()
        self.add_advanced(
            QgsProcessingParameterBoolean(
                "TTA", tr("Average the eight flips and turns (8 times slower, a little better)"), defaultValue=False
            )
        )
        self.add_device()
        self.add_raster_output("CLASSES", tr("Classes"))
        self.add_raster_output("CONFIDENCE", tr("Confidence"), default=False)
        self.add_vector_output("POLYGONS", tr("Polygons"))
        self.add_report()
        self.add_number("AREA_ANALYSED_M2", tr("Analysed area in square metres"))
        self.add_number("POLYGON_COUNT", tr("Number of polygons"))
        self.add_text("MODEL_NAME", tr("Model"))
        self.add_text("SUMMARY", tr("Summary as JSON"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        return self.scene_problem(parameters, "INPUT", "INPUT_MORE", context)

    def arguments(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        inputs, src_crs = self.sources(parameters, "INPUT", "INPUT_MORE", context)
        return {
            "model": self.model(parameters, context),
            "inputs": inputs,
            "src_crs": src_crs,
            **self.area(parameters, "INPUT", context, feedback),
            "tta": self.parameterAsBoolean(parameters, "TTA", context) or None,
            "device": self.parameterAsEnumString(parameters, "DEVICE", context),
        }

    def numbers(self, summary: dict[str, Any]) -> dict[str, Any]:
        return {
            "AREA_ANALYSED_M2": summary["analysed"]["area_m2"],
            "POLYGON_COUNT": summary.get("polygons", {}).get("count", 0),
            "MODEL_NAME": summary["model"]["name"],
        }

    def report(self, outcome: Outcome) -> str:
        return class_table(outcome.summary, {}) + about(outcome)
