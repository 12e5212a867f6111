"""Summaries of the engine as numbers and as HTML."""

from __future__ import annotations

import html
from typing import Any

from ..engine.runner import Outcome
from ..translate import tr


def page(title: str, body: str) -> str:
    """A page of HTML."""
    return (
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>'
        "body{font-family:sans-serif;margin:1.5em}table{border-collapse:collapse}"
        "td,th{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:left}td.n,th.n{text-align:right}"
        f"</style></head><body><h1>{html.escape(title)}</h1>{body}</body></html>\n"
    )


def table(header: list[str], rows: list[list[str]], *, numbers: bool = True) -> str:
    """Rows as an HTML table; all columns but the first are numbers, unless said otherwise."""

    def line(cells: list[str], tag: str) -> str:
        inner = "".join(
            f"<{tag}{' class=n' if i and numbers else ''}>{html.escape(cell)}</{tag}>" for i, cell in enumerate(cells)
        )
        return f"<tr>{inner}</tr>"

    return f"<table>{line(header, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def paragraphs(*texts: str) -> str:
    """Texts that are not empty, one paragraph each."""
    return "".join(f"<p>{html.escape(text)}</p>" for text in texts if text)


def class_titles() -> dict[str, str]:
    """Name of a damage class -> its title."""
    return {
        "background": tr("Background"),
        "intact": tr("Intact"),
        "damaged": tr("Damaged"),
        "destroyed": tr("Destroyed"),
    }


def add_building_outputs(algorithm: Any) -> None:
    """Numbers of buildings by class."""
    algorithm.add_number("BUILDINGS_TOTAL", tr("Number of buildings"))
    for name, title in class_titles().items():
        algorithm.add_number(f"BUILDINGS_{name.upper()}", tr("Buildings: {name}").format(name=title))
    algorithm.add_number("BUILDINGS_NOT_ANALYSED", tr("Buildings: not analysed"))


def building_numbers(summary: dict[str, Any]) -> dict[str, Any]:
    """Numbers of buildings; nothing without footprints."""
    if "buildings" not in summary:
        return {}
    buildings = summary["buildings"]
    return {
        "BUILDINGS_TOTAL": buildings["n"],
        **{f"BUILDINGS_{name.upper()}": count for name, count in buildings["classes"].items()},
        "BUILDINGS_NOT_ANALYSED": buildings["n"] - sum(buildings["classes"].values()),
    }


def offset_numbers(summary: dict[str, Any]) -> dict[str, Any]:
    """The measured shift between two scenes, where one could be measured."""
    offset = summary.get("offset") or {}
    names = {"OFFSET_EAST_M": "dx_m", "OFFSET_NORTH_M": "dy_m"}
    return {name: offset[key] for name, key in names.items() if offset.get(key) is not None}


def input_lines(summary: dict[str, Any]) -> list[str]:
    """The files of each scene, as ``pre: a.tif, b.tif``."""
    scenes = {role: scene for role, scene in summary.get("inputs", {}).items() if isinstance(scene, dict)}
    return [f"{role}: {', '.join(scene.get('files', []))}" for role, scene in scenes.items()]


def about(outcome: Outcome) -> str:
    """Warnings, inputs, model and date as paragraphs."""
    model = model_of(outcome.summary)
    return paragraphs(
        *(f"{tr('Warning')}: {message}" for _, message in outcome.warnings),
        *input_lines(outcome.summary),
        f"{tr('Model')}: {model.get('name', '')} {model.get('version', '')} ({model.get('licence', '')})"
        if model
        else "",
        model.get("limits", ""),
        f"{outcome.summary.get('created', '')} codemae-geo {outcome.version}, {outcome.summary.get('device', '')}",
    )


def class_table(summary: dict[str, Any], titles: dict[str, str]) -> str:
    """Areas by class, and buildings where there are any, as HTML."""
    buildings = summary.get("buildings", {}).get("classes", {})
    header = [tr("Class"), tr("Hectares"), tr("% of the analysed area")]
    rows = [
        [titles.get(c["name"], c["name"]), f"{c['area_m2'] / 1e4:.2f}", f"{100 * c['share']:.1f}"]
        for c in summary["classes"]
    ]
    if buildings:
        header.append(tr("Buildings"))
        rows = [[*row, str(buildings.get(c["name"], 0))] for row, c in zip(rows, summary["classes"])]
    return table(header, rows)


def model_of(summary: dict[str, Any]) -> dict[str, str]:
    """Name, version, licence, limits of the model; a derived map only names it."""
    model = summary.get("model") or {}
    return {"name": model} if isinstance(model, str) else model
