"""UperNet on a HiViT pyramid with an auxiliary head: the segmentation form of CoDe-MAE.

Source: UperNet (Xiao et al., ECCV 2018) as mmsegmentation builds it, on the dense backbone of CoDe-MAE (arXiv
2604.16952). Parameter names and shapes are those of the published model, so its checkpoints load strictly::

    image(s) -> backbone: strides 4, 8, 16, 32 (max pool)
      decode head     pooled context on stride 32, top-down sums, all levels at stride 4 -> classes
      auxiliary head  stride 16 -> classes, in training only
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.losses.dense import cross_entropy
from codemae_geo.models.encoder import TOKENIZER, Sensor, encoder_config
from codemae_geo.models.hivit import HiViT, pad_to_multiple

#: coarsest stride of the pyramid; sides are padded to a multiple of it
STRIDE = 32
#: weight of the auxiliary head's loss
AUXILIARY = 0.4


def _resize(x: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class ConvUnit(nn.Module):
    """Convolution without bias, batch norm, ReLU: [B, in, h, w] -> [B, out, h, w]."""

    def __init__(self, in_dim: int, out_dim: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, out_dim, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class UperHead(nn.Module):
    """Pyramid pooling on the coarsest level, a top-down pyramid, and one classifier at the finest level.

    Args:
        in_dim: channels of every level.
        channels: channels inside the head.
        num_classes: classes.
        levels: number of levels given.
        pool_scales: cells per side that the coarsest level is averaged to.
        dropout: share of channels dropped before the classifier in training.
    """

    def __init__(
        self,
        in_dim: int,
        channels: int,
        num_classes: int,
        levels: int = 4,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(cells), ConvUnit(in_dim, channels, 1)) for cells in pool_scales
        )
        self.bottleneck = ConvUnit(in_dim + len(pool_scales) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvUnit(in_dim, channels, 1) for _ in range(levels - 1))
        self.fpn_convs = nn.ModuleList(ConvUnit(channels, channels, 3) for _ in range(levels - 1))
        self.fpn_bottleneck = ConvUnit(levels * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps, finest first, [B, in_dim, h, w] each -> logits [B, num_classes, h, w] at the finest level."""
        *finer, coarsest = maps
        context = [_resize(module(coarsest), coarsest.shape[-2:]) for module in self.psp_modules]
        levels = [unit(x) for unit, x in zip(self.lateral_convs, finer, strict=True)]
        levels.append(self.bottleneck(torch.cat([coarsest, *context], dim=1)))
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + _resize(levels[i], levels[i - 1].shape[-2:])
        refined = [unit(x) for unit, x in zip(self.fpn_convs, levels[:-1], strict=True)]
        size = refined[0].shape[-2:]
        stacked = [refined[0], *(_resize(x, size) for x in (*refined[1:], levels[-1]))]
        return self.conv_seg(self.dropout(self.fpn_bottleneck(torch.cat(stacked, dim=1))))


class AuxiliaryHead(nn.Module):
    """3x3 unit and classifier on one level: [B, in_dim, h, w] -> [B, num_classes, h, w]."""

    def __init__(self, in_dim: int, channels: int, num_classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvUnit(in_dim, channels, 3))
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_seg(self.dropout(self.convs(x)))


class UperNet(nn.Module):
    """Segmentation of an optical image, a SAR image, or both.

    With both, each passes its own tokenizer and the shared trunk; every level of the two pyramids is joined by a 1x1
    unit (late fusion) before the heads. The papers do not say how "both" is built; this is the plainest form.

    Args:
        encoder: "tiny", "small", "base", "large", or keyword arguments of :class:`HiViT` (``variant`` may name a size).
        num_classes: classes, background included.
        sensors: sensor families of the inputs in their order: one of "optical" and "sar", or both.
        channels: channels of the decode head.
        aux_channels: channels of the auxiliary head; 0 builds none.
        pool_scales: see :class:`UperHead`.
        dropout: share of channels dropped before both classifiers.
    """

    def __init__(
        self,
        encoder: str | Mapping[str, Any] = "base",
        num_classes: int = 7,
        sensors: Sequence[Sensor] = ("optical",),
        channels: int = 768,
        aux_channels: int = 256,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        sensors = tuple(sensors)
        if not sensors or len(set(sensors)) != len(sensors) or not set(sensors) <= set(TOKENIZER):
            raise ModelError(
                "the sensors of the segmentation model cannot be used",
                found=repr(list(sensors)),
                expected="['optical'], ['sar'] or ['optical', 'sar']",
            )
        self.modalities = tuple(TOKENIZER[s] for s in sensors)
        settings: dict[str, Any] = {
            "num_outs": 4,
            "extra_levels": "max",
            "layernorm_eps": 1e-5,
            "modality": self.modalities[0] if len(sensors) == 1 else "Both",
        } | encoder_config(encoder)
        if settings["num_outs"] != 4:
            raise ModelError("UperNet needs four levels", found=f"num_outs={settings['num_outs']}", expected="4")
        self.backbone = HiViT(**settings)
        width = self.backbone.feature_info[0]["num_chs"]
        assert isinstance(width, int)
        if len(sensors) > 1:
            self.fusion = nn.ModuleList(ConvUnit(2 * width, width, 1) for _ in range(4))
        self.decode_head = UperHead(width, channels, num_classes, 4, pool_scales, dropout)
        if aux_channels:
            self.auxiliary_head = AuxiliaryHead(width, aux_channels, num_classes, dropout)
        for name, part in self.named_children():
            if name != "backbone":
                part.apply(_init_head)

    def forward_maps(self, *images: Tensor) -> list[Tensor]:
        """Four maps [B, fpn_dim, h, w], finest first, of as many images [B, 3, H, W] as the model has sensors.

        Sides that do not divide by 32 are padded by repeating the last row and column.

        Raises:
            ModelError: another number of images, or images that differ in shape.
        """
        if len(images) != len(self.modalities):
            raise ModelError(
                "the segmentation model was given another number of images",
                found=str(len(images)),
                expected=f"{len(self.modalities)}: {', '.join(self.modalities)}",
            )
        if len({x.shape for x in images}) > 1:
            raise ModelError(
                "the images of the two sensors differ in shape", found=" and ".join(str(tuple(x.shape)) for x in images)
            )
        padded = [pad_to_multiple(x, STRIDE) for x in images]
        maps = self.backbone.forward_pyramid(padded, self.modalities)
        if len(images) == 1:
            return maps
        return [unit(torch.cat(x.chunk(2), dim=1)) for unit, x in zip(self.fusion, maps, strict=True)]

    def forward(self, *images: Tensor, heads: bool = False) -> Tensor | tuple[Tensor, Tensor | None]:
        """Logits of one image per sensor.

        Args:
            images: [B, 3, H, W] each, normalised, same grid.
            heads: give the heads' own maps instead, for :func:`segmentation_loss`.

        Returns:
            logits [B, num_classes, H, W]; or with ``heads`` those of the decode head at stride 4 and of the auxiliary
            head at stride 16 (None without one), both of the padded image.
        """
        if self.training and len(images[0]) == 1:
            raise ModelError(
                "a batch of one image cannot train UperNet: its pooled context has one value per channel",
                expected="at least two images per process",
            )
        maps = self.forward_maps(*images)
        logits = self.decode_head(maps)
        if heads:
            return logits, (self.auxiliary_head(maps[2]) if hasattr(self, "auxiliary_head") else None)
        height, width = images[0].shape[-2:]
        padded = (height + -height % STRIDE, width + -width % STRIDE)
        return _resize(logits, padded)[..., :height, :width]


def segmentation_loss(
    decode: Tensor, auxiliary: Tensor | None, labels: Tensor, *, ignore: int = 255
) -> dict[str, Tensor]:
    """Loss of both heads: cross-entropy at the labels' size, summed and divided by *all* pixels (as published).

    Args:
        decode, auxiliary: what ``UperNet(..., heads=True)`` gives for images whose sides divide by 32.
        labels: [B, H, W] integers, ``ignore`` adds nothing.

    Returns:
        ``decode``, ``auxiliary`` (unweighted, if there is one) and their weighted sum ``loss``.
    """
    terms = {"decode": cross_entropy(decode, labels, ignore=ignore, divisor="all")}
    if auxiliary is None:
        return terms | {"loss": terms["decode"]}
    terms["auxiliary"] = cross_entropy(auxiliary, labels, ignore=ignore, divisor="all")
    return terms | {"loss": terms["decode"] + AUXILIARY * terms["auxiliary"]}


def _init_head(module: nn.Module) -> None:
    if not isinstance(module, nn.Conv2d):
        return
    if module.bias is not None:  # the classifiers are the only convolutions with a bias
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
    else:
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
