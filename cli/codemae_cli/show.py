"""Results as tables for people, on stdout, legible without colour."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from codemae_cli.console import close, emit, make_reporter, print_json
from codemae_geo.progress import Reporter

if TYPE_CHECKING:
    from codemae_geo.inference.job import Job, MapResult


def table(rows: Sequence[Sequence[str]], header: Sequence[str] | None = None) -> str:
    """Columns aligned by spaces; columns whose cells all look like numbers are aligned to the right."""
    lines = [list(header), *map(list, rows)] if header else list(map(list, rows))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    numeric = [all(row[i][:1].isdigit() or row[i][:1] in "-+" for row in rows) for i in range(len(widths))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def size(count: float) -> str:
    """Bytes as MiB or GiB."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(3.2), duration(150), duration(9000)
    ('3 s', '3 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show_estimate(plan: Mapping[str, Any]) -> None:
    """What ``--dry-run`` prints."""
    grid, windows, memory = plan["grid"], plan["windows"], dict(plan["memory_bytes"])
    total = memory.pop("total")
    rows = [
        (
            "grid",
            f"{grid['width']} x {grid['height']} pixels, {grid['gsd_m']:.3g} m, {grid['crs'].splitlines()[0][:60]}",
        ),
        (
            "windows",
            f"{windows['count']} of {windows['size'][1]} x {windows['size'][0]} pixels, {windows['blend']} blend",
        ),
        ("device", plan["device"]),
        ("memory", f"{size(total)} and the network's activations"),
        *((f"  {name.replace('_', ' ')}", size(value)) for name, value in memory.items()),
        ("disk", f"at most {size(plan['disk_bytes'])}"),
    ]
    if "measured" in plan:
        found = plan["measured"]
        passes = f", {found['passes']} passes each" if found["passes"] > 1 else ""
        rows.append(
            (
                "time",
                f"about {duration(found['seconds'])} for the network: {found['windows']} windows asked for,"
                f" {found['seconds_per_window']:.2g} s each{passes}",
            )
        )
    if "overlap" in plan:
        rows.append(("overlap", f"{plan['overlap']['area_m2'] / 1e6:.3f} km2"))
    typer.echo(table(rows))


def run_job(
    open_job: Callable[[Reporter], Job[Any]],
    arguments: Mapping[str, Any],
    *,
    show: Callable[[Mapping[str, Any]], None] | None = None,
) -> None:
    """Open a job and estimate or run it, as a command was called, and tell of it in the way that was asked for.

    Args:
        open_job: opens it.
        arguments: what the command was called with.
        show: prints what a run found (default: the classes of a map).
    """
    reporter = make_reporter(arguments["progress"], arguments["quiet"])
    dry_run = arguments["dry_run"]
    try:
        job = open_job(reporter)
        if dry_run:
            plan = job.estimate()
            if arguments.get("measure"):
                plan["measured"] = job.measure()
        else:
            result = job.run(
                arguments["output"],
                overwrite=arguments["overwrite"],
                resume=arguments.get("resume", False),
                keep=arguments["progress"] != "json",  # a program that cancels a run has no use for its rows
                scheduler=arguments.get("scheduler"),
            )
    finally:
        close(reporter)
    json_, progress = arguments["json_"], arguments["progress"]
    if dry_run:
        _report_estimate(plan, json_=json_, progress=progress)
    else:
        _report_run(result, json_=json_, progress=progress, quiet=arguments["quiet"], show=show or show_classes)


def _report_estimate(plan: Mapping[str, Any], *, json_: bool, progress: str) -> None:
    if progress == "json":
        emit("result", outputs={}, summary=plan)
    if json_:
        print_json(plan)
    elif progress != "json":
        show_estimate(plan)


def _report_run(
    result: MapResult, *, json_: bool, progress: str, quiet: bool, show: Callable[[Mapping[str, Any]], None]
) -> None:
    outputs = {kind: str(path) for kind, path in result.outputs.items()}
    if progress == "json":
        emit("result", outputs=outputs, summary=result.summary)
    if json_:
        print_json({"outputs": outputs, "summary": result.summary})
    elif not quiet and progress != "json":
        show(result.summary)
        show_outputs(result.folder, outputs, result.summary)


def show_classes(summary: Mapping[str, Any]) -> None:
    """How much of a map has which class, or the range of every band of values."""
    if "values" in summary:
        rows = [(v["name"], *(f"{v[k]:.6g}" for k in ("min", "mean", "max"))) for v in summary["values"]]
        typer.echo(table(rows, ("band", "min", "mean", "max")))
        return
    rows = [(c["name"], f"{c['area_m2'] / 1e4:.2f}", f"{100 * c['share']:.1f}") for c in summary["classes"]]
    typer.echo(table(rows, ("class", "hectares", "% of analysed")))
    if "buildings" in summary:
        typer.echo()
        show_buildings(summary["buildings"])


def show_embedding(summary: Mapping[str, Any]) -> None:
    """How many vectors a scene has, and what the picture tells of them."""
    found, shares = summary["embedding"], summary["components"]["explained_variance_ratio"]
    typer.echo(
        f"{found['cells']} vectors of {found['dimensions']}, one for {found['stride']} x {found['stride']} pixels"
    )
    typer.echo(f"the picture shows {sum(shares):.0%} of their variance: {', '.join(f'{s:.0%}' for s in shares)}")


def show_detections(summary: Mapping[str, Any]) -> None:
    """How many objects of each class were found."""
    found = summary["detections"]
    typer.echo(table([(name, str(n)) for name, n in found["classes"].items()], ("class", "objects")))
    typer.echo(f"{found['n']} objects with a score of {found['score_threshold']:g} or more")


def show_outputs(folder: Path, outputs: Mapping[str, str], summary: Mapping[str, Any]) -> None:
    """Where the files are, and what the model cannot do."""
    typer.echo()
    typer.echo(f"in {folder}")
    typer.echo(table([(Path(path).name, kind) for kind, path in outputs.items()]))
    if summary["model"].get("limits"):
        typer.echo()
        typer.echo(f"{summary['model']['name']}: {summary['model']['limits']}")


def show_buildings(buildings: Mapping[str, Any]) -> None:
    """How many footprints have which class, and how many could be looked at."""
    typer.echo(table([(k, str(v)) for k, v in buildings["classes"].items()], ("class", "buildings")))
    status = ", ".join(f"{v} {k}" for k, v in buildings["statuses"].items() if v)
    typer.echo(f"{buildings['n']} footprints: {status}")


def show_pair(report: Mapping[str, Any]) -> None:
    """What is known of two scenes, and whether they can be used."""

    def cells(scene: Mapping[str, Any]) -> list[str]:
        return [
            f"{len(scene['files'])}",
            scene["crs"] or "none",
            f"{scene['width']} x {scene['height']}" if scene["width"] else "unknown",
            f"{scene['gsd_m']:.3g} m" if scene["gsd_m"] else "unknown",
            f"{scene['family']} ({scene['family_reason']})",
            f"{scene['unit']} ({scene['unit_reason']})",
            "unknown" if scene["nodata_share"] is None else f"{scene['nodata_share']:.1%} of the common ground",
            f"{scene['date'] or 'unknown'} ({scene['date_reason']})",
        ]

    names = ("files", "CRS", "pixels", "pixel size", "sensor", "unit", "nodata", "date")
    scenes = report["scenes"]
    typer.echo(table(list(zip(names, cells(scenes["pre"]), cells(scenes["post"]), strict=True)), ("", "pre", "post")))
    if report["overlap"] is not None:
        common = report["overlap"]
        typer.echo(
            f"overlap     {common['area_m2'] / 1e6:.3f} km2: {common['share_of_pre']:.1%} of pre, "
            f"{common['share_of_post']:.1%} of post; {common['analysable']:.1%} of it measured by both"
        )
    typer.echo()
    for reason in report["reasons"]:
        typer.echo(f"{reason['severity']:<5} {reason['message']}")
    typer.echo(f"\n{report['verdict']}")


def verify_text(report: Mapping[str, Any]) -> str:
    """What `codemae data verify` found, as tables and a verdict."""
    rows = [
        (
            name,
            str(s["samples"]),
            "" if s["published"] is None else str(s["published"]),
            size(s["bytes"]),
            _first(s["sizes"], "pixels"),
            ", ".join(f"{key} {low:g} to {high:g}" for key, (low, high) in s["ranges"].items()),
            f"{min(map(int, s['labels']))} to {max(map(int, s['labels']))}" if s["labels"] else "",
        )
        for name, s in report["splits"].items()
    ]
    lines = [table(rows, ("split", "samples", "published", "size", "images", "values", "labels"))]
    lines += [f"{name}: not there ({why})" for name, why in report["missing"].items()]
    lines += [f"{name}: {state}" for name, state in report["checksums"].items()]
    problems = [p for s in report["splits"].values() for p in s["problems"]]
    lines += [f"problem: {p}" for p in problems[:20]]
    if len(problems) > 20:
        lines.append(f"... and {len(problems) - 20} more, see --json")
    return "\n".join([*lines, f"{report['name']}: {'sound' if report['ok'] else 'not sound'}"])


def _first(counts: Mapping[str, int], unit: str) -> str:
    """The most frequent key, and how many more there are."""
    if not counts:
        return ""
    most = max(counts, key=lambda k: counts[k])
    return f"{most} {unit}" + (f" and {len(counts) - 1} more" if len(counts) > 1 else "")


def damage_call(pair: Mapping[str, Any], aoi: str) -> str | None:
    """The call of `codemae damage` for a pair of `codemae data find`; None where a file is not known."""
    pre, post = pair["pre"]["paths"], pair["post"]["paths"]
    if not all((*pre, *post)):
        return None
    sensor = ["--post-sensor", "sar"] if pair["post"]["family"] == "sar" else []
    return shlex.join(["codemae", "damage", "--pre", *pre, "--post", *post, "--aoi", aoi, "-o", "out", *sensor])


def found_text(found: Mapping[str, Any], count: int) -> str:
    """What `codemae data find` found, as tables and the call to type next."""

    def row(scene: Mapping[str, Any]) -> list[str]:
        more = f" and {len(scene['ids']) - 1} more" if len(scene["ids"]) > 1 else ""
        return [
            f"{scene['ids'][0]}{more}",
            (scene["date"] or "unknown")[:16],
            f"{scene['days']:+.1f}",
            f"{scene['family']} {scene['sensor'] or ''}".rstrip(),
            f"{scene['coverage']:.1%}",
            "unknown" if scene["cloud"] is None else f"{scene['cloud']:.0%}",
            "unknown" if scene["off_nadir"] is None else f"{scene['off_nadir']:.0f}",
            "unknown" if scene["gsd_m"] is None else f"{scene['gsd_m']:g} m",
        ]

    head = ("scene", "taken", "days", "sensor", "covers", "cloud", "off nadir", "pixel")
    lines = []
    for role in ("pre", "post"):
        scenes = found[role]
        lines += [
            f"{role}: {len(scenes)} candidates",
            table([row(s) for s in scenes[:count]], head) if scenes else "",
            "",
        ]
    pairs = found["pairs"]
    if not pairs:
        return "\n".join([*lines, "no pair covers any of the area"])
    shown = [
        (
            p["pre"]["ids"][0],
            p["post"]["ids"][0],
            f"{p['coverage']:.1%}",
            f"{p['pre']['days']:+.1f}",
            f"{p['post']['days']:+.1f}",
        )
        for p in pairs[:count]
    ]
    lines += [f"{len(pairs)} pairs", table(shown, ("pre", "post", "both cover", "days before", "days after")), ""]
    best = next((p["command"] for p in pairs if p["command"]), None)
    return "\n".join(
        [*lines, best or "no pair has files that are known: fetch its items, and name them to codemae damage"]
    )
