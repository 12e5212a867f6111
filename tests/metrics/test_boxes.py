"""COCO's metrics against ``shared/reference`` section 9."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codemae_geo.errors import ModelError
from codemae_geo.metrics.boxes import box_metrics

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
