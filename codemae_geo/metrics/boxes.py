"""Average precision of boxes as COCO defines it, by pycocotools.

101 points of recall, overlaps from 0.50 to 0.95 in steps of 0.05, at most 100 boxes an image; boxes of crowds neither
count nor cost. DIOR's mAP50 in the papers is COCO's AP at 0.50, not VOC's eleven points.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from codemae_geo.errors import ModelError

#: areas in square pixels between which an object is small, medium, large
SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}


@dataclass(frozen=True)
class BoxMetrics:
    """Shares of 1; nan where there is nothing to find (a class or a size without objects)."""

    map: float  #: mean over classes and overlaps
    map50: float  #: at overlap 0.50
    map75: float  #: at overlap 0.75
    by_size: dict[str, float] = field(default_factory=dict)  #: mAP of small, medium and large objects
    recall: dict[int, float] = field(default_factory=dict)  #: mean recall with at most 1, 10, 100 boxes an image
    ap: dict[str, float] = field(default_factory=dict)  #: of each class, over overlaps
    ap50: dict[str, float] = field(default_factory=dict)  #: of each class, at overlap 0.50
    f1: float = math.nan  #: at overlap 0.50, all classes together, of the boxes from the best score on
    threshold: float = math.nan  #: that score


def box_metrics(
    truth: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], names: Sequence[str], most: int = 100
) -> BoxMetrics:
    """COCO's metrics over a set of images.

    Args:
        truth: of each image ``boxes`` [N, 4] (left, top, right, bottom) and ``labels`` [N] from 1; optionally ``crowd``
            [N], and ``area`` [N] in square pixels where it is not that of the box.
        found: of each image ``boxes`` [M, 4], ``labels`` [M] from 1 and ``scores`` [M].
        names: of the classes, the first has label 1.
        most: boxes an image that count, best first; COCO's is 100.

    Raises:
        ModelError: pycocotools is missing, or the two lists have not the same length.
    """
    if len(truth) != len(found):
        raise ModelError(
            "truth and detections are of different images", found=f"{len(found)} images", expected=f"{len(truth)}"
        )
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ModelError(
            "average precision of boxes needs pycocotools",
            found=str(error),
            hint="pip install 'codemae-geo[detection]'",
        ) from error
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    objects, answers = _rows(truth), _rows(found)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its steps on stdout
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(1, len(truth) + 1)],
            "categories": categories,
            "annotations": objects,
        }
        coco.createIndex()
        # loadRes refuses an empty list, and an evaluation without any detection is one that found nothing
        result = COCO()
        result.dataset = {**coco.dataset, "annotations": answers}
        result.createIndex()
        evaluation = COCOeval(coco, result, "bbox")
        evaluation.params.maxDets = [1, 10, most]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # [overlaps, recalls, classes, areas, counts], -1 where nothing is to find
    recall = evaluation.eval["recall"]  # [overlaps, classes, areas, counts]

    def mean(values: NDArray[np.float64]) -> float:
        valid = values[values > -1]
        return float(valid.mean()) if valid.size else math.nan

    return BoxMetrics(
        map=mean(precision[:, :, :, 0, 2]),
        map50=mean(precision[0, :, :, 0, 2]),
        map75=mean(precision[5, :, :, 0, 2]),
        by_size={size: mean(precision[:, :, :, i, 2]) for i, size in enumerate(SIZES, 1)},
        recall={count: mean(recall[:, :, 0, i]) for i, count in enumerate((1, 10, most))},
        ap={name: mean(precision[:, :, i, 0, 2]) for i, name in enumerate(names)},
        ap50={name: mean(precision[0, :, i, 0, 2]) for i, name in enumerate(names)},
        **_best_f1(evaluation.evalImgs),
    )


def scene_metrics(truth: Mapping[str, Any], found: Mapping[str, Any], names: Sequence[str]) -> BoxMetrics:
    """COCO's metrics over one scene of any size, with no limit to its boxes.

    Boxes that overlap, over whatever chain of others, are looked at together, and each such group by itself, as no box
    can be matched beyond its group: the figures are those of the scene as one image, without all its pairs of boxes.

    Args:
        truth: ``boxes`` [N, 4] and ``labels`` [N] from 1, optionally ``crowd`` [N].
        found: ``boxes`` [M, 4], ``labels`` [M] from 1 and ``scores`` [M].
        names: of the classes, the first has label 1.

    Raises:
        ModelError: pycocotools is missing.
    """
    tables = [{key: np.asarray(value) for key, value in table.items()} for table in (truth, found)]
    boxes = np.concatenate([table["boxes"].reshape(-1, 4).astype(np.float64) for table in tables])
    group = _groups(boxes)
    parts: list[list[dict[str, Any]]] = [[], []]
    order = np.argsort(group, kind="stable")
    ends = np.flatnonzero(np.diff(group[order], append=-1)) + 1
    split = len(tables[0]["labels"])
    for start, end in itertools.pairwise([0, *ends.tolist()]):
        here = order[start:end]
        for k, rows in enumerate((here[here < split], here[here >= split] - split)):
            parts[k].append({key: value[rows] for key, value in tables[k].items()})
    most = max((len(part["labels"]) for part in parts[1]), default=0)
    return box_metrics(parts[0], parts[1], names, max(most, 100))


def _groups(boxes: NDArray[np.float64]) -> NDArray[np.int64]:
    """A number for each box [N, 4], the same for those that overlap, over whatever chain of others."""
    if not len(boxes):
        return np.empty(0, np.int64)
    tree = shapely.STRtree(shapely.box(*boxes.T))
    a, b = tree.query(tree.geometries, predicate="intersects")
    group = np.arange(len(boxes))
    while True:
        lowest = group.copy()
        np.minimum.at(lowest, a, group[b])
        lowest = lowest[lowest]  # halves chains
        if (lowest == group).all():
            return group
        group = lowest


def _best_f1(images: Sequence[Any]) -> dict[str, float]:
    """Highest F1 over all scores at overlap 0.50, classes together, and its score; from pycocotools' matches."""
    whole = [e for e in images if e is not None and e["aRng"][1] >= 1e10 and e["aRng"][0] == 0]
    count = sum(int((np.asarray(e["gtIgnore"]) == 0).sum()) for e in whole)
    scores = np.concatenate([np.asarray(e["dtScores"], np.float64) for e in whole] or [np.empty(0)])
    hits = np.concatenate([np.asarray(e["dtMatches"])[0] > 0 for e in whole] or [np.empty(0, bool)])
    counted = ~np.concatenate([np.asarray(e["dtIgnore"])[0].astype(bool) for e in whole] or [np.empty(0, bool)])
    if not count or not counted.any():
        return {}
    scores, hits = scores[counted], hits[counted]
    order = np.argsort(-scores, kind="stable")
    right, given = np.cumsum(hits[order]), np.arange(1, len(order) + 1)
    last = np.append(scores[order][1:] != scores[order][:-1], True)  # boxes of one score come or go together
    f1 = np.where(last, 2 * right / (given + count), 0.0)
    best = int(f1.argmax())
    return {"f1": float(f1[best]), "threshold": float(scores[order][best])}


def _rows(images: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Boxes of all images as COCO's annotations."""
    rows: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        boxes = np.asarray(image["boxes"], np.float64).reshape(-1, 4)
        for i, (left, top, right, bottom) in enumerate(boxes.tolist()):
            crowd = int(image["crowd"][i]) if "crowd" in image else 0
            row = {
                "id": len(rows) + 1,  # pycocotools takes the number 0 for "not matched"
                "image_id": number,
                "category_id": int(image["labels"][i]),
                "bbox": [left, top, right - left, bottom - top],
                "area": float(image["area"][i]) if "area" in image else (right - left) * (bottom - top),
                "iscrowd": crowd,
            }
            if "scores" in image:
                row["score"] = float(image["scores"][i])
            rows.append(row)
    return rows
