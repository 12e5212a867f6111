"""BigEarthNet: Sentinel-1 and Sentinel-2 patches of ten European countries with their CORINE land cover.

Sumbul et al., "BigEarthNet-MM: A Large Scale Multi-Modal Multi-Label Benchmark Archive for Remote Sensing Image
Classification and Retrieval", IEEE GRSM 9(3), 2021 (version 1 with its Sentinel-1 part); Clasen et al., "reBEN: Refined
BigEarthNet Dataset for Remote Sensing Image Analysis", arXiv 2407.03653 (version 2).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import rasterio
import torch
from rasterio.enums import Resampling
from torch import Tensor
from torchgeo.datasets import BigEarthNet, BigEarthNetV2

from codemae_datasets.public._base import Archive, Card, Item, Modality, PairedDataset, Sample, Transform, one_of
from codemae_datasets.public._card import known_digest
from codemae_datasets.public._pixels import quiet, reason
from codemae_geo.errors import InputError

#: pixels per side at 10 m; bands of 20 m and 60 m are resampled to it
SIDE = 120
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
#: codes of the CORINE nomenclature at its third level, and the one for pixels without
CORINE = (
    *(111, 112, 121, 122, 123, 124, 131, 132, 133, 141, 142, 211, 212, 213, 221, 222, 223, 231, 241, 242, 243, 244),
    *(
        311,
        312,
        313,
        321,
        322,
        323,
        324,
        331,
        332,
        333,
        334,
        335,
        411,
        412,
        421,
        422,
        423,
        511,
        512,
        521,
        522,
        523,
        999,
    ),
)


def read_bands(folder: Path, bands: Sequence[str]) -> Tensor:
    """Bands of a patch, one file each, float32 [C, 120, 120].

    Raises:
        InputError: a file is missing or does not decode; names it.
    """
    layers = []
    for band in bands:
        path = folder / f"{folder.name}_{band}.tif"
        try:
            with quiet(), rasterio.open(path) as file:
                layers.append(file.read(1, out_shape=(SIDE, SIDE), resampling=Resampling.bilinear).astype(np.float32))
        except rasterio.errors.RasterioError as error:
            raise InputError(
                f"the image {path} does not decode", found=reason(error, path), hint="fetch it again"
            ) from error
    return torch.from_numpy(np.stack(layers))


class BigEarthNetMM(PairedDataset):
    """Version 1, both sensors; ``label`` float32 [19] or [43].

    Args:
        nomenclature: 19 classes, or the 43 of CORINE.

    Other arguments and errors: :class:`~codemae_datasets.public._base.PairedDataset`. ``modality="optical"`` is plain
    BigEarthNet. Unlike torchgeo's class, SAR values keep the fractions of their decibels.
    """

    card: ClassVar[Card] = Card(
        name="bigearthnet_mm",
        title="BigEarthNet-MM (version 1)",
        home="https://bigearth.net/",
        licence="CDLA-Permissive-1.0",
        citation="Sumbul et al., IEEE GRSM 9(3), 2021, doi:10.1109/MGRS.2021.3089174",
        size="590,326 pairs of 120 x 120 pixels",
        modality="optical (Sentinel-2 level 2A) + SAR (Sentinel-1 GRD)",
        bands="12 bands, reflectance x 10,000; VV, VH in dB",
        gsd_m=(10.0, 60.0),
        splits={"train": 269_695, "val": 123_723, "test": 125_866},
        layout="BigEarthNet-v1.0/<patch>/<patch>_{B01..B12.tif,labels_metadata.json}, BigEarthNet-S1-v1.0/<pair>/"
        "<pair>_{VV,VH}.tif, bigearthnet-{train,val,test}.csv of <patch>,<pair>",
        source="torchgeo's BigEarthNet",
        task="labels of 19 classes (or 43)",
        classes=tuple(BigEarthNet.class_sets[19]),
        archives=tuple(
            Archive(facts["filename"], url=facts["url"], checksum=known_digest(facts["md5"]))
            for facts in (*BigEarthNet.metadata.values(), *BigEarthNet.splits_metadata.values())
        ),
    )
    all_bands = BANDS
    rgb_bands = ("B04", "B03", "B02")
    sar_bands = ("VV", "VH")
    probe: ClassVar[str | None] = "BEN"

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        modality: Modality = "both",
        nomenclature: Literal[19, 43] = 19,
    ) -> None:
        self.nomenclature = int(one_of("nomenclature", str(nomenclature), ("19", "43"), self))
        super().__init__(root, split, bands, transforms, download, checksum, modality)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by number."""
        return tuple(BigEarthNet.class_sets[self.nomenclature])

    def _index(self) -> list[Item]:
        folders = {"image": self.root / "BigEarthNet-v1.0", "image_sar": self.root / "BigEarthNet-S1-v1.0"}
        unused = {"optical": "image_sar", "sar": "image"}.get(self.modality)
        for key, folder in folders.items():
            if key != unused:
                self._need(folder)
        lines = self._lines(self.root / f"bigearthnet-{self.split}.csv")
        pairs = [line.split(",")[:2] for line in lines]
        return [
            Item(patch, {"image": folders["image"] / patch, "image_sar": folders["image_sar"] / pair})
            for patch, pair in pairs
        ]

    def files(self, item: Item) -> list[Path]:
        """Every file that a sample is read from."""
        return [
            *([] if self.modality == "sar" else self._paths(item.files["image"], self.bands)),
            *([] if self.modality == "optical" else self._paths(item.files["image_sar"], self.bands_sar)),
        ]

    def _paths(self, folder: Path, bands: Sequence[str]) -> list[Path]:
        return [folder / f"{folder.name}_{band}.tif" for band in bands]

    def _load(self, item: Item) -> Sample:
        sample = super()._load(item)
        sample["label"] = self._labels(item)
        return sample

    def _optical(self, item: Item) -> Tensor:
        return read_bands(item.files["image"], self.bands)

    def _sar(self, item: Item) -> Tensor:
        return read_bands(item.files["image_sar"], self.bands_sar)

    def _labels(self, item: Item) -> Tensor:
        folder = item.files["image_sar" if self.modality == "sar" else "image"]
        path = folder / f"{folder.name}_labels_metadata.json"
        try:
            names = json.loads(path.read_text(encoding="utf-8"))["labels"]
            numbers: list[int | None] = [BigEarthNet.class_sets[43].index(name) for name in names]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"the labels {path} do not decode", found=str(error), hint="fetch them again") from error
        if self.nomenclature == 19:  # some of the 43 have no counterpart
            numbers = [BigEarthNet.label_converter.get(number) for number in numbers if number is not None]
        return hot([number for number in numbers if number is not None], self.nomenclature)


class BigEarthNet2(BigEarthNetMM):
    """Version 2 (reBEN); ``label`` float32 [19], ``mask`` 0 to 18 with 255 for CORINE classes outside the nineteen."""

    card: ClassVar[Card] = Card(
        name="bigearthnet_v2",
        title="BigEarthNet (version 2, reBEN)",
        home="https://bigearth.net/",
        licence="CDLA-Permissive-1.0",
        citation="Clasen et al., arXiv 2407.03653, 2024",
        size="549,488 pairs of 120 x 120 pixels",
        modality="optical (Sentinel-2 level 2A) + SAR (Sentinel-1 GRD)",
        bands="12 bands, reflectance x 10,000; VV, VH in dB",
        gsd_m=(10.0, 60.0),
        splits={"train": None, "val": None, "test": None},
        layout="BigEarthNet-S2/<tile>/<patch>/<patch>_<band>.tif, BigEarthNet-S1/<tile>/<pair>/<pair>_{VV,VH}.tif,"
        " Reference_Maps/<tile>/<patch>/<patch>_reference_map.tif, metadata.parquet. The archives come in parts: join"
        " them with cat and unpack the sum",
        source="torchgeo's BigEarthNetV2",
        task="labels of 19 classes; land cover",
        classes=tuple(BigEarthNetV2.class_set),
        archives=tuple(
            Archive(name, checksum=known_digest(digest))
            for part in BigEarthNetV2.metadata_locs.values()
            for name, digest in part["files"].items()
        ),
    )
    mask_codes = {**dict.fromkeys(CORINE, 255), **BigEarthNetV2.clc_codes}  # noqa: RUF012
    probe = None

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        modality: Modality = "both",
    ) -> None:
        super().__init__(root, split, bands, transforms, download, checksum, modality)

    def _index(self) -> list[Item]:
        path = self._need(self.root / "metadata.parquet")
        table = pd.read_parquet(path, columns=["patch_id", "labels", "split", "s1_name"])
        table = table[table["split"] == BigEarthNetV2.split_map[self.split]].sort_values("patch_id")
        parts = ["Reference_Maps"]
        parts += [] if self.modality == "sar" else ["BigEarthNet-S2"]
        parts += [] if self.modality == "optical" else ["BigEarthNet-S1"]
        for part in parts:
            self._need(self.root / part)
        items = []
        for patch, labels, pair in zip(table["patch_id"], table["labels"], table["s1_name"], strict=True):
            tile, tile_sar = patch.rsplit("_", 2)[0], pair.rsplit("_", 3)[0]
            files = {
                "image": self.root / "BigEarthNet-S2" / tile / patch,
                "image_sar": self.root / "BigEarthNet-S1" / tile_sar / pair,
                "mask": self.root / "Reference_Maps" / tile / patch / f"{patch}_reference_map.tif",
            }
            items.append(Item(patch, files, tuple(labels)))
        return items

    def files(self, item: Item) -> list[Path]:
        """Every file that a sample is read from."""
        return [*super().files(item), item.files["mask"]]

    def _load(self, item: Item) -> Sample:
        return super()._load(Item(item.name, item.files)) | {"label": self._labels(item)}

    def _labels(self, item: Item) -> Tensor:
        return hot([self.classes.index(name) for name in item.label or ()], len(self.classes))


def hot(numbers: Sequence[int], classes: int) -> Tensor:
    """float32 [classes], 1 at the numbers."""
    label = torch.zeros(classes)
    label[list(numbers)] = 1
    return label
