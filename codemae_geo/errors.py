"""One family of errors: what was found, what was expected, what to do next.

Everything a user can cause raises a :class:`CodemaeError`. The command line catches that class in one place and prints
the message without a traceback; anything else is a bug and keeps its traceback.

A message never spells an option of the command line: it marks the parameter, ``f"choose another {param('res')}"``, and
whoever shows the message says how a parameter is called there (:func:`render`): an option of the command line, a label
in QGIS, the keyword ``res`` in Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal

_MARK = re.compile("\u27e6([a-z0-9_]+)(?:=([^\u27e7]*))?\u27e7")
#: a parameter and its value, if one is named -> how a face spells them
Speak = Callable[[str, str | None], str]


def param(name: str, value: object = None) -> str:
    """A parameter in a message, with a value where one is meant; :func:`render` spells it for its reader.

    >>> render(f"say {param('sensor', 'sar')}, or see {param('dst_crs')}")
    'say sensor=sar, or see dst_crs'
    """
    return f"\u27e6{name}\u27e7" if value is None else f"\u27e6{name}={value}\u27e7"


def as_keyword(name: str, value: str | None) -> str:
    """How Python spells a parameter."""
    return name if value is None else f"{name}={value}"


def render(text: str, speak: Speak = as_keyword) -> str:
    """``text`` with its parameters spelled by ``speak``."""
    return _MARK.sub(lambda m: speak(m[1], m[2]), text)


def params_in(*texts: str | None) -> Iterator[str]:
    """The names of the parameters that texts mark, each once.

    >>> list(params_in(f"{param('res')} or {param('aoi')}", None, param("res", 2)))
    ['res', 'aoi']
    """
    yield from dict.fromkeys(m[1] for text in texts if text for m in _MARK.finditer(text))


def number(value: float, digits: int = 10) -> str:
    """``value`` as it can be typed back: without an exponent, and without digits that say nothing.

    >>> number(4103900.0), number(4103900.126, 3), number(1e-7), number(0.1 + 0.2)
    ('4103900', '4100000', '0.0000001', '0.3')
    """
    text = f"{value:.{digits}g}"
    return f"{Decimal(text):f}" if "e" in text else text


class CodemaeError(Exception):
    """Base class of all errors a user can act on.

    Attributes hold the texts as Python says them; :meth:`told` gives them as another face does.

    Args:
        message: one sentence that names the thing that is wrong; lower case, no full stop.
        found: what was there.
        expected: what would have been right.
        hint: the next step, with the parameter (:func:`param`) or the command to type.
        option: the parameter that the error is about, by its name in Python.
    """

    #: stable identifier, the ``code`` of a JSON-lines ``error`` event
    code = "error"

    def __init__(
        self,
        message: str,
        *,
        found: str | None = None,
        expected: str | None = None,
        hint: str | None = None,
        option: str | None = None,
    ) -> None:
        super().__init__(message)
        #: the texts with their marks
        self.raw = {"message": message, "found": found, "expected": expected, "hint": hint}
        self.option = option
        said = self.told()
        self.message = said["message"] or ""
        self.found, self.expected, self.hint = said["found"], said["expected"], said["hint"]

    def told(self, speak: Speak = as_keyword) -> dict[str, str | None]:
        """``message``, ``found``, ``expected`` and ``hint`` with parameters spelled by ``speak``."""
        return {part: text and render(text, speak) for part, text in self.raw.items()}

    def params(self) -> list[str]:
        """Names of the parameters that the texts mark."""
        return list(params_in(*self.raw.values()))

    def text(self, speak: Speak = as_keyword) -> str:
        """All of it, one line for each part."""
        said = self.told(speak)
        lines = [said["message"] or ""]
        if said["found"]:
            lines.append(f"  found:    {said['found']}")
        if said["expected"]:
            lines.append(f"  expected: {said['expected']}")
        if said["hint"]:
            lines.append(f"hint: {said['hint']}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


class InputError(CodemaeError):
    """An input file or option cannot be used (unreadable, no CRS, wrong bands, no overlap)."""

    code = "input"


class ModelError(CodemaeError):
    """A model file is not a package, or an input breaks the package's contract."""

    code = "model"


class OutputError(CodemaeError):
    """An output cannot be written (exists already, disk full, folder read-only)."""

    code = "output"
