"""Complete output or none: files are made in a staging folder beside their destination and moved when whole."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from codemae_geo.errors import OutputError

#: what the operating system, libtiff and SQLite say when a device, a quota or a file-size limit is exhausted
_FULL_WORDS = ("no space left", "disk is full", "disk full", "file too large", "quota exceeded", "not enough space")
_FULL_ERRNO = (errno.ENOSPC, errno.EDQUOT if hasattr(errno, "EDQUOT") else errno.ENOSPC, errno.EFBIG)
_MIB = 2**20
#: with less than this free, a write that failed without a reason is taken for a full disk
_LITTLE = 8 * _MIB


def check_writable(path: Path, *, overwrite: bool) -> None:
    """Refuse a destination that exists (unless ``overwrite``) or whose folder does not.

    Raises:
        OutputError: the file exists, is a folder, or its folder is missing.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder", expected="the name of a file to write")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists and is not replaced", hint="choose another name or add --overwrite")
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
            hint="free some space, write to another disk, or ask for fewer outputs or a coarser --res",
        )


def _is_hidden(folder: Path) -> bool:
    """Whether it is a folder in which unfinished files lie."""
    return folder.name.startswith(".") and folder.suffix == ".part"


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


def _replace(source: Path, target: Path, *, keep: Collection[str]) -> None:
    """Move a file over another, whose companions go unless named in ``keep``."""
    for old in companions(target):
        if old.name not in keep:
            old.unlink(missing_ok=True)
    source.replace(target)


#: hidden folders of this process, each with the parent folders that were made for it (innermost first)
_UNFINISHED: dict[Path, list[Path]] = {}
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
        unfinished = dict(_UNFINISHED)
        for folder in unfinished:
            _discard(folder)
    finally:
        if moved:
            _MOVING.release()
    return [path for folder, made in unfinished.items() if folder.exists() for path in (folder, *made)]


def _discard(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for parent in _UNFINISHED.pop(folder, ()):
        with suppress(OSError):  # not empty, so in use
            parent.rmdir()


class Staging:
    """A temporary folder beside a destination, whose files replace the final ones together at the end.

    The folder lies on the destination's own disk, so moving is a rename. As a context manager it removes itself with
    all that is in it; only files that :meth:`publish` moved survive.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        """Check the destination and create the folder.

        Raises:
            OutputError: see :func:`check_writable`; or the folder is read-only.
        """
        self.path = path
        check_writable(path, overwrite=overwrite)
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        except OSError as error:
            raise write_failure(error, path) from error
        _UNFINISHED[self.folder] = []

    def publish(self, *names: str) -> None:
        """Move the named files to the destination's folder, in this order, over whatever is there."""
        with _MOVING:
            for name in names:
                _replace(self.folder / name, self.path.parent / name, keep=names)

    def discard(self) -> None:
        """Remove the folder and everything still in it; may be called more than once."""
        _discard(self.folder)

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


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

    As a context manager it removes the hidden folder, so an error or Ctrl-C leaves nothing.

    Args:
        path: the output folder; it may be missing or empty.
        overwrite: allow a folder with content: files of the same name are replaced, others stay.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Check the destination and create the hidden folder.

        Raises:
            OutputError: the folder has content, is a file, or cannot be written.
        """
        self.path = Path(path).absolute()
        self._overwrite = overwrite
        self._check()
        missing = [p for p in self.path.parents if not p.exists()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            name = f".{self.path.name}."
            self.folder = Path(tempfile.mkdtemp(prefix=name, suffix=".part", dir=self.path.parent))
            # mkdtemp makes a private folder; the result gets the rights that mkdir would give
            self.folder.chmod(0o777 & ~umask())
        except OSError as error:
            raise write_failure(error, self.path) from error
        _UNFINISHED[self.folder] = missing

    def _check(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file", expected="the name of a folder to create")
        if self.path.is_dir() and any(self.path.iterdir()) and not self._overwrite:
            raise OutputError(
                f"the output folder {self.path} exists and is not empty",
                hint="choose another folder or add --overwrite",
            )

    def publish_all(self, stale: Collection[str] = ()) -> None:
        """Move everything into place; a new folder appears by one rename.

        Args:
            stale: names of outputs that an earlier run may have left; those that this run did not make are removed, so
                that all outputs in the folder belong together.

        Raises:
            OutputError: a file could not be moved, or another run has filled the folder meanwhile.
        """
        self._check()
        try:
            with _MOVING:
                self._move(stale)
        except OSError as error:
            raise write_failure(error, self.path) from error

    def _move(self, stale: Collection[str]) -> None:
        if not self.path.is_dir():
            self.folder.rename(self.path)
            return
        files = sorted(self.folder.iterdir())
        for name in set(stale) - {f.name for f in files}:
            for old in (self.path / name, *companions(self.path / name)):
                old.unlink(missing_ok=True)
        for file in files:
            _replace(file, self.path / file.name, keep=[f.name for f in files])
        self.folder.rmdir()

    def __enter__(self) -> FolderStaging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _discard(self.folder)
