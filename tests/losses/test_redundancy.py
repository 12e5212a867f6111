"""DeCUR's loss against ``shared/reference`` section 5, and against its definition."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from codemae_geo.errors import ModelError
from codemae_geo.losses.redundancy import (
    common_dimensions,
    cross_correlation,
    decur_loss,
    diagonal_and_rest,
    standardise,
)

VIEWS = ("z1_1", "z1_2", "z2_1", "z2_2")


@pytest.mark.parametrize("divisor", [64, 256])
def test_numbers_and_gradients(shared: Path, divisor: int) -> None:
    data = load_file(shared / "reference" / "decur_loss.safetensors")
    expected = json.loads((shared / "reference" / "decur_loss.json").read_text())[f"divisor_{divisor}"]["float64"]
    z = [data[name].double().requires_grad_() for name in VIEWS]
    losses = decur_loss((z[0], z[1]), (z[2], z[3]), common=112, divisor=divisor)
    names = ("total", "intra1", "intra2", "cross", "cross_common", "cross_unique")
    for found, name in zip(losses, names, strict=True):
        assert float(found.detach()) == pytest.approx(expected[name], rel=1e-8), name
    losses.total.backward()
    for tensor, name in zip(z, VIEWS, strict=True):
        want = data[f"divisor_{divisor}.grad_{name}"].double()
        assert tensor.grad is not None
        # computed and stored in float32
        assert (tensor.grad - want).abs().max() < 2e-6 * want.abs().max()


def test_gradients_are_those_of_the_formula(shared: Path) -> None:
    """In float64 to 1e-8, against the formula written out with whole matrices, as the published program has it."""
    data = load_file(shared / "reference" / "decur_loss.safetensors")

    def block(c: Tensor, on: float) -> Tensor:
        return (c.diagonal() - on).square().sum() + 0.0051 * (c - torch.diag(c.diagonal())).square().sum()

    z = [data[name].double().requires_grad_() for name in VIEWS]
    n = [(x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() for x in z]
    c = [n[a].t() @ n[b] / 64 for a, b in ((0, 1), (2, 3), (0, 2))]
    cross = (block(c[2][:112, :112], 1) + block(c[2][112:, 112:], 0)) / 2
    expected = torch.autograd.grad((block(c[0], 1) + block(c[1], 1) + cross) / 3, z)
    found = torch.autograd.grad(decur_loss((z[0], z[1]), (z[2], z[3]), 112).total, z)
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < 1e-8 * b.abs().max()


def test_the_default_divisor_is_the_number_of_samples(shared: Path) -> None:
    data = load_file(shared / "reference" / "decur_loss.safetensors")
    matrix = cross_correlation(standardise(data["z1_1"]), standardise(data["z2_1"]), 64)
    assert torch.allclose(matrix, data["divisor_64.cross_correlation_z1_1_z2_1"], atol=1e-6)
    z = [data[name] for name in VIEWS]
    assert (
        decur_loss((z[0], z[1]), (z[2], z[3]), 112).total == decur_loss((z[0], z[1]), (z[2], z[3]), 112, divisor=64)[0]
    )


@pytest.mark.parametrize(("samples", "dimensions"), [(6, 40), (40, 6), (8, 8)])
def test_the_small_product_gives_the_sum_of_squares_of_the_matrix(samples: int, dimensions: int) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, samples, dimensions, dtype=torch.float64, generator=generator)
    matrix = cross_correlation(a, b, samples)
    diagonal, rest = diagonal_and_rest(a, b, samples)
    assert torch.allclose(diagonal, matrix.diagonal())
    off: Tensor = matrix - torch.diag(matrix.diagonal())
    assert torch.allclose(rest, off.square().sum())


def test_common_share() -> None:
    assert common_dimensions(8192, 0.875) == 7168
    assert common_dimensions(10, 1.0) == 10
    for share in (0.0, -0.5, 1.01, float("nan"), 0.01):
        with pytest.raises(ModelError, match="share of common dimensions"):
            common_dimensions(10, share)


def test_all_dimensions_common_and_one_sample() -> None:
    z = torch.randn(8, 5)
    losses = decur_loss((z, z), (z, z), 5)
    assert float(losses.unique) == 0
    assert float(losses.common) == pytest.approx(float(losses.first), rel=1e-5)
    with pytest.raises(ModelError, match="one sample has no correlation"):
        decur_loss((z[:1], z[:1]), (z[:1], z[:1]), 4)
