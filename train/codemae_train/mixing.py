"""Mixup and CutMix of a batch, and the soft targets that go with them.

The targets are timm's. The draws are not: timm takes them from numpy's global state, and here every batch is a function
of the run's seed, the epoch and the place in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from timm.data.mixup import mixup_target
from torch import Tensor


@dataclass(frozen=True)
class Mixing:
    """How batches are mixed; the defaults are CoDe-MAE's for optical classification.

    Args:
        mixup, cutmix: parameter of the Beta distribution of the shares; 0 leaves that kind out.
        probability: share of the batches that are mixed at all.
        switch: share of CutMix among the mixed ones when both kinds are on.
        smoothing: label smoothing, in mixed batches and others.
    """

    mixup: float = 0.8
    cutmix: float = 1.0
    probability: float = 1.0
    switch: float = 0.5
    smoothing: float = 0.1


@dataclass(frozen=True)
class Mix:
    """One drawn mixture: the share of each image that stays, and the box to paste (top, bottom, left, right)."""

    share: float
    box: tuple[int, int, int, int] | None = None


def cutmix_box(share: float, size: tuple[int, int], centre: tuple[int, int]) -> Mix:
    """The box of a CutMix, cut at the image's edge, and the share that it really leaves (Yun et al., 2019).

    Args:
        share: wanted share of the image that stays.
        size: rows, columns of the image.
        centre: row, column of the box's centre.
    """
    side = [int(length * np.sqrt(1 - share)) for length in size]
    low = [min(max(c - s // 2, 0), n) for c, s, n in zip(centre, side, size, strict=True)]
    high = [min(max(c + s // 2, 0), n) for c, s, n in zip(centre, side, size, strict=True)]
    left = 1 - (high[0] - low[0]) * (high[1] - low[1]) / (size[0] * size[1])
    return Mix(left, (low[0], high[0], low[1], high[1]))


def draw(settings: Mixing, size: tuple[int, int], generator: torch.Generator) -> Mix:
    """One mixture for images of ``size`` (rows, columns)."""
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    if not (settings.mixup or settings.cutmix) or rng.random() >= settings.probability:
        return Mix(1.0)
    cut = settings.cutmix > 0 and (not settings.mixup or rng.random() < settings.switch)
    alpha = settings.cutmix if cut else settings.mixup
    share = float(rng.beta(alpha, alpha))
    return cutmix_box(share, size, (int(rng.integers(size[0])), int(rng.integers(size[1])))) if cut else Mix(share)


def mix_images(images: Tensor, mix: Mix) -> Tensor:
    """Images [B, C, H, W] mixed with the batch in reverse order."""
    partner = images.flip(0)
    if mix.box is None:
        return images if mix.share == 1 else images * mix.share + partner * (1 - mix.share)
    top, bottom, left, right = mix.box
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = partner[:, :, top:bottom, left:right]
    return mixed


def mix_targets(labels: Tensor, classes: int, mix: Mix, smoothing: float) -> Tensor:
    """Targets [B, classes]: ``share x smoothed(label) + (1 - share) x smoothed(partner)`` of labels [B]."""
    return mixup_target(labels, classes, mix.share, smoothing)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with targets [B, K] that are shares, mean over the batch."""
    return F.cross_entropy(logits, targets)
