"""`codemae finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, emit, make_reporter, print_json, say

EXAMPLES = """Examples:

\b
codemae finetune segmentation --images scene.tif --labels fields.gpkg --column crop -o fields
codemae finetune segmentation --images optical.tif --sar radar.tif --labels fields.gpkg -o fused
codemae finetune damage --pre before.tif --post after.tif --labels buildings.gpkg --from run -o town
codemae finetune detection --images scene.tif --labels boxes.gpkg -o objects
codemae finetune damage/bright data.root=BRIGHT --from runs/base -o bright
codemae finetune segmentation/loveda data.root=LoveDA --from encoder.safetensors train.batch=4 train.accumulate=4
torchrun --nproc-per-node 8 -m codemae_cli finetune segmentation/loveda data.root=LoveDA --from runs/base
"""

OWN = "Your own labels"


@command
def finetune(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A shipped recipe (TASK/NAME), a YAML file, or segmentation, damage or detection for your own labels."
        ),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Changes, e.g. train.epochs=10.")
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SCENE", help="Scene to learn from, a file or a folder of tiles; repeat.", rich_help_panel=OWN
        ),
    ] = None,
    sar: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SCENE", help="Radar beside each --images: a model for both; repeat.", rich_help_panel=OWN
        ),
    ] = None,
    pre: Annotated[
        list[Path] | None, typer.Option(metavar="SCENE", help="Scene before the event; repeat.", rich_help_panel=OWN)
    ] = None,
    post: Annotated[
        list[Path] | None, typer.Option(metavar="SCENE", help="Scene after it, in the same order.", rich_help_panel=OWN)
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Raster, polygons or points; boxes also in COCO, YOLO, VOC form. One, or each.",
            rich_help_panel=OWN,
        ),
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of the class.", rich_help_panel=OWN)] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="WEIGHTS", help="Pretraining run, encoder, checkpoint or package.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run directory [default: runs/NAME].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the directory's checkpoint.")] = False,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Prepare, check two samples, write nothing.")] = False,
) -> None:
    """Teach a model a task: segmentation, building damage, objects or classes, on public datasets or your own labels.

    The run directory gets recipe.yaml, run.json, log.csv, validation.csv, tensorboard/, checkpoint.pt and, at the end,
    model.safetensors, a model package for codemae predict, damage or detect.
    """
    from codemae_geo.errors import InputError
    from codemae_geo.progress import Reporter

    try:
        from codemae_train.loop import train
        from codemae_train.methods import finetuning_method
        from lightning.fabric.utilities.rank_zero import rank_zero_only
    except ModuleNotFoundError as error:
        raise InputError(
            "fine-tuning needs the training extra", found=str(error), hint="pip install 'codemae-geo[train]'"
        ) from error

    changes = list(overrides or []) + ([f"model.init={start}"] if start else [])
    own = {"images": images, "sar": sar, "pre": pre, "post": post, "labels": labels}
    scenes = {name: [str(path) for path in paths or []] for name, paths in own.items()}
    if sar:
        scenes["sensors"] = ["optical", "sar"]
    method = finetuning_method(recipe, changes, column=column, **scenes)
    folder = output or Path("runs") / method.recipe.name
    first = getattr(rank_zero_only, "rank", 0) == 0  # of several processes one speaks
    reporter = make_reporter(progress, quiet) if first else Reporter()
    try:
        result = train(method, folder, resume=resume, dry_run=dry_run, overwrite=overwrite, reporter=reporter)
    finally:
        close(reporter)
    if not first:
        return
    if progress == "json":
        outputs = {"package": str(result["package"])} if "package" in result else {}
        emit("result", outputs=outputs, summary=result)
    if json_:
        print_json(result)
    elif dry_run and not quiet:
        say(f"{result['steps']} steps of {result['batch']['images']} on {result['device']}; nothing was written")
    elif not quiet and "package" in result:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in result["validation"].items())
        done = f"{result['steps']} steps in {result['seconds']:.0f} s"
        say(f"{done}; {figures or 'nothing held out'}; {result['package']}")
