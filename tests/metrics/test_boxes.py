"""COCO's metrics against ``shared/reference`` section 9."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codemae_geo.errors import ModelError
from codemae_geo.metrics.boxes import box_metrics, scene_metrics

NAMES = ["ship", "plane", "tank"]


def by_image(rows: list[dict[str, Any]], images: int, keys: dict[str, str]) -> list[dict[str, Any]]:
    result = []
    for number in range(1, images + 1):
        here = [r for r in rows if r["image_id"] == number]
        boxes = np.array([r["bbox"] for r in here], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        image: dict[str, Any] = {"boxes": boxes, "labels": [r["category_id"] for r in here]}
        result.append(image | {ours: [r[theirs] for r in here] for ours, theirs in keys.items()})
    return result


def test_numbers(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads((shared / "reference" / "detection_coco_metrics.json").read_text())
    images = len(data["images"])
    truth = by_image(data["annotations"], images, {"crowd": "iscrowd", "area": "area"})
    found = by_image(data["detections"], images, {"scores": "score", "area": "area"})
    metrics = box_metrics(truth, found, NAMES)
    assert metrics.map == pytest.approx(data["mAP"], abs=1e-9)
    assert metrics.map50 == pytest.approx(data["mAP50"], abs=1e-9)
    assert metrics.map75 == pytest.approx(data["mAP75"], abs=1e-9)
    sizes = [math.nan if v == -1 else v for v in data["mAP_small_medium_large"]]
    assert list(metrics.by_size.values()) == pytest.approx(sizes, abs=1e-9, nan_ok=True)
    assert list(metrics.recall.values()) == pytest.approx(data["AR_1_10_100"], abs=1e-9)
    assert list(metrics.ap.values()) == pytest.approx(data["AP_per_class"], abs=1e-9)
    assert list(metrics.ap50.values()) == pytest.approx(data["AP50_per_class"], abs=1e-9)
    assert capsys.readouterr().out == ""


def test_nothing_found_perfect_and_another_number_of_images() -> None:
    truth = [{"boxes": [[0, 0, 10, 10]], "labels": [1]}, {"boxes": [], "labels": []}]
    nothing: dict[str, list[Any]] = {"boxes": [], "labels": [], "scores": []}
    assert box_metrics(truth, [nothing, nothing], NAMES).map == 0
    right = box_metrics(truth, [{**truth[0], "scores": [0.9]}, nothing], NAMES)
    assert right.map == right.ap["ship"] == pytest.approx(1)
    assert math.isnan(right.ap["tank"])
    with pytest.raises(ModelError, match="different images"):
        box_metrics(truth, [nothing], NAMES)


@pytest.mark.parametrize("seed", range(3))
def test_a_scene_in_groups_has_the_figures_of_one_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    low = random.uniform(0, 400, (60, 2))
    boxes = np.concatenate([low, low + random.uniform(5, 120, (60, 2))], 1)
    truth = {"boxes": boxes, "labels": random.integers(1, 4, 60), "crowd": (random.random(60) < 0.1).astype(int)}
    moved = boxes[random.integers(0, 60, 90)] + random.normal(0, 5, (90, 4))
    found = {"boxes": moved, "labels": random.integers(1, 4, 90), "scores": random.permutation(90) / 90}
    one, scene = box_metrics([truth], [found], NAMES), scene_metrics(truth, found, NAMES)
    for name in ("map", "map50", "map75", "by_size", "ap", "ap50", "f1", "threshold"):
        assert getattr(scene, name) == pytest.approx(getattr(one, name), nan_ok=True), name
    nothing = {"boxes": np.empty((0, 4)), "labels": np.empty(0, int), "scores": np.empty(0)}
    assert scene_metrics(truth, nothing, NAMES).map == 0
    assert math.isnan(scene_metrics(nothing, nothing, NAMES).map)


def test_the_best_score_is_where_f1_is_highest() -> None:
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]]
    truth = [{"boxes": boxes[:3], "labels": [1, 1, 1]}]
    found = [{"boxes": [*boxes[:2], boxes[3], boxes[2]], "labels": [1] * 4, "scores": [0.9, 0.8, 0.6, 0.3]}]
    metrics = box_metrics(truth, found, NAMES)
    # two of two found are right: 4/5; all four with one wrong: 6/7
    assert (metrics.f1, metrics.threshold) == pytest.approx((6 / 7, 0.3))
    found[0]["scores"][3] = 0.01
    found[0]["boxes"][3] = [200, 0, 210, 10]
    assert box_metrics(truth, found, NAMES).threshold == pytest.approx(0.8)
