"""Objects from what an exported detector says of an image, in NumPy: what torchvision does where torch is installed.

The network is dense up to the scores of its anchors, and dense again for the regions that are cut out of its maps; what
lies between, and after, is chosen box by box. Source: the published detector, :mod:`codemae_geo.models.faster_rcnn`,
whose numbers these are, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Settings:
    """How boxes are chosen, as the network was built; see :class:`codemae_geo.models.faster_rcnn.FasterRCNN`.

    Args:
        strides: of the maps, finest first; regions are cut out of all but the last.
        bases: for each map ``[3, 4]``, the anchors around the corner of its first cell.
        roi: side in cells of what is cut out for a region.
        head_std: what the head's deltas are multiplied by.
        before, proposals, proposal_iou: anchors of a map that are looked at, regions of an image, and the overlap above
            which the lower one goes.
        min_score, nms_iou, max_boxes: the same of the objects.
    """

    strides: list[int]
    bases: list[list[list[float]]]
    roi: int
    head_std: list[float]
    before: int
    proposals: int
    proposal_iou: float
    min_score: float
    nms_iou: float
    max_boxes: int


#: maps of the first four strides ``[C, h, w]``; of every stride scores ``[3, h, w]`` and deltas ``[12, h, w]``
Dense = tuple[list[Floats], list[Floats], list[Floats]]
#: cut regions ``[N, C, roi, roi]`` to logits ``[N, K + 1]`` (background last) and deltas ``[N, 4 * K]``
Head = Callable[[Floats], tuple[Floats, Floats]]


def find_boxes(dense: Dense, head: Head, size: tuple[int, int], settings: Settings) -> dict[str, NDArray[Any]]:
    """The objects of one image.

    Args:
        dense: see there.
        head: see there.
        size: height and width of the image.
        settings: see there.

    Returns:
        ``boxes [N, 4]`` (left, top, right, bottom in pixels), ``labels [N]`` from 1, ``scores [N]``, best first.
    """
    levels, scores, deltas = dense
    regions = propose(scores, deltas, size, settings)
    logits, moves = head(cut_regions(levels, regions, settings))
    chances = _softmax(logits)[:, :-1]
    boxes = decode(regions, moves, settings.head_std, size).reshape(*chances.shape, 4)
    which, label = np.nonzero(chances > settings.min_score)
    box, score = boxes[which, label], chances[which, label]
    kept = suppress(box, score, label, settings.nms_iou)[: settings.max_boxes]
    return {"boxes": box[kept], "labels": label[kept] + 1, "scores": score[kept]}


def propose(scores: Sequence[Floats], deltas: Sequence[Floats], size: tuple[int, int], settings: Settings) -> Floats:
    """The best regions of an image, ``[M, 4]``, from the scores and deltas of the anchors of every stride."""
    boxes, marks, levels = [], [], []
    for number, (stride, base) in enumerate(zip(settings.strides, settings.bases, strict=True)):
        height, width = scores[number].shape[1:]
        score = _sigmoid(scores[number].transpose(1, 2, 0).reshape(-1))
        delta = deltas[number].transpose(1, 2, 0).reshape(-1, 4)
        best = np.argsort(-score, kind="stable")[: settings.before]
        boxes.append(decode(anchors(base, height, width, stride)[best], delta[best], [1.0] * 4, size))
        marks.append(score[best])
        levels.append(np.full(len(best), number))
    box, mark, level = np.concatenate(boxes), np.concatenate(marks), np.concatenate(levels)
    whole = np.flatnonzero((box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1]))
    box, mark, level = box[whole], mark[whole], level[whole]
    return box[suppress(box, mark, level, settings.proposal_iou)[: settings.proposals]]


def anchors(base: Sequence[Sequence[float]], height: int, width: int, stride: int) -> Floats:
    """All anchors of a map, by row, column and ratio: ``[height * width * 3, 4]``."""
    y, x = np.meshgrid(np.arange(height) * stride, np.arange(width) * stride, indexing="ij")
    shift = np.stack([x, y, x, y], -1).reshape(-1, 1, 4).astype(np.float32)
    return (shift + np.asarray(base, np.float32)).reshape(-1, 4)


def decode(boxes: Floats, deltas: Floats, std: Sequence[float], size: tuple[int, int]) -> Floats:
    """Boxes ``[N, 4]`` moved by deltas ``[N, 4 * K]`` and cut to the image: ``[N, 4 * K]``."""
    moves = deltas.reshape(len(boxes), -1, 4) * np.asarray(std, np.float32)
    centre = (boxes[:, None, :2] + boxes[:, None, 2:]) / np.float32(2)
    sides = boxes[:, None, 2:] - boxes[:, None, :2]
    centre = centre + sides * moves[..., :2]
    limit = np.float32(abs(math.log(16 / 1000)))
    half = sides * np.exp(np.clip(moves[..., 2:], -limit, limit)) / np.float32(2)
    found = np.concatenate([centre - half, centre + half], -1)
    edge = np.array([size[1], size[0], size[1], size[0]], np.float32)
    return np.clip(found, 0, edge).reshape(len(boxes), moves.shape[1] * 4).astype(np.float32)


def suppress(boxes: Floats, scores: Floats, groups: NDArray[np.int64], iou: float) -> NDArray[np.int64]:
    """Of two boxes of one group that overlap by more than ``iou`` the lower one goes; numbers of the rest, best first.

    Of equal scores the first box stays.
    """
    order = np.argsort(-scores, kind="stable")
    stays = np.zeros(len(boxes), bool)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for group in np.unique(groups):
        left = order[groups[order] == group]
        while len(left):
            best, left = left[0], left[1:]
            stays[best] = True
            sides = np.minimum(boxes[best, 2:], boxes[left, 2:]) - np.maximum(boxes[best, :2], boxes[left, :2])
            shared = np.prod(np.clip(sides, 0, None), axis=1)
            left = left[shared <= np.float32(iou) * (area[best] + area[left] - shared)]
    return order[stays[order]]


def cut_regions(levels: Sequence[Floats], regions: Floats, settings: Settings) -> Floats:
    """What the maps show of each region, averaged to ``roi`` x ``roi`` cells: ``[N, C, roi, roi]``.

    RoIAlign (He et al., ICCV 2017), aligned, with as many samples a cell as it needs. The mean of bilinear samples on a
    regular grid is a product of one matrix of weights for each axis.
    """
    roi = settings.roi
    side = np.sqrt((regions[:, 2] - regions[:, 0]) * (regions[:, 3] - regions[:, 1]))
    level = np.clip(np.floor(np.log2(side / 56 + 1e-6)), 0, len(levels) - 1).astype(int)
    found = np.zeros((len(regions), levels[0].shape[0], roi, roi), np.float32)
    for number, maps in enumerate(levels):
        rows = np.ascontiguousarray(maps.transpose(1, 2, 0))
        scale = 1 / settings.strides[number]
        for n in np.flatnonzero(level == number):
            left, top, right, bottom = (float(v) * scale for v in regions[n])
            y0, y1, down = _weights(top - 0.5, bottom - top, rows.shape[0], roi)
            x0, x1, across = _weights(left - 0.5, right - left, rows.shape[1], roi)
            part = down @ rows[y0:y1, x0:x1].reshape(y1 - y0, -1)
            found[n] = (across @ part.reshape(roi, x1 - x0, -1)).transpose(2, 0, 1)
    return found


def _weights(start: float, size: float, length: int, roi: int) -> tuple[int, int, Floats]:
    """Along one axis: which cells of a map of ``length`` cells a region sees, and their weights ``[roi, cells]``."""
    samples = math.ceil(size / roi)
    if samples < 1:
        return 0, 1, np.zeros((roi, 1), np.float32)
    at = start + (np.arange(roi)[:, None] + (np.arange(samples) + 0.5) / samples) * size / roi
    weight = ((at >= -1) & (at <= length)) / samples
    low = np.clip(np.floor(at), 0, length - 1).astype(int)
    high = np.minimum(low + 1, length - 1)
    share = np.where(high > low, np.clip(at, 0, None) - low, 0.0)
    first, end = int(low.min()), int(high.max()) + 1
    table = np.zeros((roi, end - first))
    cell = np.broadcast_to(np.arange(roi)[:, None], at.shape)
    np.add.at(table, (cell, low - first), weight * (1 - share))
    np.add.at(table, (cell, high - first), weight * share)
    return first, end, table.astype(np.float32)


def _sigmoid(x: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)), np.float32)


def _softmax(x: Floats) -> Floats:
    powers = np.exp(x - x.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)
