"""Fine-tuning as a method of the loop: scene classification, segmentation and building damage.

Read top to bottom: recipe, data, build, step, validation, export. The three tasks differ in the model that is built, in
the loss, and in what is counted; everything else is theirs together. Every draw is a function of the seed and of the
sample's place in the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from codemae_datasets.labels import (
    PublicLabels,
    SceneLabels,
    missing_classes,
    open_areas,
    scratch_folder,
    split_blocks,
)
from codemae_datasets.samplers import seeded
from codemae_train.augment import AugmentConfig, Picture, dense
from codemae_train.confidence import building_rows, fit_buildings, labelled_areas
from codemae_train.config import BaseRecipe, LoadConfig, Part
from codemae_train.methods.from_labels import (
    BANDS,
    AdamTrain,
    FromLabels,
    MeanStd,
    StartModel,
    choose_statistics,
    fill,
    open_splits,
    refused,
    start_config,
)
from codemae_train.mixing import Mixing, draw, mix_images, mix_targets, soft_cross_entropy
from codemae_train.optim import SCHEDULES, set_rates
from codemae_train.run import Method, Parts, Run
from codemae_train.start import Start, load_start, open_start
from lightning.fabric import Fabric
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from codemae_geo.classes import DAMAGE_CLASSES, NODATA, STANDARD_COLORS, ClassInfo, ClassTable
from codemae_geo.errors import InputError
from codemae_geo.inference.slide import slide
from codemae_geo.losses.dense import building_labels, damage_terms
from codemae_geo.metrics.calibration import fit_temperature
from codemae_geo.metrics.maps import MapScore, bright_figures, map_figures
from codemae_geo.models import build
from codemae_geo.models.damageformer import DamageFormer
from codemae_geo.models.encoder import TOKENIZER, Sensor
from codemae_geo.models.hivit import HiViT
from codemae_geo.models.upernet import UperNet, segmentation_loss
from codemae_geo.progress import Reporter
from codemae_geo.weights.package import (
    ArchitectureSpec,
    BuildingCalibration,
    ClassSpec,
    InputSpec,
    ModelContract,
    class_specs,
    save_package,
)

Task = Literal["classification", "segmentation", "damage"]
TASKS: tuple[Task, ...] = ("classification", "segmentation", "damage")
#: held-out buildings that a confidence of whole buildings is fitted on
BUILDINGS = 3000
#: logits kept for the temperature
CALIBRATION = 200_000

# ---------------------------------------------------------------- recipe


class FinetuneData(LoadConfig):
    """What is learnt from: a public dataset, or scenes and labels of one's own."""

    #: name in `codemae data list`, and the folder it lies in
    dataset: str | None = None
    root: Path | None = None
    #: of the dataset's class, such as bands, shots, ratio, seed, setup
    options: dict[str, Any] = Field(default={})
    #: its splits
    train: list[str] = Field(default=["train"])
    validation: list[str] = Field(default=[])
    test: list[str] = Field(default=["test"])
    #: share of the training samples that is held out to validate on, where no split is named for it
    validation_share: float = Field(default=0.0, ge=0, lt=1)
    #: validate on the test split, as the published programs do that keep the checkpoint that is best there
    validate_on: Literal["validation", "test"] = "validation"
    #: disaster that is left out of training and validated on: samples are named <event>_<number>
    leave_out: str | None = None
    #: samples of an epoch; 0 is every sample once. Recipes counted in iterations are one long epoch
    samples: int = Field(default=0, ge=0)
    #: sensor of each input in its order: of the image, or of the image before and the image after
    sensors: list[Sensor] = Field(default=["optical"], min_length=1, max_length=2)
    #: by sensor, mean and deviation on 0 to 255, one or three numbers each; damage: by "pre" and "post"; else measured
    statistics: dict[str, MeanStd] = Field(default={})

    #: scenes of one's own. One entry is one scene: a file, or a folder of tiles. Damage: pre and post go by their order
    images: list[Path] = Field(default=[])
    #: segmentation from both sensors: the radar scene of each of ``images``, on whose grid it is brought
    sar: list[Path] = Field(default=[])
    pre: list[Path] = Field(default=[])
    post: list[Path] = Field(default=[])
    #: their labels: rasters, polygons or points; one file for all scenes, or one each
    labels: list[Path] = Field(default=[])
    #: column of the class, and CRS of labels that state none
    column: str | None = None
    labels_crs: str | None = None
    #: name and stored value of each class; null takes what occurs (damage: the four damage classes by their names)
    classes: dict[str, Any] | None = None
    #: damage polygons are all the buildings there are, so what lies between is background
    background: bool = True
    #: pixels around a labelled point that get its class
    radius: float = Field(default=2.0, ge=0)
    #: what validates: a share of the blocks of every scene, or names of whole scenes (events)
    holdout: float | list[str] = 0.2
    #: side of a block in pixels
    block: int = Field(default=256, ge=32)
    #: draw windows around a pixel of each class alike
    balance: bool = True

    @property
    def own(self) -> bool:
        """Whether scenes of one's own are learnt from."""
        return bool(self.images or self.sar or self.pre or self.post or self.labels)


class FinetuneModel(StartModel):
    """What is built, and where it starts."""

    #: what learns: all; "heads": the backbone stands still; "classifier": only the last layer does
    learn: Literal["all", "heads", "classifier"] = "all"
    #: classification: batch norm without affine before the head
    norm_head: bool = False
    #: segmentation: channels of UperNet's two heads
    channels: int = Field(default=768, ge=8)
    aux_channels: int = Field(default=256, ge=0)


class FinetuneTrain(AdamTrain):
    """How it is trained."""

    #: cosine counts ``warmup`` in epochs, linear in optimizer steps ("bright" is linear as in BRIGHT's program)
    schedule: Literal["cosine", "linear", "bright", "constant"] = "cosine"
    warmup: float = Field(default=0, ge=0)
    min_lr: float = Field(default=0.0, ge=0)
    #: classification: mixup, CutMix and smoothing as in :class:`codemae_train.mixing.Mixing`; null mixes nothing
    mixing: dict[str, float] | None = None
    #: damage: "codemae" or "bright", see :data:`codemae_geo.losses.dense.DAMAGE_WEIGHTS`
    loss: Literal["codemae", "bright"] = "codemae"


class EvaluateConfig(Part):
    """How it is evaluated: windows of ``window`` every ``stride`` pixels, logits averaged; classification: the shorter
    side resized to ``resize`` and the middle ``crop`` taken.
    """

    window: int = Field(default=512, ge=32)
    stride: int = Field(default=256, ge=1)
    resize: int = Field(default=256, ge=32)
    crop: int = Field(default=224, ge=32)


class FinetuneRecipe(BaseRecipe):
    """One fine-tuning run."""

    name: str = Field(default="finetuned", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    task: Task = "segmentation"
    data: FinetuneData = FinetuneData()
    model: FinetuneModel = FinetuneModel()
    train: FinetuneTrain = FinetuneTrain(epochs=20, batch=8)
    augment: AugmentConfig = AugmentConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


# ---------------------------------------------------------------- samples


class TrainingSamples:
    """Augmented samples by what :class:`DrawnBatches` gives."""

    def __init__(self, source: Any, recipe: FinetuneRecipe, means: Sequence[Sequence[float]], picture: Picture | None):
        self.source, self.recipe, self.means, self.picture = source, recipe, means, picture

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Any]:
        index, epoch, place = key
        generator = seeded(self.recipe.train.seed, 7, epoch, place)
        try:
            drawn = isinstance(self.source, SceneLabels) and self.source.count
            sample = self.source.draw(generator) if drawn else self.source[index]
        except InputError as error:
            return refused(error)
        images, label = sample["images"], sample["label"]
        if "valid" in sample:
            images = [fill(x, sample["valid"], mean) for x, mean in zip(images, self.means, strict=True)]
        if self.picture is not None:
            return {"images": [self.picture.train(images[0], generator)], "label": label, "index": index}
        images, label = dense(images, label, self.recipe.augment, self.means, generator)
        return {"images": images, "label": label}


def collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Samples of one size to a batch: ``label``, ``image0`` (and ``image1``), and ``index`` where they tell theirs."""
    for sample in samples:
        if "error" in sample:
            return {"error": sample["error"]}
    batch = {
        key: torch.stack([torch.as_tensor(s[key]) for s in samples]) for key in ("label", "index") if key in samples[0]
    }
    for number in range(len(samples[0]["images"])):
        images = [s["images"][number] for s in samples]
        if len({x.shape for x in images}) > 1:
            return {
                "error": {
                    "message": "the images of a batch differ in size",
                    "found": " and ".join(sorted({f"{x.shape[-1]} x {x.shape[-2]}" for x in images})),
                    "hint": "set augment.crop",
                }
            }
        batch[f"image{number}"] = torch.stack(images)
    return batch


# ---------------------------------------------------------------- the method


class Finetuning(FromLabels):
    """Fine-tuning of one of :data:`TASKS`."""

    deals = Method.deals | {
        f"data.{key}"
        for key in (
            "dataset",
            "options",
            "train",
            "samples",
            "leave_out",
            "holdout",
            "validation_share",
            "images",
            "sar",
            "pre",
        )
    }

    recipe: FinetuneRecipe
    colors: tuple[str, ...]
    statistics: list[tuple[list[float], list[float]]]

    # ------------------------------------------------------------ build

    def build(self, fabric: Fabric, reporter: Reporter) -> Parts:
        """See :class:`~codemae_train.run.Method`."""
        recipe = self.recipe
        if recipe.task == "damage" and len(recipe.data.sensors) != 2:
            raise InputError("damage needs the sensors of both dates", found=", ".join(recipe.data.sensors))
        start = open_start(recipe.model.init) if recipe.model.init else None
        (self.open_own if recipe.data.own else self.open_public)(reporter)
        self.statistics = choose_statistics(
            recipe.data.statistics, self.roles(), recipe.data.sensors, self.training, start, recipe.task
        )
        model = self.build_model(start)
        for line in self.started:
            reporter.log(line)
        self.freeze(model)
        picture = None
        if recipe.task == "classification":
            mean, std = self.statistics[0]
            self.picture = picture = Picture(recipe.augment, recipe.evaluate.crop, recipe.evaluate.resize, mean, std)
        self._features: dict[int, Tensor] = {}
        self._tensors = [tuple(torch.tensor(v).view(1, -1, 1, 1) for v in pair) for pair in self.statistics]
        samples = TrainingSamples(self.training, recipe, [mean for mean, _ in self.statistics], picture)
        return self.parts(model, samples, collate, fabric)

    def open_public(self, reporter: Reporter) -> None:
        """Training and held-out samples of a public dataset.

        Raises:
            InputError: no such dataset or split, or nothing is left.
        """
        data, inputs = self.recipe.data, len(self.recipe.data.sensors)
        kind, root = self.dataset("scenes")
        options = dict(data.options)
        if hasattr(kind, "ospretrain") and len(data.sensors) == 1:
            options.setdefault("modality", data.sensors[0])

        def opened(splits: Sequence[str], keep: Any = None) -> PublicLabels | None:
            parts = open_splits(kind, root, splits, options, reporter)
            return PublicLabels(parts, inputs, keep) if parts else None

        event = data.leave_out
        if event is not None:
            splits = list(dict.fromkeys([*data.train, *data.validation, *data.test]))
            self.training = opened(splits, lambda name: name.rsplit("_", 1)[0] != event)
            self.held_out = opened(splits, lambda name: name.rsplit("_", 1)[0] == event)
            self.split = f"the event {event}, left out of training"
            assert self.held_out is not None
            if not len(self.held_out):
                known = sorted({n.rsplit("_", 1)[0] for n in self.training.names}) if self.training else []
                raise InputError(f"there is no event {event!r}", expected=", ".join(known))
        else:
            self.training = opened(data.train)
            names = data.test if data.validate_on == "test" else data.validation
            self.held_out = opened(names)
            self.split = f"{data.dataset}, {' and '.join(names)}"
        if self.training is None or not len(self.training):
            raise InputError("there is no sample to train on", found=f"splits {', '.join(data.train)}")
        if "shots" in data.options:
            for line in small_classes(self.training, int(data.options["shots"])):
                reporter.warning("shots", line)
        if self.held_out is None and data.validation_share:
            self.training, self.held_out = split_samples(self.training, data.validation_share, self.recipe.train.seed)
            self.split = f"{data.validation_share:.0%} of the training samples, held out"
        self.classes, self.colors = self.training.classes, self.training.colors

    def open_own(self, reporter: Reporter) -> None:
        """Training and held-out windows of scenes of one's own.

        Raises:
            InputError: see :func:`codemae_datasets.labels.open_areas`; or the holdout leaves nothing.
        """
        recipe, data = self.recipe, self.recipe.data
        if recipe.task == "classification":
            raise InputError("whole images are classified", expected="a dataset of one folder per class")
        groups: list[tuple[Path, ...]] = [(p,) for p in data.images]
        if recipe.task == "segmentation":
            if len(data.sar) != (len(data.images) if len(data.sensors) == 2 else 0):
                raise InputError(
                    "images and radar scenes do not go together",
                    found=f"{len(data.images)} images, {len(data.sar)} radar scenes, sensors {', '.join(data.sensors)}",
                    expected="a radar scene for each image and data.sensors=[optical,sar], or one sensor alone",
                )
            groups = list(zip(data.images, data.sar, strict=True)) if data.sar else groups
        if recipe.task == "damage":
            if len(data.pre) != len(data.post):
                raise InputError(
                    "scenes before and after do not go together",
                    found=f"{len(data.pre)} before, {len(data.post)} after",
                    expected="as many of one as of the other",
                )
            groups = list(zip(data.pre, data.post, strict=True))
        if not groups or not data.labels:
            wanted = "scenes before and after, and labels" if recipe.task == "damage" else "images and labels"
            raise InputError("there is nothing to learn from", expected=wanted)
        areas, self.classes = open_areas(
            [[[path] for path in group] for group in groups],
            data.sensors,
            self.roles(),
            data.labels,
            scratch_folder(self),
            reporter.log,
            column=data.column,
            classes=data.classes,
            damage=recipe.task == "damage",
            crs=data.labels_crs,
            background=recipe.task == "damage" and data.background,
            radius=data.radius,
        )
        side, train_labels, held_labels = max(recipe.augment.crop, 64), [], []
        names = [area.name for area in areas]
        if isinstance(data.holdout, list):
            unknown = sorted(set(data.holdout) - set(names))
            if unknown or set(data.holdout) >= set(names):
                raise InputError(
                    "the scenes to hold out cannot be chosen", found=", ".join(data.holdout), expected=", ".join(names)
                )
            for area in areas:
                nothing = np.full_like(area.label, NODATA)
                held = area.name in data.holdout
                train_labels.append(nothing if held else area.label)
                held_labels.append(area.label if held else nothing)
            self.split = f"the scenes {', '.join(data.holdout)}, left out of training"
        elif data.holdout > 0:
            for number, area in enumerate(areas):
                trained, held_part = split_blocks(area, data.holdout, data.block, recipe.train.seed + number)
                train_labels.append(trained)
                held_labels.append(held_part)
            self.split = f"{data.holdout:.0%} of the blocks of {data.block} pixels, left out of training"
        else:
            train_labels, self.split = [area.label for area in areas], ""
        largest = max(max(area.label.shape) for area in areas)
        if side > largest:
            reporter.warning("crop", f"the scenes are smaller ({largest} pixels) than the crop: the rest is padded")
        read = int(side / max(min(recipe.augment.scale), 0.25)) if recipe.augment.scale != (1.0, 1.0) else side
        count = data.samples or max(sum(int((x != NODATA).sum()) for x in train_labels) // side**2, 1)
        self.training = SceneLabels(
            areas, self.classes, read, count=max(count, recipe.train.batch), balance=data.balance, labels=train_labels,
            seed=recipe.train.seed,
        )  # fmt: skip
        self.held_out = None
        if held_labels:
            window = recipe.evaluate.window
            self.held_out = SceneLabels(areas, self.classes, window, labels=held_labels, what="validation")
        self.colors = ()
        if len(self.classes) < 2:
            raise InputError("there is one class, and nothing to tell apart", found=", ".join(self.classes))
        for name in missing_classes(self.training.pixels, self.classes):
            reporter.warning("class", f"the class {name!r} does not occur in training: it cannot be learnt")
        if self.held_out is not None:
            for name in missing_classes(self.held_out.pixels, self.classes):
                reporter.warning("class", f"the class {name!r} does not occur in validation: it is reported absent")

    def roles(self) -> list[str]:
        """Names of the inputs."""
        if self.recipe.task == "damage":
            return ["pre", "post"]
        sensors = self.recipe.data.sensors
        return ["image"] if len(sensors) == 1 else list(sensors)

    def build_model(self, start: Start | None) -> nn.Module:
        """The task's model with its starting weights."""
        recipe, settings = self.recipe, self.recipe.model
        config = start_config(settings.encoder, start)
        config["img_size"] = settings.img_size or config.get("img_size", 224)
        sensors, k = recipe.data.sensors, len(self.classes)
        if recipe.task == "classification":
            tokenizer = TOKENIZER[sensors[0]]
            config |= {"num_classes": k, "num_outs": 1, "modality": tokenizer}
            self.architecture = ArchitectureSpec(name="classifier", config=dict(config))
        elif recipe.task == "segmentation":
            config |= {"modality": "Both" if len(sensors) == 2 else TOKENIZER[sensors[0]]}
            heads = {"channels": settings.channels, "aux_channels": settings.aux_channels}
            spec = {"encoder": config, "num_classes": k, "sensors": list(sensors), **heads}
            self.architecture = ArchitectureSpec(name="upernet", config=spec)
        else:
            config |= {"modality": "Both"}
            pre, post = sensors
            spec = {"encoder": config, "pre": pre, "post": post, "num_classes": k}
            self.architecture = ArchitectureSpec(name="damageformer", config=spec)
        trained = dict(self.architecture.config)
        if "encoder" in trained:
            trained["encoder"] = {**config, "drop_path_rate": settings.drop_path}
        else:
            trained["drop_path_rate"] = settings.drop_path
        model = build(self.architecture.name, trained)
        if recipe.task == "classification":
            assert isinstance(model, HiViT)
            nn.init.trunc_normal_(model.head.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(model.head.bias)  # type: ignore[arg-type]
        self.started = load_start(model, backbone_of(model), start) if start else ["starts from nothing"]
        if recipe.task == "classification" and settings.norm_head:
            assert isinstance(model, HiViT)
            norm = nn.BatchNorm1d(model.num_features, affine=False, eps=1e-6)
            model.head = nn.Sequential(norm, model.head)
        return model

    def freeze(self, model: nn.Module) -> None:
        """Turn the gradients off of what does not learn, and of tokenizers that no input passes."""
        backbone, learn = backbone_of(model), self.recipe.model.learn
        used = {TOKENIZER[s] for s in self.recipe.data.sensors}
        for name, parameter in model.named_parameters():
            if ("patch_embed_sar" in name and "SAR" not in used) or ("patch_embed_rgb" in name and "RGB" not in used):
                parameter.requires_grad_(False)
            if learn == "classifier":
                parameter.requires_grad_(name.startswith(("head.", "clf_")) or ".conv_seg." in name)
        if learn == "heads":
            for name, parameter in backbone.named_parameters():
                if not name.startswith(("head.", "fc_norm.")):
                    parameter.requires_grad_(False)

    # ------------------------------------------------------------ step

    def rate(self, run: Run, number: int) -> float:
        """The schedule's rate at this batch."""
        train = self.recipe.train
        if train.schedule == "cosine":
            schedule = SCHEDULES["cosine"](train.epochs, warmup=train.warmup, floor=train.min_lr / self.lr)
            return set_rates(run.optimizer, schedule(run.epoch + number / len(run.sampler)))
        if train.schedule == "constant":
            return set_rates(run.optimizer, 1.0)
        form = "bright" if train.schedule == "bright" else "mmengine"
        total = train.epochs * run.steps_per_epoch
        schedule = SCHEDULES["linear"](total, warmup=int(train.warmup), start=1e-6, form=form)
        return set_rates(run.optimizer, schedule(run.epoch * run.steps_per_epoch + number // train.accumulate))

    def normalised(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Images [B, C, H, W] of 0 to 255 as the model takes them, one channel repeated."""
        out = []
        for image, (mean, std) in zip(images, self._tensors, strict=True):
            mean, std = mean.to(image.device), std.to(image.device)
            out.append((image.float().expand(-1, mean.shape[1], -1, -1) - mean) / std)
        return out

    def step(self, run: Run, batch: dict[str, Any], number: int) -> dict[str, Tensor]:
        """Losses of a batch."""
        recipe, train = self.recipe, self.recipe.train
        # whatever the model draws (dropped paths, dropout) is a function of the place, too
        torch.manual_seed(int(torch.randint(2**62, (), generator=seeded(train.seed, 8, run.epoch, number)))
                          + run.fabric.global_rank)  # fmt: skip
        if recipe.model.learn != "all":
            backbone_of(run.bare).eval()
            if recipe.task == "classification":
                run.bare.head.train()  # a norm before the classifier learns, too
        images = self.normalised([batch[k] for k in ("image0", "image1") if k in batch])
        label = batch["label"]
        if recipe.task == "segmentation":
            decode, auxiliary = run.model(*images, heads=True)
            terms = segmentation_loss(decode.float(), auxiliary if auxiliary is None else auxiliary.float(), label)
        elif recipe.task == "damage":
            localisation, damage = run.model(*images)
            terms = damage_terms(localisation.float(), damage.float(), label, weights=train.loss)
        else:
            terms = {"loss": self.classification_loss(run, images[0], batch, number)}
        return {"total": terms["loss"]} | {k: v.detach() for k, v in terms.items() if k != "loss"}

    def classification_loss(self, run: Run, images: Tensor, batch: Mapping[str, Tensor], number: int) -> Tensor:
        """Cross-entropy, of a mixed batch where the recipe mixes."""
        mixing, label = self.recipe.train.mixing, batch["label"]
        if mixing is None:
            answers = self.from_features(run, images, batch["index"]) if self.fixed(run) else run.model(images)
            return nn.functional.cross_entropy(answers.float(), label)
        settings = Mixing(**mixing)
        generator = seeded(self.recipe.train.seed, 9, run.epoch, number)
        mix = draw(settings, (images.shape[-2], images.shape[-1]), generator)
        logits = run.model(mix_images(images, mix)).float()
        return soft_cross_entropy(logits, mix_targets(label, len(self.classes), mix, settings.smoothing))

    def fixed(self, run: Run) -> bool:
        """Whether the backbone answers a sample the same in every epoch: it stands still, and nothing is augmented."""
        still = self.recipe.model.learn != "all" and self.recipe.augment.images == "centre"
        return still and run.fabric.world_size == 1

    def from_features(self, run: Run, images: Tensor, index: Tensor) -> Tensor:
        """Logits of a batch, the backbone's share of them computed once for every sample of the run.

        One by one, so that a sample's features do not depend on the batch that it was first in.
        """
        model = run.bare
        assert isinstance(model, HiViT)
        with run.fabric.autocast():
            for place, number in enumerate(index.tolist()):
                if number not in self._features:
                    with torch.no_grad():
                        tokens = model.forward_features(images[place : place + 1])
                    self._features[number] = tokens.float().mean(1)
            # one token is its own mean
            return model.forward_head(torch.stack([self._features[number] for number in index.tolist()]))

    # ------------------------------------------------------------ validation

    def answers(self, run: Run, count: int | None) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """Logits and labels of the held-out samples, one by one: [1, K, H, W] (damage: two), or [1, K]."""
        if self.held_out is None:
            return
        device, evaluate = run.fabric.device, self.recipe.evaluate
        run.model.eval()
        chosen = range(len(self.held_out)) if count is None else range(min(count, len(self.held_out)))
        for index in chosen:
            sample = self.held_out[index]
            images = sample["images"]
            if "valid" in sample:
                means = [mean for mean, _ in self.statistics]
                images = [fill(x, sample["valid"], mean) for x, mean in zip(images, means, strict=True)]
            if self.recipe.task == "classification":
                images = [self.picture.test(images[0])]
            inputs = self.normalised([x[None].to(device) for x in images])
            with torch.no_grad(), run.fabric.autocast():
                if self.recipe.task == "classification":
                    logits: tuple[Tensor, ...] = (run.bare(*inputs),)
                else:
                    logits = slide(run.bare, *inputs, window=evaluate.window, stride=evaluate.stride)
            yield tuple(x.float().cpu() for x in logits), torch.as_tensor(sample["label"])
        run.model.train()

    def validate(self, run: Run, batches: int | None) -> dict[str, float]:
        """Accuracy, or mIoU (absent classes left out) and overall accuracy; damage also the F1 of BRIGHT."""
        names = list(self.classes)
        score, buildings = MapScore(names), MapScore(["background", "building"])
        for logits, label in self.answers(run, batches):
            found = logits[-1].argmax(1)
            score.add(label.reshape(found.shape), found)
            if len(logits) > 1:
                buildings.add(building_labels(label)[None], logits[0].argmax(1))
        if self.held_out is None or not score.table.sum():
            return {}
        if self.recipe.task == "damage":
            figures = bright_figures(score.table, buildings.table, names)
            whole = map_figures(score.table, names)
            chosen = {
                "miou": whole["miou"],
                "miou_absent_zero": figures["miou"],
                "localisation_f1": figures["localisation_f1"],
                "damage_f1": figures["harmonic_mean"],
                "accuracy": figures["accuracy"],
            }
        else:
            figures = map_figures(score.table, names)
            chosen = {key: figures[key] for key in ("miou", "mf1", "accuracy")}
            if self.recipe.task == "classification":
                chosen = {"accuracy": figures["accuracy"], "mean_class_accuracy": figures["macc"]}
        return {key: round(float(value), 6) for key, value in chosen.items() if np.isfinite(value)}

    def score(self, validation: Mapping[str, float]) -> float | None:
        """mIoU, or accuracy of a classification."""
        return validation.get("accuracy" if self.recipe.task == "classification" else "miou")

    def temperature(self, run: Run) -> float:
        """The temperature that the held-out samples ask for; 1 without any."""
        rows, labels, kept = [], [], 0
        for number, (logits, label) in enumerate(self.answers(run, None)):
            flat = logits[-1].flatten(2)[0].T if logits[-1].ndim == 4 else logits[-1]
            label = label.reshape(-1)
            known = torch.nonzero(label != NODATA)[:, 0]
            if len(known) > 5000:
                known = known[torch.randperm(len(known), generator=seeded(0, number))[:5000]]
            rows.append(flat[known])
            labels.append(label[known])
            kept += len(known)
            if kept > CALIBRATION:
                break
        return round(fit_temperature(torch.cat(rows), torch.cat(labels)), 4) if kept else 1.0

    def building_calibration(self, run: Run, temperature: float) -> BuildingCalibration | None:
        """How sure the model may be of whole buildings, from those held out; None where that helps nobody."""
        if self.recipe.task != "damage" or self.held_out is None:
            return None
        table = ClassTable([ClassInfo(c.value, c.name, c.color, c.background) for c in self.class_specs()])
        images: list[NDArray[np.float64]] = []
        for logits, label in self.answers(run, None):
            likely = (logits[-1][0] / temperature).softmax(0)
            best = likely.max(0)
            truth = label.numpy().astype(np.uint8)
            found = best.indices.numpy().astype(np.uint8)
            images.append(
                building_rows(labelled_areas(truth), truth, found, best.values.numpy(), likely.numpy(), table)
            )
            if sum(map(len, images)) > BUILDINGS:
                break
        return fit_buildings(images, self.split)

    # ------------------------------------------------------------ record and export

    def input_statistics(self) -> dict[str, Any]:
        """See :class:`FromLabels`."""
        return dict(zip(self.roles(), self.statistics, strict=True))

    def export(self, run: Run, validation: Mapping[str, float]) -> dict[str, Any]:
        """``model.safetensors``: a package that the engine runs, with a temperature fitted on what was held out."""
        recipe = self.recipe
        temperature = self.temperature(run)
        buildings = self.building_calibration(run, temperature)
        if self.held_out is None:
            run.reporter.warning("calibration", "nothing was held out: confidences are not calibrated")
        window = recipe.evaluate.crop if recipe.task == "classification" else recipe.evaluate.window
        contract = ModelContract(
            description=DESCRIPTIONS[recipe.task],
            task=recipe.task,
            architecture=self.architecture,
            inputs=[
                InputSpec(name=role, family=sensor, bands=BANDS[sensor], unit="uint8", mean=mean, std=std)
                for role, sensor, (mean, std) in zip(self.roles(), recipe.data.sensors, self.statistics, strict=True)
            ],
            classes=self.class_specs(),
            window=-(-window // 32) * 32,
            overlap=0.0
            if recipe.task == "classification"
            else max(1 - recipe.evaluate.stride / recipe.evaluate.window, 0),
            temperature=temperature,
            building_calibration=buildings,
            **self.provenance(run, validation, "Temperature fitted" if self.held_out is not None else ""),
        )
        path = save_package(run.folder / self.exports[0], self.state_dict(run), contract, overwrite=True)
        return {"package": str(path), "temperature": temperature}

    def class_specs(self) -> list[ClassSpec]:
        """The classes with colours; a damage or "background" class is drawn transparent."""
        if self.recipe.task == "damage" and self.classes == tuple(DAMAGE_CLASSES.names):
            return class_specs(DAMAGE_CLASSES)
        colors = self.colors if len(self.colors) == len(self.classes) else ()
        return [
            ClassSpec(
                value=number,
                name=name,
                color=colors[number] if colors else STANDARD_COLORS[(number + 1) % len(STANDARD_COLORS)],
                background=number == 0 and (self.recipe.task == "damage" or name.casefold() == "background"),
            )
            for number, name in enumerate(self.classes)
        ]

    def state_dict(self, run: Run) -> dict[str, Tensor]:
        """Weights for the package; a norm before the classifier is folded into it."""
        state = {k: v.detach().cpu() for k, v in run.bare.state_dict().items()}
        if self.recipe.task == "classification" and self.recipe.model.norm_head:
            deviation = (state.pop("head.0.running_var") + 1e-6).sqrt()
            mean, _ = state.pop("head.0.running_mean"), state.pop("head.0.num_batches_tracked")
            weight, bias = state.pop("head.1.weight") / deviation, state.pop("head.1.bias")
            state |= {"head.weight": weight, "head.bias": bias - weight @ mean}
        return state


DESCRIPTIONS: dict[str, str] = {
    "classification": "Tells what an image shows, fine-tuned from a CoDe-MAE backbone.",
    "segmentation": "Land cover, UperNet fine-tuned from a CoDe-MAE backbone.",
    "damage": "Building damage from an image before and one after an event, DamageFormer on a CoDe-MAE backbone.",
}


def backbone_of(model: nn.Module) -> HiViT:
    """The backbone of a task's model."""
    if isinstance(model, UperNet):
        return model.backbone
    if isinstance(model, DamageFormer):
        return model.encoder
    assert isinstance(model, HiViT)
    return model


def small_classes(source: PublicLabels, shots: int) -> list[str]:
    """What to say of classes that have fewer images than shots."""
    numbers = [part.items[number].label for part, number in source._places]
    counts = dict(zip(*np.unique(numbers, return_counts=True), strict=True))
    small = [f"{name} {counts.get(k, 0)}" for k, name in enumerate(source.classes) if counts.get(k, 0) < shots]
    return [f"classes with fewer than {shots} images give all they have: {', '.join(small)}"] if small else []


def split_samples(source: PublicLabels, share: float, seed: int) -> tuple[PublicLabels, PublicLabels]:
    """Whole samples to train on and to validate on.

    Raises:
        InputError: one part would be empty.
    """
    order = np.random.default_rng(seed).permutation(len(source))
    count = max(round(share * len(source)), 1)
    if count >= len(source):
        raise InputError("there are too few samples to hold some out", found=f"{len(source)}, share {share:g}")
    held = {source.names[i] for i in order[:count]}
    parts = list(dict.fromkeys(part for part, _ in source._places))
    return (
        PublicLabels(parts, source.inputs, lambda name: name not in held),
        PublicLabels(parts, source.inputs, lambda name: name in held),
    )
