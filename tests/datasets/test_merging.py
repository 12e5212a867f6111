"""Labels of several people in one layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
from codemae_cli.app import app
from codemae_datasets.merging import merge_labels
from shapely.geometry import Point, box
from typer.testing import CliRunner

from codemae_geo.errors import InputError, OutputError
from codemae_geo.progress import Reporter


def house(column: int, shift: float = 0.0) -> Any:
    return box(366000 + 20 * column + shift, 4103000, 366010 + 20 * column + shift, 4103010)


def write(path: Path, labels: list[tuple[Any, Any]], crs: str = "EPSG:32615") -> Path:
    frame = gpd.GeoDataFrame({"class": [c for _, c in labels]}, geometry=[s for s, _ in labels], crs="EPSG:32615")
    frame.to_crs(crs).to_file(path)
    return path


def test_the_later_file_counts_and_differences_are_told(tmp_path: Path) -> None:
    one = write(tmp_path / "one.gpkg", [(house(0), 1), (house(1), 1), (house(2), 3), (house(5), 2)])
    # the same houses a little aside and in other words; one seen alike, one otherwise, one next door
    words = [(house(0, 1), "intact"), (house(1, 2), "destroyed"), (house(2, 7), "intact"), (house(3), "damaged")]
    two = write(tmp_path / "two.geojson", words, "EPSG:4326")
    three = write(tmp_path / "three.gpkg", [(house(3).centroid, 3), (Point(366500, 4103000), 1)])
    reporter = Reporter()
    merged = merge_labels([one, two, three], tmp_path / "all.gpkg", reporter=reporter)
    assert merged.files == {"one.gpkg": 4, "two.geojson": 4, "three.gpkg": 2}
    told = [(c.before, c.before_file, c.after, c.after_file) for c in merged.conflicts]
    assert told == [
        ("intact", "one.gpkg", "destroyed", "two.geojson"),
        ("damaged", "two.geojson", "destroyed", "three.gpkg"),
    ]
    assert merged.same == 1 and [w["code"] for w in reporter.warnings] == ["conflict"]
    frame = gpd.read_file(tmp_path / "all.gpkg", layer="labels")
    found = sorted((round(p.x / 20 - 18300.25), c) for p, c in zip(frame.centroid, frame["class"], strict=True))
    assert found == [(0, 1), (1, 3), (2, 1), (2, 3), (3, 3), (5, 2), (25, 1)]
    assert sorted(frame["replaced"].dropna()) == ["damaged in two.geojson", "intact in one.gpkg"]
    assert merged.labels == {"intact": 3, "damaged": 1, "destroyed": 3}


def test_the_command(tmp_path: Path) -> None:
    one, two = (write(tmp_path / f"{n}.gpkg", [(house(0), n)]) for n in (1, 2))
    words = ["data", "merge", one, two, "-o", tmp_path / "all.gpkg", "--json", "--progress", "none"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["labels"] == {"damaged": 1} and len(result["conflicts"]) == 1


def test_what_cannot_be_merged(tmp_path: Path) -> None:
    one = write(tmp_path / "one.gpkg", [(house(0), 1)])
    odd = write(tmp_path / "odd.gpkg", [(house(0), "flooded?")])
    with pytest.raises(InputError, match="nothing to merge"):
        merge_labels([one], tmp_path / "all.gpkg")
    with pytest.raises(InputError, match="not one of damage"):
        merge_labels([one, odd], tmp_path / "all.gpkg")
    with pytest.raises(OutputError, match="one of the inputs"):
        merge_labels([one, odd], one, overwrite=True)
    with pytest.raises(OutputError, match="not replaced"):
        merge_labels([one, write(tmp_path / "two.gpkg", [(house(1), 2)])], odd)
    assert not (tmp_path / "all.gpkg").exists()
