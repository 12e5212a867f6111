"""`codemae probe`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, emit, make_reporter, print_json, say

EXAMPLES = """Examples:

\b
codemae probe run/encoder.safetensors scenes
codemae probe run/encoder.safetensors dfc20 --root data/dfc20 --modality sar --shots 10 --shots 50
codemae probe timm:resnet18+ mstar --root data/mstar --method knn
"""

IMAGES = "Images"


@command
def probe(
    model: Annotated[str, typer.Argument(help="Package by name or file, or timm:NAME (timm:NAME+ with its weights).")],
    dataset: Annotated[str, typer.Argument(help="A public dataset by name, or a folder with one folder per class.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder of the public dataset [default: data].", rich_help_panel=IMAGES)
    ] = None,
    modality: Annotated[
        Literal["optical", "sar", "both"] | None,
        typer.Option(help="Images to use [default: all that fit].", rich_help_panel=IMAGES),
    ] = None,
    method: Annotated[Literal["linear", "knn", "both"], typer.Option(help="How features are read.")] = "both",
    shots: Annotated[
        list[float] | None,
        typer.Option(help="k: the first k x classes of the shuffled list; below 1 a share of it. May be repeated."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs, seeded 0, 1, ...")] = 5,
    train_split: Annotated[
        str | None, typer.Option(help="Split to learn from [default: the published one].", rich_help_panel=IMAGES)
    ] = None,
    test_split: Annotated[
        str | None, typer.Option(help="Split to score on [default: the published one].", rich_help_panel=IMAGES)
    ] = None,
    sensor: Annotated[
        Literal["optical", "sar"], typer.Option(help="What the images of a folder are.", rich_help_panel=IMAGES)
    ] = "optical",
    size: Annotated[
        int, typer.Option(min=32, help="Side that images are resized to, in pixels.", rich_help_panel=IMAGES)
    ] = 224,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the linear probe.")] = 50,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that features are kept in [default: ~/.cache/codemae/features].")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the result as JSON.")] = None,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Score a frozen model by a linear layer and by nearest neighbours on its features.

    Features are computed once and kept, keyed by model and images. Means and deviations are over seeds.
    """
    import json

    from codemae_geo.errors import InputError
    from codemae_geo.outputs import check_writable, write_text

    try:
        from codemae_train.probe import as_table
        from codemae_train.probe import probe as run
    except ModuleNotFoundError as error:
        raise InputError(
            "probing needs the training extra", found=str(error), hint="pip install 'codemae-geo[data]'"
        ) from error
    if output is not None:
        check_writable(output, overwrite=overwrite)
    reporter = make_reporter(progress, quiet)
    try:
        result = run(
            model,
            dataset,
            root=root,
            modality=modality,
            methods=("linear", "knn") if method == "both" else (method,),
            shots=shots or (),
            seeds=seeds,
            splits=(train_split, test_split),
            sensor=sensor,
            size=size,
            epochs=epochs,
            cache=cache or Path.home() / ".cache" / "codemae" / "features",
            reporter=reporter,
        )
    finally:
        close(reporter)
    if output is not None:
        write_text(output, json.dumps(result, indent=2) + "\n", overwrite=overwrite)
    if progress == "json":
        emit("result", outputs={} if output is None else {"result": str(output)}, summary=result)
    if json_:
        print_json(result)
    elif not quiet and progress != "json":
        images = result["list"]["evaluation"]
        say(f"{result['model']} on {result['dataset']}, {result['modality']}; scored on {images}")
        typer.echo(as_table(result))
