#!/usr/bin/env python3
"""Build the plugin's zip and hold it against the hard rules of plugins.qgis.org.

    python qgis_plugin/build_zip.py [-o dist]         prints the file, or the broken rules and exits with 1

The catalogues are compiled on the way. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import configparser
import re
import sys
import zipfile
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).parent))
from i18n import compile_qm, read_ts, texts

PLUGIN = Path(__file__).with_name("codemae_qgis")
MOST_BYTES = 25_000_000
REQUIRED = ("name", "description", "version", "qgisMinimumVersion", "author", "email", "about", "tracker", "repository")
URLS = ("tracker", "repository", "homepage")
FORBIDDEN_PARTS = ("__pycache__", ".git", "__MACOSX", "..")
FORBIDDEN_ENDINGS = (".pyc", ".exe", ".dll", ".so", ".dylib", ".pyd", ".sh", ".bat", ".cmd", ".zip", ".whl")
#: compiled catalogues are the only files that are not text
BINARY_ENDINGS = (".qm",)
LEFT_OUT = ("__pycache__", ".ts")


def build(folder: Path) -> Path:
    """Write the zip into ``folder`` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{PLUGIN.name}-{metadata(PLUGIN / 'metadata.txt')['version']}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(PLUGIN.rglob("*")):
            name = path.relative_to(PLUGIN.parent).as_posix()
            if path.is_dir() or any(part in LEFT_OUT or part.startswith(".") for part in path.parts[-4:]):
                continue
            if path.suffix == ".ts":
                _add(archive, name[:-3] + ".qm", compile_qm(read_ts(path)))
            elif path.suffix != ".pyc":
                _add(archive, name, path.read_bytes())
        english = compile_qm({key: key[1] for key in texts()})
        _add(archive, f"{PLUGIN.name}/i18n/{PLUGIN.name}_en.qm", english)
    return target


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


def metadata(path: Path) -> dict[str, str]:
    """The general section of metadata.txt."""
    return _parse(path.read_text(encoding="utf-8"))


def _parse(text: str) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return dict(parser["general"]) if parser.has_section("general") else {}


def broken_rules(path: Path) -> list[str]:
    """Rules of the repository that a zip breaks, in words."""
    found = []
    if path.stat().st_size > MOST_BYTES:
        found.append(f"the zip has {path.stat().st_size} bytes, more than {MOST_BYTES}")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        tops = {PurePosixPath(name).parts[0] for name in names}
        if len(tops) != 1:
            return [*found, f"the zip has several top folders: {', '.join(sorted(tops))}"]
        top = tops.pop()
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", top) or "plugin" in top.lower() or top == "codemae_geo":
            found.append(f"the folder {top} is no identifier, says plugin, or has the toolkit's name")
        for needed in ("__init__.py", "metadata.txt", "LICENSE", "README.md"):
            if f"{top}/{needed}" not in names:
                found.append(f"{needed} is missing")
        for info in archive.infolist():
            found += _broken_by_file(info, archive.read(info))
        if f"{top}/metadata.txt" in names:
            fields = _parse(archive.read(f"{top}/metadata.txt").decode("utf-8"))
            found += _broken_by_metadata(fields, names, top)
    return found


def _broken_by_file(info: zipfile.ZipInfo, data: bytes) -> list[str]:
    name = info.filename
    parts = PurePosixPath(name).parts
    found = []
    if any(part in FORBIDDEN_PARTS for part in parts) or "\\" in name or name.startswith("/"):
        found.append(f"{name}: not allowed in a plugin")
    if any(part.startswith(".") for part in parts):
        found.append(f"{name}: hidden file")
    if name.lower().endswith(FORBIDDEN_ENDINGS):
        found.append(f"{name}: no binaries and no scripts")
    if (info.external_attr >> 16) & 0o111 and not info.is_dir():
        found.append(f"{name}: executable")
    if not name.endswith(BINARY_ENDINGS):
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            found.append(f"{name}: not a text file")
    return found


def _broken_by_metadata(fields: dict[str, str], names: list[str], top: str) -> list[str]:
    found = [f"metadata.txt has no {key}" for key in REQUIRED if not fields.get(key, "").strip()]
    found += [f"{key} is no web address" for key in URLS if not re.fullmatch(r"https?://\S+", fields.get(key, ""))]
    if "/" in fields.get("author", ""):
        found.append("the author has a slash")
    if not re.fullmatch(r"\d+\.\d+(\.\d+)?([-.]?(alpha|beta|rc)\d*)?", fields.get("version", "")):
        found.append("the version is no version")
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", fields.get("email", "")):
        found.append("the email is no address")
    if not fields.get("qgisMaximumVersion", "").startswith("4."):
        found.append("without qgisMaximumVersion=4.99 the plugin is hidden in QGIS 4")
    if "plugin" in fields.get("name", "").lower():
        found.append("the name says plugin")
    if f"{top}/{fields.get('icon', '')}" not in names:
        found.append("the icon is missing")
    if "external" not in fields.get("about", "").lower():
        found.append("about does not name the external dependency")
    return found


def main() -> int:
    """Build and check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("dist"))
    path = build(parser.parse_args().output)
    found = broken_rules(path)
    for rule in found:
        print(rule, file=sys.stderr)
    print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
