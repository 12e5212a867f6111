"""The plugin and its setting in a QGIS profile: found, installed, removed."""

from __future__ import annotations

import configparser
import os
import runpy
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from codemae_cli import ini
from codemae_geo.errors import InputError, OutputError

#: package name of the plugin, and of its folder
PLUGIN = "codemae_qgis"
#: where the plugin looks for the Python that runs the toolkit: section and key
RUNTIME = ("codemae_geo", "runtime_python")
#: where QGIS notes which plugins are on
ENABLED = ("PythonPlugins", PLUGIN)
#: bytes and files that an archive may unpack to
MAX_BYTES, MAX_FILES = 100 * 2**20, 5000


@dataclass(frozen=True)
class Profile:
    """A QGIS user profile.

    Args:
        folder: the profile.
        settings: its settings file, which may not be there yet.
    """

    folder: Path
    settings: Path

    @property
    def plugin(self) -> Path:
        """Where the plugin goes."""
        return self.folder / "python" / "plugins" / PLUGIN


def profile_roots(platform: str, env: Mapping[str, str], home: Path) -> list[Path]:
    """Folders in which QGIS 3 and 4 keep profiles on a system (``sys.platform``), likeliest first."""
    if env.get("QGIS_CUSTOM_CONFIG_PATH"):
        return [Path(env["QGIS_CUSTOM_CONFIG_PATH"]) / "profiles"]
    if platform == "win32":
        base = [Path(env.get("APPDATA") or home / "AppData" / "Roaming") / "QGIS"]
    elif platform == "darwin":
        base = [home / "Library" / "Application Support" / "QGIS"]
    else:
        flatpak = home / ".var" / "app" / "org.qgis.qgis" / "data" / "QGIS"
        base = [Path(env.get("XDG_DATA_HOME") or home / ".local" / "share") / "QGIS", flatpak]
    return [folder / version / "profiles" for folder in base for version in ("QGIS3", "QGIS4")]


def find_profile(name: str | None = None, root: Path | None = None) -> Profile:
    """The profile to work on.

    Args:
        name: its name; None takes the only one, else QGIS's default.
        root: folder as QGIS's ``--profiles-path`` takes it; None looks where QGIS keeps profiles.

    Raises:
        InputError: there is no profile, or none of that name.
    """
    roots = profile_roots(sys.platform, os.environ, Path.home()) if root is None else [root / "profiles", root]
    there = {r: _profile_names(r) for r in roots}
    if not any(there.values()):
        raise InputError(
            "no QGIS profile was found",
            found=", ".join(map(str, roots)),
            expected="a folder that QGIS made",
            hint="start QGIS once, or name the folder that holds its profiles with --profiles-path",
        )
    for folder, names in there.items():
        chosen = name if name is not None else _default_name(folder, names)
        if chosen in names:
            return Profile(folder / chosen, _settings_file(folder / chosen, folder.parent.name))
    raise InputError(
        f"there is no QGIS profile {name!r}",
        found=", ".join(n for names in there.values() for n in names),
        hint="name one of these with --profile",
    )


def _profile_names(root: Path) -> list[str]:
    # a profile is known by what QGIS puts into it, so that another folder beside it is none
    marks = ("QGIS", "python", "qgis.db", "processing")
    if not root.is_dir():
        return []
    return sorted(p.name for p in root.iterdir() if p.is_dir() and any((p / mark).exists() for mark in marks))


def _default_name(root: Path, names: list[str]) -> str | None:
    if len(names) == 1:
        return names[0]
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    with suppress(configparser.Error, UnicodeDecodeError):
        parser.read(root / "profiles.ini", encoding="utf-8")
    return parser.get("core", "defaultProfile", fallback="default").strip('"')


def _settings_file(profile: Path, version: str) -> Path:
    found = sorted((profile / "QGIS").glob("QGIS[0-9].ini"))
    return found[-1] if found else profile / "QGIS" / f"{version if version in ('QGIS3', 'QGIS4') else 'QGIS3'}.ini"


def shipped_plugin() -> Path | None:
    """The plugin in the source tree that this command runs from; None where it is installed from a wheel."""
    folder = Path(__file__).resolve().parents[2] / "qgis_plugin" / PLUGIN
    return folder if (folder / "metadata.txt").is_file() else None


def install(profile: Profile, python: str, plugin: Path | None, *, dry_run: bool = False) -> dict[str, Any]:
    """Put the plugin into a profile, switch it on, and tell it which Python runs the toolkit.

    Args:
        profile: where.
        python: the interpreter.
        plugin: zip or folder; None leaves the plugin as it is.
        dry_run: check everything and write nothing.

    Returns:
        ``profile``, ``plugin`` (folder), ``version`` and ``previous`` (of the plugin, or None), ``settings`` (file),
        ``changes`` (sentences) and ``warnings``.

    Raises:
        InputError: the plugin cannot be used.
        OutputError: the profile cannot be written.
    """
    changes, warnings = [], []
    previous = read_version(profile.plugin)
    version = previous
    if plugin is not None:
        if profile.plugin.is_symlink():
            raise InputError(
                f"{profile.plugin} is a link to {profile.plugin.resolve()}", hint="remove the link, or leave the plugin"
            )
        version = _place(plugin, profile.plugin, dry_run=dry_run)
        changes.append(f"plugin {version} from {plugin}" + (f", in place of {previous}" if previous else ""))
    elif previous is None:
        warnings.append(
            "the plugin itself is not there: install CoDe-MAE from QGIS's plugin manager, or name its zip with --plugin"
        )
    old = _read_settings(profile.settings)
    new = ini.set_value(old, *RUNTIME, ini.escape(python))
    if new != old:
        changes.append(f"runtime {python}")
    if version is not None:
        switched = ini.set_value(new, *ENABLED, "true")
        if switched != new:
            changes.append("plugin switched on")
        new = switched
    if not dry_run and new != old:
        _write_settings(profile.settings, new)
    if ".var/app/org.qgis" in profile.folder.as_posix() and Path.home() not in Path(python).resolve().parents:
        warnings.append(f"QGIS from Flatpak sees programs in the home folder only, and {python} is elsewhere")
    return {
        "profile": str(profile.folder),
        "plugin": str(profile.plugin),
        "version": version,
        "previous": previous,
        "settings": str(profile.settings),
        "changes": changes,
        "warnings": warnings,
    }


def uninstall(profile: Profile, *, dry_run: bool = False) -> dict[str, Any]:
    """Take the plugin and its settings out of a profile; returns what :func:`install` returns.

    Raises:
        OutputError: the profile cannot be written.
    """
    changes = []
    previous = read_version(profile.plugin)
    if profile.plugin.is_symlink() or profile.plugin.exists():
        changes.append(f"plugin {previous or 'of unknown version'} removed")
        if not dry_run:
            try:
                if profile.plugin.is_symlink():
                    profile.plugin.unlink()
                else:
                    shutil.rmtree(profile.plugin)
            except OSError as error:
                raise _unwritable(profile.plugin, error) from error
    old = _read_settings(profile.settings)
    new = ini.remove_value(ini.remove_value(old, *RUNTIME), *ENABLED)
    if new != old:
        changes.append("settings removed")
        if not dry_run:
            _write_settings(profile.settings, new)
    return {
        "profile": str(profile.folder),
        "plugin": str(profile.plugin),
        "version": None,
        "previous": previous,
        "settings": str(profile.settings),
        "changes": changes,
        "warnings": [],
    }


def read_version(plugin: Path) -> str | None:
    """Version of an installed plugin; None where there is none."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    with suppress(configparser.Error, UnicodeDecodeError):
        parser.read(plugin / "metadata.txt", encoding="utf-8")
    return parser.get("general", "version", fallback=None)


def _place(source: Path, target: Path, *, dry_run: bool) -> str:
    """Copy or unpack the plugin beside its place and swap it in; its version."""
    made = [] if dry_run else [p for p in target.parents if not p.exists()]
    try:
        if dry_run:
            staging = Path(tempfile.mkdtemp())
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=f".{PLUGIN}.", dir=target.parent))
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        fresh = staging / PLUGIN
        _copy(source, fresh)
        version = read_version(fresh)
        if version is None or not (fresh / "__init__.py").is_file():
            raise InputError(f"{source} is not the plugin", expected=f"{PLUGIN} with metadata.txt and __init__.py")
        if not dry_run:
            _swap(fresh, target, staging / "previous")
        made = []
        return version
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for parent in made:
            with suppress(OSError):
                parent.rmdir()


def _swap(fresh: Path, target: Path, aside: Path) -> None:
    replaced = target.exists()
    if replaced:
        target.rename(aside)
    try:
        fresh.rename(target)
    except OSError:
        if replaced:
            aside.rename(target)
        raise


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
        shutil.copytree(source, target, ignore=ignored)
        if source == shipped_plugin():
            _compile_catalogues(source.with_name("i18n.py"), target / "i18n")
        return
    try:
        with zipfile.ZipFile(source) as archive:
            _check_archive(source, archive)
            archive.extractall(target.parent)  # every name was checked
    except FileNotFoundError as error:
        raise InputError(f"there is no plugin {source}") from error
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:  # damaged, encrypted, odd compression
        raise InputError(f"{source} is not a readable zip file", found=str(error)) from error


def _compile_catalogues(tools: Path, folder: Path) -> None:
    """Translations as QGIS loads them; a source tree has only their texts."""
    functions = runpy.run_path(str(tools))
    for texts in folder.glob("*.ts"):
        texts.with_suffix(".qm").write_bytes(functions["compile_qm"](functions["read_ts"](texts)))
        texts.unlink()


def _check_archive(source: Path, archive: zipfile.ZipFile) -> None:
    """Refuse an archive that is not one folder of plain files.

    Raises:
        InputError: names that lead elsewhere, links, or more than a plugin would hold.
    """
    infos = archive.infolist()
    for info in infos:
        parts = PurePosixPath(info.filename).parts
        odd = "\\" in info.orig_filename or ":" in info.filename or ".." in parts or info.filename.startswith("/")
        if odd or not parts or parts[0] != PLUGIN or stat.S_ISLNK(info.external_attr >> 16):
            raise InputError(
                f"{source} is not the plugin's zip", found=info.filename, expected=f"plain files below {PLUGIN}/"
            )
    size = sum(info.file_size for info in infos)
    if size > MAX_BYTES or len(infos) > MAX_FILES:
        raise InputError(f"{source} is too large for a plugin", found=f"{len(infos)} files, {size} bytes")


def _read_settings(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise InputError(f"the settings {path} cannot be read", found=str(error)) from error


def _write_settings(path: Path, data: bytes) -> None:
    """Replace the settings in one step; a link is followed, rights are kept."""
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        fresh = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            if path.exists():
                shutil.copymode(path, fresh)
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written", found=str(error), hint="check the folder's permissions, and close QGIS"
    )
