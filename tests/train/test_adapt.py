"""Few-shot adaptation: what is learnt, what is not forgotten, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import torch
from codemae_cli.app import app
from codemae_train.adapt import (
    Features,
    calibrate,
    choose_strength,
    cross_validate,
    fit,
    folds,
    forgetting,
    suggest_next,
)
from shapely.geometry import box
from support.labelled import buildings, scene
from support.towns import make_start
from typer.testing import CliRunner

from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.weights.package import (
    load_package,
    read_contract,
)

ENCODER = {"embed_dim": 32, "mlp_depth1": 1, "mlp_depth2": 1, "depth": 2, "num_heads": 2, "fpn_dim": 16, "img_size": 32}
#: a package as far as the mathematics asks
PACKAGE: Any = SimpleNamespace(
    contract=SimpleNamespace(class_table=DAMAGE_CLASSES, temperature=1.0, building_calibration=None)
)


def separable(count: int, noise: float, seed: int = 0) -> Features:
    """Buildings whose pixels say their class by one of eight dimensions, to which the start is blind."""
    generator = torch.Generator().manual_seed(seed)
    labels = np.arange(count) % 3 + 1
    pixels = []
    for label in labels:
        block = torch.randn(20, 8, generator=generator) * noise
        block[:, int(label)] += 1
        pixels.append(block)
    rest = torch.randn(500, 8, generator=generator) * 0.1
    rest[:, 7] += 3
    return Features(pixels, labels, rest, np.arange(count))


def blind() -> tuple[torch.Tensor, torch.Tensor]:
    """A classifier that calls everything intact, and the rest background."""
    weight, bias = torch.zeros(4, 8), torch.tensor([0.0, 1.0, 0.0, 0.0])
    weight[0, 7] = 2.0
    return weight, bias


def test_what_can_be_learnt_is_and_the_rest_stays() -> None:
    features, start = separable(40, 0.5), blind()
    result = cross_validate(features, start, PACKAGE, 0)
    assert result["before"]["mean_f1"] < 0.2 and result["after"]["mean_f1"] > 0.9
    assert result["interval"][0] > 0.5 and result["gain"] > 0.6 and result["ece"] < 0.15
    strength = choose_strength(features, start, PACKAGE, 0)
    assert strength < float("inf")
    assert forgetting(features.rest, start, fit(features, start, strength))["changed"] < 0.01


def test_nothing_to_learn_gains_nothing() -> None:
    """Labels drawn at random: the interval of what is measured reaches zero or below."""
    features = separable(30, 0.5)
    rng = np.random.default_rng(1)
    shuffled = Features(features.pixels, rng.permutation(features.labels), features.rest, features.fids)
    result = cross_validate(shuffled, blind(), PACKAGE, 0)
    assert result["after"]["mean_f1"] < 0.6 and result["interval"][0] < 0.25


def test_the_pull_towards_the_start() -> None:
    """The stronger it is, the less weights move; without end they do not."""
    features, start = separable(20, 0.5), blind()
    moved = [float((fit(features, start, s)[0] - start[0]).norm()) for s in (0.1, 1.0, 10.0, float("inf"))]
    assert moved[0] > moved[1] > moved[2] > moved[3] == 0


def test_few_labels_stay_near_the_earlier_calibration() -> None:
    """Ten answers, all right, do not make a model sure that was right in half of the cases; a thousand do."""
    earlier: Any = SimpleNamespace(slope=1.0, intercept=-1.0)
    sure = []
    for count in (10, 1000):
        z = np.full(count, 1.0)
        (slope, intercept), _ = calibrate(z, np.ones(count, bool), np.arange(count) % 5, earlier)
        sure.append(1 / (1 + np.exp(-(slope + intercept))))
    assert 0.5 < sure[0] < 0.75 and sure[1] > 0.9
    _, without = calibrate(np.full(10, 1.0), np.ones(10, bool), np.arange(10) % 5, None)
    assert without < 0.3


def test_folds_spread_the_classes() -> None:
    labels = np.repeat([1, 2, 3], [20, 10, 5])
    part = folds(labels, 5, 0)
    for number in range(5):
        assert np.bincount(labels[part == number], minlength=4).tolist() == [0, 4, 2, 1]


def test_suggestions_are_uncertain_and_apart() -> None:
    """Of two clusters of uncertain buildings both are visited first; labelled and certain ones never."""
    places = [(0, 0), (1, 0), (2, 0), (1000, 0), (1001, 0), (500, 500)]
    table = gpd.GeoDataFrame(
        {"confidence": [0.3, 0.31, 0.32, 0.33, np.nan, 0.99]},
        geometry=[box(500_000 + x, 4_000_000 + y, 500_000.5 + x, 4_000_000.5 + y) for x, y in places],
        crs="EPSG:32615",
    )
    found = suggest_next(table, {1}, 2)
    assert found.index.tolist()[0] == 0 and set(found.index) <= {0, 2, 3, 5} and found["rank"].tolist() == [1, 2]
    assert len(suggest_next(table, set(range(6)), 5)) == 0


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair, its buildings, 21 labelled points, and a model of random weights."""
    folder = tmp_path_factory.mktemp("event")
    scene(folder / "before.tif")
    scene(folder / "after.tif", seed=1, shift=40)
    frame = gpd.read_file(buildings(folder / "buildings.gpkg"))
    points = frame.assign(geometry=frame.centroid).to_crs("EPSG:4326")
    points.iloc[:21].to_file(folder / "labelled.geojson")
    points.iloc[:4].to_file(folder / "four.geojson")
    points.iloc[:21:3].to_file(folder / "intact.geojson")
    points.iloc[:9].assign(damage="odd").to_file(folder / "odd.geojson")
    points.iloc[:9].translate(1, 0).to_frame("geometry").assign(damage=1).to_file(folder / "far.geojson")
    frame.drop(columns="geometry").to_csv(folder / "table.csv")
    make_start(folder / "start.safetensors")
    return folder


def invoke(town: Path, labels: str, out: Path, *more: object) -> Any:
    arguments = ["--pre", town / "before.tif", "--post", town / "after.tif", "--footprints", town / "buildings.gpkg"]
    arguments += ["--labels", town / labels, "--model", town / "start.safetensors", "-o", out, *more]
    result = CliRunner().invoke(app, ["adapt", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_an_event_from_labels_to_map(town: Path, tmp_path: Path) -> None:
    done = invoke(town, "labelled.geojson", tmp_path / "out", "--json", "--suggest", 5)
    assert done.exit_code == 0, done.stderr
    report, saved = json.loads(done.stdout), json.loads((tmp_path / "out/adapt.json").read_text())
    assert report["labels"] == saved["labels"] == {"intact": 7, "damaged": 7, "destroyed": 7}
    assert len(report["interval"]) == 2 and report["forgetting"]["changed"] <= 0.05
    assert (report["strength"] is None) or report["gain"] > 0
    contract = read_contract(tmp_path / "out/model.safetensors")
    assert contract.name == "start-adapted" and contract.building_calibration is not None
    assert contract.building_calibration.slope == report["calibration"][0]
    one, other = (load_package(p).module.state_dict() for p in (town / "start.safetensors", Path(report["package"])))
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    assert changed <= {"clf_2.weight", "clf_2.bias"}
    assert len(gpd.read_file(tmp_path / "out/suggested.gpkg")) == 5
    assert len(gpd.read_file(tmp_path / "out/map/damage.gpkg", layer="buildings")) == 64
    again = invoke(town, "labelled.geojson", tmp_path / "out")
    assert again.exit_code == 1 and "Traceback" not in again.stderr


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ("four.geojson", ["too few labelled buildings", "4 with", "5 at least"]),
        ("intact.geojson", ["of one class", "7 intact"]),
        ("odd.geojson", ["'odd'", "intact, damaged, destroyed"]),
        ("far.geojson", ["lies on a footprint"]),
        ("gone.geojson", ["gone.geojson"]),
        ("table.csv", ["table.csv", "geometry"]),
    ],
)
def test_bad_labels_get_one_message(town: Path, tmp_path: Path, labels: str, words: list[str]) -> None:
    done = invoke(town, labels, tmp_path / "out")
    assert done.exit_code == 1 and all(word in done.stderr for word in words), done.stderr
    assert not (tmp_path / "out").exists()
