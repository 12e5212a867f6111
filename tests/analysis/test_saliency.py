"""Saliency: a gradient that is known, and the shares of bands."""

from __future__ import annotations

import torch

from codemae_geo.analysis.saliency import band_shares, spatial_saliency


def test_the_gradient_of_a_weighted_sum_is_known() -> None:
    torch.manual_seed(0)
    weight, images = torch.randn(2, 4, 4), torch.randn(3, 2, 4, 4)
    found = spatial_saliency(lambda x: (x * weight).sum((1, 2, 3))[:, None], images)
    value = (images * weight).sum((1, 2, 3))[:, None, None, None]
    assert torch.allclose(found, value * weight, atol=1e-5)  # d (w.x)^2 / 2 = (w.x) w


def test_a_band_that_is_not_looked_at_has_no_share() -> None:
    images = torch.rand(2, 3, 8, 8) + 0.5
    weight = torch.tensor([1.0, 3.0, 0.0])[:, None, None]
    gradient = spatial_saliency(lambda x: (x * weight).mean((2, 3)).sum(1, keepdim=True), images)
    shares = band_shares(gradient, images)
    assert torch.allclose(shares.sum(1), torch.ones(2)) and torch.equal(shares[:, 2], torch.zeros(2))
    assert (shares[:, 1] > shares[:, 0]).all()
