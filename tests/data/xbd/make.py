"""xBD: ``{train,tier3,test,hold}/{images,labels,targets}``, polygons as WKT in the labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from support.fakes import SIZE, picture, write

#: left, upper, right, lower edge of four buildings, in pixels, and their damage
BUILDINGS = (
    ((1, 1, 4, 5), "no-damage"),
    ((6, 1, 9, 5), "minor-damage"),
    ((1, 8, 5, 12), "major-damage"),
    ((8, 8, 13, 12), "destroyed"),
    ((14, 14, 16, 16), "un-classified"),
)


def _features(damage: bool) -> list[dict[str, object]]:
    features: list[dict[str, object]] = []
    for n, ((x0, y0, x1, y1), level) in enumerate(BUILDINGS):
        properties = {"feature_type": "building", "uid": f"building-{n}"} | ({"subtype": level} if damage else {})
        ring = f"POLYGON (({x0} {y0}, {x1} {y0}, {x1} {y1}, {x0} {y1}, {x0} {y0}))"
        features.append({"properties": properties, "wkt": ring})
    return features


def make(root: Path) -> None:
    """Two places in each split, five buildings each."""
    for n, split in enumerate(("train", "tier3", "test", "hold")):
        for i in range(2):
            for t, when in enumerate(("pre", "post")):
                stem = f"hurricane-michael_{10 * n + i:08d}_{when}_disaster"
                picture(root / split / "images" / f"{stem}.png", seed=100 * n + 10 * i + t)
                note = {
                    "features": {"lng_lat": [], "xy": _features(when == "post")},
                    "metadata": {
                        "width": SIZE,
                        "height": SIZE,
                        "disaster": "hurricane-michael",
                        "disaster_type": "wind",
                        "img_name": f"{stem}.png",
                        "gsd": 2.1,
                    },
                }
                write(root / split / "labels" / f"{stem}.json", json.dumps(note))
                target = np.zeros((SIZE, SIZE), np.uint8)
                for (x0, y0, x1, y1), level in BUILDINGS[:4]:
                    levels = ("no-damage", "minor-damage", "major-damage", "destroyed")
                    target[y0:y1, x0:x1] = levels.index(level) + 1 if when == "post" else 1
                (root / split / "targets").mkdir(parents=True, exist_ok=True)
                Image.fromarray(target).save(root / split / "targets" / f"{stem}_target.png")
