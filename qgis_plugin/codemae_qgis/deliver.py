"""Files to the places that the user chose: prepared beside them, then renamed, all or none. No QGIS in here."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from types import TracebackType

from .engine.errors import EngineError
from .engine.words import tr

#: what belongs to a raster `name.tif`: endings added to the whole name, endings instead of the name's own
_RASTER_ADDED = (".aux.xml", ".msk", ".ovr")
_RASTER_INSTEAD = (".qml", ".qmd")
#: what may lie beside a vector file and belongs to its former content
_VECTOR_ADDED = ("-wal", "-shm", "-journal")
_VECTOR_INSTEAD = (".qml", ".qmd", ".shx", ".dbf", ".prj", ".cpg", ".qpj", ".qix")


def folder_problem(path: str) -> str:
    """Why no file can be written at ``path``, as a sentence; empty if one can."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        return tr("{path} is a folder; choose the name of a file in it.").format(path=path)
    if os.path.exists(folder) and not os.path.isdir(folder):
        return tr("{path} is a file, not a folder; choose another place for the output.").format(path=folder)
    if not os.path.isdir(folder):
        return tr("The folder {folder} does not exist; create it or choose another one.").format(folder=folder)
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".codemae-", dir=folder))
    except OSError:
        return tr(
            "The folder {folder} cannot be written to; choose another one or ask for the right to write there."
        ).format(folder=folder)
    return ""


class Delivery:
    """Context manager: stage files, then :meth:`commit`; leaving the block without it leaves nothing."""

    def __init__(self) -> None:
        self._stagings: dict[str, str] = {}  # folder -> staging folder in it
        self._made: list[str] = []  # folders that were not there

    def __enter__(self) -> Delivery:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for staging in self._stagings.values():
            shutil.rmtree(staging, ignore_errors=True)
        for folder in self._made:
            with contextlib.suppress(OSError):  # it holds what was asked for
                os.rmdir(folder)

    def place(self, destination: str) -> str:
        """Where to write what shall become ``destination``: the same name in a staging folder beside it.

        The folder of ``destination`` is made if the one around it is there.

        Raises:
            EngineError: the folder cannot be written to.
        """
        folder, name = os.path.split(os.path.abspath(destination))
        if folder not in self._stagings:
            try:
                if not os.path.exists(folder):
                    os.mkdir(folder)
                    self._made.append(folder)
                self._stagings[folder] = tempfile.mkdtemp(prefix=".codemae-", dir=folder)
            except OSError as error:
                raise _failure(error, folder) from error
        return os.path.join(self._stagings[folder], name)

    def file(self, source: str, destination: str) -> None:
        """Stage a copy of a file.

        Raises:
            EngineError: the folder cannot be written to, or the disk is full.
        """
        place = self.place(destination)
        try:
            shutil.copyfile(source, place)
        except OSError as error:
            raise _failure(error, os.path.dirname(destination)) from error

    def raster(self, source: str, destination: str) -> None:
        """Stage a raster with its side-cars: category names, style, metadata.

        Raises:
            EngineError: as :meth:`file`.
        """
        self.file(source, destination)
        for old, new in zip(raster_sidecars(source), raster_sidecars(destination)):
            if os.path.exists(old):
                self.file(old, new)

    def commit(self, destinations: list[str]) -> None:
        """Move everything into place; if one move fails, all are taken back.

        Args:
            destinations: files that were asked for; side-cars of a former file of that name are removed.

        Raises:
            EngineError: a file is in use or cannot be replaced.
        """
        done: list[tuple[str, str | None]] = []  # final, backup of what was there
        stale = {os.path.abspath(p) for d in destinations for p in (*raster_sidecars(d), *vector_sidecars(d))}
        final = ""
        try:
            for folder, staging in self._stagings.items():
                backups = os.path.join(staging, ".old")
                os.mkdir(backups)
                names = [name for name in os.listdir(staging) if name != ".old"]
                old = {os.path.basename(p) for p in stale if os.path.dirname(p) == folder}
                for name in sorted({*names, *old}):
                    final = os.path.join(folder, name)
                    backup = os.path.join(backups, name) if os.path.exists(final) else None
                    if backup is not None:
                        os.replace(final, backup)
                    done.append((final, backup))
                    if name in names:
                        os.replace(os.path.join(staging, name), final)
        except OSError as error:
            for path, backup in reversed(done):
                if backup is not None:
                    os.replace(backup, path)
                elif os.path.exists(path):
                    os.unlink(path)
            raise EngineError(
                tr("{path} cannot be replaced ({reason})").format(path=final, reason=error.strerror or error),
                code="output",
                hint=tr("close the program that uses it, remove the layer from QGIS, or choose another name"),
            ) from error


def raster_sidecars(path: str) -> list[str]:
    """Names of the files that may belong to a raster."""
    stem = os.path.splitext(path)[0]
    return [path + ending for ending in _RASTER_ADDED] + [stem + ending for ending in _RASTER_INSTEAD]


def vector_sidecars(path: str) -> list[str]:
    """Names of the files that may belong to a vector file."""
    stem, ending = os.path.splitext(path)
    instead = _VECTOR_INSTEAD if ending.lower() == ".shp" else _VECTOR_INSTEAD[:2]
    return [path + e for e in _VECTOR_ADDED] + [stem + e for e in instead]


def full_disk(folder: str) -> EngineError:
    """No space is left."""
    return EngineError(
        tr("the disk that holds {folder} is full").format(folder=folder),
        code="output",
        hint=tr("free some space or choose another disk"),
    )


def _failure(error: OSError, folder: str) -> EngineError:
    if error.errno in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return full_disk(folder)
    return EngineError(
        tr("{folder} cannot be written to ({reason})").format(folder=folder, reason=error.strerror or error),
        code="output",
        hint=tr("choose another folder"),
    )
