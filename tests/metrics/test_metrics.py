"""Figures of maps, features and confidences against the published programs' numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from codemae_geo.metrics import calibration, features, maps

NAMES = ["background", "intact", "damaged", "destroyed"]


@pytest.fixture(scope="module")
def down(shared: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    reference = shared / "reference"
    numbers = json.loads((reference / "downstream_metrics.json").read_text())
    return load_file(reference / "downstream_metrics.safetensors"), numbers


def test_segmentation_figures(down: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
    data, numbers = down
    listed = numbers["seg"]
    score = maps.MapScore([f"class {i}" for i in range(6)])
    for truth, found in zip(data["seg.label"], data["seg.pred"], strict=True):
        score.add(truth, found)
    figures = score.figures()
    per_class = figures["per_class"].values()
    assert [c["iou"] for c in per_class] == [None if v is None else pytest.approx(v) for v in listed["IoU"]]
    assert [c["recall"] for c in per_class] == [None if v is None else pytest.approx(v) for v in listed["Acc"]]
    assert [c["f1"] for c in per_class] == [None if v is None else pytest.approx(v) for v in listed["Dice"]]
    assert [c["pixels"] for c in per_class] == listed["label_pixels"]
    assert figures["miou"] == pytest.approx(listed["mIoU_absent_class_left_out"])
    assert figures["miou_absent_zero"] == pytest.approx(numbers["seg_bright_style_mIoU_absent_class_is_zero"])
    assert figures["macc"] == pytest.approx(listed["mAcc"])
    assert figures["accuracy"] == pytest.approx(listed["aAcc_OA"])
    assert figures["mf1"] == pytest.approx(listed["mFscore"])
    assert figures["absent"] == ["class 5"]


def test_geonrw_ignores_its_first_class(down: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
    data, numbers = down
    table = maps.confusion(data["geonrw.label"], data["geonrw.pred"], 11, ignore=0)
    values = maps.iou(table)
    assert maps.mean(values[1:]) == pytest.approx(numbers["geonrw_mean_IoU_classes_1_to_10_own_formula"])
    zeroed = np.where(np.arange(11) == 0, 0.0, values)
    assert maps.mean(zeroed, "zero") == pytest.approx(numbers["geonrw_mean_over_11_with_class_0_counted_0"])


@pytest.mark.parametrize("case", ["all", "void", "no_class2"])
def test_damage_figures(shared: Path, case: str) -> None:
    data = load_file(shared / "reference" / "bright_loss_metrics.safetensors")
    numbers = json.loads((shared / "reference" / "bright_loss_metrics.json").read_text())[case]["metrics"]
    labels, found = data[f"labels_{case}"], data["damage_logits"].argmax(1)
    building = torch.where(labels == 255, 255, (labels > 0).long())
    damage = maps.confusion(labels, found, 4)
    localisation = maps.confusion(building, data["loc_logits"].argmax(1), 2)
    assert damage.tolist() == numbers["confusion_total"]
    assert localisation.tolist() == numbers["confusion_loc"]
    figures = maps.bright_figures(damage, localisation, NAMES)
    expected = {
        "miou": "miou",
        "localisation_f1": "loc_f1",
        "harmonic_mean": "harmonic_mean_f1",
        "accuracy": "overall_accuracy",
        "kappa": "kappa",
        "fwiou": "fwiou",
        "mean_class_accuracy": "mean_class_accuracy",
    }
    for ours, theirs in expected.items():
        assert figures[ours] == pytest.approx(numbers[theirs], rel=1e-7), ours
    assert list(figures["damage_f1"].values()) == pytest.approx(numbers["damage_f1_per_class"], rel=1e-9)
    assert list(figures["iou"].values()) == pytest.approx(numbers["iou_per_class"], rel=1e-9)


def test_damage_gated_by_localisation(shared: Path) -> None:
    data = load_file(shared / "reference" / "bright_loss_metrics.safetensors")
    numbers = json.loads((shared / "reference" / "bright_loss_metrics.json").read_text())
    listed = numbers["all"]["metrics_damage_gated_by_loc"]
    gated = data["damage_logits"].argmax(1) * data["loc_logits"].argmax(1)
    table = maps.confusion(data["labels_all"], gated, 4)
    assert table.tolist() == listed["confusion"]
    assert maps.bright_iou(table).mean() == pytest.approx(listed["miou"], rel=1e-9)


def test_building_figures() -> None:
    truth, found = np.array([1, 1, 1, 3, 3, 1]), np.array([1, 1, 3, 3, 0, 1])
    figures = maps.building_figures(truth, found, NAMES)
    assert figures["f1"] == {"intact": pytest.approx(6 / 7), "damaged": None, "destroyed": pytest.approx(0.5)}
    assert figures["mean_f1"] == pytest.approx((6 / 7 + 0.5) / 2)
    assert figures["harmonic_mean"] == pytest.approx(2 / (7 / 6 + 2))
    assert figures["buildings"] == {"intact": 4, "damaged": 0, "destroyed": 2}
    constant = maps.building_figures(truth, np.ones(6, int), NAMES)
    assert figures["best_constant_mean_f1"] == pytest.approx(constant["mean_f1"])


def test_multi_label_figures(down: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
    data, numbers = down
    scores, labels = torch.logit(data["ml.scores"].clamp(1e-6, 1 - 1e-6)), data["ml.labels"]
    assert features.micro_average_precision(scores, labels) == pytest.approx(numbers["micro_mAP"], abs=1e-6)
    by_batch = features.micro_average_precision_by_batch(scores, labels, 8)
    assert by_batch == pytest.approx(numbers["micro_mAP_mean_over_batches_of_8_DeCUR_style"], abs=1e-6)
    each = features.average_precision(scores, labels)
    assert each[:4] == pytest.approx(numbers["per_class_AP"][:4], abs=1e-6) and np.isnan(each[4])
    assert features.micro_f1(scores, labels) == pytest.approx(numbers["micro_F1_at_0.5"], abs=1e-6)


def test_the_last_batch_may_be_dropped() -> None:
    scores, labels = torch.randn(20, 3), torch.randint(0, 2, (20, 3))
    dropped = features.micro_average_precision_by_batch(scores, labels, 8)
    assert dropped == features.micro_average_precision_by_batch(scores[:16], labels[:16], 8)
    assert dropped != features.micro_average_precision_by_batch(scores, labels, 8, drop_last=False)


def test_accuracy(down: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
    data, numbers = down
    assert features.overall_accuracy(data["mc.logits"], data["mc.labels"]) == pytest.approx(numbers["OA"])
    assert features.overall_accuracy(data["mc.logits"], data["mc.labels"], 5) == pytest.approx(numbers["top5"])


# ---------------------------------------------------------------- calibration


def test_calibration_error_is_that_of_torchmetrics() -> None:
    from torchmetrics.functional.classification import binary_calibration_error

    rng = np.random.default_rng(0)
    sure = rng.uniform(0, 1, 500)
    right = rng.uniform(0, 1, 500) < sure**2
    expected = binary_calibration_error(torch.tensor(sure), torch.tensor(right.astype(int)), n_bins=15)
    assert calibration.reliability(sure, right).ece == pytest.approx(float(expected), abs=1e-6)
    parts = calibration.ReliabilityScore()
    parts.add(sure[:100], right[:100])
    parts.add(sure[100:], right[100:])
    assert parts.result().ece == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("wanted", [0.4, 1.0, 3.0])
def test_the_temperature_is_found(wanted: float) -> None:
    torch.manual_seed(0)
    honest = 2 * torch.randn(20_000, 4)
    labels = torch.multinomial(honest.softmax(1), 1)[:, 0]
    assert calibration.fit_temperature(honest * wanted, labels) == pytest.approx(wanted, rel=0.05)


def test_uncertain_answers_hold_the_errors() -> None:
    sure = np.linspace(0, 1, 100)
    right = sure > 0.1
    assert calibration.uncertain_error_ratio(sure, right) == pytest.approx(5)  # 10 of the 20, 10 of all 100
    assert np.isnan(calibration.uncertain_error_ratio(sure, np.ones(100, bool)))


def test_without_torchmetrics_the_way_out_is_named() -> None:
    code = (
        "import sys; sys.modules['torchmetrics'] = None\n"
        "import torch\n"
        "from codemae_geo.metrics import features\n"
        "try:\n    features.micro_f1(torch.zeros(2, 2), torch.zeros(2, 2))\n"
        "except Exception as error:\n    print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'codemae-geo[train]'" in out


def test_one_class_everywhere_leaves_kappa_undefined() -> None:
    table = np.zeros((3, 3))
    assert np.isnan([maps.kappa(table), maps.accuracy(table), maps.frequency_weighted_iou(table)]).all()
    table[1, 1] = 50
    assert np.isnan(maps.kappa(table)) and maps.accuracy(table) == maps.frequency_weighted_iou(table) == 1
    table[1, 2] = 50  # half of it answered otherwise: no better than chance
    assert maps.kappa(table) == 0
