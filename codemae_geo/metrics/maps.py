"""Figures of class maps, all from one confusion table.

Rows of a table are the truth, columns the answer; pixels without a label are not in it. Everything is a share of 1.
Published programs differ in what they do about a class that does not occur, so that is always said:
``absent="leave out"`` is mmsegmentation's way, ``absent="zero"`` that of the BRIGHT benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from codemae_geo.metrics._need import torchmetrics

Absent = Literal["leave out", "zero"]
Table = NDArray[np.float64]
#: what BRIGHT's program adds to its divisors
EPS = 1e-7


def confusion(truth: Tensor, found: Tensor, classes: int, *, ignore: int = 255) -> Table:
    """Counts [classes, classes] of integer tensors of one shape; ``ignore`` in ``truth`` does not count."""
    known = truth != ignore
    table = torchmetrics().functional.classification.multiclass_confusion_matrix(
        found[known].long(), truth[known].long(), num_classes=classes, validate_args=False
    )
    return table.numpy().astype(np.float64)


def _share(part: Any, whole: Any) -> Any:
    """``part / whole``, nan where there is nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(whole) > 0, np.asarray(part, float) / whole, np.nan)


def iou(table: Table) -> Table:
    """IoU of every class [K]; nan for a class that neither occurs nor is answered."""
    hit = table.diagonal()
    return _share(hit, table.sum(0) + table.sum(1) - hit)


def mean(values: Table, absent: Absent = "leave out") -> float:
    """Mean over classes, those that are nan left out or counted as 0."""
    if absent == "zero":
        return float(np.nan_to_num(values).mean())
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def recall(table: Table) -> Table:
    """Share of every class' pixels that is found [K]; nan for a class that does not occur. Its mean is mAcc."""
    return _share(table.diagonal(), table.sum(1))


def precision(table: Table) -> Table:
    """Share of every class' answers that is right [K]; nan for a class that is never answered."""
    return _share(table.diagonal(), table.sum(0))


def f1(table: Table) -> Table:
    """F1 (Dice) of every class [K]; nan for a class that neither occurs nor is answered. Its mean is mFscore."""
    return _share(2 * table.diagonal(), table.sum(0) + table.sum(1))


def accuracy(table: Table) -> float:
    """Overall accuracy: share of right answers."""
    return float(_share(table.diagonal().sum(), table.sum()))


def kappa(table: Table) -> float:
    """Cohen's kappa; nan without pixels, and where chance alone agrees everywhere (one class is all there is)."""
    chance = _share(table.sum(0) @ table.sum(1), table.sum() ** 2)
    return float(_share(accuracy(table) - chance, 1 - chance))


def frequency_weighted_iou(table: Table) -> float:
    """IoU weighted by how often each class occurs, absent ones without weight; nan without pixels."""
    return float(np.nansum(_share(table.sum(1), table.sum()) * iou(table))) if table.any() else float("nan")


@dataclass
class MapScore:
    """Counts pixels batch by batch.

    Args:
        names: of the classes, in value order.
        ignore: label value that does not count.
    """

    names: Sequence[str]
    ignore: int = 255
    table: Table = field(init=False)

    def __post_init__(self) -> None:
        self.table = np.zeros((len(self.names),) * 2)

    def add(self, truth: Tensor, found: Tensor) -> None:
        """Integer tensors of one shape."""
        self.table += confusion(truth, found, len(self.names), ignore=self.ignore)

    def figures(self) -> dict[str, Any]:
        """See :func:`map_figures`."""
        return map_figures(self.table, self.names)


def map_figures(table: Table, names: Sequence[str]) -> dict[str, Any]:
    """Every figure of a table.

    Returns:
        ``miou``, ``miou_absent_zero``, ``macc``, ``mf1``, ``accuracy``, ``kappa``, ``fwiou``, ``absent`` (names of
        classes that the labels do not have), ``per_class`` (name -> iou, f1, recall, precision, pixels; None where a
        figure is undefined) and ``confusion``.
    """
    columns = {"iou": iou(table), "f1": f1(table), "recall": recall(table), "precision": precision(table)}
    pixels = table.sum(1)
    return {
        "miou": mean(columns["iou"]),
        "miou_absent_zero": mean(columns["iou"], "zero"),
        "macc": mean(columns["recall"]),
        "mf1": mean(columns["f1"]),
        "accuracy": accuracy(table),
        "kappa": kappa(table),
        "fwiou": frequency_weighted_iou(table),
        "absent": [name for name, count in zip(names, pixels, strict=True) if not count],
        "per_class": {
            name: {key: None if np.isnan(v[i]) else float(v[i]) for key, v in columns.items()}
            | {"pixels": int(pixels[i])}
            for i, name in enumerate(names)
        },
        "confusion": table.astype(int).tolist(),
    }


# ---------------------------------------------------------------- damage


def harmonic_mean(values: Sequence[float] | Table) -> float:
    """Harmonic mean; 0 if one value is 0, nan if there is none."""
    numbers = np.asarray(values, float)
    if not numbers.size or np.isnan(numbers).any():
        return float("nan")
    return 0.0 if (numbers == 0).any() else float(len(numbers) / (1 / numbers).sum())


def bright_damage_f1(table: Table) -> Table:
    """F1 of the damage classes [K - 1] where there is a building, with BRIGHT's divisors.

    Args:
        table: [K, K]; only rows of buildings (1 and up) are used. An absent class has F1 0, as in the program.
    """
    inside = table.copy()
    inside[0] = 0
    p = inside.diagonal() / (inside.sum(0) + EPS)
    r = inside.diagonal() / (inside.sum(1) + EPS)
    return (2 * p * r / (p + r + EPS))[1:]


def bright_localisation_f1(table: Table) -> float:
    """F1 of buildings of a [2, 2] table, with BRIGHT's divisors."""
    p = table[1, 1] / (table[:, 1].sum() + EPS)
    r = table[1, 1] / (table[1].sum() + EPS)
    return float(2 * p * r / (p + r)) if p + r else 0.0


def bright_iou(table: Table) -> Table:
    """IoU of every class [K] with BRIGHT's divisors: an absent class is 0."""
    hit = table.diagonal()
    return hit / (table.sum(0) + table.sum(1) - hit + EPS)


def bright_figures(damage: Table, localisation: Table, names: Sequence[str]) -> dict[str, Any]:
    """The figures of BRIGHT and DFC25-T2.

    Args:
        damage: [K, K] of all labelled pixels; localisation: [2, 2].
        names: of the damage classes, background first.

    Returns:
        ``miou``, ``iou``, ``localisation_f1``, ``damage_f1`` (name -> F1 inside buildings), their ``harmonic_mean``,
        ``accuracy``, ``kappa``, ``fwiou``, ``mean_class_accuracy``.
    """
    values = bright_damage_f1(damage)
    ious = bright_iou(damage)
    return {
        "miou": float(ious.mean()),
        "iou": dict(zip(names, ious.tolist(), strict=True)),
        "localisation_f1": bright_localisation_f1(localisation),
        "damage_f1": dict(zip(list(names)[1:], values.tolist(), strict=True)),
        "harmonic_mean": harmonic_mean(values),
        "accuracy": accuracy(damage),
        "kappa": kappa(damage),
        "fwiou": frequency_weighted_iou(damage),
        "mean_class_accuracy": mean(recall(damage), "zero"),
    }


def building_figures(
    truth: NDArray[np.integer[Any]], found: NDArray[np.integer[Any]], names: Sequence[str]
) -> dict[str, Any]:
    """F1 per class over buildings, each counted once, in the form of xView2's score.

    xView2 multiplies: 0.3 x localisation F1 + 0.7 x harmonic mean of the classes' F1. Footprints are given here, so
    there is no localisation term; the harmonic mean of the classes that occur is that of xView2.

    Args:
        truth: [N] classes 1 and up, of buildings that have a label.
        found: [N] classes, 0 where no building was seen.
        names: of the classes, background first.

    Returns:
        ``f1`` (name -> F1, None for a class without a labelled building), ``mean_f1`` and ``harmonic_mean`` over the
        classes that occur, ``accuracy``, ``buildings`` (name -> labelled ones), ``confusion``, and
        ``best_constant_mean_f1``: what one answer for all would reach.
    """
    k = len(names)
    table = np.bincount(np.asarray(truth) * k + np.asarray(found), minlength=k * k).reshape(k, k).astype(float)
    counts = table.sum(1)[1:]
    values = np.where(counts > 0, f1(table)[1:], np.nan)
    present = np.isfinite(values)
    constant = [2 * c / (counts.sum() + c) / max(present.sum(), 1) for c in counts if c]
    return {
        "f1": {n: float(v) if ok else None for n, v, ok in zip(list(names)[1:], values, present, strict=True)},
        "mean_f1": mean(values),
        "harmonic_mean": harmonic_mean(values[present]),
        "accuracy": accuracy(table),
        "buildings": dict(zip(list(names)[1:], counts.astype(int).tolist(), strict=True)),
        "best_constant_mean_f1": max(constant, default=float("nan")),
        "confusion": table.astype(int).tolist(),
    }
