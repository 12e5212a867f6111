"""The words of this package in the user's language. No Qt in here: whoever has it says how to translate."""

from __future__ import annotations

from collections.abc import Callable


def _as_it_is(text: str) -> str:
    return text


#: set by the plugin; English without
translate: Callable[[str], str] = _as_it_is


def tr(text: str) -> str:
    """``text`` in the user's language, or as it is."""
    return translate(text)
