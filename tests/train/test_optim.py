"""Layer-wise rates of every parameter, schedules and mixing, against the published programs' numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from codemae_train import mixing, optim
from safetensors.torch import load_file
from torch import nn

from codemae_geo.errors import ModelError
from codemae_geo.models import DamageFormer, build
from codemae_geo.models.hivit import DropPath


@pytest.fixture(scope="module")
def ids(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "reference" / "layer_decay_ids.json").read_text())


@pytest.fixture(scope="module")
def schedules(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "reference" / "schedules.json").read_text())


@pytest.mark.parametrize("model", ["classification_rgb", "segmentation_loveda", "detection_dior", "damageformer"])
def test_layers_of_every_published_parameter(ids: dict[str, Any], model: str) -> None:
    expected = {name: layer for name, (layer, _) in ids[model].items()}
    assert optim.layer_ids(expected) == expected


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("damageformer", lambda: DamageFormer("base")),
        ("classification_rgb", lambda: build("classifier", {"variant": "base", "modality": "RGB", "num_classes": 45})),
    ],
)
def test_rates_and_decay_of_our_models(ids: dict[str, Any], name: str, model: Any) -> None:
    with torch.device("meta"):
        network = model()
    groups = optim.parameter_groups(network, 1e-4, layer_decay=0.85)
    found = {n: (g["lr"], g["weight_decay"] == 0) for g in groups for n in g["names"]}
    expected = {n: (1e-4 * 0.85 ** (32 - layer), plain) for n, (layer, plain) in ids[name].items()}
    assert found.keys() == expected.keys()
    for key, (lr, plain) in expected.items():
        assert found[key][0] == pytest.approx(lr, rel=1e-12)
        assert found[key][1] is plain
    assert [round(g["lr_scale"], 12) for g in groups[::2]] == [round(s, 12) for s in ids["scales_0.85"]]


def test_layers_of_a_plain_transformer(schedules: dict[str, Any]) -> None:
    listed = schedules["cross_scale_mae_finetune"]["lr_scale_by_id_vit_base"]
    names = ["cls_token", "pos_embed", "patch_embed.proj.weight", *(f"blocks.{i}.norm1.weight" for i in range(12))]
    found = optim.layer_ids([*names, "norm.weight", "head.weight"], top="own")
    assert list(found.values()) == [0, 0, 0, *range(1, 13), 13, 13]
    assert [0.75 ** (13 - i) for i in range(14)] == pytest.approx(listed)


def test_freezing_does_not_renumber() -> None:
    model = build("classifier", {"variant": "tiny", "num_classes": 3})
    model.blocks.requires_grad_(False)
    (kept,) = [
        g for g in optim.parameter_groups(model, 1.0, layer_decay=0.5) if "patch_embed_rgb.proj.weight" in g["names"]
    ]
    assert kept["lr_scale"] == 0.5 ** len(model.blocks)  # type: ignore[arg-type]


def test_layer_decay_needs_blocks() -> None:
    with pytest.raises(ModelError, match="numbered blocks"):
        optim.parameter_groups(nn.Linear(2, 2), 1.0, layer_decay=0.9)
    assert len(optim.parameter_groups(nn.Linear(2, 2), 1.0)) == 2


# ---------------------------------------------------------------- schedules


def check(schedule: optim.Schedule, base: float, listed: dict[str, Any]) -> None:
    for place, rates in listed.items():
        for rate, scale in zip(rates if isinstance(rates, list) else [rates], (1, 0.85**32), strict=False):
            assert base * scale * schedule(float(place)) == pytest.approx(rate, rel=1e-8, abs=1e-16), place


@pytest.mark.parametrize(
    ("name", "warmup", "milestones"), [("detection_dior", 500, (8, 11)), ("detection_sardet100k", 1500, (27, 33))]
)
def test_detection_schedules(schedules: dict[str, Any], name: str, warmup: int, milestones: tuple[int, ...]) -> None:
    listed = schedules[name]
    made = optim.steps(milestones, warmup=warmup, start=1e-3, unit=listed["iterations_per_epoch_in_example"])
    check(made, listed["base_lr"], listed["lr_at_iteration"])


@pytest.mark.parametrize("name", ["segmentation_loveda_published_config", "segmentation_loveda_paper_lr"])
def test_segmentation_schedules(schedules: dict[str, Any], name: str) -> None:
    check(optim.linear(10_000, warmup=500), schedules[name]["base_lr"], schedules[name]["lr_at_iteration"])


@pytest.mark.parametrize("name", ["bright_code_120000_samples", "bright_paper_240000_samples"])
def test_damage_schedules(schedules: dict[str, Any], name: str) -> None:
    listed = schedules[name]
    made = optim.linear(listed["iterations"], warmup=100, form="bright")
    check(made, listed["base_lr"], listed["lr_at_iteration"])


@pytest.mark.parametrize(
    "name", ["classification_aid", "classification_resisc45", "classification_sar_40shot_10classes"]
)
def test_classification_schedules(schedules: dict[str, Any], name: str) -> None:
    listed = schedules[name]
    base = listed["base_lr_x_batch/256"]
    assert optim.scaled_rate(1e-3, listed["batch"]) == base
    made = optim.cosine(listed["epochs"], warmup=listed["warmup_epochs"], floor=listed["min_lr"] / base)
    for place, rate in listed["lr_at_epoch_and_iteration"].items():
        epoch, iteration = (int(part) for part in place.split("."))
        found = base * made(epoch + iteration / listed["iterations_per_epoch"])
        assert found == pytest.approx(rate, rel=1e-8, abs=1e-16)


@pytest.mark.parametrize(
    ("name", "base", "key", "total", "warmup", "floor"),
    [
        ("linear_probe", 0.5, "lr_at_epoch", 50, 0, 1e-6 / 0.5),
        ("codemae_pretraining", 1.2e-3, "lr_at_epoch_for_2048", 800, 15, 0),
        ("cross_scale_mae_pretraining", 1e-4, "lr_at_epoch", 400, 40, 0),
        ("cross_scale_mae_linear_probe", 0.4, "lr_at_epoch", 50, 10, 0),
    ],
)
def test_cosine_schedules(
    schedules: dict[str, Any], name: str, base: float, key: str, total: int, warmup: int, floor: float
) -> None:
    check(optim.cosine(total, warmup=warmup, floor=floor), base, schedules[name][key])


def test_decur_schedules(schedules: dict[str, Any]) -> None:
    listed = schedules["decur_pretraining_rn50_ssl4eo"]
    made = optim.cosine(listed["epochs"])
    for epoch, (weights, biases) in listed["lr_at_epoch"].items():
        assert listed["lr_weights"] * made(int(epoch)) == pytest.approx(weights)
        assert listed["lr_biases"] * made(int(epoch)) == pytest.approx(biases)
    linear = schedules["decur_bigearthnet_linear"]
    made = optim.steps(linear["milestones"], gamma=linear["factor"])
    assert [made(e) for e in (0, 59, 60, 80)] == pytest.approx([1, 1, 0.1, 0.01])


def test_drop_path_rates(schedules: dict[str, Any]) -> None:
    for rate in (0.15, 0.1, 0.05):
        with torch.device("meta"):
            model = build("backbone", {"variant": "base", "drop_path_rate": rate})
        found = [m.rate for m in model.blocks.modules() if isinstance(m, DropPath)]  # type: ignore[union-attr]
        assert found == pytest.approx(schedules["drop_path"][f"base_rate_{rate}"], abs=1e-7)


def test_rates_are_set_by_layer() -> None:
    model = build("classifier", {"variant": "tiny", "num_classes": 3})
    optimizer = torch.optim.AdamW(optim.parameter_groups(model, 2.0, layer_decay=0.5))
    assert optim.set_rates(optimizer, 0.25) == 0.5
    assert optimizer.param_groups[0]["lr"] == 0.5 * 0.5 ** len(model.blocks)  # type: ignore[arg-type]


# ---------------------------------------------------------------- mixing


def test_mixing_numbers(shared: Path) -> None:
    data = load_file(shared / "reference" / "mixup_cutmix.safetensors")
    numbers = json.loads((shared / "reference" / "mixup_cutmix.json").read_text())
    top, bottom, left, right = numbers["cutmix_box_y0y1x0x1"]
    mixes = {
        "mixup": mixing.Mix(numbers["mixup_lambda"]),
        "cutmix": mixing.Mix(numbers["cutmix_lambda_after_box"], (top, bottom, left, right)),
    }
    for name, mix in mixes.items():
        torch.testing.assert_close(mixing.mix_images(data["images"], mix), data[f"{name}.images"], rtol=1e-5, atol=1e-6)
        targets = mixing.mix_targets(data["labels"], 10, mix, numbers["smoothing"])
        torch.testing.assert_close(targets, data[f"{name}.targets"], rtol=1e-5, atol=1e-6)
        loss = mixing.soft_cross_entropy(data["logits"], targets).item()
        assert loss == pytest.approx(numbers[f"loss_{name}"], rel=1e-5)
    smooth = mixing.mix_targets(data["labels"], 10, mixing.Mix(1.0), numbers["smoothing"])
    assert mixing.soft_cross_entropy(data["logits"], smooth).item() == pytest.approx(
        numbers["loss_label_smoothing_only"], rel=1e-5
    )


def test_cutmix_share_is_that_of_the_box() -> None:
    for centre in ((0, 0), (16, 16), (31, 3)):
        mix = mixing.cutmix_box(0.7, (32, 32), centre)
        assert mix.box is not None
        top, bottom, left, right = mix.box
        assert mix.share == 1 - (bottom - top) * (right - left) / 1024


def test_draws_follow_the_generator_and_the_settings() -> None:
    def drawn(settings: mixing.Mixing, n: int = 400) -> list[mixing.Mix]:
        generator = torch.Generator().manual_seed(3)
        return [mixing.draw(settings, (32, 32), generator) for _ in range(n)]

    both = drawn(mixing.Mixing())
    assert both == drawn(mixing.Mixing())
    assert 0.4 < sum(m.box is not None for m in both) / 400 < 0.6
    assert all(m == mixing.Mix(1.0) for m in drawn(mixing.Mixing(probability=0.0)))
    assert all(m.box is None for m in drawn(mixing.Mixing(cutmix=0)))
    assert all(m.box is not None for m in drawn(mixing.Mixing(mixup=0)))
