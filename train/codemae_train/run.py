"""A run and the method that it trains: what the loop works with.

A *method* says what is trained on what; the loop (:mod:`codemae_train.loop`) knows no method. A new one is a file in
``codemae_train.methods`` with a recipe (a subclass of :class:`~codemae_train.config.BaseRecipe`) and a subclass of
:class:`Method`, given to ``loop.train(method, folder)``. It gets from the loop: the run directory, the place in the
epoch, resuming to the same curve after a kill, several processes as one, accumulation, clipping and mixed precision,
logs, checkpoints, the best validation so far, and progress with the time left.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from codemae_train.config import BaseRecipe
from lightning.fabric import Fabric
from torch import Tensor, nn

from codemae_geo.progress import Reporter


class Sampler(Protocol):
    """Batches of item numbers of one process; everything drawn is a function of seed and epoch.

    :class:`codemae_datasets.samplers.PairBatchSampler` is one, :class:`codemae_datasets.samplers.EpochBatches` another.
    """

    #: items per batch over all processes
    batch: int
    #: set by the loop before iterating
    epoch: int
    #: batches of the epoch that are done and are not given again
    start: int

    def __iter__(self) -> Iterator[list[Any]]:
        """This process's share of each batch from ``start`` on."""

    def __len__(self) -> int:
        """Batches of a whole epoch, the same on every process and in every epoch."""


@dataclass
class Parts:
    """What a method builds for a run.

    Args:
        model: on any device; trained by the loop. Parameters that do not learn have ``requires_grad`` off.
        optimizer: over the model's parameters. Groups may hold ``base_lr`` and ``lr_scale``, see
            :func:`codemae_train.optim.set_rates`.
        source: ``source[item]`` is one sample, a dict; ``{"error": {...}}`` stops the run with an
            :class:`~codemae_geo.errors.InputError` of these arguments, ``"unreadable"`` names files passed over.
        sampler: which items make which batch.
        collate: samples to a batch, a dict.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    source: Any
    sampler: Sampler
    collate: Callable[[Sequence[Any]], dict[str, Any]]


class Method(ABC):
    """One kind of training.

    Args:
        recipe: what is asked for; ``recipe.train`` holds the loop's settings, ``recipe.data`` those of loading.

    The loop calls :meth:`build` once, :meth:`rate` and :meth:`step` for every batch, :meth:`validate` now and then, and
    :meth:`export` at the end (in the first process). Whatever :meth:`step` draws must come from
    ``seeded(seed, number, run.epoch, batch)``, for the batches of all processes alike, so that a resumed run continues
    its curve and several processes see what one would.
    """

    #: the stage's name, "pretraining"
    title: str
    #: what a batch counts; the log's column is ``<unit>_per_s``
    unit: str = "images"
    #: recipe keys that say which images are in which batch: where one has changed, a broken epoch begins again
    deals: frozenset[str] = frozenset({"train.batch", "train.accumulate", "train.seed"})
    #: files that :meth:`export` writes, and that a run started over removes
    exports: Sequence[str] = ()

    def __init__(self, recipe: Any) -> None:
        self.recipe = recipe

    @abstractmethod
    def build(self, fabric: Fabric, reporter: Reporter) -> Parts:
        """Data, model and optimizer. Nothing is written yet; bad input is refused here."""

    def ready(self, run: Run) -> None:  # noqa: B027  (most need nothing)
        """Called once when the run stands: what needs the model on its device."""

    @abstractmethod
    def rate(self, run: Run, number: int) -> float:
        """Set the optimizer's rates for the step that begins with batch ``number`` of the epoch; what the log shows."""

    @abstractmethod
    def step(self, run: Run, batch: dict[str, Any], number: int) -> Mapping[str, Tensor]:
        """Losses of one batch through ``run.model``; ``total`` is what the loop takes the gradient of.

        The same names in the same order for every batch: they are the log's columns. What was drawn may be put into
        ``batch``, which is saved if the loss is not finite.
        """

    @abstractmethod
    def validate(self, run: Run, batches: int | None) -> dict[str, float]:
        """Figures on data that is not trained on where there is some, the same on every process.

        Args:
            batches: as a trial only so many; None is all.
        """

    def score(self, validation: Mapping[str, float]) -> float | None:
        """What a validation is judged by, the higher the better; None keeps no best weights."""
        return None

    def export(self, run: Run, validation: Mapping[str, float]) -> dict[str, Any]:
        """Write what the run is for into ``run.folder``; returns what to add to the run's result."""
        return {}

    def describe(self, run: Run) -> dict[str, Any]:
        """What the run's record says beyond what the loop knows."""
        return {}

    def state(self) -> dict[str, Any]:
        """Tensors and plain values that a checkpoint must hold beyond model, optimizer and place."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027  (most need nothing)
        """Put back what :meth:`state` gave."""


@dataclass
class Run:
    """Everything a run works with."""

    method: Method
    fabric: Fabric
    folder: Path
    reporter: Reporter
    model: Any  #: wrapped by Fabric
    bare: Any  #: the model itself
    optimizer: Any
    source: Any
    sampler: Any
    collate: Callable[[Sequence[Any]], dict[str, Any]]
    epoch: int = 0
    batch_in_epoch: int = 0  #: batches of the epoch done, accumulated ones counted
    step: int = 0  #: optimizer steps done
    best: dict[str, Any] = field(default_factory=dict)  #: step, score and figures of the best validation so far
    unreadable: set[str] = field(default_factory=set)

    @property
    def recipe(self) -> BaseRecipe:
        """The method's recipe."""
        return self.method.recipe

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return len(self.sampler) // self.recipe.train.accumulate

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run: those before this epoch, and the rest as the recipe has them now."""
        train = self.recipe.train
        before = self.step - self.batch_in_epoch // train.accumulate
        total = before + (train.epochs - self.epoch) * self.steps_per_epoch
        return min(total, train.max_steps) if train.max_steps else total

    @property
    def ended(self) -> bool:
        """Whether ``max_steps`` are done."""
        return 0 < self.recipe.train.max_steps <= self.step
