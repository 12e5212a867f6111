"""DeCUR as a method of the loop: two views of each of two modalities.

Source: Wang et al., ECCV 2024; what its published program does differently is a switch, see
:class:`codemae_geo.models.decur.DeCUR` and :class:`codemae_train.views.ViewConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from codemae_datasets.pairs import PairSource
from codemae_train.config import BaseRecipe, Beta, DataConfig, Part
from codemae_train.lars import LARS
from codemae_train.methods.pairs import KEYS, PairMethod, PairTrain
from codemae_train.pairdata import Modality
from codemae_train.run import Run
from codemae_train.views import ViewConfig, make_view
from lightning.fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from codemae_geo.errors import InputError
from codemae_geo.models import build
from codemae_geo.models.decur import DeCUR
from codemae_geo.weights.package import ArchitectureSpec

#: modality of each stream; SAR comes first, as in the published checkpoints
STREAMS: tuple[Modality, Modality] = ("sar", "optical")


class DecurModel(Part):
    """The model; see :class:`codemae_geo.models.decur.DeCUR` for what each means."""

    backbone: Literal["resnet18", "resnet50", "vit_tiny", "vit_small"] = "resnet50"
    img_size: int = Field(default=224, ge=32)
    projector: tuple[int, ...] = (8192, 8192, 8192)
    common_share: float = 0.875
    rda: bool = False
    projectors: Literal["tied", "separate"] = "tied"
    attention: Literal["first", "own"] = "first"
    divisor: Literal["samples", "published"] = "samples"
    weight: float = Field(default=0.0051, ge=0)
    #: start both encoders from ImageNet, as published (timm downloads it)
    pretrained: bool = False
    #: weights to start from: a checkpoint of the whole model
    init: Path | None = None


class DecurViews(Part):
    """Augmentation of each modality; both views of an image are drawn alike, and apart."""

    optical: ViewConfig = ViewConfig(brightness=0.4, contrast=0.4, solarise=0.2)
    sar: ViewConfig = ViewConfig()


class DecurTrain(PairTrain):
    """How it is trained; AdamW as published, whose program never reaches its LARS branch."""

    epochs: int = Field(default=100, ge=1)
    batch: int = Field(default=256, ge=2)
    optimizer: Literal["adamw", "lars"] = "adamw"
    #: rate of matrices and kernels, and of one-dimensional parameters
    lr: float = Field(default=0.05, gt=0)
    lr_vectors: float = Field(default=0.0048, gt=0)
    weight_decay: float = Field(default=1e-6, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    schedule: Literal["batch", "epoch"] = "epoch"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "16-mixed"
    #: layout in which convolutions run; the numbers are the same but for rounding
    channels_last: bool = True


class DecurRecipe(BaseRecipe):
    """One run."""

    method: Literal["decur"] = "decur"
    name: str = Field(default="decur", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    data: DataConfig = DataConfig(use="paired")
    model: DecurModel = DecurModel()
    views: DecurViews = DecurViews()
    train: DecurTrain = DecurTrain()


class Decur(PairMethod):
    """DeCUR on pairs of optical and SAR images.

    Raises:
        InputError: views without augmentation, or a batch of which a process gets one pair.
    """

    recipe: DecurRecipe
    description = "Two encoders pretrained on optical-SAR pairs with DeCUR: one embedding per image and sensor."

    def __init__(self, recipe: DecurRecipe, data: tuple[PairSource, list[Any]] | None = None) -> None:
        super().__init__(recipe, data)
        for modality in STREAMS:
            getattr(recipe.views, modality).check(modality)
        if recipe.data.kind != "scenes" and recipe.data.use != "paired":
            raise InputError(
                "DeCUR needs images of the same place in both modalities",
                found=f"data.use={recipe.data.use}",
                expected="paired",
                hint="set data.use=paired",
            )
        if recipe.train.batch // recipe.train.accumulate < 2:
            raise InputError(
                "a batch of one pair has no correlation",
                found=f"train.batch={recipe.train.batch} in {recipe.train.accumulate} parts",
                expected="2 pairs or more in each part",
                hint="set train.batch=64",
            )

    def make_model(self, fabric: Fabric) -> nn.Module:
        """The whole model; batch norms see all processes, where they are on GPUs."""
        settings = self.recipe.model.model_dump(exclude={"init"})
        model = build("decur", settings | {"channels": [3, 3]})
        if self.recipe.train.channels_last:
            model = model.to(memory_format=torch.channels_last)
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model

    def make_optimizer(self, model: nn.Module, fabric: Fabric) -> torch.optim.Optimizer:
        """AdamW, or the LARS that the paper names, with one rate for matrices and one for vectors."""
        train = self.recipe.train
        learned = [p for p in model.parameters() if p.requires_grad]
        matrices, vectors = ([p for p in learned if (p.ndim > 1) is more] for more in (True, False))
        groups: list[dict[str, Any]] = [
            {"params": matrices, "lr": train.lr, "base_lr": train.lr},
            {"params": vectors, "lr": train.lr_vectors, "base_lr": train.lr_vectors},
        ]
        if train.optimizer == "lars":
            return LARS(groups, lr=train.lr, weight_decay=train.weight_decay)
        fused = fabric.device.type in ("cpu", "cuda")  # one kernel for all; float16 scaling and clipping agree
        return torch.optim.AdamW(groups, lr=train.lr, betas=train.betas, weight_decay=train.weight_decay, fused=fused)

    def losses(
        self, run: Run, model: Any, batch: dict[str, Any], generator: torch.Generator, rank: int, world: int
    ) -> Mapping[str, Tensor]:
        """Four views, each drawn by itself, and what the model says of them."""
        streams = []
        for modality in STREAMS:
            image = batch[KEYS[modality]].float() / 255
            sizes = batch[f"{KEYS[modality]}_size"].cpu()
            views = [
                self.normalised(
                    make_view(
                        image,
                        sizes,
                        self.recipe.model.img_size,
                        getattr(self.recipe.views, modality),
                        generator,
                        rank,
                        world,
                    ),
                    batch,
                    modality,
                )
                for _ in range(2)
            ]
            if self.recipe.train.channels_last:
                views = [view.contiguous(memory_format=torch.channels_last) for view in views]
            streams.append((views[0], views[1]))
        return model(*streams)._asdict()

    def encoder(self, run: Run) -> tuple[ArchitectureSpec, dict[str, Tensor], Sequence[Modality]]:
        """Both encoders with their attention."""
        model = self.recipe.model
        bare: DeCUR = run.bare
        config = {
            "backbone": model.backbone,
            "channels": [3, 3],
            "sensors": list(STREAMS),
            "rda": model.rda,
            "img_size": model.img_size,
        }
        state = {k: v.contiguous() for k, v in bare.encoder_state().items()}
        if model.rda and model.attention == "first":  # both streams were trained with it
            state |= {k.replace("da1_", "da2_"): v.clone() for k, v in state.items() if k.startswith("da1_")}
        return ArchitectureSpec(name="decur-encoder", config=config), state, STREAMS
