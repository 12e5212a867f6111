"""What every network on a HiViT encoder shares: its configuration, and the tokenizer of a sensor family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from codemae_geo.errors import ModelError
from codemae_geo.models.hivit import VARIANTS, Modality

Sensor = Literal["optical", "sar"]
#: sensor family of an input -> tokenizer of the backbone
TOKENIZER: dict[str, Modality] = {"optical": "RGB", "sar": "SAR"}


def encoder_config(encoder: str | Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of :class:`HiViT` from a variant's name, or from a mapping that may name one as ``variant``.

    Raises:
        ModelError: no such variant.
    """
    settings = {"variant": encoder} if isinstance(encoder, str) else dict(encoder)
    variant = settings.pop("variant", None)
    if variant is not None and variant not in VARIANTS:
        raise ModelError("unknown size of the backbone", found=repr(variant), expected=", ".join(sorted(VARIANTS)))
    return (VARIANTS[variant] if variant else {}) | settings
