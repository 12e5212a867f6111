"""What a dataset says of itself, of each sample and of what is found on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Args:
        name: its name, as published.
        into: folder below the root where it belongs and is unpacked; empty for the root.
        url: a stable public address; None where there is none.
        checksum: ``sha256:...`` or ``md5:...`` as published; None where none is.
    """

    name: str
    into: str = ""
    url: str | None = None
    checksum: str | None = None


def known_digest(digest: str) -> str:
    """A digest with its kind in front: torchgeo 0.8 gives md5, 0.10 sha256 of the same files, under the same names.

    >>> known_digest("d56ab50098d5452c33d08ff4e99ce281")
    'md5:d56ab50098d5452c33d08ff4e99ce281'
    """
    return f"{'sha256' if len(digest) == 64 else 'md5'}:{digest}"


@dataclass(frozen=True)
class Card:
    """What a dataset is and where it comes from.

    Args:
        name: its name in the catalogue.
        title: its name in publications.
        home: page to fetch it from.
        licence: as its publishers state it.
        citation: paper, with DOI or arXiv number.
        size: number and size of its images, in words.
        modality: sensors, in words.
        bands: channels of the images, in words.
        gsd_m: metres per pixel, (finest, coarsest); None where it is not stated.
        splits: names of the splits with their number of samples; None where it is not stated or depends on a choice.
        layout: the folders and files below the root.
        source: where the layout was learnt.
        task: what the labels are, in words.
        classes: class names by number.
        archives: what to download and where it goes.
    """

    name: str
    title: str
    home: str
    licence: str
    citation: str
    size: str
    modality: str
    bands: str
    gsd_m: tuple[float, float] | None
    splits: Mapping[str, int | None]
    layout: str
    source: str
    task: str = "none"
    classes: tuple[str, ...] = ()
    archives: tuple[Archive, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """The files of one sample.

    Args:
        name: its name within the dataset.
        files: by the key of the sample that they fill.
        label: what stands in a list or a file name rather than in a file of its own.
    """

    name: str
    files: Mapping[str, Path]
    label: Any = None


@dataclass
class SplitReport:
    """One split as found on disk."""

    #: samples found, and as published (None: not stated)
    samples: int = 0
    published: int | None = None
    #: size of the files of the samples
    bytes: int = 0
    #: how many samples have an image of that width x height
    sizes: Counter[str] = field(default_factory=Counter)
    #: pixels, boxes or images of each class number
    labels: Counter[int] = field(default_factory=Counter)
    #: smallest and largest value of each image key
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: messages about files that cannot be used
    problems: list[str] = field(default_factory=list)


@dataclass
class Report:
    """What :meth:`PublicDataset.verify` found."""

    name: str
    root: Path
    splits: dict[str, SplitReport] = field(default_factory=dict)
    #: by path below the root of every archive that is there: "ok", "differs", "no checksum is known"
    checksums: dict[str, str] = field(default_factory=dict)
    #: splits that are not there, with the reason
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether everything there can be read and no checksum differs."""
        sound = all(not split.problems for split in self.splits.values())
        return bool(self.splits) and sound and "differs" not in self.checksums.values()
