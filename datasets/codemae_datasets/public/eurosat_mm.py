"""EuroSAT-MM: EuroSAT with a Sentinel-1 image of every patch (EuroSAT-SAR).

Helber et al., IEEE JSTARS 12(7), 2019 (EuroSAT); Wang et al., "Feature Guided Masked Autoencoder for Self-Supervised
Learning in Remote Sensing", arXiv 2310.18653 (EuroSAT-SAR).
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Archive, Card, Item, PairedDataset
from codemae_datasets.public.eurosat import EuroSAT


class EuroSATMM(PairedDataset):
    """Pairs by EuroSAT's lists; ``label`` int64 []."""

    card: ClassVar[Card] = Card(
        name="eurosat_mm",
        title="EuroSAT-MM (EuroSAT with EuroSAT-SAR)",
        home="https://huggingface.co/datasets/wangyi111/EuroSAT-SAR",
        licence="MIT",
        citation=f"{EuroSAT.card.citation}; Wang et al., arXiv 2310.18653, 2023",
        size="27,000 pairs of 64 x 64 pixels",
        modality="optical (Sentinel-2 level 1C) + SAR (Sentinel-1 GRD)",
        bands="13 bands, reflectance x 10,000; VV, VH in dB",
        gsd_m=(10.0, 10.0),
        splits=EuroSAT.card.splits,
        layout=f"{EuroSAT.card.layout}; EuroSAT-SAR/<Class>/<Class>_<n>.tif",
        source="torchgeo's EuroSAT; the card of EuroSAT-SAR and public code that pairs both by file name",
        task=EuroSAT.card.task,
        classes=EuroSAT.card.classes,
        archives=(
            *EuroSAT.card.archives,
            Archive(
                "EuroSAT-SAR.zip",
                url="https://huggingface.co/datasets/wangyi111/EuroSAT-SAR/resolve/"
                "c60e57b0c02e53348f69070ca317c7450f650d92/EuroSAT-SAR.zip",
                checksum="sha256:3ffad1e8bb3c2b0c2941ed60b978d78f43a77c9b3bddd6fe35c34ab655459c10",
            ),
        ),
    )
    all_bands = EuroSAT.all_bands
    rgb_bands = EuroSAT.rgb_bands
    sar_bands = ("VV", "VH")
    probe = "EuroSat"

    def _index(self) -> list[Item]:
        names = [line.partition(".")[0] for line in self._lines(self.root / f"eurosat-{self.split}.txt")]
        places = {"image": self.root / EuroSAT.folder, "image_sar": self.root / "EuroSAT-SAR"}
        unused = {"optical": "image_sar", "sar": "image"}.get(self.modality)
        for key, place in places.items():
            if key != unused:
                self._need(place)
        items = []
        for name in names:
            kind = name.rpartition("_")[0]
            files = {key: place / kind / f"{name}.tif" for key, place in places.items() if key != unused}
            items.append(Item(name, files, self.classes.index(kind)))
        return items
