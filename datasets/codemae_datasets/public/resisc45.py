"""NWPU-RESISC45: scenes of 45 classes.

Cheng, Han, Lu, "Remote Sensing Image Scene Classification: Benchmark and State of the Art", Proceedings of the IEEE
105(10), 2017. The papers draw 10 % or 20 % of every class (``ratio=0.1``); the lists are those of Neumann et al., arXiv
1911.06721.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Archive, Card
from codemae_datasets.public._scenes import ListedSceneDataset

_URL = "https://hf.co/datasets/isaaccorley/resisc45/resolve/883edc0eee77b2c84225472f10f126e3ed83fa6e"


class RESISC45(ListedSceneDataset):
    """NWPU-RESISC45 by list, or by ``ratio``."""

    card: ClassVar[Card] = Card(
        name="resisc45",
        title="NWPU-RESISC45",
        home="https://hf.co/datasets/isaaccorley/resisc45",
        licence="not stated; images from Google Earth, for research",
        citation="Cheng, Han, Lu, Proceedings of the IEEE 105(10), 2017, doi:10.1109/JPROC.2017.2675998",
        size="31,500 images of 256 x 256 pixels, 700 per class",
        modality="optical",
        bands="RGB, 8 bits",
        gsd_m=(0.2, 30.0),
        splits={"train": 18_900, "val": 6_300, "test": 6_300},
        layout="NWPU-RESISC45/<class>/<class>_<nnn>.jpg and resisc45-{train,val,test}.txt",
        source="torchgeo's RESISC45",
        task="one of 45 scene classes",
        classes=(
            "airplane",
            "airport",
            "baseball_diamond",
            "basketball_court",
            "beach",
            "bridge",
            "chaparral",
            "church",
            "circular_farmland",
            "cloud",
            "commercial_area",
            "dense_residential",
            "desert",
            "forest",
            "freeway",
            "golf_course",
            "ground_track_field",
            "harbor",
            "industrial_area",
            "intersection",
            "island",
            "lake",
            "meadow",
            "medium_residential",
            "mobile_home_park",
            "mountain",
            "overpass",
            "palace",
            "parking_lot",
            "railway",
            "railway_station",
            "rectangular_farmland",
            "river",
            "roundabout",
            "runway",
            "sea_ice",
            "ship",
            "snowberg",
            "sparse_residential",
            "stadium",
            "storage_tank",
            "tennis_court",
            "terrace",
            "thermal_power_station",
            "wetland",
        ),
        archives=(
            Archive(
                "NWPU-RESISC45.zip",
                url=f"{_URL}/NWPU-RESISC45.zip",
                checksum="sha256:beeecd0b63656290ae6d65cf7763185b0c1c4c54a753ef8088d6fba3faaf1f53",
            ),
            Archive(
                "resisc45-train.txt",
                url=f"{_URL}/resisc45-train.txt",
                checksum="sha256:ecfa963be4d85eac83665f8be8634abcb4fe6f3546472cc0e87999e2cab4449b",
            ),
            Archive(
                "resisc45-val.txt",
                url=f"{_URL}/resisc45-val.txt",
                checksum="sha256:08d81f642526bec240589000af7f49a47e8d071a6e7925b0f36246a78ab64342",
            ),
            Archive(
                "resisc45-test.txt",
                url=f"{_URL}/resisc45-test.txt",
                checksum="sha256:e0927e80130b47317a2f18520d98382b6fc56f0d3edd3345140f7d02267c3805",
            ),
        ),
    )
    folder = "NWPU-RESISC45"
    list_name = "resisc45-{split}.txt"
