"""Failures as plain sentences with the next step."""

from __future__ import annotations

from collections.abc import Mapping

from .words import tr


class EngineError(Exception):
    """Something that the user can act on.

    Args:
        message: one sentence that names what is wrong.
        code: stable identifier.
        hint: the next step.
        found: what was there.
        expected: what would have been right.
        details: the last lines that the engine printed, for the log.
        options: parameters of the engine that the texts name -> how they are spelled there.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "engine",
        hint: str | None = None,
        found: str | None = None,
        expected: str | None = None,
        details: str = "",
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.found = found
        self.expected = expected
        self.details = details
        self.options = dict(options or {})

    def __str__(self) -> str:
        parts = [_sentence(self.message)]
        if self.found:
            parts.append(_sentence(tr("Found: {text}").format(text=self.found)))
        if self.expected:
            parts.append(_sentence(tr("Expected: {text}").format(text=self.expected)))
        if self.hint:
            parts.append(_sentence(self.hint))
        return " ".join(parts)


class Cancelled(EngineError):
    """The run was stopped by the user; it left nothing behind."""

    def __init__(self) -> None:
        super().__init__(tr("Cancelled; nothing was written"), code="cancelled")


def without_way(error: EngineError) -> str:
    """The sentences of ``error``, but not the way to set-up where its button is at hand."""
    return str(EngineError(error.message)) if error.code == "runtime-missing" else str(error)


def _sentence(text: str) -> str:
    """``text`` with a capital and a full stop; names of files and of our command stay as they are.

    >>> _sentence("the disk is full")
    'The disk is full.'
    >>> _sentence("a/b.tif is not there")
    'a/b.tif is not there.'
    >>> _sentence("codemae models list shows the models by name")
    'codemae models list shows the models by name.'
    """
    text = text.strip()
    word = text.split(" ", 1)[0]
    if word.isalpha() and word != "codemae":
        text = text[:1].upper() + text[1:]
    return text + ("" if text.endswith((".", "!", "?", ":")) else ".")
