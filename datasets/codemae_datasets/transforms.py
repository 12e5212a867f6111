"""Augmentation of batches on their device.

:class:`PairTransform` is the pretraining recipe's: crop, flip and normalisation, drawn once per pair and separately for
unpaired images. :class:`Augment` is for the samples of datasets, with masks. The crop of both follows the published
recipe: RandomResizedCrop(scale 0.2-1, ratio 3/4-4/3, bicubic without antialiasing),
horizontal flip with probability 1/2. Boxes differ per image, as do image sizes, so both are one affine sampling
of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from kornia import enhance
from torch import Tensor, nn

from codemae_datasets.pairs import Statistics
from codemae_geo.classes import NODATA
from codemae_geo.errors import InputError
from codemae_geo.sensors import Unit


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
            out[key], out[key + "_01"] = enhance.normalize(unit, chosen[:, 0], chosen[:, 1]), unit
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


# ---------------------------------------------------------------------------------------------------- samples


#: what lies on the pixels of a sample: images; depth and elevation, in which a hole is a number too; masks
IMAGES = ("image", "image_sar", "image_post")
MEASURES = ("depth", "hha", "dem", "height")
MASKS = ("mask", "valid")
#: objects, which these transforms do not move
OBJECTS = ("bbox_xyxy", "corners", "masks")
#: the eight symmetries of a square as matrices on (x, y): turns by 90 degrees, then the same after a mirror
SQUARE = torch.tensor(
    [[[1, 0], [0, 1]], [[0, 1], [-1, 0]], [[-1, 0], [0, -1]], [[0, -1], [1, 0]],
     [[-1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [0, -1]], [[0, -1], [-1, 0]]], dtype=torch.float32,
)  # fmt: skip


def warp(image: Tensor, boxes: Tensor, turns: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """Sample a box of each image at ``size``, turned or mirrored.

    Args:
        image: ``[B, C, H, W]``, float.
        boxes: ``[B, 4]`` left, top, width, height in pixels, from the outer corner of the first pixel.
        turns: ``[B]`` numbers in :data:`SQUARE`; 0 leaves the box as it is, 1 turns it by 90 degrees.
        size: (rows, columns) of the output.
        mode: ``bilinear``, ``bicubic`` or ``nearest``.

    A box of the whole image at its own size and turn 0 returns the image.
    """
    height, width = image.shape[-2:]
    left, top, w, h = boxes.to(image).unbind(dim=1)
    scale = torch.stack([w / width, h / height], dim=1)  # [B, 2], output to input, both in [-1, 1]
    theta = image.new_zeros(len(image), 2, 3)
    theta[:, :, :2] = scale[:, :, None] * SQUARE.to(image)[turns.to(image.device)]
    theta[:, 0, 2], theta[:, 1, 2] = (2 * left + w) / width - 1, (2 * top + h) / height - 1
    grid = F.affine_grid(theta, [len(image), image.shape[1], *size], align_corners=False)
    return F.grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=False)


def jitter(
    image: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor | None = None, hue: Tensor | None = None
) -> Tensor:
    """Colour jitter of ``[B, C, H, W]`` in [0, 1], one factor per image; kornia's, in this order.

    Args:
        brightness: added.
        contrast, saturation: factors.
        hue: in radians; saturation and hue take three channels.
    """
    image = enhance.adjust_contrast(enhance.adjust_brightness(image, brightness), contrast)
    if saturation is not None:
        image = enhance.adjust_saturation(image, saturation)
    return image if hue is None else enhance.adjust_hue(image, hue)


def speckle(image: Tensor, looks: int, generator: torch.Generator, unit: Unit = "amplitude") -> Tensor:
    """Multiply the intensity of ``[B, C, H, W]`` by gamma noise of mean 1 and variance 1 / looks (Goodman 1976).

    Args:
        looks: of the noise; more is weaker.
        generator: on the image's device.
        unit: of the image: ``power``, ``amplitude`` (or ``uint8``), ``db``.
    """
    total = torch.zeros_like(image)
    for _ in range(looks):  # the sum of exponential variables is a gamma variable
        total += torch.empty_like(image).exponential_(generator=generator)
    return _scaled(image, total / looks, unit)


def gain(image: Tensor, decibel: Tensor, unit: Unit = "amplitude") -> Tensor:
    """Change the calibration of each image ``[B, C, H, W]`` by so many decibels ``[B]``."""
    return _scaled(image, (10 ** (decibel / 10)).to(image)[:, None, None, None], unit)


def _scaled(image: Tensor, intensity: Tensor, unit: Unit) -> Tensor:
    if unit == "db":
        return image + 10 * torch.log10(intensity.clamp(min=1e-6))
    return image * (intensity if unit == "power" else intensity.sqrt())


class Augment(nn.Module):
    """Random crops, symmetries, colour, speckle, erasing and mixing of batches on their device.

    Takes batches as this project's datasets and torchgeo's ``stack_samples`` make them: ``image`` (optical, or stacked
    dates ``[B, T, C, H, W]``), ``image_sar``, ``image_post`` ``[B, C, H, W]``, ``mask`` and ``valid`` ``[B, H, W]``,
    ``label``; and ``depth``, ``hha``, ``dem``, ``height`` ``[B, C, H, W]``. Whatever moves pixels moves all of them
    alike, masks, depth and elevation by the nearest pixel; pixels that are not valid take no part in the interpolation
    of others, and are 0 after it. Boxes do not follow: with them only colours and noise are allowed. Colours change in
    ``image`` and ``image_post`` only, speckle and gain in ``image_sar`` only (in ``image`` with ``sar=True``); stacked
    dates keep their values.

    Args:
        size: side of the output in pixels; None keeps the input's.
        crop: share of the area that a crop has, (low, high); None takes the whole image.
        ratio: of width to height of a crop.
        flip: mirror left to right, with probability 1/2.
        square: turn and mirror by any of the eight symmetries of the square; includes ``flip``.
        separate: crops and symmetries of ``image_sar`` are drawn apart; ``mask`` and ``valid`` follow ``image``, and
            ``valid_sar`` is added.
        brightness, contrast, saturation, hue: largest change; 0 is none. Saturation and hue need three channels.
        high: value that is white, 255 for uint8, 1 for reflectance.
        looks: (fewest, most) looks of speckle; None is none.
        gain_db: largest gain or loss.
        sar_unit: unit of the SAR images.
        sar: ``image`` is SAR too.
        erase: share of images of which a rectangle is erased: 0 in images, not valid, ``ignore`` in the mask.
        mixup, cutmix: alpha of the mixing ratio's Beta(alpha, alpha); 0 is none, only one may be more.
        classes: number of classes, where ``label`` holds numbers that are to be mixed.
        ignore: value of the mask where there is none.

    Raises:
        InputError: settings that exclude each other, or that do not fit the batch.
    """

    def __init__(
        self,
        size: int | None = None,
        *,
        crop: tuple[float, float] | None = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: bool = True,
        square: bool = False,
        separate: bool = False,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        high: float = 255.0,
        looks: tuple[int, int] | None = None,
        gain_db: float = 0.0,
        sar_unit: Unit = "amplitude",
        sar: bool = False,
        erase: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        classes: int | None = None,
        ignore: int = NODATA,
    ) -> None:
        super().__init__()
        if mixup > 0 and cutmix > 0:
            raise InputError("MixUp and CutMix exclude each other", hint="set one of them to 0")
        self.size, self.crop, self.ratio, self.flip, self.square, self.separate = (
            size, crop, ratio, flip, square, separate,
        )  # fmt: skip
        self.colour = (brightness, contrast, saturation, hue)
        self.high, self.looks, self.gain_db, self.sar_unit, self.sar = high, looks, gain_db, sar_unit, sar
        self.erase, self.mixup, self.cutmix, self.classes, self.ignore = erase, mixup, cutmix, classes, ignore

    @torch.no_grad()
    def forward(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """An augmented copy of a batch.

        Args:
            batch: on any device; keys that are not named above are passed on.
            generator: on the CPU; the only source of randomness.
        """
        out = dict(batch)
        first = next((batch[key] for key in IMAGES if key in batch), None)
        if first is None:
            raise InputError("the batch has no image", found=", ".join(batch), expected=" or ".join(IMAGES))
        moves = self.crop or self.flip or self.square or self.size or self.mixup or self.cutmix
        if moves and (objects := [key for key in OBJECTS if key in batch]):
            raise InputError(
                "boxes and outlines would not follow the pixels",
                found=", ".join(objects),
                hint="set crop=None and flip=False, and move images with boxes by torchvision.transforms.v2",
            )
        rows = len(first)
        joint = self._draw(rows, first.shape[-2:], generator)
        apart = self._draw(rows, first.shape[-2:], generator) if self.separate else joint
        valid = batch.get("valid")
        for key in IMAGES:
            if key in batch:
                out[key] = self._move(batch[key], valid, *(apart if key == "image_sar" else joint))
        for key in (*MEASURES, *MASKS):
            if key in batch:
                out[key] = self._move_mask(batch[key], *joint)
        if self.separate and valid is not None:
            out["valid_sar"] = self._move_mask(valid, *apart)
        device = torch.Generator(first.device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for key in IMAGES:
            if key in batch and batch[key].ndim == 4:
                radar = key == "image_sar" or self.sar
                image = self._radar(out[key], generator, device) if radar else self._colours(out[key], generator)
                seen = out.get("valid_sar" if key == "image_sar" and self.separate else "valid")
                out[key] = image if seen is None else image * seen[:, None]
        if self.erase:
            self._erase(out, generator)
        if self.mixup or self.cutmix:
            self._mix(out, generator)
        return out

    # --- geometry

    def _draw(self, rows: int, shape: Any, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Boxes and symmetries."""
        sizes = torch.tensor([list(shape)] * rows)
        whole = torch.tensor([[0.0, 0.0, shape[1], shape[0]]] * rows)
        boxes = draw_boxes(sizes, generator, self.crop, self.ratio).float() if self.crop else whole
        if self.square:
            return boxes, torch.randint(8, (rows,), generator=generator)
        mirror = torch.rand(rows, generator=generator) < (0.5 if self.flip else 0.0)
        return boxes, mirror.long() * 4

    def _shape(self, image: Tensor) -> tuple[int, int]:
        if self.size is None and self.square and image.shape[-1] != image.shape[-2]:
            raise InputError(
                "turned images need a square", found=f"{image.shape[-2]} x {image.shape[-1]}", hint="give a size"
            )
        return (self.size, self.size) if self.size else (image.shape[-2], image.shape[-1])

    def _move(self, image: Tensor, valid: Tensor | None, boxes: Tensor, turns: Tensor) -> Tensor:
        flat = image.float().flatten(1, -3)  # dates are channels here
        shape = self._shape(image)
        if self.crop is None and shape == image.shape[-2:] and not turns.any():
            seen = True if valid is None else valid[:, None]
            return (flat * seen).reshape(image.shape)
        if valid is None or bool(valid.all()):
            moved = warp(flat, boxes, turns, shape)
        else:
            weight = valid[:, None].float()
            share = warp(weight, boxes, turns, shape)
            moved = warp(flat * weight, boxes, turns, shape) / share.clamp(min=1e-6)
            moved = moved * (warp(weight, boxes, turns, shape, "nearest") > 0.5)
        return moved.reshape(*image.shape[:-2], *shape)

    def _move_mask(self, mask: Tensor, boxes: Tensor, turns: Tensor) -> Tensor:
        flat = mask.float()[:, None] if mask.ndim == 3 else mask.float()
        moved = warp(flat, boxes, turns, self._shape(mask), "nearest").to(mask.dtype)
        return moved[:, 0] if mask.ndim == 3 else moved

    # --- values

    def _colours(self, image: Tensor, generator: torch.Generator) -> Tensor:
        if not any(self.colour):
            return image
        if any(self.colour[2:]) and image.shape[1] != 3:
            raise InputError(
                "saturation and hue need three channels", found=f"{image.shape[1]} channels", hint="set both to 0"
            )
        draws = (torch.rand(4, len(image), generator=generator) * 2 - 1).to(image)
        b, c, s, h = (draw * most for draw, most in zip(draws, self.colour, strict=True))
        changed = jitter(
            (image / self.high).clamp(0, 1), b, 1 + c, 1 + s if self.colour[2] else None,
            h * math.pi if self.colour[3] else None,
        )  # fmt: skip
        return changed * self.high

    def _radar(self, image: Tensor, generator: torch.Generator, device: torch.Generator) -> Tensor:
        if self.looks is not None:
            number = int(torch.randint(self.looks[0], self.looks[1] + 1, (), generator=generator))
            image = speckle(image, number, device, self.sar_unit)
        if self.gain_db:
            decibel = (torch.rand(len(image), generator=generator) * 2 - 1) * self.gain_db
            image = gain(image, decibel, self.sar_unit)
        changed = self.looks is not None or self.gain_db
        return image.clamp(0, self.high) if self.sar_unit == "uint8" and changed else image

    # --- erasing and mixing

    def _erase(self, out: dict[str, Any], generator: torch.Generator) -> None:
        image = next(out[key] for key in IMAGES if key in out)
        rows, shape = len(image), image.shape[-2:]
        boxes = draw_boxes(torch.tensor([list(shape)] * rows), generator, (0.02, 0.33), (0.3, 3.3))
        inside = _rectangles(boxes, shape) & (torch.rand(rows, generator=generator) < self.erase)[:, None, None]
        inside = inside.to(image.device)
        for key in (*IMAGES, *MEASURES):
            if key in out:
                hole = inside[(slice(None), *(None,) * (out[key].ndim - 3))]
                out[key] = out[key].masked_fill(hole, 0)
        for key in ("valid", "valid_sar"):
            if key in out:
                out[key] = out[key] & ~inside
        if "mask" in out:
            out["mask"] = out["mask"].masked_fill(inside if out["mask"].ndim == 3 else inside[:, None], self.ignore)

    def _mix(self, out: dict[str, Any], generator: torch.Generator) -> None:
        image = next(out[key] for key in IMAGES if key in out)
        rows, shape = len(image), image.shape[-2:]
        other = torch.randperm(rows, generator=generator)
        alpha = self.mixup or self.cutmix
        random = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        share = torch.from_numpy(random.beta(alpha, alpha, rows)).float()  # of the image's own
        if self.mixup:
            if "mask" in out:
                raise InputError("MixUp cannot mix masks of classes", hint="use cutmix")
            keep = share
            for key in (*IMAGES, *MEASURES):
                if key in out:
                    s = share.to(image).reshape(-1, *(1,) * (out[key].ndim - 1))
                    out[key] = s * out[key] + (1 - s) * out[key][other]
            for key in ("valid", "valid_sar"):
                if key in out:
                    out[key] = out[key] & out[key][other]
        else:
            side = (1 - share).sqrt()[:, None] * torch.tensor([shape[1], shape[0]])  # [B, 2] width, height
            corner = torch.rand(rows, 2, generator=generator) * (torch.tensor([shape[1], shape[0]]) - side)
            inside = _rectangles(torch.cat([corner, side], dim=1).round(), shape)
            keep = 1 - inside.float().mean((1, 2))
            inside = inside.to(image.device)
            for key in (*IMAGES, *MEASURES, *MASKS, "valid_sar"):
                if key in out:
                    hole = inside[(slice(None), *(None,) * (out[key].ndim - 3))]
                    out[key] = torch.where(hole, out[key][other], out[key])
        if "label" in out:
            label = out["label"]
            if label.ndim == 1 and not label.is_floating_point():
                if self.classes is None:
                    raise InputError("mixed labels need the number of classes", hint="give classes=")
                label = F.one_hot(label, self.classes).float()
            s = keep.to(label.device).reshape(-1, *(1,) * (label.ndim - 1))
            out["label"] = s * label + (1 - s) * label[other.to(label.device)]


def _rectangles(boxes: Tensor, shape: Any) -> Tensor:
    """Boxes ``[B, 4]`` (left, top, width, height) as masks ``[B, H, W]``."""
    left, top, w, h = (v[:, None] for v in boxes.unbind(dim=1))
    x, y = torch.arange(shape[1])[None], torch.arange(shape[0])[None]
    return ((y >= top) & (y < top + h))[:, :, None] & ((x >= left) & (x < left + w))[:, None, :]
