"""PIE-RGB-SAR: optical and SAR tiles of the Pearl River Delta.

Zhang et al., "ASANet: Asymmetric Semantic Aligning Network for RGB and SAR image land cover classification", ISPRS
Journal 218, 2024.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item, PairedDataset


class PIERGBSAR(PairedDataset):
    """``mask`` 0 to 5."""

    card: ClassVar[Card] = Card(
        name="pie_rgb_sar",
        title="PIE-RGB-SAR",
        home="https://github.com/whu-pzhang/ASANet",
        licence="not stated; cite the paper",
        citation="Zhang et al., ISPRS Journal 218, 2024, doi:10.1016/j.isprsjprs.2024.09.025",
        size="pairs of 256 x 256 pixels",
        modality="optical + SAR",
        bands="RGB and one SAR band, 8 bits",
        gsd_m=None,
        splits={"train": None, "val": None},
        layout="{rgb,sar,label}/<name>.tif, train.txt and val.txt of names",
        source="whu-pzhang/ASANet (README, dataset configuration, classes)",
        task="land cover",
        classes=("background", "city", "road", "water", "forest", "farmland"),
    )
    ospretrain = "PIE-RGB-SAR"
    probe = "PIE"

    def _index(self) -> list[Item]:
        folders = {"image": self.root / "rgb", "image_sar": self.root / "sar", "mask": self.root / "label"}
        names = [name.removesuffix(".tif") for name in self._lines(self.root / f"{self.split}.txt")]
        return self._matched(folders, names=names)
