"""Fine-tuning of a detector as a method of the loop: the papers' recipes, and boxes of one's own.

Read top to bottom: recipe, augmentation, samples, build, step, validation, export. Source of the recipes: the detection
form of CoDe-MAE (arXiv 2604.16952), configurations of mmdetection 3.3. Every draw is a function of the seed and of the
sample's place in the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from codemae_datasets.labels import scratch_folder
from codemae_datasets.objects import (
    VISIBLE,
    HeldObjects,
    PublicObjects,
    SceneObjects,
    open_object_areas,
    split_areas,
)
from codemae_datasets.samplers import seeded
from codemae_train.augment import distort, jitter, uniform
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
from codemae_train.optim import SCHEDULES, set_rates
from codemae_train.run import Method, Parts, Run
from codemae_train.start import Start, load_start, open_start
from lightning.fabric import Fabric
from pydantic import Field
from torch import Tensor

from codemae_geo.classes import STANDARD_COLORS
from codemae_geo.errors import InputError
from codemae_geo.metrics.boxes import BoxMetrics, box_metrics
from codemae_geo.models import build
from codemae_geo.models.encoder import Sensor
from codemae_geo.models.faster_rcnn import FasterRCNN, fitting
from codemae_geo.progress import Reporter
from codemae_geo.weights.package import (
    ArchitectureSpec,
    ClassSpec,
    InputSpec,
    ModelContract,
    save_package,
)

# ---------------------------------------------------------------- recipe

#: sides of SARDet-100K's multi-scale training, and of the images that a part is cut out of
_SIDES, _CROPPED_SIDES = tuple(range(480, 801, 32)), (400, 500, 600)
_LONG, _CROP = 1333, (384, 600)
#: images of fewer pixels along a side are passed over in training
_SMALLEST = 16


class DetectionData(LoadConfig):
    """What is learnt from: a public dataset, or images and labels of one's own."""

    #: name in ``codemae data list``, and the folder it lies in
    dataset: str | None = None
    root: Path | None = None
    #: of the dataset's class
    options: dict[str, Any] = Field(default={})
    #: its splits
    train: list[str] = Field(default=["train"])
    validation: list[str] = Field(default=[])
    test: list[str] = Field(default=["test"])
    #: validate on the test split, as the published programs do that keep the checkpoint that is best there
    validate_on: Literal["validation", "test"] = "validation"
    #: samples of an epoch; 0 is every image once
    samples: int = Field(default=0, ge=0)
    #: sensor of the image
    sensors: list[Sensor] = Field(default=["optical"], min_length=1, max_length=1)
    #: by sensor, mean and deviation on 0 to 255, one or three numbers each; else measured
    statistics: dict[str, MeanStd] = Field(default={})

    #: images of one's own: each a file or a folder. Georeferenced files of a folder are one scene, pictures one each
    images: list[Path] = Field(default=[])
    #: their labels, for all or one for each: polygons, COCO, YOLO or Pascal VOC
    labels: list[Path] = Field(default=[])
    #: column of the class of polygons, and CRS of polygons that state none
    column: str | None = None
    labels_crs: str | None = None
    #: name and stored value of each class; null takes what occurs
    classes: dict[str, Any] | None = None
    #: name of the one class of polygons without a column of classes
    single: str = "object"
    #: what validates: a share of the blocks of every scene and of the pictures, or names of whole scenes
    holdout: float | list[str] = 0.2
    #: side of a block in pixels
    block: int = Field(default=256, ge=32)
    #: share of the windows that are drawn anywhere instead of around an object
    elsewhere: float = Field(default=0.2, ge=0, le=1)

    @property
    def own(self) -> bool:
        """Whether images of one's own are learnt from."""
        return bool(self.images or self.labels)


class DetectionModel(StartModel):
    """What is built (:class:`codemae_geo.models.FasterRCNN`), and where it starts."""

    #: what learns: all; "heads": the backbone stands still
    learn: Literal["all", "heads"] = "all"
    #: compute activations of blocks again instead of keeping them
    checkpointing: bool = False
    head_dim: int = Field(default=256, ge=8)
    head_hidden: int = Field(default=1024, ge=8)
    min_score: float = Field(default=0.05, ge=0, lt=1)
    nms_iou: float = Field(default=0.5, gt=0, le=1)
    max_boxes: int = Field(default=100, ge=1)
    proposals: int = Field(default=1000, ge=1)
    nms_before: int = Field(default=1000, ge=1)
    learnt: int = Field(default=512, ge=1)


class DetectionTrain(AdamTrain):
    """How it is trained."""

    lr: float = Field(default=3e-4, gt=0)
    #: "steps": a tenth from every one of ``milestones`` (epochs) on
    schedule: Literal["steps", "cosine", "constant"] = "steps"
    milestones: list[int] = Field(default=[8, 11])
    #: optimizer steps
    warmup: int = Field(default=0, ge=0)


class DetectionAugment(Part):
    """How training images are changed: in one of three ways resized or cut, then flipped, turned and coloured."""

    #: resized to fit into (long, short), the ratio kept (DIOR)
    fit: tuple[int, int] | None = None
    #: SARDet-100K's: resized to one of many sides; half of the images are cut in between
    multiscale: bool = False
    #: side of a window cut out, at a scale drawn from ``scale``; 0 keeps whole images
    crop: int = Field(default=0, ge=0)
    scale: tuple[float, float] = (1.0, 1.0)
    flip: float = Field(default=0.5, ge=0, le=1)
    flip_down: float = Field(default=0.0, ge=0, le=1)
    #: quarter turns: "none", or "any" of the four
    turn: Literal["none", "any"] = "none"
    #: colours, see :class:`codemae_train.augment.AugmentConfig`
    colours: Literal["none", "mmseg", "jitter"] = "none"
    #: an object of which less than this share is left by a cut is erased; what is kept is cut to the image
    visible: float = Field(default=VISIBLE, gt=0, le=1)


class DetectionEvaluate(Part):
    """What the package says of how it is run: windows, their overlap, and sides that images are resized to first."""

    window: int = Field(default=512, ge=32)
    overlap: float = Field(default=0.25, ge=0, lt=1)
    fit: tuple[int, int] | None = None


class DetectionRecipe(BaseRecipe):
    """One fine-tuning run of a detector."""

    name: str = Field(default="detector", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    task: Literal["detection"] = "detection"
    data: DetectionData = DetectionData()
    model: DetectionModel = DetectionModel()
    train: DetectionTrain = DetectionTrain(epochs=12, batch=16)
    augment: DetectionAugment = DetectionAugment()
    evaluate: DetectionEvaluate = DetectionEvaluate()


# ---------------------------------------------------------------- augmentation


class Labelled:
    """An image [C, H, W] of 0 to 255 with boxes [N, 4] in its pixels and labels [N]; methods give changed copies."""

    def __init__(self, image: Tensor, boxes: Tensor, labels: Tensor) -> None:
        self.image, self.boxes, self.labels = image, boxes, labels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[-2], self.image.shape[-1]

    def resized(self, size: tuple[int, int]) -> Labelled:
        """Bilinear, as OpenCV's."""
        if size == self.size:
            return self
        factor = torch.tensor([size[1] / self.size[1], size[0] / self.size[0]] * 2)
        image = F.interpolate(self.image[None].float(), size=size, mode="bilinear", align_corners=False)[0]
        return Labelled(image, self.boxes * factor, self.labels)

    def cut(self, top: int, left: int, height: int, width: int) -> Labelled:
        """A part; boxes are moved, and not cut yet."""
        image = self.image[:, top : top + height, left : left + width]
        return Labelled(image, self.boxes - torch.tensor([left, top, left, top]), self.labels)

    def padded(self, side: int, mean: Sequence[float]) -> Labelled:
        """Filled with the mean up to a square of ``side`` at the bottom and on the right."""
        height, width = self.size
        if height >= side and width >= side:
            return self
        out = torch.tensor(mean[: len(self.image)])[:, None, None].repeat(1, max(side, height), max(side, width))
        out[:, :height, :width] = self.image
        return Labelled(out, self.boxes, self.labels)

    def settled(self, mean: Sequence[float], visible: float) -> Labelled:
        """Boxes cut to the image. Objects of which less than ``visible`` is left are erased, so that they teach
        nothing.
        """
        height, width = self.size
        limit = torch.tensor([width, height, width, height])
        cut = torch.minimum(self.boxes.clamp(min=0), limit)
        area, whole = ((b[:, 2:] - b[:, :2]).clamp(min=0).prod(1) for b in (cut, self.boxes))
        keep = (area >= visible * whole) & (area > 0)
        image = self.image.float()
        if not keep.all():
            image = image.clone()
            for left, top, right, bottom in cut[~keep & (area > 0)].tolist():
                rows, cols = slice(int(top), math.ceil(bottom)), slice(int(left), math.ceil(right))
                image[:, rows, cols] = torch.tensor(mean[: len(image)])[:, None, None]
        return Labelled(image, cut[keep], self.labels[keep])

    def flipped(self, down: bool) -> Labelled:
        """Mirrored left to right, or upside down."""
        side, (low, high) = (self.size[0], (1, 3)) if down else (self.size[1], (0, 2))
        boxes = self.boxes.clone()
        boxes[:, low], boxes[:, high] = side - self.boxes[:, high], side - self.boxes[:, low]
        return Labelled(self.image.flip(-2 if down else -1), boxes, self.labels)

    def turned(self, times: int) -> Labelled:
        """Quarter turns to the left."""
        image, boxes = self.image, self.boxes
        for _ in range(times % 4):
            left, top, right, bottom = boxes.unbind(1)
            boxes = torch.stack([top, image.shape[-1] - right, bottom, image.shape[-1] - left], 1)
            image = torch.rot90(image, 1, (-2, -1))
        return Labelled(image, boxes, self.labels)


def augment(sample: Labelled, config: DetectionAugment, mean: Sequence[float], g: torch.Generator) -> Labelled:
    """One training image, drawn from ``g``."""
    if config.multiscale:
        sample = _multiscale(sample, mean, g)
    elif config.crop:
        height, width = sample.size
        side = max(height, width)
        # the window was read at the scale that was drawn, see TrainingObjects
        sample = sample.padded(side, mean).resized((config.crop, config.crop)).settled(mean, config.visible)
    elif config.fit is not None:
        sample = sample.resized(fitting(*sample.size, config.fit))
    if uniform(g, 0, 1) < config.flip:
        sample = sample.flipped(down=False)
    if uniform(g, 0, 1) < config.flip_down:
        sample = sample.flipped(down=True)
    turns = int(torch.randint(4, (), generator=g))
    if config.turn == "any":
        sample = sample.turned(turns)
    if config.colours != "none":
        change = distort if config.colours == "mmseg" else jitter
        sample = Labelled(change(sample.image, g), sample.boxes, sample.labels)
    return sample


def _multiscale(sample: Labelled, mean: Sequence[float], g: torch.Generator) -> Labelled:
    """SARDet-100K's two ways: one of many sides; or a part of one of three sides, cut out, and then that."""

    def pick(values: Sequence[int]) -> int:
        return values[int(torch.randint(len(values), (), generator=g))]

    if uniform(g, 0, 1) < 0.5:
        sample = sample.resized(fitting(*sample.size, (4200, pick(_CROPPED_SIDES))))
        height, width = sample.size
        # absolute range: both sides between 384 and 600, as far as the image goes
        rows, cols = (
            int(torch.randint(min(n, _CROP[0]), min(n, _CROP[1]) + 1, (), generator=g)) for n in (height, width)
        )
        top, left = (int(torch.randint(n - m + 1, (), generator=g)) for n, m in ((height, rows), (width, cols)))
        sample = sample.cut(top, left, rows, cols).settled(mean, 1e-9)  # whatever is left of an object counts
    return sample.resized(fitting(*sample.size, (_LONG, pick(_SIDES))))


# ---------------------------------------------------------------- samples


class TrainingObjects:
    """Augmented, normalised images by what :class:`DrawnBatches` gives.

    Args:
        source: :class:`PublicObjects` or :class:`SceneObjects`.
        recipe: the run's.
        statistics: mean and deviation of the image, three numbers each.
    """

    def __init__(self, source: Any, recipe: DetectionRecipe, statistics: tuple[list[float], list[float]]) -> None:
        self.source, self.recipe, self.statistics = source, recipe, statistics

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Any]:
        index, epoch, place = key
        config, mean = self.recipe.augment, self.statistics[0]
        generator = seeded(self.recipe.train.seed, 7, epoch, place)
        try:
            if isinstance(self.source, SceneObjects):
                side = round(config.crop / uniform(generator, *config.scale)) if config.crop else None
                sample = self.source.draw(generator, side)
            else:
                sample = self.source[index]
                for _ in range(len(self.source)):
                    if min(sample["images"][0].shape[-2:]) >= _SMALLEST:
                        break
                    index = (index + 1) % len(self.source)
                    sample = self.source[index]
        except InputError as error:
            return refused(error)
        image = sample["images"][0]
        if "valid" in sample:
            image = fill(image, sample["valid"], mean)
        changed = augment(Labelled(image, sample["boxes"], sample["labels"]), config, mean, generator)
        whole = ((changed.boxes[:, 2:] - changed.boxes[:, :2]) > 0).all(1)
        return {
            "image": normalised(changed.image, self.statistics),
            "boxes": changed.boxes[whole],
            "labels": changed.labels[whole] + 1,
        }


def normalised(image: Tensor, statistics: tuple[list[float], list[float]]) -> Tensor:
    """[C, H, W] of 0 to 255 as the model takes it, one channel repeated."""
    mean, std = (torch.tensor(v)[:, None, None] for v in statistics)
    return (image.float().expand(len(mean), -1, -1) - mean) / std


def collate_objects(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Samples to a batch: ``image`` padded with zeros to one size, the ``sizes`` [B, 2] within, ``boxes`` [N, 4] and
    ``labels`` [N] of all images one after the other, and how many of each, ``counts`` [B].
    """
    for sample in samples:
        if "error" in sample:
            return {"error": sample["error"]}
    images = [s["image"] for s in samples]
    height, width = (max(x.shape[axis] for x in images) for axis in (-2, -1))
    return {
        "image": torch.stack([F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])) for x in images]),
        "sizes": torch.tensor([x.shape[-2:] for x in images]),
        "boxes": torch.cat([s["boxes"] for s in samples]),
        "labels": torch.cat([s["labels"] for s in samples]),
        "counts": torch.tensor([len(s["labels"]) for s in samples]),
    }


# ---------------------------------------------------------------- the method


class Detection(FromLabels):
    """Fine-tuning of :class:`codemae_geo.models.FasterRCNN`."""

    deals = Method.deals | {
        f"data.{key}" for key in ("dataset", "options", "train", "samples", "holdout", "block", "images", "labels")
    }

    recipe: DetectionRecipe
    statistics: tuple[list[float], list[float]]

    # ------------------------------------------------------------ build

    def build(self, fabric: Fabric, reporter: Reporter) -> Parts:
        """See :class:`~codemae_train.run.Method`."""
        recipe = self.recipe
        start = open_start(recipe.model.init) if recipe.model.init else None
        (self.open_own if recipe.data.own else self.open_public)(reporter)
        (self.statistics,) = choose_statistics(
            recipe.data.statistics, ["image"], recipe.data.sensors, self.training, start, "object-detection"
        )
        model = self.build_model(start)
        for line in self.started:
            reporter.log(line)
        if recipe.model.learn == "heads":
            model.backbone.requires_grad_(False)
        samples = TrainingObjects(self.training, recipe, self.statistics)
        return self.parts(model, samples, collate_objects, fabric)

    def open_public(self, reporter: Reporter) -> None:
        """Training and held-out images of a public dataset.

        Raises:
            InputError: no such dataset or split, or nothing is left.
        """
        data = self.recipe.data
        kind, root = self.dataset("images")

        def opened(splits: Sequence[str], empty: bool) -> PublicObjects | None:
            parts = open_splits(kind, root, splits, data.options, reporter)
            return PublicObjects(parts, empty=empty) if parts else None

        training = opened(data.train, empty=False)
        names = data.test if data.validate_on == "test" else data.validation
        self.held_out = opened(names, empty=True)
        self.split = f"{data.dataset}, {' and '.join(names)}"
        if training is None or not len(training):
            raise InputError("there is no image with objects to train on", found=f"splits {', '.join(data.train)}")
        self.training, self.classes = training, training.classes

    def open_own(self, reporter: Reporter) -> None:
        """Training and held-out windows of images of one's own.

        Raises:
            InputError: see :func:`codemae_datasets.objects.open_object_areas`; or the holdout leaves nothing.
        """
        recipe, data = self.recipe, self.recipe.data
        if not data.images or not data.labels:
            raise InputError("there is nothing to learn from", expected="images and labels")
        areas, self.classes = open_object_areas(
            data.images,
            data.labels,
            data.sensors[0],
            scratch_folder(self),
            reporter.log,
            column=data.column,
            crs=data.labels_crs,
            classes=data.classes,
            single=data.single,
        )
        held, self.split = split_areas(areas, data.holdout, data.block, recipe.train.seed)
        side = recipe.augment.crop or recipe.evaluate.window
        count = data.samples or max(sum(area.valid.size for area in areas) // side**2, 1)
        self.training = SceneObjects(
            areas,
            self.classes,
            side,
            count=max(count, recipe.train.batch),
            held=held,
            elsewhere=data.elsewhere,
        )
        self.held_out = None
        if self.split:
            self.held_out = HeldObjects(areas, self.classes, held)
        for what, source in (("training", self.training), ("validation", self.held_out)):
            for name, objects in zip(self.classes, source.objects if source else [1] * len(self.classes), strict=True):
                if not objects:
                    reporter.warning("class", f"no object of the class {name!r} is in {what}")
        counts = f"{sum(self.training.objects)} objects to train on"
        if self.held_out is not None:
            counts += f", {sum(self.held_out.objects)} in {len(self.held_out)} blocks held out"
        reporter.log(counts)
        sizes = np.concatenate([a.boxes[:, 2:] - a.boxes[:, :2] for a in areas])
        small = float(np.median(sizes.max(1))) * math.sqrt(recipe.augment.scale[0] * recipe.augment.scale[1])
        if small < 12:
            reporter.warning(
                "size",
                f"half of all objects are below {small:.0f} pixels, too small for the finest anchors (32 pixels); make"
                " images larger with augment.scale and evaluate.fit",
            )

    def build_model(self, start: Start | None) -> FasterRCNN:
        """The detector with its starting weights."""
        settings = self.recipe.model
        config = start_config(settings.encoder, start, drop=("layernorm_eps",))
        config.pop("modality", None)
        config["img_size"] = settings.img_size or config.get("img_size", 224)
        spec: dict[str, Any] = {"encoder": config, "num_classes": len(self.classes)}
        spec["sensor"] = self.recipe.data.sensors[0]
        for key in (
            "head_dim",
            "head_hidden",
            "min_score",
            "nms_iou",
            "max_boxes",
            "proposals",
            "nms_before",
            "learnt",
        ):
            spec[key] = getattr(settings, key)
        if self.recipe.evaluate.fit is not None:
            spec["fit"] = list(self.recipe.evaluate.fit)
        self.architecture = ArchitectureSpec(name="faster-rcnn", config=spec)
        model = build("faster-rcnn", spec | {"encoder": {**config, "drop_path_rate": settings.drop_path}})
        assert isinstance(model, FasterRCNN)
        self.started = load_start(model, model.backbone, start) if start else ["starts from nothing"]
        model.backbone.set_grad_checkpointing(settings.checkpointing)
        return model

    # ------------------------------------------------------------ step

    def rate(self, run: Run, number: int) -> float:
        """The schedule's rate at this batch, by optimizer steps."""
        train = self.recipe.train
        step = run.epoch * run.steps_per_epoch + number // train.accumulate
        if train.schedule == "constant":
            return set_rates(run.optimizer, 1.0)
        if train.schedule == "cosine":
            schedule = SCHEDULES["cosine"](train.epochs * run.steps_per_epoch, warmup=train.warmup)
        else:
            schedule = SCHEDULES["steps"](train.milestones, warmup=train.warmup, unit=run.steps_per_epoch)
        return set_rates(run.optimizer, schedule(step))

    def step(self, run: Run, batch: dict[str, Any], number: int) -> dict[str, Tensor]:
        """The four losses of a batch, summed."""
        place = (self.recipe.train.seed, run.epoch, number, run.fabric.global_rank)
        # whatever the model draws (dropped paths, sampled boxes) is a function of the place, too
        torch.manual_seed(int(torch.randint(2**62, (), generator=seeded(8, *place))))
        if self.recipe.model.learn == "heads":
            run.bare.backbone.eval()
        counts = batch["counts"].tolist()
        targets = [
            {"boxes": boxes, "labels": labels}
            for boxes, labels in zip(batch["boxes"].split(counts), batch["labels"].split(counts), strict=True)
        ]
        sizes = [(height, width) for height, width in batch["sizes"].tolist()]
        losses = run.model(batch["image"], targets, sizes, seeded(9, *place))
        return {"total": sum(losses.values(), start=torch.zeros(()))} | {k: v.detach() for k, v in losses.items()}

    # ------------------------------------------------------------ validation

    def metrics(self, run: Run, count: int | None) -> BoxMetrics | None:
        """COCO's metrics of the held-out images, in pixels of the images as they are."""
        if self.held_out is None:
            return None
        truth, found = [], []
        run.model.eval()
        for index in range(len(self.held_out) if count is None else min(count, len(self.held_out))):
            sample = self.held_out[index]
            image = sample["images"][0]
            if "valid" in sample:
                image = fill(image, sample["valid"], self.statistics[0])
            with torch.no_grad(), run.fabric.autocast():
                (answer,) = run.bare(normalised(image, self.statistics)[None].to(run.fabric.device))
            found.append({key: value.float().cpu().numpy() for key, value in answer.items()})
            label = {"boxes": sample["boxes"].numpy(), "labels": sample["labels"].numpy() + 1}
            truth.append(label | ({"crowd": sample["crowd"].numpy()} if "crowd" in sample else {}))
        run.model.train()
        return box_metrics(truth, found, self.classes, max(self.recipe.model.max_boxes, 100))

    def validate(self, run: Run, batches: int | None) -> dict[str, float]:
        """COCO's mAP, at overlaps 0.5 and 0.75, and by size; the best F1 and the score that gives it."""
        result = self.metrics(run, batches)
        if result is None or math.isnan(result.map):
            return {}
        figures = {"map": result.map, "map50": result.map50, "map75": result.map75}
        figures |= {f"map_{size}": value for size, value in result.by_size.items()}
        figures |= {"f1": result.f1, "threshold": result.threshold}
        return {key: round(float(value), 6) for key, value in figures.items() if np.isfinite(value)}

    def score(self, validation: Mapping[str, float]) -> float | None:
        """mAP."""
        return validation.get("map")

    # ------------------------------------------------------------ record and export

    def input_statistics(self) -> dict[str, Any]:
        """See :class:`FromLabels`."""
        return {"image": self.statistics}

    def export(self, run: Run, validation: Mapping[str, float]) -> dict[str, Any]:
        """``model.safetensors``: a package for ``codemae detect``; objects count from the score of the best F1 on."""
        recipe = self.recipe
        if self.held_out is None:
            run.reporter.warning(
                "threshold", "nothing was held out: that objects count from a score of 0.5 on is a guess"
            )
        mean, std = self.statistics
        sensor = recipe.data.sensors[0]
        threshold = validation.get("threshold", 0.5)
        figures = {name: value for name, value in validation.items() if name != "threshold"}
        contract = ModelContract(
            description=f"Finds objects ({', '.join(self.classes[:4])}{', ...' if len(self.classes) > 4 else ''}): "
            "Faster R-CNN on a CoDe-MAE backbone.",
            task="object-detection",
            architecture=self.architecture,
            inputs=[InputSpec(name="image", family=sensor, bands=BANDS[sensor], unit="uint8", mean=mean, std=std)],
            classes=[
                ClassSpec(value=number, name=name, color=STANDARD_COLORS[(number + 1) % len(STANDARD_COLORS)])
                for number, name in enumerate(self.classes)
            ],
            window=recipe.evaluate.window,
            overlap=recipe.evaluate.overlap,
            temperature=1.0,
            score_threshold=math.floor(threshold * 1000) / 1000,
            **self.provenance(run, figures, "Score of the best F1" if "threshold" in validation else ""),
        )
        state = {k: v.detach().cpu() for k, v in run.bare.state_dict().items()}
        path = save_package(run.folder / self.exports[0], state, contract, overwrite=True)
        return {"package": str(path), "score_threshold": contract.score_threshold}
