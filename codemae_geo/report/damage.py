"""The report on a damage run: one self-contained page, and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from codemae_geo import __version__
from codemae_geo.classes import ClassInfo
from codemae_geo.outputs import check_writable, write_text
from codemae_geo.progress import Reporter
from codemae_geo.raster.geo import ground_sample_distance, is_north_up
from codemae_geo.report import figures, page, pictures
from codemae_geo.report.export import check_exports, export
from codemae_geo.report.figures import Buildings, Cells, columns
from codemae_geo.report.pictures import Look
from codemae_geo.report.run import Run, open_run
from codemae_geo.report.words import Words
from codemae_geo.styles import SEVERITY_STEPS
from codemae_geo.vector.footprints import read_footprints

#: role of a scene -> the word for it
ROLES = {"pre": "before", "post": "after"}
#: rows of a table of areas, and of the worst cells
ZONES, WORST = 100, 10
#: buildings that a cell of the list of the worst has at least
LEAST = 3
#: settings that are the usual ones, and so are not told
_USUAL: dict[str, Any] = {
    "grid": "pre", "blend": "hann", "tta": False, "runtime": "auto", "device": "auto", "precision": "auto",
    "probabilities": False, "resampling": "auto",
}  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """What a report counts, besides the summary.

    Args:
        run: the run.
        counts: of its table of buildings; None without one.
        cells: grid of the severity.
        severity: see :func:`codemae_geo.report.figures.severity_grid`.
        zones: see :func:`codemae_geo.report.figures.zone_table`; None without areas.
        zones_name: file of the areas.
        told: buildings in no area, and in several.
    """

    run: Run
    counts: Buildings | None
    cells: Cells
    severity: gpd.GeoDataFrame
    zones: gpd.GeoDataFrame | None = None
    zones_name: str = ""
    told: dict[str, int] | None = None


@dataclass(frozen=True)
class Report:
    """A finished report.

    Args:
        path: the page; None where none was asked for.
        exports: the other files, in the order asked for.
        tables: its figures.
        summary: the figures as JSON takes them.
    """

    path: Path | None
    exports: tuple[Path, ...]
    tables: Tables
    summary: dict[str, Any]


def make_report(
    run: str | Path,
    out: str | Path | None,
    *,
    exports: Sequence[str | Path] = (),
    zones: str | Path | None = None,
    zone_name: str | None = None,
    cell: float = 100.0,
    language: str = "en",
    title: str | None = None,
    pre: Sequence[str] | None = None,
    post: Sequence[str] | None = None,
    examples: int = 6,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> Report:
    """Write a report on a damage run: one HTML page that needs nothing else, can be printed, and fetches nothing.

    Every figure is one of ``summary.json`` or counted from the run's table of buildings; where that was edited since,
    the page says so.

    Args:
        run: output folder of a damage run.
        out: page to write; None writes none.
        exports: files to write the tables to, see :func:`codemae_geo.report.export.export`: buildings (or polygons,
            of a run without footprints), the severity grid and the areas.
        zones: polygons to count by, such as districts; any vector file.
        zone_name: column of their names; None chooses.
        cell: side of the cells of the severity grid, metres.
        language: ``en`` or ``de``.
        title: heading; None is the language's.
        pre, post: where the scenes are now, if not where the run read them.
        examples: buildings shown of the most and of the least certain.
        overwrite: replace an existing page.
        reporter: told stages and warnings.

    Raises:
        InputError: not such a run, areas that cannot be read, an unknown language, cells below a pixel.
        OutputError: the page exists, or the disk is full.
    """
    reporter, words = reporter or Reporter(), Words(language)
    with reporter.stage("check"):
        opened = open_run(run)
    with reporter.stage("count"):
        tables = count(opened, zones, zone_name, cell)
    layers = layers_of(tables)
    check_exports(exports, list(layers), overwrite=overwrite)
    page_path = None if out is None else Path(out)
    if page_path is not None:
        check_writable(page_path, overwrite=overwrite)
        with reporter.stage("pictures"):
            looks = {
                role: pictures.open_look(opened, role, words, paths) for role, paths in (("pre", pre), ("post", post))
            }
            for role, look in looks.items():
                if isinstance(look, str):
                    reporter.warning("scene", f"the {role} scene is not shown: {look}")
            text = compose(tables, looks, words, title=title, examples=examples)
    with reporter.stage("write"):
        written = tuple(export(name, layers, opened.classes, overwrite=overwrite) for name in exports)
        if page_path is not None:
            write_text(page_path, text, overwrite=overwrite)
    return Report(page_path and page_path.absolute(), written, tables, as_json(tables))


def layers_of(tables: Tables) -> dict[str, gpd.GeoDataFrame]:
    """The tables as layers to export, the main one first."""
    run = tables.run
    main = {"polygons": run.polygons} if run.buildings is None else {"buildings": run.buildings}
    zones = {} if tables.zones is None else {"zones": tables.zones}
    return {**main, **zones, "severity": tables.severity}


def count(run: Run, zones: str | Path | None, zone_name: str | None, cell: float) -> Tables:
    """Count everything that a report tells."""
    counted = None if run.buildings is None else figures.count_buildings(run.buildings, run.classes)
    cells = figures.plan_cells(run.grid, cell)
    severity = figures.severity_grid(run.raster, run.grid, run.classes, cells, run.buildings)
    if zones is None:
        return Tables(run, counted, cells, severity)
    areas = read_footprints(zones)
    names = figures.zone_names(areas.drop(columns=areas.columns[0]), zone_name)
    table, told = figures.zone_table(run.raster, run.grid, run.classes, areas, names, run.buildings)
    return Tables(run, counted, cells, severity, table, Path(str(zones).split("|")[0]).name, told)


def as_json(tables: Tables) -> dict[str, Any]:
    """The figures as JSON takes them."""

    def rows(frame: gpd.GeoDataFrame) -> list[dict[str, Any]]:
        plain = frame.drop(columns=frame.geometry.name).to_dict("records")
        return [{k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()} for row in plain]

    summary = tables.run.summary
    return {
        "task": "report",
        "run": str(tables.run.folder),
        "analysed": summary.analysed.model_dump(),
        "classes": [c.model_dump() for c in summary.classes],
        "buildings": None if tables.counts is None else asdict(tables.counts),
        "edited": edited(tables),
        "zones": None if tables.zones is None else rows(tables.zones),
        "cells": len(tables.severity),
    }


def edited(tables: Tables) -> bool:
    """Whether the table of buildings is not the one that the run counted."""
    told = tables.run.summary.buildings
    return tables.counts is not None and (told or {}).get("classes") != tables.counts.classes


# ---------------------------------------------------------------- the page


def compose(
    tables: Tables, looks: Mapping[str, Look | str], words: Words, *, title: str | None = None, examples: int = 6
) -> str:
    """The page."""
    run = tables.run
    shown, images, missing = _images(run, looks, words)
    parts = [
        _glance(tables, words),
        _map(tables, images, missing, words),
        _by_class(tables, words),
        _zones(tables, words),
        _severity(tables, words),
        _sureness(tables, words),
        *_examples(run, shown, words, examples),
        _warnings(run, words),
        _limits(run, words),
        _provenance(tables, words),
    ]
    model = f"{run.summary.model.name} {run.summary.model.version}".strip()
    lead = words("lead", folder=run.folder.absolute().name, date=words.moment(run.summary.created), model=model)
    return page.page(
        title or words("title"),
        lead,
        *filter(None, parts),
        language=words.language,
        style=_part("damage.css"),
        script=_part("damage.js"),
    )


def _part(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _front(run: Run) -> list[ClassInfo]:
    return list(run.classes.foreground)


def _glance(tables: Tables, words: Words) -> str:
    """The figures that are asked for first, large."""
    run, counts = tables.run, tables.counts
    shown = []
    areas = {c.name: c for c in run.summary.classes}
    for info in reversed(_front(run)):
        if counts is not None:
            n = counts.classes[info.name]
            share = words.percent(n / counts.found if counts.found else None)
            big, small = words.number(n), f"{share} {words('of_buildings')}"
        else:
            big = f"{words.hectares(areas[info.name].area_m2)} ha"
            small = f"{words.percent(areas[info.name].share)} {words('of_area')}"
        shown.append((words.of_class(info.name), big, small, info.color))
    if counts is not None:
        unseen = counts.statuses["nodata"] + counts.statuses["outside"]
        shown.append(
            (words("not_analysed"), words.number(unseen), words("of_footprints", all=words.number(counts.n)), "#8c959f")
        )
    cards = "".join(
        f'<div class="card" style="border-color: {escape(colour)}"><b>{escape(big)}</b>{escape(name)}'
        f"<small>{escape(small)}</small></div>"
        for name, big, small, colour in shown
    )
    return page.section(words("glance"), f'<div class="cards">{cards}</div>')


# ---------------------------------------------------------------- the map


def _images(
    run: Run, looks: Mapping[str, Look | str], words: Words
) -> tuple[dict[str, Look], dict[str, str], list[str]]:
    """The scenes that can be shown, by role; their pictures, by name; and what is to be said of the others."""
    grid = figures.scaled(run.grid, pictures.MAP_SIDE)
    shown: dict[str, Look] = {}
    images, missing = {}, []
    for role, name in ROLES.items():
        look = looks[role]
        if isinstance(look, str):
            missing.append(page.note(words("no_scene", role=words(name), why=look)))
            continue
        data, valid = look.read(grid)
        shown[role] = pictures.stretched(look, data, valid)
        images[name] = pictures.jpeg(shown[role].show(data, valid))
    return shown, images, missing


def _map(tables: Tables, images: Mapping[str, str], missing: Sequence[str], words: Words) -> str:
    run = tables.run
    grid = figures.scaled(run.grid, pictures.MAP_SIDE)
    # an overlay stands once in the style and is drawn on both images
    counted = tables.counts is not None
    kinds = {"classes": pictures.class_overlay(run.raster, grid, run.classes)}
    if run.buildings is not None:
        kinds["buildings"] = pictures.building_overlay(run.buildings, grid, run.classes)
    kinds["grid"] = pictures.cell_overlay(figures.severity_values(tables.severity, tables.cells))
    first = "buildings" if counted else "classes"
    style = "".join(f".over.{kind} {{ background-image: url({url}); }}" for kind, url in kinds.items())
    down, along = tables.cells.beyond
    style += f".over.grid {{ background-size: {100 * along:.4f}% {100 * down:.4f}%; }}"
    overlays = "".join(f'<i class="over {kind}"></i>' for kind in kinds)
    height, width = grid.shape
    panes = "".join(
        f'<div class="pane {name}"><img class="main" alt="{escape(words(name))}" src="{url}">{overlays}'
        f"<span>{escape(words(name))}</span></div>"
        for name, url in images.items()
    )
    panes = panes or f'<div class="pane"><div class="blank"></div>{overlays}</div>'
    two = len(images) == 2
    titles = {kind: words(f"show_{kind}" if kind != "grid" or counted else "show_grid_area") for kind in kinds}
    choices = "".join(
        f'<option value="{kind}"{" selected" if kind == first else ""}>{escape(name)}</option>'
        for kind, name in {**titles, "none": words("show_none")}.items()
    )
    blink = f'<button type="button">{escape(words("blink"))}</button>' if two else ""
    swipe = (
        f'<b class="line"></b><input type="range" min="0" max="100" step="0.5" value="50" '
        f'aria-label="{escape(words("swipe"))}">'
        if two
        else ""
    )
    shape = f"aspect-ratio: {width} / {height}"
    gsd, shown = ground_sample_distance(run.grid), ground_sample_distance(grid)
    told = words(
        "map_note",
        width=words.number(run.grid.shape[1]),
        height=words.number(run.grid.shape[0]),
        gsd=words.number(gsd, 2),
        shown=words.number(shown, 2),
    )
    north = words("north_up" if is_north_up(run.grid) else "north_turned", crs=_crs(run))
    names = [words.of_class(c.name) for c in _front(run)]
    legend = page.legend([*names, words("not_analysed")], [*(c.color for c in _front(run)), "#8c959f"])
    return page.section(
        words("map"),
        f"<style>{style}</style>",
        *missing,
        f'<p class="tools"><label>{escape(words("show"))}: <select>{choices}</select></label>{blink}</p>',
        f'<div class="map{" two" if two else ""}" data-show="{first}"><div class="frame" style="{shape}">{panes}'
        f"{swipe}</div>{_scale_bar(shown * width, words)}</div>",
        f'<div class="key" data-for="classes buildings">{legend}</div>',
        f'<div class="key" data-for="grid">{_steps(words)}</div>',
        page.note(f"{told} {north}"),
        f'<p class="note tools">{escape(words("map_tip"))}</p>' if two else "",
    )


def _crs(run: Run) -> str:
    crs = run.grid.crs
    return f"EPSG:{crs.to_epsg()}" if crs is not None and crs.to_epsg() else str(crs)[:60]


def _scale_bar(metres: float, words: Words) -> str:
    """A bar of a round length, as a share of the width of the picture."""
    if not metres > 0:
        return ""
    power = 10 ** np.floor(np.log10(metres / 4))
    length = float(max(v for v in (power, 2 * power, 5 * power) if v <= metres / 4))
    text = (
        f"{words.number(length / 1000, 0 if length >= 1000 else 1)} km"
        if length >= 1000
        else (f"{words.number(length, 0 if length >= 1 else 2)} m")
    )
    return f'<div class="bar"><i style="width: {100 * length / metres:.3f}%"></i>{escape(text)}</div>'


def _steps(words: Words) -> str:
    """The colours of the severity."""
    lows = [low for low, _ in SEVERITY_STEPS]
    names = [f"{words.number(100 * a)}–{words.number(100 * b)} %" for a, b in zip(lows, [*lows[1:], 1], strict=True)]
    return page.legend(names, [color for _, color in SEVERITY_STEPS])


# ---------------------------------------------------------------- tables


def _by_class(tables: Tables, words: Words) -> str:
    run, counts = tables.run, tables.counts
    rows, told = [], {c.name: c for c in run.summary.classes}
    for info in [*_front(run), *(c for c in run.classes if c.background)]:
        facts = told[info.name]
        row = [words.of_class(info.name)]
        if counts is not None:
            n = counts.classes[info.name]
            share = None if info.background or not counts.found else n / counts.found
            row += [words.number(n), words.percent(share)]
        rows.append([*row, words.hectares(facts.area_m2), words.percent(facts.share)])
    total = [words("total_area"), *([""] * 2 if counts is not None else [])]
    rows.append([*total, words.hectares(run.summary.analysed.area_m2), ""])
    head = [words("class")]
    notes = []
    if counts is not None:
        rows.insert(len(_front(run)), [words("total_found"), words.number(counts.found), "", "", ""])
        head += [words("buildings"), words("of_buildings")]
        notes.append(page.note(words("class_note")))
        if edited(tables):
            known = (run.summary.buildings or {}).get("classes", {})
            told_twice = words("edited", table=_listed(counts.classes, words), run=_listed(known, words))
            notes.append(f'<p class="alert">{escape(told_twice)}</p>')
    else:
        notes.append(page.note(words("class_note_none", count=words.number(run.summary.polygons.count))))
    return page.section(
        words("by_class"), page.table([*head, words("area"), words("of_area")], rows, "figures"), *notes
    )


def _listed(classes: Any, words: Words) -> str:
    return ", ".join(f"{words.number(n)} {words.of_class(str(name))}" for name, n in dict(classes).items())


def _amount_head(tables: Tables, words: Words) -> list[str]:
    names = [words.of_class(c.name) for c in _front(tables.run)]
    if tables.counts is None:
        return [f"{name}, ha" for name in names]
    return [*names, words("not_seen")]


def _amounts(tables: Tables, row: Any, words: Words) -> list[str]:
    front = _front(tables.run)
    if tables.counts is None:
        return [words.hectares(row[key]) for key in columns("area", front)]
    return [words.number(row[key]) for key in [*columns("n", front), "n_not_analysed"]]


def _zones(tables: Tables, words: Words) -> str:
    if tables.zones is None:
        return ""
    counted = tables.counts is not None
    first = words.of_class(_front(tables.run)[0].name)
    ordered = tables.zones.sort_values(["affected", "severity"], ascending=False, kind="stable", na_position="last")
    head = [words("zone"), *_amount_head(tables, words), words("affected"), words("covered")]
    rows = [
        [row["name"], *_amounts(tables, row, words), words.percent(row["affected"]), words.percent(row["covered"])]
        for _, row in ordered[:ZONES].iterrows()
    ]
    told = tables.told or {}
    notes = [
        words("zones_note", first=first, left=words.number(told.get("left", 0)))
        if counted
        else words("zones_note_area", first=first)
    ]
    if told.get("several"):
        notes.append(words("zones_overlap", count=words.number(told["several"])))
    if len(ordered) > ZONES:
        notes.append(words("zones_cut", shown=ZONES, all=words.number(len(ordered))))
    title = words("zones", name=tables.zones_name)
    return page.section(title, page.table(head, rows, "figures"), page.note(" ".join(notes)))


def _severity(tables: Tables, words: Words) -> str:
    counted = tables.counts is not None
    front = _front(tables.run)
    grid, cells = tables.run.grid, tables.cells
    step = float(cells.cols[1] - cells.cols[0])
    side = words.number(step * ground_sample_distance(grid), 1)
    head = [words("place"), *_amount_head(tables, words), words("affected"), words("severity")]
    worst = figures.worst(tables.severity, tables.run.classes, WORST, counted=counted, least=LEAST)
    rows = [
        [
            f"{row['lat']:.5f}, {row['lon']:.5f}",
            *_amounts(tables, row, words),
            words.percent(row["affected"]),
            words.number(row["severity"], 2),
        ]
        for _, row in worst.iterrows()
    ]
    ends = {"first": words.of_class(front[0].name), "last": words.of_class(front[-1].name)}
    if counted:
        some = int((tables.severity[columns("n", front)].sum(axis=1) > 0).sum())
        told = [
            words("grid_note", side=side, count=words.number(some), least=LEAST),
            words("severity_note", **ends),
        ]
    else:
        told = [words("grid_note_area", side=side), words("severity_note_area", **ends)]
    picture = (
        f'<div class="map still" data-show="grid"><div class="frame" style="aspect-ratio: {grid.shape[1]} / '
        f'{grid.shape[0]}"><div class="pane"><div class="blank"></div><i class="over classes"></i>'
        '<i class="over grid"></i></div></div></div>'
    )
    body = page.table(head, rows, "figures") if rows else ""
    return page.section(
        words("grid"),
        f'<div class="severity">{picture}<div>{_steps(words)}{body}</div></div>',
        page.note(" ".join(told)),
    )


def _sureness(tables: Tables, words: Words) -> str:
    run, counts = tables.run, tables.counts
    seen = run.summary.analysed
    value = words("coverage_area_value", area=words.hectares(seen.area_m2), share=words.percent(seen.share))
    facts = [(words("coverage_area"), value)]
    if counts is None:
        return page.section(words("sure"), page.table((), facts, "facts"))
    facts.append((words("footprints"), words.number(counts.n)))
    facts += [(words(f"status_{name}"), words.number(n)) for name, n in counts.statuses.items()]
    parts = [page.table((), facts, "facts")]
    split = run.summary.model.building_calibration
    if not counts.bins:
        parts.append(page.note(words("confidence_none")))
    else:
        uppers = (1.0, *figures.CONFIDENCE_BINS[:-1])
        rows = [
            (
                words("bin", low=words.percent(low, 0), high=words.percent(high, 0)),
                words.number(n),
                words.percent(n / sum(counts.bins)),
            )
            for low, high, n in zip(figures.CONFIDENCE_BINS, uppers, counts.bins, strict=True)
        ]
        head = (words("confidence"), words("buildings"), words("of_buildings"))
        parts.append(page.table(head, rows, "figures"))
        fitted = "building_calibration" in run.summary.model.model_fields_set
        told = (
            words(
                "confidence_calibrated", split=split, wrong=words.number(counts.doubt), count=words.number(counts.found)
            )
            if split
            else words("confidence_plain" if fitted else "confidence_unknown")
        )
        parts.append(page.note(told))
    return page.section(words("sure"), *parts)


# ---------------------------------------------------------------- examples


def _examples(run: Run, looks: Mapping[str, Look], words: Words, count: int) -> list[str]:
    """Sections of the most and of the least certain buildings, before and after."""
    if run.buildings is None or not looks or not count:
        return []
    sure, unsure = pictures.pick_examples(run.buildings, run.classes, count)
    made = {row: _example(run, row, looks, words) for row in (*sure, *unsure)}
    parts = []
    for key, rows in (("examples_unsure", unsure), ("examples_sure", sure)):
        shown = "".join(filter(None, (made[row] for row in rows)))
        if shown:
            note = page.note(words("examples_note")) if key == "examples_unsure" else ""
            parts.append(page.section(words(key), note, f'<div class="examples">{shown}</div>'))
    return parts


def _example(run: Run, row: int, looks: Mapping[str, Look], words: Words) -> str:
    building = run.buildings.loc[row] if run.buildings is not None else None
    if building is None or run.buildings is None:
        return ""
    shape = building[run.buildings.geometry.name]
    gsd = ground_sample_distance(run.grid)
    crop = pictures.crop_around(shape, run.buildings.crs.to_wkt(), run.grid, gsd)
    if crop is None:
        return ""
    side = crop.grid.shape[0]
    grid = figures.scaled(crop.grid, pictures.CROP_SIDE)
    path = "".join("M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in ring) + "Z" for ring in crop.outline)
    line = f'<svg viewBox="0 0 {side} {side}"><path d="{path}"/></svg>'
    shown = ""
    for role, name in ROLES.items():
        if role in looks:
            image = pictures.jpeg(looks[role].show(*looks[role].read(grid)))
            shown += f'<div><img alt="{escape(words(name))}" src="{image}">{line}</div>'
    name = str(building["class_name"])
    colour = next(c.color for c in run.classes if c.name == name)
    number = building["source_fid"] if "source_fid" in run.buildings.columns else row
    text = words(
        "example", number=number, name=words.of_class(name), confidence=words.percent(building["confidence"], 0)
    )
    lon, lat = _middle(run.buildings, row)
    return (
        f'<figure><div class="pair">{shown}</div><figcaption><span class="swatch" style="background: {escape(colour)}">'
        f"</span>{escape(text)}<br><small>{lat:.5f}, {lon:.5f}</small></figcaption></figure>"
    )


def _middle(frame: gpd.GeoDataFrame, row: int) -> tuple[float, float]:
    point = frame.geometry.loc[[row]].representative_point().to_crs("EPSG:4326").array
    lon, lat = shapely.get_coordinates(np.asarray(point, dtype=object))[0]
    return float(lon), float(lat)


# ---------------------------------------------------------------- where it comes from


def _warnings(run: Run, words: Words) -> str:
    told = [str(w.get("message", "")) for w in run.summary.warnings]
    items = "".join(f"<li>{escape(t)}</li>" for t in told)
    parts = [f"<ul>{items}</ul>" if told else page.note(words("no_warning"))]
    found = run.summary.offset or {}
    quality = found.get("quality")
    if quality in ("good", "weak") and all(isinstance(found.get(k), int | float) for k in ("dx_m", "dy_m")):
        east, north = (f"{'+' if found[k] >= 0 else '-'}{words.number(abs(found[k]), 1)}" for k in ("dx_m", "dy_m"))
        parts.append(page.note(words("offset", east=east, north=north, quality=words(f"quality_{quality}"))))
    elif quality == "unknown":
        parts.append(page.note(words("offset_unknown")))
    return page.section(words("warnings"), *parts)


def _limits(run: Run, words: Words) -> str:
    model = run.summary.model
    if not model.limits:
        return page.section(words("limits"), f"<p>{escape(words('no_limits'))}</p>")
    source = page.note(words("limits_source", model=model.name))
    return page.section(words("limits"), f"<p>{escape(model.limits)}</p>", source)


def _provenance(tables: Tables, words: Words) -> str:
    run = tables.run
    summary, model = run.summary, run.summary.model
    settings = {k: v for k, v in summary.parameters.items() if v is not None and v != _USUAL.get(k)}
    settings.pop("post_sensor", None)
    facts = [
        (words("model"), f"{model.name} {model.version}"),
        (words("sha"), model.sha256),
        (words("licence"), model.licence),
        *(
            (words(key), _files(summary.inputs[role].files, words))
            for key, role in (("files_before", "pre"), ("files_after", "post"))
        ),
        (words("crs"), _crs(run)),
        (words("pixel"), f"{words.number(ground_sample_distance(run.grid), 3)} m"),
        (words("created"), words.moment(summary.created)),
        (words("device"), summary.device),
        (words("settings"), ", ".join(f"{k} {v}" for k, v in settings.items()) or words("none")),
        (words("versions"), ", ".join(f"{k} {v}" for k, v in summary.versions.items())),
        *([(words("zones_file"), tables.zones_name)] if tables.zones is not None else []),
        (words("report_by"), f"codemae-geo {__version__}"),
    ]
    return page.section(words("provenance"), page.table((), facts, "facts"))


def _files(names: Sequence[str], words: Words) -> str:
    """File names without their folders, which say nothing to whoever gets the report."""
    short = [Path(n).name for n in names]
    if len(short) > 6:
        return words("files_more", first=", ".join(short[:5]), count=words.number(len(short) - 5))
    return ", ".join(short)
