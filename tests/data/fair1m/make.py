"""FAIR1M: ``train/part{1,2}/{images,labelXml}``, ``validation/{images,labelXml}``, ``test/images``."""

from __future__ import annotations

from pathlib import Path

from support.fakes import picture, write

POINTS = ("3.0,2.0", "10.0,4.0", "9.0,8.0", "2.0,6.0", "3.0,2.0")


def _label(name: str, labels: tuple[str, ...]) -> str:
    points = "".join(f"<point>{p}</point>" for p in POINTS)
    objects = "".join(
        f"<object><possibleresult><name>{label}</name></possibleresult><points>{points}</points></object>"
        for label in labels
    )
    return f"<annotation><source><filename>{name}</filename></source><objects>{objects}</objects></annotation>"


def make(root: Path) -> None:
    """Two images in each part, two oriented boxes each."""
    for n, folder in enumerate(("train/part1", "train/part2", "validation", "test")):
        for i in range(2):
            picture(root / folder / "images" / f"{10 * n + i}.tif", seed=10 * n + i)
            if folder != "test":
                label = _label(f"{10 * n + i}.tif", ("Boeing737", "Small Car"))
                write(root / folder / "labelXml" / f"{10 * n + i}.xml", label)
