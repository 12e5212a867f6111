"""SUN RGB-D: rooms seen by four depth cameras, 37 classes.

Song, Lichtenberg, Xiao, "SUN RGB-D: A RGB-D Scene Understanding Benchmark Suite", CVPR 2015. DeCUR is pretrained on it,
depth as HHA.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import Tensor

from codemae_datasets.public._base import Archive, Card, Item, read_codes
from codemae_datasets.public._depth import DepthDataset
from codemae_datasets.public._mat import open_hdf5, read_mat
from codemae_datasets.public.hha import Array
from codemae_geo.errors import InputError

#: depth is cut there, metres, as the authors' reader does
FARTHEST = 8.0


class SUNRGBD(DepthDataset):
    """SUN RGB-D with the refined depth (``depth_bfx``)."""

    card: ClassVar[Card] = Card(
        name="sun_rgbd",
        title="SUN RGB-D",
        home="https://rgbd.cs.princeton.edu/",
        licence="not stated; for research, please cite it and the three datasets that it contains",
        citation="Song, Lichtenberg, Xiao, CVPR 2015",
        size="10,335 pairs of 530 x 730 pixels or less",
        modality="RGB-depth (indoor)",
        bands="RGB, 8 bits; depth in millimetres, 16 bits",
        gsd_m=None,
        splits={"train": 5_285, "test": 5_050},
        layout="SUNRGBD/{kv1,kv2,realsense,xtion}/**/<frame>/{image,depth_bfx,intrinsics.txt},"
        " SUNRGBDtoolbox/Metadata/{SUNRGBDMeta,SUNRGBD2Dseg}.mat and SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat",
        source="README of the toolbox; ESANet's prepare_dataset.py",
        task="segmentation, 37 classes",
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
            "floor_mat",
            "clothes",
            "ceiling",
            "books",
            "fridge",
            "tv",
            "paper",
            "towel",
            "shower_curtain",
            "box",
            "whiteboard",
            "person",
            "night_stand",
            "toilet",
            "sink",
            "lamp",
            "bathtub",
            "bag",
        ),
        archives=(
            Archive("SUNRGBD.zip", url="https://rgbd.cs.princeton.edu/data/SUNRGBD.zip"),
            Archive(
                "SUNRGBDtoolbox.zip",
                url="https://rgbd.cs.princeton.edu/data/SUNRGBDtoolbox.zip",
                checksum="md5:18d22e1761d36352f37232cba102f91f",
            ),
        ),
    )

    def _index(self) -> list[Item]:
        toolbox = self.root / "SUNRGBDtoolbox"
        labels = self._need(toolbox / "Metadata" / "SUNRGBD2Dseg.mat")
        frames = self._need(self.root / "SUNRGBD")
        split = read_mat(self._need(toolbox / "traintestSUNRGBD" / "allsplit.mat"), squeeze_me=True)
        wanted = {_relative(path) for path in np.atleast_1d(split["alltrain" if self.split == "train" else "alltest"])}
        meta_path = self._need(toolbox / "Metadata" / "SUNRGBDMeta.mat")
        meta = read_mat(meta_path, squeeze_me=True, struct_as_record=False)["SUNRGBDMeta"]
        items = []
        for number, entry in enumerate(np.atleast_1d(meta)):
            name = _relative(entry.rgbpath).rsplit("/", 2)[0]
            if name not in wanted:
                continue
            folder = frames / name
            files = {
                "image": folder / "image" / entry.rgbname,
                "depth": folder / "depth_bfx" / entry.depthname,
                "intrinsics": folder / "intrinsics.txt",
                "mask": labels,
            }
            items.append(Item(name, files, number))
        if items:
            self._need(items[0].files["image"])
        return items

    def _read(self, item: Item) -> tuple[Tensor, Array, Array]:
        image = self._channels(item.files["image"], self.all_bands, self.all_bands)
        bits = read_codes(item.files["depth"]).astype(np.uint16)
        # the sensor's word is turned by three bits
        depth = np.minimum(((bits >> 3) | (bits << 13)).astype(np.float64) / 1000, FARTHEST)
        try:
            with open_hdf5(item.files["mask"]) as file:
                labels = file[file["SUNRGBD2Dseg"]["seglabel"][item.label][0]][()].T.astype(np.int64)
        except (OSError, KeyError, IndexError, ValueError) as error:
            raise InputError(
                f"the labels {item.files['mask']} cannot be read",
                found=f"entry {item.label}: {error}",
                hint="fetch the toolbox again",
            ) from error
        return image, depth, labels

    def _intrinsics(self, item: Item) -> Array:
        path = item.files["intrinsics"]
        try:
            matrix = np.array(path.read_text(encoding="utf-8").split(), dtype=np.float64).reshape(3, 3)
        except (OSError, ValueError) as error:
            raise InputError(
                f"the intrinsics {path} cannot be read",
                found=str(error),
                expected="nine numbers",
                hint="fetch it again",
            ) from error
        return _from_one(matrix)

    def _hha_path(self, item: Item) -> Path:
        depth = item.files["depth"]
        return depth.parents[1] / "hha" / depth.name


def _from_one(matrix: Array) -> Array:
    """Intrinsics of MATLAB, whose first pixel is 1, for pixels that begin at 0."""
    shifted = matrix.copy()
    shifted[:2, 2] -= 1
    return shifted


def _relative(path: object) -> str:
    """The authors' path below their folder SUNRGBD."""
    return str(path).split("/SUNRGBD/", 1)[-1].strip("/")
