"""FUSAR-Ship: chips of ships and of what looks like them, from Gaofen-3, in the ten classes of the few-shot protocol.

Hou et al., "FUSAR-Ship: Building a High-Resolution SAR-AIS Matchup Dataset of Gaofen-3 for Ship Detection and
Recognition", Science China Information Sciences 63, 2020.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item
from codemae_datasets.public._scenes import SceneDataset


class FUSARShip(SceneDataset):
    """FUSAR-Ship; the papers' protocol is ``shots=40``."""

    card: ClassVar[Card] = Card(
        name="fusar_ship",
        title="FUSAR-Ship",
        home="https://github.com/waterdisappear/SAR-JEPA",
        licence="not stated; for research, please cite",
        citation="Hou et al., Science China Information Sciences 63, 2020, doi:10.1007/s11432-019-2772-5",
        size="9,830 chips, 512 x 512 pixels in the original release",
        modality="SAR (Gaofen-3, C band)",
        bands="amplitude, 8 bits",
        gsd_m=(1.1, 1.7),
        splits={"train": None, "test": None},
        layout="New_FUSAR/{Train,Val}/<Class>/*.png or *.jpg (Val is the test set)",
        source="SAR-JEPA's few-shot code; the original release has <category>/<subcategory>/Ship_CxxSyyNzzzz.tiff"
        " instead and no split",
        task="one of 10 classes",
        classes=(
            "Bridges",
            "Cargo",
            "CoastalLands_island",
            "Fishing",
            "LandPatches",
            "OtherShip",
            "SeaClutterWaves",
            "SeaPatches",
            "StrongFalseAlarms",
            "Tanker",
        ),
    )
    all_bands = ("SAR",)
    rgb_bands = ("SAR",)

    def _index(self) -> list[Item]:
        return self._few(self._class_folders(self.root / "New_FUSAR" / {"train": "Train", "test": "Val"}[self.split]))
