"""Ctrl-C, SIGTERM and a closed terminal end a run in the same way at every moment: 130, no traceback, nothing left.

While modules are loaded the process ends at once: an interruption raised there surfaces as whatever libraries make of
it. Elsewhere it is raised as KeyboardInterrupt, so that the run unwinds; what does not end within :data:`PATIENCE`
seconds, or is asked a second time, is ended from outside.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from codemae_geo.interrupts import ENDING, is_uninterruptible

INTERRUPTED = 130
#: seconds that a run gets to unwind by itself
PATIENCE = 8.0
#: seconds after which another signal is a second one, not the same sent to the whole group
_AGAIN = 0.5
_WORDS = "interrupted; nothing half-written was left\n"

_pid = 0
_asked: float | None = None


def listen() -> None:
    """Take over the signals, except those that whoever started us ignores."""
    global _pid
    _pid = os.getpid()
    for number in ENDING:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, interrupt)


def asked() -> bool:
    """Whether the process was asked to end."""
    return _asked is not None


def interrupt(number: int, frame: FrameType | None) -> None:
    """What the signals do."""
    global _asked
    if os.getpid() != _pid:  # a worker that was forked: its parent tells it to end, and the terminal tells the parent
        if number != signal.SIGINT:
            os._exit(128 + number)
        return
    now = time.monotonic()
    if _asked is not None:
        if now - _asked > _AGAIN:
            end_now()
        return
    _asked = now
    # what libraries report of an interruption inside their callbacks and threads is no news
    sys.unraisablehook = lambda _: None
    threading.excepthook = lambda _: None
    if _is_loading(frame):
        end_now()
    with suppress(RuntimeError):  # no thread is started any more: the end is near
        threading.Thread(target=_watch, name="patience", daemon=True).start()
    raise KeyboardInterrupt


def _is_loading(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _watch() -> None:
    time.sleep(PATIENCE)
    while is_uninterruptible():
        time.sleep(0.05)
    end_now()


def end_now() -> NoReturn:
    """End the process from any thread, whatever the main thread is in, and leave nothing half-written."""
    from codemae_cli.streams import speaks_events

    if speaks_events():
        from codemae_cli.lifeline import stop_now

        stop_now()
    clear_away()
    with suppress(OSError):  # not through the stream, which the main thread may be writing to
        os.write(2, ((_CURSOR if os.isatty(2) else "") + _WORDS).encode())
    os._exit(INTERRUPTED)


#: a live line hides the cursor
_CURSOR = "\r\x1b[K\x1b[?25h"


def clear_away() -> None:
    """End worker processes and remove hidden files."""
    processes = sys.modules.get("multiprocessing")
    if processes is not None:
        for child in processes.active_children():
            with suppress(OSError, ValueError):
                child.terminate()
    outputs = sys.modules.get("codemae_geo.outputs")
    if outputs is not None:
        from codemae_cli.lifeline import remove_later

        remove_later(outputs.discard_unfinished())


def leave(code: int) -> NoReturn:
    """End with this code; an interruption from now on changes nothing, since everything is done."""
    for number in ENDING:
        if signal.getsignal(number) == interrupt:
            signal.signal(number, lambda *_: os._exit(code))
    if asked():
        clear_away()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
