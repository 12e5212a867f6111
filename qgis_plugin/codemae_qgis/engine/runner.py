"""Run one command of the engine and hand on what it says."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from typing import Any, Callable

from . import protocol
from .errors import Cancelled, EngineError
from .process import Child
from .runtime import Runtime, broken, call
from .words import tr

__all__ = ["Cancelled", "EngineError", "Outcome", "call", "run"]

OnEvent = Callable[[protocol.Event], None]
IsCancelled = Callable[[], bool]


@dataclass(frozen=True)
class Outcome:
    """A run that worked.

    Args:
        outputs: kind of output -> file.
        summary: what the toolkit's summary.json holds.
        warnings: (code, message) in order.
        version: of the toolkit.
        device: where it ran, if the engine said so.
    """

    outputs: dict[str, str]
    summary: dict[str, Any]
    warnings: list[tuple[str, str]] = field(default_factory=list)
    version: str = ""
    device: str | None = None


def run(
    runtime: Runtime,
    command: str,
    arguments: dict[str, Any],
    on_event: OnEvent | None = None,
    is_cancelled: IsCancelled | None = None,
) -> Outcome:
    """Run a command of the engine to its end; blocks, so call it from a task or a thread.

    Args:
        runtime: where the toolkit is.
        command: ``damage``, ``predict``, ``detect``, ``embed``, ``buildings`` or ``checkpair``.
        arguments: options of the command, with underscores; None is left out.
        on_event: told every event; lines that are none arrive as :class:`protocol.Log`.
        is_cancelled: asked ten times a second.

    Raises:
        Cancelled: the user stopped it; the engine has ended and left no output.
        EngineError: the engine reported an error, died, or speaks another protocol.
    """
    handle, path = tempfile.mkstemp(prefix="codemae-", suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(protocol.request(command, arguments), file, ensure_ascii=False)
        return _run(runtime, path, on_event or (lambda event: None), is_cancelled)
    finally:
        with contextlib.suppress(FileNotFoundError):  # the engine deletes it: QGIS may be killed before it comes here
            os.unlink(path)


def _run(runtime: Runtime, path: str, on_event: OnEvent, is_cancelled: IsCancelled | None) -> Outcome:
    hello: protocol.Hello | None = None
    last: protocol.Result | protocol.Error | None = None
    warnings: list[tuple[str, str]] = []
    with Child([*runtime.command, "engine", path, "--delete-request"]) as child:
        for line in child.lines(is_cancelled):
            event = protocol.parse(line) or protocol.Log(line)
            if isinstance(event, protocol.Hello):
                protocol.check(event)
                hello = event
            elif isinstance(event, protocol.Warn):
                warnings.append((event.code, event.message))
            elif isinstance(event, (protocol.Result, protocol.Error)):
                last = event
            on_event(event)
        status = child.wait()
        if isinstance(last, protocol.Error):
            if last.code == "interrupted" and is_cancelled is not None and is_cancelled():
                raise Cancelled
            raise EngineError(
                last.message,
                code=last.code,
                hint=last.hint,
                found=last.found,
                expected=last.expected,
                details=child.tail,
                options=last.options,
            )
        if hello is None:
            raise broken(runtime, status, child.tail)
        if last is None or status != 0:
            raise EngineError(
                _death(status),
                code="died",
                hint=tr("run it again on a smaller area or on the CPU; the log has the last lines that it printed"),
                details=child.tail,
            )
    return Outcome(last.outputs, last.summary, warnings, hello.version, hello.device)


def _death(status: int) -> str:
    """How an engine ended that sent neither a result nor an error."""
    if status == -9:
        return tr("the engine was killed, most likely because the computer ran out of memory")
    if status < 0:
        return tr("the engine was ended by signal {number}").format(number=-status)
    return tr("the engine stopped without a result (exit status {status})").format(status=status)
