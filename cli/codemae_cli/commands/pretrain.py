"""`codemae pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, emit, make_reporter, print_json, say

EXAMPLES = """Examples:

\b
codemae pretrain small data.optical=scenes/optical data.sar=scenes/sar -o run
codemae pretrain small data.optical=scenes/optical data.sar=scenes/sar -o run --resume
codemae pretrain decur-small data.optical=scenes/optical data.sar=scenes/sar -o decur
codemae pretrain cross-scale-small data.optical=scenes/optical data.sar=scenes/sar -o cross_scale
codemae pretrain ablation data.root=OSPretrain train.devices=1 train.batch=256 model.cross=false -o no_cdr
torchrun --nproc-per-node 8 -m codemae_cli pretrain base data.root=OSPretrain -o base
"""


@command
def pretrain(
    recipe: Annotated[str, typer.Argument(help="base, small, decur-small, cross-scale-small, ... or a YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Changes, e.g. train.epochs=10.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Run directory [default: runs/NAME].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the directory's checkpoint.")] = False,
    skip_unreadable: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Tolerate up to N unreadable files.")
    ] = None,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Prepare, check two batches, write nothing.")] = False,
) -> None:
    """Pretrain a backbone on optical-SAR images with CoDe-MAE, DeCUR or Cross-Scale MAE.

    The run directory gets recipe.yaml, run.json, log.csv, validation.csv, tensorboard/, checkpoint.pt and, at the end,
    encoder.safetensors, a model package.
    """
    from codemae_geo.errors import InputError
    from codemae_geo.progress import Reporter

    try:
        from codemae_train.loop import train
        from codemae_train.methods import pretraining_method
        from lightning.fabric.utilities.rank_zero import rank_zero_only
    except ModuleNotFoundError as error:
        raise InputError(
            "pretraining needs the training extra", found=str(error), hint="pip install 'codemae-geo[train]'"
        ) from error

    changes = list(overrides or [])
    if skip_unreadable is not None:
        changes.append(f"data.skip_unreadable={skip_unreadable}")
    method = pretraining_method(recipe, changes)
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
        encoder = {"encoder": str(result["encoder"])} if "encoder" in result else {}
        emit("result", outputs=encoder, summary=result)
    if json_:
        print_json(result)
    elif dry_run and not quiet:
        say(f"{result['steps']} steps of {result['batch']['pairs']} pairs on {result['device']}; nothing was written")
    elif not quiet and "encoder" in result:
        say(f"{result['steps']} steps in {result['seconds']:.0f} s; {result['encoder']}")
