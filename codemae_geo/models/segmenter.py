"""A plain segmentation model: the pyramid's levels resized, concatenated and read by two convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codemae_geo.models.encoder import TOKENIZER, Sensor, encoder_config
from codemae_geo.models.hivit import HiViT


class Segmenter(nn.Module):
    """Pyramid at strides 4, 8, 16 -> stride 4 -> conv3-BN-ReLU -> 1x1.

    Args:
        encoder: "tiny", "small", "base", "large", or keyword arguments of :class:`HiViT` (``variant`` may name a size).
        num_classes: classes, background included.
        sensor: "optical" or "sar"; only that tokenizer is built unless ``encoder`` says otherwise.
    """

    def __init__(
        self, encoder: str | Mapping[str, Any] = "base", num_classes: int = 2, sensor: Sensor = "optical"
    ) -> None:
        super().__init__()
        self.modality = TOKENIZER[sensor]
        self.encoder = HiViT(**({"num_outs": 3, "modality": self.modality} | encoder_config(encoder)))
        width = self.encoder.feature_info[0]["num_chs"]
        assert isinstance(width, int)
        self.fuse = nn.Sequential(
            nn.Conv2d(self.encoder.num_outs * width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Image [B, 3, H, W], normalised, any size -> logits [B, num_classes, H, W]."""
        maps = self.encoder.forward_pyramid(image, self.modality)
        size = maps[0].shape[-2:]
        stacked = torch.cat([F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps], dim=1)
        logits = self.classifier(self.fuse(stacked))
        return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
