"""Lovasz-softmax: a loss whose value falls as the IoU of every class rises (Berman et al., CVPR 2018)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

IGNORED = 255


def lovasz_gradient(truth: Tensor) -> Tensor:
    """Gradient of the Lovasz extension of the Jaccard loss (algorithm 1).

    Args:
        truth: [N], 1 where a pixel has the class, pixels sorted by falling error.

    Returns:
        [N], what one unit of error at each place of that order adds to ``1 - IoU``.
    """
    union = truth.sum() + (1 - truth).cumsum(0)
    jaccard = 1 - (truth.sum() - truth.cumsum(0)) / union
    return torch.diff(jaccard, prepend=jaccard.new_zeros(1))


def lovasz_rows(probabilities: Tensor, labels: Tensor, classes: Literal["present", "all"] = "present") -> Tensor:
    """The loss of flat pixels, averaged over classes (equation 11).

    Args:
        probabilities: [N, K].
        labels: [N], each in 0..K-1.
        classes: "present" averages over the classes that occur in ``labels``; "all" over all K.

    Returns:
        A scalar; 0 (with a gradient of 0) when N is 0.
    """
    if not len(labels):
        return probabilities.sum() * 0.0
    chosen = labels.unique().tolist() if classes == "present" else range(probabilities.shape[1])
    losses = []
    for k in chosen:
        truth = (labels == k).to(probabilities.dtype)
        errors, order = (truth - probabilities[:, k]).abs().sort(descending=True)
        losses.append(torch.dot(errors, lovasz_gradient(truth[order])))
    return torch.stack(losses).mean()


def lovasz_softmax(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore: int = IGNORED,
    classes: Literal["present", "all"] = "present",
    per_image: bool = False,
) -> Tensor:
    """Lovasz-softmax of label maps, the whole batch as one image unless ``per_image``.

    Args:
        logits: [B, K, H, W].
        labels: [B, H, W] integers; pixels of value ``ignore`` do not count.
        classes: see :func:`lovasz_rows`.
        per_image: the mean of the images' own losses.

    Returns:
        A scalar.
    """
    if per_image:
        one_by_one = zip(logits.split(1), labels.split(1), strict=True)
        return torch.stack([lovasz_softmax(x, y, ignore=ignore, classes=classes) for x, y in one_by_one]).mean()
    known = labels != ignore
    rows = logits.permute(0, 2, 3, 1)[known]
    return lovasz_rows(rows.softmax(dim=1), labels[known], classes)
