"""SARDet-100K: ``SARDet_100K/Annotations/<split>.json`` (COCO) and ``SARDet_100K/JPEGImages/<split>/``."""

from __future__ import annotations

import json
from pathlib import Path

from support.fakes import SIZE, picture, write

CLASSES = ("ship", "aircraft", "car", "tank", "bridge", "harbor")


def make(root: Path, folder: str = "SARDet_100K") -> None:
    """Two images in each split, two boxes each; the identifiers of the categories start at zero, as published."""
    for n, split in enumerate(("train", "val", "test")):
        images, notes = [], []
        for i in range(2):
            name = f"{1000 * n + i:07d}.png"
            picture(root / folder / "JPEGImages" / split / name, seed=10 * n + i, bands=1)
            images.append({"id": i, "file_name": name, "width": SIZE, "height": SIZE})
            for k, category in enumerate((0, 4)):
                box = [1 + k, 2, 6, 5]
                notes.append(
                    {"id": 2 * i + k, "image_id": i, "category_id": category, "bbox": box, "area": 30, "iscrowd": 0}
                )
        categories = [{"id": k, "name": name} for k, name in enumerate(CLASSES)]
        note = {"images": images, "annotations": notes, "categories": categories}
        write(root / folder / "Annotations" / f"{split}.json", json.dumps(note))
