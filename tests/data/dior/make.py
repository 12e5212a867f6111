"""DIOR as its authors publish it: images by set, boxes as Pascal VOC, lists of names."""

from __future__ import annotations

from pathlib import Path

from support.fakes import picture, write


def make(root: Path) -> None:
    """Two images in each of train, val and test, two boxes each."""
    number = 0
    for split in ("train", "val", "test"):
        names = []
        for _ in range(2):
            number += 1
            name = f"{number:05d}"
            names.append(name)
            folder = "JPEGImages-test" if split == "test" else "JPEGImages-trainval"
            picture(root / folder / f"{name}.jpg", seed=number)
            boxes = "".join(
                f"<object><name>{label}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>{8 + number % 4}</xmax>"
                "<ymax>9</ymax></bndbox></object>"
                for label in ("ship", "Expressway-Service-area")
            )
            write(
                root / "Annotations" / "Horizontal Bounding Boxes" / f"{name}.xml",
                f"<annotation><filename>{name}.jpg</filename>{boxes}</annotation>",
            )
        write(root / "ImageSets" / "Main" / f"{split}.txt", "\n".join(names) + "\n")
