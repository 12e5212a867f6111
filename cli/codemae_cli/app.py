"""The Typer application. Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from codemae_cli.commands import (
    adapt,
    analyze,
    buildings,
    checkpair,
    clean,
    damage,
    data,
    demo,
    detect,
    doctor,
    embed,
    engine,
    evaluate,
    finetune,
    info,
    models,
    predict,
    pretrain,
    probe,
    qgis_setup,
    report,
)
from codemae_cli.console import fail
from codemae_cli.helping import Command, Group
from codemae_cli.manners import LOG, read_settings
from codemae_geo.errors import CodemaeError

app = typer.Typer(
    name="codemae",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "CODEMAE"},
    help=(
        "Optical and SAR rasters to maps people act on.\n\n"
        "Global options work before or after a command: --json, --progress auto|plain|json|none, --quiet, "
        "--overwrite, --dry-run. Every option can come from an environment variable: CODEMAE_DAMAGE_WINDOW=512 is "
        "`codemae damage --window 512`. "
        "Exit codes: 0 done, 1 failed with a message, 2 wrong usage, 130 interrupted."
    ),
    epilog="Start with: codemae demo",
)


def _version(show: bool) -> None:
    if show:
        from codemae_geo import __version__

        typer.echo(f"codemae-geo {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks, and what GDAL says.")] = False,
    log_file: Annotated[
        Path | None, typer.Option(help="Append everything that is said to this file, with the time.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of defaults: [all] or [damage], window = 512.")] = None,
) -> None:
    """Optical and SAR rasters to maps people act on."""
    LOG.verbose = verbose
    try:
        if log_file is not None:
            LOG.open(log_file)
        if config is not None:
            commands = context.command.commands  # type: ignore[attr-defined]
            context.default_map = read_settings(config, commands)
    except CodemaeError as error:
        fail(error, as_json=False, as_events=False)
    if verbose:
        LOG.listen()


app.command("demo", epilog=demo.EXAMPLES)(demo.demo)
app.command("damage", epilog=damage.EXAMPLES)(damage.damage)
app.command("checkpair", epilog=checkpair.EXAMPLES)(checkpair.checkpair)
app.command("predict", epilog=predict.EXAMPLES)(predict.predict)
app.command("embed", epilog=embed.EXAMPLES)(embed.embed)
app.command("detect", epilog=detect.EXAMPLES)(detect.detect)
app.command("buildings", epilog=buildings.EXAMPLES)(buildings.buildings)
app.command("report", epilog=report.EXAMPLES)(report.report)
app.command("pretrain", epilog=pretrain.EXAMPLES)(pretrain.pretrain)
app.command("probe", epilog=probe.EXAMPLES)(probe.probe)
app.command("finetune", epilog=finetune.EXAMPLES)(finetune.finetune)
app.command("adapt", epilog=adapt.EXAMPLES)(adapt.adapt)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("info", epilog=info.EXAMPLES)(info.info)
app.command("clean", epilog=clean.EXAMPLES)(clean.clean)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.command("qgis-setup", epilog=qgis_setup.EXAMPLES)(qgis_setup.qgis_setup)
app.command("engine", epilog=engine.EXAMPLES, hidden=True)(engine.engine)
app.add_typer(models.app, name="models", cls=Group)
app.add_typer(data.app, name="data", cls=Group)
app.add_typer(analyze.app, name="analyze", cls=Group)
_groups = (models.app, data.app, analyze.app)
for _registered in (*app.registered_commands, *(c for group in _groups for c in group.registered_commands)):
    _registered.cls = Command

#: global options and whether they take a value
GLOBALS = {"--json": False, "--quiet": False, "-q": False, "--overwrite": False, "--dry-run": False, "--progress": True}


def hoist_globals(args: Sequence[str]) -> list[str]:
    """Move global options that stand before the command behind it, where the command declares them.

    >>> hoist_globals(["--json", "--progress", "none", "info", "a.tif"])
    ['info', '--json', '--progress', 'none', 'a.tif']
    >>> hoist_globals(["--json", "models", "list"])
    ['models', 'list', '--json']
    """
    early: list[str] = []
    rest = list(args)
    while rest and rest[0].split("=", 1)[0] in GLOBALS:
        takes = GLOBALS[rest[0].split("=", 1)[0]] and "=" not in rest[0]
        early += [rest.pop(0)] + ([rest.pop(0)] if takes and rest else [])
    if not early or not rest or rest[0].startswith("-"):
        return early + rest
    command = 2 if rest[0] in ("models", "data", "analyze") and len(rest) > 1 and not rest[1].startswith("-") else 1
    return rest[:command] + early + rest[command:]


#: options of `damage` and `checkpair` that take several values, as `--pre pre/*.tif` becomes in a shell
SPREAD = ("--pre", "--post")


def spread_values(args: Sequence[str]) -> list[str]:
    """Repeat ``--pre`` and ``--post`` before each of the values that follow them.

    >>> spread_values(["damage", "--pre", "a.tif", "b.tif", "--post", "c.tif", "-o", "out"])
    ['damage', '--pre', 'a.tif', '--pre', 'b.tif', '--post', 'c.tif', '-o', 'out']
    """
    if not args or args[0] not in ("damage", "checkpair"):
        return list(args)
    out: list[str] = []
    current: str | None = None
    for arg in args:
        if arg.startswith("-"):
            current = arg if arg in SPREAD else None
            fresh = True
        elif current is not None:
            if not fresh:
                out.append(current)
            fresh = False
        out.append(arg)
    return out
