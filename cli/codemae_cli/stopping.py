"""Ctrl-C, SIGTERM and a closed terminal end a run in the same way at every moment: 130, no traceback, nothing left.

While modules are loaded the process ends at once: an interruption raised there surfaces as whatever libraries make of
it. Elsewhere it is raised as KeyboardInterrupt, so that the run unwinds; what does not end within :data:`PATIENCE`
seconds, or is asked a second time, is ended from outside.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from codemae_cli.streams import speaks_events
from codemae_geo.interrupts import ENDING, is_uninterruptible

INTERRUPTED = 130
#: seconds that a run gets to unwind by itself
PATIENCE = 8.0
#: seconds after which another signal is a second one, not the same sent to the whole group
_AGAIN = 0.5
#: seconds for the last event; a pipe that nobody reads would take for ever
LAST_WORDS = 0.1
#: a live line hides the cursor
_CURSOR = "\r\x1b[K\x1b[?25h"
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
    clear_away()
    if speaks_events():
        words = threading.Thread(target=_tell, daemon=True)
        words.start()
        words.join(LAST_WORDS)
    else:
        with suppress(OSError):  # not through the stream, which the main thread may be writing to
            os.write(2, ((_CURSOR if os.isatty(2) else "") + _WORDS).encode())
    os._exit(INTERRUPTED)


def _tell() -> None:
    from codemae_cli.console import emit, told_the_end

    if not told_the_end.is_set():
        emit("error", code="interrupted", message="interrupted", hint=None)


def clear_away() -> None:
    """End worker processes and remove hidden files."""
    processes = sys.modules.get("multiprocessing")
    if processes is not None:
        for child in processes.active_children():
            with suppress(OSError, ValueError):
                child.terminate()
    outputs = sys.modules.get("codemae_geo.outputs")
    if outputs is not None:
        remove_later(outputs.discard_unfinished())


#: removes hidden folders, and then those made for them, as soon as nobody keeps their files open
_REMOVE = """
import os, shutil, sys, time
for _ in range(100):
    for path in sys.argv[1:]:
        if path.endswith(".part"):
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.isdir(path) and not os.listdir(path):
            os.rmdir(path)
    if not os.path.exists(sys.argv[1]):
        break
    time.sleep(0.1)
"""


def remove_later(paths: Sequence[Path]) -> None:
    """Leave it to another process to remove what this one keeps open."""
    if not paths:
        return
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW
    with suppress(OSError):
        subprocess.Popen(
            [sys.executable, "-I", "-c", _REMOVE, *map(str, paths)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            creationflags=flags,
        )


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
