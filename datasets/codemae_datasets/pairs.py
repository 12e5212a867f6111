"""What a source of optical-SAR images is: items by epoch, samples by item, batches of samples.

A *sample* is a dict: ``rgb`` and ``sar`` uint8 [3, H, W], ``dataset`` the number of its statistics, ``paired`` a bool,
and ``unreadable`` a tuple of the files that had to be passed over to get it. A sample that could not be made holds
``error``, the arguments of an :class:`~codemae_geo.errors.InputError`: exceptions lose their form on the
way out of a worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from codemae_geo.errors import InputError


class PairSource(Protocol):
    """Images of two modalities, partly in pairs.

    A source whose items come in the order in which they are to be used has an attribute ``ordered`` that is True.
    """

    #: name of each dataset, in the order of the sample's ``dataset``
    names: list[str]

    def paired_items(self, generator: torch.Generator) -> Sequence[Any]:
        """The pairs of one epoch, in any order."""

    def unpaired_items(self, generator: torch.Generator) -> Sequence[Any]:
        """Optical images with SAR images of other places, drawn anew for the epoch."""

    def __getitem__(self, item: Any) -> dict[str, Any]:
        """One sample."""


class Statistics:
    """Mean and deviation of each dataset, images in [0, 1].

    Args:
        rgb, sar: one (mean, std) per dataset, three numbers each.
    """

    def __init__(self, rgb: Sequence[Any], sar: Sequence[Any]) -> None:
        self.rgb = torch.tensor([[list(mean), list(std)] for mean, std in rgb], dtype=torch.float32)  # [N, 2, 3]
        self.sar = torch.tensor([[list(mean), list(std)] for mean, std in sar], dtype=torch.float32)

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """By dataset name, for a run's record."""
        return {
            name: {
                key: {
                    "mean": [round(v, 4) for v in table[i, 0].tolist()],
                    "std": [round(v, 4) for v in table[i, 1].tolist()],
                }
                for key, table in (("rgb", self.rgb), ("sar", self.sar))
            }
            for i, name in enumerate(names)
        }


def measure(source: PairSource, items: Sequence[Any], dataset_count: int = 1) -> Statistics:
    """Statistics over the pixels of ``items``; datasets that do not occur get mean 0 and deviation 1.

    Raises:
        InputError: a sample cannot be read.
    """
    sums = torch.zeros(2, dataset_count, 3, 3, dtype=torch.float64)  # modality, dataset, (count, sum, squares), channel
    for item in items:
        sample = source[item]
        raise_error(sample)
        for m, key in enumerate(("rgb", "sar")):
            pixels = sample[key].double().flatten(1) / 255
            moments = torch.stack([torch.full((3,), pixels.shape[1]).double(), pixels.sum(1), pixels.square().sum(1)])
            sums[m, sample["dataset"]] += moments
    count = sums[:, :, 0].clamp(min=1)
    mean = sums[:, :, 1] / count
    std = (sums[:, :, 2] / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-3, std, torch.ones_like(std))
    tables = [list(zip(mean[m].tolist(), std[m].tolist(), strict=True)) for m in range(2)]
    return Statistics(*tables)


def raise_error(sample: Mapping[str, Any]) -> None:
    """Raise the sample's error, if it has one."""
    if "error" in sample:
        raise InputError(**sample["error"])


def collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Samples to one batch; images of different sizes are padded by repeating their edge.

    Returns:
        ``rgb``, ``sar`` uint8 [B, 3, H, W]; ``rgb_size``, ``sar_size`` int64 [B, 2] (rows, columns that are image);
        ``dataset`` int64 [B]; ``paired`` bool; ``unreadable``; or the first ``error`` alone.
    """
    for sample in samples:
        if "error" in sample:
            return {"error": sample["error"]}
    batch: dict[str, Any] = {
        "dataset": torch.tensor([s["dataset"] for s in samples]),
        "paired": all(s["paired"] for s in samples),
        "unreadable": sorted({name for s in samples for name in s.get("unreadable", ())}),
    }
    for key in ("rgb", "sar"):
        batch[key], batch[f"{key}_size"] = _stack([s[key] for s in samples])
    return batch


def _stack(images: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    sizes = torch.tensor([image.shape[-2:] for image in images])
    height, width = sizes.max(dim=0).values.tolist()
    padded = [
        image
        if image.shape[-2:] == (height, width)
        else F.pad(image[None].float(), (0, width - image.shape[2], 0, height - image.shape[1]), mode="replicate")[
            0
        ].byte()
        for image in images
    ]
    return torch.stack(padded), sizes
