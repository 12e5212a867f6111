"""DFC23 track 2: ``track2/<split>/{rgb,sar,dsm}`` and ``buildings_only_train.json``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from support.fakes import SIZE, pixels, raster, write


def make(root: Path) -> None:
    """Two images to train, the second without buildings, one to validate, one to test; heights to train."""
    for split, names in {
        "train": ("GF2_Brasilia_1", "SV_Copenhagen_2"),
        "val": ("P_0000",),
        "test": ("P_0001",),
    }.items():
        for n, name in enumerate(names):
            raster(root / f"track2/{split}/rgb/{name}.tif", pixels(n).transpose(2, 0, 1))
            raster(root / f"track2/{split}/sar/{name}.tif", pixels(50 + n, bands=1))
            if split == "train":
                heights = np.random.default_rng(n).random((SIZE, SIZE), np.float32) * 40
                raster(root / f"track2/train/dsm/{name}.tif", heights)
    names = ["GF2_Brasilia_1", "SV_Copenhagen_2"]
    square = [[4.0, 2.0, 8.0, 2.0, 8.0, 6.0, 4.0, 6.0]]
    # the first two columns, in run lengths of columns
    runs = {"size": [SIZE, SIZE], "counts": [0, 2 * SIZE, SIZE * (SIZE - 2)]}
    notes = [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [4, 2, 4, 4], "segmentation": square, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 2, SIZE], "segmentation": runs, "iscrowd": 1},
    ]
    table = {
        "images": [
            {"id": 7 + n, "file_name": f"{name}.tif", "height": SIZE, "width": SIZE} for n, name in enumerate(names)
        ],
        "categories": [{"id": 1, "name": "building"}],
        "annotations": notes,
    }
    write(root / "track2/buildings_only_train.json", json.dumps(table))
