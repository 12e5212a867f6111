"""Protocol v1: a request as a JSON file, events as JSON lines. Described in the toolkit's docs/protocol.md."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Union

from .errors import EngineError
from .words import tr

#: version that this plugin speaks; another major version is refused
PROTOCOL = 1
#: the oldest toolkit that has the `engine` command
OLDEST_TOOLKIT = "0.1.0"


@dataclass(frozen=True)
class Hello:
    """First event of every run."""

    protocol: int
    version: str = ""
    pid: int | None = None
    device: str | None = None


@dataclass(frozen=True)
class Stage:
    """A step begins; ``total`` units of work, None if unknown."""

    name: str
    total: int | None = None


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` in a stage, and seconds left in it."""

    stage: str
    done: int
    total: int
    eta_s: float | None = None


@dataclass(frozen=True)
class Log:
    """A decision, in words."""

    message: str
    level: str = "info"


@dataclass(frozen=True)
class Warn:
    """Something that the user should know about the result; ``options``: parameter -> how the message spells it."""

    code: str
    message: str
    option: str | None = None
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Last event of a run that worked: files by kind, and the summary."""

    outputs: dict[str, str] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Error:
    """Last event of a run that failed."""

    message: str
    code: str = "error"
    hint: str | None = None
    found: str | None = None
    expected: str | None = None
    option: str | None = None
    options: dict[str, str] = field(default_factory=dict)


Event = Union[Hello, Stage, Progress, Log, Warn, Result, Error]

_EVENTS: dict[str, type] = {
    "hello": Hello,
    "stage": Stage,
    "progress": Progress,
    "log": Log,
    "warning": Warn,
    "result": Result,
    "error": Error,
}


def parse(line: str) -> Event | None:
    """The event of one line; None for anything else, which belongs in the log.

    Fields that this version does not know are ignored, so that a minor addition breaks nothing.

    >>> parse('{"event": "stage", "name": "predict", "total": 9}')
    Stage(name='predict', total=9)
    >>> parse("Downloading ...") is None
    True
    """
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    kind = _EVENTS.get(fields.pop("event", "")) if isinstance(fields, dict) else None
    if kind is None:
        return None
    known = kind.__dataclass_fields__  # type: ignore[attr-defined]
    try:
        return kind(**{name: value for name, value in fields.items() if name in known})
    except TypeError:  # a required field is missing
        return None


def request(command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the request file holds; arguments that are None are left to the engine's defaults."""
    return {
        "protocol": PROTOCOL,
        "command": command,
        "arguments": {name: value for name, value in arguments.items() if value is not None},
    }


def check(hello: Hello) -> None:
    """Refuse an engine that speaks another protocol.

    Raises:
        EngineError: the major version differs.
    """
    if hello.protocol == PROTOCOL:
        return
    newer = hello.protocol > PROTOCOL if isinstance(hello.protocol, int) else False
    raise EngineError(
        tr("the codemae-geo runtime {version} speaks protocol {its}, this plugin speaks {ours}").format(
            version=hello.version, its=hello.protocol, ours=PROTOCOL
        ),
        code="protocol",
        hint=tr("Update the CoDe-MAE plugin in the plugin manager")
        if newer
        else tr("Open Raster > CoDe-MAE > Set up runtime and update the runtime"),
    )
