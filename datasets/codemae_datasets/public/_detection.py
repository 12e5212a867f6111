"""Datasets of objects in boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from codemae_datasets.public._base import Item, PublicDataset, Sample, Transform
from codemae_datasets.public.boxes import box_tensors


class DetectionDataset(PublicDataset):
    """A public dataset of objects. ``bbox_xyxy`` float32 [N, 4] in pixels, ``label`` int64 [N].

    Batches need :func:`codemae_datasets.public.collate`, since images hold different numbers of objects.
    """

    def _objects(self, item: Item) -> tuple[Sequence[object], Sequence[str]]:
        """Boxes, or corners of oriented boxes, and class names of an item that has labels."""
        raise NotImplementedError

    def _load(self, item: Item) -> Sample:
        sample = {"image": self._channels(item.files["image"], self.all_bands, self.bands)}
        if item.label is not None or "boxes" in item.files:
            boxes, names = self._objects(item)
            path = item.files.get("boxes", item.files["image"])
            sample["bbox_xyxy"], sample["label"] = box_tensors(boxes, names, self.classes, path)
            sample |= self._corners(boxes)
        return sample

    def _corners(self, boxes: Sequence[object]) -> Sample:
        return {}


class OrientedDataset(DetectionDataset):
    """A public dataset of objects in oriented boxes; ``bbox_xyxy`` is the upright box around each.

    Args:
        oriented: also give ``corners`` float32 [N, 4, 2], x and y of the four corners in pixels.

    Other arguments and errors: :class:`PublicDataset`.
    """

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        oriented: bool = False,
    ) -> None:
        self.oriented = oriented
        super().__init__(root, split, bands, transforms, download, checksum)

    def _corners(self, boxes: Sequence[object]) -> Sample:
        return {"corners": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4, 2)} if self.oriented else {}
