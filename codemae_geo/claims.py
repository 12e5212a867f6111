"""Who works where: a claim on an output, which ends with its process, and what a run that died there left.

Beside an output ``out`` the hidden file ``.out.codemae-run`` exists as long as a run works on it. It is locked
(``flock``; a lock ends with its process, however that ends) and holds one JSON object a line: first the owner, then
what the run tells of itself, so that whoever finds the file after a kill knows what to remove and which move to
complete. A line is written by one call, and the last line counts only when it is whole.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from codemae_geo.errors import OutputError, param
from codemae_geo.interrupts import uninterrupted

#: end of the name of a claim's file
SUFFIX = ".codemae-run"
#: end of the name of a folder of unfinished files
PART = ".part"
#: folder inside of it for the files that finished ones replace
REPLACED = ".replaced"
_FIRST = '{"codemae_claim": 1, '
#: a file system takes names of 255 bytes, and ours are longer than the output's
_LONGEST = 200
#: seconds to wait for a lock that nobody alive holds
_PATIENCE = 3.0

State = Literal["alive", "dead", "unknown"]


@dataclass(frozen=True)
class Owner:
    """A process, so that another one can tell whether it still lives.

    Args:
        pid: its number.
        started: its start in clock ticks since boot, since numbers are used again; None where the system hides it.
        host: the machine's name.
        boot: the running system's own number, which also containers share; None where there is none.
        space: the namespace in which the number counts.
        command: the command line's first words.
        since: UTC.
    """

    pid: int
    started: int | None
    host: str
    boot: str | None
    space: str | None
    command: str
    since: str

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        words = [Path(sys.argv[0]).name or "python", *sys.argv[1:3]]
        return cls(
            os.getpid(),
            _started(os.getpid()),
            socket.gethostname(),
            _boot(),
            _space(),
            " ".join(words)[:200],
            datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @property
    def state(self) -> State:
        """Whether the process lives, as far as can be told from here without its lock."""
        if self.host == socket.gethostname() and self.boot != _boot():
            return "dead"
        if self.boot is None or self.boot != _boot() or self.space != _space() or os.name != "posix":
            return "unknown"
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return "dead"
        except OSError:  # it is another user's
            pass
        return "alive" if self.started == _started(self.pid) else "dead"

    def describe(self) -> str:
        """One phrase for messages."""
        return f"process {self.pid} on {self.host} ({self.command}), since {self.since}"


@cache
def _boot() -> str | None:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return None


def _space() -> str | None:
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 the link names no file
    return None


def _started(pid: int) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        # the second field is the program's name in brackets, which may hold anything
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    return None


class Busy(Exception):
    """Another process holds the lock, or a file system without locks leaves it open whether one does."""

    def __init__(self, record: dict[str, Any], state: State) -> None:
        super().__init__()
        self.record = record
        self.state = state


def hidden_name(name: str, end: str) -> str:
    """``.name`` and an end; a name too long for that is cut and told apart by its hash."""
    if len(name.encode(errors="surrogateescape")) > _LONGEST:
        name = f"{name[:40]}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:12]}"
    return f".{name}{end}"


#: claims of this process, for a process that ends without unwinding
_HELD: dict[Path, Claim] = {}


class Claim:
    """The right to work on one output; see :func:`claim`, which makes it."""

    def __init__(self, file: Path, descriptor: int, made: list[Path] | None = None) -> None:
        self.file = file
        #: folders made for the output, innermost first
        self.made = made or []
        #: folder of unfinished files that a dead run has left to go on with
        self.inherited: Path | None = None
        self._descriptor = descriptor
        self._record: dict[str, Any] = {}
        _HELD[file] = self

    def note(self, **facts: Any) -> None:
        """Add facts to the record, on the disk before this returns."""
        first = not self._record
        self._record |= facts
        line = json.dumps(facts)
        line = _FIRST + line[1:] if first else line
        os.lseek(self._descriptor, 0, os.SEEK_END)
        os.write(self._descriptor, line.encode() + b"\n")
        with suppress(OSError):
            os.fsync(self._descriptor)

    def release(self) -> None:
        """Remove the file and let go; may be called more than once."""
        if _HELD.pop(self.file, None) is None:
            return
        if os.name != "posix":  # a file that is open cannot be removed
            os.close(self._descriptor)
        with suppress(OSError):  # removed while it is held, so that nobody locks a file that is about to go
            self.file.unlink(missing_ok=True)
        if os.name == "posix":
            os.close(self._descriptor)

    def abandon(self) -> None:
        """Let go and leave the file, as if the process had died."""
        if _HELD.pop(self.file, None) is not None:
            os.close(self._descriptor)


def _abandon_all() -> None:
    for held in list(_HELD.values()):
        held.abandon()


if hasattr(os, "register_at_fork"):  # a child that outlives its parent would hold the lock on
    os.register_at_fork(after_in_child=_abandon_all)


def release_all() -> None:
    """Let go of everything, for a process that ends without unwinding."""
    for held in list(_HELD.values()):
        held.release()
        remove_empty(held.made)


def holds_claims() -> bool:
    """Whether this process works on an output."""
    return bool(_HELD)


def claim(output: Path, home: Path | None = None, *, inherit: bool = False, **facts: Any) -> Claim:
    """Claim an output for this process, after settling what runs that died on it, or beside it, have left.

    What a run noted to be ``resumable`` is spared as long as the next run is for another output.

    Args:
        output: file or folder that will be written.
        home: folder of the claim's file; the output's own by default. It is made, with its parents, where missing.
        inherit: take over what a dead run left for this output to go on with; without it that is removed.
        facts: more for the record. ``temporary`` lists names in the output's folder that end in ``.part``.

    Raises:
        OutputError: another run holds it, told with its process.
        OSError: the folder cannot be written.
    """
    home = home or output.parent
    sweep(home)
    made = [p for p in (home, *home.parents) if not p.exists()]
    home.mkdir(parents=True, exist_ok=True)
    file = home / hidden_name(output.name, SUFFIX)
    try:
        descriptor, record = _wait_for_lock(file)
    except Busy as busy:
        raise _refused(output, busy) from None
    except ValueError as error:
        raise OutputError(f"{file} is {error}", hint="remove it, or write to another place") from error
    held = Claim(file, descriptor, made)
    try:
        if record:  # folders that the dead run made are in our hands now
            before = record.get("made")
            held.made = made = [home, *home.parents][: before if isinstance(before, int) else 0]
        left = _resumable(home, record) if inherit else None
        if left is not None:
            held.inherited, held._record = left, record
        elif record:  # the sweep could not settle it, or has spared it
            _settle(home, record)
            os.ftruncate(descriptor, 0)
        held.note(owner=asdict(Owner.me()), output=output.name, made=len(made), **facts)
    except BaseException:
        held.release()
        remove_empty(made)
        raise
    return held


def _wait_for_lock(file: Path) -> tuple[int, dict[str, Any]]:
    """The lock, waited for a moment where its holder is dead: its children may end later, or it is being swept."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return _lock(file)
        except Busy as busy:
            owner = read_owner(busy.record)
            if (owner is not None and owner.state != "dead") or time.monotonic() > until:
                raise
        time.sleep(0.05)


def _refused(output: Path, busy: Busy) -> OutputError:
    owner = read_owner(busy.record)
    if busy.state == "alive":
        mine = owner is not None and owner.pid == os.getpid() and owner.boot == _boot()
        return OutputError(
            f"another run is writing {output}",
            found="this process" if mine else owner.describe() if owner else "a run that is just starting",
            hint="wait for its end, stop it, or write to another place",
        )
    return OutputError(
        f"another run may be writing {output}",
        found=f"{owner.describe() if owner else 'a process that is not known'}, on a disk without locks",
        hint=f"if that run has ended, remove what it left: codemae clean {param('force')} {output.parent}",
    )


def read_owner(record: dict[str, Any]) -> Owner | None:
    """The owner that a record names; None where it names none."""
    try:
        return Owner(**record["owner"])
    except (KeyError, TypeError):
        return None


# ---------------------------------------------------------------------------------------------------- locks


def _lock(file: Path, *, create: bool = True, force: bool = False) -> tuple[int, dict[str, Any]]:
    """Lock a claim's file.

    Returns:
        Its descriptor, and the record that a dead holder has left there; {} if it is new.

    Raises:
        Busy: somebody holds it.
        FileNotFoundError: it is not there, without ``create``.
    """
    while True:
        descriptor = os.open(file, os.O_RDWR | (os.O_CREAT if create else 0) | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            locked = _try_lock(descriptor)
            record = _read(descriptor)
            if locked is False:
                raise Busy(record, "alive")
            if not _same(file, descriptor):  # removed between opening and locking
                os.close(descriptor)
                continue
            if locked is None and record and not force:
                owner = read_owner(record)
                state = owner.state if owner else "unknown"
                if state != "dead":
                    raise Busy(record, state)
        except BaseException:
            with suppress(OSError):
                os.close(descriptor)
            raise
        return descriptor, record


def _same(file: Path, descriptor: int) -> bool:
    if os.name != "posix":  # a file that is open cannot be removed
        return True
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int) -> bool | None:
    """Whether it is ours now; None where the file system has no locks."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # far behind the text, which stays readable
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES) else None
    return True


def _read(descriptor: int) -> dict[str, Any]:
    """The facts of all whole lines together; {} for a file that has none.

    Raises:
        ValueError: it is another program's file.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = b""
    while block := os.read(descriptor, 1 << 16):
        text += block
        if text[: len(_FIRST)] != _FIRST.encode()[: len(text)]:
            raise ValueError("another program's file")
    record: dict[str, Any] = {}
    for line in text.split(b"\n")[:-1]:
        try:
            facts = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(facts, dict):
            break
        record |= facts
    return record


# ---------------------------------------------------------------------------------------------------- what is left


@dataclass(frozen=True)
class Leftover:
    """What a run has left, or is working on.

    Args:
        output: the file or folder it was for.
        file: the claim's file; None for a folder of a version that made none.
        folders: hidden folders and temporary files.
        owner: who made it, if known.
        state: ``dead``: it can be removed; ``alive``: a run is at work; ``unknown``: on a disk without locks.
        publishing: killed while finished files moved into place, which is completed.
        size: bytes in the hidden folders.
    """

    output: Path
    file: Path | None
    folders: tuple[Path, ...]
    owner: Owner | None
    state: State
    publishing: bool
    size: int

    def settle(self, *, force: bool = False) -> bool:
        """Complete or remove it.

        Args:
            force: also where it is unknown whether its run lives.

        Returns:
            Whether it is gone.

        Raises:
            OSError: something cannot be moved or removed.
        """
        if self.file is None:
            for folder in self.folders:
                shutil.rmtree(folder)
            return True
        return _settle_file(self.file, force=force)


def find_leftovers(folder: Path, *, below: bool = True) -> Iterator[Leftover]:
    """All that runs have left in a folder, and in the folders below it; links are not followed."""
    for root, names, files in os.walk(folder):
        here = Path(root)
        claims = [f for f in sorted(files) if f.startswith(".") and f.endswith(SUFFIX)]
        known: set[Path] = set()
        for name in claims:
            left = _look(here / name)
            if left is not None:
                known |= set(left.folders)
                yield left
        for name in sorted(names):
            path = here / name
            if _is_part(name) and path not in known:
                output = here / name[1 : -len(PART)].rpartition(".")[0]
                yield Leftover(output, None, (path,), None, "dead", False, _size(path))
        names[:] = [n for n in sorted(names) if not _is_part(n)] if below else []


def _is_part(name: str) -> bool:
    """``.NAME.12345678.part``, as this package names them."""
    middle = name[1 : -len(PART)].rpartition(".")
    return name.startswith(".") and name.endswith(PART) and bool(middle[0]) and len(middle[2]) == 8


def _look(file: Path) -> Leftover | None:
    try:
        descriptor = os.open(file, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))  # NFS locks what is open for writing
    except OSError:
        return None
    try:
        record = _read(descriptor)
        locked = _try_lock(descriptor)
    except ValueError:
        return None
    finally:
        os.close(descriptor)
    owner = read_owner(record)
    state: State = "dead" if locked else "alive" if locked is False else owner.state if owner else "unknown"
    folders = tuple(p for p in _temporary(file.parent, record) if p.exists())
    output = file.parent / str(record.get("output", file.name[1 : -len(SUFFIX)]))
    return Leftover(output, file, folders, owner, state, "publish" in record, sum(map(_size, folders)))


def _size(path: Path) -> int:
    total = 0
    for root, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                total += (Path(root) / name).lstat().st_size
    with suppress(OSError):
        total += path.lstat().st_size if path.is_file() else 0
    return total


def sweep(folder: Path) -> None:
    """Settle what dead runs have left in a folder; what cannot be removed stays, and `codemae clean` tells why."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.name.startswith(".") and e.name.endswith(SUFFIX)]
    except OSError:
        return
    for name in names:
        with suppress(OSError):
            _settle_file(folder / name, spare=True)


def _resumable(home: Path, record: dict[str, Any]) -> Path | None:
    """The folder of unfinished files that a run left to go on with; None where there is none."""
    staging = _child(home, record.get("staging"))
    if record.get("resumable") is not True or "publish" in record or staging is None:
        return None
    return staging if staging.is_dir() and not staging.is_symlink() else None


def _settle_file(file: Path, *, force: bool = False, spare: bool = False) -> bool:
    try:
        descriptor, record = _lock(file, create=False, force=force)
    except (Busy, FileNotFoundError, ValueError):
        return False
    held = Claim(file, descriptor)
    if spare and _resumable(file.parent, record) is not None:
        held.abandon()
        return False
    try:
        _settle(file.parent, record)
    except BaseException:  # tried again by the next
        held.abandon()
        raise
    held.release()
    count = record.get("made")
    remove_empty([file.parent, *file.parent.parents][: count if isinstance(count, int) else 0])
    return True


def _settle(home: Path, record: dict[str, Any]) -> None:
    """Complete a move that had begun, and remove everything temporary."""
    staging = _child(home, record.get("staging"))
    publish = record.get("publish")
    if staging is not None and staging.is_dir() and isinstance(publish, dict):
        target = _target(home, record)
        names, old = (_names(publish.get(key)) for key in ("names", "old"))
        if target is not None and target.is_dir():
            with uninterrupted():
                move_in(staging, target, names, old)
    for path in _temporary(home, record):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _temporary(home: Path, record: dict[str, Any]) -> list[Path]:
    staging = _child(home, record.get("staging"))
    found = [staging] if staging is not None and staging.name.endswith(PART) else []
    target = _target(home, record)
    if target is not None:
        for pattern in _names(record.get("temporary")):
            found += target.glob(pattern) if pattern.endswith(PART) and "**" not in pattern else ()
    return found


def _target(home: Path, record: dict[str, Any]) -> Path | None:
    """The folder that finished files go to."""
    return home if record.get("into") == "home" else _child(home, record.get("output"))


def _child(home: Path, name: Any) -> Path | None:
    """A record comes from a file that anybody may have written: it cannot name anything outside of its own folder."""
    return home / name if isinstance(name, str) and name not in ("", ".", "..") and _plain(name) else None


def _plain(name: str) -> bool:
    return Path(name).name == name and "\0" not in name


def _names(value: Any) -> list[str]:
    return [n for n in value if isinstance(n, str) and _plain(n)] if isinstance(value, list) else []


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, innermost first, as far as they are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def move_in(staging: Path, target: Path, names: list[str], old: list[str]) -> None:
    """Replace the files ``old`` of a folder by the files ``names`` of another one on the same disk.

    All old files leave before the first new one arrives, so that at every moment the folder holds files of one run
    only. Called again after a kill at any point, it completes what is left to do.

    Raises:
        OSError: a file cannot be moved; then everything is where it was.
    """
    replaced = staging / REPLACED
    done: list[tuple[Path, Path]] = []

    def move(source: Path, place: Path) -> None:
        source.rename(place)
        done.append((source, place))

    waiting = [n for n in names if os.path.lexists(staging / n)]
    try:
        if len(waiting) == len(names):  # else old files have left already, and what is there now is new
            gone = [n for n in old if os.path.lexists(target / n)]
            if gone:
                replaced.mkdir(exist_ok=True)
            for name in gone:
                move(target / name, replaced / name)
        for name in waiting:
            move(staging / name, target / name)
    except OSError:
        for source, place in reversed(done):
            with suppress(OSError):
                place.rename(source)
        raise
