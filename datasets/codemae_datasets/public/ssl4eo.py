"""SSL4EO-S12: Sentinel-1 and Sentinel-2 at a quarter of a million places, four seasons each.

Wang et al., "SSL4EO-S12: A Large-Scale Multi-Modal, Multi-Temporal Dataset for Self-Supervised Learning in Earth
Observation", IEEE GRSM 11(3), 2023, arXiv 2211.07044.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import rasterio
import torch
from torch import Tensor
from torchgeo.datasets import SSL4EOS12 as TorchGeoSSL4EOS12

from codemae_datasets.public._base import Archive, Card, Item, PairedDataset
from codemae_datasets.public._card import known_digest
from codemae_datasets.public._pixels import quiet, reason
from codemae_geo.errors import InputError

#: pixels per side at 10 m; bands of 20 m and 60 m are resampled to it
SIDE = TorchGeoSSL4EOS12.size
SEASONS = 4


def _card(name: str, level: str, product: str, bands: int) -> Card:
    parts = TorchGeoSSL4EOS12.checksums
    return Card(
        name=name,
        title=f"SSL4EO-S12 ({level})",
        home="https://github.com/zhu-xlab/SSL4EO-S12",
        licence="CC BY 4.0",
        citation="Wang et al., IEEE GRSM 11(3), 2023, doi:10.1109/MGRS.2023.3281651",
        size=f"{251_079 * SEASONS:,} pairs of {SIDE} x {SIDE} pixels, four seasons of 251,079 places",
        modality=f"optical (Sentinel-2 {level}) + SAR (Sentinel-1 GRD)",
        bands=f"{bands} bands, reflectance x 10,000; VV, VH in dB",
        gsd_m=(10.0, 60.0),
        splits={"train": 251_079 * SEASONS},
        layout=f"{{{product},s1}}/<place>/<scene>/<band>.tif. The archives come in parts: join them with cat and unpack"
        " the sum",
        source="torchgeo's SSL4EOS12",
        archives=tuple(
            Archive(f"{TorchGeoSSL4EOS12.filenames[kind]}.tar.gz.part{part}", checksum=known_digest(digest))
            for kind in ("s1", product)
            for part, digest in parts[kind].items()
        ),
    )


class SSL4EOS12(PairedDataset):
    """Level 1C: one item per place and season. The n-th scene of a place by date is paired with the n-th of the other
    sensor (torchgeo draws a scene of one sensor at random).
    """

    card: ClassVar[Card] = _card("ssl4eo_s12", "level 1C", "s2c", 13)
    #: folder of the optical images
    product: ClassVar[str] = "s2c"
    all_bands = tuple(TorchGeoSSL4EOS12.metadata["s2c"]["bands"])
    rgb_bands = ("B4", "B3", "B2")
    sar_bands = ("VV", "VH")
    ospretrain: ClassVar[str | None] = "SS4EO-S12"

    def _index(self) -> list[Item]:
        places = {"image": self.root / self.product, "image_sar": self.root / "s1"}
        unused = {"optical": "image_sar", "sar": "image"}.get(self.modality)
        found = {
            key: {p.name for p in self._need(folder).iterdir() if p.is_dir()}
            for key, folder in places.items()
            if key != unused
        }
        names = sorted(set.intersection(*found.values()))
        # the four seasons share their paths: there are a million items
        files = ({key: places[key] / name for key in found} for name in names)
        return [
            Item(f"{name}/{season}", paths, season)
            for name, paths in zip(names, files, strict=True)
            for season in range(SEASONS)
        ]

    def files(self, item: Item) -> list[Path]:
        """Every file that a sample is read from."""
        bands = {"image": self.all_bands if self.modality == "sar" else self.bands, "image_sar": self.bands_sar}
        return [self._scene(item, key) / f"{band}.tif" for key in item.files for band in bands[key]]

    def _optical(self, item: Item) -> Tensor:
        return read_bands(self._scene(item, "image"), self.bands)

    def _sar(self, item: Item) -> Tensor:
        return read_bands(self._scene(item, "image_sar"), self.bands_sar)

    def _load(self, item: Item) -> dict[str, Tensor]:
        sample = super()._load(item)
        del sample["label"]  # the season picks the scene
        return sample

    def _scene(self, item: Item, key: str) -> Path:
        """The scene of the season, by date; a Sentinel-1 name holds its date from the 18th character on."""
        folder = item.files[key]
        scenes = sorted(
            (p for p in folder.iterdir() if p.is_dir()), key=lambda p: p.name[17:] if key == "image_sar" else p.name
        )
        if len(scenes) <= item.label:
            raise InputError(
                f"{folder} has too few scenes", found=str(len(scenes)), expected=str(SEASONS), hint="fetch it again"
            )
        return scenes[item.label]


class SSL4EOS12L2A(SSL4EOS12):
    """Level 2A; see :class:`SSL4EOS12`."""

    card: ClassVar[Card] = _card("ssl4eo_s12_l2a", "level 2A", "s2a", 12)
    product: ClassVar[str] = "s2a"
    all_bands = tuple(TorchGeoSSL4EOS12.metadata["s2a"]["bands"])
    ospretrain = None


def read_bands(folder: Path, bands: Sequence[str]) -> Tensor:
    """Bands of a scene, one file each, float32 [C, 264, 264].

    Raises:
        InputError: a file is missing or does not decode; names it.
    """
    layers = []
    for band in bands:
        path = folder / f"{band}.tif"
        try:
            with quiet(), rasterio.open(path) as file:
                layers.append(file.read(1, out_shape=(SIDE, SIDE)).astype(np.float32))
        except rasterio.errors.RasterioError as error:
            raise InputError(
                f"the image {path} does not decode", found=reason(error, path), hint="fetch it again"
            ) from error
    return torch.from_numpy(np.stack(layers))
