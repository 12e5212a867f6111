"""LARS against ``shared/reference`` section 13."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from codemae_train.lars import LARS
from safetensors.torch import load_file


def test_three_steps(shared: Path) -> None:
    data = load_file(shared / "reference" / "cross_scale_extra.safetensors")
    settings = json.loads((shared / "reference" / "cross_scale_extra.json").read_text())["lars"]
    settings["trust"] = settings.pop("trust_coefficient")
    weight, bias = (torch.nn.Parameter(data[f"lars.{kind}0"].clone()) for kind in ("weight", "bias"))
    optimizer = LARS([weight, bias], **settings)
    for step in range(3):
        weight.grad, bias.grad = data[f"lars.grad_weight{step}"], data[f"lars.grad_bias{step}"]
        optimizer.step()
        assert torch.allclose(weight.detach(), data[f"lars.weight{step + 1}"], rtol=1e-5, atol=1e-7)
        assert torch.allclose(bias.detach(), data[f"lars.bias{step + 1}"], rtol=1e-5, atol=1e-7)


def test_a_zero_weight_takes_an_unscaled_step() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    LARS([weight], lr=0.1).step()
    assert torch.equal(weight.detach(), torch.full((2, 2), -0.1))
