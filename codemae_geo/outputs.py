"""Complete output or none: files are made in a staging folder beside their destination and moved when whole."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from codemae_geo.claims import PART, REPLACED, Claim, claim, hidden_name, move_in, release_all, remove_empty
from codemae_geo.errors import OutputError, param
from codemae_geo.interrupts import uninterrupted

#: what the operating system, libtiff and SQLite say when a device, a quota or a file-size limit is exhausted
_FULL_WORDS = ("no space left", "disk is full", "disk full", "file too large", "quota exceeded", "not enough space")
_FULL_ERRNO = (errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC, errno.EFBIG)
_MIB = 2**20
#: with less than this free, a write that failed without a reason is taken for a full disk
_LITTLE = 8 * _MIB


def check_name(path: Path | str) -> None:
    """Refuse a name that the libraries that read and write files cannot be given.

    Raises:
        OutputError: it holds a NUL, or bytes that are no text (a name in Latin-1 on a system of UTF-8).
    """
    text = str(path)
    if "\0" in text:
        raise OutputError("a file name cannot hold the character NUL", found=repr(text))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise OutputError(
            f"the name {text!r} is not text in UTF-8",
            expected="a name without bytes of another encoding",
            hint="rename the file or folder (convmv -f latin1 -t utf8), or set LANG to a locale with UTF-8",
        ) from None


def check_writable(path: Path, *, overwrite: bool) -> None:
    """Refuse a destination that exists (unless ``overwrite``) or whose folder does not.

    Raises:
        OutputError: the file exists, is a folder, or its folder is missing.
    """
    check_name(path)
    if path.is_symlink() and not path.exists():
        raise OutputError(f"{path} is a link that leads nowhere", expected="the name of a file to write")
    if path.is_dir():
        raise OutputError(f"{path} is a folder", expected="the name of a file to write")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists and is not replaced", hint=f"choose another name or add {param('overwrite')}")
    if not path.parent.is_dir():
        raise OutputError(f"the folder of {path} does not exist", hint=f"create {path.parent} first")


def umask() -> int:
    """Rights that this process takes from new files; temporary files do not heed it by themselves."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def free_bytes(folder: Path) -> int:
    """Bytes an unprivileged user may still write below ``folder`` (or its nearest existing parent)."""
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free


def check_space(folder: Path, needed: int) -> None:
    """Refuse to start a run whose outputs would not fit.

    Args:
        folder: where the outputs go; need not exist yet.
        needed: bytes, for instance the sum of :func:`codemae_geo.raster.write.estimate_bytes`.

    Raises:
        OutputError: fewer than ``needed`` bytes are free.
    """
    free = free_bytes(folder)
    if free < needed:
        raise OutputError(
            f"not enough disk space in {folder.parent if _is_hidden(folder) else folder}",
            found=f"{free / _MIB:,.0f} MiB ({free} bytes) free",
            expected=f"about {needed / _MIB:,.0f} MiB ({needed} bytes)",
            hint=f"free some space, write to another disk, or ask for fewer outputs or a coarser {param('res')}",
        )


def _is_hidden(folder: Path) -> bool:
    """Whether it is a folder in which unfinished files lie."""
    return folder.name.startswith(".") and folder.suffix == PART


def write_failure(error: BaseException, path: Path, needed: int | None = None) -> OutputError:
    """The :class:`OutputError` for a failed write, "disk full" where that was the cause.

    libtiff reports a full disk in words that depend on where it struck ("Write error at scanline 512"), so besides the
    words of the error and its causes the free space itself is asked.

    Args:
        error: what GDAL, SQLite or the operating system raised.
        path: the destination.
        needed: bytes that the output was expected to take, if known.
    """
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    said = "; ".join(str(e) for e in chain)
    free = free_bytes(path.parent)
    full = (
        any(isinstance(e, OSError) and e.errno in _FULL_ERRNO for e in chain)
        or any(word in said.lower() for word in _FULL_WORDS)
        # a missing folder or a lack of rights has its own number; a failed write or commit often has none
        or (free < _LITTLE and not any(isinstance(e, OSError) and e.errno not in (None, errno.EIO) for e in chain))
    )
    size = f"about {needed} bytes" if needed else None
    if _is_hidden(path.parent):  # the user knows the folder it will go to
        path = path.parent.parent / path.name
    if full:
        return OutputError(
            f"disk full while writing {path}",
            found=f"{free} bytes free ({said})",
            expected=size,
            hint="free some space or write to another disk; nothing half-written was left",
        )
    return OutputError(
        f"could not write {path}",
        found=f"{said}; {free} bytes free",
        expected=size,
        hint="check the disk, its quota and the folder's permissions; nothing half-written was left",
    )


def companions(path: Path) -> list[Path]:
    """Files that GDAL, QGIS and SQLite keep beside ``path`` and would go on believing after it is replaced."""
    added = [".aux.xml", ".ovr", ".msk", "-wal", "-shm", "-journal"]
    styles = [".qml", ".qmd"] if path.suffix.lower() in {".tif", ".tiff"} else []
    return [path.with_name(path.name + end) for end in added] + [path.with_suffix(end) for end in styles]


#: hidden folders of this process, each with the claim that names it
_UNFINISHED: dict[Path, Claim | None] = {}
#: held while finished files are moved into place
_MOVING = threading.Lock()


def discard_unfinished() -> list[Path]:
    """Remove the hidden folders of all outputs that are not finished, for a process that ends without unwinding.

    Files that are just being moved into place get a moment to arrive.

    Returns:
        What could not be removed, since Windows keeps files that are open: hidden folders and folders made for them, in
        the order in which they can go once the process has ended.
    """
    moved = _MOVING.acquire(timeout=0.2)
    try:
        unfinished = {folder: claim.made if claim else [] for folder, claim in _UNFINISHED.items()}
        for folder in unfinished:
            _discard(folder)
        release_all()
    finally:
        if moved:
            _MOVING.release()
    return [path for folder, made in unfinished.items() if folder.exists() for path in (folder, *made)]


def _stage(path: Path, home: Path, *, inherit: bool = False, **facts: str) -> tuple[Path, Claim | None]:
    """A hidden folder for a destination, and the claim on it; inside another such folder there is no claim to make.

    The folder is new, or with ``inherit`` that of a dead run which left something to go on with.

    Raises:
        OutputError: another run writes there.
        OSError: the folder cannot be written.
    """
    held = None if home in _UNFINISHED else claim(path, home, inherit=inherit, **facts)
    if held is not None and held.inherited is not None:
        _UNFINISHED[held.inherited] = held
        return held.inherited, held
    try:
        while True:
            folder = home / hidden_name(path.name, f".{secrets.token_hex(4)}{PART}")
            if held is not None:  # before it is there: no kill leaves a folder that nobody knows of
                held.note(staging=folder.name)
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                break
    except BaseException:
        if held is not None:
            held.release()
            remove_empty(held.made)
        raise
    _UNFINISHED[folder] = held
    return folder, held


def _discard(folder: Path) -> None:
    held = _UNFINISHED.pop(folder, None)
    shutil.rmtree(folder, ignore_errors=True)
    if held is not None:
        held.release()
        remove_empty(held.made)


def _publish(staging: Path, held: Claim | None, target: Path, names: Sequence[str], old: Iterable[str]) -> None:
    """Move finished files over old ones; a kill on the way is completed by whoever settles the claim."""
    gone = [name for name in dict.fromkeys(old) if os.path.lexists(target / name)]
    with uninterrupted(), _MOVING:
        if held is not None:
            held.note(publish={"names": list(names), "old": gone})
        try:
            move_in(staging, target, list(names), gone)
        except OSError:
            if (staging / REPLACED).is_dir() and any((staging / REPLACED).iterdir()):
                # old files could not go back: they stay hidden, with the claim by which a later run goes on
                _UNFINISHED.pop(staging)
                if held is not None:
                    held.abandon()
            raise


class Staging:
    """A temporary folder beside a destination, whose files replace the final ones together at the end.

    The folder lies on the destination's own disk, so moving is a rename. As a context manager it removes itself with
    all that is in it; only files that :meth:`publish` moved survive. As long as it exists, no other run gets one for
    the same destination.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        """Check the destination and create the folder.

        Raises:
            OutputError: see :func:`check_writable`; another run writes there; or the folder is read-only.
        """
        self.path = path
        self._overwrite = overwrite
        check_writable(path, overwrite=overwrite)
        try:
            self.folder, self._claim = _stage(path, path.parent, into="home")
        except OSError as error:
            raise write_failure(error, path) from error
        try:
            check_writable(path, overwrite=overwrite)  # what a killed run had finished may have arrived
        except OutputError:
            self.discard()
            raise

    def publish(self, *names: str) -> None:
        """Move the named files to the destination's folder, over whatever is there.

        Raises:
            OutputError: the destination has appeared meanwhile, and nothing may be replaced.
            OSError: a file cannot be moved; then all that was there is still there.
        """
        check_writable(self.path, overwrite=self._overwrite)
        target = self.path.parent
        old = [path.name for name in names for path in (target / name, *companions(target / name))]
        if len(names) == 1 and not any(os.path.lexists(target / name) for name in old[1:]):
            with uninterrupted(), _MOVING:  # at every moment there is the old file or the new one
                (self.folder / names[0]).replace(target / names[0])
            return
        _publish(self.folder, self._claim, target, names, old)

    def discard(self) -> None:
        """Remove the folder and everything still in it; may be called more than once."""
        _discard(self.folder)

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


@contextmanager
def claimed(path: Path, *, temporary: Sequence[str] = (), when: bool = True) -> Iterator[None]:
    """Hold a place for a run that writes into it by and by and can go on after a kill.

    Args:
        path: file or folder.
        temporary: names or patterns, ending in ``.part``, of files in the folder that a killed run may leave there.
        when: hold it at all.

    Raises:
        OutputError: another run holds it, or its folder cannot be written.
    """
    if not when:
        yield
        return
    check_name(path)
    try:
        held = claim(path.absolute(), temporary=list(temporary))
    except OSError as error:
        raise write_failure(error, path) from error
    try:
        yield
    finally:
        held.release()
        remove_empty(held.made)


def write_text(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a whole UTF-8 text file or none.

    Raises:
        OutputError: the file exists, or the disk is full.
    """
    with Staging(path, overwrite=overwrite) as staging:
        try:
            (staging.folder / path.name).write_text(text, encoding="utf-8")
            staging.publish(path.name)
        except OSError as error:
            raise write_failure(error, path) from error


class FolderStaging:
    """A whole output folder, complete or not at all: files are made in a hidden sibling and moved when all are there.

    As a context manager it removes the hidden folder, so an error or Ctrl-C leaves nothing. As long as it exists, no
    other run gets one for the same folder.

    Args:
        path: the output folder; it may be missing or empty.
        overwrite: allow a folder with content: files of the same name are replaced, others stay.
        resume: take over the hidden folder of a run that died, if it left one to go on with; see :attr:`inherited`.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False, resume: bool = False) -> None:
        """Check the destination and create the hidden folder.

        Raises:
            OutputError: the folder has content, is a file, or cannot be written; or another run writes there.
        """
        self.path = Path(path).absolute()
        self._overwrite = overwrite
        check_name(self.path)
        if self.path.is_symlink() and not self.path.exists():
            raise OutputError(f"{self.path} is a link that leads nowhere", expected="the name of a folder to create")
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file", expected="the name of a folder to create")
        # a folder that is a disk of its own, as in a container, cannot be moved into from beside it
        self._inside = self.path.is_dir() and not _may_move(self.path.parent, self.path)
        home = self.path if self._inside else self.path.parent
        try:
            facts = {"into": "home"} if self._inside else {}
            self.folder, self._claim = _stage(self.path, home, inherit=resume, **facts)
            # made private; the result gets the rights that mkdir would give
            self.folder.chmod(0o777 & ~umask())
        except OSError as error:
            raise write_failure(error, self.path) from error
        self._kept = self.inherited
        try:
            self._check()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    @property
    def inherited(self) -> bool:
        """Whether the hidden folder is that of a run that died, with what it has left."""
        return self._claim is not None and self._claim.inherited is not None

    @property
    def kept(self) -> bool:
        """Whether the hidden folder outlives a run that fails."""
        return self._kept

    def keep(self) -> None:
        """From now on the hidden folder stays when the run fails or is killed, for another one to go on with."""
        if self._claim is not None and not self._kept:
            self._claim.note(resumable=True)
            self._kept = True

    def forget(self) -> None:
        """Take :meth:`keep` back: what is in the hidden folder is of no use to another run."""
        if self._claim is not None and self._kept:
            self._claim.note(resumable=False)
        self._kept = False

    def _check(self) -> None:
        if not self.path.is_dir() or self._overwrite:
            return
        ours = {self.folder.name, self._claim.file.name if self._claim else ""} if self._inside else set()
        if any(entry.name not in ours for entry in self.path.iterdir()):
            raise OutputError(
                f"the output folder {self.path} exists and is not empty",
                hint=f"choose another folder or add {param('overwrite')}",
            )

    def publish_all(self, stale: Collection[str] = ()) -> None:
        """Move everything into place; a new folder appears by one rename.

        Args:
            stale: names of outputs that an earlier run may have left; those that this run did not make are removed, so
                that all outputs in the folder belong together.

        Raises:
            OutputError: a file could not be moved, or the folder has been filled meanwhile.
        """
        self._check()
        try:
            self.forget()
            if not self.path.is_dir():
                with uninterrupted(), _MOVING:
                    self.folder.rename(self.path)
                return
            names = sorted(file.name for file in self.folder.iterdir())
            old = [p.name for n in [*names, *stale] for p in (self.path / n, *companions(self.path / n))]
            _publish(self.folder, self._claim, self.path, names, old)
        except OSError as error:
            raise write_failure(error, self.path) from error

    def __enter__(self) -> FolderStaging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._kept and self.folder.is_dir() and self._claim is not None:
            _UNFINISHED.pop(self.folder, None)
            self._claim.abandon()
            return
        _discard(self.folder)


def _may_move(parent: Path, folder: Path) -> bool:
    """Whether a hidden folder can be made in ``parent`` and its files be moved to ``folder``."""
    return parent.stat().st_dev == folder.stat().st_dev and os.access(parent, os.W_OK | os.X_OK)
