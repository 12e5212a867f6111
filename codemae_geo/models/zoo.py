"""The backbones as timm models: ``timm.create_model("codemae_base")``, with ``features_only`` and all.

Importing it registers them; :mod:`codemae_geo.models` does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from codemae_geo.errors import ModelError
from codemae_geo.models.hivit import VARIANTS, HiViT, checkpoint_filter_fn

#: whose repositories ``codemae_<size>`` on the Hugging Face hub hold published backbones (``model.safetensors``, at
#: ``@<commit>`` if one is given): "OWNER/codemae_{size}@COMMIT". None are published yet; the variable names others
HUB = os.environ.get("CODEMAE_HUB", "")

#: mean and deviation of optical images in [0, 1], the average over the datasets of the published pretraining
MEAN = (0.358, 0.366, 0.328)
STD = (0.197, 0.170, 0.167)

#: tokenizers by modality; in_chans of a pretrained model adapts all that are built
_FIRST_CONV = {
    "RGB": "patch_embed_rgb.proj",
    "SAR": "patch_embed_sar.proj",
    "Both": ("patch_embed_rgb.proj", "patch_embed_sar.proj"),
}


def _cfg() -> dict[str, Any]:
    return {
        "num_classes": 0,
        "input_size": (3, 224, 224),
        "fixed_input_size": False,
        "pool_size": None,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "mean": MEAN,
        "std": STD,
        "first_conv": _FIRST_CONV["Both"],
        "classifier": "head",
        "license": "apache-2.0",
        "paper_ids": "arXiv:2604.16952",
    }


default_cfgs = generate_default_cfgs({f"codemae_{name}": _cfg() for name in VARIANTS})


class TimmHiViT(HiViT):
    """The backbone as timm builds it: loading takes what :func:`codemae_geo.models.hivit.checkpoint_filter_fn` takes.

    So ``checkpoint_path`` may name a published checkpoint or the ``encoder.safetensors`` of ``codemae pretrain``, also
    for a model without the pyramid that the file holds. A weight that the model has and the file lacks is an error.
    """

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """See :meth:`torch.nn.Module.load_state_dict`; names that no backbone of this kind has are left out."""
        fitted = checkpoint_filter_fn(dict(state_dict), self)
        if not self.num_classes:
            fitted = {k: v for k, v in fitted.items() if not k.startswith(("head.", "fc_norm."))}
        return super().load_state_dict(fitted, strict=strict, assign=assign)


def _hub_source(variant: str) -> dict[str, Any]:
    """Where ``pretrained=True`` finds weights.

    Raises:
        ModelError: nowhere.
    """
    if not HUB:
        raise ModelError(
            f"no weights of {variant} are published",
            expected="a repository on the Hugging Face hub, named by the variable CODEMAE_HUB as OWNER/codemae_{size}",
            hint="load your own with checkpoint_path=..., such as the encoder.safetensors of codemae pretrain",
        )
    return {"hf_hub_id": HUB.format(size=variant.removeprefix("codemae_"))}


def _create(variant: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    overlay = dict(kwargs.pop("pretrained_cfg_overlay", None) or {})
    overlay.setdefault("first_conv", _FIRST_CONV[kwargs.get("modality", "Both")])
    named = kwargs.get("pretrained_cfg")
    if pretrained and not named and not overlay.keys() & {"file", "url", "hf_hub_id", "state_dict"}:
        overlay |= _hub_source(variant)
    if kwargs.get("features_only"):
        kwargs.setdefault("num_outs", _levels(kwargs.get("out_indices", (0, 1, 2))))
        kwargs.pop("num_classes", None)
    settings = VARIANTS[variant.removeprefix("codemae_")] | {"num_classes": 0}
    return build_model_with_cfg(
        TimmHiViT,
        variant,
        pretrained,
        pretrained_cfg_overlay=overlay,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": (0, 1, 2), "feature_cls": "getter"},
        **(settings | kwargs),
    )


def _levels(indices: Any) -> int:
    """Levels that a pyramid must have for ``out_indices``; negative ones and a number count from the coarse end."""
    wanted = [-indices] if isinstance(indices, int) else list(indices)
    return max(3, *(i + 1 if i >= 0 else -i for i in wanted))


@register_model
def codemae_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Width 192, 1+1 MLP and 6 attention blocks, pyramid 64: 3.2 M parameters. Ours, for CPUs."""
    return _create("codemae_tiny", pretrained, **kwargs)


@register_model
def codemae_small(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Width 384, 2+2 MLP and 10 attention blocks, pyramid 128: about 20 M parameters. Ours, for CPUs."""
    return _create("codemae_small", pretrained, **kwargs)


@register_model
def codemae_base(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """HiViT-Base as published: 512, 3+3, 24 blocks, 8 heads, pyramid 256."""
    return _create("codemae_base", pretrained, **kwargs)


@register_model
def codemae_large(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """HiViT-Large as published: 768, 2+2, 40 blocks, 12 heads, pyramid 256."""
    return _create("codemae_large", pretrained, **kwargs)
