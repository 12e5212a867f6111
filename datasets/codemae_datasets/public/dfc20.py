"""DFC20, the 2020 IEEE GRSS Data Fusion Contest: Sentinel-1 and Sentinel-2 with land cover at 10 m.

Yokoya et al., "2020 IEEE GRSS Data Fusion Contest: Global Land Cover Mapping with Weak Supervision", IEEE GRSM 8(1),
2020. The patches are of the kind of SEN12MS.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from codemae_datasets.public._base import Card, Item, PairedDataset

#: Sentinel-2 level 1C bands in the order of SEN12MS and DFC20
SENTINEL2 = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")


class DFC20(PairedDataset):
    """``mask`` 0 to 7; savanna, snow and ice, and pixels without a class are 255, as in the papers' linear probes.

    Those train on the contest's ``test`` and score on its ``val``.
    """

    card: ClassVar[Card] = Card(
        name="dfc20",
        title="DFC20 (SEN12MS/DFC2020)",
        home="https://ieee-dataport.org/competitions/2020-ieee-grss-data-fusion-contest",
        licence="see IEEE DataPort; cite the contest",
        citation="Yokoya et al., IEEE GRSM 8(1), 2020, doi:10.1109/MGRS.2020.2970124",
        size="6,114 pairs of 256 x 256 pixels",
        modality="optical (Sentinel-2 level 1C) + SAR (Sentinel-1 GRD)",
        bands="13 bands, reflectance x 10,000; VV, VH in dB",
        gsd_m=(10.0, 10.0),
        splits={"val": 986, "test": 5_128},
        layout="ROIs0000_validation/{s2,s1,dfc}_validation/ROIs0000_validation_{s2,s1,dfc}_<n>_p<n>.tif,"
        " ROIs0000_test/{s2,s1,dfc}_0/ROIs0000_test_{s2,s1,dfc}_0_p<n>.tif",
        source="lukasliebel/dfc2020_baseline (code/datasets.py); classes as in scenarri/CoDeMAE",
        task="land cover",
        classes=("Forest", "Shrubland", "Grassland", "Wetlands", "Croplands", "Urban/Built-up", "Barren", "Water"),
    )
    all_bands = SENTINEL2
    rgb_bands = ("B04", "B03", "B02")
    sar_bands = ("VV", "VH")
    mask_codes = {0: 255, 1: 0, 2: 1, 3: 255, 4: 2, 5: 3, 6: 4, 7: 5, 8: 255, 9: 6, 10: 7}  # noqa: RUF012
    probe = "DFC20"

    def _index(self) -> list[Item]:
        name, part = ("ROIs0000_validation", "validation") if self.split == "val" else ("ROIs0000_test", "0")
        kinds = {"image": "s2", "image_sar": "s1", "mask": "dfc"}
        folders: dict[str, Path] = {key: self.root / name / f"{kind}_{part}" for key, kind in kinds.items()}
        return self._matched(
            folders,
            stems={
                "image": lambda stem: stem.replace("_s2_", "_"),
                "image_sar": lambda stem: stem.replace("_s1_", "_"),
                "mask": lambda stem: stem.replace("_dfc_", "_"),
            },
        )
