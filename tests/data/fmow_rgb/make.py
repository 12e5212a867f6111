"""fMoW-RGB: ``<split>/<category>/<category>_<place>/<category>_<place>_<visit>_rgb.jpg`` with a ``.json`` beside it."""

from __future__ import annotations

import json
from pathlib import Path

from support.fakes import picture, write


def make(root: Path) -> None:
    """Two categories, two places each, two visits; one image made from a multispectral one (``_msrgb``)."""
    for split in ("train", "val"):
        for c, category in enumerate(("airport", "zoo")):
            for place in range(2):
                for visit in range(2):
                    for kind in ("rgb", "msrgb") if visit == 0 else ("rgb",):
                        stem = f"{category}_{place}"
                        file = root / split / category / stem / f"{stem}_{visit}_{kind}.jpg"
                        picture(file, seed=8 * c + 4 * place + visit)
                        note = {
                            "gsd": 0.5,
                            "img_width": 16,
                            "img_height": 16,
                            "timestamp": f"201{visit}-01-01T00:00:00Z",
                            "bounding_boxes": [
                                {"ID": place, "category": category, "raw_location": "", "box": [2, 4, 8, 6]}
                            ],
                        }
                        write(file.with_suffix(".json"), json.dumps(note))
