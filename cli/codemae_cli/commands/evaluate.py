"""`codemae evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, emit, make_reporter, print_json, say

EXAMPLES = """Examples:

\b
codemae evaluate damage-sar.safetensors bright --root data/bright -o out
codemae evaluate landcover.safetensors loveda --root data/loveda --split val --form published -o out
codemae evaluate damage-tiny-optical --pre before.tif --post after.tif --labels labels.gpkg -o out
"""

OWN = "Your own labels"


@command
def evaluate(
    model: Annotated[str, typer.Argument(help="Package by name, file, or hf:OWNER/REPO@REVISION.")],
    dataset: Annotated[
        str | None, typer.Argument(help="A public dataset by name, or joplin: the chip left out by the bundled models.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to create.")] = Path("evaluation"),
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset [default: data].")] = None,
    split: Annotated[str | None, typer.Option(help="List to score on [default: test, holdout or val].")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many images, spread over the list.")] = None,
    form: Annotated[
        Literal["engine", "published"],
        typer.Option(help="engine: as maps are made; published: logits of windows averaged, as in the papers."),
    ] = "engine",
    pre: Annotated[
        list[Path] | None, typer.Option(help="Scene before, of a damage model. May be repeated.", rich_help_panel=OWN)
    ] = None,
    post: Annotated[list[Path] | None, typer.Option(help="Scene after. May be repeated.", rich_help_panel=OWN)] = None,
    images: Annotated[
        list[Path] | None, typer.Option(help="Scene of a segmentation model. May be repeated.", rich_help_panel=OWN)
    ] = None,
    sar: Annotated[
        list[Path] | None,
        typer.Option(help="Radar scene beside the images, of a model for both. May be repeated.", rich_help_panel=OWN),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Labels of the scenes: raster, polygons or points, any CRS.", rich_help_panel=OWN),
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column that holds the class.", rich_help_panel=OWN)] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=VALUE,...", help="What the labels hold for each class of the model.", rich_help_panel=OWN
        ),
    ] = None,
    footprints: Annotated[
        Path | None, typer.Option(help="Building outlines to count buildings by.", rich_help_panel=OWN)
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Also write the package with the calibration that was fitted here.")
    ] = None,
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Score a package on labelled images, per class, event and kind of disaster.

    Writes metrics.json and report.html, one page to look at. Damage is scored with and without the localisation gate.
    """
    from codemae_cli.parse import class_values
    from codemae_geo.errors import InputError

    try:
        from codemae_train.evaluate import evaluate as run
    except ModuleNotFoundError as error:
        raise InputError(
            "evaluation needs the training extra", found=str(error), hint="pip install 'codemae-geo[data]'"
        ) from error
    given = {name: paths for name, paths in (("pre", pre), ("post", post), ("images", images), ("sar", sar)) if paths}
    if given and set(given) not in ({"pre", "post"}, {"images"}, {"images", "sar"}):
        raise InputError(
            "the scenes do not go together", found=", ".join(given), expected="pre and post, or images (and sar)"
        )
    if bool(given) != (labels is not None) or bool(given) == (dataset is not None):
        raise InputError("what should the model be scored on?", expected="a dataset, or scenes with labels")
    reporter = make_reporter(progress, quiet)
    try:
        result = run(
            model,
            dataset,
            output,
            root=root,
            split=split,
            limit=limit,
            form=form,
            scenes=given or None,
            labels=labels,
            column=column,
            classes=None if classes is None else class_values(classes),
            footprints=footprints,
            save=save,
            overwrite=overwrite,
            reporter=reporter,
        )
    finally:
        close(reporter)
    outputs = {name: str(output / file) for name, file in (("metrics", "metrics.json"), ("report", "report.html"))}
    if progress == "json":
        emit("result", outputs=outputs, summary=result)
    if json_:
        print_json(result)
    elif not quiet and progress != "json":
        for line in _lines(result):
            typer.echo(line)
        say(f"{outputs['report']}")


def _lines(result: dict[str, object]) -> list[str]:
    """The main figures, one line each."""
    from typing import Any

    figures: Any = result["figures"]
    named: Any = result["list"]
    lines = [f"{named['dataset']}, {named['split']}"]
    if "map50" in figures:
        lines.append(f"mAP {100 * (figures['map'] or 0):.2f}, mAP50 {100 * (figures['map50'] or 0):.2f}")
    if "accuracy" in figures:
        lines.append(f"accuracy {100 * figures['accuracy']:.2f}, mean F1 {100 * figures['macro_f1']:.2f}")
    for rule in ("ungated", "gated"):
        if rule not in figures:
            continue
        line = f"{rule}: mIoU {100 * figures[rule]['miou']:.2f}"
        houses = figures[rule].get("buildings", {})
        if houses.get("count"):
            line += f", buildings: mean F1 {100 * houses['mean_f1']:.2f} of {houses['count']}"
        lines.append(line)
    card: Any = result["card"]
    if card:
        lines.append(f"{sum(m['equal'] for m in card)} of {len(card)} figures of the card are the same")
    return lines
