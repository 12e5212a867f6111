"""WHU-RS19: scenes of nineteen classes.

Dai and Yang, "Satellite Image Classification via Two-Layer Sparse Coding with Biased Image Representation", IEEE GRSL
8(1), 2011. No lists are published; 40 % and 60 % of every class are the customary shares to train with.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item
from codemae_datasets.public._scenes import SceneDataset


class WHURS19(SceneDataset):
    """WHU-RS19; ``ratio`` is 0.4 unless given."""

    card: ClassVar[Card] = Card(
        name="whu_rs19",
        title="WHU-RS19",
        home="https://captain-whu.github.io/BED4RS/",
        licence="not stated; images from Google Earth, for research",
        citation="Dai and Yang, IEEE GRSL 8(1), 2011, doi:10.1109/LGRS.2010.2055033",
        size="1,005 to 1,013 images (copies differ) of 600 x 600 pixels, about 50 per class",
        modality="optical",
        bands="RGB, 8 bits",
        gsd_m=(0.5, 0.5),
        splits={"train": None, "test": None},
        layout="WHU-RS19/<Class>/<class>_<nn>.jpg",
        source="names of classes and files as known from public copies; not checked against the publishers' archive",
        task="one of 19 scene classes",
        classes=(
            "Airport",
            "Beach",
            "Bridge",
            "Commercial",
            "Desert",
            "Farmland",
            "footballField",
            "Forest",
            "Industrial",
            "Meadow",
            "Mountain",
            "Park",
            "Parking",
            "Pond",
            "Port",
            "railwayStation",
            "Residential",
            "River",
            "Viaduct",
        ),
    )
    default_ratio = 0.4

    def _index(self) -> list[Item]:
        return self._chosen_items(self._class_folders(self.root / "WHU-RS19"))
