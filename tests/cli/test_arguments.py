"""How words of the command line are ordered and read."""

from __future__ import annotations

import doctest

import codemae_cli.app
import pytest
from codemae_cli.app import hoist_globals, spread_values
from codemae_cli.console import duration, rate
from codemae_cli.options import fill
from codemae_cli.parse import scene_request
from codemae_cli.show import table

from codemae_geo.errors import InputError
from codemae_geo.inference.request import RunOptions, Target


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(codemae_cli.app).failed == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["info", "a.tif"], ["info", "a.tif"]),
        (["--help"], ["--help"]),
        (["--json", "--version"], ["--json", "--version"]),
        (["--progress=json", "-q", "demo"], ["demo", "--progress=json", "-q"]),
        (["--json"], ["--json"]),
        ([], []),
    ],
)
def test_global_options_move_behind_the_command(words: list[str], expected: list[str]) -> None:
    assert hoist_globals(words) == expected


def test_values_spread_only_over_scenes() -> None:
    words = ["damage", "--pre", "a", "--post", "b", "c", "--bounds", "1", "2", "3", "4", "-o", "out"]
    assert spread_values(words) == [
        "damage", "--pre", "a", "--post", "b", "--post", "c", "--bounds", "1", "2", "3", "4", "-o", "out",
    ]  # fmt: skip
    assert spread_values(["predict", "--pre", "a", "b"]) == ["predict", "--pre", "a", "b"]


def test_scene_words() -> None:
    words = {"pre": ["a.tif"], "pre_bands": "4,3,2", "pre_unit": "dn", "pre_assets": "red, green"}
    request = scene_request({**words, "pre_stretch": "10,200", "post_bands": "1"}, "pre", "pre_")
    assert (request.bands, request.assets, request.stretch) == ([4, 3, 2], ["red", "green"], (10.0, 200.0))
    for bad in ({"bands": "0"}, {"bands": "a"}, {"unit": "furlong"}, {"stretch": "9,1"}):
        with pytest.raises(InputError):
            scene_request({"inputs": ["a.tif"], **bad}, "inputs")


def test_options_fill_fields_of_their_name() -> None:
    arguments = {"window": 256, "aoi": "area.gpkg", "json_": True}
    assert fill(RunOptions, arguments, tta=True) == RunOptions(window=256, tta=True)
    assert fill(Target, arguments) == Target(aoi="area.gpkg")


def test_how_times_and_tables_look() -> None:
    assert (duration(75), duration(3700)) == ("1:15", "1:01:40")
    assert rate(50, 100, 10) == "50/100 (50 %), 5.0/s, 0:10 left"
    assert table([("a", "1"), ("bb", "22")], ("name", "n")) == "name   n\na      1\nbb    22"
