"""DamageFormer on a HiViT pyramid: building localisation and damage from a pre- and a post-event image.

Source: the building-damage form of CoDe-MAE (arXiv 2604.16952), after the BRIGHT benchmark of Chen et al. Parameter
names and shapes are those of the published model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.models.encoder import TOKENIZER, Sensor, encoder_config
from codemae_geo.models.hivit import HiViT, Modality, pad_to_multiple

#: coarsest stride of the pyramid; sides are padded to a multiple of it
STRIDE = 32


class ResidualBlock(nn.Module):
    """conv3-BN-ReLU-conv3-BN plus a 1x1 shortcut, ReLU: [B, in, h, w] -> [B, out, h, w]."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_dim, out_dim, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_dim)
        self.conv2 = nn.Conv2d(out_dim, out_dim, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_dim)
        self.downsample = nn.Conv2d(in_dim, out_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class DamageFormer(nn.Module):
    """One shared trunk over both dates, a residual fusion block per date and one over both, two 1x1 heads.

    Args:
        encoder: "tiny", "small", "base", "large", or keyword arguments of :class:`HiViT` (``variant`` may name a size).
        pre, post: sensor family of each date, "optical" or "sar". Both may be the same: then both dates pass the same
            tokenizer. Both tokenizers are kept by default, so that one checkpoint serves every combination;
            ``encoder={"variant": ..., "modality": "RGB"}`` leaves the SAR one out.
        num_classes: damage classes, background included.
        loc_classes: localisation classes (background, building).
    """

    def __init__(
        self,
        encoder: str | Mapping[str, Any] = "base",
        pre: Sensor = "optical",
        post: Sensor = "sar",
        num_classes: int = 4,
        loc_classes: int = 2,
    ) -> None:
        super().__init__()
        for name, sensor in (("pre", pre), ("post", post)):
            if sensor not in TOKENIZER:
                raise ModelError(f"unknown sensor family of {name}", found=repr(sensor), expected="'optical' or 'sar'")
        settings: dict[str, Any] = {"num_outs": 4, "extra_levels": "max", "modality": "Both"} | encoder_config(encoder)
        if settings["num_outs"] != 4:
            raise ModelError("DamageFormer needs four levels", found=f"num_outs={settings['num_outs']}", expected="4")
        self.modalities: tuple[Modality, Modality] = (TOKENIZER[pre], TOKENIZER[post])
        self.encoder = HiViT(**settings)
        missing = set(self.modalities) - set(self.encoder.modalities)
        if missing:
            raise ModelError(
                "the backbone has no tokenizer for one of the dates",
                found=f"modality={settings['modality']!r}",
                expected=" and ".join(sorted(set(self.modalities))),
                hint="use modality='Both'",
            )
        width = self.encoder.feature_info[0]["num_chs"]
        assert isinstance(width, int)
        self.fusion_layer_1 = ResidualBlock(4 * width, width)
        self.fusion_layer_2 = ResidualBlock(4 * width, width)
        self.fusion_layer_3 = ResidualBlock(2 * width, width)
        self.clf_1 = nn.Conv2d(width, loc_classes, 1)
        self.clf_2 = nn.Conv2d(width, num_classes, 1)

    def forward(self, pre: Tensor, post: Tensor) -> tuple[Tensor, Tensor]:
        """Map one pair of co-registered images.

        Sides that do not divide by 32 are padded by repeating the last row and column and cropped back.

        Args:
            pre, post: [B, 3, H, W], normalised, same grid.

        Returns:
            localisation logits [B, loc_classes, H, W] (from ``pre`` alone) and damage logits [B, num_classes, H, W].
        """
        height, width = pre.shape[-2:]
        if post.shape != pre.shape:
            raise ModelError(
                "the two dates differ in shape", found=f"{tuple(post.shape)}", expected=f"{tuple(pre.shape)}"
            )
        pre, post = pad_to_multiple(pre, STRIDE), pad_to_multiple(post, STRIDE)
        maps = self.encoder.forward_pyramid([pre, post], self.modalities)
        size = maps[0].shape[-2:]
        coarse = [F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps[:0:-1]]
        stacked_pre, stacked_post = torch.cat([*coarse, maps[0]], dim=1).chunk(2)  # rows: pre first, then post

        fused_pre = self.fusion_layer_1(stacked_pre)
        fused_post = self.fusion_layer_2(stacked_post)
        fused = self.fusion_layer_3(torch.cat([fused_pre, fused_post], dim=1))
        localisation, damage = (
            F.interpolate(logits, size=pre.shape[-2:], mode="bilinear", align_corners=False)[..., :height, :width]
            for logits in (self.clf_1(fused_pre), self.clf_2(fused))
        )
        return localisation, damage
