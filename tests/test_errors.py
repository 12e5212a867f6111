"""One voice of errors: what every message of our packages looks like, read from the sources."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from codemae_cli.app import app
from codemae_cli.spelling import Spelling

from codemae_geo.errors import InputError, OutputError, param
from codemae_geo.progress import Reporter

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


LIBRARY = [path for path in FILES if not path.is_relative_to(ROOT / "cli")]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_library_speaks_no_command_line(path: Path) -> None:
    """No text of the library spells an option: a message marks the parameter, and each face spells it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    strings = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    found = [f"line {n.lineno}: {m[0]}" for n in strings for m in re.finditer(r"(?<![\w|-])--([a-z][\w-]*|$)", n.value)]
    assert not found, "\n".join(found)


def test_each_face_spells_parameters_its_own_way() -> None:
    error = InputError(
        f"no {param('res')}", found=param("sensor", "sar"), hint=f"see {param('nodata', 0)}", option="sensor"
    )
    assert str(error) == "no res\n  found:    sensor=sar\nhint: see nodata=0"
    assert (error.message, error.found, error.expected) == ("no res", "sensor=sar", None)
    assert error.params() == ["res", "sensor", "nodata"]

    damage = Spelling(typer.main.get_command(app).commands["damage"].params)  # type: ignore[attr-defined]
    assert error.text(damage).splitlines() == [
        "no --res",
        "  found:    --post-sensor sar",
        "hint: see --pre-nodata 0 or --post-nodata 0",
    ]
    predict = Spelling(typer.main.get_command(app).commands["predict"].params)  # type: ignore[attr-defined]
    assert error.told(predict)["hint"] == "see --nodata 0"
    assert predict("output", None) == "--output" and predict("model", "a b") == "MODEL 'a b'"


def test_an_error_keeps_its_texts_across_processes() -> None:
    error = OutputError(f"no {param('out')}", hint="h", option="out")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is OutputError and copy.raw == error.raw and copy.option == "out" and str(copy) == str(error)


def test_a_warning_names_its_parameter() -> None:
    reporter = Reporter()
    reporter.warning("nodata", f"say {param('nodata', 0)}", "nodata")
    reporter.speak = Spelling()
    reporter.warning("gsd", f"choose another {param('res')}")
    assert reporter.warnings == [
        {"code": "nodata", "message": "say nodata=0", "option": "nodata"},
        {"code": "gsd", "message": "choose another --res"},
    ]
