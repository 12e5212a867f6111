"""WHU-OPT-SAR: GaoFen-1 and GaoFen-3 over Hubei.

Li et al., "MCANet: A joint semantic segmentation framework of optical and SAR images for land use classification", JAG
106, 2022.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item, PairedDataset

#: "The division of the dataset.txt" of AmberHen/WHU-OPT-SAR-dataset; the other eighty scenes train
TEST = """NH49E001014 NH49E001017 NH49E002012 NH49E002016 NH49E003014 NH49E003024 NH49E004011 NH49E005011 NH49E005019
NH49E006019 NH49E007014 NH49E008013 NH49E009017 NH49E010020 NH49E011024 NH49E012020 NH49E013010 NH50E007002 NH50E011005
NH50E014003"""


class WHUOPTSAR(PairedDataset):
    """Whole scenes, to be cropped before they are batched; ``mask`` 0 to 6, 255 for background."""

    card: ClassVar[Card] = Card(
        name="whu_opt_sar",
        title="WHU-OPT-SAR",
        home="https://github.com/AmberHen/WHU-OPT-SAR-dataset",
        licence="not stated; cite the paper",
        citation="Li et al., JAG 106, 2022, doi:10.1016/j.jag.2021.102638",
        size="100 pairs of 5,556 x 3,704 pixels (29,400 tiles of 256 x 256)",
        modality="optical (GaoFen-1) + SAR (GaoFen-3)",
        bands="RGB and near infrared, one SAR band, 8 bits",
        gsd_m=(5.0, 5.0),
        splits={"train": 80, "test": 20},
        layout="{optical,sar,lbl}/<scene>.tif",
        source="AmberHen/WHU-OPT-SAR-dataset (label values, division) and whu-pzhang/ASANet (folders)",
        task="land use",
        classes=("farmland", "city", "village", "water", "forest", "road", "others"),
    )
    all_bands = ("R", "G", "B", "NIR")
    mask_codes = {0: 255, **{10 * (n + 1): n for n in range(7)}}  # noqa: RUF012
    ospretrain = "WHU-OPT-SAR"
    probe = "WHU"

    def _index(self) -> list[Item]:
        folders = {"image": self.root / "optical", "image_sar": self.root / "sar", "mask": self.root / "lbl"}
        wanted = self.split == "test"
        test = set(TEST.split())
        return [item for item in self._matched(folders) if (item.name in test) == wanted]
