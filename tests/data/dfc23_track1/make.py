"""DFC23 track 1: ``track1/<split>/{rgb,sar}`` and ``roof_fine_train.json``."""

from __future__ import annotations

import json
from pathlib import Path

from codemae_datasets.public.dfc23 import DFC23Track1
from support.fakes import SIZE, pixels, raster, write


def make(root: Path) -> None:
    """Two images to train, the second without buildings, one to validate, one to test."""
    for split, names in {"train": ("GF2_Beijing_1", "SV_Paris_2"), "val": ("P_0000",), "test": ("P_0001",)}.items():
        for n, name in enumerate(names):
            raster(root / f"track1/{split}/rgb/{name}.tif", pixels(n).transpose(2, 0, 1))
            raster(root / f"track1/{split}/sar/{name}.tif", pixels(50 + n, bands=1))
    names = ["GF2_Beijing_1", "SV_Paris_2"]
    square = [[4.0, 2.0, 8.0, 2.0, 8.0, 6.0, 4.0, 6.0]]
    # the first two columns, in run lengths of columns
    runs = {"size": [SIZE, SIZE], "counts": [0, 2 * SIZE, SIZE * (SIZE - 2)]}
    notes = [
        {"id": 1, "image_id": 7, "category_id": 2, "bbox": [4, 2, 4, 4], "segmentation": square, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 12, "bbox": [0, 0, 2, SIZE], "segmentation": runs, "iscrowd": 1},
    ]
    table = {
        "images": [
            {"id": 7 + n, "file_name": f"{name}.tif", "height": SIZE, "width": SIZE} for n, name in enumerate(names)
        ],
        "categories": [{"id": n + 1, "name": name} for n, name in enumerate(DFC23Track1.card.classes)],
        "annotations": notes,
    }
    write(root / "track1/roof_fine_train.json", json.dumps(table))
