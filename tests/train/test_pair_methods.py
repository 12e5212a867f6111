"""DeCUR and Cross-Scale MAE on the loop: what they draw, that they resume, what they refuse and what they leave."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from codemae_train.loop import train
from codemae_train.methods import pretraining_method
from codemae_train.views import ViewConfig, make_view
from support.pairs import make_ospretrain

from codemae_geo.errors import InputError, ModelError
from codemae_geo.weights.package import load_package
from codemae_geo.weights.verify import verify_package

LOOP = [
    *("train.precision=32-true", "train.accelerator=cpu", "train.batch=4", "train.epochs=2", "train.log_every=1"),
    *("train.save_every=1", "train.validate_batches=2", "data.kind=ospretrain", "data.use=paired"),
]
TINY = {
    "decur-small": [*LOOP, "model.backbone=resnet18", "model.img_size=32", "model.projector=[16,16]", "model.rda=true"],
    "cross-scale-small": [*LOOP, "model.img_size=32", "model.predictor_dim=16", "train.warmup_epochs=0"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pairs: three batches an epoch."""
    return make_ospretrain(tmp_path_factory.mktemp("os") / "data", {"EarthMiss": 12}, (4, 4))


def method(name: str, data: Path, *changes: str) -> Any:
    return pretraining_method(name, [f"data.root={data}", *TINY[name], *changes])


def curve(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if k != "pairs_per_s"} for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", list(TINY))
def test_a_run_broken_off_goes_on_to_the_same_curve(name: str, data: Path, tmp_path: Path) -> None:
    train(method(name, data), tmp_path / "whole")
    assert len(curve(tmp_path / "whole")) == 6
    train(method(name, data, "train.max_steps=2"), tmp_path / "broken")
    train(method(name, data), tmp_path / "broken", resume=True)
    assert curve(tmp_path / "broken") == curve(tmp_path / "whole")

    package = load_package(tmp_path / "whole" / "encoder.safetensors")
    assert [i.family for i in package.contract.inputs] == (
        ["sar", "optical"] if name == "decur-small" else ["optical", "sar"]
    )
    assert package.contract.task == "embedding"
    answers = verify_package(tmp_path / "whole" / "encoder.safetensors")["answers"]
    assert len(answers) == 2 and answers[0] == answers[1]


def test_two_processes_see_what_one_does(data: Path, tmp_path: Path) -> None:
    """Views, masks and contrast of the first step agree; batch norms are each process's own on a CPU."""
    train(method("cross-scale-small", data, "train.max_steps=1"), tmp_path / "one")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"),
            *("-m", "codemae_cli", "pretrain", "cross-scale-small", f"data.root={data}", *TINY["cross-scale-small"]),
            *("train.max_steps=1", "-o", str(tmp_path / "two"), "-q"),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (one,), (two,) = curve(tmp_path / "one"), curve(tmp_path / "two")
    for loss in ("reconstruction", "contrast"):
        assert two[loss] == pytest.approx(one[loss], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("decur-small", "model.common_share=1.2", ModelError, "share of common dimensions"),
        ("decur-small", "train.batch=1", InputError, "train.batch|batch of one pair"),
        ("decur-small", "data.use=both", InputError, "same place in both modalities"),
        (
            "decur-small",
            "views.sar={crop: null, flips: none, grey: 0, blur: 0}",
            InputError,
            "two views of a sar image would be equal",
        ),
        ("decur-small", "views.sar.crop=[0.9,0.1]", InputError, "views.sar.crop"),
        ("decur-small", "model.backbone=resnet19", InputError, "model.backbone"),
        ("cross-scale-small", "model.mask_ratio=1.0", ModelError, "mask_ratio"),
        ("cross-scale-small", "model.masc_ratio=0.5", InputError, "unknown key"),
        ("cross-scale-small", "data.modality=radar", InputError, "data.modality"),
    ],
)
def test_bad_recipes_are_refused(
    name: str, change: str, error: type[Exception], message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        train(method(name, data, change), tmp_path / "run", dry_run=True)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_the_other_order_of_norms_is_named(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "xformers.pth"
    torch.save({"model": {"encoder.encoders.0.wrap_att.norm.weight": torch.zeros(192)}}, path)
    with pytest.raises(ModelError, match="other order of norms") as caught:
        train(method("cross-scale-small", data, f"model.init={path}"), tmp_path / "run", dry_run=True)
    assert "norm_order=post" in str(caught.value)


# ---------------------------------------------------------------- views


def images(rows: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(rows, 3, 40, 50, generator=generator), torch.tensor([[40, 50]] * rows)


FULL = ViewConfig(brightness=0.4, contrast=0.4, solarise=0.5, solarise_below=0.5)


def test_views_depend_on_their_generator_alone() -> None:
    image, sizes = images()
    first, again = (make_view(image, sizes, 24, FULL, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == (6, 3, 24, 24)
    assert torch.equal(first, again)
    assert not torch.equal(first, make_view(image, sizes, 24, FULL, torch.Generator().manual_seed(2)))
    assert float(first.min()) >= -1e-6 and float(first.max()) <= 1 + 1e-6


def test_processes_share_what_one_draws() -> None:
    image, sizes = images()
    whole = make_view(image, sizes, 24, FULL, torch.Generator().manual_seed(1))
    for rank in (0, 1):
        rows = slice(3 * rank, 3 * rank + 3)
        part = make_view(image[rows], sizes[rows], 24, FULL, torch.Generator().manual_seed(1), rank, 2)
        assert torch.allclose(part, whole[rows], atol=1e-6)


def test_nothing_drawn_is_the_image_and_each_switch_does_what_it_says() -> None:
    image, _ = images(64)
    off = {"crop": None, "flips": "none", "grey": 0.0, "blur": 0.0}
    square, square_sizes = image[:, :, :, :40], torch.tensor([[40, 40]] * 64)

    def view(**changes: Any) -> torch.Tensor:
        return make_view(square, square_sizes, 40, ViewConfig(**(off | changes)), torch.Generator().manual_seed(3))

    assert torch.allclose(view(), square, atol=1e-6)
    assert torch.allclose(make_view(square, square_sizes, 40, FULL, None), square, atol=1e-6)
    grey = view(grey=1.0)
    assert torch.allclose(grey[:, 0], square.mean(dim=1), atol=1e-6)
    assert torch.equal(grey[:, 0], grey[:, 2])
    flipped = view(flips="horizontal")
    same = (flipped - square).abs().flatten(1).max(1).values < 1e-6
    turned = (flipped - square.flip(-1)).abs().flatten(1).max(1).values < 1e-6
    assert (same | turned).all() and 16 < int(same.sum()) < 48
    blurred = view(blur=1.0)
    assert float(blurred.var()) < 0.7 * float(square.var())
    solarised = view(solarise=1.0, solarise_below=0.5)
    assert torch.allclose(solarised, torch.where(square < 0.5, 1 - square, square), atol=1e-6)
    brighter = view(brightness=0.4, colour_share=1.0)
    ratio = brighter.flatten(1).mean(1) / square.flatten(1).mean(1)
    assert 0.55 < float(ratio.min()) < 0.8 and 1.1 < float(ratio.max()) < 1.45
