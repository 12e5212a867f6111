"""Crop, flip and normalisation of a batch on its device, drawn once per pair and separately for unpaired images.

The crop follows the published recipe: RandomResizedCrop(scale 0.2-1, ratio 3/4-4/3, bicubic without antialiasing),
horizontal flip with probability 1/2. Boxes differ per image, as do image sizes, so both are one affine sampling
of the batch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from kornia.enhance import normalize
from torch import Tensor, nn

from codemae_datasets.pairs import Statistics


class Views(NamedTuple):
    """What the model and the teacher take, float32 [B, 3, size, size] each."""

    rgb: Tensor  #: normalised
    sar: Tensor
    rgb_01: Tensor  #: in [0, 1]
    sar_01: Tensor


def draw_boxes(
    sizes: Tensor,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    attempts: int = 10,
) -> Tensor:
    """Random crop boxes as torchvision and albumentations draw them: the first of ten tries that fits, or the centre.

    Args:
        sizes: [B, 2] rows, columns of each image.
        generator: on the CPU.

    Returns:
        [B, 4] left, top, width, height in whole pixels, from the outer corner of the first pixel.
    """
    height, width = sizes[:, :1].double(), sizes[:, 1:].double()  # [B, 1]
    noise = torch.rand(len(sizes), attempts, 4, generator=generator, dtype=torch.float64)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * noise[..., 0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = (low + (high - low) * noise[..., 1]).exp()
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (w <= width) & (h <= height) & (w > 0) & (h > 0)
    first = fits.double().argmax(dim=1, keepdim=True)
    w, h = w.gather(1, first), h.gather(1, first)
    left = (noise[..., 2].gather(1, first) * (width - w + 1)).floor()
    top = (noise[..., 3].gather(1, first) * (height - h + 1)).floor()
    whole_w = torch.minimum(width, (height * ratio[1]).round())
    whole_h = torch.minimum(height, (width / ratio[0]).round())
    centre = torch.cat([((width - whole_w) / 2).floor(), ((height - whole_h) / 2).floor(), whole_w, whole_h], dim=1)
    return torch.where(fits.any(dim=1, keepdim=True), torch.cat([left, top, w, h], dim=1), centre)


def crop_resize(image: Tensor, boxes: Tensor, flip: Tensor, size: int) -> Tensor:
    """Sample a box of each image at ``size`` x ``size``, bicubic, mirrored left to right where ``flip``.

    Args:
        image: [B, C, H, W], float.
        boxes: [B, 4] left, top, width, height in pixels.
        flip: [B] bool.

    Convention: corners are not aligned; a box of the whole image at its own size returns the image.
    """
    height, width = image.shape[-2:]
    left, top, w, h = boxes.to(image).unbind(dim=1)
    sign = 1 - 2 * flip.to(image)
    theta = image.new_zeros(len(image), 2, 3)  # output to input, both in [-1, 1]
    theta[:, 0, 0], theta[:, 0, 2] = sign * w / width, (2 * left + w) / width - 1
    theta[:, 1, 1], theta[:, 1, 2] = h / height, (2 * top + h) / height - 1
    grid = F.affine_grid(theta, [len(image), image.shape[1], size, size], align_corners=False)
    return F.grid_sample(image, grid, mode="bicubic", padding_mode="border", align_corners=False)


class PairTransform(nn.Module):
    """uint8 batches of :func:`codemae_datasets.pairs.collate` to what a step takes.

    Args:
        statistics: of the source's datasets.
        size: side of the output in pixels.
        scale, ratio, flip: of the random crop and flip.
        augment: False takes the whole image, resized.
    """

    rgb_stats: Tensor
    sar_stats: Tensor

    def __init__(
        self,
        statistics: Statistics,
        size: int = 224,
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        augment: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.scale, self.ratio, self.flip, self.augment = size, scale, ratio, flip, augment
        self.register_buffer("rgb_stats", statistics.rgb, persistent=False)
        self.register_buffer("sar_stats", statistics.sar, persistent=False)

    @torch.no_grad()
    def forward(
        self, batch: dict[str, Any], generator: torch.Generator | None = None, rank: int = 0, world: int = 1
    ) -> Views:
        """Views of a batch.

        Args:
            batch: on the device of this module.
            generator: on the CPU; needed to augment. It is drawn from for the batches of all ranks, of which this is
                number ``rank`` of ``world``, so that the split does not change what an image becomes.
        """
        draws: dict[str, tuple[Tensor, Tensor]] = {}
        for key in ("rgb", "sar"):
            if key == "sar" and batch["paired"]:
                draws[key] = draws["rgb"]
            else:
                draws[key] = self._draw(batch[f"{key}_size"].cpu(), generator, rank, world)
        out = {}
        for key, stats in (("rgb", self.rgb_stats), ("sar", self.sar_stats)):
            boxes, flip = draws[key]
            image = batch[key].float() / 255
            unit = crop_resize(image, boxes.to(image.device), flip.to(image.device), self.size).clamp(0, 1)
            chosen = stats[batch["dataset"]]  # [B, 2, 3]
            out[key], out[key + "_01"] = normalize(unit, chosen[:, 0], chosen[:, 1]), unit
        return Views(out["rgb"], out["sar"], out["rgb_01"], out["sar_01"])

    def _draw(self, sizes: Tensor, generator: torch.Generator | None, rank: int, world: int) -> tuple[Tensor, Tensor]:
        rows = len(sizes)
        if not self.augment or generator is None:
            boxes = torch.cat([torch.zeros_like(sizes), sizes.flip(1)], dim=1).double()
            return boxes, torch.zeros(rows, dtype=torch.bool)
        # every rank draws for all rows and keeps its own; a draw depends on no other row's size
        everyone = sizes.repeat(world, 1)
        boxes = draw_boxes(everyone, generator, self.scale, self.ratio)
        flip = torch.rand(len(everyone), generator=generator) < self.flip
        own = slice(rank * rows, (rank + 1) * rows)
        return boxes[own], flip[own]
