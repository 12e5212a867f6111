"""`codemae clean`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codemae_cli import options as o
from codemae_cli.console import command, print_json, say

EXAMPLES = """Examples:

\b
codemae clean
codemae clean maps/ --dry-run
codemae clean /mnt/shared/maps --force
"""


@command
def clean(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to look, with all folders below.")] = Path(),
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also remove what may belong to a run on another machine, on a disk without locks."
        ),
    ] = False,
    json_: o.Json = False,
    quiet: o.Quiet = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List only, and change nothing.")] = False,
) -> None:
    """Remove the hidden files that killed runs left behind; never those of a run in progress.

    A run that was killed while its finished files moved into place is completed, not removed. The next run in a folder
    does the same by itself.
    """
    from codemae_cli.show import size, table
    from codemae_geo.claims import find_leftovers
    from codemae_geo.errors import InputError

    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    rows, entries, failed = [], [], 0
    for left in find_leftovers(folder):
        done = "moved into place" if left.publishing else "removed"
        if left.state == "alive" or (left.state == "unknown" and not force):
            what = "kept: a run is at work" if left.state == "alive" else "kept: its run may be at work, see --force"
        elif dry_run:
            what = f"would be {done}"
        else:
            try:
                what = done if left.settle(force=force) else "kept: a run is at work"
            except OSError as error:
                failed += 1
                what = f"kept: {error.strerror or error}"
        owner = left.owner.describe() if left.owner else ""
        rows.append((str(left.output), size(left.size), what, owner))
        entries.append(
            {"output": str(left.output), "bytes": left.size, "state": left.state, "done": what, "owner": owner or None}
        )
    if json_:
        print_json({"folder": str(folder), "dry_run": dry_run, "found": entries})
    elif rows:
        typer.echo(table(rows, ("for", "size", "what", "run")))
    elif not quiet:
        say(f"nothing is left in {folder}")
    if failed:
        raise typer.Exit(1)
