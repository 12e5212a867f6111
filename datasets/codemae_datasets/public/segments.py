"""Outlines of objects in COCO tables, polygons or run lengths, as masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.features import rasterize


def segment_mask(segment: Any, height: int, width: int) -> npt.NDArray[np.bool_]:
    """The pixels of one object, bool [H, W].

    Args:
        segment: a list of polygons ``[x0, y0, x1, y1, ...]``, or run lengths ``{"size": [H, W], "counts": ...}`` with
            counts as a list of numbers or as COCO's packed text.

    Raises:
        ValueError: it is neither, or the run lengths do not fill the image.
    """
    if isinstance(segment, Mapping):
        counts = segment["counts"]
        return _runs(unpack_counts(counts) if isinstance(counts, str | bytes) else counts, *segment["size"])
    if not isinstance(segment, Sequence) or any(len(ring) < 6 or len(ring) % 2 for ring in segment):
        raise ValueError("a polygon needs three points or more")
    shapes = [{"type": "Polygon", "coordinates": [[*zip(ring[::2], ring[1::2], strict=True)]]} for ring in segment]
    return rasterize(shapes, out_shape=(height, width), dtype="uint8").astype(bool)


def unpack_counts(text: str | bytes) -> list[int]:
    """Run lengths of COCO's packed text: six bits per character, five of them value, one "more follows"; from the
    third run on, differences to the run before the last.
    """
    data = text.encode("ascii") if isinstance(text, str) else text
    counts: list[int] = []
    value = shift = 0
    for byte in data:
        code = byte - 48
        value |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            if code & 0x10:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts


def _runs(counts: Sequence[int], height: int, width: int) -> npt.NDArray[np.bool_]:
    if sum(counts) != height * width:
        raise ValueError(f"the runs cover {sum(counts)} of {height * width} pixels")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(width, height).T
