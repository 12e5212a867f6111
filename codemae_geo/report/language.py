"""The German words of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

#: languages that a report can be written in
Language = Literal["en", "de"]

GERMAN: Mapping[str, str] = {
    "title": "Gebäudeschäden",
    "lead": "{folder}. Kartiert am {date} mit dem Modell {model}; von einer Maschine erstellt und von Menschen zu "
    "prüfen, bevor danach entschieden wird.",
    "glance": "Auf einen Blick",
    "map": "Die Karte",
    "before": "vorher",
    "after": "nachher",
    "swipe": "Zwischen vorher und nachher verschieben",
    "blink": "Wechseln",
    "show": "Über den Bildern",
    "show_none": "nichts",
    "show_classes": "Klasse jedes Pixels",
    "show_buildings": "Klasse jedes Gebäudes",
    "show_grid": "Anteil beschädigter oder zerstörter Gebäude je Zelle",
    "show_grid_area": "Anteil beschädigter oder zerstörter Gebäudefläche je Zelle",
    "map_tip": "Über das Bild ziehen oder die Pfeiltasten benutzen.",
    "map_note": "{width} x {height} Pixel zu {gsd} m, gezeigt mit {shown} m je Bildpunkt.",
    "north_up": "Oben ist Norden im Gitter der Karte ({crs}).",
    "north_turned": "Das Gitter der Karte ({crs}) ist gedreht: oben ist nicht Norden.",
    "not_analysed": "nicht untersucht",
    "no_scene": "Das Bild {role} kann nicht gezeigt werden: {why}. Alle Zahlen dieser Seite stammen aus der fertigen "
    "Karte und hängen nicht davon ab.",
    "changed_scene": "die Datei {file} ist nicht die kartierte, ihr Inhalt hat sich seitdem geändert",
    "gone_scene": "{file} ist nicht mehr da",
    "remote_scene": "{file} liegt im Netz, und für einen Bericht wird nichts geladen",
    "unreadable_scene": "es ist nicht lesbar ({error})",
    "by_class": "Nach Klassen",
    "class": "Klasse",
    "buildings": "Gebäude",
    "of_buildings": "der gefundenen Gebäude",
    "of_footprints": "von {all} Umrissen",
    "area": "Fläche, ha",
    "of_area": "der untersuchten Fläche",
    "total_found": "gefundene Gebäude",
    "total_area": "untersucht",
    "class_note": "Flächen sind die der Pixel, denen das Modell eine Klasse gibt, am Boden gemessen: was es für Dächer "
    "hält, nicht die Fläche der Umrisse.",
    "class_note_none": "Flächen sind die der Pixel, denen das Modell eine Klasse gibt, am Boden gemessen. Umrisse von "
    "Gebäuden lagen nicht vor, daher sind Gebäude nicht gezählt; gezeichnet wurden {count} getrennte Flecken.",
    "edited": "Die Gebäudetabelle ist nicht die, die der Lauf geschrieben hat: die Zahlen hier sind die der Tabelle "
    "({table}), der Lauf zählte {run}.",
    "zones": "Nach Gebieten: {name}",
    "zone": "Gebiet",
    "affected": "beschädigt oder schlimmer",
    "not_seen": "nicht untersucht",
    "covered": "abgedeckt",
    "zones_note": "Ein Gebäude zählt dort, wo ein Punkt in seinem Inneren liegt. Beschädigt oder schlimmer: Anteil der "
    "gefundenen Gebäude in einer Klasse nach „{first}“. Abgedeckt: Anteil des Gebiets, von dem es Bilder beider Tage "
    "gibt. Gebäude in keinem Gebiet: {left}.",
    "zones_note_area": "Beschädigt oder schlimmer: Anteil der Gebäudefläche in einer Klasse nach „{first}“. Abgedeckt: "
    "Anteil des Gebiets, von dem es Bilder beider Tage gibt.",
    "zones_cut": "Die {shown} mit dem größten Anteil beschädigt oder schlimmer von {all}; die übrigen stehen in der "
    "ausgegebenen Tabelle.",
    "zones_overlap": "{count} Gebäude liegen in mehr als einem Gebiet; jedes zählt im ersten.",
    "grid": "Wo es am schlimmsten ist",
    "grid_note": "Quadratische Zellen von {side} m. In {count} Zellen steht ein Gebäude. Die zehn schlimmsten unter "
    "denen mit mindestens {least} Gebäuden; Ortsangaben in WGS 84.",
    "grid_note_area": "Quadratische Zellen von {side} m. Die zehn schlimmsten nach der beschädigten oder zerstörten "
    "Gebäudefläche; Ortsangaben in WGS 84.",
    "place": "Mitte der Zelle",
    "severity": "Schwere, 0 bis 1",
    "severity_note": "Schwere: Mittel über die Gebäude einer Zelle, von 0 ({first}) bis 1 ({last}), die Klassen "
    "dazwischen in gleichen Schritten.",
    "severity_note_area": "Schwere: Mittel über die Gebäudefläche einer Zelle, von 0 ({first}) bis 1 ({last}), die "
    "Klassen dazwischen in gleichen Schritten.",
    "sure": "Wie vollständig und wie sicher",
    "coverage_area": "untersuchte Fläche",
    "coverage_area_value": "{area} ha, {share} der Karte",
    "footprints": "Umrisse",
    "status_covered": "ganz untersucht",
    "status_partly": "zum Teil untersucht",
    "status_nodata": "ohne Bild eines der Tage",
    "status_outside": "außerhalb der Karte",
    "confidence": "Sicherheit",
    "confidence_calibrated": "Sicherheit heißt: wie wahrscheinlich die Klasse stimmt, angepasst an Gebäuden, die im "
    "Training nicht vorkamen ({split}). Danach haben etwa {wrong} der {count} gefundenen Gebäude eine falsche Klasse.",
    "confidence_plain": "Sicherheit ist hier das Mittel über die Pixel eines Gebäudes und nicht daran angepasst, wie "
    "oft die Klasse stimmt: sie ordnet die Gebäude und ist keine Wahrscheinlichkeit.",
    "confidence_unknown": "Der Lauf sagt nicht, ob die Sicherheit daran angepasst ist, wie oft die Klasse stimmt: sie "
    "ordnet die Gebäude und ist nicht als Wahrscheinlichkeit zu lesen.",
    "confidence_none": "Die Gebäudetabelle enthält keine Sicherheit.",
    "bin": "{low} bis {high}",
    "examples_sure": "Sicherste Beispiele",
    "examples_unsure": "Unsicherste Beispiele",
    "examples_note": "Diese zuerst ansehen: hier ist das Auge eines Menschen am meisten wert.",
    "example": "Nr. {number}: {name}, {confidence}",
    "warnings": "Wovor der Lauf gewarnt hat",
    "no_warning": "Vor nichts.",
    "quality_good": "eine gute Schätzung",
    "quality_weak": "eine schwache Schätzung",
    "offset_unknown": "Ob die Bilder vorher und nachher gegeneinander verschoben sind, war nicht zu schätzen.",
    "offset": "Verschiebung des Bildes nachher gegen das Bild vorher: {east} m nach Osten, {north} m nach Norden "
    "({quality}); sie ist gemeldet und nicht ausgeglichen.",
    "limits": "Was das Modell nicht kann",
    "limits_source": "Aus der Karte des Modells {model}, im Wortlaut.",
    "no_limits": "Die Karte des Modells nennt keine Grenzen. Das ist eine Lücke der Karte und heißt nicht, dass es "
    "keine hat.",
    "provenance": "Woher das kommt",
    "model": "Modell",
    "sha": "SHA-256 des Modells",
    "licence": "Lizenz des Modells",
    "files_before": "Bilder vorher",
    "files_after": "Bilder nachher",
    "files_more": "{first} und {count} weitere",
    "crs": "Koordinatensystem",
    "pixel": "Pixel",
    "created": "kartiert am",
    "device": "gerechnet von",
    "settings": "andere als die üblichen Einstellungen",
    "none": "keine",
    "versions": "Versionen",
    "report_by": "Bericht von",
    "zones_file": "Gebiete aus",
    "class_background": "kein Gebäude",
    "class_intact": "unbeschädigt",
    "class_damaged": "beschädigt",
    "class_destroyed": "zerstört",
}
