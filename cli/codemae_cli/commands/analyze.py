"""`codemae analyze ...`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, emit, make_reporter, print_json, say

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What representations do on your own scenes: the papers' mechanism figures, several models side by side.",
)

Models = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Packages with both sensors, or folders of pretraining runs.")
]
Optical = Annotated[Path, typer.Option(help="Folder of optical scenes, three bands.")]
Sar = Annotated[Path, typer.Option(help="Folder of SAR scenes of the same place.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder to create [default: analysis-NAME].")]
Window = Annotated[int, typer.Option(min=32, help="Side of a window in pixels.")]
Count = Annotated[int, typer.Option(min=8, help="Windows to draw.")]
Seed = Annotated[int, typer.Option(help="Of the places and of the drawing.")]
Holdout = Annotated[
    float | None, typer.Option(min=0, max=1, help="Only the eastern share of the scenes, as recipes hold it out.")
]
Stretch = Annotated[str | None, typer.Option(metavar="LOW,HIGH", help="Values that become 0 and 255, unless 8-bit.")]

SCENES = "--optical scenes/optical --sar scenes/sar"


def _run(name: str, models: list[str], arguments: dict[str, Any], **options: Any) -> None:
    """One analysis; ``arguments`` are those of the command."""
    from codemae_cli.parse import numbers
    from codemae_geo.errors import InputError

    try:
        from codemae_train.analyze import Request, analyse
    except ModuleNotFoundError as error:
        raise InputError(
            "analysing needs the training extra", found=str(error), hint="pip install 'codemae-geo[analyze]'"
        ) from error
    stretches: dict[str, Any] = {}
    for key in ("optical_stretch", "sar_stretch"):
        if arguments[key] is not None:
            values = numbers(arguments[key], "a stretch", "0,3000")
            if len(values) != 2 or not values[0] < values[1]:
                raise InputError("the stretch is empty", found=arguments[key], expected="LOW below HIGH", option=key)
            stretches[key] = values
    request = Request(
        arguments["optical"],
        arguments["sar"],
        arguments["window"],
        arguments["count"],
        arguments["seed"],
        arguments["holdout"],
        options=options,
        **stretches,
    )
    progress, quiet = arguments["progress"], arguments["quiet"]
    reporter = make_reporter(progress, quiet)
    out = arguments["output"] or Path(f"analysis-{name}")
    try:
        result = analyse(name, models, request, out, overwrite=arguments["overwrite"], reporter=reporter)
    finally:
        close(reporter)
    if progress == "json":
        emit("result", outputs=result["files"], summary=result)
    if arguments["json_"]:
        print_json(result)
    elif not quiet and progress != "json":
        for line in _lines(result["summary"]):
            typer.echo(line)
        say(result["files"]["png"])


def _lines(found: Any, indent: str = "") -> list[str]:
    """Nested figures, one a line."""
    lines = []
    for key, value in found.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {value:.4g}" if isinstance(value, float) else f"{indent}{key}: {value}")
    return lines


def analysis(
    name: str, example: str, window: int, count: int, models: Any = Models
) -> Callable[[Callable[..., dict[str, Any]]], None]:
    """Make a command of a function that takes an analysis's own options (and ``seed``) and returns what it is told.

    Args:
        name: of the analysis.
        example: what follows ``codemae analyze``.
        window, count: defaults of what all analyses share.
        models: the argument for the models; None where none is needed.
    """

    def register(function: Callable[..., dict[str, Any]]) -> None:
        own = inspect.signature(function, eval_str=True).parameters

        def option(key: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
            return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

        parameters = [
            *([] if models is None else [option("models", models)]),
            option("optical", Optical),
            option("sar", Sar),
            option("output", Output, None),
            *(option(key, p.annotation, p.default) for key, p in own.items() if key != "seed"),
            option("window", Window, window),
            option("count", Count, count),
            option("seed", Seed, 0),
            option("holdout", Holdout, None),
            option("optical_stretch", Stretch, None),
            option("sar_stretch", Stretch, None),
            option("json_", o.Json, False),
            option("progress", o.Progress, "auto"),
            option("quiet", o.Quiet, False),
            option("overwrite", o.Overwrite, False),
        ]

        def run(**arguments: Any) -> None:
            options = function(**{key: arguments[key] for key in own})
            _run(name, arguments.get("models", []), arguments, **options)

        run.__name__, run.__doc__ = function.__name__, function.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(name, epilog=f"Example:\n\n\b\ncodemae analyze {example}")(command(run))

    return register


@analysis("ssim-gsd", f"ssim-gsd {SCENES} -o similarity", window=512, count=24, models=None)
def ssim_gsd(levels: Annotated[int, typer.Option(min=1, max=12, help="Levels of the pyramid.")] = 6) -> dict[str, Any]:
    """Structural similarity of optical and SAR at ever coarser pixels (CoDe-MAE, Fig. 1); needs no model."""
    return {"levels": levels}


@analysis("spectrum", f"spectrum run-a run-b {SCENES} -o spectra", window=96, count=1024)
def spectrum() -> dict[str, Any]:
    """Singular values and effective rank of the features of windows (CoDe-MAE, Fig. 2d)."""
    return {}


@analysis("projection", f"projection run-a run-b {SCENES} -o projection", window=96, count=256)
def projection(seed: Seed) -> dict[str, Any]:
    """UMAP of both sensors' features with a line for each pair, and how parallel the lines are (CoDe-MAE, Fig. 4a)."""
    return {"seed": seed}


@analysis(
    "reconstruct",
    f"reconstruct run {SCENES} --box 32,32,64,64 -o reconstruct",
    window=96,
    count=32,
    models=Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders of CoDe-MAE pretraining runs.")],
)
def reconstruct(
    box: Annotated[
        str | None, typer.Option(metavar="LEFT,TOP,RIGHT,BOTTOM", help="Pixels to mask [default: the middle half].")
    ] = None,
) -> dict[str, Any]:
    """What a run puts into a box that was masked, from its own and from the other sensor (CoDe-MAE, Fig. 4b)."""
    from codemae_cli.parse import numbers
    from codemae_geo.errors import InputError

    chosen = None
    if box is not None:
        chosen = tuple(round(v) for v in numbers(box, "a box", "32,32,64,64"))
        if len(chosen) != 4:
            raise InputError("the box has four sides", found=box, expected="LEFT,TOP,RIGHT,BOTTOM", option="box")
    return {"box": chosen}


@analysis("alignment", f"alignment run-a run-b {SCENES} --holdout 0.25 -o out", window=96, count=256)
def alignment() -> dict[str, Any]:
    """Cosine of patches against their SSIM (CoDe-MAE, Fig. 4c), retrieval, and what the dimensions share (DeCUR).

    By raw and by standardised features: a mean that all features share hides what they agree in.
    """
    return {}


@analysis("saliency", f"saliency run-a run-b {SCENES} -o saliency", window=96, count=64)
def saliency() -> dict[str, Any]:
    """Where in the image and in which band features come from, and how far two sensors agree in it (DeCUR)."""
    return {}
