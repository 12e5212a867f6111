"""Output folders that a run fills in many steps, and that a later run may find half full."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from codemae_geo.errors import OutputError, param
from codemae_geo.outputs import claimed, write_failure
from codemae_geo.texts import read_text

#: what a run that is interrupted says
GOES_ON = "stopped; what is done is kept, and the same command goes on from there"


P = ParamSpec("P")
R = TypeVar("R")


def claims_output(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse a second run into the folder ``output`` at once, as long as the first one works."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with claimed(Path(signature.bind(*args, **kwargs).arguments["output"]), temporary=["*.part"]):
            return function(*args, **kwargs)

    return run


def begin(
    output: Path, plan: str, *, journal: Path, final: Path, what: str, overwrite: bool, clear: Callable[[], None]
) -> bool:
    """Make a folder ready for a run, or for going on with one.

    Args:
        output: the folder.
        plan: a hash of all that decides the bytes of the outputs.
        journal: JSON file with the plan of a run that is not finished; written here.
        final: JSON file with the plan of a finished run, under ``plan``.
        what: what such a folder holds, for messages.
        overwrite: throw away the outputs of another plan, by calling ``clear``.

    Returns:
        Whether a run of the same plan has finished here.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
    """
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file", expected="the name of a folder to create")
    held = final if final.is_file() else journal if journal.is_file() else None
    # a run that was stopped while it began leaves no more than this
    begun = {journal.relative_to(output).parts[0], f"{journal.name}.part"}
    if held is None and output.is_dir() and any(p.name not in begun for p in output.iterdir()):
        raise OutputError(
            f"the output folder {output} exists and holds something else", hint="choose another, or empty it"
        )
    if held is not None:
        try:
            same = json.loads(read_text(held))["plan"] == plan
        except (ValueError, KeyError, TypeError):
            same = False
        if same:
            return held == final
        if not overwrite:
            raise OutputError(
                f"{output} holds {what} of other images or settings",
                hint=f"choose another folder, the settings of that run, or add {param('overwrite')}",
            )
        clear()
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        write_whole(journal, json.dumps({"plan": plan}) + "\n")
    except OSError as error:
        raise write_failure(error, output) from error
    return False


def write_whole(path: Path, text: str) -> None:
    """Write a file so that under its name it is whole or not there."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
