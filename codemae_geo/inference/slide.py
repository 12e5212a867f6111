"""The sliding window of the published evaluations: logits summed, divided by the count; no softmax, no tapering.

Maps of scenes are made by :mod:`codemae_geo.inference.engine`, whose windows fade out towards their edges. This one
exists so that a published figure can be measured the way it was published, on test images that fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def windows(size: tuple[int, int], window: int, stride: int) -> list[tuple[int, int, int, int]]:
    """(top, left, bottom, right) of the windows over an image of ``size`` (rows, columns), row by row.

    The last window of a row or column is moved back inside; an image smaller than the window is one window.
    """
    starts = []
    for length in size:
        count = max(length - window + stride - 1, 0) // stride + 1
        starts.append([max(min(i * stride, length - window), 0) for i in range(count)])
    return [(y, x, min(y + window, size[0]), min(x + window, size[1])) for y in starts[0] for x in starts[1]]


@torch.inference_mode()
def slide(
    model: Callable[..., Tensor | tuple[Tensor, ...]], *images: Tensor, window: int = 512, stride: int = 256
) -> tuple[Tensor, ...]:
    """Mean logits of every pixel.

    Args:
        model: takes one tensor [B, C, h, w] per image, returns logits [B, K, h, w] or a tuple of such.
        images: [B, C, H, W] each, normalised, same size.
        window, stride: in pixels.

    Returns:
        One tensor [B, K, H, W] for each that the model returns.
    """
    size = (images[0].shape[-2], images[0].shape[-1])
    totals: list[Tensor] = []
    count = images[0].new_zeros(size)
    for top, left, bottom, right in windows(size, window, stride):
        answer = model(*(x[..., top:bottom, left:right] for x in images))
        parts = answer if isinstance(answer, tuple) else (answer,)
        if not totals:
            totals = [p.new_zeros((*p.shape[:2], *size), dtype=torch.float32) for p in parts]
        for total, part in zip(totals, parts, strict=True):
            total[..., top:bottom, left:right] += part
        count[top:bottom, left:right] += 1
    return tuple(total / count for total in totals)
