"""`codemae buildings`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, emit, make_reporter, print_json

EXAMPLES = """Examples:

\b
codemae buildings out/damage.tif --confidence out/confidence.tif --footprints buildings.gpkg -o table.gpkg
codemae buildings flood.tif --classes dry,flooded --footprints "town.gpkg|layername=houses" -o table.gpkg
"""


@command
def buildings(
    raster: Annotated[Path, typer.Argument(metavar="RASTER", help="Class raster, such as damage.tif of a run.")],
    footprints: Annotated[str, typer.Option(help="Building polygons, in any CRS.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="GeoPackage to write.")],
    confidence: Annotated[Path | None, typer.Option(help="Confidence raster on the same grid.")] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Names of the values 0,1,2,... (0 is background), or a JSON file [default: the raster's]."),
    ] = None,
    footprints_crs: Annotated[str | None, typer.Option(help="CRS of footprints that carry none.")] = None,
    min_share: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of a footprint that must be mapped as building for it to count as found."
        ),
    ] = 0.1,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Give each building footprint the class that a finished class raster holds for it.

    The same table, statuses and style as `codemae damage --footprints` writes, without running the model again.
    """
    from codemae_cli.parse import class_entries
    from codemae_cli.show import show_buildings
    from codemae_geo.vector.aggregate import map_buildings

    reporter = make_reporter(progress, quiet)
    try:
        result = map_buildings(
            raster,
            footprints,
            output,
            confidence=confidence,
            classes=None if classes is None else class_entries(classes),
            footprints_crs=footprints_crs,
            min_share=min_share,
            overwrite=overwrite,
            reporter=reporter,
        )
    finally:
        close(reporter)
    outputs = {"buildings": str(result.path)}
    if progress == "json":
        emit("result", outputs=outputs, summary=result.summary)
    if json_:
        print_json({"outputs": outputs, "summary": result.summary})
    elif not quiet and progress != "json":
        show_buildings(result.summary["buildings"])
        typer.echo(f"\nin {result.path}")
