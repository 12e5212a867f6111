"""SARDet-180K: the unlabelled SAR images that SARATR-X is trained on, from fourteen datasets.

Li et al., "SARATR-X: Toward Building a Foundation Model for SAR Target Recognition", IEEE TIP 34, 2025. One of the
unpaired SAR sources of OSPretrain-1M, there without the test images of its parts.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import IMAGES, Card, Item
from codemae_datasets.public.sardet_100k import SARDet100K


class SARDet180K(SARDet100K):
    """SARDet-180K: every image below the folder; with boxes where a COCO table comes with it, as in SARDet-100K."""

    card: ClassVar[Card] = Card(
        name="sardet_180k",
        title="SARDet-180K",
        home="https://github.com/waterdisappear/SARATR-X",
        licence="those of the fourteen parts; for research",
        citation="Li et al., IEEE TIP 34, 2025, doi:10.1109/TIP.2025.3531988, arXiv:2405.09365",
        size="186,600 images of 9 to 2048 pixels (157,733 in OSPretrain-1M)",
        modality="SAR (C, X, Ku and Ka band)",
        bands="amplitude, 8 bits",
        gsd_m=(0.1, 25.0),
        splits={"train": None},
        layout="SARDet_180K/<source>/**/<image>; or, with boxes, Annotations/train.json and JPEGImages/train/",
        source="SARATR-X's pretraining code, which takes every image below a folder; the archive was not seen",
        task="none, or boxes of 6 classes",
        classes=SARDet100K.card.classes,
    )
    folder = "SARDet_180K"

    def _index(self) -> list[Item]:
        if (self._top / "Annotations" / "train.json").is_file():
            return super()._index()
        top = self._need(self.root / self.folder)
        paths = sorted(path for path in top.rglob("*") if path.suffix.lower() in IMAGES)
        return [Item(path.relative_to(top).with_suffix("").as_posix(), {"image": path}) for path in paths]
