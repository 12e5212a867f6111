"""The departures from the paper that recipe `few-scenes` switches on, each by itself."""

from __future__ import annotations

import pytest
import torch

from codemae_geo.errors import ModelError
from codemae_geo.losses.contrast import info_nce
from codemae_geo.models import build
from codemae_geo.models.codemae import TEMPERATURE, CoDeMAE, masking_of, random_masking
from codemae_geo.models.hivit import HiViT

ENCODER = {"embed_dim": 32, "mlp_depth1": 1, "mlp_depth2": 1, "depth": 2, "num_heads": 2, "fpn_dim": 16, "img_size": 64}
SMALL = {"decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 2, "distill": False, "cross": False}


def codemae(**changes: object) -> CoDeMAE:
    torch.manual_seed(0)
    model = build("codemae", {"encoder": ENCODER, **SMALL, **changes})
    assert isinstance(model, CoDeMAE)
    return model.eval()


def test_instance_norm_makes_brightness_and_contrast_of_an_image_without_effect() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 64, 64)
    changed = image * torch.tensor([0.5, 2.0, 1.0])[:, None, None] + torch.tensor([3.0, -1.0, 0.2])[:, None, None]
    for norm, same in ((True, True), (False, False)):
        torch.manual_seed(1)
        backbone = build("backbone", {**ENCODER, "instance_norm": norm})
        assert isinstance(backbone, HiViT)
        first, second = (backbone.pooled(x, "optical") for x in (image, changed))
        assert torch.allclose(first, second, atol=1e-2) == same
    flat = torch.full((1, 3, 64, 64), 0.3)
    assert torch.isfinite(build("backbone", {**ENCODER, "instance_norm": True}).pooled(flat, "sar")).all()


@pytest.mark.parametrize("source", ["decoder", "encoder"])
def test_token_contrast_is_info_nce_over_all_visible_tokens(source: str) -> None:
    model = codemae(contrast_head="tokens", contrast_from=source)
    rgb, sar, noise = torch.randn(3, 3, 64, 64), torch.randn(3, 3, 64, 64), torch.rand(1, 16).expand(3, -1)
    losses = model(rgb, sar, True, None, noise)
    masking = random_masking(noise, model.mask_ratio)
    features = model.forward_stages([rgb, sar], ["RGB", "SAR"], masking.keep.repeat(2, 1))
    tokens = features.tokens if source == "encoder" else model.embed_tokens(model.forward_levels(features))
    optical, radar = (x.flatten(0, 1) for x in tokens.chunk(2))
    assert len(optical) == 3 * 4  # a quarter of 16 patches
    assert losses.contrast == pytest.approx(info_nce(optical, radar, TEMPERATURE).item(), rel=1e-5)
    assert model.contrastive_loss.head == "tokens" and not list(model.contrastive_loss.parameters())


def test_an_unknown_source_of_contrast_is_refused() -> None:
    with pytest.raises(ModelError, match="contrast_from"):
        codemae(contrast_from="teacher")


def test_given_patches_are_masked() -> None:
    removed = torch.zeros(16, dtype=torch.bool)
    removed[[5, 6, 9]] = True
    masking = masking_of(removed, 2)
    assert masking.removed.tolist() == [[5, 6, 9]] * 2 and masking.keep.shape == (2, 13)
    order = torch.cat([masking.keep, masking.removed], dim=1)
    assert torch.equal(order.gather(1, masking.restore), torch.arange(16).expand(2, -1))
    rgb, sar = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64)
    model = codemae()
    own, _, _ = model.reconstruct(rgb, sar, masking=masking)
    rgb[:, :, 16:32, 16:32] = 9.0  # patch 5 is not seen
    again, _, _ = model.reconstruct(rgb, sar, masking=masking)
    assert torch.equal(own, again)
