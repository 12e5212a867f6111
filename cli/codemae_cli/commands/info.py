"""`codemae info`."""

from __future__ import annotations

from typing import Annotated

import typer

from codemae_cli import options as o
from codemae_cli.console import command, print_json
from codemae_cli.spelling import Spelling

EXAMPLES = """Examples:

\b
codemae info scene.tif
codemae info pre.tif post.tif --json
"""


@command
def info(
    rasters: Annotated[list[str], typer.Argument(metavar="RASTER...", help="Rasters, or URLs.")],
    gcps: o.Gcps = "tps",
    json_: o.Json = False,
) -> None:
    """Show what a raster is: CRS, size, resolution, bands, nodata, and the sensor and unit it seems to have."""
    from codemae_geo.demo import SCENES
    from codemae_geo.raster.inspect import format_info, inspect

    found = [inspect(str(SCENES.get(path, path)), gcps, Spelling.of_this_command()) for path in rasters]
    if json_:
        print_json({"rasters": found})
    else:
        typer.echo("\n\n".join(format_info(f) for f in found))
