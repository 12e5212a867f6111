"""AID: aerial scenes of thirty classes.

Xia et al., "AID: A Benchmark Data Set for Performance Evaluation of Aerial Scene Classification", IEEE TGRS 55(7),
2017. No lists are published: the papers draw 20 % or 50 % of every class at random to train with.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item
from codemae_datasets.public._scenes import SceneDataset


class AID(SceneDataset):
    """AID; ``ratio`` is 0.2 unless given."""

    card: ClassVar[Card] = Card(
        name="aid",
        title="AID",
        home="https://captain-whu.github.io/AID/",
        licence="not stated; images from Google Earth, for research",
        citation="Xia et al., IEEE TGRS 55(7), 2017, doi:10.1109/TGRS.2017.2685945",
        size="10,000 images of 600 x 600 pixels, 220 to 420 per class",
        modality="optical",
        bands="RGB, 8 bits",
        gsd_m=(0.5, 8.0),
        splits={"train": None, "test": None},
        layout="AID/<Class>/<class>_<n>.jpg",
        source="the authors' page; folder names as read by public classification code for AID",
        task="one of 30 scene classes",
        classes=(
            "Airport",
            "BareLand",
            "BaseballField",
            "Beach",
            "Bridge",
            "Center",
            "Church",
            "Commercial",
            "DenseResidential",
            "Desert",
            "Farmland",
            "Forest",
            "Industrial",
            "Meadow",
            "MediumResidential",
            "Mountain",
            "Park",
            "Parking",
            "Playground",
            "Pond",
            "Port",
            "RailwayStation",
            "Resort",
            "River",
            "School",
            "SparseResidential",
            "Square",
            "Stadium",
            "StorageTanks",
            "Viaduct",
        ),
    )
    default_ratio = 0.2

    def _index(self) -> list[Item]:
        return self._chosen_items(self._class_folders(self.root / "AID"))
