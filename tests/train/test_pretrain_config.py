"""Shipped recipes and the schedule."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from codemae_datasets.pairs import collate
from codemae_datasets.samplers import seeded
from codemae_train.checkpoint import (
    load_weights,
    random_states,
    read_checkpoint,
    restore_random_states,
    save_checkpoint,
)
from codemae_train.config import load_recipe, recipe_text, shipped_recipes
from codemae_train.devices import launched_world, make_fabric
from codemae_train.loop import prepare, save
from codemae_train.methods import pretraining_method
from codemae_train.methods.pairs import PairMethod
from codemae_train.methods.pretrain import Pretraining, peak_rate, rate_at
from codemae_train.run import Run
from support.pairs import make_ospretrain
from torch import nn

from codemae_geo.errors import CodemaeError, InputError, ModelError, OutputError
from codemae_geo.models.codemae import CoDeMAE, random_masking
from codemae_geo.progress import Reporter


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_build(name: str) -> None:
    method = pretraining_method(name)
    recipe = method.recipe
    if isinstance(method, Pretraining):
        with torch.device("meta"):
            model = CoDeMAE(**recipe.model.build_args(1024))
        assert (model.cross and model.contrast) == (name != "few-scenes")
    else:
        assert isinstance(method, PairMethod)
    assert recipe.train.batch % (recipe.train.accumulate * recipe.train.devices) == 0


def test_the_paper_s_settings() -> None:
    base, ablation = load_recipe("base"), load_recipe("ablation")
    assert (base.train.epochs, ablation.train.epochs) == (800, 100)
    # the published command takes 8 x 128 pairs and counts both images of each: "batch size of 2048 (8*128 pairs)"
    for name in ("base", "ablation", "large"):
        train = load_recipe(name).train
        assert 2 * train.batch == 2048 and train.clip == 0
        assert peak_rate(train) == pytest.approx(1.5e-4 * 2048 / 256)
    assert rate_at(base.train, 7.5) == pytest.approx(peak_rate(base.train) / 2)
    assert rate_at(base.train, 15) == pytest.approx(peak_rate(base.train))
    middle = 15 + (800 - 15) / 3
    assert rate_at(base.train, middle) == pytest.approx(peak_rate(base.train) * 0.5 * (1 + math.cos(math.pi / 3)))
    assert rate_at(base.train, 800) == pytest.approx(0)


def test_a_written_recipe_reads_the_same(tmp_path: Path) -> None:
    recipe = load_recipe("small", ["data.optical=a", "train.epochs=3", "data.holdout=[1,2,3,4]"])
    (tmp_path / "recipe.yaml").write_text(recipe_text(recipe))
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_unknown_recipes_and_keys() -> None:
    with pytest.raises(InputError, match="unknown recipe") as caught:
        load_recipe("smal")
    assert caught.value.hint == "did you mean 'small'?"
    with pytest.raises(InputError, match=r"train\.epoch'") as caught:
        load_recipe("base", ["train.epoch=3"])
    assert caught.value.hint == "did you mean 'train.epochs'?"
    with pytest.raises(InputError, match="not an override"):
        load_recipe("base", ["train.epochs"])
    with pytest.raises(InputError, match="not an override"):
        load_recipe("base", ["data.exclude=[a"])
    with pytest.raises(InputError, match=r"train\.betas\.1"):
        load_recipe("base", ["train.betas=[0.9,1.5]"])


def prepared(folder: Path, *changes: str) -> Run:
    """A small run on eight pairs, ready to train."""
    data = make_ospretrain(folder / "data", {"EarthMiss": 8})
    overrides = [f"data.root={data}", "train.batch=4", "train.devices=1", "data.use=paired", "train.accelerator=cpu"]
    overrides += ["model.encoder=tiny", "model.img_size=64", "model.distill=false", "train.precision=32-true"]
    recipe = load_recipe("ablation", [*overrides, *changes])
    return prepare(Pretraining(recipe), folder, make_fabric(recipe.train), Reporter())


def test_masks_per_pair_or_per_batch(tmp_path: Path) -> None:
    rows = {}
    for masks in ("pair", "batch"):
        run = prepared(tmp_path, f"train.masks={masks}")
        batch = collate([run.source[i] for i in run.sampler.batches()[0]])
        assert isinstance(run.method, Pretraining)
        _, noise = run.method.make_views(run, batch, seeded(0))
        rows[masks] = len(random_masking(noise).keep.sort(dim=1).values.unique(dim=0))
    assert rows == {"pair": 4, "batch": 1}


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    run = prepared(tmp_path)
    save(run)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with torch.no_grad():
        run.bare.mask_token[:] = float("nan")
    with pytest.raises(CodemaeError, match="weights are not finite"):
        save(run)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_processes_that_srun_has_started_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_NAME", "job")
    monkeypatch.setenv("SLURM_NTASKS", "4")  # of a batch script too, which runs once
    assert launched_world() is None
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    assert launched_world() == (2, 2)


def test_checkpoints_and_random_states(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    states = random_states()
    first = torch.rand(3)
    save_checkpoint(path, {"random": states, "model": nn.Linear(2, 2).state_dict()})
    read = read_checkpoint(path)
    restore_random_states(read["random"])
    assert torch.equal(torch.rand(3), first)
    with pytest.raises(ModelError, match="do not fit"):
        load_weights(nn.Linear(2, 3), read["model"], path)
    with pytest.raises(OutputError):
        save_checkpoint(tmp_path / "nowhere" / "checkpoint.pt", {})
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read"):
        read_checkpoint(path)
    with pytest.raises(ModelError, match="no checkpoint"):
        read_checkpoint(tmp_path / "gone.pt")
