"""Random views of batches on their device, as DeCUR and Cross-Scale MAE train on them.

Everything is drawn on the CPU from one generator, for the images of all processes, and nothing in the order of drawing
depends on what is switched off; so a view is the same whatever the device and the number of processes.
"""

from __future__ import annotations

from typing import Literal

import torch
from codemae_datasets.transforms import draw_boxes
from codemae_train.config import Part
from kornia.filters import gaussian_blur2d
from pydantic import Field
from torch import Tensor

from codemae_geo.errors import InputError
from codemae_geo.models.cross_scale_mae import Crop, resized_crop

#: side of the kernel of the blur in pixels: three deviations of the widest to either side
BLUR_KERNEL = 13


class ViewConfig(Part):
    """What a view of one modality is made by. Images are in 0 to 1."""

    #: share of the area that a crop has, (low, high), width to height 3/4 to 4/3; null takes the whole image
    crop: tuple[float, float] | None = (0.2, 1.0)
    flips: Literal["both", "horizontal", "none"] = "both"
    #: largest change of brightness and contrast, and the share of images that each changes in
    brightness: float = Field(default=0.0, ge=0, le=1)
    contrast: float = Field(default=0.0, ge=0, le=1)
    colour_share: float = Field(default=0.8, ge=0, le=1)
    #: share of images of which every band becomes the mean of the bands
    grey: float = Field(default=0.2, ge=0, le=1)
    #: share of images that are blurred, by a Gaussian of 0.1 to 2 pixels
    blur: float = Field(default=0.5, ge=0, le=1)
    #: share of images of which values below ``solarise_below`` are inverted; the published program's threshold of 0.5
    #: on values of 0 to 255 inverts zeros alone
    solarise: float = Field(default=0.0, ge=0, le=1)
    solarise_below: float = Field(default=0.5 / 255, ge=0, le=1)

    def check(self, modality: str) -> None:
        """Refuse settings under which two views of an image are one.

        Raises:
            InputError: nothing is drawn.
        """
        colour = self.colour_share * (self.brightness + self.contrast)
        whole = self.crop is None or self.crop[0] == self.crop[1] == 1
        if whole and self.flips == "none" and not colour + self.grey + self.blur + self.solarise:
            raise InputError(
                f"the two views of a {modality} image would be equal",
                found=f"views.{modality} without any augmentation",
                expected="a crop, flips, or a change of values",
                hint=f"set views.{modality}.crop=[0.2,1.0]",
            )
        if self.crop is not None and not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise InputError(
                f"views.{modality}.crop cannot be used", found=str(self.crop), expected="smallest, largest share"
            )


def make_view(
    image: Tensor,
    sizes: Tensor,
    size: int,
    config: ViewConfig,
    generator: torch.Generator | None,
    rank: int = 0,
    world: int = 1,
    mode: Literal["bilinear", "bicubic"] = "bilinear",
) -> Tensor:
    """One view of each image.

    Args:
        image: [B, C, H, W] in 0 to 1.
        sizes: [B, 2] rows, columns of each image that are not padding; on the CPU.
        size: side of the views in pixels.
        config: what is drawn.
        generator: on the CPU; None draws nothing and gives the whole image, resized.
        rank, world: this process's number and how many there are.
        mode: of the resizing, antialiased.

    Returns:
        [B, C, size, size] in 0 to 1.
    """
    rows = len(image)
    if generator is None:
        boxes = torch.cat([torch.zeros_like(sizes), sizes.flip(1)], dim=1)
        return _cut(image, boxes, size, mode)
    own = slice(rank * rows, (rank + 1) * rows)
    boxes = draw_boxes(sizes.repeat(world, 1), generator, config.crop or (1.0, 1.0))[own]
    if config.crop is None:
        boxes = torch.cat([torch.zeros_like(sizes), sizes.flip(1)], dim=1)
    u = torch.rand(rows * world, 9, generator=generator)[own]
    view = _cut(image, boxes, size, mode)
    u = u.to(view.device)
    if config.flips != "none":
        view = _where(u[:, 0] < 0.5, view.flip(-1), view)
    if config.flips == "both":
        view = _where(u[:, 1] < 0.5, view.flip(-2), view)
    if config.brightness:
        factor = 1 + config.brightness * (2 * u[:, 2] - 1)
        view = _where(u[:, 3] < config.colour_share, view * _each(factor), view).clamp(0, 1)
    if config.contrast:
        factor = 1 + config.contrast * (2 * u[:, 4] - 1)
        mean = view.mean(dim=(2, 3), keepdim=True)
        changed = (view - mean) * _each(factor) + mean
        view = _where(u[:, 5] < config.colour_share, changed, view).clamp(0, 1)
    if config.grey:
        view = _where(u[:, 6] < config.grey, view.mean(dim=1, keepdim=True).expand_as(view), view)
    if config.blur:
        chosen = (u[:, 7] < config.blur).nonzero().flatten()
        if len(chosen):
            sigma = 0.1 + 1.9 * (u[chosen, 7] / config.blur)  # even given that the image is blurred
            blurred = gaussian_blur2d(view[chosen], (BLUR_KERNEL, BLUR_KERNEL), sigma[:, None].expand(-1, 2))
            view = view.index_copy(0, chosen, blurred)
    if config.solarise:
        view = _where(u[:, 8] < config.solarise, torch.where(view < config.solarise_below, 1 - view, view), view)
    return view


def _cut(image: Tensor, boxes: Tensor, size: int, mode: Literal["bilinear", "bicubic"]) -> Tensor:
    """Boxes [B, 4] (left, top, width, height) of each image at one size; antialiased, so image by image."""
    cut = [
        resized_crop(image[i : i + 1], Crop(int(top), int(left), int(height), int(width)), size, mode)
        for i, (left, top, width, height) in enumerate(boxes.tolist())
    ]
    return torch.cat(cut)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _where(chosen: Tensor, there: Tensor, here: Tensor) -> Tensor:
    return torch.where(_each(chosen), there, here)
