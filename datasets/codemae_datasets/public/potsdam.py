"""ISPRS 2D semantic labelling, Potsdam: aerial orthophotos in red, green, blue, near infrared.

Rottensteiner et al., "The ISPRS Benchmark on Urban Object Classification and 3D Building Reconstruction", ISPRS Annals
I-3, 2012.
"""

from __future__ import annotations

from typing import ClassVar

from torchgeo.datasets import Potsdam2D as Published

from codemae_datasets.public._base import Archive, Card, Item
from codemae_datasets.public.vaihingen import ISPRSDataset


class Potsdam(ISPRSDataset):
    """ISPRS Potsdam, the 24 and 14 tiles of the contest."""

    card: ClassVar[Card] = Card(
        name="potsdam",
        title="ISPRS Potsdam",
        home="https://www.isprs.org/education/benchmarks/UrbanSemLab/default.aspx",
        licence="for research, with the acknowledgement that ISPRS asks for",
        citation="Rottensteiner et al., ISPRS Annals I-3, 2012, doi:10.5194/isprsannals-I-3-293-2012",
        size="38 tiles of 6000 x 6000 pixels",
        modality="optical (aerial)",
        bands="red, green, blue, near infrared, 8 bits",
        gsd_m=(0.05, 0.05),
        splits={"train": 24, "test": 14},
        layout="4_Ortho_RGBIR/<tile>_RGBIR.tif and <tile>_label.tif",
        source="torchgeo's Potsdam2D",
        task="land cover, 6 classes",
        classes=tuple(Published.classes),
        archives=(
            Archive("4_Ortho_RGBIR.zip", checksum="md5:c4a8f7d8c7196dd4eba4addd0aae10c1"),
            Archive("5_Labels_all.zip"),
        ),
    )
    all_bands = ("R", "G", "B", "NIR")

    def _index(self) -> list[Item]:
        folder = self._need(self.root / "4_Ortho_RGBIR")
        return [
            Item(name, {"image": self._need(folder / f"{name}_RGBIR.tif"), "mask": self.root / f"{name}_label.tif"})
            for name in Published.splits[self.split]
        ]
