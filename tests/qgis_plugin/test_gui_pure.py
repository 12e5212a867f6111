"""The parts of the plugin's panel that need no QGIS: which layer is which, and whose turn it is."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

PLUGIN = Path(__file__).resolve().parents[2] / "qgis_plugin"


@pytest.fixture(scope="module")
def gui() -> Iterator[SimpleNamespace]:
    """The modules, with the plugin's folder on the path only here."""
    sys.path.insert(0, str(PLUGIN))
    try:
        from codemae_qgis.gui import guess, queue

        yield SimpleNamespace(guess=guess, queue=queue)
    finally:
        sys.path.remove(str(PLUGIN))


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (["pre", "post"], (0, 1)),
        (["post", "pre"], (1, 0)),
        (["joplin_post_disaster", "joplin_pre_disaster"], (1, 0)),
        (["Scene Before", "Scene After"], (0, 1)),
        (["PostEvent", "PreEvent"], (1, 0)),
        (["20230210_capella", "2022-11-03 optical"], (1, 0)),
        (["scene 22 May 2011", "scene 3 Aug 2009"], (1, 0)),
        (["2021", "2019"], (1, 0)),
        (["a", "b", "c"], (0, 1)),
        (["a"], (0, None)),
        (["after_storm"], (None, 0)),
        ([], (None, None)),
        # a result of an earlier run is nobody's scene
        (["damage", "confidence", "post", "pre"], (3, 2)),
        (["damage", "post_a"], (None, 1)),
        # two towns: the pair belongs together
        (["haiti_pre", "joplin_post", "joplin_pre"], (2, 1)),
        # only one side is named: the partner is on the right side in time
        (["post_20110522", "x_20140101", "x_20090803"], (2, 0)),
        (["pre_20110522", "x_20090803", "x_20140101"], (0, 2)),
        (["pre_a", "pre_b"], (0, 1)),
        # neither "prefecture" nor "poster" is a date
        (["prefecture", "poster"], (0, 1)),
    ],
)
def test_guesses_by_word_then_date_then_order(gui: SimpleNamespace, names: list[str], pair: tuple[int, int]) -> None:
    assert gui.guess.guess_pair([gui.guess.Candidate(n) for n in names]) == pair


def test_a_layers_own_name_outweighs_its_files(gui: SimpleNamespace) -> None:
    candidates = [gui.guess.Candidate("after", "pre_mosaic"), gui.guess.Candidate("other", "scene")]
    assert gui.guess.guess_pair(candidates) == (1, 0)


@given(st.lists(st.text("preostafbi_ 0129-", max_size=14), max_size=6))
def test_never_the_same_layer_twice(gui: SimpleNamespace, names: list[str]) -> None:
    before, after = gui.guess.guess_pair([gui.guess.Candidate(n) for n in names])
    assert before is None or before != after
    assert {before, after} <= {None, *range(len(names))}
    if len(names) > 1:
        assert None not in (before, after) or any(gui.guess.RESULT & set(gui.guess.words(n)) for n in names)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("20110522", date(2011, 5, 22)),
        ("S1A_IW_GRDH_1SDV_20230210T033445", date(2023, 2, 10)),
        ("22.05.2011", date(2011, 5, 22)),
        ("2011-05", date(2011, 5, 1)),
        ("2011-02-30 then 2012-01-31", date(2012, 1, 31)),
        ("tile_1024_20480", None),
        ("12 apples 2011", date(2011, 1, 1)),
    ],
)
def test_dates_in_names(gui: SimpleNamespace, text: str, when: date | None) -> None:
    assert gui.guess.find_date(text) == when


class Recorder:
    """A queue whose runs start and end on command; every change is written down."""

    def __init__(self, gui: SimpleNamespace) -> None:
        self.states = gui.queue.State
        self.log: list[tuple[int, str]] = []
        self.stopped: list[int] = []
        self.broken: set[int] = set()
        self.queue = gui.queue.RunQueue(
            self.start, self.stop, lambda run: self.log.append((run.number, run.state.value))
        )

    def start(self, run: Any) -> None:
        if run.number in self.broken:
            raise OSError("no such file")

    def stop(self, run: Any) -> None:
        self.stopped.append(run.number)
        self.queue.finish(run, self.states.CANCELLED)


def test_second_run_waits_for_the_first(gui: SimpleNamespace) -> None:
    made = Recorder(gui)
    first, second = made.queue.add("a", {"x": 1}), made.queue.add("b", {})
    assert (first.state.value, second.state.value) == ("running", "waiting")
    made.queue.finish(first, made.states.DONE, results={"n": 3})
    assert (first.state.value, second.state.value) == ("done", "running")
    assert first.results == {"n": 3}
    made.queue.finish(second, made.states.FAILED, "disk full")
    assert made.log == [
        (1, "waiting"),
        (1, "running"),
        (2, "waiting"),
        (1, "done"),
        (2, "running"),
        (2, "failed"),
    ]
    made.queue.forget_finished()
    assert made.queue.runs == []
    assert made.queue.add("c", {}).number == 3


def test_parameters_are_those_of_the_click(gui: SimpleNamespace) -> None:
    made = Recorder(gui)
    asked = {"PRE": "a.tif"}
    made.queue.add("a", {})
    run = made.queue.add("b", asked)
    asked["PRE"] = "other.tif"
    assert run.parameters == {"PRE": "a.tif"}


def test_cancelling_all_starts_none_in_between(gui: SimpleNamespace) -> None:
    made = Recorder(gui)
    runs = [made.queue.add(str(i), {}) for i in range(3)]
    made.queue.cancel_all()
    assert [r.state.value for r in runs] == ["cancelled"] * 3
    assert made.stopped == [1]
    assert (2, "running") not in made.log and (3, "running") not in made.log


def test_cancelling_one_that_waits_leaves_the_others(gui: SimpleNamespace) -> None:
    made = Recorder(gui)
    first, second, third = (made.queue.add(str(i), {}) for i in range(3))
    made.queue.cancel(second)
    made.queue.finish(first, made.states.DONE)
    assert third.state.value == "running" and made.stopped == []
    made.queue.finish(first, made.states.FAILED)  # a late word about a finished run changes nothing
    assert first.state.value == "done" and made.queue.running is third


def test_a_run_that_cannot_start_does_not_hold_up_the_next(gui: SimpleNamespace) -> None:
    made = Recorder(gui)
    made.broken = {1, 2}
    first = made.queue.add("a", {})
    second, third = made.queue.add("b", {}), made.queue.add("c", {})
    assert (first.state.value, first.message) == ("failed", "no such file")
    assert second.state.value == "failed" and third.state.value == "running"


def test_the_guide_quotes_messages_that_the_plugin_gives() -> None:
    sources = [ast.parse(p.read_text()) for p in (PLUGIN / "codemae_qgis").rglob("*.py")]
    said = " ".join(
        node.value
        for source in sources
        for node in ast.walk(source)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    guide = (PLUGIN.parent / "docs" / "qgis.md").read_text().split("## Troubleshooting")[1]
    rows = [row for row in guide.splitlines() if row.startswith("| ") and not row.startswith("| ---")]
    quoted = [row.split("|")[1].strip() for row in rows[1:]]
    assert len(quoted) > 10
    for message in quoted:
        parts = [part.strip(" .") for part in message.split("...")]
        assert not [part for part in parts if part.lower() not in said.lower()], message
