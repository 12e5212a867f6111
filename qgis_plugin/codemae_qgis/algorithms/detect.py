"""Find objects in a scene."""

from __future__ import annotations

from typing import Any, ClassVar

from qgis.core import QgsProcessingContext, QgsProcessingFeedback, QgsProcessingParameterNumber

from ..engine.runner import Outcome
from ..translate import tr
from .base import EngineAlgorithm
from .summaries import about, table


class Detect(EngineAlgorithm):
    """`codemae detect`."""

    ID = "detect"
    COMMAND = "detect"
    VECTORS: ClassVar = {"OBJECTS": ("detections", "detections")}

    def displayName(self) -> str:
        return tr("Detect objects")

    def tags(self) -> list[str]:
        return tr("detection,objects,boxes,ships,vehicles,deep learning").split(",")

    def shortDescription(self) -> str:
        return tr("Boxes around objects, by any detection model package")

    def shortHelpString(self) -> str:
        return tr(
            "Finds objects in a scene of any size with a detection model package (.safetensors) and gives each a box, "
            "a class and a score."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_scene("INPUT", tr("Scene"), "INPUT_MORE")
        self.add_model(tr("Model (name or file)"), optional=False)
        self.add_area()
        self.addParameter(
            QgsProcessingParameterNumber(
                "THRESHOLD",
                tr("Lowest score (empty: the model's)"),
                QgsProcessingParameterNumber.Type.Double,
                optional=True,
                minValue=0.0,
                maxValue=1.0,
            )
        )
        self.add_device()
        self.add_vector_output("OBJECTS", tr("Objects"))
        self.add_report()
        self.add_number("OBJECT_COUNT", tr("Number of objects"))
        self.add_text("MODEL_NAME", tr("Model"))
        self.add_text("SUMMARY", tr("Summary as JSON"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        return self.scene_problem(parameters, "INPUT", "INPUT_MORE", context)

    def arguments(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        inputs, src_crs = self.sources(parameters, "INPUT", "INPUT_MORE", context)
        asked = parameters.get("THRESHOLD") is not None
        return {
            "model": self.model(parameters, context),
            "inputs": inputs,
            "src_crs": src_crs,
            **self.area(parameters, "INPUT", context, feedback),
            "score_threshold": self.parameterAsDouble(parameters, "THRESHOLD", context) if asked else None,
            "device": self.parameterAsEnumString(parameters, "DEVICE", context),
        }

    def numbers(self, summary: dict[str, Any]) -> dict[str, Any]:
        return {"OBJECT_COUNT": summary["detections"]["n"], "MODEL_NAME": summary["model"]["name"]}

    def report(self, outcome: Outcome) -> str:
        counts = outcome.summary["detections"]["classes"]
        return table([tr("Class"), tr("Objects")], [[name, str(n)] for name, n in counts.items()]) + about(outcome)
