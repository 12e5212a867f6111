"""CoDe-MAE pretraining as a method of the loop. Read top to bottom: build, step, validation, export.

All randomness of the data (order, places, crops, masks) is a function of seed, epoch and batch number, drawn for the
global batch; so a resumed run continues its loss curve, and several processes see what one would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from codemae_datasets.pairs import PairSource, collate, raise_error
from codemae_datasets.samplers import seeded
from codemae_datasets.transforms import PairTransform, Views
from codemae_train import checkpoint as ckpt
from codemae_train.config import Recipe, TrainConfig
from codemae_train.devices import to_device
from codemae_train.log import figures
from codemae_train.pairdata import PairData, encoder_limits, image_input, open_data
from codemae_train.run import Method, Parts, Run
from lightning.fabric import Fabric
from torch import Tensor

from codemae_geo.errors import CodemaeError
from codemae_geo.models import build
from codemae_geo.models.codemae import CoDeMAE, Losses, imagenet_state
from codemae_geo.models.precision import has_bf16
from codemae_geo.models.teacher import LICENCE, Teacher, load_teacher, small_teacher
from codemae_geo.progress import Reporter
from codemae_geo.weights.convert import read_checkpoint
from codemae_geo.weights.package import ArchitectureSpec, DataSource, Metric, ModelContract, save_package


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
    data: PairData
    transform: PairTransform

    def __init__(self, recipe: Recipe, data: tuple[PairSource, list[Any]] | None = None) -> None:
        super().__init__(recipe)
        self._data = data

    # ------------------------------------------------------------ build

    def build(self, fabric: Fabric, reporter: Reporter) -> Parts:
        """See :class:`~codemae_train.run.Method`."""
        recipe, train = self.recipe, self.recipe.train
        self.data = data = open_data(recipe, self._data, fabric)
        self.transform = PairTransform(data.statistics, recipe.model.img_size, augment=train.augment).to(fabric.device)
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
        return Parts(model, optimizer, data.source, data.sampler, collate)

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
        for number, items in enumerate(self.data.validation[:batches]):
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
            "datasets": list(self.data.source.names),
            "pairs": run.steps_per_epoch * train.batch,
            "peak_lr": peak_rate(train),
            "batch": {
                "pairs": train.batch,
                "images": 2 * train.batch,
                "per_process": run.sampler.batch // run.fabric.world_size,
            },
            "statistics": self.data.statistics.as_dict(self.data.source.names),
        }

    def export(self, run: Run, validation: Mapping[str, float]) -> dict[str, Any]:
        """``encoder.safetensors``: the encoder with both tokenizers and pyramid, a model package for embedding."""
        recipe = self.recipe
        contract = ModelContract(
            name=recipe.name,
            description="Backbone pretrained on optical-SAR images with CoDe-MAE: one embedding per image.",
            task="embedding",
            architecture=ArchitectureSpec(name="encoder", config={"encoder": recipe.model.build_args(1024)["encoder"]}),
            inputs=[image_input(name, self.data.statistics) for name in ("optical", "sar")],
            overlap=0.5,
            temperature=1.0,
            window=recipe.model.img_size,
            licence="as its training data and, where one was used, its teacher require",
            training_data=[DataSource(name=name, licence="see the data set") for name in self.data.source.names],
            training=f"{run.step} steps of {recipe.train.batch} pairs; recipe.yaml and run.json beside this say all.",
            metrics=[Metric(name=f"loss {k}", value=v, split=self.data.validated_on) for k, v in validation.items()],
            limits=encoder_limits(recipe.data),
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
