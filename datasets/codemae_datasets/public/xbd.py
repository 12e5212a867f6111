"""xBD (xView2): building damage after 19 disasters, optical before and after the event, four levels, polygons.

Gupta et al., "xBD: A Dataset for Assessing Building Damage from Satellite Imagery", CVPR workshops 2019.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from rasterio.features import rasterize
from shapely import wkt
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry
from torch import Tensor

from codemae_datasets.public._base import (
    Archive,
    Card,
    Item,
    PublicDataset,
    Sample,
    Transform,
    one_of,
    read_codes,
    to_classes,
)
from codemae_geo.classes import DAMAGE_CLASSES, NODATA
from codemae_geo.errors import InputError

Labels = Literal["polygons", "targets"]
Levels = Literal["four", "three"]

#: damage level of each ``subtype``; buildings that nobody could judge have no class
LEVELS = {"no-damage": 1, "minor-damage": 2, "major-damage": 3, "destroyed": 4, "un-classified": NODATA}
#: BRIGHT's level of each level: minor and major damage are both "damaged"
_THREE = torch.tensor([0, 1, 2, 2, 3] + [NODATA] * (NODATA - 4))


class XBD(PublicDataset):
    """xBD. ``image`` float32 [2, 3, H, W], before and after; ``mask`` the damage after the event.

    Args:
        labels: ``polygons`` draws the mask from the polygons of the label after the event, buildings "un-classified"
            are 255; ``targets`` reads the published raster.
        levels: ``four`` damage levels, or ``three``, those of BRIGHT.
        events: only these disasters, as the file names have them (``hurricane-michael``); None takes all.

    Other arguments and errors: :class:`PublicDataset`.
    """

    card: ClassVar[Card] = Card(
        name="xbd",
        title="xBD",
        home="https://xview2.org/dataset",
        licence="CC BY-NC-SA 4.0",
        citation="Gupta et al., CVPR workshops 2019, arXiv:1911.09296",
        size="11,034 pairs of 1024 x 1024 pixels, 850,736 buildings, 19 disasters",
        modality="optical before and after (Maxar)",
        bands="RGB, 8 bits",
        gsd_m=(0.3, 0.8),
        splits={"train": 2_799, "tier3": 6_369, "test": 933, "hold": 933},
        layout="{train,tier3,test,hold}/images/<disaster>_<n>_{pre,post}_disaster.png, labels/<same>.json and, in part,"
        " targets/<same>_target.png",
        source="torchgeo's XView2; public readers of the labels",
        task="building damage, 5 classes, with polygons",
        classes=("background", "no-damage", "minor-damage", "major-damage", "destroyed"),
        archives=(
            Archive(
                "train_images_labels_targets.tar.gz",
                checksum="sha256:a5941b7a3e523eafc4aeaa740a1c83f1af6a18c894e7e8c62dd830a76921ecd4",
            ),
            Archive(
                "test_images_labels_targets.tar.gz",
                checksum="sha256:0fcdbfe3ee7d0842729dd2230217e74b2f12be35546ff666df4dae5388e2541c",
            ),
        ),
    )

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        labels: Labels = "polygons",
        levels: Levels = "four",
        events: Sequence[str] | None = None,
    ) -> None:
        self.labels = one_of("kind of label", labels, get_args(Labels), self)
        self.levels = one_of("set of levels", levels, get_args(Levels), self)
        self.events = events
        # BRIGHT's colours, with orange between its yellow and its vermilion
        intact, damaged, destroyed = (level.color for level in DAMAGE_CLASSES[1:])
        major = ("#e69f00",) if levels == "four" else ()
        self.colors = ("#dddddd", intact, damaged, *major, destroyed)
        super().__init__(root, split, bands, transforms, download, checksum)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by number."""
        return self.card.classes if self.levels == "four" else tuple(DAMAGE_CLASSES.names)

    def _index(self) -> list[Item]:
        folder = self.root / self.split
        items = []
        for path in self._folder(folder / "images", (".png",)):
            stem, _, when = path.stem.removesuffix("_disaster").rpartition("_")
            event = stem.rsplit("_", 1)[0]
            if when != "pre" or (self.events is not None and event not in self.events):
                continue
            post = f"{stem}_post_disaster"
            files = {"image": path, "post": path.with_name(f"{post}.png"), "label": folder / "labels" / f"{post}.json"}
            if self.labels == "targets":
                files["mask"] = folder / "targets" / f"{post}_target.png"
            items.append(Item(stem, {key: self._need(file) for key, file in files.items()}))
        return items

    def _load(self, item: Item) -> Sample:
        before = self._channels(item.files["image"], self.all_bands, self.bands)
        after = self._channels(item.files["post"], self.all_bands, self.bands)
        self._check_sizes(item, {"image": before, "image_sar": after})
        if "mask" in item.files:
            path = item.files["mask"]
            mask = torch.from_numpy(to_classes(read_codes(path), {level: level for level in range(5)}, path))
        else:
            mask = self._drawn(item, after.shape[-2:])
        if self.levels == "three":
            mask = _THREE[mask]
        return {"image": torch.stack([before, after]), "mask": mask}

    def polygons(self, index: int) -> list[tuple[BaseGeometry, str]]:
        """The buildings of a sample: outline in pixels of the image after the event (x right, y down) and ``subtype``.

        Raises:
            InputError: the label cannot be read, or names an unknown subtype; names the file.
        """
        return read_label(self.items[index].files["label"])

    def _drawn(self, item: Item, size: Sequence[int]) -> Tensor:
        # where outlines overlap, the heavier damage stays on top
        shapes = sorted(
            ((shape, LEVELS[level]) for shape, level in read_label(item.files["label"])),
            key=lambda pair: pair[1] % NODATA,
        )
        if not shapes:
            return torch.zeros(tuple(size), dtype=torch.int64)
        drawn = rasterize(shapes, out_shape=tuple(size), fill=0, dtype="uint8")
        return torch.from_numpy(drawn.astype(np.int64))


def read_label(path: Path) -> list[tuple[BaseGeometry, str]]:
    """Outline in pixels and damage (``subtype``) of each building of a label file.

    Raises:
        InputError: not such a file, or an unknown subtype; names the file.
    """
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]["xy"]
        found = [(wkt.loads(f["wkt"]), f["properties"].get("subtype", "no-damage")) for f in features]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ShapelyError) as error:
        raise InputError(
            f"the label {path} cannot be read", found=f"{type(error).__name__}: {error}", hint="fetch it again"
        ) from error
    for _, level in found:
        if level not in LEVELS:
            raise InputError(f"the label {path} has an unknown damage level", found=level, expected=", ".join(LEVELS))
    return found
