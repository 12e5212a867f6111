"""What encoders share: their interface, a HiViT's configuration, and the tokenizer of a sensor family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

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


@runtime_checkable
class Encoder(Protocol):
    """A network that gives features of images: a HiViT, DeCUR's streams, Cross-Scale MAE's ViT."""

    @property
    def sensors(self) -> tuple[Sensor, ...]:
        """What images it takes."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the maps that :meth:`dense` gives; the first is that of the features it was trained for."""

    def width(self, stride: int) -> int:
        """Channels of the map of a stride."""

    def dense(self, image: Tensor, sensor: Sensor, stride: int) -> Tensor:
        """A map [B, D, H / stride, W / stride] of normalised images [B, C, H, W] whose sides the stride divides."""

    def pooled(self, image: Tensor, sensor: Sensor) -> Tensor:
        """One vector [B, F] for each image [B, C, H, W]."""


def find_encoder(module: nn.Module) -> Encoder | None:
    """The encoder of a network: itself, or its part ``encoder`` or ``backbone``; None if it has none."""
    for part in (module, getattr(module, "encoder", None), getattr(module, "backbone", None)):
        if isinstance(part, nn.Module) and isinstance(part, Encoder):
            return part
    return None
