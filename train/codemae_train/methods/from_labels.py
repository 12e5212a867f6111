"""What methods that learn from labels share: where they start, how they learn, and what they tell of it."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from codemae_datasets.labels import measure
from codemae_datasets.samplers import EpochBatches
from codemae_train.config import Beta, LoopConfig, Part
from codemae_train.optim import parameter_groups, scaled_rate
from codemae_train.run import Method, Parts, Run
from codemae_train.start import Start
from lightning.fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from codemae_geo.errors import InputError
from codemae_geo.models.encoder import Sensor, encoder_config
from codemae_geo.progress import Reporter
from codemae_geo.weights.package import DataSource, Metric

#: bands of a model's inputs by sensor family
BANDS: dict[str, list[str]] = {"optical": ["red", "green", "blue"], "sar": ["amplitude"]}

MeanStd = Annotated[list[list[float]], Field(min_length=2, max_length=2)]


class StartModel(Part):
    """What is built, and where it starts."""

    #: backbone: a size, or keyword arguments of HiViT; null takes that of ``init``, or "base"
    encoder: str | dict[str, Any] | None = None
    #: a pretraining run, an exported encoder, a published checkpoint, a package (goes on); null starts from nothing
    init: str | None = None
    #: side of the images whose positions the backbone stores; null keeps that of ``init``, or 224
    img_size: int | None = None
    drop_path: float = Field(default=0.1, ge=0, lt=1)


class AdamTrain(LoopConfig):
    """How it is trained, by AdamW."""

    lr: float = Field(default=1e-4, gt=0)
    #: ``lr`` is for so many images a step; 0 takes it as it is
    lr_per: int = Field(default=0, ge=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)


class DrawnBatches(EpochBatches):
    """Batches of (index, epoch, place in the epoch), so that a sample knows what to draw from."""

    def __iter__(self) -> Iterator[list[Any]]:
        share = self.batch // self.world
        for number, indices in enumerate(super().__iter__(), start=self.start):
            first = number * self.batch + self.rank * share
            yield [(index, self.epoch, first + k) for k, index in enumerate(indices)]


def fill(image: Tensor, valid: Tensor, mean: Sequence[float]) -> Tensor:
    """The mean where there is no measurement, as the engine has it."""
    return torch.where(valid, image.float(), torch.tensor(mean[: len(image)])[:, None, None])


def refused(error: InputError) -> dict[str, Any]:
    """A sample that cannot be had, as what a worker may hand on."""
    return {"error": {name: getattr(error, name) for name in ("message", "found", "expected", "hint")}}


class FromLabels(Method):
    """A method that learns from labels; its recipe has ``data``, ``model`` (:class:`StartModel`) and ``train``
    (:class:`AdamTrain`).
    """

    title, exports = "fine-tuning", ("model.safetensors",)

    classes: tuple[str, ...]
    training: Any
    held_out: Any  #: what is validated on; None for nothing
    split: str  #: its name
    started: list[str]
    lr: float  #: the highest

    def parts(self, model: nn.Module, samples: Any, collate: Callable[..., Any], fabric: Fabric) -> Parts:
        """The model with its optimizer, and ``samples`` by what :class:`DrawnBatches` gives."""
        train = self.recipe.train
        sampler = DrawnBatches(
            len(self.training),
            train.batch // train.accumulate,
            train.seed,
            fabric.global_rank,
            fabric.world_size,
            train.accumulate,
            self.recipe.data.samples or None,
        )
        self.lr = scaled_rate(train.lr, train.batch, train.lr_per) if train.lr_per else train.lr
        groups = parameter_groups(model, self.lr, weight_decay=train.weight_decay, layer_decay=train.layer_decay)
        fused = fabric.device.type in ("cpu", "cuda")
        optimizer = torch.optim.AdamW(groups, lr=self.lr, betas=train.betas, fused=fused)
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return Parts(model, optimizer, samples, sampler, collate)

    def dataset(self, own: str) -> tuple[Any, Path]:
        """Class and folder of the public dataset that the recipe names.

        Args:
            own: what one may have instead: "scenes".

        Raises:
            InputError: it names none, or one that is not known.
        """
        from codemae_datasets.public import dataset_class

        data = self.recipe.data
        if data.dataset is None or data.root is None:
            raise InputError(
                "the recipe names no data",
                expected=f"data.root=FOLDER of the dataset, or {own} and labels of your own",
                hint=f"set data.root to the folder of {data.dataset}" if data.dataset else None,
            )
        return dataset_class(data.dataset), data.root

    @abstractmethod
    def input_statistics(self) -> dict[str, Any]:
        """Mean and deviation by name of the input."""

    def describe(self, run: Run) -> dict[str, Any]:
        """Data, start and classes."""
        train = self.recipe.train
        return {
            "task": self.recipe.task,
            "classes": list(self.classes),
            "samples": len(self.training),
            "held_out": {"samples": len(self.held_out), "what": self.split} if self.held_out is not None else None,
            "start": self.started,
            "learning": sum(p.numel() for p in run.bare.parameters() if p.requires_grad),
            "peak_lr": self.lr,
            "batch": {"images": train.batch, "per_process": run.sampler.batch // run.fabric.world_size},
            "statistics": self.input_statistics(),
        }

    def provenance(self, run: Run, figures: Mapping[str, float], fitted: str) -> dict[str, Any]:
        """What a package's contract says of where it comes from.

        Args:
            run: the run, ended.
            figures: of its validation.
            fitted: what was fitted on what was held out; "" for nothing.
        """
        recipe = self.recipe
        best = run.best and recipe.train.select == "best"
        rule = f"best validation, step {run.best['step']}" if best else "last step"
        return {
            "name": recipe.name,
            "licence": "as its training data and the weights that it started from require",
            "training_data": [DataSource(name=recipe.data.dataset or "labels of one's own", licence="see the data")],
            "training": f"{run.step} steps of {recipe.train.batch}; weights of the {rule}; {self.started[0]}. "
            "recipe.yaml and run.json beside this say all." + (f" {fitted} on: {self.split}." if fitted else ""),
            "metrics": [Metric(name=k, value=v, split=f"{self.split} ({rule})") for k, v in figures.items()],
            "limits": "Learnt from the data named here; nothing is known of other places, sensors and seasons.",
        }


def open_splits(
    kind: Any, root: Path, splits: Sequence[str], options: Mapping[str, Any], reporter: Reporter
) -> list[Any]:
    """Splits of a public dataset; what it warns of is told to ``reporter``."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        parts = [kind(root, split=split, **options) for split in splits]
    for warning in said:
        reporter.warning("data", str(warning.message))
    return parts


def choose_statistics(
    given: Mapping[str, Any],
    roles: Sequence[str],
    sensors: Sequence[Sensor],
    training: Any,
    start: Start | None,
    task: str,
) -> list[tuple[list[float], list[float]]]:
    """Mean and deviation of each input: of the recipe, of the package that training goes on from, or measured.

    Args:
        given: of the recipe, by role or sensor.
        roles, sensors: of the inputs.
        training: samples to measure on.
        start: what training starts from.
        task: of packages that training goes on from.
    """
    chosen = []
    continued = start.contract if start and start.contract and start.contract.task == task else None
    measured: list[Any] | None = None
    for number, (role, sensor) in enumerate(zip(roles, sensors, strict=True)):
        values = given.get(role) or given.get(sensor)
        if values is None and continued is not None and len(continued.inputs) == len(sensors):
            spec = continued.inputs[number]
            if spec.unit == "uint8":
                values = [[m / spec.scale for m in spec.mean], [s / spec.scale for s in spec.std]]
        if values is None:
            measured = measured or measure(training)
            values = [list(v) for v in measured[number]]
        mean, std = ((v * 3)[:3] if len(v) == 1 else v for v in values)
        chosen.append((list(mean), list(std)))
    return chosen


def start_config(encoder: str | dict[str, Any] | None, start: Start | None, drop: Sequence[str] = ()) -> dict[str, Any]:
    """Keyword arguments of the backbone: the recipe's, or those of what training starts from, or "base".

    Args:
        encoder: of the recipe.
        start: what training starts from; what its task had set (levels, dropped paths, classes) is left out.
        drop: more keys of it to leave out.
    """
    chosen = encoder or (start.encoder if start else None) or "base"
    config = encoder_config(chosen)
    if isinstance(chosen, dict) and encoder is None:
        for key in ("num_outs", "extra_levels", "drop_path_rate", "num_classes", *drop):
            config.pop(key, None)
    return config
