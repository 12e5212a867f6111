"""Architectures, one readable file each, and the registry that builds them from a name and a configuration.

``import codemae_geo.models`` registers the backbones with timm: ``timm.create_model("codemae_tiny")`` finds them.
Without timm, or with ``codemae_geo.register_with_timm = False`` before, it needs torch only.
"""

from __future__ import annotations

import difflib
import importlib.util
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from codemae_geo import register_with_timm
from codemae_geo.errors import ModelError
from codemae_geo.models.codemae import CoDeMAE, DualEncoder
from codemae_geo.models.cross_scale_mae import CrossScaleEncoder, CrossScaleMAE
from codemae_geo.models.damageformer import DamageFormer
from codemae_geo.models.decur import DeCUR, DeCUREncoder
from codemae_geo.models.encoder import encoder_config
from codemae_geo.models.faster_rcnn import FasterRCNN
from codemae_geo.models.hivit import HiViT
from codemae_geo.models.segmenter import Segmenter
from codemae_geo.models.upernet import UperNet

__all__ = [
    "ARCHITECTURES",
    "CoDeMAE",
    "CrossScaleEncoder",
    "CrossScaleMAE",
    "DamageFormer",
    "DeCUR",
    "DeCUREncoder",
    "DualEncoder",
    "FasterRCNN",
    "HiViT",
    "Segmenter",
    "UperNet",
    "build",
]

#: name -> class; the configuration of each is the keyword arguments of its class, where they are documented
ARCHITECTURES: dict[str, type[nn.Module]] = {
    "damageformer": DamageFormer,  # forward(pre, post) -> (localisation [B,2,H,W], damage [B,K,H,W])
    "segmenter": Segmenter,  # forward(image) -> [B,K,H,W]
    "upernet": UperNet,  # forward(image, or optical and SAR) -> [B,K,H,W]
    "faster-rcnn": FasterRCNN,  # forward(image) -> for each image {"boxes" [N,4], "labels" [N], "scores" [N]}
    "classifier": HiViT,  # num_classes=K, num_outs=1: forward(image) -> [B,K]
    "codemae": CoDeMAE,  # forward(rgb, sar) -> the losses of pretraining
    "cross-scale-mae": CrossScaleMAE,  # forward(image) -> the losses of pretraining
    "decur": DeCUR,  # forward(two views, two views) -> the losses of pretraining
    "cross-scale-encoder": CrossScaleEncoder,  # forward(image of each sensor) -> [B,D] of each
    "decur-encoder": DeCUREncoder,  # forward(image of each stream) -> [B,F] of each
    "encoder": DualEncoder,  # forward(optical, sar) -> (optical [B,D], sar [B,D])
    "backbone": HiViT,  # num_outs=3|4|5: forward(image) -> list of maps, finest first
}

#: architectures that packages of earlier versions name, and what to do about them
RETIRED: dict[str, str] = {
    "detector": "its form could not load published weights; train again: codemae finetune detection (faster-rcnn)",
}


def build(architecture: str, config: Mapping[str, Any] | None = None) -> nn.Module:
    """Build an untrained model by name.

    Args:
        architecture: a key of :data:`ARCHITECTURES`.
        config: keyword arguments of its class. For "classifier" and "backbone" a ``variant`` ("tiny", "small", "base",
            "large") may stand for the sizes; "backbone" has three levels unless ``num_outs`` says otherwise.

    Raises:
        ModelError: unknown architecture, unknown or missing key, or a value that cannot be used.
    """
    config = dict(config or {})
    if architecture in RETIRED and architecture not in ARCHITECTURES:
        raise ModelError(
            f"the architecture {architecture!r} is of an earlier version",
            found=architecture,
            hint=RETIRED[architecture],
        )
    if architecture not in ARCHITECTURES:
        raise _unknown("architecture", architecture, list(ARCHITECTURES))
    cls = ARCHITECTURES[architecture]
    if cls is HiViT:
        _known(architecture, config, HiViT, extra=("variant",))
        config = encoder_config(config)
        if architecture == "classifier":
            if not config.get("num_classes"):
                raise ModelError("a classifier needs num_classes", found="none", expected="num_classes=K, K > 0")
            config.setdefault("num_outs", 1)
        else:
            config.setdefault("num_outs", 3)
    else:
        _known(architecture, config, cls)
        encoder = config.get("encoder")
        if isinstance(encoder, Mapping):
            _known("encoder", dict(encoder), HiViT, extra=("variant",))
    return cls(**config)


def _known(owner: str, config: dict[str, Any], cls: type[nn.Module], extra: tuple[str, ...] = ()) -> None:
    allowed = [*inspect.signature(cls).parameters, *extra]
    for key in config:
        if key not in allowed:
            raise _unknown(f"key in the configuration of '{owner}'", key, allowed)


def _unknown(what: str, found: str, known: list[str]) -> ModelError:
    near = difflib.get_close_matches(found, known, n=1, cutoff=0.5)
    return ModelError(
        f"unknown {what}",
        found=repr(found),
        expected=", ".join(sorted(known)),
        hint=f"did you mean {near[0]!r}?" if near else None,
    )


if register_with_timm and importlib.util.find_spec("timm") is not None:
    from codemae_geo.models import zoo  # noqa: F401  (registers)
