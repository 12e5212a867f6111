"""FAIR1M: a million objects of 37 fine classes in oriented boxes.

Sun et al., "FAIR1M: A Benchmark Dataset for Fine-Grained Object Recognition in High-Resolution Remote Sensing Imagery",
ISPRS Journal 184, 2022. One of the unpaired optical sources of OSPretrain-1M.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torchgeo.datasets import FAIR1M as Published

from codemae_datasets.public._base import Archive, Card, Item
from codemae_datasets.public._detection import OrientedDataset
from codemae_datasets.public.boxes import read_fair1m

_PARTS = {"train": ("train/part1", "train/part2"), "val": ("validation",), "test": ("test",)}


class FAIR1M(OrientedDataset):
    """FAIR1M; ``test`` has no boxes."""

    card: ClassVar[Card] = Card(
        name="fair1m",
        title="FAIR1M",
        home="https://www.gaofen-challenge.com/benchmark",
        licence="as on its page; for research",
        citation="Sun et al., ISPRS Journal 184, 2022, doi:10.1016/j.isprsjprs.2021.12.004",
        size="more than 15,000 images of 1,000 to 10,000 pixels (149,881 patches in OSPretrain-1M)",
        modality="optical (Gaofen, Google Earth)",
        bands="RGB, 8 bits",
        gsd_m=(0.3, 0.8),
        splits={"train": None, "val": None, "test": None},
        layout="train/part{1,2}/{images,labelXml}, validation/{images,labelXml}, test/images",
        source="torchgeo's FAIR1M",
        task="oriented boxes of 37 classes",
        classes=tuple(Published.classes),
        archives=(
            Archive("images.zip", "train/part1", checksum="md5:a460fe6b1b5b276bf856ce9ac72d6568"),
            Archive("labelXml.zip", "train/part1", checksum="md5:80f833ff355f91445c92a0c0c1fa7414"),
            Archive("images.zip", "train/part2", checksum="md5:ad237e61dba304fcef23cd14aa6c4280"),
            Archive("labelXmls.zip", "train/part2", checksum="md5:5c5948e68cd0f991a0d73f10956a3b05"),
            Archive("images.zip", "validation", checksum="md5:dce782be65405aa381821b5f4d9eac94"),
            Archive("labelXmls.zip", "validation", checksum="md5:700b516a21edc9eae66ca315b72a09a1"),
            Archive("images0.zip", "test", checksum="md5:fb8ccb274f3075d50ac9f7803fbafd3d"),
            Archive("images1.zip", "test", checksum="md5:dc9bbbdee000e97f02276aa61b03e585"),
            Archive("images2.zip", "test"),
        ),
    )

    def _index(self) -> list[Item]:
        items = []
        for part in _PARTS[self.split]:
            folder = self.root / part
            if self.split != "test":
                self._need(folder / "labelXml")
            for path in self._folder(folder / "images", (".tif",)):
                files = {"image": path}
                if self.split != "test":
                    files["boxes"] = folder / "labelXml" / f"{path.stem}.xml"
                items.append(Item(f"{part}/{path.stem}", files))
        return items

    def _objects(self, item: Item) -> tuple[Sequence[object], Sequence[str]]:
        return read_fair1m(item.files["boxes"])
