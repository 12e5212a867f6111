"""EuroSAT: Sentinel-2 patches of ten land cover classes, all thirteen bands.

Helber et al., "EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land Cover Classification", IEEE
JSTARS 12(7), 2019. The lists are those of Neumann et al., arXiv 1911.06721.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Archive, Card
from codemae_datasets.public._scenes import ListedSceneDataset

_URL = "https://hf.co/datasets/torchgeo/eurosat/resolve/1ce6f1bfb56db63fd91b6ecc466ea67f2509774c"


class EuroSAT(ListedSceneDataset):
    """EuroSAT by list, or by ``ratio``."""

    card: ClassVar[Card] = Card(
        name="eurosat",
        title="EuroSAT",
        home="https://github.com/phelber/EuroSAT",
        licence="MIT",
        citation="Helber et al., IEEE JSTARS 12(7), 2019, doi:10.1109/JSTARS.2019.2918242",
        size="27,000 images of 64 x 64 pixels, 2,000 to 3,000 per class",
        modality="optical (Sentinel-2 level 1C)",
        bands="13 bands, reflectance x 10,000",
        gsd_m=(10.0, 10.0),
        splits={"train": 16_200, "val": 5_400, "test": 5_400},
        layout="ds/images/remote_sensing/otherDatasets/sentinel_2/tif/<Class>/<Class>_<n>.tif"
        " and eurosat-{train,val,test}.txt",
        source="torchgeo's EuroSAT",
        task="one of 10 land cover classes",
        classes=(
            "AnnualCrop",
            "Forest",
            "HerbaceousVegetation",
            "Highway",
            "Industrial",
            "Pasture",
            "PermanentCrop",
            "Residential",
            "River",
            "SeaLake",
        ),
        archives=(
            Archive(
                "EuroSATallBands.zip",
                url=f"{_URL}/EuroSATallBands.zip",
                checksum="sha256:751f070f9bffa2eed48b24ca2dd0b02959280c08837e8c9a5532a67ba611df59",
            ),
            Archive(
                "eurosat-train.txt",
                url=f"{_URL}/eurosat-train.txt",
                checksum="sha256:1c1d2e855f95deee605a3d992f914d113fddbecf422ec61648057d029a37d695",
            ),
            Archive(
                "eurosat-val.txt",
                url=f"{_URL}/eurosat-val.txt",
                checksum="sha256:b385741f31daa9f1250cf1e1fe03adfab394e1172e0693df40141af004f60330",
            ),
            Archive(
                "eurosat-test.txt",
                url=f"{_URL}/eurosat-test.txt",
                checksum="sha256:cf37948894c12bd953930ff54ee9b7abf0b31478abb8d25fd2c6c721db74c592",
            ),
        ),
    )
    #: B8A comes last in the files
    all_bands = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
    rgb_bands = ("B04", "B03", "B02")
    folder = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"
    list_name = "eurosat-{split}.txt"
