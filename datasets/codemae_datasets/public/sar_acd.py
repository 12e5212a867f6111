"""SAR-ACD: chips of civil aircraft from Gaofen-3.

Sun et al., "SCAN: Scattering Characteristics Analysis Network for Few-Shot Aircraft Classification in High-Resolution
SAR Images", IEEE TGRS 60, 2022. No lists are published: the few-shot protocol draws 10 % of every class to take its
shots from, and tests on the rest.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item
from codemae_datasets.public._scenes import SceneDataset


class SARACD(SceneDataset):
    """SAR-ACD; ``ratio`` is 0.1 unless given, the papers' protocol is ``shots=40``."""

    card: ClassVar[Card] = Card(
        name="sar_acd",
        title="SAR-ACD",
        home="https://github.com/AICyberTeam/SAR-ACD",
        licence="for research, please cite; owned by the Aerospace Information Research Institute, CAS",
        citation="Sun et al., IEEE TGRS 60, 2022, doi:10.1109/TGRS.2022.3166174",
        size="2,537 or more chips of six civil aircraft (five in the few-shot protocol)",
        modality="SAR (Gaofen-3, C band, HH)",
        bands="amplitude, 8 bits",
        gsd_m=(1.0, 1.0),
        splits={"train": None, "test": None},
        layout="SAR_ACD/images/<Aircraft>/*.jpg, or SAR-ACD/images/ as the authors' repository is cloned",
        source="SAR-JEPA's few-shot code (the draw there is another one) and the authors' repository",
        task="one of 5 aircraft (A320 counts as a sixth where it is there)",
        classes=("A220", "A330", "ARJ21", "Boeing737", "Boeing787", "A320"),
    )
    all_bands = ("SAR",)
    rgb_bands = ("SAR",)
    default_ratio = 0.1

    def _index(self) -> list[Item]:
        folder = self._first(self.root / "SAR_ACD" / "images", self.root / "SAR-ACD" / "images")
        return self._chosen_items(self._class_folders(folder))
