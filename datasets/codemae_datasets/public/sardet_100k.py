"""SARDet-100K: ten SAR detection datasets brought into one form.

Li et al., "SARDet-100K: Towards Open-Source Benchmark and ToolKit for Large-Scale SAR Object Detection", NeurIPS 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from codemae_datasets.public._base import Card, Item
from codemae_datasets.public._detection import DetectionDataset
from codemae_datasets.public.boxes import read_coco


class SARDet100K(DetectionDataset):
    """SARDet-100K."""

    card: ClassVar[Card] = Card(
        name="sardet_100k",
        title="SARDet-100K",
        home="https://github.com/zcablii/SARDet_100K",
        licence="CC BY-NC 4.0",
        citation="Li et al., NeurIPS 2024, arXiv:2403.06534",
        size="116,598 images, mostly of 512 x 512 pixels or less, 245,653 objects",
        modality="SAR (C, X, Ku and Ka band)",
        bands="amplitude, 8 bits",
        gsd_m=(0.1, 25.0),
        splits={"train": 94_493, "val": 10_492, "test": 11_613},
        layout="SARDet_100K/Annotations/{train,val,test}.json (COCO) and SARDet_100K/JPEGImages/{train,val,test}/",
        source="configurations of mmdetection that read it",
        task="boxes of 6 classes",
        classes=("ship", "aircraft", "car", "tank", "bridge", "harbor"),
    )
    all_bands = ("SAR",)
    rgb_bands = ("SAR",)
    #: folder of the dataset; it may also be the root itself
    folder: ClassVar[str] = "SARDet_100K"

    @property
    def _top(self) -> Path:
        return self.root / self.folder if (self.root / self.folder).is_dir() else self.root

    def _index(self) -> list[Item]:
        notes = self._need(self._top / "Annotations" / f"{self.split}.json")
        images = self._need(self._top / "JPEGImages" / self.split)
        return [
            Item(Path(name).stem, {"image": images / name}, (boxes, names)) for name, boxes, names in read_coco(notes)
        ]

    def _objects(self, item: Item) -> tuple[Sequence[object], Sequence[str]]:
        return item.label
