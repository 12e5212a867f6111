"""BRIGHT as of the IEEE GRSS data fusion contest 2025, track 2 (DFC25-T2).

Chen et al., Earth System Science Data 17, 2025, see :mod:`codemae_datasets.public.bright`. CoDe-MAE reports on it.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Archive, Card, Item
from codemae_datasets.public.bright import DamagePairs
from codemae_geo.classes import DAMAGE_CLASSES

_FOLDERS = {"train": "train", "val": "train", "test": "val"}
_LISTS = {"train": "train_setlevel.txt", "val": "holdout_setlevel.txt", "test": "val_setlevel.txt"}


class BRIGHTDFC25(DamagePairs):
    """DFC25-T2: ``val`` is the held-out part of the training tiles, ``test`` the contest's validation tiles.

    The contest gave no labels for ``test``; they are read where a ``target`` folder has been added.
    """

    card: ClassVar[Card] = Card(
        name="bright_dfc25",
        title="BRIGHT (DFC25-T2)",
        home="https://huggingface.co/datasets/isaaccorley/bright",
        licence="varies by event: Maxar Open Data is CC BY-NC 4.0, Capella's and Umbra's open data CC BY 4.0",
        citation="Chen et al., Earth System Science Data 17, 2025, doi:10.5194/essd-17-6217-2025",
        size="tiles of 1024 x 1024 pixels, 9 events to train with",
        modality="optical before, SAR (Capella, Umbra) after",
        bands="RGB, 8 bits; SAR amplitude, 8 bits",
        gsd_m=(0.3, 1.0),
        splits={"train": None, "val": None, "test": None},
        layout="dfc25_track2_trainval/{train,val}/{pre-event,post-event,target}/<tile>_*.tif and"
        " dfc25_track2_trainval/{train,holdout,val}_setlevel.txt",
        source="torchgeo's BRIGHTDFC2025",
        task="building damage, 4 classes",
        classes=tuple(DAMAGE_CLASSES.names),
        archives=(
            Archive(
                "dfc25_track2_trainval.zip",
                url="https://hf.co/datasets/isaaccorley/bright/resolve/d19972f5e682ad684dcde35529a6afad4c719f1b/"
                "dfc25_track2_trainval_with_split.zip",
                checksum="sha256:aed4aca4d582bc829ba0921b55d488eec6a792c2d1092aac54eb746ef8e6f1cc",
            ),
        ),
    )

    def _index(self) -> list[Item]:
        top = self.root / "dfc25_track2_trainval"
        folder = top / _FOLDERS[self.split]
        items = []
        for name in self._lines(top / _LISTS[self.split]):
            item = self._tile(folder, name)
            files = dict(item.files)
            if self.split == "test" and not files["mask"].is_file():
                del files["mask"]
            for path in files.values():
                self._need(path)
            items.append(Item(name, files))
        return items
