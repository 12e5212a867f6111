"""`codemae report`: every figure is counted again from the files, and the page is opened in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import string
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from codemae_cli.app import app
from support.browser import find_browser, open_page
from typer.testing import CliRunner

from codemae_geo.errors import InputError, OutputError
from codemae_geo.progress import Reporter
from codemae_geo.report.damage import make_report
from codemae_geo.report.words import TEXTS, Words


class Reader(HTMLParser):
    """Tables as rows of texts, tags with their attributes, and all text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = "" if tag in ("script", "style") else self._open

    def handle_data(self, data: str) -> None:
        if self._open in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if self._open not in ("script", "style"):
            self.text += f"{data}\n"

    def table(self, head: str) -> list[list[str]]:
        """The rows below the head of the table whose first heading is ``head``."""
        return next(t[1:] for t in self.tables if t[0][0] == head)


def write(run: Path, page: Path, **options: Any) -> Reader:
    made = make_report(run, page, overwrite=True, **options)
    assert made.path == page
    return Reader(page.read_text(encoding="utf-8"))


def english(text: str) -> float:
    return float(text.replace(",", "").removesuffix(" %"))


def test_every_figure_is_that_of_the_files(runs: Any, tmp_path: Path) -> None:
    """Counts by SQL from the GeoPackage, areas from its polygons and from summary.json."""
    page = write(runs.out, tmp_path / "r.html")
    with sqlite3.connect(runs.out / "damage.gpkg") as db:
        counted = dict(db.execute("SELECT class_name, COUNT(*) FROM buildings GROUP BY 1").fetchall())
        drawn = dict(db.execute("SELECT name, SUM(area_m2) FROM polygons GROUP BY 1").fetchall())
        statuses = dict(db.execute("SELECT status, COUNT(*) FROM buildings GROUP BY 1").fetchall())
        sure = [v for (v,) in db.execute("SELECT confidence FROM buildings WHERE class > 0").fetchall()]
    summary = json.loads((runs.out / "summary.json").read_text())
    told = {c["name"]: c for c in summary["classes"]}
    rows = {row[0]: row[1:] for row in page.table("class")}
    found = sum(counted.get(name, 0) for name in ("intact", "damaged", "destroyed"))
    assert found > 20 and len(counted) > 2
    for name in ("intact", "damaged", "destroyed"):
        n, share, hectares, of_area = rows[name]
        assert english(n) == counted.get(name, 0) == summary["buildings"]["classes"][name]
        assert english(share) == pytest.approx(100 * counted.get(name, 0) / found, abs=0.0501)
        assert english(hectares) == pytest.approx(told[name]["area_m2"] / 1e4, abs=0.00501)
        assert english(hectares) == pytest.approx(drawn.get(name, 0) / 1e4, abs=0.00501)
        assert english(of_area) == pytest.approx(100 * told[name]["share"], abs=0.0501)
        assert re.search(rf"\n{counted.get(name, 0)}\n{name}\n", page.text), "the large figures are others"
    assert english(rows["no building"][0]) == counted.get("background", 0)
    assert english(rows["buildings found"][0]) == found
    assert english(rows["analysed"][2]) == pytest.approx(summary["analysed"]["area_m2"] / 1e4, abs=0.00501)

    facts = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    words = {"covered": "wholly analysed", "partly": "analysed in part", "nodata": "no image of one date"}
    for status, name in words.items():
        assert english(facts[name]) == statuses.get(status, 0)
    assert english(facts["footprints"]) == 121 == sum(statuses.values())
    bins = [english(row[1]) for row in page.table("confidence")]
    assert bins == [sum(v >= 0.9 for v in sure), *(sum(a <= v < b for v in sure) for a, b in
                                                  ((0.75, 0.9), (0.6, 0.75), (0.0, 0.6)))]  # fmt: skip
    assert facts["SHA-256 of the model"] == summary["model"]["sha256"]


def test_areas_are_counted_as_points_in_polygons(runs: Any, tmp_path: Path) -> None:
    page = write(runs.out, tmp_path / "r.html", zones=runs.zones)
    zones = gpd.read_file(runs.zones)
    houses = gpd.read_file(runs.out / "damage.gpkg", layer="buildings").to_crs(zones.crs)
    points = houses.set_geometry(houses.representative_point())
    joined = gpd.sjoin(points, zones, predicate="within")
    rows = {row[0]: row[1:] for row in page.table("area")}
    assert sorted(rows) == sorted(zones["NAME"])
    for name, row in rows.items():
        here = Counter(joined["class_name"][joined["NAME"] == name].fillna("none"))
        classes = [here["intact"], here["damaged"], here["destroyed"]]
        assert [english(v) for v in row[:4]] == [*classes, here["none"]]
        assert english(row[4]) == pytest.approx(100 * sum(classes[1:]) / sum(classes), abs=0.0501)
    # the quarters hold the whole map: their areas are those of the run
    made = make_report(runs.out, tmp_path / "again.html", zones=runs.zones).tables.zones
    assert made is not None
    for info in json.loads((runs.out / "summary.json").read_text())["classes"]:
        assert made[f"area_{info['name']}_m2"].sum() == pytest.approx(info["area_m2"], rel=1e-5)


def test_cells_hold_all_buildings_and_all_area(runs: Any, tmp_path: Path) -> None:
    cells = make_report(runs.out, tmp_path / "r.html", cell=17).tables.severity
    summary = json.loads((runs.out / "summary.json").read_text())
    for info in summary["classes"]:
        assert cells[f"area_{info['name']}_m2"].sum() == pytest.approx(info["area_m2"], rel=1e-9)
        assert cells[f"n_{info['name']}"].sum() == summary["buildings"]["classes"][info["name"]]
    houses = gpd.read_file(runs.out / "damage.gpkg", layer="buildings").to_crs(cells.crs)
    one = cells[cells["n_footprints"] > 1].iloc[0]
    inside = houses[houses.representative_point().within(one.geometry)]
    assert len(inside) == one["n_footprints"]
    front = inside["class"].to_numpy(float)[inside["class"].to_numpy(float) > 0]
    assert one["severity"] == pytest.approx(np.mean((front - 1) / 2), nan_ok=True)
    assert one["affected"] == pytest.approx(np.mean(front > 1), nan_ok=True)
    assert np.sqrt(one.geometry.area) == pytest.approx(17, abs=0.5)


def test_without_footprints_areas_are_counted(runs: Any, tmp_path: Path) -> None:
    page = write(runs.bare, tmp_path / "r.html", zones=runs.zones)
    summary = json.loads((runs.bare / "summary.json").read_text())
    rows = {row[0]: row[1:] for row in page.table("class")}
    for info in summary["classes"][1:]:
        assert english(rows[info["name"]][0]) == pytest.approx(info["area_m2"] / 1e4, abs=0.00501)
    assert "no footprints" in page.text and len(page.table("area")) == 4


@pytest.mark.parametrize("language", ["en", "de"])
def test_the_page_fetches_nothing_and_runs_only_its_own_script(runs: Any, tmp_path: Path, language: str) -> None:
    """Names of areas and files, limits and warnings are what anybody may have written."""
    out = tmp_path / "run"
    shutil.copytree(runs.out, out)
    summary = json.loads((out / "summary.json").read_text())
    bad = "<script>alert(3)</script><img src='https://example.org/x.png' onerror=alert(4)>\"' </style></title>"
    summary["warnings"] = [{"code": "x", "message": bad}]
    summary["device"] = summary["versions"]["numpy"] = bad
    (out / "summary.json").write_text(json.dumps(summary))
    page = write(out, tmp_path / "r.html", zones=runs.zones, language=language, title=bad)
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    names = Counter(tag for tag, _ in page.tags)
    assert names["script"] == 1 and names["link"] == names["iframe"] == names["object"] == 0
    assert names["img"] == 2 + 2 * 12, "two of the map, two of each example"
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), tag
    assert set(re.findall(r"url\((.{5})", html)) == {"data:"} and "@import" not in html
    assert page.text.count(bad) >= 3 and all(name in page.text for name in runs.names)
    assert "Only <noise>." in page.text and "pre <b>.tif" in page.text
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "content" in a)
    assert policy is not None and policy.startswith("default-src 'none'; img-src data:;")
    assert str(runs.folder) not in html, "folders of this machine say nothing to whoever gets the page"
    assert len(html) < 10e6


def test_both_languages_have_all_words() -> None:
    fields = {
        language: {key: sorted(f for _, f, _, _ in string.Formatter().parse(text) if f) for key, text in texts.items()}
        for language, texts in TEXTS.items()
    }
    assert fields["de"] == fields["en"]
    same = {key for key, text in TEXTS["de"].items() if text == TEXTS["en"][key]}
    assert same == set(), "not translated"
    assert Words("de").number(1234567.891, 2) == "1.234.567,89" and Words().number(1234567.891, 2) == "1,234,567.89"


def test_a_german_page_is_german(runs: Any, tmp_path: Path) -> None:
    page = write(runs.out, tmp_path / "r.html", zones=runs.zones, language="de")
    assert ("html", {"lang": "de"}) in page.tags
    titles = {v for k, v in TEXTS["en"].items() if "{" not in v and len(v) > 12 and k not in ("limits_source",)}
    assert not [t for t in titles if t in page.text]
    rows = {row[0]: row[1] for row in page.table("Klasse")}
    told = json.loads((runs.out / "summary.json").read_text())["buildings"]["classes"]
    assert [int(rows[name]) for name in ("unbeschädigt", "beschädigt", "zerstört")] == list(told.values())[1:]


def test_scenes_that_are_gone_or_changed_are_not_shown(runs: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(runs.out, out)
    summary = json.loads((out / "summary.json").read_text())
    summary["inputs"]["pre"]["files"] = [str(tmp_path / "moved.tif")]
    summary["inputs"]["post"]["files"] = [str(runs.pre)]  # exists, and is another file
    (out / "summary.json").write_text(json.dumps(summary))
    reporter = Reporter()
    page = write(out, tmp_path / "r.html", reporter=reporter)
    assert "moved.tif is no longer there" in page.text and "is not the one that was mapped" in page.text
    assert [w["code"] for w in reporter.warnings] == ["scene", "scene"]
    assert not any(tag == "img" for tag, _ in page.tags) and page.table("class")
    # who knows where they are now says so
    page = write(out, tmp_path / "r.html", pre=[str(runs.pre)], post=[str(runs.post)])
    assert sum(tag == "img" for tag, _ in page.tags) == 26


def test_a_table_that_was_edited_is_said_to_be(runs: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(runs.out, out)
    frame = gpd.read_file(out / "damage.gpkg", layer="buildings")
    front = frame.index[frame["class"] > 0][0]
    other = 1 if frame.loc[front, "class"] == 3 else 3
    frame.loc[front, ["class", "class_name"]] = [other, {1: "intact", 3: "destroyed"}[other]]
    frame.to_file(out / "damage.gpkg", layer="buildings", driver="GPKG")
    page = write(out, tmp_path / "r.html")
    assert "is not the one that the run wrote" in page.text
    counted = {row[0]: row[1] for row in page.table("class")}
    assert english(counted["destroyed"]) == (frame["class_name"] == "destroyed").sum()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda out: (out / "summary.json").unlink(), {}, "is not the output folder of a run"),
        (lambda out: (out / "summary.json").write_text("{}"), {}, "is not the summary of a damage run"),
        (lambda out: (out / "summary.json").write_text("["), {}, "cannot be read"),
        (lambda out: (out / "damage.gpkg").unlink(), {}, "is not whole"),
        (lambda out: (out / "damage.gpkg").write_text("x"), {}, "cannot be read"),
        (lambda out: None, {"language": "fr"}, "no report in the language"),
        (lambda out: None, {"cell": 0.1}, "smaller than a pixel"),
        (lambda out: None, {"cell": float("nan")}, "smaller than a pixel"),
        (lambda out: None, {"zone_name": "nothing"}, "have no column"),
    ],
)
def test_what_cannot_be_reported_on(
    runs: Any, tmp_path: Path, change: Callable[[Path], Any], options: dict[str, Any], message: str
) -> None:
    shutil.copytree(runs.out, tmp_path / "run")
    change(tmp_path / "run")
    with pytest.raises(InputError, match=message):
        make_report(tmp_path / "run", tmp_path / "r.html", **{"zones": runs.zones, **options})
    assert not (tmp_path / "r.html").exists()


def test_a_page_is_not_replaced_unasked(runs: Any, tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(OutputError, match="not replaced"):
        make_report(runs.out, tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == "mine"


def test_the_command(runs: Any, tmp_path: Path) -> None:
    words = ["report", runs.out, "-o", tmp_path / "r.html", "--zones", runs.zones, "--json", "--progress", "none"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["outputs"] == {"report": str(tmp_path / "r.html")}
    told = json.loads((runs.out / "summary.json").read_text())
    assert result["summary"]["classes"] == told["classes"]
    assert result["summary"]["buildings"]["classes"] == told["buildings"]["classes"]
    assert len(result["summary"]["zones"]) == 4


def test_in_a_browser(runs: Any, tmp_path: Path) -> None:
    """No complaint, no request but the page's own, the swipe follows mouse and keys, and it prints."""
    program = find_browser()
    if program is None:
        pytest.skip("Chromium is not installed")
    write(runs.out, tmp_path / "r.html", zones=runs.zones)
    with open_page(program, tmp_path / "r.html", tmp_path / "profile") as page:
        left, top, width, height = page.evaluate(
            "(r => [r.x, r.y, r.width, r.height])(document.querySelector('.frame').getBoundingClientRect())"
        )
        clip = "getComputedStyle(document.querySelector('.pane.after')).clipPath"
        assert page.evaluate(clip) == "inset(0px 0px 0px 50%)"
        y = top + height / 2
        page.drag(left + width * 0.5, y, left + width * 0.2, y)
        at = float(page.evaluate("document.querySelector('.frame input').value"))
        assert at == pytest.approx(20, abs=2)
        assert page.evaluate(clip) == f"inset(0px 0px 0px {at:g}%)"
        page.send("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", windowsVirtualKeyCode=39)
        assert float(page.evaluate("document.querySelector('.frame input').value")) > at
        shown = "[...document.querySelectorAll('.two .before .over')].map(e => getComputedStyle(e).display).join()"
        assert page.evaluate(shown) == "none,block,none"
        choose = "(s => { s.value = 'grid'; s.dispatchEvent(new Event('change')); })(document.querySelector('select'))"
        page.evaluate(choose)
        assert page.evaluate(shown) == "none,none,block"
        loaded = "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
        assert page.evaluate(loaded)
        pdf = page.pdf()
        assert page.requests() == [(tmp_path / "r.html").as_uri()]
        assert page.complaints() == []
        if folder := os.environ.get("CODEMAE_PICTURES"):  # to be looked at
            (Path(folder) / "report.png").write_bytes(page.picture())
            (Path(folder) / "report.pdf").write_bytes(pdf)
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") >= 2
