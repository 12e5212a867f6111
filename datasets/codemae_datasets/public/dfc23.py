"""DFC23, the 2023 IEEE GRSS Data Fusion Contest: roofs (track 1), buildings and their heights (track 2).

Persello et al., "2023 IEEE GRSS Data Fusion Contest: Large-Scale Fine-Grained Building Classification for Semantic
Urban Reconstruction", IEEE GRSM 11(1), 2023.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from codemae_datasets.public._base import Card, Item, PairedDataset, Sample, read_image
from codemae_datasets.public.segments import segment_mask
from codemae_geo.errors import InputError

_HOME = (
    "https://ieee-dataport.org/competitions/"
    "2023-ieee-grss-data-fusion-contest-large-scale-fine-grained-building-classification"
)
_CITATION = "Persello et al., IEEE GRSM 11(1), 2023, doi:10.1109/MGRS.2023.3240233"


class DFC23Track1(PairedDataset):
    """Roofs: ``bbox_xyxy``, ``label`` (roof type) and ``masks`` bool [N, H, W] of each building of ``train``.

    Images of ``val`` and ``test`` come without labels. Batches need :func:`codemae_datasets.public.collate`.
    """

    card: ClassVar[Card] = Card(
        name="dfc23_track1",
        title="DFC23 track 1",
        home=_HOME,
        licence="see IEEE DataPort; cite the contest",
        citation=_CITATION,
        size="pairs of 512 x 512 pixels; 32,900 pairs of both tracks in OSPretrain-1M",
        modality="optical (SuperView-1, GaoFen-2) + SAR (GaoFen-3)",
        bands="RGB and one SAR band",
        gsd_m=(0.5, 1.0),
        splits={"train": None, "val": None, "test": None},
        layout="track1/{train,val,test}/{rgb,sar}/<name>.tif, track1/roof_fine_train.json",
        source="AICyberTeam/DFC2023-baseline (classes, COCO tables) and public contest code (the archive's folders)",
        task="outlines of buildings by 12 types of roof",
        classes=(
            "flat_roof",
            "gable_roof",
            "gambrel_roof",
            "row_roof",
            "multiple_eave_roof",
            "hipped_roof_v1",
            "hipped_roof_v2",
            "mansard_roof",
            "pyramid_roof",
            "arched_roof",
            "dome",
            "other",
        ),
    )
    ospretrain = "DFC23_Track1"
    #: folder, table of the annotations
    track: ClassVar[str] = "track1"
    table: ClassVar[str] = "roof_fine_train.json"

    def _index(self) -> list[Item]:
        home = self._first(self.root / self.track, self.root / "train", self.root / "val", self.root / "test")
        home = home if home.name == self.track else self.root
        items = self._matched(self._folders(home / self.split))
        if self.split != "train":
            return items
        notes = self._notes(self._first(home / self.table, home / "annotations" / self.table))
        return [Item(item.name, item.files, notes.get(item.name, [])) for item in items]

    def _folders(self, home: Path) -> dict[str, Path]:
        return {"image": home / "rgb", "image_sar": home / "sar"}

    def _notes(self, path: Path) -> dict[str, list[dict[str, Any]]]:
        """The annotations of each image, by file stem."""
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            stems = {image["id"]: Path(image["file_name"]).stem for image in table["images"]}
            numbers = {c["id"]: self._number(c["name"], path) for c in table["categories"]}
            notes = defaultdict(list)
            for note in table["annotations"]:
                x, y, width, height = note["bbox"]
                notes[stems[note["image_id"]]].append(
                    {
                        "box": (x, y, x + width, y + height),
                        "label": numbers[note["category_id"]],
                        "segment": note["segmentation"],
                    }
                )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"the annotations {path} do not decode", found=repr(error), expected="a COCO table"
            ) from error
        return notes

    def _number(self, name: str, path: Path) -> int:
        if name not in self.classes:
            raise InputError(
                f"{path} names a class that the dataset does not have", found=name, expected=", ".join(self.classes)
            )
        return self.classes.index(name)

    def _load(self, item: Item) -> Sample:
        sample = super()._load(Item(item.name, item.files))
        if item.label is not None:
            height, width = sample["image"].shape[-2:]
            try:
                masks = [segment_mask(note["segment"], height, width) for note in item.label]
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"an outline of {item.files} does not decode", found=str(error)) from error
            boxes = [note["box"] for note in item.label]
            sample["bbox_xyxy"] = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
            sample["label"] = torch.tensor([note["label"] for note in item.label], dtype=torch.int64)
            sample["masks"] = torch.from_numpy(np.array(masks, dtype=bool).reshape(-1, height, width))
        return sample


class DFC23Track2(DFC23Track1):
    """Buildings and heights: ``bbox_xyxy``, ``label`` 0, ``masks``, and ``height`` float32 [1, H, W] in metres.

    Heights are of ``train`` only, unless those of the other splits are there.
    """

    card: ClassVar[Card] = Card(
        name="dfc23_track2",
        title="DFC23 track 2",
        home=_HOME,
        licence="see IEEE DataPort; cite the contest",
        citation=_CITATION,
        size="pairs of 512 x 512 pixels; 1,773 of train with 125,153 footprints",
        modality="optical (SuperView-1, GaoFen-2) + SAR (GaoFen-3)",
        bands="RGB and one SAR band; normalised surface model",
        gsd_m=(0.5, 1.0),
        splits={"train": 1_773, "val": None, "test": None},
        layout="track2/{train,val,test}/{rgb,sar}/<name>.tif, track2/train/dsm/<name>.tif (or height/),"
        " track2/buildings_only_train.json",
        source="AICyberTeam/DFC2023-baseline; ahmad-naghavi-ozu/DFC2023-annotation-issue (counts, forms of outline)",
        task="outlines and heights of buildings",
        classes=("building",),
    )
    ospretrain = "DFC23_Track2"
    track: ClassVar[str] = "track2"
    table: ClassVar[str] = "buildings_only_train.json"

    def _folders(self, home: Path) -> dict[str, Path]:
        folders = super()._folders(home)
        heights = [home / name for name in ("dsm", "height") if (home / name).is_dir()]
        if heights or self.split == "train":
            folders["height"] = heights[0] if heights else home / "dsm"
        return folders

    def _number(self, name: str, path: Path) -> int:
        return 0  # the one category is spelled in several ways

    def _load(self, item: Item) -> Sample:
        sample = super()._load(item)
        if "height" in item.files:
            sample["height"] = read_image(item.files["height"])[:1]
        return sample
