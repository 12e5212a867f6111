"""Map building damage from a scene before and a scene after an event."""

from __future__ import annotations

from typing import Any, ClassVar

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterNumber,
)

from ..engine.runner import Outcome
from ..translate import tr
from .base import SENSORS, EngineAlgorithm
from .summaries import about, add_building_outputs, building_numbers, class_table, class_titles, offset_numbers


class DamageMap(EngineAlgorithm):
    """`codemae damage`."""

    ID = "damagemap"
    COMMAND = "damage"
    RASTERS: ClassVar = {"classes": "CLASSES", "confidence": "CONFIDENCE"}
    VECTORS: ClassVar = {"POLYGONS": ("vector", "polygons"), "BUILDINGS": ("vector", "buildings")}

    def displayName(self) -> str:
        return tr("Map building damage")

    def tags(self) -> list[str]:
        return tr("damage,disaster,change detection,buildings,sar,earthquake,tornado,deep learning").split(",")

    def shortDescription(self) -> str:
        return tr("Building damage from a scene before and a scene after an event")

    def shortHelpString(self) -> str:
        return tr(
            "Compares an optical scene before an event with an optical or radar scene after it and gives each pixel, "
            "and each building if you have footprints, a class: intact, damaged or destroyed.\n\n"
            "The scenes may differ in coordinate reference system, pixel size and extent; the map has the grid of the "
            "scene before, unless you ask for another. A scene that consists of several tiles: choose one tile, and "
            "the others under the advanced parameters.\n\n"
            "Everything runs on this computer. The map is a model's opinion: read the model's limits in the report, "
            "and have it reviewed before decisions about people's safety depend on it."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_scene("PRE", tr("Before"), "PRE_MORE")
        self.add_scene("POST", tr("After"), "POST_MORE")
        self.add_model(tr("Model (name or file; empty: the bundled one)"), optional=True)
        self.add_polygons("FOOTPRINTS", tr("Building footprints"), optional=True)
        self.add_area()
        self.add_enum("POST_SENSOR", tr("Sensor of the scene after"), SENSORS, advanced=True)
        self.add_grid()
        self.add_advanced(
            QgsProcessingParameterBoolean(
                "TTA", tr("Average the eight flips and turns (8 times slower, a little better)"), defaultValue=False
            )
        )
        self.add_advanced(
            QgsProcessingParameterBoolean(
                "NEAR_BUILDINGS", tr("Analyse only near the footprints (faster)"), defaultValue=False
            )
        )
        self.add_advanced(
            QgsProcessingParameterNumber(
                "NEAR_DISTANCE",
                tr("Metres that count as near"),
                QgsProcessingParameterNumber.Type.Double,
                defaultValue=50.0,
                minValue=0.0,
            )
        )
        self.add_device()
        self.add_raster_output("CLASSES", tr("Damage classes"))
        self.add_raster_output("CONFIDENCE", tr("Confidence"), default=False)
        self.add_vector_output("POLYGONS", tr("Damage polygons"))
        self.add_vector_output("BUILDINGS", tr("Buildings"))
        self.add_report()
        self.add_number("AREA_ANALYSED_M2", tr("Analysed area in square metres"))
        for name, title in class_titles().items():
            self.add_number(f"AREA_{name.upper()}_M2", tr("Square metres: {name}").format(name=title))
        add_building_outputs(self)
        self.add_number("POLYGON_COUNT", tr("Number of polygons"))
        self.add_number("OFFSET_EAST_M", tr("Offset of the scene after, metres east"))
        self.add_number("OFFSET_NORTH_M", tr("Offset of the scene after, metres north"))
        self.add_text("MODEL_NAME", tr("Model"))
        self.add_text("SUMMARY", tr("Summary as JSON"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        near = self.parameterAsBoolean(parameters, "NEAR_BUILDINGS", context)
        if near and not parameters.get("FOOTPRINTS"):
            return tr("To analyse only near buildings, choose the layer with their footprints.")
        return self.pair_problem(parameters, context)

    def arguments(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        pre, pre_crs = self.sources(parameters, "PRE", "PRE_MORE", context)
        post, post_crs = self.sources(parameters, "POST", "POST_MORE", context)
        near = self.parameterAsBoolean(parameters, "NEAR_BUILDINGS", context)
        return {
            "pre": pre,
            "post": post,
            "src_crs": pre_crs or post_crs,
            "post_sensor": self.sensor(parameters, context),
            "model": self.model(parameters, context),
            "footprints": self.polygons(parameters, "FOOTPRINTS", context, feedback),
            **self.area(parameters, "PRE", context, feedback),
            "only_near_buildings": near or None,
            "near_distance": self.parameterAsDouble(parameters, "NEAR_DISTANCE", context) if near else None,
            "tta": self.parameterAsBoolean(parameters, "TTA", context) or None,
            "device": self.parameterAsEnumString(parameters, "DEVICE", context),
        }

    def numbers(self, summary: dict[str, Any]) -> dict[str, Any]:
        return {
            "AREA_ANALYSED_M2": summary["analysed"]["area_m2"],
            **{f"AREA_{c['name'].upper()}_M2": c["area_m2"] for c in summary["classes"]},
            **building_numbers(summary),
            "POLYGON_COUNT": summary["polygons"]["count"],
            **offset_numbers(summary),
            "MODEL_NAME": summary["model"]["name"],
        }

    def report(self, outcome: Outcome) -> str:
        return class_table(outcome.summary, class_titles()) + about(outcome)
