"""How sure a damage model is of whole buildings, and a calibration of that on buildings left out of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from codemae_geo.classes import NODATA, ClassTable
from codemae_geo.metrics import calibration
from codemae_geo.vector.buildings import choose_class, class_confidence, class_score, logit
from codemae_geo.weights.package import BuildingCalibration

#: share of a building's pixels that must not be background for it to count as found, as in `codemae damage`
MIN_SHARE = 0.1
#: smallest labelled building in pixels
SMALLEST = 16


def labelled_areas(label: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Connected areas of buildings in a label map [H, W], numbered from 1; 0 elsewhere."""
    found: NDArray[np.int64] = ndimage.label((label > 0) & (label != NODATA))[0]
    return found


def building_rows(
    regions: NDArray[np.integer[Any]],
    truth: NDArray[np.uint8],
    found: NDArray[np.uint8],
    confidence: NDArray[np.float32],
    probabilities: NDArray[np.float32],
    classes: ClassTable,
    fitted: BuildingCalibration | None = None,
) -> NDArray[np.float64]:
    """Truth, answer and confidence of every building, by the rules of `codemae damage` on footprints.

    Args:
        regions: [H, W], 0 outside buildings.
        truth, found: [H, W] class numbers; pixels of truth 255 do not count.
        confidence: [H, W] of ``found``; probabilities: [K, H, W].
        classes: the table of the values.
        fitted: the package's calibration, None for none.

    Returns:
        [N, 5]: truth, answer, confidence by the package's calibration, mean confidence of the pixels, and the score
        that a calibration is fitted on; buildings of fewer than 16 known pixels are left out.
    """
    k = len(classes)
    known = (regions > 0) & (truth != NODATA)
    ids, place = np.unique(regions[known], return_inverse=True)
    if not len(ids):
        return np.zeros((0, 5))
    size = len(ids) * k

    def shares(values: NDArray[np.uint8], weight: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        flat = place * k + values[known]
        counts = np.bincount(flat, None if weight is None else weight[known], minlength=size)
        return counts.reshape(-1, k).astype(np.float64)

    real, said, sure = shares(truth), shares(found), shares(found, confidence)
    total = said.sum(1)
    rows = np.arange(len(ids))
    chosen = choose_class(said / total[:, None], classes, MIN_SHARE)
    mean = sure[rows, chosen] / np.maximum(said[rows, chosen], 1)
    actual = choose_class(real / total[:, None], classes, MIN_SHARE)
    bands = [np.bincount(place, band[known], minlength=len(ids)).astype(np.float64) for band in probabilities]
    evidence = np.stack(bands, axis=1)
    sure_of_class = mean
    if fitted is not None:
        sure_of_class = class_confidence(evidence, chosen, classes, (fitted.slope, fitted.intercept))
    keep = (total >= SMALLEST) & (actual > 0)
    columns = [actual, chosen, sure_of_class, mean, class_score(evidence, chosen, classes)]
    return np.stack(columns, axis=1)[keep].astype(float)


def left_out(rows: NDArray[np.float64], fold: NDArray[np.bool_]) -> dict[str, Any] | None:
    """What a calibration does on buildings that it was not fitted on, and the fit on all of them.

    Args:
        rows: [N, 5] of :func:`building_rows`.
        fold: [N], the half that a building belongs to; each is judged by the fit of the other.

    Returns:
        ``ece``, ``error_of_least_certain_fifth_to_average``, ``diagram``, ``slope`` and ``intercept``; None with fewer
        than ten buildings in a half.
    """
    z, right = logit(rows[:, 4]), rows[:, 0] == rows[:, 1]
    if min(fold.sum(), (~fold).sum()) < 10:
        return None
    sure = np.zeros(len(z))
    for part in (fold, ~fold):
        slope, intercept = calibration.fit_logistic(z[~part], right[~part])
        sure[part] = 1 / (1 + np.exp(-(slope * z[part] + intercept)))
    slope, intercept = calibration.fit_logistic(z, right)
    return {
        "ece": calibration.reliability(sure, right, 10).ece,
        "error_of_least_certain_fifth_to_average": calibration.uncertain_error_ratio(sure, right),
        "diagram": calibration.reliability(sure, right, 10).as_dict(),
        "slope": slope,
        "intercept": intercept,
    }


def halves(images: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """Which half each building of some images falls in: every second image, or the two halves of a single one."""
    if len(images) == 1:
        return np.arange(len(images[0])) >= len(images[0]) / 2
    return np.repeat(np.arange(len(images)) % 2 == 1, [len(rows) for rows in images])


def fit_buildings(images: Sequence[NDArray[np.float64]], said: str) -> BuildingCalibration | None:
    """A calibration from the buildings of some images, see :func:`building_rows`.

    Returns:
        None where there are too few, or where it does no better on buildings left out than the mean of their pixels.
    """
    rows = np.concatenate(images) if images else np.zeros((0, 5))
    found = left_out(rows, halves(images)) if len(rows) else None
    if found is None:
        return None
    plain = calibration.reliability(rows[:, 3], rows[:, 0] == rows[:, 1], 10).ece
    if found["ece"] >= plain:
        return None
    figures = f"ECE {found['ece']:.3f} on those left out of the fit, {plain:.3f} without it"
    return BuildingCalibration(
        slope=round(found["slope"], 4),
        intercept=round(found["intercept"], 4),
        split=f"{len(rows)} buildings of {said}; {figures}",
    )
