"""Dense features of a scene."""

from __future__ import annotations

from typing import Any, ClassVar

from qgis.core import QgsProcessingContext, QgsProcessingFeedback

from ..engine.runner import Outcome
from ..translate import tr
from .base import EngineAlgorithm
from .summaries import about, table

STRIDES = ("16", "8", "4")
SENSORS = ("auto", "optical", "sar")


class Embed(EngineAlgorithm):
    """`codemae embed`."""

    ID = "embed"
    COMMAND = "embed"
    RASTERS: ClassVar = {"embedding": "FEATURES", "components": "PICTURE"}

    def displayName(self) -> str:
        return tr("Image features")

    def tags(self) -> list[str]:
        return tr("embedding,features,backbone,similarity,clustering,deep learning").split(",")

    def shortDescription(self) -> str:
        return tr("What a backbone sees: a vector of features for every few pixels, and a picture of it")

    def shortHelpString(self) -> str:
        return tr(
            "Computes dense features of a scene with the backbone of a model package: a raster with one band for each "
            "dimension, to cluster or to classify, and a picture in which red, green and blue are the first three "
            "principal components: places that look alike to the model have like colours."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_scene("INPUT", tr("Scene"), "INPUT_MORE")
        self.add_model(tr("Model (name or file)"), optional=False)
        self.add_area()
        self.add_enum("SENSOR", tr("Sensor"), SENSORS, advanced=True)
        self.add_enum("STRIDE", tr("Pixels of a cell"), STRIDES, advanced=True)
        self.add_device()
        self.add_raster_output("FEATURES", tr("Features"))
        self.add_raster_output("PICTURE", tr("First three components"))
        self.add_report()
        self.add_number("FEATURE_COUNT", tr("Number of dimensions"))
        self.add_text("MODEL_NAME", tr("Model"))
        self.add_text("SUMMARY", tr("Summary as JSON"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        return self.scene_problem(parameters, "INPUT", "INPUT_MORE", context)

    def arguments(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        inputs, src_crs = self.sources(parameters, "INPUT", "INPUT_MORE", context)
        sensor = self.parameterAsEnumString(parameters, "SENSOR", context)
        return {
            "model": self.model(parameters, context),
            "inputs": inputs,
            "src_crs": src_crs,
            **self.area(parameters, "INPUT", context, feedback),
            "sensor": None if sensor == "auto" else sensor,
            "stride": self.parameterAsEnumString(parameters, "STRIDE", context),
            "device": self.parameterAsEnumString(parameters, "DEVICE", context),
        }

    def numbers(self, summary: dict[str, Any]) -> dict[str, Any]:
        return {"FEATURE_COUNT": summary["embedding"]["dimensions"], "MODEL_NAME": summary["model"]["name"]}

    def report(self, outcome: Outcome) -> str:
        shares = outcome.summary["components"]["explained_variance_ratio"]
        rows = [[str(i), f"{100 * share:.1f}"] for i, share in enumerate(shares, 1)]
        return table([tr("Component"), tr("% of the variance")], rows) + about(outcome)
