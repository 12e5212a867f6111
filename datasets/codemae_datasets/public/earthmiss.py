"""EarthMiss: optical and SAR images of thirteen cities on five continents.

Zhou et al., "Remote sensing meta modal representation for missing modality land cover mapping: From EarthMiss dataset
to MetaRS method", Remote Sensing of Environment, 2025.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item, PairedDataset

CITIES = {
    "train": (
        "America-Eugene",
        "America-Louisville",
        "French-Paris",
        "Morocco-Casablanca",
        "Nanjing",
        "Netherlands-Rotterdam",
        "Singapore",
    ),
    "val": ("Australia-PortHedland", "America-Pake", "Russian-Engels"),
    "test": ("America-NewYork", "Japan-Hakodate", "Peru-Callao"),
}


class EarthMiss(PairedDataset):
    """``mask`` 0 to 7, 255 for no label. The splits are cities."""

    card: ClassVar[Card] = Card(
        name="earthmiss",
        title="EarthMiss",
        home="https://zenodo.org/records/17231107",
        licence="see the Zenodo record",
        citation="Zhou et al., Remote Sensing of Environment, 2025, doi:10.1016/j.rse.2025.115132",
        size="3,355 pairs of 1,024 x 1,024 pixels",
        modality="optical + SAR",
        bands="RGB and one SAR band",
        gsd_m=(0.6, 0.6),
        splits=dict.fromkeys(CITIES),
        layout="<city>/images/RGB/<name>.tif, <city>/images/SAR/<name>_SAR.tif, <city>/masks/<name>_mask.tif",
        source="Yi-Heng/EarthMiss (data/EarthMiss.py, configs/metadata/EarthMiss.py)",
        task="land cover",
        classes=("background", "building", "road", "water", "barren", "forest", "agricultural", "playground"),
    )
    mask_codes = {0: 255, **{n + 1: n for n in range(8)}}  # noqa: RUF012
    ospretrain = "EarthMiss"

    def _index(self) -> list[Item]:
        items = []
        for city in CITIES[self.split]:
            images = self._need(self.root / city) / "images"
            folders = {"image": images / "RGB", "image_sar": images / "SAR", "mask": self.root / city / "masks"}
            matched = self._matched(
                folders,
                stems={"image_sar": lambda stem: stem.removesuffix("_SAR"), "mask": lambda s: s.removesuffix("_mask")},
            )
            items += [Item(f"{city}/{item.name}", item.files) for item in matched]
        return items
