"""CoDe-MAE pretraining as a method of the loop. Read top to bottom: build, step, validation, data, export.

All randomness of the data (order, places, crops, masks) is a function of seed, epoch and batch number, drawn for the
global batch; so a resumed run continues its loss curve, and several processes see what one would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from codemae_datasets.pairs import PairSource, Statistics, collate, measure, raise_error
from codemae_datasets.samplers import PairBatchSampler, seeded
from codemae_datasets.transforms import PairTransform, Views
from codemae_train import checkpoint as ckpt
from codemae_train.config import DataConfig, Recipe, TrainConfig
from codemae_train.devices import to_device
from codemae_train.log import figures
from codemae_train.run import Method, Parts, Run
from lightning.fabric import Fabric
from torch import Tensor

from codemae_geo.errors import CodemaeError, InputError
from codemae_geo.models import build
from codemae_geo.models.codemae import CoDeMAE, Losses, imagenet_state
from codemae_geo.models.precision import has_bf16
from codemae_geo.models.teacher import LICENCE, Teacher, load_teacher, small_teacher
from codemae_geo.progress import Reporter
from codemae_geo.weights.convert import read_checkpoint
from codemae_geo.weights.package import ArchitectureSpec, DataSource, InputSpec, Metric, ModelContract, save_package


class Pretraining(Method):
    """CoDe-MAE on pairs of optical and SAR images.

    Args:
        data: source and held-out items; None opens those of the recipe.
    """

    title, unit, exports = "pretraining", "pairs", ("encoder.safetensors",)
    deals = (
        Method.deals
        | {"data.kind", "data.window", "data.places", "data.holdout"}
        | {f"data.{key}" for key in ("use", "exclude", "exclude_test")}
    )

    recipe: Recipe
    teacher: Teacher | None
    source: PairSource
    statistics: Statistics
    transform: PairTransform
    #: fixed batches, and what they are of
    validation: list[list[Any]]
    validated_on: str

    def __init__(self, recipe: Recipe, data: tuple[PairSource, list[Any]] | None = None) -> None:
        super().__init__(recipe)
        self._data = data

    # ------------------------------------------------------------ build

    def build(self, fabric: Fabric, reporter: Reporter) -> Parts:
        """See :class:`~codemae_train.run.Method`."""
        recipe, train = self.recipe, self.recipe.train
        self.source, held_out = self._data or open_source(recipe.data)
        sampler = PairBatchSampler(
            self.source,
            train.batch // train.accumulate,
            train.seed,
            fabric.global_rank,
            fabric.world_size,
            train.accumulate,
        )
        self.statistics = source_statistics(recipe.data, self.source, sampler)
        self.transform = PairTransform(self.statistics, recipe.model.img_size, augment=train.augment).to(fabric.device)
        self.teacher = open_teacher(recipe) if recipe.model.distill else None
        model = build("codemae", recipe.model.build_args(self.teacher.dim if self.teacher else 1024))
        assert isinstance(model, CoDeMAE)
        if recipe.model.init:
            initialise(model, recipe.model.init)
        # as published: biases and norms do not decay, everything else does, position tables included
        decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": train.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        fused = fabric.device.type in ("cpu", "cuda")  # one kernel for all; float16 scaling and clipping agree
        optimizer = torch.optim.AdamW(groups, lr=peak_rate(train), betas=train.betas, fused=fused)
        self.validation = validation_batches(recipe, held_out, sampler)
        self.validated_on = "held-out area" if held_out else "images of the training set"
        return Parts(model, optimizer, self.source, sampler, collate)

    def ready(self, run: Run) -> None:
        """The teacher onto the device, in its precision."""
        if self.teacher is None:
            return
        train, device = self.recipe.train, run.fabric.device
        self.teacher = self.teacher.to(device)
        if train.teacher_precision == "bf16" or (
            train.teacher_precision == "auto" and train.precision == "32-true" and has_bf16(device)
        ):
            self.teacher.to_bf16()

    # ------------------------------------------------------------ step

    def rate(self, run: Run, number: int) -> float:
        """The rate of this batch, as published."""
        rate = rate_at(self.recipe.train, run.epoch + number / len(run.sampler))
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def step(self, run: Run, batch: dict[str, Any], number: int) -> dict[str, Tensor]:
        """Losses of a batch of pairs, augmented and masked on the device."""
        views, noise = self.make_views(run, batch, seeded(self.recipe.train.seed, 1, run.epoch, number))
        batch["noise"] = noise
        return self.compute(run, run.model, views, noise, batch["paired"])._asdict()

    def make_views(self, run: Run, batch: dict[str, Any], generator: torch.Generator) -> tuple[Views, Tensor]:
        """Augmented images and masking noise of this rank, drawn for the batches of all ranks."""
        rank, world = run.fabric.global_rank, run.fabric.world_size
        views = self.transform(batch, generator, rank, world)
        rows, patches = len(views.rgb), run.bare.absolute_pos_embed.shape[1]
        noise = torch.rand(rows * world, patches, generator=generator)
        one_mask = self.recipe.train.masks == "batch"
        own = noise[:1].expand(rows, -1) if one_mask else noise[rank * rows : (rank + 1) * rows]
        return views, own.to(run.fabric.device)

    def compute(self, run: Run, model: Any, views: Views, noise: Tensor, paired: bool) -> Losses:
        """Teacher and model on one batch."""
        tokens = None
        if self.teacher is not None:
            with run.fabric.autocast():
                tokens = self.teacher(views.rgb_01)
        return model(views.rgb, views.sar, paired, tokens, noise, views.rgb_01, views.sar_01)

    # ------------------------------------------------------------ validation

    @torch.no_grad()
    def validate(self, run: Run, batches: int | None) -> dict[str, float]:
        """Mean losses over fixed batches with fixed masks, whole images resized; the same on every process.

        ``cross`` and ``contrast`` are means over the paired batches alone, which have them.

        Raises:
            CodemaeError: a loss is not finite.
        """
        batches = self.recipe.train.validate_batches if batches is None else batches
        run.model.eval()
        sums: dict[str, float] = dict.fromkeys(Losses._fields, 0.0)
        counts: dict[str, int] = dict.fromkeys(Losses._fields, 0)
        gather, run.bare.gather = run.bare.gather, "none"  # the other processes hold the same rows
        for number, items in enumerate(self.validation[:batches]):
            samples = [run.source[item] for item in items]
            # what was put in the place of an unreadable image is not of the validation's choice
            rows = [row for row, sample in enumerate(samples) if not sample.get("unreadable")]
            if not rows:
                continue
            batch = collate([samples[row] for row in rows])
            raise_error(batch)
            batch = to_device(batch, run.fabric.device)
            generator = seeded(self.recipe.train.seed, 2, number)
            views = PairTransform.forward(self.transform, batch)  # no generator: nothing is drawn
            noise = torch.rand(len(items), run.bare.absolute_pos_embed.shape[1], generator=generator)[rows]
            with run.fabric.autocast():
                losses = self.compute(run, run.bare, views, noise.to(run.fabric.device), batch["paired"])
            if not torch.isfinite(losses.total):
                raise CodemaeError("a validation loss is not finite", found=figures(losses._asdict()))
            for name, value in losses._asdict().items():
                sums[name] += float(value)
                counts[name] += batch["paired"] or name not in ("cross", "contrast")
        run.bare.gather = gather
        run.model.train()
        return {name: round(value / max(counts[name], 1), 6) for name, value in sums.items()}

    # ------------------------------------------------------------ record and export

    def describe(self, run: Run) -> dict[str, Any]:
        """Teacher, data, batch, statistics."""
        train = self.recipe.train
        return {
            "teacher": None
            if self.teacher is None
            else {
                "name": self.recipe.model.teacher,
                "licence": LICENCE,
                "precision": "bf16" if self.teacher.bf16 else train.precision,
            },
            "datasets": list(self.source.names),
            "pairs": run.steps_per_epoch * train.batch,
            "peak_lr": peak_rate(train),
            "batch": {
                "pairs": train.batch,
                "images": 2 * train.batch,
                "per_process": run.sampler.batch // run.fabric.world_size,
            },
            "statistics": self.statistics.as_dict(self.source.names),
        }

    def export(self, run: Run, validation: Mapping[str, float]) -> dict[str, Any]:
        """``encoder.safetensors``: the encoder with both tokenizers and pyramid, a model package for embedding."""
        recipe, tables = self.recipe, self.statistics
        inputs = []
        for name, bands, table in (
            ("optical", ["red", "green", "blue"], tables.rgb),
            ("sar", ["amplitude"], tables.sar),
        ):
            mean, std = table.mean(dim=0).tolist()  # of all datasets alike
            family: Any = "optical" if name == "optical" else "sar"
            inputs.append(
                InputSpec(name=name, family=family, bands=bands, unit="uint8", scale=1 / 255, mean=mean, std=std)
            )
        stretched = {"Optical": recipe.data.optical_stretch, "SAR": recipe.data.sar_stretch}
        limits = ["A backbone: it draws no map. Normalisation is the mean over its data sets."]
        limits += [f"{name} values {s[0]:g} to {s[1]:g} became 0 to 255 before." for name, s in stretched.items() if s]
        contract = ModelContract(
            name=recipe.name,
            description="Backbone pretrained on optical-SAR images with CoDe-MAE: one embedding per image.",
            task="embedding",
            architecture=ArchitectureSpec(name="encoder", config={"encoder": recipe.model.build_args(1024)["encoder"]}),
            inputs=inputs,
            overlap=0.5,
            temperature=1.0,
            window=recipe.model.img_size,
            licence="as its training data and, where one was used, its teacher require",
            training_data=[DataSource(name=name, licence="see the data set") for name in self.source.names],
            training=f"{run.step} steps of {recipe.train.batch} pairs; recipe.yaml and run.json beside this say all.",
            metrics=[Metric(name=f"loss {k}", value=v, split=self.validated_on) for k, v in validation.items()],
            limits=" ".join(limits),
        )
        path = save_package(run.folder / self.exports[0], run.bare.encoder_state(), contract, overwrite=True)
        return {"encoder": str(path)}


# ---------------------------------------------------------------- parts


def initialise(model: CoDeMAE, path: Path) -> None:
    """Load starting weights: a pretraining checkpoint of the same form, or iTPN's ImageNet weights.

    Raises:
        ModelError: the file cannot be read, or differs (first keys named).
    """
    state = read_checkpoint(path)
    if any(name.startswith("patch_embed.") for name in state):
        model.load_state_dict(imagenet_state(state, model), strict=False)
    else:
        ckpt.load_weights(model, state, path)


def open_teacher(recipe: Recipe) -> Teacher:
    """The recipe's teacher, frozen."""
    return small_teacher() if recipe.model.teacher == "random-small" else load_teacher(recipe.model.teacher)


def peak_rate(train: TrainConfig) -> float:
    """Learning rate after warm-up: the base rate x images per step / 256; both images of a pair count."""
    return train.base_lr * 2 * train.batch / 256


def rate_at(train: TrainConfig, epoch: float) -> float:
    """Linear warm-up, then half a cosine to ``min_lr``, per batch as published."""
    if epoch < train.warmup_epochs:
        return peak_rate(train) * epoch / train.warmup_epochs
    share = (epoch - train.warmup_epochs) / max(train.epochs - train.warmup_epochs, 1e-9)
    return train.min_lr + (peak_rate(train) - train.min_lr) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


# ---------------------------------------------------------------- data


def open_source(data: DataConfig) -> tuple[PairSource, list[Any]]:
    """The source of images and the items held out of training (none in the published layout).

    Raises:
        InputError: a folder is not given or cannot be used.
    """
    if data.kind != "scenes":
        from codemae_datasets.ospretrain import OSPretrain
        from codemae_datasets.packed import PackedPairs

        if data.root is None:
            raise InputError("the recipe names no data folder", hint="set data.root=FOLDER")
        source = OSPretrain if data.kind == "ospretrain" else PackedPairs
        return source(data.root, data.use, data.exclude, data.exclude_test, data.skip_unreadable), []
    from codemae_datasets.places import RandomPlaces
    from codemae_datasets.scenes import OpticalScenes, SARScenes

    if data.optical is None or data.sar is None:
        raise InputError("the recipe names no folders of scenes", hint="set data.optical=FOLDER data.sar=FOLDER")
    optical = OpticalScenes(data.optical, stretch=data.optical_stretch)
    pairs = optical & SARScenes(data.sar, stretch=data.sar_stretch, crs=optical.crs, res=optical.res)
    if data.holdout is None:
        return RandomPlaces(pairs, data.window, data.places, skip_unreadable=data.skip_unreadable), []
    area = data.holdout
    if isinstance(area, float | int):
        x, y = pairs.bounds[:2]
        area = (x.stop - float(area) * (x.stop - x.start), y.start, x.stop, y.stop)
    held_out = RandomPlaces(pairs, data.window, 1, inside=area).grid_items()
    training = RandomPlaces(pairs, data.window, data.places, holdout=[area], skip_unreadable=data.skip_unreadable)
    return training, held_out


def source_statistics(data: DataConfig, source: PairSource, sampler: PairBatchSampler) -> Statistics:
    """Published statistics, or those of some hundred images of the first epoch."""
    if data.kind != "scenes" and data.statistics == "published":
        return source.statistics()  # type: ignore[attr-defined]
    items = [item for batch in sampler.batches() for item in batch]
    return measure(source, items[:: max(1, len(items) // 256)], len(source.names))


def validation_batches(recipe: Recipe, held_out: list[Any], sampler: PairBatchSampler) -> list[list[Any]]:
    """Fixed batches: of the held-out items spread over their area, or the first ones of the first epoch."""
    count, size = recipe.train.validate_batches, recipe.train.batch // recipe.train.accumulate
    if not held_out:
        return [items[:64] for items in sampler.batches()[:count]]
    size = min(size, 64, len(held_out))
    order = torch.randperm(len(held_out), generator=seeded(recipe.train.seed, 3)).tolist()
    return [[held_out[i] for i in order[k : k + size]] for k in range(0, len(order) - size + 1, size)][:count]
