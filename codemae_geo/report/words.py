"""The words of a report in each of its languages, and numbers as they are written there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import get_args

from codemae_geo.errors import InputError
from codemae_geo.report.language import GERMAN, Language


class Words:
    """Texts, numbers and dates in one language.

    Args:
        language: ``en`` or ``de``.

    Raises:
        InputError: another language.
    """

    def __init__(self, language: str = "en") -> None:
        if language not in TEXTS:
            raise InputError(
                f"there is no report in the language {language!r}",
                found=language,
                expected=", ".join(get_args(Language)),
                option="language",
            )
        self.language = language
        self._texts = TEXTS[language]

    def __call__(self, key: str, **fields: object) -> str:
        """The text of a key with its fields filled in."""
        return self._texts[key].format(**fields)

    def of_class(self, name: str) -> str:
        """What a class is called; the name itself where there is no other word."""
        return self._texts.get(f"class_{name}", name)

    def number(self, value: float | None, digits: int = 0) -> str:
        """``1234.5`` as ``1,234.5`` or ``1.234,5``; a dash for what is not known."""
        if value is None or value != value:  # NaN
            return "–"
        text = f"{value:,.{digits}f}"
        return text.translate(str.maketrans(",.", ".,")) if self.language == "de" else text

    def percent(self, share: float | None, digits: int = 1) -> str:
        """A share of 1 in percent."""
        return "–" if share is None or share != share else f"{self.number(100 * share, digits)} %"

    def hectares(self, square_metres: float | None) -> str:
        """An area in hectares, to 100 square metres."""
        return self.number(None if square_metres is None else square_metres / 1e4, 2)

    def moment(self, iso: str) -> str:
        """An ISO date and time to the minute; as it is where it is none."""
        try:
            when = datetime.fromisoformat(iso)
        except ValueError:
            return iso
        return when.strftime("%d.%m.%Y %H:%M %Z" if self.language == "de" else "%Y-%m-%d %H:%M %Z").strip()


ENGLISH: Mapping[str, str] = {
    "title": "Building damage",
    "lead": "{folder}. Mapped on {date} by the model {model}; drawn up by a machine and to be checked by people before "
    "anything is decided by it.",
    "glance": "At a glance",
    "map": "The map",
    "before": "before",
    "after": "after",
    "swipe": "Move between before and after",
    "blink": "Blink",
    "show": "Drawn on the images",
    "show_none": "nothing",
    "show_classes": "class of every pixel",
    "show_buildings": "class of every building",
    "show_grid": "share of buildings damaged or worse, by cell",
    "show_grid_area": "share of building area damaged or worse, by cell",
    "map_tip": "Drag over the picture, or use the arrow keys.",
    "map_note": "{width} x {height} pixels of {gsd} m, shown at {shown} m a pixel.",
    "north_up": "Up is north of the map's grid ({crs}).",
    "north_turned": "The map's grid ({crs}) is turned: up is not north.",
    "not_analysed": "not analysed",
    "no_scene": "The image {role} could not be shown: {why}. Every figure on this page comes from the finished map and "
    "does not depend on it.",
    "changed_scene": "the file {file} is not the one that was mapped: its content has changed since",
    "gone_scene": "{file} is no longer there",
    "remote_scene": "{file} lies in the network, and nothing is fetched for a report",
    "unreadable_scene": "it cannot be read ({error})",
    "by_class": "By class",
    "class": "class",
    "buildings": "buildings",
    "of_buildings": "of the buildings found",
    "of_footprints": "of {all} footprints",
    "area": "area, ha",
    "of_area": "of the analysed area",
    "total_found": "buildings found",
    "total_area": "analysed",
    "class_note": "Areas are those of the pixels that the model gives a class, on the ground: what it takes for roofs, "
    "not the area of the footprints.",
    "class_note_none": "Areas are those of the pixels that the model gives a class, on the ground. The run was given "
    "no footprints, so buildings are not counted; {count} separate patches were drawn.",
    "edited": "The table of buildings is not the one that the run wrote: the figures here are those of the table "
    "({table}), the run counted {run}.",
    "zones": "By area: {name}",
    "zone": "area",
    "affected": "damaged or worse",
    "not_seen": "not analysed",
    "covered": "covered",
    "zones_note": "A building counts where a point inside it lies. Damaged or worse: share of the buildings found that "
    "are in a class beyond {first}. Covered: share of the area in which both dates have an image. Buildings that lie "
    "in no area: {left}.",
    "zones_note_area": "Damaged or worse: share of the building area that is in a class beyond {first}. Covered: share "
    "of the area in which both dates have an image.",
    "zones_cut": "The {shown} with the largest share damaged or worse, of {all}; the others are in the exported table.",
    "zones_overlap": "{count} buildings lie in more than one area; each counts in the first.",
    "grid": "Where it is worst",
    "grid_note": "Square cells of {side} m. {count} cells hold a building. The ten worst, of those with {least} "
    "buildings at least; numbers of the places are WGS 84.",
    "grid_note_area": "Square cells of {side} m. The ten worst by building area damaged or worse; numbers of the "
    "places are WGS 84.",
    "place": "middle of the cell",
    "severity": "severity, 0 to 1",
    "severity_note": "Severity: mean over the buildings of a cell, from 0 ({first}) to 1 ({last}), the classes between "
    "in equal steps.",
    "severity_note_area": "Severity: mean over the building area of a cell, from 0 ({first}) to 1 ({last}), the "
    "classes between in equal steps.",
    "sure": "How complete, and how sure",
    "coverage_area": "area analysed",
    "coverage_area_value": "{area} ha, {share} of the map",
    "footprints": "footprints",
    "status_covered": "wholly analysed",
    "status_partly": "analysed in part",
    "status_nodata": "no image of one date",
    "status_outside": "outside the map",
    "confidence": "confidence",
    "confidence_calibrated": "Confidence is how likely the class is right, fitted on buildings left out of the "
    "training ({split}). By it, about {wrong} of the {count} buildings found have a wrong class.",
    "confidence_plain": "Confidence is the mean over a building's pixels and was not fitted to how often the class is "
    "right: it puts the buildings in an order, and is not a probability.",
    "confidence_unknown": "The run does not say whether its confidence was fitted to how often the class is right: "
    "take it as an order of the buildings, not as a probability.",
    "confidence_none": "The table of buildings holds no confidence.",
    "bin": "{low} to {high}",
    "examples_sure": "Most certain examples",
    "examples_unsure": "Least certain examples",
    "examples_note": "Look at these first: here a person's eye is worth most.",
    "example": "No. {number}: {name}, {confidence}",
    "warnings": "What the run warned of",
    "no_warning": "Nothing.",
    "quality_good": "a good estimate",
    "quality_weak": "a weak estimate",
    "offset_unknown": "Whether the images before and after are shifted against each other could not be estimated.",
    "offset": "Shift of the image after against the image before: {east} m east, {north} m north ({quality}); it is "
    "reported, and not corrected.",
    "limits": "What the model cannot do",
    "limits_source": "From the card of the model {model}.",
    "no_limits": "The model's card names no limits. That is a gap in the card, and does not mean that it has none.",
    "provenance": "Where this comes from",
    "model": "model",
    "sha": "SHA-256 of the model",
    "licence": "licence of the model",
    "files_before": "images before",
    "files_after": "images after",
    "files_more": "{first} and {count} more",
    "crs": "coordinate reference system",
    "pixel": "pixel",
    "created": "mapped on",
    "device": "computed by",
    "settings": "settings other than the usual",
    "none": "none",
    "versions": "versions",
    "report_by": "report by",
    "zones_file": "areas from",
    "class_background": "no building",
    "class_intact": "intact",
    "class_damaged": "damaged",
    "class_destroyed": "destroyed",
}

TEXTS: Mapping[str, Mapping[str, str]] = {"en": ENGLISH, "de": GERMAN}
