"""UC Merced Land Use: aerial scenes of 21 classes.

Yang and Newsam, "Bag-of-Visual-Words and Spatial Extensions for Land-Use Classification", ACM SIGSPATIAL 2010. The
lists are those of Neumann et al., arXiv 1911.06721.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F

from codemae_datasets.public._base import Archive, Card, Item, Sample
from codemae_datasets.public._scenes import ListedSceneDataset

_URL = "https://hf.co/datasets/torchgeo/ucmerced/resolve/7c5ef3454d9b1cccfa7ccde0c01fc8f00a45909a"


class UCMerced(ListedSceneDataset):
    """UC Merced Land Use by list, or by ``ratio``. The few images of another size are resampled to 256 x 256."""

    card: ClassVar[Card] = Card(
        name="ucmerced",
        title="UC Merced Land Use",
        home="http://weegee.vision.ucmerced.edu/datasets/landuse.html",
        licence="public domain (USGS imagery)",
        citation="Yang and Newsam, ACM SIGSPATIAL 2010, doi:10.1145/1869790.1869829",
        size="2,100 images of 256 x 256 pixels, 100 per class",
        modality="optical",
        bands="RGB, 8 bits",
        gsd_m=(0.3, 0.3),
        splits={"train": 1_260, "val": 420, "test": 420},
        layout="UCMerced_LandUse/Images/<class>/<class><nn>.tif and uc_merced-{train,val,test}.txt",
        source="torchgeo's UCMerced",
        task="one of 21 scene classes",
        classes=(
            "agricultural",
            "airplane",
            "baseballdiamond",
            "beach",
            "buildings",
            "chaparral",
            "denseresidential",
            "forest",
            "freeway",
            "golfcourse",
            "harbor",
            "intersection",
            "mediumresidential",
            "mobilehomepark",
            "overpass",
            "parkinglot",
            "river",
            "runway",
            "sparseresidential",
            "storagetanks",
            "tenniscourt",
        ),
        archives=(
            Archive(
                "UCMerced_LandUse.zip",
                url=f"{_URL}/UCMerced_LandUse.zip",
                checksum="sha256:06c539ef28703a58fb07bd2837991ac7c48b813b00bb12ac197efd813a18daeb",
            ),
            Archive(
                "uc_merced-train.txt",
                url=f"{_URL}/uc_merced-train.txt",
                checksum="sha256:d625ea884cb2870e007774c1d64e904e9ae71ba3e7b4b92a9e8aa6065e2cd8cc",
            ),
            Archive(
                "uc_merced-val.txt",
                url=f"{_URL}/uc_merced-val.txt",
                checksum="sha256:4459da518e2c1486471b4ea57734950c9c7c449611fe3468c0d1ca34a4bd3a56",
            ),
            Archive(
                "uc_merced-test.txt",
                url=f"{_URL}/uc_merced-test.txt",
                checksum="sha256:0d3b64706fd2a9f9faaa1d7dade934ec8b4fd258a9853f037983b1f2db239220",
            ),
        ),
    )
    folder = "UCMerced_LandUse/Images"
    list_name = "uc_merced-{split}.txt"

    def _load(self, item: Item) -> Sample:
        sample = super()._load(item)
        if sample["image"].shape[-2:] != (256, 256):
            image = F.interpolate(sample["image"][None], (256, 256), mode="bilinear", antialias=True)
            sample["image"] = image[0]
        return sample
