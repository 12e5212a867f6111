"""`codemae report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, emit, make_reporter, print_json

EXAMPLES = """Examples:

\b
codemae report out
codemae report out --zones districts.gpkg -o report.html
codemae report out --language de --cell 250 -o bericht.html
codemae report out --zones districts.gpkg --export tables.xlsx --export buildings.kml --export severity.gpkg
codemae report out --export "cells.geojson|layername=severity"
"""


@command
def report(
    run: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that codemae damage has written.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Page to write [default: report.html in OUT; none with --export alone]."),
    ] = None,
    export: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Write the tables to a file: gpkg and xlsx hold buildings, areas and severity grid; csv, geojson, kml,"
            " shp, fgb and parquet the buildings, or what |layername=severity or zones names. May be repeated.",
        ),
    ] = None,
    zones: Annotated[
        str | None, typer.Option(metavar="FILE", help="Polygons to count by, such as districts, in any CRS.")
    ] = None,
    zone_name: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column of their names.")] = None,
    cell: Annotated[float, typer.Option(metavar="METRES", help="Side of the cells of the severity grid.")] = 100.0,
    language: Annotated[Literal["en", "de"], typer.Option(help="Language of the page.")] = "en",
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    pre: Annotated[
        list[str] | None, typer.Option(metavar="RASTER", help="Scene before, if it has moved since. May be repeated.")
    ] = None,
    post: Annotated[list[str] | None, typer.Option(metavar="RASTER", help="Scene after, if it has moved.")] = None,
    examples: Annotated[
        int, typer.Option(min=0, max=24, help="Buildings shown of the most and of the least certain.")
    ] = 6,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Report on a finished damage map: one page that needs nothing else, to read, to hand on and to print.

    The map with before and after to swipe, counts and areas by class, by area and by cell, how complete and how sure it
    is, examples, what the model cannot do, and where everything comes from. Nothing is fetched.
    """
    from codemae_geo.report.damage import make_report

    page = output or (None if export else run / "report.html")
    reporter = make_reporter(progress, quiet)
    try:
        result = make_report(
            run,
            page,
            exports=export or (),
            zones=zones,
            zone_name=zone_name,
            cell=cell,
            language=language,
            title=title,
            pre=pre,
            post=post,
            examples=examples,
            overwrite=overwrite,
            reporter=reporter,
        )
    finally:
        close(reporter)
    outputs = {} if result.path is None else {"report": str(result.path)}
    outputs |= {path.name: str(path) for path in result.exports}
    if progress == "json":
        emit("result", outputs=outputs, summary=result.summary)
    if json_:
        print_json({"outputs": outputs, "summary": result.summary})
    elif not quiet and progress != "json":
        for path in outputs.values():
            typer.echo(path)
