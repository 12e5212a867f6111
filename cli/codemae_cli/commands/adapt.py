"""`codemae adapt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, emit, make_reporter, print_json, say

EXAMPLES = """Examples:

\b
codemae adapt --pre before.tif --post after.tif --footprints buildings.gpkg --labels labelled.geojson -o event
codemae adapt --pre pre --post post --footprints all.gpkg --labels forty.gpkg --model town.safetensors -o event
"""


@command
def adapt(
    pre: Annotated[list[str], typer.Option(metavar="RASTER", help="Scene before: a file or a folder; repeat.")],
    post: Annotated[list[str], typer.Option(metavar="RASTER", help="Scene after: a file or a folder; repeat.")],
    footprints: Annotated[Path, typer.Option(help="Outlines of all buildings.")],
    labels: Annotated[Path, typer.Option(help="Points or polygons with a damage class for 10 to 200 of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to create.")],
    column: Annotated[str | None, typer.Option(help="Column of the class.")] = None,
    model: o.Model = None,
    suggest: Annotated[int, typer.Option(min=0, help="Buildings to suggest for labelling next.")] = 20,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Adapt a damage model to one event, given the class of a few of its buildings, and map the event.

    Writes model.safetensors (the adapted package), map/ (as codemae damage does), suggested.gpkg (the buildings to
    label next) and adapt.json (what it gained on labels left out, with an interval) into a new folder.
    """
    from codemae_geo.errors import InputError

    try:
        from codemae_train.adapt import adapt as run
    except ModuleNotFoundError as error:
        raise InputError(
            "adapting needs the training extra", found=str(error), hint="pip install 'codemae-geo[train]'"
        ) from error

    reporter = make_reporter(progress, quiet)
    try:
        result = run(
            pre,
            post,
            footprints,
            labels,
            output,
            model=model,
            column=column,
            suggest=suggest,
            overwrite=overwrite,
            reporter=reporter,
        )
    finally:
        close(reporter)
    if progress == "json":
        outputs = {name: result[name] for name in ("package", "map", "suggested", "report")}
        emit("result", outputs=outputs, summary=result)
    if json_:
        print_json(result)
    elif not quiet:
        low, high = result["interval"]
        gain = f"mean F1 {result['before']['mean_f1']:.3f} -> {result['after']['mean_f1']:.3f} on buildings left out"
        say(f"{gain} ({low:+.3f} to {high:+.3f}); {result['seconds']:.0f} s; {output}")
