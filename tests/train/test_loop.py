"""The loop with a method of ten lines: what it keeps for any method."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from codemae_datasets.samplers import EpochBatches, seeded
from codemae_train.checkpoint import read_checkpoint
from codemae_train.config import BaseRecipe, LoopConfig
from codemae_train.loop import train
from codemae_train.run import Method, Parts
from torch import nn

from codemae_geo.errors import InputError

#: validation errors by how many have been asked for: the second is the best
ERRORS = [3.0, 1.0, 2.0, 2.0, 2.0]


class Line(Method):
    """Fits a line to eight points, with noise on every batch."""

    title, exports = "fitting", ("line.txt",)

    def __init__(self, recipe: BaseRecipe) -> None:
        super().__init__(recipe)
        self.validations = 0

    def build(self, fabric: Any, reporter: Any) -> Parts:
        model = nn.Linear(1, 1)
        points = [{"x": torch.tensor([k / 8]), "y": torch.tensor([2 * k / 8 + 1])} for k in range(8)]
        sampler = EpochBatches(8, self.recipe.train.batch, 0, fabric.global_rank, fabric.world_size)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return Parts(
            model, optimizer, points, sampler, lambda rows: {k: torch.stack([r[k] for r in rows]) for k in "xy"}
        )

    def rate(self, run: Any, number: int) -> float:
        return 0.1

    def step(self, run: Any, batch: dict[str, Any], number: int) -> dict[str, torch.Tensor]:
        noise = torch.randn(len(batch["x"]), 1, generator=seeded(1, run.epoch, number)) * 0.1
        return {"total": (run.model(batch["x"]) - batch["y"] + noise).square().mean()}

    def validate(self, run: Any, batches: int | None) -> dict[str, float]:
        if batches is None:
            self.validations += 1
        return {"error": ERRORS[max(self.validations - 1, 0)], "weight": run.bare.weight.item()}

    def score(self, validation: Any) -> float:
        return -validation["error"]

    def export(self, run: Any, validation: Any) -> dict[str, Any]:
        (run.folder / "line.txt").write_text(str(run.bare.weight.item()))
        return {"line": str(run.folder / "line.txt")}

    def state(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state(self, state: Any) -> None:
        self.validations = state["validations"]


def recipe(**train: Any) -> BaseRecipe:
    settings = {"epochs": 2, "batch": 2, "accelerator": "cpu", "log_every": 1, "save_every": 1, "validate_steps": 3}
    return BaseRecipe(train=LoopConfig(**{**settings, **train}))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return [{k: v for k, v in row.items() if k != "images_per_s"} for row in csv.DictReader(file)]


def test_the_best_weights_are_exported_and_survive_a_stop(tmp_path: Path) -> None:
    """Eight steps, validated after 3, 4, 6 and 8; stopped after 5, when the best is behind."""
    whole = train(Line(recipe(select="best")), tmp_path / "whole")
    assert [row["step"] for row in rows(tmp_path / "whole" / "validation.csv")] == ["3", "4", "6", "8"]
    assert whole["selected"] == {"rule": "best validation", "step": 4} and whole["validation"]["error"] == 1.0
    weights = [float(row["weight"]) for row in rows(tmp_path / "whole" / "validation.csv")]
    assert float((tmp_path / "whole" / "line.txt").read_text()) == pytest.approx(weights[1]) != weights[-1]

    train(Line(recipe(select="best", max_steps=5)), tmp_path / "stopped")
    went_on = train(Line(recipe(select="best")), tmp_path / "stopped", resume=True)
    assert went_on["selected"]["step"] == 4
    assert rows(tmp_path / "stopped" / "log.csv") == rows(tmp_path / "whole" / "log.csv")

    last = train(Line(recipe()), tmp_path / "last")
    assert "selected" not in last and float((tmp_path / "last" / "line.txt").read_text()) == pytest.approx(weights[-1])
    assert read_checkpoint(tmp_path / "last" / "best.pt")["step"] == 4


def test_batches_of_an_epoch() -> None:
    one = EpochBatches(10, 4, seed=3)
    assert len(one) == 2 and len({i for batch in one for i in batch}) == 8
    two = [EpochBatches(10, 4, seed=3, rank=rank, world=2) for rank in range(2)]
    assert [a + b for a, b in zip(*two, strict=True)] == list(one)
    first = list(one)
    one.start = 1
    assert list(one) == first[1:]
    one.epoch, one.start = 1, 0
    assert list(one) != first
    repeated = [i for batch in EpochBatches(4, 5, samples=10) for i in batch]
    assert sorted(repeated) == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    with pytest.raises(InputError, match="more samples than there are"):
        EpochBatches(3, 4)
