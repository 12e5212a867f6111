"""What methods that pretrain on pairs of images share: rates, validation, the contract of their encoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from codemae_datasets.pairs import PairSource, collate, raise_error
from codemae_datasets.samplers import seeded
from codemae_train import checkpoint as ckpt
from codemae_train import optim
from codemae_train.config import LoopConfig
from codemae_train.devices import to_device
from codemae_train.log import figures
from codemae_train.pairdata import Modality, PairData, encoder_limits, image_input, open_data
from codemae_train.run import Method, Parts, Run
from kornia.enhance import normalize
from lightning.fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from codemae_geo.errors import CodemaeError
from codemae_geo.progress import Reporter
from codemae_geo.weights.convert import read_checkpoint
from codemae_geo.weights.package import ArchitectureSpec, DataSource, Metric, ModelContract, save_package

#: name here -> key of a batch
KEYS: dict[str, str] = {"optical": "rgb", "sar": "sar"}


class PairTrain(LoopConfig):
    """How it is trained: the schedule, and what validation reads."""

    warmup_epochs: float = Field(default=0, ge=0)
    #: smallest rate, as a share of the highest
    min_share: float = Field(default=0, ge=0, le=1)
    #: whether the rate changes with every batch or, as DeCUR's, with every epoch
    schedule: Literal["batch", "epoch"] = "batch"
    #: batches of each validation
    validate_batches: int = Field(default=8, ge=2)


class PairMethod(Method):
    """A method on the pairs of :mod:`codemae_datasets.pairs`; subclasses say the model, its optimizer and its losses.

    Args:
        data: source and held-out items; None opens those of the recipe.
    """

    title, unit, exports = "pretraining", "pairs", ("encoder.safetensors",)
    deals = (
        Method.deals
        | {"data.kind", "data.window", "data.places", "data.holdout"}
        | {f"data.{key}" for key in ("use", "exclude", "exclude_test")}
    )

    data: PairData

    def __init__(self, recipe: Any, data: tuple[PairSource, list[Any]] | None = None) -> None:
        super().__init__(recipe)
        self._data = data
        train: PairTrain = recipe.train
        self.schedule = optim.cosine(train.epochs, warmup=train.warmup_epochs, floor=train.min_share)

    # ------------------------------------------------------------ what a subclass says

    @abstractmethod
    def make_model(self, fabric: Fabric) -> nn.Module:
        """The untrained model."""

    @abstractmethod
    def make_optimizer(self, model: nn.Module, fabric: Fabric) -> torch.optim.Optimizer:
        """An optimizer whose groups hold ``base_lr``."""

    @abstractmethod
    def losses(
        self, run: Run, model: Any, batch: dict[str, Any], generator: torch.Generator, rank: int, world: int
    ) -> Mapping[str, Tensor]:
        """Losses of a batch on its device; ``total`` among them. ``batch["rgb"]`` is uint8."""

    @abstractmethod
    def encoder(self, run: Run) -> tuple[ArchitectureSpec, dict[str, Tensor], Sequence[Modality]]:
        """What is exported: its architecture, its weights, and the modality of each of its inputs."""

    #: of the encoder's package
    description: str = ""

    # ------------------------------------------------------------ build

    def build(self, fabric: Fabric, reporter: Reporter) -> Parts:
        """See :class:`~codemae_train.run.Method`."""
        recipe = self.recipe
        self.data = data = open_data(recipe, self._data, fabric)
        self.tables = {
            "optical": data.statistics.rgb.to(fabric.device),
            "sar": data.statistics.sar.to(fabric.device),
        }
        model = self.make_model(fabric)
        if recipe.model.init:
            ckpt.load_weights(model, self.starting_state(recipe.model.init), recipe.model.init)
        return Parts(model, self.make_optimizer(model, fabric), data.source, data.sampler, collate)

    def starting_state(self, path: Path) -> dict[str, Tensor]:
        """Weights to start from, by the model's names."""
        return read_checkpoint(path)

    # ------------------------------------------------------------ step

    def rate(self, run: Run, number: int) -> float:
        """The rate of this batch; the highest of all groups is logged."""
        part = number / len(run.sampler) if self.recipe.train.schedule == "batch" else 0.0
        return optim.set_rates(run.optimizer, self.schedule(run.epoch + part))

    def step(self, run: Run, batch: dict[str, Any], number: int) -> Mapping[str, Tensor]:
        """Losses of a batch of pairs, augmented on the device."""
        generator = seeded(self.recipe.train.seed, 1, run.epoch, number)
        return self.losses(run, run.model, batch, generator, run.fabric.global_rank, run.fabric.world_size)

    def normalised(self, view: Tensor, batch: Mapping[str, Any], modality: str) -> Tensor:
        """A view in 0 to 1 by the statistics of each row's dataset."""
        chosen = self.tables[modality][batch["dataset"]]  # [B, 2, 3]
        return normalize(view, chosen[:, 0], chosen[:, 1])

    # ------------------------------------------------------------ validation

    @torch.no_grad()
    def validate(self, run: Run, batches: int | None) -> dict[str, float]:
        """Mean losses over fixed batches with fixed draws; the same on every process.

        Raises:
            CodemaeError: a loss is not finite.
        """
        batches = self.recipe.train.validate_batches if batches is None else batches
        run.model.eval()
        run.bare.gather = "none"  # the other processes hold the same rows
        sums: dict[str, float] = {}
        count = 0
        for number, items in enumerate(self.data.validation[:batches]):
            samples = [sample for sample in (run.source[item] for item in items) if not sample.get("unreadable")]
            if len(samples) < 2:
                continue
            batch = collate(samples)
            raise_error(batch)
            batch = to_device(batch, run.fabric.device)
            generator = seeded(self.recipe.train.seed, 2, number)
            with run.fabric.autocast():
                losses = self.losses(run, run.bare, batch, generator, 0, 1)
            if not torch.isfinite(losses["total"]):
                raise CodemaeError("a validation loss is not finite", found=figures(losses))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            count += 1
        run.bare.gather = "exact"
        run.model.train()
        return {name: round(value / max(count, 1), 6) for name, value in sums.items()}

    # ------------------------------------------------------------ record and export

    def describe(self, run: Run) -> dict[str, Any]:
        """Data, batch, statistics."""
        train = self.recipe.train
        return {
            "datasets": list(self.data.source.names),
            "pairs": run.steps_per_epoch * train.batch,
            "batch": {"pairs": train.batch, "per_process": run.sampler.batch // run.fabric.world_size},
            "statistics": self.data.statistics.as_dict(self.data.source.names),
        }

    def export(self, run: Run, validation: Mapping[str, float]) -> dict[str, Any]:
        """``encoder.safetensors``: a model package for embedding."""
        architecture, state, modalities = self.encoder(run)
        contract = ModelContract(
            name=self.recipe.name,
            description=self.description,
            task="embedding",
            architecture=architecture,
            inputs=[image_input(name, self.data.statistics) for name in modalities],
            overlap=0.5,
            temperature=1.0,
            window=self.recipe.model.img_size,
            licence="as its training data require",
            training_data=[DataSource(name=name, licence="see the data set") for name in self.data.source.names],
            training=f"{run.step} steps of {self.recipe.train.batch} pairs; recipe.yaml and run.json say all.",
            metrics=[Metric(name=f"loss {k}", value=v, split=self.data.validated_on) for k, v in validation.items()],
            limits=encoder_limits(self.recipe.data),
        )
        path = save_package(run.folder / self.exports[0], state, contract, overwrite=True)
        return {"encoder": str(path)}
