"""Cross-Scale MAE as a method of the loop: every image at two scales.

Source: Tang et al., NeurIPS 2023, and its published program (aicip/Cross-Scale-MAE).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from codemae_train import optim
from codemae_train.config import BaseRecipe, Beta, DataConfig, Part
from codemae_train.methods.pairs import KEYS, PairMethod, PairTrain
from codemae_train.pairdata import Modality
from codemae_train.run import Run
from codemae_train.views import ViewConfig, make_view
from lightning.fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.models import build
from codemae_geo.models.cross_scale_mae import CrossScaleMAE, draw_crop, from_xformers, norm_order_of, resized_crop
from codemae_geo.weights.convert import read_checkpoint
from codemae_geo.weights.package import ArchitectureSpec


class CrossScaleData(DataConfig):
    """Where the images are, and which of each pair are seen."""

    #: the paper's images are optical; "both" trains one encoder for both, SAR as three equal channels, and contrasts
    #: each modality within itself
    modality: Literal["optical", "sar", "both"] = "optical"


class CrossScaleModel(Part):
    """The model; see :class:`codemae_geo.models.cross_scale_mae.CrossScaleMAE` for what each means."""

    variant: Literal["tiny", "small", "base", "large"] = "base"
    img_size: int = Field(default=128, ge=32)
    patch: int = Field(default=16, ge=4)
    mask_ratio: float = 0.75
    predictor_dim: int = Field(default=2048, ge=1)
    norm_order: Literal["pre", "post"] = "pre"
    crop_scale: tuple[float, float] = (0.25, 0.75)
    temperature: float = Field(default=0.5, gt=0)
    #: weights to start from: a checkpoint of the whole model, of the same order of norms
    init: Path | None = None


class CrossScaleTrain(PairTrain):
    """How it is trained."""

    epochs: int = Field(default=400, ge=1)
    batch: int = Field(default=512, ge=2)
    #: rate for 256 images; both images of a pair count where both are seen
    base_lr: float = Field(default=5e-5, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    warmup_epochs: float = Field(default=40, ge=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "16-mixed"


class CrossScaleRecipe(BaseRecipe):
    """One run."""

    method: Literal["cross-scale"] = "cross-scale"
    name: str = Field(default="cross-scale", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    data: CrossScaleData = CrossScaleData()
    model: CrossScaleModel = CrossScaleModel()
    #: of the first scale; the second is a crop of it
    views: ViewConfig = ViewConfig(crop=(0.25, 1.0), grey=0, blur=0)
    train: CrossScaleTrain = CrossScaleTrain()


class CrossScale(PairMethod):
    """Cross-Scale MAE on the images of pairs."""

    recipe: CrossScaleRecipe
    description = "Backbone pretrained at two scales of every image with Cross-Scale MAE: one embedding per image."

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What of each pair is seen."""
        chosen = self.recipe.data.modality
        return ("optical", "sar") if chosen == "both" else (chosen,)

    def make_model(self, fabric: Fabric) -> nn.Module:
        """The whole model; the predictor's batch norm sees all processes, where they are on GPUs."""
        settings = self.recipe.model.model_dump(exclude={"init"})
        model = build("cross-scale-mae", settings | {"sensors": list(self.modalities)})
        if fabric.world_size > 1 and fabric.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model

    def starting_state(self, path: Path) -> dict[str, Tensor]:
        """Weights to start from, whatever names their program gave them.

        Raises:
            ModelError: of the other order of norms.
        """
        state = read_checkpoint(path)
        found = norm_order_of(state)
        if found == "post":
            state = from_xformers(state)
            if self.recipe.model.norm_order == "pre":
                raise ModelError(
                    f"{path.name} has the other order of norms",
                    found="post-norm blocks, as the published program writes them with xformers",
                    expected="pre-norm blocks",
                    hint="set model.norm_order=post",
                )
        return state

    def make_optimizer(self, model: nn.Module, fabric: Fabric) -> torch.optim.Optimizer:
        """AdamW; biases and norms do not decay, tokens do, as published."""
        train = self.recipe.train
        rate = optim.scaled_rate(train.base_lr, train.batch * len(self.modalities))
        learned = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {
                "params": [p for p in learned if (p.ndim > 1) is decays],
                "weight_decay": train.weight_decay if decays else 0.0,
                "base_lr": rate,
            }
            for decays in (True, False)
        ]
        return torch.optim.AdamW(groups, lr=rate, betas=train.betas, fused=fabric.device.type in ("cpu", "cuda"))

    def losses(
        self, run: Run, model: Any, batch: dict[str, Any], generator: torch.Generator, rank: int, world: int
    ) -> Mapping[str, Tensor]:
        """The images, a crop of all of them, two masks for each, and what the model says."""
        settings, bare = self.recipe.model, run.bare
        images = torch.cat(
            [
                self.normalised(
                    make_view(
                        batch[KEYS[name]].float() / 255,
                        batch[f"{KEYS[name]}_size"].cpu(),
                        settings.img_size,
                        self.recipe.views,
                        generator,
                        rank,
                        world,
                        "bicubic",
                    ),
                    batch,
                    name,
                )
                for name in self.modalities
            ]
        )
        size = (settings.img_size, settings.img_size)
        crop = resized_crop(images, draw_crop(size, bare.crop_scale, generator=generator), size)
        rows = len(images) // len(self.modalities)
        noise = []
        for _ in range(2):
            drawn = torch.rand(len(self.modalities), world * rows, bare.side**2, generator=generator)
            noise.append(drawn[:, rank * rows : (rank + 1) * rows].flatten(0, 1).to(images.device))
        return model(images, crop, (noise[0], noise[1]), kinds=len(self.modalities))._asdict()

    def encoder(self, run: Run) -> tuple[ArchitectureSpec, dict[str, Tensor], Sequence[Modality]]:
        """The ViT."""
        bare: CrossScaleMAE = run.bare
        model = self.recipe.model
        config = {
            "variant": model.variant,
            "img_size": model.img_size,
            "patch": model.patch,
            "norm_order": model.norm_order,
            "sensors": list(self.modalities),
        }
        return ArchitectureSpec(name="cross-scale-encoder", config=config), bare.encoder_state(), self.modalities
