"""Make a runtime: an environment outside QGIS with exact versions of everything.

With uv where there is one (it also brings a Python), else with the `venv` of a Python that is not QGIS's. Every step
can be cancelled, and finished steps are not repeated when the same plan is run again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from .errors import Cancelled, EngineError
from .process import Child, clean_environment
from .runtime import Health, Runtime, health, managed_folder, venv_python, with_python
from .words import tr

#: the toolkit that fits this plugin
PACKAGE = "codemae-geo==0.1.0"
#: exact versions of everything else, written by lock.py
LOCK = Path(__file__).with_name("lock.txt")
#: the part of it that maps without PyTorch need
PLAIN_LOCK = Path(__file__).with_name("lock_plain.txt")
#: packages with a CPU and a CUDA build
_BUILDS = ("torch", "torchvision")
_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
#: Linux has CUDA builds in the main index, Windows here
_WINDOWS_CUDA_INDEX = "https://download.pytorch.org/whl/cu132"
PYTHONS = ("3.12", "3.13", "3.11")
#: megabytes as installed on Linux: (download, disk)
_SIZES = {
    "environment": (35, 110),
    "plain": (180, 580),
    "libraries": (210, 620),
    "cpu": (200, 720),
    "cuda": (2700, 5300),
    "toolkit": (18, 20),
}
#: what can be made -> the sizes of its steps
VARIANTS = {
    "plain": ("environment", "plain", "toolkit"),
    "cpu": ("environment", "libraries", "cpu", "toolkit"),
    "cuda": ("environment", "libraries", "cuda", "toolkit"),
}
#: what is written into the folder to know it again
_MARKER = "codemae-setup.json"

OnStep = Callable[[int, int, "Step"], None]
OnLog = Callable[[str], None]
OnProgress = Callable[[float], None]
IsCancelled = Callable[[], bool]


@dataclass(frozen=True)
class Step:
    """One part of the work: commands that run one after another."""

    name: str
    title: str
    commands: tuple[tuple[str, ...], ...]
    download_mb: int
    disk_mb: int


@dataclass(frozen=True)
class Plan:
    """What :func:`create` will do."""

    folder: Path
    tool: str
    variant: str
    steps: tuple[Step, ...]

    @property
    def download_mb(self) -> int:
        """Megabytes to download, about."""
        return sum(step.download_mb for step in self.steps)

    @property
    def disk_mb(self) -> int:
        """Megabytes on disk afterwards, about."""
        return sum(step.disk_mb for step in self.steps)

    @property
    def key(self) -> list[object]:
        """What makes two plans the same work."""
        return [self.tool, self.variant, [[s.name, [list(c) for c in s.commands]] for s in self.steps]]


def disk_mb(variant: str) -> int:
    """Megabytes on disk that a variant takes, about."""
    build = "cpu" if variant == "cuda" and sys.platform == "darwin" else variant
    return sum(_SIZES[name][1] for name in VARIANTS[build])


def find_uv() -> str | None:
    """The user's uv, also where installers put it without touching PATH."""
    name = "uv.exe" if sys.platform == "win32" else "uv"
    homes = [Path.home() / folder / name for folder in (".local/bin", ".cargo/bin")]
    return shutil.which("uv") or next((str(p) for p in homes if p.is_file()), None)


def find_python() -> str | None:
    """A Python that can make environments, is new enough, and is not the one inside QGIS."""
    names = [f"python{v}" for v in PYTHONS] + ["python3", "python"]
    probe = "import sys, venv, ensurepip; print('good' if (3, 11) <= sys.version_info[:2] <= (3, 13) else 'other')"
    for name in names:
        path = shutil.which(name, path=clean_environment().get("PATH"))
        if path is None or _inside_qgis(path):
            continue
        try:
            with Child([path, "-I", "-c", probe], grace=0) as child:
                if "good" in list(child.lines(timeout=20)):
                    return path
        except EngineError:
            continue
    return None


def _inside_qgis(path: str) -> bool:
    """On Windows and macOS QGIS brings a Python of its own; on Linux it uses the system's, which is fine."""
    if sys.platform not in ("win32", "darwin"):
        return False
    inside = os.path.realpath(path).lower()
    return inside.startswith(os.path.realpath(sys.prefix).lower()) or "qgis" in inside or "osgeo4w" in inside


def plan(
    folder: Path | str | None = None,
    variant: str = "cpu",
    wheels: Path | str | None = None,
    tool: str = "auto",
    package: str = "",
) -> Plan:
    """What has to be done to make a runtime.

    Args:
        folder: where; the managed folder without one.
        variant: ``plain`` without PyTorch, which runs exported models on the processor; ``cpu``, or ``cuda`` (NVIDIA),
            with it. On macOS these two are the same.
        wheels: a folder with all wheels, for computers without network; nothing is downloaded then.
        tool: ``uv``, ``venv``, or ``auto`` for the first that is there.
        package: another source of the toolkit than the package index: a wheel file or a folder.

    Raises:
        EngineError: neither uv nor a usable Python is there (code ``no-python``), or the folder is not ours.
    """
    folder = managed_folder() if folder is None else Path(folder)
    uv = find_uv() if tool in ("auto", "uv") else None
    python = None if uv or tool == "uv" else find_python()
    if uv is None and python is None:
        raise no_python(folder)
    _check_folder(folder)
    inside = str(venv_python(folder))
    if uv:
        version = ">=3.11,<3.14" if wheels else PYTHONS[0]
        make: tuple[str, ...] = (uv, "venv", "--allow-existing", "--python", version, str(folder))
        install: tuple[str, ...] = (uv, "pip", "install", "--python", inside)
    else:
        make = (str(python), "-I", "-m", "venv", str(folder))
        install = (inside, "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input")
    source: tuple[str, ...] = ("--no-index", "--find-links", str(wheels)) if wheels else ()
    pins = locked()
    builds = tuple(f"{name}=={pins[name]}" for name in _BUILDS if name in pins)
    index, lone = _build_index(variant) if not wheels else ("", variant == "cpu")
    torch = (*install, *source, *(("--index-url", index) if index else ()), *(("--no-deps",) if lone else ()), *builds)
    libraries = (*install, *source, "--no-deps", "-r", str(folder / "libraries.txt"))
    toolkit = (*install, *source, "--no-deps", package or PACKAGE)
    build = "cpu" if variant == "cpu" or sys.platform == "darwin" else "cuda"
    plain = variant == "plain"
    steps = [
        _step("environment", tr("Creating the environment"), make, "environment"),
        _step("libraries", tr("Installing libraries"), libraries, "plain" if plain else "libraries"),
        *([] if plain else [_step("torch", tr("Installing PyTorch"), torch, build)]),
        _step("toolkit", tr("Installing codemae-geo"), toolkit, "toolkit"),
    ]
    return Plan(folder, "uv" if uv else "venv", variant, tuple(steps))


def _step(name: str, title: str, command: Sequence[str], size: str) -> Step:
    return Step(name, title, (tuple(command),), *_SIZES[size])


def _build_index(variant: str) -> tuple[str, bool]:
    """Index of a build ("" for the main one), and whether all its dependencies are among the locked libraries."""
    if sys.platform == "darwin":
        return "", True
    if variant == "cpu":
        return _CPU_INDEX, True
    return (_WINDOWS_CUDA_INDEX, True) if sys.platform == "win32" else ("", False)


def locked() -> dict[str, str]:
    """Name -> exact version (of the first line that names it) of the lock."""
    pins: dict[str, str] = {}
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        name, equals, rest = line.partition("==")
        if equals and not line.startswith("#"):
            pins.setdefault(name.strip(), rest.split(";")[0].strip())
    return pins


def _libraries(variant: str) -> str:
    """The lock without the packages that have several builds."""
    lines = (PLAIN_LOCK if variant == "plain" else LOCK).read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.partition("==")[0] not in _BUILDS) + "\n"


def no_python(folder: Path) -> EngineError:
    """Neither uv nor a Python: what the user can do."""
    python = venv_python(folder)
    return EngineError(
        tr("making a runtime needs uv or Python 3.11 to 3.13 (with its venv module), and neither was found"),
        code="no-python",
        hint=tr("install uv (https://docs.astral.sh/uv/) or Python and try again, or run two commands in a terminal:")
        + f'\npython3 -m venv "{folder}"\n"{python}" -m pip install {PACKAGE}',
    )


def create(
    work: Plan,
    on_step: OnStep | None = None,
    on_log: OnLog | None = None,
    on_progress: OnProgress | None = None,
    is_cancelled: IsCancelled | None = None,
    proxy: str | None = None,
) -> Runtime:
    """Carry out a plan; blocks, so call it from a task or a thread.

    Args:
        work: from :func:`plan`.
        on_step: told (index, count, step) when a step begins.
        on_log: told every line that the tools print.
        on_progress: told the share of the work that is done, 0 to 1.
        is_cancelled: asked ten times a second.
        proxy: URL of QGIS's proxy.

    Returns:
        The runtime, after its `doctor` has answered.

    Raises:
        Cancelled: stopped; the finished steps stay, so that the same plan goes on from there.
        EngineError: a step failed, the disk is too small, or the runtime does not answer.
    """
    log = on_log or (lambda line: None)
    done = _begin(work)
    environment = clean_environment()
    if proxy:
        environment.update(dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), proxy))
    total = sum(step.disk_mb for step in work.steps)
    for index, step in enumerate(work.steps):
        if on_step:
            on_step(index, len(work.steps), step)
        if step.name not in done:
            if step.name == "libraries":
                (work.folder / "libraries.txt").write_text(_libraries(work.variant), encoding="utf-8")
            for command in step.commands:
                _run(step, command, environment, log, is_cancelled)
            done.append(step.name)
            _mark(work, done)
        if on_progress:
            on_progress(sum(s.disk_mb for s in work.steps if s.name in done) / total)
    runtime = with_python(venv_python(work.folder), "managed" if work.folder == managed_folder() else "setting")
    report: Health = health(runtime, refresh=True, is_cancelled=is_cancelled)
    log(report.line())
    return runtime


def _begin(work: Plan) -> list[str]:
    """Make the folder and return the names of steps that an earlier run of this plan has finished."""
    _check_folder(work.folder)
    known = _marker(work.folder)
    if known is not None and known.get("plan") != json.loads(json.dumps(work.key)):
        remove(work.folder)
        known = None
    try:
        work.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(work.folder).free // 2**20
        done = list(known["done"]) if known else []
        needed = sum(step.disk_mb for step in work.steps if step.name not in done)
        if free < needed:
            raise EngineError(
                tr("the runtime needs about {needed} MB and the disk of {folder} has {free} MB free").format(
                    needed=needed, folder=work.folder, free=free
                ),
                code="output",
                hint=tr("free some space there"),
            )
        _mark(work, done)
    except OSError as error:
        raise EngineError(
            tr("{folder} cannot be written to ({reason})").format(folder=work.folder, reason=error.strerror or error),
            code="output",
            hint=tr("ask for the right to write there"),
        ) from error
    return done


def _run(
    step: Step, command: Sequence[str], environment: dict[str, str], log: OnLog, is_cancelled: IsCancelled | None
) -> None:
    log(" ".join(command))
    with Child(command, environment, grace=0, merge=True) as child:
        for line in child.lines(is_cancelled):
            log(line)
        status = child.wait()
    if is_cancelled is not None and is_cancelled():
        raise Cancelled
    if status != 0:
        reason = next((x.strip() for x in child.tail.splitlines() if "rror" in x or "No space" in x), tr("see the log"))
        raise EngineError(
            tr("{step} failed: {reason}").format(step=step.title, reason=reason),
            code="setup",
            hint=tr(
                "check the network, the proxy (Settings > Options > Network) and the free disk space, and try again; "
                "finished steps are not repeated"
            ),
            details=child.tail,
        )


def _check_folder(folder: Path) -> None:
    """Refuse a folder with other things in it: set-up removes and replaces what it made, and nothing else."""
    if folder.exists() and not folder.is_dir():
        raise EngineError(
            tr("{path} is a file, and a folder is needed there").format(path=folder),
            code="output",
            hint=tr("move it away and try again"),
        )
    if folder.is_dir() and any(folder.iterdir()) and _marker(folder) is None:
        raise EngineError(
            tr("the folder {folder} has content that set-up did not make").format(folder=folder),
            code="output",
            hint=tr("empty it, or point to the environment in it instead of making one"),
        )


def _marker(folder: Path) -> dict[str, Any] | None:
    try:
        data = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) and isinstance(data.get("done"), list) else None


def _mark(work: Plan, done: Sequence[str]) -> None:
    text = json.dumps({"plan": work.key, "done": list(done)})
    partial = work.folder / (_MARKER + ".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(work.folder / _MARKER)


def remove(folder: Path | str | None = None) -> None:
    """Delete a runtime that set-up made.

    Raises:
        EngineError: the folder was not made by set-up, or a file in it is in use.
    """
    folder = managed_folder() if folder is None else Path(folder)
    if not folder.exists():
        return
    if _marker(folder) is None:
        raise EngineError(
            tr("{folder} was not made by set-up and is left alone").format(folder=folder),
            code="output",
            hint=tr("delete it by hand if you want"),
        )
    marker = (folder / _MARKER).read_text(encoding="utf-8")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        if folder.exists():  # still ours when it is tried again
            (folder / _MARKER).write_text(marker, encoding="utf-8")
        raise EngineError(
            tr("{folder} cannot be deleted ({reason})").format(folder=folder, reason=error.strerror or error),
            code="output",
            hint=tr("stop running maps and try again"),
        ) from error


def disk_used(folder: Path | str | None = None) -> int:
    """Bytes that a runtime takes."""
    folder = managed_folder() if folder is None else Path(folder)
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:  # deleted meanwhile
                continue
    return total
