"""RSD46-WHU: scenes and objects of 46 classes from Google Earth and Tianditu.

Long et al., "Accurate Object Localization in Remote Sensing Images Based on Convolutional Neural Networks", IEEE TGRS
55(5), 2017; Xiao et al., "High-Resolution Remote Sensing Image Retrieval Based on CNNs from a Dimensional Perspective",
Remote Sensing 9(7), 2017. One of the unpaired optical sources of OSPretrain-1M.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item
from codemae_datasets.public._scenes import SceneDataset


class RSD46WHU(SceneDataset):
    """RSD46-WHU by folder, or by ``ratio`` of all images: ``train`` and the rest, ``val``."""

    card: ClassVar[Card] = Card(
        name="rsd46_whu",
        title="RSD46-WHU",
        home="https://github.com/RSIA-LIESMARS-WHU/RSD46-WHU",
        licence="not stated; for research, please cite",
        citation="Long et al., IEEE TGRS 55(5), 2017; Xiao et al., Remote Sensing 9(7), 2017",
        size="117,000 images as published (109,157 in OSPretrain-1M), mostly of 256 x 256 pixels",
        modality="optical",
        bands="RGB, 8 bits",
        gsd_m=(0.5, 2.0),
        splits={"train": None, "val": None},
        layout="train/<Class>/*.jpg and val/<Class>/*.jpg",
        source="class list of the authors' page; the folders train and val as in public copies, spellings of some"
        " classes differ and are all read; not checked against the publishers' archive",
        task="one of 46 classes",
        classes=(
            "Airplane",
            "Airport",
            "Artificial dense forest land",
            "Artificial sparse forest land",
            "Bare land",
            "Basketball court",
            "Blue structured factory building",
            "Building",
            "Construction site",
            "Cross river bridge",
            "Crossroads",
            "Dense tall building",
            "Dock",
            "Fish pond",
            "Footbridge",
            "Graff",
            "Grassland",
            "Low scattered building",
            "Irregular farmland",
            "Medium density scattered building",
            "Medium density structured building",
            "Natural dense forest land",
            "Natural sparse forest land",
            "Oil tank",
            "Overpass",
            "Parking lot",
            "Plastic greenhouse",
            "Playground",
            "Railway",
            "Red structured factory building",
            "Refinery",
            "Regular farmland",
            "Scattered blue roof factory building",
            "Scattered red roof factory building",
            "Sewage plant-type-one",
            "Sewage plant-type-two",
            "Ship",
            "Solar power station",
            "Sparse residential area",
            "Square",
            "Steelworks",
            "Storage land",
            "Tennis court",
            "Thermal power plant",
            "Vegetable plot",
            "Water",
        ),
    )
    rest = "val"
    aliases: ClassVar[dict[str, str]] = {
        "Lrregular farmland": "Irregular farmland",
        "Parting lot": "Parking lot",
        "Steelsmelter": "Steelworks",
        "Steal smelter": "Steelworks",
    }

    def _index(self) -> list[Item]:
        if self.ratio is None:
            return self._few(self._class_folders(self.root / self.split))
        items = [item for part in ("train", "val") for item in self._class_folders(self.root / part)]
        return self._chosen_items(items)
