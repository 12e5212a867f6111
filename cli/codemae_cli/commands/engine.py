"""`codemae engine`: another command, asked for by a JSON file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from codemae_cli.console import emit, fail, greet, say

EXAMPLES = """Example:

\b
codemae engine request.json
"""


def engine(
    context: typer.Context,
    request: Annotated[Path, typer.Argument(metavar="REQUEST.json", help="What to run, see docs/protocol.md.")],
    delete_request: Annotated[
        bool, typer.Option("--delete-request", help="Delete the file once it is read: whoever wrote it may be killed.")
    ] = False,
) -> None:
    """Run one command for another program: JSON lines on stdout, stopped by the end of stdin (protocol v1)."""
    from codemae_cli.lifeline import hold_stdin
    from codemae_cli.request import RequestError, parse_request, run_request
    from codemae_cli.stopping import INTERRUPTED, end_now
    from codemae_cli.streams import speak_events

    speak_events()
    hold_stdin()
    try:
        try:
            asked = parse_request(request)
        finally:
            if delete_request:
                with suppress(OSError):  # a file that stays is no reason not to run
                    request.unlink()
        code = run_request(asked, context.find_root().command)
    except RequestError as error:
        greet()
        fail(error, as_json=False, as_events=True)
    except KeyboardInterrupt:  # before the command itself took over
        emit("error", code="interrupted", message="interrupted", hint=None)
        say("interrupted; nothing half-written was left")
        code = INTERRUPTED
    if code == INTERRUPTED:
        end_now()  # taking down the interpreter with its libraries would keep whoever cancelled waiting
    raise typer.Exit(code)
