"""BRIGHT: building damage after 14 disasters, optical before and SAR after the event.

Chen et al., "BRIGHT: a globally distributed multimodal building damage assessment dataset with very-high-resolution for
all-weather disaster response", Earth System Science Data 17, 2025.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, get_args

import torch

from codemae_datasets.public._base import Card, Item, Modality, PublicDataset, Sample, Transform, one_of, some_of
from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.errors import InputError

Setup = Literal["standard_ML", "dfc25"]

EVENTS = (
    "bata-explosion",
    "beirut-explosion",
    "congo-volcano",
    "haiti-earthquake",
    "hawaii-wildfire",
    "la_palma-volcano",
    "libya-flood",
    "marshall-wildfire",
    "mexico-hurricane",
    "morocco-earthquake",
    "myanmar-hurricane",
    "noto-earthquake",
    "turkey-earthquake",
    "ukraine-conflict",
)
#: events whose optical images may not be passed on: users take them from Google Earth themselves
RESTRICTED = ("mexico-hurricane", "myanmar-hurricane", "ukraine-conflict")
TUTORIAL = "https://github.com/ChenHongruixuan/BRIGHT/blob/master/tutorial.md"

#: list of a split, by setup
_LISTS: dict[str, dict[str, str]] = {
    "standard_ML": {"train": "train_set", "val": "val_set", "test": "test_set"},
    "dfc25": {"train": "train_set", "val": "holdout_set", "test": "test_set"},
}


class DamagePairs(PublicDataset):
    """Tiles named ``<event>_<number>``: optical image before, SAR image after, damage.

    Args:
        modality: ``both``, or ``optical`` or ``sar`` alone, then ``image`` [C, H, W] is that one.
        stack: with ``both``, one ``image`` float32 [2, 3, H, W], the SAR channel repeated, as torchgeo has it; False
            gives ``image`` [3, H, W] and ``image_sar`` [1, H, W].

    Other arguments and errors: :class:`PublicDataset`.
    """

    colors = ("#dddddd", *(level.color for level in DAMAGE_CLASSES[1:]))

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        modality: Modality = "both",
        stack: bool = True,
    ) -> None:
        self.modality = one_of("modality", modality, get_args(Modality), self)
        self.stack = stack
        super().__init__(root, split, bands, transforms, download, checksum)

    @staticmethod
    def _tile(folder: Path, name: str) -> Item:
        files = {
            "image": folder / "pre-event" / f"{name}_pre_disaster.tif",
            "image_sar": folder / "post-event" / f"{name}_post_disaster.tif",
            "mask": folder / "target" / f"{name}_building_damage.tif",
        }
        return Item(name, files)

    def _load(self, item: Item) -> Sample:
        sample: Sample = {}
        if self.modality != "sar":
            sample["image"] = self._channels(item.files["image"], self.all_bands, self.bands)
        if self.modality != "optical":
            key = "image" if self.modality == "sar" else "image_sar"
            sample[key] = self._channels(item.files["image_sar"], ("SAR",), ("SAR",))
        if "mask" in item.files:
            sample["mask"] = self._mask(item.files["mask"])
        if self.modality == "both" and self.stack:
            self._check_sizes(item, sample)
            sar = sample.pop("image_sar")
            sample["image"] = torch.stack([sample["image"], sar.expand_as(sample["image"])])
        return sample


class BRIGHT(DamagePairs):
    """BRIGHT, full form, by the benchmark's lists.

    The published data hold no optical images of three events (``RESTRICTED``). Their tiles are left out with a warning
    that says how to get the images, unless the images are there or only SAR is read; ``left_out`` counts them.

    Args:
        setup: ``standard_ML``, or ``dfc25``, the contest's lists on the full form.
        events: only these events; None takes all.
        test_event: cross-event transfer: ``test`` is every listed tile of that event, ``train`` and ``val`` are the
            lists without it.
        one_shot: with ``test_event``, the tiles that the ``few_shot`` lists name for it move from ``test`` to ``train``
            and ``val``.

    Other arguments and errors: :class:`DamagePairs`.
    """

    card: ClassVar[Card] = Card(
        name="bright",
        title="BRIGHT",
        home="https://huggingface.co/datasets/Kullervo/BRIGHT",
        licence="varies by event: Maxar Open Data is CC BY-NC 4.0, Capella's and Umbra's open data CC BY 4.0",
        citation="Chen et al., Earth System Science Data 17, 2025, doi:10.5194/essd-17-6217-2025",
        size="4,246 tiles of 1024 x 1024 pixels, 14 events",
        modality="optical before, SAR (Capella, Umbra) after",
        bands="RGB, 8 bits; SAR amplitude, 8 bits",
        gsd_m=(0.3, 1.0),
        splits={"train": None, "val": None, "test": None},
        layout="pre-event/<tile>_pre_disaster.tif, post-event/<tile>_post_disaster.tif,"
        " target/<tile>_building_damage.tif and splitname/{standard_ML,few_shot,dfc25}/*_set.txt, copied from"
        " bda_benchmark/dataset/ of ChenHongruixuan/BRIGHT",
        source="READMEs and tutorial of ChenHongruixuan/BRIGHT",
        task="building damage, 4 classes",
        classes=tuple(DAMAGE_CLASSES.names),
    )

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        modality: Modality = "both",
        stack: bool = True,
        setup: Setup = "standard_ML",
        events: Sequence[str] | None = None,
        test_event: str | None = None,
        one_shot: bool = False,
    ) -> None:
        self.setup = one_of("setup", setup, get_args(Setup), self)
        self.events = EVENTS if events is None else some_of("event", events, EVENTS, self)
        self.test_event = None if test_event is None else one_of("event", test_event, EVENTS, self)
        self.one_shot = one_shot
        if one_shot and test_event is None:
            raise InputError("one-shot transfer needs the event to transfer to", expected="test_event=...")
        #: tiles of each event that have no optical image
        self.left_out: Counter[str] = Counter()
        super().__init__(root, split, bands, transforms, download, checksum, modality, stack)

    def _index(self) -> list[Item]:
        for folder in ("post-event", "target"):
            self._need(self.root / folder)
        self.left_out.clear()
        items = [item for name in self._names() if (item := self._usable(self._tile(self.root, name)))]
        if self.left_out:
            warnings.warn(self._why_left_out(), stacklevel=6)  # the line that makes the dataset
        return items

    def _names(self) -> list[str]:
        if self.test_event is None:
            names = self._list(self.split)
        elif self.split == "test":
            shown = {name for part in ("train", "val") for name in self._shot(part)}
            names = [n for part in _LISTS[self.setup] for n in self._list(part) if event_of(n) == self.test_event]
            names = [name for name in names if name not in shown]
        else:
            names = [n for n in self._list(self.split) if event_of(n) != self.test_event] + self._shot(self.split)
        return [name for name in names if event_of(name) in self.events]

    def _list(self, part: str) -> list[str]:
        return self._lines(self.root / "splitname" / self.setup / f"{_LISTS[self.setup][part]}.txt")

    def _shot(self, part: str) -> list[str]:
        if not self.one_shot:
            return []
        lines = self._lines(self.root / "splitname" / "few_shot" / f"{part}_set.txt")
        return [name for name in lines if event_of(name) == self.test_event]

    def _usable(self, item: Item) -> Item | None:
        """The item, or None for a tile of a restricted event without its optical image."""
        for key, path in item.files.items():
            if path.is_file() or (key == "image" and self.modality == "sar"):
                continue
            if key == "image" and event_of(item.name) in RESTRICTED:
                self.left_out[event_of(item.name)] += 1
                return None
            raise self._not_found(f"{path} is not there")
        return item

    def _why_left_out(self) -> str:
        counts = ", ".join(f"{count} of {event}" for event, count in sorted(self.left_out.items()))
        return (
            f"The split {self.split} lacks the tiles whose optical images may not be passed on ({counts}). Take those"
            f" images from Google Earth as {TUTORIAL} says, into {self.root / 'pre-event'}; or read modality='sar',"
            " which needs none."
        )


def event_of(name: str) -> str:
    """The event of a tile: ``la_palma-volcano`` of ``la_palma-volcano_00000012``."""
    return name.rsplit("_", 1)[0]
