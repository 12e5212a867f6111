"""One voice of errors: what every message of our packages looks like, read from the sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("codemae_geo", "datasets/codemae_datasets", "train/codemae_train", "cli/codemae_cli")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
#: parts of an error, and where a positional argument stands
SLOTS = ("message", "found", "expected", "hint")
#: words that are written with a capital wherever they stand
PROPER = {"Polygon"}


def texts(node: ast.expr | None) -> Iterator[str]:
    """The texts that an expression may become; what is filled in stands as ``{}``.

    >>> list(texts(ast.parse("f'{a} is' + ' here' if b else 'gone'", mode="eval").body))
    ['{} is here', 'gone']
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from texts(value)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield from (a + b for a in list(texts(node.left)) or ["{}"] for b in list(texts(node.right)) or ["{}"])


def spoken(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """(line, part, text) of every exception that is made, every warning, and every dictionary with a message."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            parts = {k.value: v for k, v in zip(node.keys, node.values, strict=True) if isinstance(k, ast.Constant)}
            said = [(s, parts[s]) for s in SLOTS if s in parts] if "message" in parts else []
        elif isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            words = {k.arg: k.value for k in node.keywords if k.arg}
            said = [(s, words[s]) for s in SLOTS if s in words] if {"hint", "expected"} & set(words) else []
            if name.endswith("Error") or said:
                said += [("message", a) for a in node.args[:1]]
            elif name in ("warning", "log", "warn"):
                said += [("message", a) for a in node.args[-1:]]
        else:
            continue
        for slot, value in said:
            for text in texts(value):
                yield node.lineno, slot, text


def wrong(text: str) -> str | None:
    """What is wrong with a text.

    >>> wrong("The scene is gone"), wrong("the scene is gone."), wrong("STAC items differ"), wrong("see 1, 2, ...")
    ('begins with a capital', 'ends with a full stop', None, None)
    """
    first = re.match(r"[A-Z][a-z]*(?![A-Za-z0-9_.=])", text)
    if first and first.group() not in PROPER:
        return "begins with a capital"
    if text.endswith(".") and not text.endswith(".."):
        return "ends with a full stop"
    return None


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_one_voice(path: Path) -> None:
    said = spoken(ast.parse(path.read_text(encoding="utf-8")))
    found = [f"line {line}, {slot}: {text!r} {wrong(text)}" for line, slot, text in said if wrong(text)]
    assert not found, "\n".join(found)


def test_the_voice_is_heard() -> None:
    """The check sees what it is for: messages, hints, warnings and messages in dictionaries."""
    source = (
        "raise InputError(f'The {x} is gone', hint='look here.')\n"
        "reporter.warning('code', 'A thing' if a else 'a thing')\n"
        "return {'error': {'message': 'It is bad'}}\n"
    )
    heard = {text for _, _, text in spoken(ast.parse(source)) if wrong(text)}
    assert heard == {"look here.", "The {} is gone", "A thing", "It is bad"}
    assert sum(1 for path in FILES for _ in spoken(ast.parse(path.read_text(encoding="utf-8")))) > 700
