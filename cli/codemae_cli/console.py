"""How the command line speaks: results to stdout, everything else to stderr, errors in one place."""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

import typer

from codemae_cli.manners import LOG
from codemae_cli.protocol import PROTOCOL
from codemae_cli.spelling import Spelling
from codemae_cli.streams import printable, speak_events
from codemae_geo.errors import CodemaeError, param, params_in, render
from codemae_geo.progress import Reporter

#: set before the last event of a run, ``result`` or ``error``, is written
told_the_end = threading.Event()

#: module that an installation may do without -> the extra that brings it
EXTRAS = {
    "torch": "torch",
    "timm": "torch",
    "torchvision": "detection",
    "onnxruntime": "onnx",
    **dict.fromkeys(("kornia", "lightning", "torchgeo", "torchmetrics", "yaml"), "train"),
    **dict.fromkeys(("h5py", "pyarrow", "scipy"), "data"),
    "matplotlib": "plot",
    "xlsxwriter": "xlsx",
}

F = TypeVar("F", bound=Callable[..., Any])


def say(message: str) -> None:
    """One line for people, on stderr."""
    typer.echo(printable(message), err=True)


def emit(event: str, **fields: Any) -> None:
    """One JSON-lines event of protocol v1 on stdout."""
    if event in ("result", "error"):
        told_the_end.set()
    sys.stdout.write(json.dumps({"event": event, **fields}, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def greet(device: str = "auto") -> None:
    """The first event: who speaks, and the device asked for (the one chosen follows in the log and the summary)."""
    from codemae_geo import __version__

    speak_events()
    emit("hello", protocol=PROTOCOL, version=__version__, pid=os.getpid(), device=device)


def print_json(data: Any) -> None:
    """The one JSON object that ``--json`` ends stdout with, on one line."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def duration(seconds: float) -> str:
    """``75`` as ``1:15``, ``3700`` as ``1:01:40``."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


class PlainReporter(Reporter):
    """Stages, decisions and warnings as lines on stderr; progress every few seconds."""

    every = 5.0

    def __init__(self) -> None:
        super().__init__()
        self._name = ""
        self._began = self._told = time.monotonic()

    def on_stage(self, name: str, total: int | None) -> None:
        self._name = name
        self._began = self._told = time.monotonic()
        say(f"{name} ...")

    def progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told >= self.every or (done == total and now - self._began >= self.every):
            self._told = now
            say(f"{self._name}: {rate(done, total, now - self._began)}")

    def log(self, message: str) -> None:
        say(f"  {message}")

    def on_warning(self, code: str, message: str) -> None:
        say(f"warning: {message}")


def rate(done: int, total: int, seconds: float) -> str:
    """``128/512 (25 %), 10.2/s, 0:38 left``."""
    speed = done / seconds if seconds > 0 else 0.0
    left = f", {duration((total - done) / speed)} left" if speed else ""
    return f"{done}/{total} ({100 * done // max(total, 1)} %), {speed:.1f}/s{left}"


class RichReporter(PlainReporter):
    """A live line on a terminal; decisions and warnings above it."""

    every = 0.2

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status("")
        self._status.start()

    def on_stage(self, name: str, total: int | None) -> None:
        self._name = name
        self._began = self._told = time.monotonic()
        self._status.update(f"{name} ...")

    def progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told >= self.every:
            self._told = now
            self._status.update(f"{self._name}: {rate(done, total, now - self._began)}")

    def log(self, message: str) -> None:
        self._console.print(printable(f"  {message}"), markup=False)

    def on_warning(self, code: str, message: str) -> None:
        from rich.markup import escape

        self._console.print("[yellow]warning:[/yellow]", escape(printable(message)))

    def close(self) -> None:
        """Remove the live line."""
        self._status.stop()


class JsonReporter(Reporter):
    """JSON lines of protocol v1 on stdout, for a program that runs the command line."""

    def __init__(self) -> None:
        super().__init__()
        self._name = ""
        self._began = self._told = time.monotonic()

    def on_stage(self, name: str, total: int | None) -> None:
        self._name = name
        self._began = time.monotonic()
        self._told = 0.0
        emit("stage", name=name, total=total)

    def progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told >= 0.2 or done == total:
            self._told = now
            passed = now - self._began
            left = round(passed * (total - done) / done, 1) if done else None
            emit("progress", stage=self._name, done=done, total=total, eta_s=left)

    def log(self, message: str) -> None:
        emit("log", level="info", message=message)

    def warning(self, code: str, message: str, option: str | None = None) -> None:
        super().warning(code, message, option)
        emit("warning", code=code, message=self.warnings[-1]["message"], **about(option, params_in(message)))


def make_reporter(mode: str, quiet: bool) -> Reporter:
    """The reporter for ``--progress`` and ``--quiet``; json is never silenced, a program reads it."""
    reporter = _reporter(mode, quiet)
    reporter.speak = Spelling.of_this_command()
    LOG.watch(reporter)
    return reporter


def _reporter(mode: str, quiet: bool) -> Reporter:
    if mode == "json":
        return JsonReporter()
    if mode == "none" or quiet:
        return Reporter()
    if mode == "auto" and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return RichReporter()
    return PlainReporter()


def about(option: str | None, named: Iterable[str]) -> dict[str, Any]:
    """Fields of an event that name parameters: the one it is about, and how the texts spell those that they name."""
    spelling = Spelling.of_this_command()
    options = {name: spelled for one in named for name, spelled in spelling.options(one).items()}
    fields: dict[str, Any] = {"option": next(iter(spelling.options(option)))} if option else {}
    return fields | ({"options": options} if options else {})


def close(reporter: Reporter) -> None:
    """Take a live line off the terminal."""
    if isinstance(reporter, RichReporter):
        reporter.close()


def fail(error: CodemaeError, *, as_json: bool, as_events: bool, code: str | None = None) -> NoReturn:
    """Print one clear message and leave with 1.

    Args:
        error: what went wrong.
        as_json: end stdout with a JSON object.
        as_events: write an ``error`` event.
        code: code of the event, if not the error's own.
    """
    spelling = Spelling.of_this_command()
    said = error.told(spelling)
    fields = {"code": code or error.code, "message": said["message"], "hint": said["hint"]}
    extra = {k: said[k] for k in ("found", "expected") if said[k]} | about(error.option, error.params())
    if as_events:
        emit("error", **fields, **extra)
    say(f"error: {error.text(spelling)}")
    LOG.note(f"error: {error.text(spelling)}")
    LOG.trace(error)
    tell_notes(error)
    if as_json:
        print_json({"error": {**fields, **extra}})
    raise typer.Exit(1)


def tell_notes(error: BaseException) -> None:
    """What was noted of an error on its way, such as that finished rows are kept."""
    for note in getattr(error, "__notes__", ()):
        say(f"note: {render(note, Spelling.of_this_command())}")


def unusable_name(error: Exception) -> CodemaeError | None:
    """The message for a name that no file can have, or that leads nowhere; None for another error."""
    if isinstance(error, OSError) and error.filename is not None and error.errno in _NAMES:
        return CodemaeError(f"{str(error.filename)[:200]} cannot be used", found=os.strerror(error.errno))
    if isinstance(error, UnicodeEncodeError) and any("\udc80" <= c <= "\udcff" for c in error.object):
        return CodemaeError(
            f"the name {error.object[:200]!r} is not text in UTF-8",
            hint="rename the file or folder (convmv -f latin1 -t utf8), or set LANG to a locale with UTF-8",
        )
    if (isinstance(error, ValueError) and "null byte" in str(error)) or "Symlink loop" in str(error):
        return CodemaeError("a file name cannot be used", found=str(error)[:200])
    return None


#: what the system says of names, not of disks
_NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EINVAL)


def command(function: F) -> F:
    """Turn the errors of a command into messages and exit codes: 1 failed, 130 interrupted.

    A :class:`CodemaeError` is a message; memory that does not suffice and a full disk are too. Anything else is a bug
    and keeps its traceback. With ``--progress json`` the first event is written before anything heavy is imported, and
    a reader that has gone counts as an interruption.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        as_json, as_events = bool(kwargs.get("json_")), kwargs.get("progress") == "json"
        try:
            if as_events:
                greet(kwargs.get("device", "auto"))
            return function(*args, **kwargs)
        except CodemaeError as error:
            fail(error, as_json=as_json, as_events=as_events)
        except BrokenPipeError:
            raise typer.Exit(130) from None
        except KeyboardInterrupt as interrupt:
            if as_events:
                emit("error", code="interrupted", message="interrupted", hint=None)
            say("interrupted; nothing half-written was left")
            tell_notes(interrupt)
            raise typer.Exit(130) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, not loaded here
                scarce = CodemaeError(
                    "out of memory",
                    hint=f"a smaller {param('window')} or {param('batch_size')}, or {param('dry_run')} to see what is"
                    " needed",
                )
                fail(scarce, as_json=as_json, as_events=as_events, code="memory")
            if (odd := unusable_name(error)) is not None:
                fail(odd, as_json=as_json, as_events=as_events)
            if isinstance(error, ModuleNotFoundError) and (extra := EXTRAS.get((error.name or "").partition(".")[0])):
                missing = CodemaeError(
                    f"this needs {error.name}, which is not installed", hint=f"pip install 'codemae-geo[{extra}]'"
                )
                fail(missing, as_json=as_json, as_events=as_events, code="missing")
            if as_events:
                said = f"{type(error).__name__}: {error}"
                hint = "please report it with what stands on stderr"
                emit("error", code="internal", message=f"the engine failed unexpectedly: {said}", hint=hint)
            LOG.trace(error, shown=True)
            raise

    return run  # type: ignore[return-value]
