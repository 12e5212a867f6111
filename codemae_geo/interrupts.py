"""Moments in which a run must not be interrupted: signals that come then are held back until the moment is over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: what asks a process to end
ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
_Handler = Callable[[int, FrameType | None], Any] | int | None
#: how many sections are open; only the main thread counts, since only there an interruption is raised
_depth = 0


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block has ended, then let them act.

    Meant for what takes moments and must not be half done: moving finished files, replacing a checkpoint. May be
    nested. In other threads it does nothing, since interruptions are only raised in the main one.
    """
    global _depth
    if threading.current_thread() is not threading.main_thread() or _depth:
        yield
        return
    waiting: list[int] = []
    before: dict[int, _Handler] = {}
    _depth += 1
    try:
        for number in ENDING:
            handler = signal.getsignal(number)
            if handler not in (None, signal.SIG_IGN):  # None: set outside of Python, and not ours to replace
                before[number] = handler
                signal.signal(number, lambda n, frame: waiting.append(n))
        yield
    finally:
        _depth -= 1
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in waiting:
            signal.raise_signal(number)


def is_uninterruptible() -> bool:
    """Whether the main thread is in such a block."""
    return _depth > 0
