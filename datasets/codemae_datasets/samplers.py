"""Batches that are wholly paired or wholly unpaired, the same number on every rank, in an order that can be resumed.

All randomness is a function of (seed, epoch): whoever knows these knows every batch, so a run that was stopped needs
only the number of batches it has done, and N processes deal out what one process would have used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

from codemae_datasets.pairs import PairSource
from codemae_geo.errors import InputError


def seeded(*numbers: int) -> torch.Generator:
    """A generator whose state depends on every one of the numbers."""
    state = 0
    for number in numbers:
        state = (state * 6364136223846793005 + number + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(state)


def deal_batches(
    paired: Sequence[Any], unpaired: Sequence[Any], batch: int, generator: torch.Generator
) -> list[list[Any]]:
    """Shuffle both lists, cut each into whole batches, mix the batches. What does not fill a batch waits for its turn.

    Args:
        batch: items per batch, over all ranks.

    Raises:
        InputError: a list that is not empty does not fill one batch, so none of its images would ever be seen.
    """
    batches: list[list[Any]] = []
    for items, what in ((paired, "pairs"), (unpaired, "unpaired images")):
        if 0 < len(items) < batch:
            raise InputError(
                f"A batch is larger than the {what} there are.",
                found=f"{batch} in a batch, {len(items)} {what}",
                expected=f"at most {len(items)}",
                hint=f"set train.batch={len(items)} or less",
            )
        order = torch.randperm(len(items), generator=generator).tolist()
        whole = len(items) // batch * batch
        batches += [[items[i] for i in order[k : k + batch]] for k in range(0, whole, batch)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


class PairBatchSampler(Sampler[list[Any]]):
    """Batch sampler of one rank; give it to a loader as ``batch_sampler``.

    Args:
        source: what to draw from.
        batch: items per batch over all ranks; divides by ``world``.
        seed: of everything drawn.
        rank, world: this process, number of processes.
        accumulate: batches per optimizer step; an epoch ends with a whole step.

    Set ``epoch`` and ``start`` (batches of the epoch already done) before iterating.

    Raises:
        InputError: the batch does not divide by the ranks, or is larger than the dataset.
    """

    def __init__(
        self, source: PairSource, batch: int, seed: int = 0, rank: int = 0, world: int = 1, accumulate: int = 1
    ) -> None:
        if batch % world:
            raise InputError(
                "The batch cannot be dealt out evenly.",
                found=f"{batch} items, {world} processes",
                expected=f"a multiple of {world}",
                hint=f"set train.batch={max(world, batch // world * world) * accumulate}",
            )
        self.source, self.batch, self.seed = source, batch, seed
        self.rank, self.world, self.accumulate = rank, world, accumulate
        self.epoch = 0
        self.start = 0
        self._dealt: tuple[int, list[list[Any]]] | None = None
        if not len(self):
            raise InputError(
                "An optimizer step needs more images than there are.",
                found=f"{batch * accumulate} images in a step",
                hint="set a smaller train.batch",
            )

    def batches(self) -> list[list[Any]]:
        """All batches of the epoch, for all ranks."""
        if self._dealt is None or self._dealt[0] != self.epoch:
            generator = seeded(self.seed, self.epoch)
            paired, unpaired = self.source.paired_items(generator), self.source.unpaired_items(generator)
            dealt = deal_batches(paired, unpaired, self.batch, generator)
            self._dealt = (self.epoch, dealt[: len(dealt) // self.accumulate * self.accumulate])
        return self._dealt[1]

    def __iter__(self) -> Iterator[list[Any]]:
        share = self.batch // self.world
        for items in self.batches()[self.start :]:
            yield items[self.rank * share : (self.rank + 1) * share]

    def __len__(self) -> int:
        """Batches of a whole epoch, the same on every rank and in every epoch."""
        return len(self.batches())
