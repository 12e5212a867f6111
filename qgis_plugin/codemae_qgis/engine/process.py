"""A child process that keeps nothing of QGIS's environment, can always be stopped, and ends when QGIS does."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess  # nosec B404: the engine is another process by design; never through a shell
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Any

from .errors import Cancelled, EngineError
from .words import tr

#: variables that make a Python, GDAL, PROJ or Qt of one environment load the files of another
_FOREIGN = ("PYTHON", "CONDA", "GDAL_", "OGR_", "PROJ_", "DYLD_", "QT_", "QGIS_", "LD_")
_FOREIGN_NAMES = ("VIRTUAL_ENV", "GEOTIFF_CSV", "OSGEO4W_ROOT", "__PYVENV_LAUNCHER__")
#: of these, what users set on purpose for the data that they read
_KEPT = ("GDAL_HTTP_PROXY", "GDAL_HTTP_USERPWD", "GDAL_HTTP_HEADER_FILE", "GDAL_CACHEMAX", "GDAL_NUM_THREADS")
#: seconds between two looks at the cancel button
POLL = 0.1
#: seconds that a child gets to clean up before it is killed
GRACE = 3.0
#: last lines of stderr that go into an error report
TAIL = 50


def clean_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child: QGIS's own Python, GDAL, PROJ and Qt taken out, UTF-8 on.

    QGIS on Windows and macOS points PROJ_LIB, GDAL_DATA and PYTHONHOME at its own files; a PROJ database of another
    version makes every coordinate reference system fail.
    """
    environ = os.environ if environ is None else environ
    clean = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or not (name.upper().startswith(_FOREIGN) or name.upper() in _FOREIGN_NAMES)
    }
    root = environ.get("OSGEO4W_ROOT", "").lower()
    if root and "PATH" in clean:  # QGIS on Windows: its DLLs must not be found before the runtime's
        places = clean["PATH"].split(os.pathsep)
        clean["PATH"] = os.pathsep.join(p for p in places if not p.lower().startswith(root))
    clean["PYTHONUTF8"] = "1"
    clean["PYTHONIOENCODING"] = "utf-8"
    return clean


class Child:
    """Context manager around a running command: lines of stdout as they come, stderr kept as a tail.

    The child's stdin is a pipe that nobody writes to: it closes when this process ends in whatever way, and a child
    that watches it ends too. Leaving the block stops the child if it still runs.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        grace: float = GRACE,
        merge: bool = False,
    ) -> None:
        """Start the command.

        Args:
            command: program and arguments.
            env: its environment; :func:`clean_environment` without one.
            grace: seconds to clean up when stopped; 0 for programs that do not watch stdin.
            merge: also yield stderr as lines.

        Raises:
            EngineError: it cannot be started.
        """
        self._grace = grace
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
        try:
            self._process = subprocess.Popen(  # nosec B603: a fixed list of arguments, no shell
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merge else subprocess.PIPE,
                env=dict(clean_environment() if env is None else env),
                cwd=tempfile.gettempdir(),
                start_new_session=sys.platform != "win32",
                creationflags=flags,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise EngineError(
                tr("{program} cannot be started ({reason})").format(program=command[0], reason=error.strerror or error),
                code="runtime-broken",
                hint=tr("Open Raster > CoDe-MAE > Set up runtime and create it again, or choose another one"),
            ) from error
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._tail: deque[str] = deque(maxlen=TAIL)
        self._readers = [self._start(self._read_stdout, self._process.stdout)]
        if not merge:
            self._readers.append(self._start(self._read_stderr, self._process.stderr))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def tail(self) -> str:
        """The last lines of stderr."""
        return "\n".join(self._tail)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def lines(self, is_cancelled: Callable[[], bool] | None = None, timeout: float | None = None) -> Iterator[str]:
        """Lines of stdout until the child closes it; a silent child can still be cancelled.

        Raises:
            Cancelled: ``is_cancelled`` said so; the child has ended.
            EngineError: ``timeout`` seconds have passed; the child has ended.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            if is_cancelled is not None and is_cancelled():
                self.stop()
                raise Cancelled
            if end is not None and time.monotonic() > end:
                self.stop()
                raise EngineError(
                    tr("no answer within {seconds} seconds").format(seconds=f"{timeout:g}"),
                    code="timeout",
                    hint=tr("try again when the computer has less to do"),
                    details=self.tail,
                )
            try:
                line = self._lines.get(timeout=POLL)
            except queue.Empty:
                continue
            if line is None:
                return
            yield line

    def wait(self) -> int:
        """Exit status, once stdout is closed; stderr is read to its end."""
        try:
            code = self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.stop()
            code = self._process.returncode
        self._readers[-1].join(GRACE)
        return code

    def stop(self) -> None:
        """End the child and its children: ask by closing stdin, then kill after a short while."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        if self._process.poll() is None:
            try:
                self._process.wait(self._grace)
            except subprocess.TimeoutExpired:
                self._kill()
                self._process.wait()
        for reader in self._readers:
            reader.join(GRACE)
        for pipe, reader in zip((self._process.stdout, self._process.stderr), self._readers):
            # a grandchild may hold the pipe; closing it under a reader would block
            if not reader.is_alive():
                pipe.close()  # type: ignore[union-attr]

    def _kill(self) -> None:
        if sys.platform == "win32":
            taskkill = os.path.join(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "taskkill.exe")
            subprocess.run(  # nosec B603: absolute path, no shell
                [taskkill, "/T", "/F", "/PID", str(self.pid)], capture_output=True, check=False
            )
            self._process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _start(self, read: Callable[[Any], None], pipe: IO[str] | None) -> threading.Thread:
        reader = threading.Thread(target=read, args=(pipe,), daemon=True)
        reader.start()
        return reader

    def _read_stdout(self, pipe: IO[str]) -> None:
        for line in pipe:
            self._lines.put(line.rstrip("\r\n"))
            if self._process.stderr is None:  # merged
                self._tail.append(line.rstrip("\r\n"))
        self._lines.put(None)

    def _read_stderr(self, pipe: IO[str]) -> None:
        for line in pipe:
            self._tail.append(line.rstrip("\r\n"))
