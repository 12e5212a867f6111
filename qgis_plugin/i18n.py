#!/usr/bin/env python3
"""Texts of the plugin: collect them, bring the catalogues up to date, compile one to what Qt loads.

    python qgis_plugin/i18n.py            update codemae_qgis/i18n/*.ts from the sources
    python qgis_plugin/i18n.py --check    only look

Both exit with 1 where a text has no translation.

``tr("...")`` belongs to the context `codemae`, ``self.tr("...")`` to the class that it stands in, as Qt looks it up.
Qt's lupdate reads no Python and pylupdate no modern one, so both directions are done here, and tested against Qt.
"""

from __future__ import annotations

import ast
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

PLUGIN = Path(__file__).with_name("codemae_qgis")
CONTEXT = "codemae"
#: (context, text)
Key = tuple[str, str]


def texts(folder: Path = PLUGIN) -> list[Key]:
    """All texts of the sources, in order of context and text.

    Raises:
        ValueError: a call whose text is not a literal, which no catalogue could hold.
    """
    found: set[Key] = set()
    for path in sorted(folder.rglob("*.py")):
        if path.name not in ("translate.py", "words.py"):
            found.update(_calls(ast.parse(path.read_text(encoding="utf-8")), "", path))
    return sorted(found)


def _calls(node: ast.AST, name: str, path: Path) -> Iterator[Key]:
    if isinstance(node, ast.ClassDef):
        name = node.name
    if isinstance(node, ast.Call) and node.args:
        function = node.func
        alone = isinstance(function, ast.Name) and function.id == "tr"
        own = isinstance(function, ast.Attribute) and function.attr == "tr"
        if alone or own:
            text = node.args[0]
            if not (isinstance(text, ast.Constant) and isinstance(text.value, str)):
                raise ValueError(f"{path}:{node.lineno}: tr() needs a literal text")
            yield (CONTEXT if alone else name, text.value)
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, name, path)


def read_ts(path: Path) -> dict[Key, str]:
    """Translations of a catalogue."""
    found: dict[Key, str] = {}
    root = ElementTree.parse(path).getroot()  # noqa: S314 - our own file
    for context in root.iter("context"):
        for message in context.iter("message"):
            translation = message.find("translation")
            key = (context.findtext("name") or "", message.findtext("source") or "")
            found[key] = (translation.text or "") if translation is not None else ""
    return found


def write_ts(path: Path, language: str, translations: dict[Key, str]) -> None:
    """Write a catalogue; an empty translation is marked unfinished."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<!DOCTYPE TS>",
        f'<TS version="2.1" language="{language}" sourcelanguage="en">',
    ]
    for name in sorted({context for context, _ in translations}):
        lines += ["<context>", f"  <name>{escape(name)}</name>"]
        for (context, source), target in sorted(translations.items()):
            if context == name:
                lines.append(f"  <message>\n    <source>{escape(source)}</source>")
                lines.append(
                    f"    <translation>{escape(target)}</translation>"
                    if target
                    else '    <translation type="unfinished"/>'
                )
                lines.append("  </message>")
        lines.append("</context>")
    path.write_text("\n".join([*lines, "</TS>"]) + "\n", encoding="utf-8")


def compile_qm(translations: dict[Key, str]) -> bytes:
    """A catalogue as QTranslator reads it: a table of hashes into a list of tagged messages."""
    messages = bytearray()
    hashes = []
    for (context, source), target in translations.items():
        if not target:
            continue
        text = source.encode("utf-8")
        hashes.append((_elf_hash(text), len(messages)))
        wide = target.encode("utf-16-be")
        messages += struct.pack(">BI", 3, len(wide)) + wide
        for tag, part in ((8, b""), (6, text), (7, context.encode("utf-8"))):
            messages += struct.pack(">BI", tag, len(part)) + part
        messages += b"\x01"
    table = b"".join(struct.pack(">II", *entry) for entry in sorted(hashes))
    magic = bytes.fromhex("3cb86418caef9c95cd211cbf60a1bddd")  # pragma: allowlist secret
    return (
        magic + struct.pack(">BI", 0x42, len(table)) + table + struct.pack(">BI", 0x69, len(messages)) + bytes(messages)
    )


def _elf_hash(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value or 1


def main(check: bool) -> int:
    """Update or check all catalogues."""
    wanted = texts()
    missing = 0
    for path in sorted((PLUGIN / "i18n").glob("*.ts")):
        known = read_ts(path)
        updated = {key: known.get(key, "") for key in wanted}
        if not check:
            write_ts(path, path.stem.rsplit("_", 1)[1], updated)
        empty = [key for key, target in updated.items() if not target]
        for context, source in empty:
            print(f"{path.name}: {context}: {source[:90]!r} has no translation")
        gone = len(known.keys() - updated.keys())
        print(f"{path.name}: {len(updated) - len(empty)} of {len(updated)} translated, {gone} no longer used")
        missing += len(empty) + (gone if check else 0)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
