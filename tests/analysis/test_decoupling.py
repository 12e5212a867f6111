"""DeCUR's explanations against ``shared/reference`` section 12."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from codemae_geo.analysis.decoupling import (
    alignment_histogram,
    covariance_spectrum,
    dimension_alignment,
    saliency_overlap,
)


def test_numbers(shared: Path) -> None:
    data = load_file(shared / "reference" / "decur_alignment.safetensors")
    listed = json.loads((shared / "reference" / "decur_alignment.json").read_text())
    alignment = dimension_alignment(data["z1"].double(), data["z2"].double())
    assert torch.allclose(alignment.float(), data["alignment_loss"], rtol=1e-4, atol=1e-6)
    counts, shares, outside = alignment_histogram(alignment)
    assert counts.tolist() == listed["histogram"]["counts"]
    assert shares.tolist() == pytest.approx(listed["histogram"]["share_percent_of_all_dimensions"])
    assert outside == listed["histogram"]["outside_the_range"]
    for name in ("z1", "z2"):
        expected = listed[f"log10_spectrum_of_covariance_{name}"]
        assert covariance_spectrum(data[name])[: len(expected)].tolist() == pytest.approx(expected, rel=1e-5)
    overlap = saliency_overlap(data["saliency.s1"], data["saliency.s2"])
    assert float(overlap) == pytest.approx(listed["saliency_overlap"], rel=1e-4)


def test_equal_embeddings_are_aligned_and_opposite_ones_are_not() -> None:
    z = torch.randn(32, 5, dtype=torch.float64)
    assert torch.allclose(dimension_alignment(z, z), torch.zeros(5, dtype=torch.float64), atol=1e-8)
    assert torch.allclose(dimension_alignment(z, -z), torch.full((5,), 4.0, dtype=torch.float64), atol=1e-3)
