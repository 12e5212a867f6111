"""GeoNRW: aerial photographs, elevation and land cover of North Rhine-Westphalia.

Baier et al., "Synthesizing Optical and SAR Imagery From Land Cover Maps and Auxiliary Raster Data", IEEE TGRS 60, 2022.
"""

from __future__ import annotations

from typing import ClassVar

from torchgeo.datasets import GeoNRW as TorchGeoGeoNRW

from codemae_datasets.public._base import Archive, Card, Item, PublicDataset, Sample, read_image


class GeoNRW(PublicDataset):
    """``image`` RGB, ``dem`` float32 [1, H, W] in metres, ``mask`` 0 to 10. The splits are cities."""

    card: ClassVar[Card] = Card(
        name="geonrw",
        title="GeoNRW",
        home="https://ieee-dataport.org/open-access/geonrw",
        licence="CC BY 4.0",
        citation="Baier et al., IEEE TGRS 60, 2022, doi:10.1109/TGRS.2021.3068532",
        size="7,783 tiles of 1,000 x 1,000 pixels",
        modality="optical (aerial) + elevation",
        bands="RGB, 8 bits; elevation in metres",
        gsd_m=(1.0, 1.0),
        splits={"train": 7_298, "test": 485},
        layout="<city>/<x>_<y>_rgb.jp2, <city>/<x>_<y>_dem.tif, <city>/<x>_<y>_seg.tif",
        source="torchgeo's GeoNRW",
        task="land cover",
        classes=tuple(TorchGeoGeoNRW.classes),
        archives=(
            # written out: torchgeo 0.8 has only the md5 of this file, 0.10 only the sha256
            Archive(
                "nrw_dataset.tar.gz",
                url="https://hf.co/datasets/torchgeo/geonrw/resolve/3cb6bdf2a615b9e526c7dcff85fd1f20728081b7/"
                "nrw_dataset.tar.gz",
                checksum="sha256:de3cdda6a5718a8ae7f0e1479829a06c0fcebdab4eaf70274c56adfde696b972",
            ),
        ),
    )

    def _index(self) -> list[Item]:
        items = []
        for city in TorchGeoGeoNRW.test_list if self.split == "test" else TorchGeoGeoNRW.train_list:
            for path in self._folder(self.root / city, (".jp2",)):
                place = path.name.removesuffix("_rgb.jp2")
                files = {"image": path, "dem": path.with_name(f"{place}_dem.tif")}
                files["mask"] = path.with_name(f"{place}_seg.tif")
                items.append(Item(f"{city}/{place}", files))
        return items

    def _load(self, item: Item) -> Sample:
        return super()._load(item) | {"dem": read_image(item.files["dem"])}
