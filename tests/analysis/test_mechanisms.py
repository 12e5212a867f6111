"""The analyses against the reference numbers (reference section 14), and laws that need no reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from codemae_geo.analysis import alignment as al
from codemae_geo.analysis import spectrum as sp
from codemae_geo.analysis import ssim_gsd as ss


@pytest.fixture(scope="module")
def fixture() -> tuple[dict[str, Any], dict[str, Any]]:
    folder = Path(__file__).resolve().parents[3] / "shared/reference"
    if not folder.is_dir():
        pytest.skip("the folder ../shared (numerical fixtures) is not there")
    numbers = json.loads((folder / "mechanism_analyses.json").read_text())
    return numbers, load_file(folder / "mechanism_analyses.safetensors")


def images(arrays: dict[str, Any]) -> tuple[Any, Any]:
    return ss.grey(arrays["rgb"].astype(float) / 255), arrays["sar"].astype(float) / 255


def test_ssim_by_resolution(fixture: tuple[dict[str, Any], dict[str, Any]]) -> None:
    numbers, arrays = fixture
    optical, sar = images(arrays)
    np.testing.assert_allclose(ss.pyramid_down(optical), arrays["pyramid1_optical"], atol=1e-6)
    np.testing.assert_allclose(ss.pyramid_down(sar), arrays["pyramid1_sar"], atol=1e-6)
    found = list(ss.ssim_by_resolution(optical, sar, 4))
    assert [factor for factor, _ in found] == [level["factor"] for level in numbers["levels"]]
    assert [value for _, value in found] == pytest.approx([level["ssim"] for level in numbers["levels"]], rel=1e-4)


def test_patch_ssim(fixture: tuple[dict[str, Any], dict[str, Any]]) -> None:
    _, arrays = fixture
    optical, sar = images(arrays)
    np.testing.assert_allclose(ss.patch_ssim(optical, sar), arrays["patch_ssim"], atol=1e-5)
    mapped = ss.patches(ss.ssim_map(optical, sar), 16).mean(-1)
    np.testing.assert_allclose(mapped, arrays["patch_mean_of_ssim_map"], atol=1e-5)


def test_effective_rank(fixture: tuple[dict[str, Any], dict[str, Any]]) -> None:
    numbers, arrays = fixture
    for name, centred in (("raw", False), ("centred", True)):
        values = sp.singular_values(arrays["features"], centred=centred)
        wanted = numbers["effective_rank"][name]
        assert values[:5].tolist() == pytest.approx(wanted["first_5_singular_values"], rel=1e-4)
        assert sp.effective_rank(values) == pytest.approx(wanted["singular_values_p1"], rel=1e-4)


def test_pairs(fixture: tuple[dict[str, Any], dict[str, Any]]) -> None:
    numbers, arrays = fixture
    optical, sar = arrays["tokens_optical"].astype(float), arrays["tokens_sar"].astype(float)
    cosines = al.cosine(optical, sar)
    np.testing.assert_allclose(cosines, arrays["patch_cosine"], atol=1e-5)
    found = al.agreement(cosines, arrays["patch_ssim"].ravel().astype(float))
    assert found.pearson == pytest.approx(numbers["pearson_ssim_cosine"], rel=1e-4)
    assert found.spearman == pytest.approx(numbers["spearman_ssim_cosine"], rel=1e-4)
    assert found.by_quartile == pytest.approx(numbers["mean_cosine_by_ssim_quartile"], rel=1e-4)
    assert al.retrieval_top1(optical, sar) == pytest.approx(numbers["retrieval_top1_optical_to_sar"])
    assert al.alignment(optical, sar) == pytest.approx(numbers["alignment_mean_squared_distance"], rel=1e-4)
    assert al.uniformity(optical) == pytest.approx(numbers["uniformity_t2_optical"], rel=1e-4)


def test_laws() -> None:
    random = np.random.default_rng(0)
    image, features = random.random((64, 48)), random.normal(size=(200, 8))
    assert ss.ssim(image, image) == pytest.approx(1)
    assert ss.patch_ssim(image, image) == pytest.approx(np.ones((4, 3)))
    assert 7 < sp.effective_rank(sp.singular_values(features)) <= 8
    assert sp.effective_rank(np.zeros(3)) == 0
    assert al.retrieval_top1(features, features) == 1
    assert al.parallelism(features, features + 3) == pytest.approx(1)
    # a mean that all share hides what retrieval looks for
    queries, candidates = features + 20, features + random.normal(scale=0.2, size=features.shape) + 20
    shifted = candidates + random.normal(size=8) * 5
    assert al.retrieval_top1(al.standardised(queries), al.standardised(shifted)) > al.retrieval_top1(queries, shifted)


def test_bad_shapes() -> None:
    with pytest.raises(ValueError, match="no common pixels"):
        ss.ssim_map(np.zeros((4, 4)), np.zeros((4, 5)))
    with pytest.raises(ValueError, match="smaller than 11"):
        ss.ssim(np.zeros((8, 8)), np.zeros((8, 8)))
    with pytest.raises(ValueError, match="do not divide"):
        ss.patch_ssim(np.zeros((20, 32)), np.zeros((20, 32)))
