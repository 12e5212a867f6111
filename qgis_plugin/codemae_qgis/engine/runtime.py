"""The runtime: an environment with the toolkit, found, asked after its health, described."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import protocol
from .errors import EngineError
from .process import Child
from .words import tr

#: environment variable that names the Python of a runtime before anything else
VARIABLE = "CODEMAE_GEO_PYTHON"
#: seconds that `doctor` gets: the first import of torch from a cold disk is slow
DOCTOR_TIMEOUT = 60.0


@dataclass(frozen=True)
class Runtime:
    """How to start the toolkit.

    Args:
        command: program and arguments before the toolkit's own.
        origin: where it was found: ``variable``, ``setting``, ``managed`` or ``path``.
    """

    command: tuple[str, ...]
    origin: str

    @property
    def program(self) -> str:
        """The Python, or the `codemae` script."""
        return self.command[0]


@dataclass(frozen=True)
class Health:
    """What the toolkit's `doctor` says."""

    version: str
    protocol: int
    devices: list[str]
    models: list[str]
    problems: list[str]
    facts: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """One line of status."""
        if self.problems:
            return f"codemae-geo {self.version}: {self.problems[0]}"
        return f"codemae-geo {self.version}, {self.facts.get('device', ', '.join(self.devices))}"


@dataclass(frozen=True)
class SamplePair:
    """Files of the pair that the toolkit brings."""

    pre: str
    post: str
    footprints: str


def managed_folder(environ: Mapping[str, str] | None = None, system: str | None = None) -> Path:
    """Where set-up puts a runtime: outside the QGIS profile, so that it survives updates and serves QGIS 3 and 4."""
    environ = os.environ if environ is None else environ
    system = sys.platform if system is None else system
    home = Path(environ.get("USERPROFILE" if system == "win32" else "HOME") or Path.home())
    if system == "win32":
        base = Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif system == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "codemae_geo" / "runtime"


def venv_python(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / "Scripts" / "python.exe" if sys.platform == "win32" else folder / "bin" / "python"


def find(setting: str = "") -> Runtime:
    """The runtime to use: variable, setting, managed folder, then the `codemae` command on PATH. Starts nothing.

    Never QGIS's own Python. A variable or a setting that points nowhere is an error: another runtime than the one that
    was asked for would give other results.

    Args:
        setting: Python (or environment folder) that the user chose; empty if none.

    Raises:
        EngineError: there is none (code ``runtime-missing``, or ``runtime-variable`` where set-up cannot help).
    """
    for origin, value in (("variable", os.environ.get(VARIABLE, "")), ("setting", setting)):
        if value.strip():
            return _chosen(value.strip(), origin)
    python = venv_python(managed_folder())
    if python.is_file():
        return with_python(python, "managed")
    script = shutil.which("codemae")
    if script:
        python = venv_python(Path(os.path.realpath(script)).parent.parent)
        return with_python(python, "path") if python.is_file() else Runtime((script,), "path")
    raise EngineError(
        tr("there is no codemae-geo runtime yet"),
        code="runtime-missing",
        hint=tr("Open Raster > CoDe-MAE > Set up runtime to create one or to point to an existing one"),
    )


def _chosen(value: str, origin: str) -> Runtime:
    path = Path(value).expanduser()
    if path.is_dir():
        path = venv_python(path)
    if not path.is_file():
        if origin == "variable":
            message = tr("the variable {name} names a codemae-geo runtime that is not there: {path}")
            code, hint = "runtime-variable", tr("Correct or remove the variable and start QGIS again")
        else:
            message = tr("the setting names a codemae-geo runtime that is not there: {path}")
            code, hint = "runtime-missing", _choose_another()
        raise EngineError(message.format(name=VARIABLE, path=value), code=code, hint=hint)
    if path.stem.lower() == "codemae":
        return Runtime((str(path),), origin)
    return with_python(path, origin)


def with_python(python: Path, origin: str) -> Runtime:
    """The toolkit in the environment of an interpreter."""
    # -I: neither PYTHON* variables nor the current folder reach the toolkit
    return Runtime((str(python), "-I", "-m", "codemae_cli"), origin)


def broken(runtime: Runtime, status: int, tail: str) -> EngineError:
    """Why a runtime ended before it said hello."""
    where = runtime.program
    if re.search(r"No module named '?codemae_(cli|geo)", tail):
        message = tr("codemae-geo is not installed in {program}").format(program=where)
        hint = tr("Open Raster > CoDe-MAE > Set up runtime to install it there or to choose another one")
        return EngineError(message, code="runtime-broken", hint=hint, details=tail)
    if "No such command" in tail or "No such option" in tail:
        return _too_old(tr("the codemae-geo in {program} is too old for this plugin").format(program=where), tail)
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    message = tr("the codemae-geo runtime {program} does not start (exit status {status})")
    message = ": ".join([message.format(program=where, status=status), *lines[-1:]])
    hint = tr("Open Raster > CoDe-MAE > Set up runtime and create it again, or choose another one")
    return EngineError(message, code="runtime-broken", hint=hint, details=tail)


def _too_old(message: str, tail: str = "") -> EngineError:
    hint = tr("Open Raster > CoDe-MAE > Set up runtime and update it to {version} or later")
    return EngineError(message, code="runtime-old", hint=hint.format(version=protocol.OLDEST_TOOLKIT), details=tail)


def _choose_another() -> str:
    return tr("Open Raster > CoDe-MAE > Set up runtime and choose another one")


def call(
    runtime: Runtime, *args: str, timeout: float = DOCTOR_TIMEOUT, is_cancelled: Callable[[], bool] | None = None
) -> str:
    """The stdout of one short command of the toolkit, for instance ``call(runtime, "models", "list", "--json")``.

    Raises:
        EngineError: it cannot be started, takes too long or prints nothing.
        Cancelled: ``is_cancelled`` said so.
    """
    with Child([*runtime.command, *args], grace=0) as child:
        text = "\n".join(child.lines(is_cancelled, timeout))
        status = child.wait()
        if not text.strip():
            raise broken(runtime, status, child.tail)
    return text


def _json(runtime: Runtime, text: str) -> dict[str, Any]:
    try:
        data = json.loads(text.strip().splitlines()[-1])
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise EngineError(
            tr("{program} answers something else than codemae-geo").format(program=runtime.program),
            code="runtime-broken",
            hint=_choose_another(),
            details=text[-2000:],
        )
    if "error" in data:
        fields = data["error"]
        raise EngineError(fields["message"], code=fields.get("code", "engine"), hint=fields.get("hint"))
    return data


_known_health: dict[tuple[tuple[str, ...], float], Health] = {}


def health(runtime: Runtime, refresh: bool = False, is_cancelled: Callable[[], bool] | None = None) -> Health:
    """Ask the toolkit's `doctor`; takes seconds, so call it from a task. Kept until the environment changes.

    Raises:
        EngineError: the runtime does not start, is too old, or speaks another protocol.
        Cancelled: ``is_cancelled`` said so.
    """
    key = (runtime.command, _changed(Path(runtime.program)))
    if refresh or key not in _known_health:
        report = _json(runtime, call(runtime, "doctor", "--json", is_cancelled=is_cancelled))
        version = str(report.get("version", ""))
        if "protocol" not in report or _numbers(version) < _numbers(protocol.OLDEST_TOOLKIT):
            message = tr("the codemae-geo {version} in {program} is too old for this plugin")
            raise _too_old(message.format(version=version, program=runtime.program))
        protocol.check(protocol.Hello(report["protocol"], version))
        _known_health[key] = Health(
            version,
            report["protocol"],
            list(report.get("devices", ["cpu"])),
            list(report.get("models", [])),
            list(report.get("problems", [])),
            dict(report.get("facts", {})),
        )
    return _known_health[key]


def _changed(program: Path) -> float:
    """When the environment of a program was last installed into."""
    prefix = program.parent.parent
    places = [program, *prefix.glob("lib/python*/site-packages"), prefix / "Lib" / "site-packages"]
    return max((p.stat().st_mtime for p in places if p.exists()), default=0.0)


def _numbers(version: str) -> list[int]:
    """``0.10.1rc1`` as ``[0, 10, 1]``, to compare."""
    return [int(n) for n in re.findall(r"\d+", re.split(r"[a-z+]", version)[0])]


def models(runtime: Runtime) -> list[dict[str, Any]]:
    """Model packages that can be asked for by name: ``name``, ``task``, ``inputs``, ``licence``, ``description``, ...

    Raises:
        EngineError: the runtime does not answer.
    """
    return list(_json(runtime, call(runtime, "models", "list", "--json"))["models"])


def card(runtime: Runtime, name: str) -> str:
    """The model card in Markdown.

    Raises:
        EngineError: there is no such model, or the runtime does not answer.
    """
    return call(runtime, "models", "card", name)


def sample_pair(runtime: Runtime) -> SamplePair:
    """The pair that the toolkit brings: Joplin before and after the tornado of 2011, and building footprints.

    They are copied out of the toolkit's package, once: QGIS writes beside what it opens, and into GeoPackages.

    Raises:
        EngineError: the runtime does not answer or has lost the files, or the copy cannot be made.
    """
    names = ("pre.tif", "post.tif", "buildings.gpkg")
    for model in models(runtime):
        if model.get("origin") != "bundled":
            continue
        # both live in the package: codemae_geo/weights/bundled/*.safetensors, codemae_geo/data/joplin/*
        folder = Path(model["path"]).parents[2] / "data" / "joplin"
        if all((folder / name).is_file() for name in names):
            return _copied(folder, names)
    raise EngineError(
        tr("the codemae-geo in {program} has no sample pair").format(program=runtime.program),
        code="runtime-broken",
        hint=tr("Open Raster > CoDe-MAE > Set up runtime and create it again, or choose another one"),
    )


def _copied(folder: Path, names: tuple[str, str, str]) -> SamplePair:
    target = managed_folder().parent / "sample"
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            if not (target / name).is_file():
                shutil.copyfile(folder / name, target / f"{name}.part")
                (target / f"{name}.part").replace(target / name)
    except OSError as error:
        raise EngineError(
            tr("the sample pair cannot be copied to {folder} ({reason})").format(
                folder=target, reason=error.strerror or error
            ),
            code="output",
            hint=tr("free some space there"),
        ) from error
    return SamplePair(*(str(target / name) for name in names))


def diagnostics(runtime: Runtime | EngineError, report: Health | None, extra: Mapping[str, str] | None = None) -> str:
    """What a person who helps needs to know, as text to paste; the home folder is written ~."""
    lines = ["CoDe-MAE plugin diagnostics"]
    facts = dict(extra or {})
    facts["system"] = platform.platform()
    if isinstance(runtime, EngineError):
        facts["runtime"] = f"none: {runtime}"
        facts["last output"] = runtime.details
    else:
        facts["runtime"] = f"{runtime.program} (from the {runtime.origin})"
    if report is not None:
        facts.update(report.facts)
        facts["protocol"] = str(report.protocol)
        facts["problems"] = "; ".join(report.problems) or "none"
    lines += [f"{name}: {value}" for name, value in facts.items() if value]
    return mask_home("\n".join(lines))


def mask_home(text: str) -> str:
    """``text`` without the name of the user's home folder."""
    home = str(Path.home())
    return text if len(home) < 4 else text.replace(home, "~")
