"""Tell whether two scenes can be made into a damage map."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsProcessingContext, QgsProcessingFeedback

from ..engine.runner import Outcome
from ..translate import tr
from .base import SENSORS, EngineAlgorithm
from .summaries import offset_numbers, paragraphs, table


class CheckPair(EngineAlgorithm):
    """`codemae checkpair`."""

    ID = "checkpair"
    COMMAND = "checkpair"

    def displayName(self) -> str:
        return tr("Check a pair of scenes")

    def tags(self) -> list[str]:
        return tr("check,overlap,offset,registration,sensor,nodata,pair").split(",")

    def shortDescription(self) -> str:
        return tr("Whether two scenes can be made into a damage map: overlap, resolution, offset, sensors, nodata")

    def shortHelpString(self) -> str:
        return tr(
            "Looks at the headers and at some patches of two scenes, in seconds, and says whether a damage map can be "
            "made of them: how much ground they share, their pixel sizes, sensors and dates, how much is nodata, and "
            "whether they are shifted against each other. No model is run and nothing but the report is written."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add_scene("PRE", tr("Before"), "PRE_MORE")
        self.add_scene("POST", tr("After"), "POST_MORE")
        self.add_model(tr("Model (name or file; empty: the bundled one)"), optional=True)
        self.add_enum("POST_SENSOR", tr("Sensor of the scene after"), SENSORS, advanced=True)
        self.add_report()
        self.add_number("USABLE", tr("1 if the pair can be used"))
        self.add_number("OVERLAP_M2", tr("Common ground in square metres"))
        self.add_number("SHARE_OF_PRE", tr("Share of the scene before"))
        self.add_number("SHARE_OF_POST", tr("Share of the scene after"))
        self.add_number("OFFSET_EAST_M", tr("Offset of the scene after, metres east"))
        self.add_number("OFFSET_NORTH_M", tr("Offset of the scene after, metres north"))
        self.add_text("VERDICT", tr("Verdict"))
        self.add_text("PROBLEMS", tr("Reasons"))
        self.add_text("SUMMARY", tr("Summary as JSON"))

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        # that the scenes do not overlap is an answer here, not an error
        return self.scene_problem(parameters, "PRE", "PRE_MORE", context) or self.scene_problem(
            parameters, "POST", "POST_MORE", context
        )

    def arguments(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        pre, pre_crs = self.sources(parameters, "PRE", "PRE_MORE", context)
        post, post_crs = self.sources(parameters, "POST", "POST_MORE", context)
        return {
            "pre": pre,
            "post": post,
            "src_crs": pre_crs or post_crs,
            "post_sensor": self.sensor(parameters, context),
            "model": self.model(parameters, context),
        }

    def request_output(self, folder: str) -> dict[str, Any]:
        return {}

    def numbers(self, summary: dict[str, Any]) -> dict[str, Any]:
        common = summary.get("overlap") or {}
        return {
            "USABLE": int(summary["verdict"] != "not usable"),
            "OVERLAP_M2": common.get("area_m2", 0.0),
            "SHARE_OF_PRE": common.get("share_of_pre", 0.0),
            "SHARE_OF_POST": common.get("share_of_post", 0.0),
            **offset_numbers(summary),
            "VERDICT": summary["verdict"],
            "PROBLEMS": "\n".join(reason["message"] for reason in summary["reasons"]),
        }

    def report(self, outcome: Outcome) -> str:
        summary = outcome.summary
        rows = [
            [tr("Files"), *(", ".join(s["files"]) for s in summary["scenes"].values())],
            [tr("Coordinate reference system"), *(s["crs"] for s in summary["scenes"].values())],
            [tr("Pixel size in metres"), *(f"{s['gsd_m']:.3g}" for s in summary["scenes"].values())],
            [tr("Sensor"), *(f"{s['family']} ({s['family_reason']})" for s in summary["scenes"].values())],
            [tr("Nodata"), *(f"{100 * (s['nodata_share'] or 0):.1f} %" for s in summary["scenes"].values())],
            [tr("Date"), *(s["date"] or "-" for s in summary["scenes"].values())],
        ]
        words = {
            "usable": tr("The pair can be used."),
            "usable with care": tr("The pair can be used with care."),
            "not usable": tr("The pair cannot be used."),
        }
        verdict = words.get(summary["verdict"], summary["verdict"])
        reasons = (reason["message"] for reason in summary["reasons"])
        return paragraphs(verdict, *reasons) + table(["", tr("Before"), tr("After")], rows, numbers=False)
