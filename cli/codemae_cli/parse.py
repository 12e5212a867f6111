"""Words of the command line as values of the library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from codemae_geo.errors import InputError
from codemae_geo.sensors import Unit
from codemae_geo.texts import read_text

if TYPE_CHECKING:
    from codemae_geo.inference.request import SceneRequest


def scene_request(arguments: Mapping[str, Any], paths: str, prefix: str = "") -> SceneRequest:
    """The options of one scene.

    Args:
        arguments: what the command was called with.
        paths: name of the argument that holds the rasters.
        prefix: ``pre_`` or ``post_`` where there are two scenes; options that the command lacks keep their defaults.

    Raises:
        InputError: a word that is no band, unit or stretch.
    """
    from codemae_geo.inference.request import SceneRequest

    def given(name: str, default: Any) -> Any:
        return arguments.get(prefix + name, default)

    unit, bands, assets = given("unit", "auto"), given("bands", None), given("assets", None)
    units: tuple[Any, ...] = ("auto", *get_args(Unit))
    if unit not in units:
        raise InputError(f"there is no unit {unit!r}", expected=", ".join(units))
    return SceneRequest(
        list(arguments[paths]),
        bands=None if bands is None else _bands(bands),
        src_crs=arguments.get("src_crs"),
        nodata=given("nodata", None),
        unit=unit,
        assets=None if assets is None else [a.strip() for a in assets.split(",")],
        stretch=_stretch(given("stretch", "auto")),
        gcps=arguments.get("gcps", "tps"),
    )


def _bands(text: str) -> list[int]:
    try:
        bands = [int(b) for b in text.split(",")]
    except ValueError:
        bands = []
    if not bands or min(bands) < 1:
        raise InputError(f"{text!r} names no bands", expected="numbers from 1, such as 4,3,2")
    return bands


def _stretch(text: str) -> str | tuple[float, float]:
    if text in ("auto", "minmax"):
        return text
    try:
        low, high = (float(v) for v in text.split(","))
    except ValueError:
        raise InputError(f"unknown stretch {text!r}", expected="auto, minmax, or LOW,HIGH") from None
    if not low < high:
        raise InputError("the stretch is empty", found=text, expected="LOW below HIGH")
    return low, high


def class_entries(text: str) -> list[Any]:
    """``a,b,c`` as names, and a JSON file as what it holds.

    Raises:
        InputError: the file is no JSON list.
    """
    if not text.lower().endswith(".json"):
        return [name.strip() for name in text.split(",")]
    try:
        entries = json.loads(read_text(Path(text), "utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the class table {text} cannot be read", found=str(error), expected="a JSON file") from error
    if not isinstance(entries, list):
        raise InputError(
            f"the class table {text} is not a list", expected='[{"value": 0, "name": "dry", "background": true}, ...]'
        )
    return entries


def class_values(text: str) -> dict[str, Any]:
    """``water=1,wood=2`` by name; numbers as numbers.

    Raises:
        InputError: an entry without a name or a value.
    """
    found: dict[str, Any] = {}
    for entry in text.split(","):
        name, _, value = (part.strip() for part in entry.partition("="))
        if not name or not value:
            raise InputError(f"{entry!r} names no class and value", expected="NAME=VALUE,NAME=VALUE,...")
        found[name] = int(value) if value.lstrip("-").isdigit() else value
    return found


def numbers(text: str, what: str, example: str) -> tuple[float, ...]:
    """Numbers by commas.

    Raises:
        InputError: something else.
    """
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise InputError(
            f"{text!r} cannot be read as {what}", expected=f"numbers by commas, such as {example}"
        ) from None
