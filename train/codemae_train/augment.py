"""Augmentation of labelled samples, as the published programs do it, drawn from a generator of the sample's own.

Images are tensors [C, H, W] with values 0 to 255, labels int64 [H, W] with 255 for unknown. What a crop does not fill
gets the mean of the input, which is 0 once normalised, and the label 255.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from codemae_train.config import Part
from pydantic import Field
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from codemae_geo.classes import NODATA


class AugmentConfig(Part):
    """How training samples are changed. Segmentation and damage use all but ``images``; classification only that."""

    #: side of the crop; 0 keeps whole images
    crop: int = Field(default=512, ge=0)
    #: images are resized to fit into (long, short) times a factor drawn from ``scale``; null: to their own size
    fit: tuple[int, int] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    #: a crop is drawn again (ten times) while one class has more than this share of its known pixels
    most: float = 0.75
    flip: float = 0.5
    flip_down: float = 0.0
    #: quarter turns: "none", "any" (none included), or "always" (90, 180 or 270 degrees, as BRIGHT's program)
    turn: Literal["none", "any", "always"] = "none"
    #: colours: "mmseg", mmsegmentation's distortion, on all inputs; "jitter", torchvision's with .2 .2 .2 .1 and
    #: probability .8, for each date by itself
    colours: Literal["none", "mmseg", "jitter"] = "none"
    #: classification: "timm" (random crop, flip, RandAugment, erasing), or "centre" (the middle 128 pixels, resized)
    images: Literal["timm", "centre"] = "timm"


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """One number in [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def dense(
    images: Sequence[Tensor], label: Tensor, config: AugmentConfig, means: Sequence[Sequence[float]], g: torch.Generator
) -> tuple[list[Tensor], Tensor]:
    """Images on one grid and their label map, resized, cropped, flipped, turned and coloured, in this order."""
    height, width = label.shape
    factor = uniform(g, *config.scale)
    if config.fit is not None:
        long, short = (side * factor for side in config.fit)
        factor = min(long / max(height, width), short / min(height, width))
    size = (max(int(height * factor + 1e-6), 1), max(int(width * factor + 1e-6), 1))
    rows, cols = slice(None), slice(None)
    if size != (height, width):
        label = F.interpolate(label[None, None].float(), size=size, mode="nearest")[0, 0].long()
    if config.crop:
        rows, cols = draw_crop(label, config, g)
    if size != (height, width):
        images = [resized_part(x, size, rows, cols) for x in images]
    else:
        images = [x[:, rows, cols].float() for x in images]
    label = label[rows, cols]
    if config.crop:
        images, label = pad(images, label, config.crop, means)
    dims = [d for d, p in ((-1, config.flip), (-2, config.flip_down)) if uniform(g, 0, 1) < p]
    turns = {
        "none": 0,
        "any": int(torch.randint(4, (), generator=g)),
        "always": 1 + int(torch.randint(3, (), generator=g)),
    }
    images = [torch.rot90(x.flip(dims), turns[config.turn], (-2, -1)) for x in images]
    label = torch.rot90(label.flip(dims), turns[config.turn], (-2, -1))
    if config.colours == "mmseg":
        images = [distort(x, g) for x in images]
    elif config.colours == "jitter":
        images = [jitter(x, g) for x in images]
    return [x.contiguous() for x in images], label.contiguous()


def resized_part(image: Tensor, size: tuple[int, int], rows: slice, cols: slice) -> Tensor:
    """A part of what bilinear resizing (as of :func:`torch.nn.functional.interpolate`) makes of an image.

    Only that part is computed: of an image that is enlarged before it is cropped, most would be thrown away.

    Args:
        image: [C, H, W].
        size: rows and columns of the whole resized image.
        rows, cols: of it, what is wanted.
    """
    taps = []
    for length, wanted, part in zip(image.shape[-2:], size, (rows, cols), strict=True):
        at = ((torch.arange(wanted)[part] + 0.5) * (length / wanted) - 0.5).clamp(min=0)
        low = at.long()
        taps.append((low, (low + 1).clamp(max=length - 1), at - low))
    (top, bottom, down), (left, right, across) = taps
    upper, lower = (image.index_select(-2, place).float() for place in (top, bottom))
    strip = upper.lerp_(lower, down[:, None])
    return strip.index_select(-1, left).lerp_(strip.index_select(-1, right), across)


def turn_hue(image: Tensor, shift: float) -> Tensor:
    """torchvision's ``adjust_hue`` of [3, H, W] in [0, 1] in a fraction of its time.

    Largest and smallest channel of a pixel stay, the others follow from the turned hue (h in sixths): channel n is
    low + chroma x clip(abs((h + n) mod 6 - 3) - 1, 0, 1) with n = 0, 4, 2 for red, green and blue (Smith, 1978).
    """
    red, green, blue = image
    high, low = image.amax(0), image.amin(0)
    chroma = high - low
    safe = torch.where(chroma > 0, chroma, 1.0)
    hue = torch.where(
        high == red,
        (green - blue) / safe,
        torch.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    offsets = torch.tensor([0.0, 4.0, 2.0])[:, None, None]
    turned = (hue + 6 * shift + offsets).remainder_(6).sub_(3).abs_().sub_(1).clamp_(0, 1)
    return turned.mul_(chroma).add_(low)


def draw_crop(label: Tensor, config: AugmentConfig, g: torch.Generator) -> tuple[slice, slice]:
    """A crop that no class fills, if ten tries find one."""
    side = config.crop
    for _ in range(10):
        top, left = (int(torch.randint(max(n - side, 0) + 1, (), generator=g)) for n in label.shape)
        rows, cols = slice(top, top + side), slice(left, left + side)
        part = label[rows, cols]
        counts = torch.bincount(part.flatten(), minlength=NODATA + 1)[:NODATA]
        if len(counts[counts > 0]) > 1 and counts.max() / counts.sum() < config.most:
            break
    return rows, cols


def pad(
    images: Sequence[Tensor], label: Tensor, side: int, means: Sequence[Sequence[float]]
) -> tuple[list[Tensor], Tensor]:
    """Fill up to ``side`` at the bottom and on the right."""
    down, right = (max(side - n, 0) for n in label.shape)
    if not down and not right:
        return list(images), label
    filled = []
    for image, mean in zip(images, means, strict=True):
        values = torch.tensor(mean[: len(image)])[:, None, None]
        out = values.expand(-1, label.shape[0] + down, label.shape[1] + right).clone()
        out[:, : label.shape[0], : label.shape[1]] = image
        filled.append(out)
    return filled, F.pad(label, (0, right, 0, down), value=NODATA)


def distort(image: Tensor, g: torch.Generator) -> Tensor:
    """Photometric distortion as in mmsegmentation, each part with probability one half; grey images have no hue."""
    first = uniform(g, 0, 1) < 0.5
    draws = [(uniform(g, 0, 1) < 0.5, uniform(g, -1, 1)) for _ in range(4)]
    (brighten, shift), (contrast, share), (saturate, more), (tint, hue) = draws
    image = image + 32 * shift if brighten else image
    if contrast and first:
        image = image * (1 + 0.5 * share)
    image = image.clamp(0, 255)
    if len(image) == 3 and (saturate or tint):
        unit = image / 255
        unit = TF.adjust_saturation(unit, 1 + 0.5 * more) if saturate else unit
        unit = turn_hue(unit, hue * 18 / 180) if tint else unit
        image = unit * 255
    if contrast and not first:
        image = image * (1 + 0.5 * share)
    return image.clamp(0, 255)


def jitter(image: Tensor, g: torch.Generator) -> Tensor:
    """Torchvision's ColorJitter(.2, .2, .2, .1) with probability .8, its parts in random order."""
    apply, order = uniform(g, 0, 1) < 0.8, torch.randperm(4, generator=g).tolist()
    brightness, contrast, saturation = (uniform(g, 0.8, 1.2) for _ in range(3))
    hue = uniform(g, -0.1, 0.1)
    if not apply:
        return image
    unit = image / 255
    for part in order:
        if part == 0:
            unit = TF.adjust_brightness(unit, brightness)
        elif part == 1:
            unit = TF.adjust_contrast(unit, contrast)
        elif len(image) == 3:
            unit = TF.adjust_saturation(unit, saturation) if part == 2 else turn_hue(unit, hue)
    return unit * 255


class Picture:
    """Images [C, H, W] of 0 to 255 for a classifier.

    Args:
        config: which kind.
        size: side that the network takes.
        mean, std: of the input, per channel, 0 to 255; "timm" erases with noise of that deviation around the mean.
        resize: side of the resized image that the evaluation crops its middle from.
    """

    def __init__(
        self, config: AugmentConfig, size: int, resize: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        from timm.data.transforms_factory import create_transform

        self.config, self.size, self.resize = config, size, resize
        self._mean, self._std = (torch.tensor(list(v)).expand(3)[:, None, None] / 255 for v in (mean, std))
        self._random: Any = create_transform(
            size,
            is_training=True,
            interpolation="bicubic",
            auto_augment="rand-m9-mstd0.5-inc1",
            re_prob=0.25,
            re_mode="pixel",
            re_count=1,
            mean=tuple(self._mean.flatten().tolist()),
            std=tuple(self._std.flatten().tolist()),
        )

    def train(self, image: Tensor, g: torch.Generator) -> Tensor:
        """One training image, drawn from ``g``; float32 [C, size, size]."""
        if self.config.images == "centre":
            return self.centre(image)
        from PIL import Image

        picture = Image.fromarray(image.byte().expand(3, -1, -1).permute(1, 2, 0).numpy())
        seed = int(torch.randint(2**31, (), generator=g))
        states = random.getstate(), np.random.get_state()  # noqa: NPY002  (timm draws from the global ones)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            out = self._random(picture)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        return ((out * self._std + self._mean) * 255)[: len(image)]

    def test(self, image: Tensor) -> Tensor:
        """One image to evaluate."""
        if self.config.images == "centre":
            return self.centre(image)
        height, width = image.shape[-2:]
        factor = self.resize / min(height, width)
        size = [math.floor(n * factor + 0.5) for n in (height, width)]
        image = TF.resize(image.byte(), size, TF.InterpolationMode.BICUBIC, antialias=True)
        return TF.center_crop(image, [self.size, self.size]).float()

    def centre(self, image: Tensor) -> Tensor:
        """The middle 128 pixels, bilinear to the network's size."""
        image = TF.center_crop(image.byte(), [128, 128])
        return TF.resize(image, [self.size, self.size], TF.InterpolationMode.BILINEAR, antialias=True).float()
