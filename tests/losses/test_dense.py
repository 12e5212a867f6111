"""Lovasz-softmax, the damage loss and both divisors of the cross-entropy, against the published programs' numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from codemae_geo.losses import building_labels, cross_entropy, damage_terms, lovasz_rows, lovasz_softmax


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Equal within 1e-4 of the largest magnitude."""
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.fixture(scope="module")
def bright(shared: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    reference = shared / "reference"
    return load_file(reference / "bright_loss_metrics.safetensors"), json.loads(
        (reference / "bright_loss_metrics.json").read_text()
    )


@pytest.mark.parametrize("case", ["all", "void", "no_class2"])
def test_damage_loss_numbers(bright: tuple[dict[str, Tensor], dict[str, Any]], case: str) -> None:
    data, numbers = bright
    expected = numbers[case]["float64"]
    localisation, damage = (data[k].double().requires_grad_() for k in ("loc_logits", "damage_logits"))
    labels = data[f"labels_{case}"]
    terms = damage_terms(localisation, damage, labels)
    names = {
        "ce_loc": "ce_localisation",
        "lovasz_loc": "lovasz_localisation",
        "ce_damage": "ce_damage",
        "lovasz_damage": "lovasz_damage",
        "total_codemae": "loss",
    }
    for theirs, ours in names.items():
        assert terms[ours].item() == pytest.approx(expected[theirs], rel=1e-9)
    bench = damage_terms(localisation, damage, labels, weights="bright")["loss"]
    assert bench.item() == pytest.approx(expected["total_bright_benchmark"], rel=1e-9)
    every = lovasz_softmax(damage, labels, classes="all")
    assert every.item() == pytest.approx(expected["lovasz_damage_classes_all"], rel=1e-9)
    each = lovasz_softmax(damage, labels, per_image=True)
    assert each.item() == pytest.approx(expected["lovasz_damage_per_image"], rel=1e-9)

    grads = torch.autograd.grad(terms["loss"], (localisation, damage))
    for found, name in zip(grads, ("loc", "damage"), strict=True):
        assert_close(found.float(), data[f"{case}.grad_total_codemae_wrt_{name}"])
    (grad,) = torch.autograd.grad(lovasz_softmax(damage, labels), damage)
    assert_close(grad.float(), data[f"{case}.grad_lovasz_damage"])


def test_damage_loss_in_float32(bright: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
    data, numbers = bright
    loss = damage_terms(data["loc_logits"], data["damage_logits"], data["labels_void"])["loss"]
    assert loss.item() == pytest.approx(numbers["void"]["float64"]["total_codemae"], rel=1e-5)


def test_localisation_labels(bright: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
    data, _ = bright
    for case in ("all", "void"):
        assert torch.equal(building_labels(data[f"labels_{case}"]), data[f"loc_labels_{case}"])


def test_lovasz_of_a_perfect_answer_is_zero_and_of_a_wrong_one_is_one() -> None:
    labels = torch.tensor([0, 1, 1, 0])
    right = torch.nn.functional.one_hot(labels, 2).float()
    assert lovasz_rows(right, labels).item() == 0
    assert lovasz_rows(1 - right, labels).item() == pytest.approx(1)


def test_nothing_to_learn_from_is_zero_not_nan() -> None:
    localisation, damage = torch.randn(1, 2, 4, 4, requires_grad=True), torch.randn(1, 4, 4, 4, requires_grad=True)
    void = torch.full((1, 4, 4), 255)
    loss = damage_terms(localisation, damage, void, class_weight=torch.ones(4))["loss"]
    loss.backward()
    assert loss.item() == 0
    assert damage.grad is not None and not damage.grad.any()


def test_ignored_pixels_count_in_the_divisor_where_asked() -> None:
    logits, labels = torch.randn(2, 5, 8, 8), torch.randint(0, 5, (2, 16, 16))
    labels[:, :4] = 255  # a quarter
    valid, everything = (cross_entropy(logits, labels, divisor=d) for d in ("valid", "all"))  # type: ignore[arg-type]
    assert everything.item() == pytest.approx(0.75 * valid.item(), rel=1e-6)
    resized = torch.nn.functional.interpolate(logits, size=(16, 16), mode="bilinear", align_corners=False)
    assert valid.item() == pytest.approx(torch.nn.functional.cross_entropy(resized, labels, ignore_index=255).item())


def test_class_weights_agree_with_torch() -> None:
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    weight = torch.tensor([0.5, 2.0, 1.0])
    expected = torch.nn.functional.cross_entropy(logits, labels, weight=weight)
    assert cross_entropy(logits, labels, weight=weight).item() == pytest.approx(expected.item(), rel=1e-6)
