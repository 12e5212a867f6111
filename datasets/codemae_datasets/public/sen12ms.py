"""SEN12MS: Sentinel-1, Sentinel-2 and MODIS land cover over all inhabited continents and the four seasons.

Schmitt et al., "SEN12MS - a curated dataset of georeferenced multi-spectral Sentinel-1/2 imagery for deep learning and
data fusion", ISPRS Annals IV-2/W7, 2019.
"""

from __future__ import annotations

from typing import ClassVar

from torchgeo.datasets import SEN12MS as TorchGeoSEN12MS

from codemae_datasets.public._base import Archive, Card, Item, PairedDataset
from codemae_datasets.public._card import known_digest
from codemae_datasets.public.dfc20 import SENTINEL2


class SEN12MS(PairedDataset):
    """Pairs by the published lists; ``mask`` is the IGBP class 0 to 16 (500 m MODIS), 255 for none."""

    card: ClassVar[Card] = Card(
        name="sen12ms",
        title="SEN12MS",
        home="https://mediatum.ub.tum.de/1474000",
        licence="CC BY 4.0",
        citation="Schmitt et al., ISPRS Annals IV-2/W7, 2019, doi:10.5194/isprs-annals-IV-2-W7-153-2019",
        size="180,662 triplets of 256 x 256 pixels",
        modality="optical (Sentinel-2 level 1C) + SAR (Sentinel-1 GRD)",
        bands="13 bands, reflectance x 10,000; VV, VH in dB",
        gsd_m=(10.0, 10.0),
        splits={"train": None, "test": None},
        layout="ROIs<n>_<season>/{s1,s2,lc}_<n>/ROIs<n>_<season>_{s1,s2,lc}_<n>_p<n>.tif,"
        " {train,test}_list.txt of Sentinel-1 or Sentinel-2 file names",
        source="torchgeo's SEN12MS",
        task="land cover (IGBP)",
        classes=(
            "Evergreen Needleleaf Forests",
            "Evergreen Broadleaf Forests",
            "Deciduous Needleleaf Forests",
            "Deciduous Broadleaf Forests",
            "Mixed Forests",
            "Closed Shrublands",
            "Open Shrublands",
            "Woody Savannas",
            "Savannas",
            "Grasslands",
            "Permanent Wetlands",
            "Croplands",
            "Urban and Built-Up Lands",
            "Cropland/Natural Vegetation Mosaics",
            "Permanent Snow and Ice",
            "Barren",
            "Water Bodies",
        ),
        archives=tuple(
            Archive(name, checksum=known_digest(digest))
            for name, digest in zip(TorchGeoSEN12MS.filenames, TorchGeoSEN12MS.md5s, strict=True)
        ),
    )
    all_bands = SENTINEL2
    rgb_bands = ("B04", "B03", "B02")
    sar_bands = ("VV", "VH")
    mask_codes = {0: 255, **{n + 1: n for n in range(17)}}  # noqa: RUF012

    def _index(self) -> list[Item]:
        items = []
        for line in self._lines(self.root / f"{self.split}_list.txt"):
            # ROIs1158_spring_s2_1_p30.tif
            place, season, _, number, patch = line.removesuffix(".tif").split("_")
            files = {
                key: self.root
                / f"{place}_{season}"
                / f"{kind}_{number}"
                / f"{place}_{season}_{kind}_{number}_{patch}.tif"
                for key, kind in (("image", "s2"), ("image_sar", "s1"), ("mask", "lc"))
            }
            items.append(Item(f"{place}_{season}_{number}_{patch}", files))
        if items:
            for path in items[0].files.values():
                self._need(path)
        return items
