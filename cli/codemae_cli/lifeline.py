"""A program that starts us holds our stdin; when it lets go, or dies, the run ends as if interrupted.

The end of stdin is the one signal that every system gives when a process dies by whatever cause, so no run outlives the
program that wanted it.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from codemae_cli.console import told_the_end
from codemae_cli.stopping import end_now

#: seconds that the main thread gets to unwind by itself
GRACE = 0.6
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
    end_now()


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
