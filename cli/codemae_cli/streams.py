"""Standard streams that cannot fail a run: output that cannot be shown never costs the files.

A full disk behind ``> log``, a closed stream, or a reader like ``head`` that has seen enough: writing goes on into
nothing, and :func:`lost` tells the entry point, which ends with 1 where something should have been read. Only a program
that reads events counts as the one who wanted the run: when it goes, the run is interrupted.
"""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import suppress
from typing import Any, TextIO

#: whether a program reads events from stdout (``--progress json``)
_events = False
#: the first error of stdout, other than a reader that has gone
_lost: OSError | None = None


class _Stream(io.FileIO):
    """A descriptor whose failures are noted instead of raised."""

    _broken = False

    def write(self, data: Any, /) -> int:
        if not self._broken:
            try:
                return super().write(data) or 0
            except BlockingIOError:
                raise
            except OSError as error:
                self._broken = True  # at its end the interpreter flushes once more
                _note(error, self.fileno())
        return memoryview(data).nbytes


def _note(error: OSError, descriptor: int) -> None:
    global _lost
    if descriptor != 1:
        return
    if not isinstance(error, BrokenPipeError):
        _lost = _lost or error
    elif _events:
        raise error


def prepare() -> None:
    """Open what is closed, and take over stdout and stderr; they speak UTF-8 to programs whatever the code page."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # or the next file that is opened would be taken for it
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 a descriptor
    sys.stdout, sys.stderr = _take(sys.stdout, 1), _take(sys.stderr, 2)


#: what moves a terminal's cursor, clears it, or names its window, when a file's tags or a model's card hold it
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    r"""Text with control characters spelled out, so that nothing from a file acts on a terminal.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", text)


class _Text(io.TextIOWrapper):
    """Stdout: results, in which nothing of a file acts on a terminal."""

    def write(self, text: str, /) -> int:
        return super().write(printable(text))


def drawing() -> TextIO:
    """The terminal behind stdout for what we draw in colours ourselves; never for text from a file."""
    sys.stdout.flush()
    return open(1, "w", encoding=sys.stdout.encoding, errors="backslashreplace", closefd=False)


def _take(stream: Any, descriptor: int) -> Any:
    if isinstance(stream, io.TextIOWrapper) and stream.isatty():
        stream.reconfigure(errors="backslashreplace")
        if descriptor == 2:  # the live line is drawn by control characters
            return stream
        return _Text(stream.buffer, encoding=stream.encoding, errors="backslashreplace", line_buffering=True)
    if stream is not None and not isinstance(stream, io.TextIOWrapper):
        return stream  # another program's own
    raw = io.BufferedWriter(_Stream(descriptor, "w", closefd=False))
    # a path that is no text is shown by its bytes
    kind = _Text if descriptor == 1 else io.TextIOWrapper
    return kind(raw, encoding="utf-8", errors="backslashreplace", line_buffering=descriptor == 2)


def speak_events() -> None:
    """From now on a program reads events from stdout."""
    global _events
    _events = True


def speaks_events() -> bool:
    """Whether a program reads events from stdout."""
    return _events


def lost() -> OSError | None:
    """Why something written to stdout has not arrived, if so."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    return _lost
