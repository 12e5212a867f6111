"""Two dates of one place, of any two sensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from codemae_datasets._compat import GeoDataset
from codemae_datasets.scenes import Sample, ScenePairs, pair_samples


class PrePost(ScenePairs):
    """Samples of the same place before and after, on the first dataset's CRS and resolution.

    The sample follows torchgeo's change detection (BRIGHT, xBD, OSCD):

    - ``image`` float32 ``[T=2, C, H, W]``, before first, where both have the same number of channels, or one of them
      has one channel (SAR): that is repeated to the other's number, as torchgeo's BRIGHT does;
    - two numbers of channels that are neither equal nor 1: ``image`` is the date before ``[C1, H, W]`` and
      ``image_post`` the date after ``[C2, H, W]``;
    - ``valid`` bool ``[H, W]``, where both are valid; with ``PrePost(...) & labels`` also where the labels are.

    Args:
        pre, post: any datasets of scenes, mosaics (``|``) included.
        max_days: pairs further apart in time are left out; None takes all.
        transforms: applied to every sample.

    Raises:
        InputError: the two do not overlap.
    """

    def __init__(
        self,
        pre: GeoDataset,
        post: GeoDataset,
        max_days: float | None = None,
        transforms: Callable[[Sample], Sample] | None = None,
    ) -> None:
        super().__init__(pre, post, max_days=max_days, transforms=transforms)
        self.collate_fn = stack_dates


def stack_dates(samples: Sequence[Mapping[str, Any]]) -> Sample:
    """Two samples of one window as torchgeo's change detection has them, see :class:`PrePost`."""
    pre, post = samples
    joined = pair_samples([{k: v for k, v in s.items() if k != "image"} for s in samples])
    a, b = pre["image"], post["image"]
    if len(a) != len(b) and 1 in (len(a), len(b)):
        channels = max(len(a), len(b))
        a, b = a.expand(channels, -1, -1), b.expand(channels, -1, -1)
    if len(a) == len(b):
        return joined | {"image": torch.stack([a, b])}
    return joined | {"image": a, "image_post": b}
