"""NYU-Depth v2: 1,449 labelled frames of rooms, forty classes.

Silberman et al., "Indoor Segmentation and Support Inference from RGBD Images", ECCV 2012; the forty classes are
those of Gupta, Arbelaez, Malik, CVPR 2013. DeCUR is evaluated on it, depth as HHA.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from codemae_datasets.public._base import Archive, Card, Item
from codemae_datasets.public._depth import DepthDataset
from codemae_datasets.public._mat import open_hdf5, read_mat
from codemae_datasets.public.hha import Array
from codemae_geo.errors import InputError

#: of the colour camera, to which the depth is brought; toolbox, camera_params.m, less one for pixels from 0
INTRINSICS = np.array(
    [[518.85790117450188, 0, 325.58244941119034 - 1], [0, 519.46961112127485, 253.73616633400465 - 1], [0, 0, 1]]
)


class NYUDepthV2(DepthDataset):
    """NYU-Depth v2, labelled set, with the filled depth."""

    card: ClassVar[Card] = Card(
        name="nyu_depth_v2",
        title="NYU-Depth v2",
        home="https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html",
        licence="not stated; for research, please cite",
        citation="Silberman et al., ECCV 2012, doi:10.1007/978-3-642-33715-4_54",
        size="1,449 pairs of 640 x 480 pixels, 2.8 GB",
        modality="RGB-depth (indoor)",
        bands="RGB, 8 bits; depth in metres",
        gsd_m=None,
        splits={"train": 795, "test": 654},
        layout="nyu_depth_v2_labeled.mat, splits.mat and classMapping40.mat; HHA images, if any, in hha/<number>.png",
        source="public readers of the labelled set (axes and variables); classMapping40.mat and splits.mat as in"
        " ankurhanda/nyuv2-meta-data",
        task="segmentation, 40 classes",
        classes=(
            "wall",
            "floor",
            "cabinet",
            "bed",
            "chair",
            "sofa",
            "table",
            "door",
            "window",
            "bookshelf",
            "picture",
            "counter",
            "blinds",
            "desk",
            "shelves",
            "curtain",
            "dresser",
            "pillow",
            "mirror",
            "floor mat",
            "clothes",
            "ceiling",
            "books",
            "refridgerator",
            "television",
            "paper",
            "towel",
            "shower curtain",
            "box",
            "whiteboard",
            "person",
            "night stand",
            "toilet",
            "sink",
            "lamp",
            "bathtub",
            "bag",
            "otherstructure",
            "otherfurniture",
            "otherprop",
        ),
        archives=(
            Archive("nyu_depth_v2_labeled.mat"),
            Archive("splits.mat"),
            Archive("classMapping40.mat"),
        ),
    )

    def _index(self) -> list[Item]:
        frames = self._need(self.root / "nyu_depth_v2_labeled.mat")
        mapping = self._need(self.root / "classMapping40.mat")
        numbers = read_mat(self._need(self.root / "splits.mat"))[f"{self.split}Ndxs"].flatten()
        #: class of each raw label, 0 for none
        self.mapping = np.concatenate([[0], read_mat(mapping)["mapClass"].flatten()]).astype(np.int64)
        return [Item(f"{n:04d}", {"image": frames, "mask": frames}, int(n)) for n in numbers]

    def _read(self, item: Item) -> tuple[Tensor, Array, Array]:
        path, n = item.files["image"], item.label - 1
        try:
            with open_hdf5(path) as file:
                image = file["images"][n].transpose(0, 2, 1)
                depth = file["depths"][n].T.astype(np.float64)
                raw = file["labels"][n].T.astype(np.int64)
        except (OSError, KeyError, IndexError, ValueError) as error:
            raise InputError(
                f"frame {item.label} of {path} cannot be read", found=str(error), hint="fetch it again"
            ) from error
        if raw.max(initial=0) >= len(self.mapping):
            raise InputError(
                f"frame {item.label} of {path} has a label that the mapping lacks",
                found=str(raw.max()),
                expected=f"0 to {len(self.mapping) - 1}",
                hint="fetch classMapping40.mat again",
            )
        return torch.from_numpy(np.ascontiguousarray(image).astype(np.float32)), depth, self.mapping[raw]

    def _intrinsics(self, item: Item) -> Array:
        return INTRINSICS

    def _hha_path(self, item: Item) -> Path:
        return self.root / "hha" / f"{item.name}.png"
