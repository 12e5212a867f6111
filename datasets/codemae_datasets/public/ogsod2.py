"""OGSOD-2.0: bridges, harbours and oil tanks in optical and SAR images.

"OGSOD-2.0: a challenging multimodal benchmark for optical-SAR object detection", ICGIP 2024, SPIE 13539.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from codemae_datasets.public._base import Card, Item, PairedDataset, Sample
from codemae_geo.errors import InputError


class OGSOD2(PairedDataset):
    """``bbox_xyxy`` and ``label``; an oriented box becomes the upright box around it.

    Batches need :func:`codemae_datasets.public.collate`.
    """

    card: ClassVar[Card] = Card(
        name="ogsod2",
        title="OGSOD-2.0",
        home="https://doi.org/10.1117/12.3057720",
        licence="not stated; cite the paper",
        citation="OGSOD-2.0, Proc. SPIE 13539, 2025, doi:10.1117/12.3057720",
        size="20,332 pairs of 256 x 256 pixels",
        modality="optical + SAR (C band)",
        bands="RGB and one SAR band, 8 bits",
        gsd_m=None,
        splits={"train": 14_250, "val": 2_035, "test": 4_047},
        layout="images/<split>/images/<name>.png, imagesSAR/<split>/images/<name>.png, labels/<split>/<name>.txt"
        " (YOLO: class, then centre and size or four corners, as shares of the side)",
        source="folders as read by public distillation code for OGSOD-2.0, counts as in the READMEs of FFD and TOP-Net,"
        " class order and label form as LICZ11/OGSOD-1.0-Dataset states for the first version",
        task="boxes of 3 classes",
        classes=("bridge", "harbor", "oil tank"),
    )
    ospretrain = "OGSOD-2"

    def _index(self) -> list[Item]:
        folders = {
            key: self._first(self.root / name / self.split / "images", self.root / name / self.split)
            for key, name in (("image", "images"), ("image_sar", "imagesSAR"))
        }
        labels = self._need(self.root / "labels" / self.split)
        # an image without objects may have no file of labels
        return [Item(item.name, item.files, labels / f"{item.name}.txt") for item in self._matched(folders)]

    def files(self, item: Item) -> list[Path]:
        """Every file that a sample is read from."""
        return [*super().files(item), item.label]

    def _load(self, item: Item) -> Sample:
        sample = super()._load(Item(item.name, item.files))
        height, width = sample["image"].shape[-2:]
        sample["bbox_xyxy"], sample["label"] = yolo_boxes(item.label, width, height, len(self.classes))
        return sample


def yolo_boxes(path: Path, width: int, height: int, classes: int) -> tuple[Tensor, Tensor]:
    """``bbox_xyxy`` float32 [N, 4] in pixels and ``label`` int64 [N] of a YOLO file; none if there is no such file.

    Raises:
        InputError: a line has another form, or names another class; names the file and the line.
    """
    boxes: list[list[float]] = []
    labels: list[int] = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            label, *values = (float(word) for word in line.split())
        except ValueError:
            label, values = -1.0, []
        if len(values) not in (4, 8) or label not in range(classes):
            if not line.strip():
                continue
            raise InputError(
                f"the labels {path} do not decode",
                found=f"line {number}: {line.strip()[:60]!r}",
                expected=f"a class from 0 to {classes - 1}, then 4 or 8 numbers",
            )
        if len(values) == 4:
            x, y, w, h = values
            xs, ys = [x - w / 2, x + w / 2], [y - h / 2, y + h / 2]
        else:
            xs, ys = values[::2], values[1::2]
        boxes.append([min(xs) * width, min(ys) * height, max(xs) * width, max(ys) * height])
        labels.append(int(label))
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64)
