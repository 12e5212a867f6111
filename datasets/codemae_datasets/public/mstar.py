"""MSTAR, standard operating conditions: chips of ten military vehicles, 17 degrees to train with, 15 to test with.

Air Force Research Laboratory and DARPA, Moving and Stationary Target Acquisition and Recognition, 1996; Ross et al.,
"Standard SAR ATR Evaluation Experiments Using the MSTAR Public Release Data Set", SPIE 3370, 1998.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item
from codemae_datasets.public._scenes import SceneDataset


class MSTAR(SceneDataset):
    """MSTAR; the papers' protocol is ``shots=40``.

    The class folders of the training chips may also lie in the root itself, as in copies that hold nothing else.
    """

    card: ClassVar[Card] = Card(
        name="mstar",
        title="MSTAR",
        home="https://www.sdms.afrl.af.mil/index.php?collection=mstar",
        licence="approved for public release, distribution unlimited (AFRL); registration",
        citation="Ross et al., SPIE 3370, 1998, doi:10.1117/12.321859",
        size="chips of 128 to 193 pixels; 2,747 at 17 degrees",
        modality="SAR (X band, HH, airborne spotlight)",
        bands="amplitude, 8 bits (JPEG form)",
        gsd_m=(0.3, 0.3),
        splits={"train": 2_747, "test": None},
        layout="MSTAR_SOC/{TRAIN,TEST}/<class>/<n>.jpeg",
        source="SAR-JEPA's few-shot code",
        task="one of 10 vehicles",
        classes=("BMP2", "BTR70", "T72", "BTR60", "2S1", "BRDM2", "D7", "T62", "ZIL131", "ZSU234"),
    )
    all_bands = ("SAR",)
    rgb_bands = ("SAR",)

    def _index(self) -> list[Item]:
        folder = self.root / "MSTAR_SOC" / {"train": "TRAIN", "test": "TEST"}[self.split]
        if self.split == "train" and not folder.is_dir() and (self.root / self.classes[0]).is_dir():
            folder = self.root
        return self._few(self._class_folders(folder))
