"""Requests of protocol v1: a JSON file that names a command and its arguments."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from codemae_cli.protocol import PROTOCOL
from codemae_geo.errors import CodemaeError
from codemae_geo.texts import read_text

#: parameters of every command that the engine sets itself
_OURS = {"progress", "json_", "quiet"}
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class RequestError(CodemaeError):
    """A request that cannot be read, or asks for what is not there."""

    code = "request"


class ProtocolError(RequestError):
    """A request of another protocol."""

    code = "protocol"


@dataclass(frozen=True)
class Request:
    """What to run.

    Args:
        command: name of a command that takes ``--progress``.
        arguments: its options by name, ``-`` written as ``_``; positional arguments by their names.
    """

    command: str
    arguments: Mapping[str, Any]


def parse_request(path: Path) -> Request:
    """Read a request file.

    Raises:
        RequestError: it cannot be read, is no JSON object, or lacks a field.
        ProtocolError: its protocol is not ours.
    """
    try:
        data = json.loads(read_text(path, "utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"the request {path} cannot be read", found=str(error), expected="a JSON file") from error
    if not isinstance(data, dict):
        raise RequestError("the request is not a JSON object", found=type(data).__name__)
    if data.get("protocol") != PROTOCOL:
        raise ProtocolError(
            f"this engine does not speak protocol {data.get('protocol')!r}",
            found=repr(data.get("protocol")),
            expected=str(PROTOCOL),
            hint="update codemae-geo, or the program that asks, so that both speak one protocol",
        )
    _refuse_unknown(data, {"protocol", "command", "arguments"}, "the request has no field {!r}")
    command, arguments = data.get("command"), data.get("arguments", {})
    if not isinstance(command, str) or not isinstance(arguments, dict):
        raise RequestError("the request needs a command (text) and arguments (an object)", found=json.dumps(data)[:200])
    return Request(command, arguments)


def run_request(request: Request, application: Any) -> int:
    """Run the command with ``--progress json`` in this process.

    Args:
        request: what to run.
        application: the group of all commands.

    Returns:
        Its exit code.

    Raises:
        RequestError: an unknown command or argument, or a value that does not fit.
    """
    commands = {n: c for n, c in application.commands.items() if any(p.name == "progress" for p in c.params)}
    _refuse_unknown([request.command], commands, "there is no command {!r} to run by request")
    command = commands[request.command]
    words = [*to_words(command.params, request), "--progress", "json"]
    positional = to_words(command.params, request, positional=True)
    try:
        code = command.main([*words, "--", *positional], prog_name=f"codemae {request.command}", standalone_mode=False)
    except _UsageError as error:
        raise RequestError(
            f"{request.command}: {error.format_message()}",  # type: ignore[attr-defined]
            hint=f"codemae {request.command} --help shows the options and their values",
        ) from error
    except typer.Abort:
        raise KeyboardInterrupt from None
    return int(code or 0)


def to_words(params: Sequence[Any], request: Request, *, positional: bool = False) -> list[str]:
    """The arguments of a request as words of the command line.

    Args:
        params: the command's parameters.
        request: names and values.
        positional: the positional arguments, else the options.

    Raises:
        RequestError: an unknown name, or a value of the wrong kind.
    """
    known = {p.name.rstrip("_"): p for p in params if p.name not in _OURS and p.name != "help"}
    _refuse_unknown(request.arguments, known, f"the command {request.command} has no argument {{!r}}")
    words: list[str] = []
    for name, param in known.items():
        value = request.arguments.get(name)
        if value is None or (param.param_type_name == "argument") != positional:
            continue
        if getattr(param, "is_flag", False):
            if not isinstance(value, bool):
                raise _wrong(request, name, value, "true or false")
            words += param.opts[-1:] if value else param.secondary_opts[-1:]
            continue
        texts = [_text(request, name, v) for v in (value if isinstance(value, list) else [value])]
        if positional:
            words += texts
        elif param.nargs > 1:
            if len(texts) != param.nargs:
                raise _wrong(request, name, value, f"{param.nargs} values")
            words += [param.opts[0], *texts]
        elif isinstance(value, list) and not param.multiple:
            raise _wrong(request, name, value, "one value")
        else:
            words += [w for text in texts for w in (param.opts[0], text)]
    return words


def _text(request: Request, name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _wrong(request, name, value, "text or a number")
    return str(value)


def _wrong(request: Request, name: str, value: Any, expected: str) -> RequestError:
    return RequestError(
        f"the argument {name!r} of {request.command} has the wrong kind of value",
        found=json.dumps(value, ensure_ascii=False)[:200],
        expected=expected,
    )


def _refuse_unknown(names: Collection[str], known: Collection[str], message: str) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            raise RequestError(
                message.format(name),
                found=name,
                expected=", ".join(near or sorted(known)),
                hint=f"did you mean {near[0]!r}?" if near else "codemae --help shows the commands and their options",
            )
