"""Targets and losses against slower or independent ways to say the same."""

from __future__ import annotations

import math

import kornia
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from codemae_geo.losses import cross_targets, info_nce, masked_mse, normalise_patches, patchify, unpatchify
from codemae_geo.losses.targets import average_pool, gradient_features, hog, median_filter


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 1, 48, 64, generator=torch.Generator().manual_seed(0))


def test_patchify_and_back() -> None:
    image = torch.rand(2, 3, 32, 48)
    patches = patchify(image)
    assert patches.shape == (2, 6, 768)
    assert torch.equal(patches[1, 4].reshape(16, 16, 3), image[1, :, 16:32, 16:32].permute(1, 2, 0))
    assert torch.equal(unpatchify(patches, (2, 3)), image)


def test_masked_error_counts_removed_patches_only() -> None:
    prediction, target = torch.rand(2, 4, 5), torch.rand(2, 4, 5)
    removed = torch.tensor([[1.0, 0, 0, 1], [1, 1, 0, 0]])
    chosen = masked_mse(prediction[removed.bool()][None], target[removed.bool()][None])
    assert masked_mse(prediction, target, removed).item() == pytest.approx(chosen.item())


def test_normalised_patches_have_unit_unbiased_variance() -> None:
    patches = normalise_patches(torch.rand(3, 4, 768) * 7 + 2)
    assert torch.allclose(patches.mean(-1), torch.zeros(3, 4), atol=1e-5)
    assert torch.allclose(patches.var(-1), torch.ones(3, 4), atol=1e-4)


def test_median_agrees_with_kornia(image: Tensor) -> None:
    inner = (..., slice(2, -2), slice(2, -2))  # what kornia takes beyond the edge depends on its version
    assert torch.equal(median_filter(image)[inner], kornia.filters.median_blur(image, (5, 5))[inner])
    ones = median_filter(torch.ones(1, 1, 16, 16))
    assert ones[0, 0, 0, 0] == 0 and ones[0, 0, 0, 8] == 1  # 16 of 25 are beyond a corner, 10 beyond an edge


def test_pooling_keeps_size_and_means(image: Tensor) -> None:
    pooled = average_pool(image)
    assert pooled.shape == image.shape
    assert torch.allclose(
        pooled[:, :, :16, 16:32], image[:, :, :16, 16:32].mean((2, 3), keepdim=True).expand(2, 1, 16, 16)
    )


def test_hog_by_counting(image: Tensor) -> None:
    """One cell, each pixel's vote cast on its own."""
    found = hog(image)
    assert found.shape == (2, 9, 48, 64)
    padded = F.pad(image, (1, 1, 1, 1), mode="reflect")[0, 0]
    bell = [math.exp(-0.5 * ((i - 7.5) / 8) ** 2) for i in range(16)]
    norm = sum(bell) ** 2
    cells = torch.zeros(9, 6, 8)
    for y in range(48):
        for x in range(64):
            w = padded[y : y + 3, x : x + 3]
            gx = (w[0, 0] + 2 * w[1, 0] + w[2, 0] - w[0, 2] - 2 * w[1, 2] - w[2, 2]).item()
            gy = (w[0, 0] + 2 * w[0, 1] + w[0, 2] - w[2, 0] - 2 * w[2, 1] - w[2, 2]).item()
            index = math.floor(math.atan2(gx, gy) / math.pi * 9) % 9
            cells[index, y // 8, x // 8] += math.hypot(gx, gy) * bell[y % 16] * bell[x % 16] / norm
    expected = F.interpolate(cells[None], size=(48, 64), mode="bilinear")[0]
    # on the reflected edge one derivative is 0 but for rounding, and its sign decides between the last and first bin
    inner = (slice(None), slice(16, 32), slice(16, 48))
    assert torch.allclose(found[0][inner], expected[inner], atol=1e-5)
    assert torch.allclose(found[0].sum(0), expected.sum(0), atol=1e-5)


def test_gradient_features_by_slicing(image: Tensor) -> None:
    found = gradient_features(image)
    assert found.shape == (2, 3, 48, 64)
    for i, r in enumerate((9, 13, 17)):
        padded = F.pad(image, (r, r, r, r), mode="reflect")[1, 0] + 1e-2
        for y, x in ((0, 0), (20, 33), (47, 63)):
            window = padded[y : y + 2 * r + 1, x : x + 2 * r + 1]
            gx = math.log(window[:, : r + 1].sum() / window[:, r:].sum())
            gy = math.log(window[: r + 1].sum() / window[r:].sum())
            assert found[1, i, y, x].item() == pytest.approx(math.hypot(gx, gy), abs=1e-4)


def test_features_need_images_in_unit_range(image: Tensor) -> None:
    rgb = image.expand(-1, 3, -1, -1)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        cross_targets("hog", rgb, rgb)
    optical, radar = cross_targets("mgf", rgb, rgb, rgb_01=rgb, sar_01=rgb)
    assert torch.allclose(optical, radar, atol=1e-5)  # three equal channels: grey is their mean


def test_info_nce_is_cross_entropy_of_cosines() -> None:
    first, second = torch.randn(6, 8), torch.randn(6, 8)
    cosines = F.cosine_similarity(first[:, None], second[None], dim=-1) / 0.07
    expected = -(cosines.log_softmax(1).diag().mean() + cosines.log_softmax(0).diag().mean()) / 2
    assert info_nce(first, second).item() == pytest.approx(expected.item(), rel=1e-5)
    assert info_nce(first, first) < info_nce(first, second)
