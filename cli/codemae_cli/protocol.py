"""Protocol v1: the JSON lines that a program reads from `--progress json`, and the request that `engine` takes.

``docs/protocol.md`` explains it to people; ``tests/data/protocol_v1.jsonl`` has one of every kind of event and is read
by the tests of both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: version of events and requests; a reader refuses a number it does not know
PROTOCOL = 1

_NULL = type(None)
#: event -> field -> the JSON types it may have; fields in ``OPTIONAL`` may be missing
EVENTS: dict[str, dict[str, tuple[type, ...]]] = {
    "hello": {"protocol": (int,), "version": (str,), "pid": (int,), "device": (str,)},
    "stage": {"name": (str,), "total": (int, _NULL)},
    "progress": {"stage": (str,), "done": (int,), "total": (int,), "eta_s": (int, float, _NULL)},
    "log": {"level": (str,), "message": (str,)},
    "warning": {"code": (str,), "message": (str,), "option": (str,), "options": (dict,)},
    "result": {"outputs": (dict,), "summary": (dict,)},
    "error": {
        "code": (str,),
        "message": (str,),
        "hint": (str, _NULL),
        "found": (str,),
        "expected": (str,),
        "option": (str,),
        "options": (dict,),
    },
}
OPTIONAL = {("error", name) for name in ("found", "expected", "option", "options")}
OPTIONAL |= {("warning", name) for name in ("option", "options")}
#: ``code`` of an ``error`` event -> what it means
ERROR_CODES = {
    "input": "an input file or an option cannot be used",
    "model": "a model is not a package, or does not fit the inputs",
    "output": "an output cannot be written: it exists, the disk is full, the folder is read-only",
    "request": "the request cannot be read, or names an unknown command or argument",
    "protocol": "the request is of a protocol that this engine does not speak",
    "memory": "the memory of the machine or of the device does not suffice",
    "interrupted": "stopped from outside; nothing half-written was left",
    "internal": "a bug; the traceback is on stderr",
    "error": "anything else that a user can act on",
}


def problems(event: Mapping[str, Any]) -> list[str]:
    """What keeps ``event`` from being one of protocol v1, in words; empty when nothing does."""
    kind = event.get("event")
    if kind not in EVENTS:
        return [f"there is no event {kind!r}"]
    fields = EVENTS[kind]
    missing = [f"{kind} lacks {name}" for name in fields if name not in event and (kind, name) not in OPTIONAL]
    unknown = [f"{kind} has no field {name}" for name in event if name not in fields and name != "event"]
    wrong = [
        f"{kind}.{name} is {event[name]!r}"
        for name, types in fields.items()
        if name in event and (not isinstance(event[name], types) or isinstance(event[name], bool))
    ]
    if kind == "error" and event.get("code") not in ERROR_CODES:
        wrong.append(f"there is no error code {event.get('code')!r}")
    return [*missing, *unknown, *wrong]
