"""`codemae models ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from codemae_cli import options as o
from codemae_cli.console import command, print_json
from codemae_cli.show import size, table

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Model packages: list, info, card, convert, export, verify; wrap for ONNX files.",
)

Name = Annotated[str, typer.Argument(metavar="MODEL", help="Name, file, or hf:OWNER/REPO@REVISION.")]


@app.command("list", epilog="Example:\n\n\b\ncodemae models list --json")
@command
def list_(json_: o.Json = False) -> None:
    """List the models that can be asked for by name: bundled ones and those in ~/.codemae/models."""
    from codemae_geo.weights import known_models, read_contract

    found = []
    for model in known_models():
        contract = read_contract(model.path)
        found.append(
            {
                "name": model.name,
                "task": contract.task,
                "inputs": [i.family for i in contract.inputs],
                "origin": model.origin,
                "licence": contract.licence,
                "description": contract.description,
                "path": str(model.path),
            }
        )
    if json_:
        print_json({"models": found})
    elif not found:
        typer.echo("no models")
    else:
        rows = [
            (str(m["name"]), str(m["task"]), " + ".join(m["inputs"]), str(m["origin"]), str(m["licence"]))
            for m in found
        ]
        typer.echo(table(rows, ("name", "task", "inputs", "origin", "licence")))


@app.command("info", epilog="Example:\n\n\b\ncodemae models info damage-tiny-optical")
@command
def info(model: Name, json_: o.Json = False) -> None:
    """Show a package's contract in short: task, inputs, classes, window, size, hash."""
    from codemae_geo.weights import read_contract, resolve
    from codemae_geo.weights.contract import file_sha256

    path = resolve(model)
    contract = read_contract(path)
    if json_:
        print_json({"path": str(path), "sha256": file_sha256(path), "contract": contract.model_dump()})
        return
    rows = [
        ("name", f"{contract.name} {contract.version}"),
        ("file", f"{path} ({size(path.stat().st_size)})"),
        ("sha256", file_sha256(path)),
        ("task", contract.task),
        *(
            (
                f"input {i.name}",
                f"{i.family}, {', '.join(i.bands)}, {i.unit}" + (f", {i.gsd[0]:g} to {i.gsd[1]:g} m" if i.gsd else ""),
            )
            for i in contract.inputs
        ),
        ("classes", ", ".join(c.name for c in contract.classes) or "none"),
        ("window", f"{contract.window} pixels, overlap {contract.overlap:.0%}"),
        ("licence", contract.licence),
    ]
    typer.echo(table(rows))


@app.command(
    "card",
    epilog="Example:\n\n\b\ncodemae models card damage-tiny-optical --stac item.json",
)
@command
def card(
    model: Name,
    stac: Annotated[Path | None, typer.Option(help="Also write a STAC item with MLM 1.5 fields.")] = None,
    json_: o.Json = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Print the model card: what it was trained on, how good it is, what it cannot do."""
    import json

    from codemae_geo.outputs import write_text
    from codemae_geo.weights import read_contract, resolve
    from codemae_geo.weights.card import card_text, stac_item

    path = resolve(model)
    if stac is not None:
        write_text(stac, json.dumps(stac_item(path), indent=2) + "\n", overwrite=overwrite)
    if json_:
        print_json(stac_item(path))
    else:
        typer.echo(card_text(read_contract(path)), nl=False)


@app.command(
    "convert",
    epilog="Examples:\n\n\b\ncodemae models convert damage_base.pth -o sar.safetensors --preset damageformer-base\n"
    "codemae models convert best.pth -o mstar.safetensors --preset classifier-sar-base --classes mstar",
)
@command
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="Published checkpoint: .pth, .pt or .safetensors.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Package to write.")],
    preset: Annotated[
        str,
        typer.Option(
            help="What the checkpoint is: damageformer, upernet-loveda, classifier-aid, classifier-resisc45, "
            "classifier-sar, encoder (pretraining) or itpn (ImageNet), each with -base or -large."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the model [default: the preset's].")] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the weights.")] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Class names in the order of the outputs: a,b,c, or the name of a public dataset."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write where every key of the checkpoint went, as JSON.")] = None,
    json_: o.Json = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Make a model package from a published checkpoint; every key and shape must agree, nothing is unpickled."""
    import json
    from dataclasses import asdict

    from codemae_geo.outputs import check_writable, write_text
    from codemae_geo.weights.convert import convert_checkpoint

    if report is not None:
        check_writable(report, overwrite=overwrite)
    done = convert_checkpoint(
        checkpoint,
        output,
        preset,
        name=name,
        licence=licence,
        classes=None if classes is None else _class_names(classes),
        overwrite=overwrite,
    )
    keys = {key: value for key, value in asdict(done).items() if key != "contract"}
    if report is not None:
        write_text(report, json.dumps(keys, indent=2) + "\n", overwrite=overwrite)
    if json_:
        print_json({"path": str(output), "name": done.contract.name, **keys})
        return
    typer.echo(f"{output}: {done.contract.name}, {done.contract.task}")
    typer.echo(f"{len(done.used)} of {len(done.used) + len(done.left_out)} keys used")
    for reason in dict.fromkeys(done.left_out.values()):
        typer.echo(f"  {list(done.left_out.values()).count(reason)} left out: {reason}")


def _class_names(text: str) -> list[str]:
    """Names from ``a,b,c``, or those of a public dataset."""
    if "," in text:
        return [part.strip() for part in text.split(",") if part.strip()]
    from codemae_datasets.public import dataset_class

    return list(dataset_class(text).card.classes)


@app.command("export", epilog="Example:\n\n\b\ncodemae models export landcover.safetensors -o landcover.onnx")
@command
def export_(
    model: Name,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write [default: beside the package]."),
    ] = None,
    to: Annotated[Literal["onnx", "openvino"], typer.Option(help="Runtime; both read the same ONNX file.")] = "onnx",
    sensor: Annotated[
        Literal["optical", "sar"] | None, typer.Option(help="For features: the sensor of the scenes.")
    ] = None,
    stride: Annotated[Literal["32", "16", "8", "4"], typer.Option(help="For features: pixels of a cell.")] = "16",
    json_: o.Json = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Export a package to one file with its contract inside, which runs without PyTorch, and faster on CPUs.

    Beside its package, runs pick it up by themselves. One file serves windows of every size.
    """
    from codemae_geo.inference.runtimes.base import Program
    from codemae_geo.inference.runtimes.export import export
    from codemae_geo.inference.runtimes.graph import export_path
    from codemae_geo.weights import open_package, resolve

    package = open_package(resolve(model))
    program = Program.of(package.contract)
    if program.kind == "features" or sensor is not None:
        program = Program("features", sensor or package.contract.inputs[0].family, int(stride))
    path = export(package, output or export_path(package, program), program, overwrite=overwrite)
    if json_:
        print_json({"path": str(path), "runtime": to, "bytes": path.stat().st_size, "program": program.as_dict()})
    else:
        typer.echo(f"{path}: {size(path.stat().st_size)}, for OpenVINO and ONNX Runtime")


@app.command("verify", epilog="Example:\n\n\b\ncodemae models verify damage-tiny-optical")
@command
def verify(model: Name, json_: o.Json = False) -> None:
    """Check that a package is whole and runs: contract, hash, strict loading, finite weights, one forward pass."""
    from codemae_geo.weights import resolve
    from codemae_geo.weights.verify import verify_package

    report = verify_package(resolve(model))
    if json_:
        print_json(report)
    else:
        typer.echo(f"{report['name']}: whole, {report['parameters']:,} parameters, sha256 {report['sha256']}")


@app.command(
    "wrap",
    epilog="Examples:\n\n\b\ncodemae models wrap model.onnx -o contract.json\n"
    "codemae models wrap model.onnx -o contract.json --family optical --bands red,green,blue --mean 123.7,116.3,103.5"
    " --std 58.4,57.1,57.4 --classes ground,building,water\n"
    "codemae models wrap height.onnx -o contract.json --family sar --bands vv,vh --unit db --mean -10,-17 --std 5,5"
    ' --values "height in m"',
)
@command
def wrap(
    model: Annotated[Path, typer.Argument(help="ONNX file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Contract to write (JSON).")],
    family: Annotated[Literal["optical", "sar"] | None, typer.Option(help="Kind of scene that it takes.")] = None,
    bands: Annotated[str | None, typer.Option(help="Names of the bands, in the order of its channels: a,b,c.")] = None,
    unit: Annotated[
        Literal["uint8", "dn", "reflectance", "db", "power", "amplitude"] | None,
        typer.Option(help="Unit of the pixel values that it expects."),
    ] = None,
    mean: Annotated[str | None, typer.Option(help="Means that training subtracted, one number per band.")] = None,
    std: Annotated[
        str | None, typer.Option(help="Standard deviations that training divided by, one number per band.")
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Classes in the order of its answers: a,b,c.")] = None,
    values: Annotated[
        str | None, typer.Option(help="Bands of numbers that it answers with, in place of classes.")
    ] = None,
    window: Annotated[int | None, typer.Option(min=32, max=8192, help="Window side in pixels [default: 512].")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model [default: the file's].")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "not stated",
    json_: o.Json = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Write down what an ONNX model takes and answers, so that `codemae predict` can run it.

    Asks for whatever the options leave open, and tries the answers on the model before it writes anything.
    """
    from codemae_geo.outputs import check_writable, write_text
    from codemae_geo.weights.foreign import make_contract
    from codemae_geo.weights.foreign import wrap as wrap_model

    check_writable(output, overwrite=overwrite)
    family = family or _ask("family", "Kind of scene (optical, sar)", "optical")
    names = _listed(bands or _ask("bands", "Bands in the order of the channels", "red,green,blue"))
    unit = unit or _ask("unit", "Unit of the pixels (uint8, dn, reflectance, db, power, amplitude)", "uint8")
    mean = mean or _ask("mean", "Mean, one number a band", ",".join("0" for _ in names))
    std = std or _ask("std", "Standard deviation, one number a band", ",".join("1" for _ in names))
    if not classes and not values:
        classes = _ask("classes", "Classes in the order of the answers (empty for a regression)", "")
        values = None if classes else _ask("values", "Bands of numbers that it answers", "value")
    spec = {"family": family, "bands": names, "unit": unit, "mean": _numbers("mean", mean), "std": _numbers("std", std)}
    told = make_contract(
        spec,
        _listed(classes) if classes else None,
        _listed(values) if values else None,
        name=name or model.stem,
        framework="onnx",
        window=window or 512,
        licence=licence,
    )
    contract = wrap_model(model, contract=told).contract
    write_text(output, contract.model_dump_json(indent=2) + "\n", overwrite=overwrite)
    if json_:
        print_json({"path": str(output), "contract": contract.model_dump()})
    else:
        typer.echo(
            f"{output}: {contract.name}, {contract.task}; codemae predict {model} SCENE --contract {output} -o out"
        )


def _ask(option: str, question: str, default: str) -> Any:
    """An answer from the terminal; without one the option is named."""
    import sys

    from codemae_geo.errors import InputError, param

    if not sys.stdin.isatty():
        raise InputError(
            f"nobody can be asked: {question[0].lower()}{question[1:]}", hint=f"say {param(option)}", option=option
        )
    return typer.prompt(question, default=default, show_default=bool(default))


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(option: str, text: str) -> list[float]:
    from codemae_geo.errors import InputError, param

    try:
        return [float(part) for part in _listed(text)]
    except ValueError as error:
        raise InputError("these are not numbers", found=param(option, text), option=option) from error
