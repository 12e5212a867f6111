"""Splits that a paper names by a ratio or a number of shots, drawn by class and by seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codemae_geo.errors import InputError


def split_by_ratio(labels: Sequence[int], ratio: float, seed: int = 0) -> tuple[list[int], list[int]]:
    """Stratified split, "AID 20 %" or "RESISC45 10 %": the share ``ratio`` of every class, and the rest.

    Each class is shuffled by its own generator, seeded with (seed, class): the draw of one class does not depend on the
    others. A class of n >= 2 items gives round(n * ratio) of them, at least one and at most n - 1; one item stays in
    the first part.

    Args:
        labels: class of each item.
        ratio: share of the first part, between 0 and 1.
        seed: another seed, another draw.

    Returns:
        Positions in ``labels`` of the first part and of the second, ascending.

    Raises:
        InputError: the ratio is not between 0 and 1.
    """
    if not 0 < ratio < 1:
        raise InputError(
            f"{ratio:g} is not a ratio to split by", expected="a number between 0 and 1", hint="use 0.2 for 20 %"
        )
    first: list[int] = []
    second: list[int] = []
    for members in _shuffled(labels, seed):
        count = max(1, min(len(members) - 1, round(len(members) * ratio)))
        first += members[:count]
        second += members[count:]
    return sorted(first), sorted(second)


def few_shot(labels: Sequence[int], k: int, seed: int = 0) -> list[int]:
    """``k`` items of every class ("40-shot"), drawn as in :func:`split_by_ratio`; a smaller class gives all it has.

    The draws are nested: with one seed, the 10 shots are among the 40.

    Returns:
        Positions in ``labels``, ascending.

    Raises:
        InputError: ``k`` is less than one.
    """
    if k < 1:
        raise InputError(f"{k} is not a number of shots", expected="1 or more")
    return sorted(i for members in _shuffled(labels, seed) for i in members[:k])


def _shuffled(labels: Sequence[int], seed: int) -> list[list[int]]:
    values = np.asarray(labels, dtype=np.int64)
    return [
        np.random.default_rng([seed, int(label)]).permutation(np.flatnonzero(values == label)).tolist()
        for label in np.unique(values)
    ]
