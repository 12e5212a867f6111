#!/usr/bin/env python3
"""All Qt names that the plugin uses exist in Qt 6, looked up in PyQt6 itself.

    uv run --no-project --isolated --with PyQt6 python qgis_plugin/check_qt6.py [FOLDER]     exits with 1 on a problem

QGIS 4 cannot be installed everywhere; most of what breaks a plugin there are unscoped enumerations and moved names.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PLUGIN = Path(__file__).with_name("codemae_qgis")
SHIM = "qgis.PyQt"
#: methods of Qt 5 that are gone, whatever they are called on
GONE = ("exec_", "print_", "toPyObject", "setCodec")
#: modules and names that plugins for both must not touch
OUTSIDE = ("PyQt5", "PyQt6", "sip")


def problems(folder: Path) -> list[str]:
    """Names that Qt 6 does not have, with file and line."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [f"{path.name}:{line}: {text}" for line, text in _of_file(tree)]
    return found


def _of_file(tree: ast.AST) -> Iterator[tuple[int, str]]:
    names: dict[str, Any] = {}
    optional = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and any(_is_import_error(h) for h in node.handlers)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module.split(".")[0] in OUTSIDE:
                yield node.lineno, f"{node.module}: import through {SHIM}"
            if node.module.startswith(SHIM):
                module = importlib.import_module("PyQt6" + node.module[len(SHIM) :])
                for alias in node.names:
                    if hasattr(module, alias.name):
                        names[alias.asname or alias.name] = getattr(module, alias.name)
                    elif id(node) not in optional:
                        yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in OUTSIDE:
                    yield node.lineno, f"{alias.name}: import through {SHIM}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if node.attr in GONE:
                yield node.lineno, f".{node.attr} is gone"
            missing = _missing(node, names)
            if missing:
                yield node.lineno, missing


def _is_import_error(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.type, ast.Name) and handler.type.id in ("ImportError", "ModuleNotFoundError")


def _missing(node: ast.Attribute, names: dict[str, Any]) -> str:
    """The dotted name, if it begins with a Qt class and its last part does not exist there."""
    parts = [node.attr]
    inner: ast.expr = node.value
    while isinstance(inner, ast.Attribute):
        parts.insert(0, inner.attr)
        inner = inner.value
    if not isinstance(inner, ast.Name) or inner.id not in names:
        return ""
    value = names[inner.id]
    for part in parts[:-1]:
        if not hasattr(value, part):
            return ""  # reported at the inner attribute
        value = getattr(value, part)
    return "" if hasattr(value, parts[-1]) else ".".join([inner.id, *parts])


def main() -> int:
    """Look and report."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PLUGIN
    found = problems(folder)
    for line in found:
        print(line)
    print(f"{folder.name}: {len(found)} names that Qt 6 does not have")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
