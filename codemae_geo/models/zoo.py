"""The backbones as timm models: ``timm.create_model("codemae_base")``, with ``features_only`` and all.

Nothing needs to import this module: :mod:`codemae_geo.models` sees to it, whether timm is imported before or after.
"""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from codemae_geo.models.hivit import VARIANTS, HiViT, checkpoint_filter_fn


def _cfg() -> dict[str, Any]:
    return {
        "num_classes": 0,
        "input_size": (3, 224, 224),
        "fixed_input_size": False,
        "pool_size": None,
        "first_conv": "patch_embed_rgb.proj",
        "classifier": "head",
        "license": "apache-2.0",
    }


default_cfgs = generate_default_cfgs({f"codemae_{name}": _cfg() for name in VARIANTS})


def _create(variant: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    if kwargs.get("features_only"):
        indices = kwargs.get("out_indices", (0, 1, 2))
        wanted = indices if isinstance(indices, int) else max(indices) + 1
        kwargs.setdefault("num_outs", max(3, wanted))
        kwargs.pop("num_classes", None)
    settings = VARIANTS[variant.removeprefix("codemae_")] | {"num_classes": 0}
    return build_model_with_cfg(
        HiViT,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": (0, 1, 2), "feature_cls": "getter"},
        **(settings | kwargs),
    )


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
