"""DIOR: objects of twenty classes in optical images.

Li et al., "Object Detection in Optical Remote Sensing Images: A Survey and a New Benchmark", ISPRS Journal 159, 2020.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from codemae_datasets.public._base import Archive, Card, Item
from codemae_datasets.public._detection import DetectionDataset
from codemae_datasets.public.boxes import read_voc

_URL = "https://hf.co/datasets/torchgeo/dior/resolve/0b8439a538b66457e553a8bd9105ef093cce8169"
#: lists of names lie in one or the other, by copy
_LISTS = ("ImageSets/Main", "Main")


class DIOR(DetectionDataset):
    """DIOR, as its authors publish it (boxes for every split), or in torchgeo's form (``test`` without boxes)."""

    card: ClassVar[Card] = Card(
        name="dior",
        title="DIOR",
        home="https://gcheng-nwpu.github.io/",
        licence="not stated; images from Google Earth, for research",
        citation="Li et al., ISPRS Journal 159, 2020, arXiv:1909.00133",
        size="23,463 images of 800 x 800 pixels, 192,472 objects",
        modality="optical",
        bands="RGB, 8 bits",
        gsd_m=(0.5, 30.0),
        splits={"train": 5_862, "val": 5_863, "trainval": 11_725, "test": 11_738},
        layout="JPEGImages-{trainval,test}/<n>.jpg, 'Annotations/Horizontal Bounding Boxes'/<n>.xml and"
        " ImageSets/Main/{train,val,test}.txt; or torchgeo's Images_*/, Annotations_*/ and sample_df.csv",
        source="public readers of the authors' archive; torchgeo's DIOR",
        task="boxes of 20 classes",
        classes=(
            "airplane",
            "airport",
            "baseballfield",
            "basketballcourt",
            "bridge",
            "chimney",
            "dam",
            "expresswayservicearea",
            "expresswaytollstation",
            "golffield",
            "groundtrackfield",
            "harbor",
            "overpass",
            "ship",
            "stadium",
            "storagetank",
            "tenniscourt",
            "trainstation",
            "vehicle",
            "windmill",
        ),
        archives=(
            Archive(
                "Images_trainval.zip",
                url=f"{_URL}/Images_trainval.zip",
                checksum="sha256:f824dbd8152de43c0e0151f13d892dcc69ce2c3d18b952507cc843cc8ce85d27",
            ),
            Archive(
                "Annotations_trainval.zip",
                url=f"{_URL}/Annotations_trainval.zip",
                checksum="sha256:e688da8179324f6d1d0e84b54ed75b0922e45ce30817c4973f1c5b1efd03a8e4",
            ),
            Archive(
                "Images_test.zip",
                url=f"{_URL}/Images_test.zip",
                checksum="sha256:a643bcdbaf3e8f9d9847a6ae023c2b624ae1e1dea278b2ca1b5ee90759426f1d",
            ),
            Archive("sample_df.csv", url=f"{_URL}/sample_df.csv"),
        ),
    )

    def _index(self) -> list[Item]:
        parts = ("train", "val") if self.split == "trainval" else (self.split,)
        if (self.root / "sample_df.csv").is_file():
            return self._torchgeo_form(parts)
        lists = next((self.root / folder for folder in _LISTS if (self.root / folder).is_dir()), self.root / _LISTS[0])
        images = self._need(self.root / ("JPEGImages-test" if self.split == "test" else "JPEGImages-trainval"))
        boxes = self._need(self.root / "Annotations" / "Horizontal Bounding Boxes")
        return [
            Item(name, {"image": images / f"{name}.jpg", "boxes": boxes / f"{name}.xml"})
            for part in parts
            for name in (Path(line).stem for line in self._lines(lists / f"{part}.txt"))
        ]

    def _torchgeo_form(self, parts: Sequence[str]) -> list[Item]:
        with (self.root / "sample_df.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] in parts]
        items = []
        for row in rows:
            files = {"image": self.root / row["image_path"]}
            if row.get("label_path") and "test" not in parts:
                files["boxes"] = self.root / row["label_path"]
            items.append(Item(Path(row["image_path"]).stem, files))
        if items:
            self._need(items[0].files["image"])
        return items

    def _objects(self, item: Item) -> tuple[Sequence[object], Sequence[str]]:
        boxes, names = read_voc(item.files["boxes"])
        return boxes, [name.replace("-", "").lower() for name in names]
