"""A program that starts us holds our stdin; when it lets go, or dies, the run ends as if interrupted.

The end of stdin is the one signal that every system gives when a process dies by whatever cause, so no run outlives the
program that wanted it.
"""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from codemae_cli.console import emit, told_the_end
from codemae_cli.stopping import INTERRUPTED, clear_away

#: seconds that the main thread gets to unwind by itself
GRACE = 0.6
#: seconds for the last words; a pipe that nobody reads would take for ever
LAST_WORDS = 0.1
#: seconds between two looks at a pipe that must not be waited for
POLL = 0.1


def hold_stdin() -> None:
    """Watch stdin in the background from now on; needs the SIGTERM handler of :mod:`codemae_cli.stopping`."""
    threading.Thread(target=_watch, name="lifeline", daemon=True).start()


def _watch() -> None:
    if sys.platform == "win32":
        # A pending read of a pipe blocks all who so much as ask what stdin is, and libraries ask when they are loaded:
        # `import numpy` would wait for it for ever.
        import _winapi
        import msvcrt

        handle = msvcrt.get_osfhandle(0)
        poll(lambda: int(_winapi.PeekNamedPipe(handle, 0)[0]), lambda count: os.read(0, count))
    with suppress(OSError):  # a closed stdin is at its end too
        while os.read(0, 4096):
            pass
    if told_the_end.is_set():
        return
    _interrupt_main()
    time.sleep(GRACE)
    stop_now()


def poll(waiting: Callable[[], int], read: Callable[[int], object]) -> None:
    """Drain a pipe now and then, without ever blocking in it, until asking it fails because it is at its end.

    Args:
        waiting: number of bytes to read; OSError at the end, or when it is no pipe.
        read: takes that many.
    """
    with suppress(OSError):
        while True:
            count = waiting()
            if count:
                read(count)
            time.sleep(POLL)


def _interrupt_main() -> None:
    # SIGTERM, not SIGINT: a shell starts background jobs with SIGINT ignored
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGTERM)  # wakes a system call
    else:
        _thread.interrupt_main(signal.SIGTERM)


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


def stop_now() -> None:
    """End the process from any thread, whatever the main thread is in, and leave nothing half-written."""
    clear_away()
    if not told_the_end.is_set():
        fields = {"code": "interrupted", "message": "interrupted", "hint": None}
        words = threading.Thread(target=emit, args=("error",), kwargs=fields, daemon=True)
        words.start()
        words.join(LAST_WORDS)
    os._exit(INTERRUPTED)
