"""MSAW, the data of SpaceNet 6: WorldView-2 and Capella's airborne X band over Rotterdam.

Shermeyer et al., "SpaceNet 6: Multi-Sensor All Weather Mapping Dataset", CVPR Workshops 2020, arXiv 2004.06500.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import geopandas
import numpy as np
import rasterio
import torch
from rasterio.features import rasterize
from torch import Tensor
from torchgeo.datasets import SpaceNet6

from codemae_datasets.public._base import IMAGES, Archive, Card, Item, PairedDataset, Sample
from codemae_datasets.public._card import known_digest
from codemae_geo.errors import InputError


class MSAW(PairedDataset):
    """Tiles with building footprints. ``mask`` 0 ground, 1 building; ``valid`` where the loaded images have data.

    The tiles of the split ``test`` have SAR images only: pass ``modality="sar"``.
    """

    card: ClassVar[Card] = Card(
        name="msaw",
        title="MSAW (SpaceNet 6)",
        home="https://spacenet.ai/sn6-challenge/",
        licence="CC BY-SA 4.0",
        citation="Shermeyer et al., CVPR Workshops 2020, arXiv 2004.06500",
        size="3,401 tiles of 900 x 900 pixels with both sensors",
        modality="optical (WorldView-2) + SAR (Capella, airborne X band)",
        bands="RGB, 8 bits; HH, HV, VH, VV intensity, float",
        gsd_m=(0.5, 0.5),
        splits={"train": 3_401, "test": None},
        layout="SN6_buildings/<split>/**/AOI_11_Rotterdam/{PS-RGB,SAR-Intensity}/SN6_..._<time>_<time>_tile_<n>.tif,"
        " geojson_buildings/SN6_Train_AOI_11_Rotterdam_Buildings_<time>_<time>_tile_<n>.geojson",
        source="torchgeo's SpaceNet6; file names as read by public SpaceNet 6 solutions",
        task="building footprints",
        classes=("ground", "building"),
        archives=tuple(
            Archive(
                SpaceNet6.tarballs[split][11][0],
                f"SN6_buildings/{split}",
                checksum=known_digest(SpaceNet6.md5s[split][11][0]),
            )
            for split in ("train", "test")
        ),
    )
    sar_bands = ("HH", "HV", "VH", "VV")
    ospretrain = "SpaceNet6"

    def _index(self) -> list[Item]:
        home = self.root / "SN6_buildings" / self.split
        # the archive holds a folder of its own, "train" or "test_public", below the place it is unpacked in
        area = next(iter(sorted(home.glob("**/AOI_11_Rotterdam"))), home / "AOI_11_Rotterdam")
        folders = {"image": area / "PS-RGB", "image_sar": area / "SAR-Intensity"}
        if self.split == "train":
            folders["labels"] = area / "geojson_buildings"
        elif self.modality != "sar" and area.is_dir():
            raise self._not_found("the test tiles have no optical images; pass modality='sar'")
        return self._matched(
            folders,
            stems={
                "image": lambda stem: stem.partition("_PS-RGB_")[2],
                "image_sar": lambda stem: stem.partition("_SAR-Intensity_")[2],
                "labels": lambda stem: stem.partition("_Buildings_")[2],
            },
            suffixes=(*IMAGES, ".geojson"),
        )

    def _load(self, item: Item) -> Sample:
        sample = super()._load(item)
        images = [sample[key] for key in ("image", "image_sar") if key in sample]
        sample["valid"] = torch.stack([(image != 0).any(dim=0) for image in images]).all(dim=0)
        if "labels" in item.files:
            sample["mask"] = buildings(item.files["labels"], item.files.get("image", item.files.get("image_sar")))
        return sample


def buildings(labels: Path, image: Path | None) -> Tensor:
    """Footprints of a GeoJSON file on the grid of an image, int64 [H, W] of 0 and 1.

    Raises:
        InputError: the labels do not decode; names the file.
    """
    with rasterio.open(image) as grid:
        shape, transform, crs = grid.shape, grid.transform, grid.crs
    if not labels.stat().st_size:
        return torch.zeros(shape, dtype=torch.int64)
    try:
        table = geopandas.read_file(labels)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"the labels {labels} do not decode", found=str(error), hint="fetch them again") from error
    shapes = [] if table.empty else [g for g in table.to_crs(crs).geometry if g is not None and not g.is_empty]
    if not shapes:
        return torch.zeros(shape, dtype=torch.int64)
    mask = rasterize(shapes, out_shape=shape, transform=transform, dtype="uint8")
    return torch.from_numpy(mask.astype(np.int64))
