"""The parts of the bundled model's recipe that can be wrong without the training failing."""

from __future__ import annotations

import json
from pathlib import Path

import bundled
import pytest
import torch
from codemae_train import joplin
from safetensors.torch import load_file


@pytest.fixture
def scene() -> bundled.Joplin:
    """64 x 96 pixels whose value tells their place; the right third is held out."""
    rows, cols = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    image = torch.stack([rows / 64, cols / 96, rows * 0])
    label = torch.zeros(64, 96, dtype=torch.uint8)
    return bundled.Joplin(image, image, label, label, (slice(0, 64), slice(64, 96)))


def test_lovasz_is_the_published_one(shared: Path) -> None:
    data = load_file(shared / "reference" / "bright_loss_metrics.safetensors")
    text = (shared / "reference" / "bright_loss_metrics.json").read_text()
    probabilities = data["damage_logits"].softmax(1).permute(0, 2, 3, 1).flatten(0, 2)
    name = next(k for k in data if "label" in k and "all" in k)
    value = float(bundled.lovasz_softmax(probabilities, data[name].flatten().long()))
    numbers = [v for v in _numbers(json.loads(text)) if abs(v - value) < 1e-5 * value]
    assert numbers, f"{value} is not among the published values"


def _numbers(tree: object) -> list[float]:
    if isinstance(tree, dict):
        return [v for branch in tree.values() for v in _numbers(branch)]
    if isinstance(tree, list):
        return [v for branch in tree for v in _numbers(branch)]
    return [float(tree)] if isinstance(tree, float) else []


def test_training_views_stay_away_from_the_held_out_chip(scene: bundled.Joplin) -> None:
    g = torch.Generator().manual_seed(0)
    places = torch.nonzero(scene.label == 0)  # also inside the held-out part: such views must be refused
    for _ in range(50):
        view = bundled.training_view(scene, g, 16, (0.8, 1.5), places)
        (top, bottom), (left, right) = view.box
        assert 0 <= top <= bottom <= 63
        assert left >= 0
        assert right < 64 - joplin.BUFFER


def test_views_sample_image_and_label_at_the_same_place(scene: bundled.Joplin) -> None:
    g = torch.Generator().manual_seed(3)
    view = bundled.random_view(g, 16, (30.0, 40.0), (0.8, 1.2))
    image = view.image(scene.pre)
    torch.testing.assert_close(image[0], view.rows / 64, atol=1e-4, rtol=0)
    torch.testing.assert_close(image[1], view.cols / 96, atol=1e-4, rtol=0)
    ramp = torch.arange(64, dtype=torch.uint8)[:, None].expand(64, 96)
    assert (view.classes(ramp).float() - view.rows).abs().max() <= 0.5001
    shifted = view.image(scene.pre, (2.0, -3.0))
    torch.testing.assert_close(shifted[0] - image[0], torch.full((16, 16), 2 / 64), atol=1e-4, rtol=0)


def test_shift_search_finds_a_known_shift() -> None:
    g = torch.Generator().manual_seed(0)
    image = torch.rand(40, 40, generator=g)
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[8:-8, 8:-8] = True
    assert bundled.best_shift(image, torch.roll(image, (-2, 3), (0, 1)), mask)[:2] == (2, -3)


def test_scores_of_a_perfect_and_of_an_empty_map() -> None:
    label = torch.randint(0, 4, (32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    label[:4] = 255
    damage = torch.nn.functional.one_hot((label % 255).long(), 4).permute(2, 0, 1).float()
    localisation = torch.stack([damage[0], damage[1:].sum(0)])
    perfect = bundled.scores(localisation, damage, label)
    assert perfect["miou"] == pytest.approx(1)
    assert perfect["f1_localisation"] == pytest.approx(1)
    empty = bundled.scores(torch.ones(2, 32, 32), torch.ones(4, 32, 32), label)
    assert empty["iou_destroyed"] == 0
    assert empty["f1_localisation"] == 0


def test_contract_is_accepted_and_names_the_split() -> None:
    contract = bundled.contract({"miou": 0.5}, 512, 1.2)
    assert "not truth" in contract.metrics[0].split
    assert contract.class_table.names == ["background", "intact", "damaged", "destroyed"]
