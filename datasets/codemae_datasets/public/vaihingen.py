"""ISPRS 2D semantic labelling, Vaihingen: aerial orthophotos in near infrared, red, green.

Rottensteiner et al., "The ISPRS Benchmark on Urban Object Classification and 3D Building Reconstruction", ISPRS Annals
I-3, 2012.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torchgeo.datasets import Vaihingen2D as Published

from codemae_datasets.public._base import Archive, Card, Item, PublicDataset, read_image, to_classes
from codemae_geo.classes import NODATA

#: red, green, blue in the masks of both ISPRS cities to class number, as 0xRRGGBB; black lines divide objects
_CODES = {r << 16 | g << 8 | b: number for number, (r, g, b) in enumerate(Published.colormap)} | {0: NODATA}


class ISPRSDataset(PublicDataset):
    """What the two ISPRS cities share: their colour-coded masks."""

    def _mask(self, path: Path) -> Tensor:
        # a few published pixels are off by some grey levels: each channel is 0 or 255, whichever is nearer
        red, green, blue = torch.where(read_image(path)[:3] >= 128, 255, 0).to(torch.int64).numpy()
        return torch.from_numpy(to_classes(red << 16 | green << 8 | blue, _CODES, path, colors=True))


class Vaihingen(ISPRSDataset):
    """ISPRS Vaihingen, the 16 and 17 tiles of the contest."""

    card: ClassVar[Card] = Card(
        name="vaihingen",
        title="ISPRS Vaihingen",
        home="https://www.isprs.org/education/benchmarks/UrbanSemLab/default.aspx",
        licence="for research, with the acknowledgement that ISPRS asks for",
        citation="Rottensteiner et al., ISPRS Annals I-3, 2012, doi:10.5194/isprsannals-I-3-293-2012",
        size="33 tiles of about 2500 x 2000 pixels",
        modality="optical (aerial)",
        bands="near infrared, red, green, 8 bits",
        gsd_m=(0.09, 0.09),
        splits={"train": 16, "test": 17},
        layout="top/top_mosaic_09cm_area<n>.tif and, of the same name beside top/, the masks",
        source="torchgeo's Vaihingen2D",
        task="land cover, 6 classes",
        classes=tuple(Published.classes),
        archives=(
            Archive("ISPRS_semantic_labeling_Vaihingen.zip", checksum="md5:462b8dca7b6fa9eaf729840f0cdfc7f3"),
            Archive(
                "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE.zip",
                checksum="md5:4802dd6326e2727a352fb735be450277",
            ),
        ),
    )
    all_bands = ("NIR", "R", "G")
    rgb_bands = ("NIR", "R", "G")

    def _index(self) -> list[Item]:
        folder = self._need(self.root / "top")
        return [
            Item(Path(name).stem, {"image": self._need(folder / name), "mask": self.root / name})
            for name in Published.splits[self.split]
        ]
