"""Options of the whole program: the settings file and the log."""

from __future__ import annotations

import difflib
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import typer

from codemae_geo.errors import InputError, OutputError
from codemae_geo.progress import Reporter
from codemae_geo.texts import read_text

# ---------------------------------------------------------------------------------------------------- settings


def read_settings(path: Path, commands: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Defaults of options from a TOML file.

    The table ``[all]`` is for every command that has such an option, the table of a command for that one alone.

    Args:
        path: the file.
        commands: name -> command, with its ``params``.

    Returns:
        Command -> parameter -> value, as click's ``default_map``.

    Raises:
        InputError: it cannot be read, or names a command or an option that there is not.
    """
    import tomllib

    try:
        tables = tomllib.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise InputError(f"the settings {path} cannot be read", found=str(error), expected="a TOML file") from error
    known = {name: {p.name: p for p in command.params} for name, command in commands.items()}
    every = {name for params in known.values() for name in params}
    found: dict[str, dict[str, Any]] = {name: {} for name in known}
    for table, values in tables.items():
        if not isinstance(values, dict):
            raise InputError(
                f"{table!r} stands outside of a table in {path}", expected="[all], or the name of a command, above it"
            )
        if table != "all" and table not in known:
            raise _unknown(path, "command", table, [*known, "all"])
        for option, value in values.items():
            name = option.replace("-", "_")
            if name not in (every if table == "all" else known[table]):
                raise _unknown(path, "option", option, sorted(every if table == "all" else known[table]))
            for command in known if table == "all" else [table]:
                if name in known[command] and (table != "all" or name not in found[command]):
                    found[command][name] = value
    return found


def _unknown(path: Path, what: str, name: str, known: Sequence[str]) -> InputError:
    near = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
    return InputError(
        f"the settings {path} name the {what} {name!r}, which there is not",
        expected=None if near else ", ".join(known),
        hint=f"did you mean {near[0]!r}?" if near else None,
    )


# ---------------------------------------------------------------------------------------------------- the log


class Log:
    """What a run says, kept in a file with the time; nowhere before :meth:`open`."""

    def __init__(self) -> None:
        self._file: TextIO | None = None
        #: tracebacks of errors, and what the libraries say, on stderr
        self.verbose = False

    def open(self, path: Path) -> None:
        """Append to ``path`` from now on.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            self._file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise OutputError(f"the log {path} cannot be written", found=error.strerror or str(error)) from error
        self.note("codemae " + " ".join(sys.argv[1:]))

    def note(self, text: str) -> None:
        """One entry."""
        if self._file is not None:
            when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            self._file.writelines(f"{when} {line}\n" for line in text.splitlines())

    def watch(self, reporter: Reporter) -> None:
        """Also keep what ``reporter`` is told, however little of it is shown."""
        if self._file is None:
            return
        stage, log, warning = reporter.on_stage, reporter.log, reporter.on_warning

        def on_stage(name: str, total: int | None) -> None:
            self.note(f"{name} ...")
            stage(name, total)

        def on_log(message: str) -> None:
            self.note(f"  {message}")
            log(message)

        def on_warning(code: str, message: str) -> None:
            self.note(f"warning: {message}")
            warning(code, message)

        reporter.on_stage, reporter.log, reporter.on_warning = on_stage, on_log, on_warning  # type: ignore[method-assign]

    def trace(self, error: BaseException, *, shown: bool = False) -> None:
        """Where an error came from: into the log, and to stderr when asked for and not shown anyway."""
        text = "".join(traceback.format_exception(error)).rstrip()
        self.note(text)
        if self.verbose and not shown:
            typer.echo(text, err=True)

    def listen(self) -> None:
        """Show on stderr, and keep, what GDAL and other libraries say."""
        if not any(isinstance(handler, _Stderr) for handler in logging.getLogger().handlers):
            logging.getLogger().addHandler(_Stderr())
        logging.getLogger("rasterio").setLevel(logging.INFO)


class _Stderr(logging.Handler):
    """What libraries log, while the call asks for it, on whatever stderr is by then."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as the rest of the command line writes."""
        if LOG.verbose:
            typer.echo(self.format(record), err=True)


LOG = Log()


def split_own(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The program's own options, which may stand anywhere, and the other words.

    >>> split_own(["damage", "-o", "out", "-v", "--log-file", "run.log"])
    (['-v', '--log-file', 'run.log'], ['damage', '-o', 'out'])
    >>> split_own(["info", "--", "-v"])
    ([], ['info', '--', '-v'])
    """
    own: list[str] = []
    rest: list[str] = []
    words: Iterator[str] = iter(args)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in ("-v", "--verbose") or word.startswith(("--log-file=", "--config=")):
            own.append(word)
        elif word in ("--log-file", "--config"):
            own += [word, *([value] if (value := next(words, None)) is not None else [])]
        else:
            rest.append(word)
    return own, rest
