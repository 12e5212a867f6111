"""The measures of the ablation against cases whose answer is known, and one variant from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ablation import (
    SETTINGS,
    VARIANTS,
    draw_curves,
    draw_reconstructions,
    effective_rank,
    retrieval,
    table,
    train_and_measure,
)
from support.pairs import make_scenes


def test_retrieval() -> None:
    rows = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    assert retrieval(rows, rows) == 1
    assert retrieval(rows, 3 * rows + 7) == 1  # scale and offset of a modality do not matter
    assert retrieval(rows, rows.roll(1, 0)) == 0
    half = torch.cat([rows[:25], rows[25:].roll(1, 0)])
    assert 0.4 <= retrieval(rows, half) <= 0.6


def test_effective_rank() -> None:
    one = torch.arange(10.0)[:, None] @ torch.ones(1, 4)
    assert effective_rank(one) == pytest.approx(1, abs=1e-3)
    cross = torch.cat([torch.eye(6), -torch.eye(6)])
    assert effective_rank(cross) == pytest.approx(6, rel=1e-4)


def test_variants_end_to_end(tmp_path: Path) -> None:
    folder = make_scenes(tmp_path / "scenes", tiles=3)
    base = [f"data.optical={folder / 'optical'}", f"data.sar={folder / 'sar'}", "data.places=16", *SETTINGS]
    small = ["data.window=64", "data.holdout=0.34", "train.batch=4", "train.epochs=2", "train.max_steps=4"]
    small += ["model.encoder={embed_dim: 32, mlp_depth1: 1, mlp_depth2: 1, depth: 4, num_heads: 2, fpn_dim: 16}"]
    small += ["model.decoder_dim=32", "model.decoder_depth=1", "model.decoder_heads=2"]
    results = []
    for variant in ("MAE", "MAE + CCL + CDR"):
        overrides = [*base, *small, *VARIANTS[variant]]
        results.append(train_and_measure(variant, 0, overrides, tmp_path / variant, 1))
        assert [p["step"] for p in results[-1]["points"]] == [0, 1, 2, 3, 4]
    assert "cross" in results[-1]["points"][-1] and "cross" not in results[0]["points"][-1]
    results += [results[0] | {"variant": name} for name in ("MAE + plain contrast", "MAE + CCL")]
    text = table(results)
    assert all(variant in text for variant in VARIANTS) and text.count("\n") == 3 + len(VARIANTS)
    draw_curves(results, tmp_path / "curves.png")
    images = torch.load(tmp_path / "MAE + CCL + CDR" / "pictures.pt", weights_only=True)
    draw_reconstructions(images, images, tmp_path / "reconstructions.png", rows=2)
    assert (tmp_path / "curves.png").stat().st_size > 0 and (tmp_path / "reconstructions.png").stat().st_size > 0
