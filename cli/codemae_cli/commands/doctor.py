"""`codemae doctor`."""

from __future__ import annotations

import typer

from codemae_cli import options as o
from codemae_cli.console import PROTOCOL, command, print_json

EXAMPLES = """Examples:

\b
codemae doctor
codemae doctor --json
"""


@command
def doctor(json_: o.Json = False) -> None:
    """Check the installation: versions, devices, projections, models, free disk. Exit code 1 if anything is broken."""
    from codemae_cli.health import check_health

    report = check_health()
    report["protocol"] = PROTOCOL
    if json_:
        print_json(report)
    else:
        for name, value in report["facts"].items():
            typer.echo(f"{name:<12} {value}")
        for problem in report["problems"]:
            typer.echo(f"problem      {problem}")
        typer.echo("all well" if not report["problems"] else f"{len(report['problems'])} problem(s)")
    if report["problems"]:
        raise typer.Exit(1)
