"""`codemae qgis-setup`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codemae_cli import options as o
from codemae_cli.console import command, print_json, say

EXAMPLES = """Examples:

\b
codemae qgis-setup --dry-run
codemae qgis-setup --plugin codemae_qgis.zip --profile work
codemae qgis-setup --uninstall
"""


@command
def qgis_setup(
    plugin: Annotated[
        Path | None, typer.Option(help="Plugin as zip or folder [default: the one of this source tree].")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="QGIS profile [default: QGIS's own default].")] = None,
    profiles_path: Annotated[
        Path | None, typer.Option(help="Folder of profiles, as QGIS's option of that name takes it.")
    ] = None,
    uninstall: Annotated[bool, typer.Option("--uninstall", help="Take the plugin and its settings out again.")] = False,
    json_: o.Json = False,
    quiet: o.Quiet = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
) -> None:
    """Put the plugin into a QGIS profile, switch it on, and let it use this installation.

    Of QGIS's settings only the two values of the plugin change. Restart QGIS if it is running.
    """
    import sys

    from codemae_cli import qgis

    target = qgis.find_profile(profile, profiles_path)
    if uninstall:
        report = qgis.uninstall(target, dry_run=dry_run)
    else:
        report = qgis.install(target, sys.executable, plugin or qgis.shipped_plugin(), dry_run=dry_run)
    if json_:
        print_json(report)
    elif not quiet:
        typer.echo(f"QGIS profile {report['profile']}")
        for change in report["changes"] or ["nothing to change"]:
            typer.echo(f"  {'would be: ' if dry_run else ''}{change}")
        for warning in report["warnings"]:
            say(f"warning: {warning}")
        if report["changes"] and not dry_run:
            typer.echo("Restart QGIS if it is running.")
