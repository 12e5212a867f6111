"""One family of errors: what was found, what was expected, what to do next.

Everything a user can cause raises a :class:`CodemaeError`. The command line catches that class in one place and prints
the message without a traceback; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations


class CodemaeError(Exception):
    """Base class of all errors a user can act on.

    Args:
        message: one sentence that names the thing that is wrong.
        found: what was there.
        expected: what would have been right.
        hint: the next step, with the option or command to type.
    """

    #: stable identifier, the ``code`` of a JSON-lines ``error`` event
    code = "error"

    def __init__(
        self, message: str, *, found: str | None = None, expected: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.found = found
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message]
        if self.found:
            lines.append(f"  found:    {self.found}")
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class InputError(CodemaeError):
    """An input file or option cannot be used (unreadable, no CRS, wrong bands, no overlap)."""

    code = "input"


class ModelError(CodemaeError):
    """A model file is not a package, or an input breaks the package's contract."""

    code = "model"


class OutputError(CodemaeError):
    """An output cannot be written (exists already, disk full, folder read-only)."""

    code = "output"


class Interrupted(CodemaeError):
    """The run was stopped from outside; nothing half-written is left."""

    code = "interrupted"
