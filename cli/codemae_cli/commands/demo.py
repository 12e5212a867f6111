"""`codemae demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from codemae_cli import options as o
from codemae_cli.commands.damage import damage

EXAMPLES = """Examples:

\b
codemae demo
codemae demo -o joplin --overwrite
codemae demo --post-sensor sar -o radar
"""


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to create.")] = Path("codemae-demo"),
    post_sensor: Annotated[
        Literal["optical", "sar"], typer.Option(help="Scene after; sar is simulated from the optical one.")
    ] = "optical",
    runtime: o.Runtime = "auto",
    device: o.Device = "auto",
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
    resume: o.Resume = False,
    dry_run: o.DryRun = False,
) -> None:
    """Map the damage of a real tornado from bundled scenes: no network, under a minute.

    Joplin, Missouri, 22 May 2011: aerial images before and after, in two coordinate reference systems, and
    today's building footprints.
    """
    from codemae_geo.demo import FOOTPRINTS, SAR_MODEL

    sar = post_sensor == "sar"
    damage(
        pre=["demo:pre"],
        post=["demo:post-sar" if sar else "demo:post"],
        post_sensor=post_sensor,
        model=SAR_MODEL if sar else None,
        output=output,
        footprints=str(FOOTPRINTS),
        runtime=runtime,
        device=device,
        json_=json_,
        progress=progress,
        quiet=quiet,
        overwrite=overwrite,
        resume=resume,
        dry_run=dry_run,
    )
    if not (json_ or quiet or dry_run or progress == "json"):
        typer.echo()
        typer.echo("Drag damage.tif and damage.gpkg into QGIS: they open styled. The same on your scenes:")
        typer.echo("  codemae damage --pre before.tif --post after.tif -o out")
