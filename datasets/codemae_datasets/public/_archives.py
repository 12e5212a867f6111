"""Archives of public datasets: fetched, compared with their checksums, unpacked inside one folder only."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

import torch

from codemae_datasets.public._card import Archive
from codemae_geo.errors import InputError
from codemae_geo.outputs import write_failure


def is_archive(path: Path) -> bool:
    """Whether :func:`extract` knows the kind of file by its name."""
    return path.name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"))


def extract(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar file. Nothing is written if any member would land outside the folder.

    Raises:
        InputError: a member has an absolute path or ``..`` in it, or is a link or device; or the file is damaged, or
            packed in a way that Python cannot unpack.
        OutputError: the folder cannot be written.
    """
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as bundle:
                _refuse_outside(archive, bundle.namelist())
                bundle.extractall(folder)  # noqa: S202 - the names are checked above
        else:
            with tarfile.open(archive) as bundle_tar:
                members = bundle_tar.getmembers()
                _refuse_outside(archive, (m.name for m in members))
                odd = [m.name for m in members if not (m.isfile() or m.isdir())]
                if odd:
                    raise InputError(f"the archive {archive} holds a link or a device", found=odd[0])
                bundle_tar.extractall(folder, members=members, filter="data")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise InputError(
            f"the archive {archive} is damaged", found=str(error), hint="delete it and fetch it again"
        ) from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or of a method that zipfile does not have
        raise InputError(
            f"the archive {archive} cannot be unpacked here",
            found=str(error),
            hint=f"unpack it into {folder} with another program, such as 7z",
        ) from error
    except OSError as error:
        raise write_failure(error, folder / archive.name) from error


def _refuse_outside(archive: Path, names: Iterable[str]) -> None:
    for name in names:
        posix, windows = PurePosixPath(name), PureWindowsPath(name)
        if posix.is_absolute() or windows.is_absolute() or windows.drive or ".." in (*posix.parts, *windows.parts):
            raise InputError(
                f"the archive {archive} would write outside its folder",
                found=name,
                expected="relative paths without ..",
                hint="do not use it; fetch it from its publisher",
            )


def fetch(archive: Archive, folder: Path) -> None:
    """Download an archive and compare its checksum.

    Raises:
        InputError: the address does not answer, or the file is not the published one.
    """
    assert archive.url is not None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / archive.name
    partial = path.with_name(path.name + ".part")
    try:
        torch.hub.download_url_to_file(archive.url, str(partial), progress=False)
        if check(partial, archive.checksum) == "differs":
            raise InputError(
                f"{archive.url} is not the published file", found="another checksum", hint="try again later"
            )
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{archive.name} cannot be fetched", found=str(error), hint=f"fetch {archive.url} by hand into {folder}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def check(path: Path, checksum: str | None) -> str:
    """``ok``, ``differs`` or ``no checksum is known``.

    Args:
        path: a file.
        checksum: ``sha256:...`` or ``md5:...``.
    """
    if checksum is None:
        return "no checksum is known"
    kind, _, wanted = checksum.partition(":")
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return "ok" if digest.hexdigest() == wanted else "differs"
