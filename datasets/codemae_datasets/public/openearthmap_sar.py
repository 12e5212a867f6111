"""OpenEarthMap-SAR, the data of track 1 of the 2025 IEEE GRSS Data Fusion Contest.

Xia et al., "OpenEarthMap-SAR: A Benchmark Synthetic Aperture Radar Dataset for Global High-Resolution Land Cover
Mapping", arXiv 2501.10891.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Archive, Card, Item, PairedDataset


class OpenEarthMapSAR(PairedDataset):
    """``mask`` 0 to 7, 255 for no label.

    The labels of ``train`` are what optical models predict. ``val`` and ``test`` have SAR images only (pass
    ``modality="sar"``), and masks once their labels are unpacked beside the images.
    """

    card: ClassVar[Card] = Card(
        name="openearthmap_sar",
        title="OpenEarthMap-SAR (DFC25 track 1)",
        home="https://zenodo.org/records/14622048",
        licence="see the Zenodo record; the aerial images keep their own",
        citation="Xia et al., arXiv 2501.10891, 2025",
        size="5,033 images of 1,024 x 1,024 pixels",
        modality="optical (aerial) + SAR (Umbra)",
        bands="RGB and one SAR amplitude band, 8 bits",
        gsd_m=(0.15, 0.5),
        splits={"train": 4_333, "val": None, "test": None},
        layout="{train,val,test}/sar_images/<Area>_<n>.tif, and of the same names train/rgb_images and"
        " {train,val,test}/labels",
        source="xiachengs/DFC2025-OEM-SAR-Baseline (sar_images, labels), public SAR-to-RGB code of the same folder "
        "form (rgb_images, less certain)",
        task="land cover",
        classes=("bareland", "rangeland", "developed space", "road", "tree", "water", "agriculture land", "building"),
        archives=(
            Archive(
                "dfc25_track1_trainval.zip",
                url="https://zenodo.org/records/14622048/files/dfc25_track1_trainval.zip?download=1",
            ),
        ),
    )
    mask_codes = {0: 255, **{n + 1: n for n in range(8)}}  # noqa: RUF012
    ospretrain = "DFC25"

    def _index(self) -> list[Item]:
        folder = self._first(self.root / self.split, self.root / "dfc25_track1_trainval" / self.split)
        folders = {"image": folder / "rgb_images", "image_sar": folder / "sar_images"}
        if (folder / "labels").is_dir():
            folders["mask"] = folder / "labels"
        return self._matched(folders)
