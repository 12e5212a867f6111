"""Datasets of one label per image: a folder per class, splits by list, by ratio or by number of shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from codemae_datasets.public._base import IMAGES, Item, PublicDataset, Transform
from codemae_datasets.public.splits import few_shot, split_by_ratio
from codemae_geo.errors import InputError


class SceneDataset(PublicDataset):
    """A public dataset of images in one folder per class. ``label`` is the class number, int64 [].

    Args:
        ratio: share of every class in ``train``, the rest is the other split, see
            :func:`~codemae_datasets.public.splits.split_by_ratio`; None takes the published lists, or the paper's ratio
            where there are none.
        shots: only that many images of every class of ``train``, see
            :func:`~codemae_datasets.public.splits.few_shot`; None takes all.
        seed: of the ratio and of the shots.

    Other arguments and errors: :class:`PublicDataset`.
    """

    #: ratio where no lists are published
    default_ratio: ClassVar[float | None] = None
    #: the split of what a ratio leaves
    rest: ClassVar[str] = "test"
    #: other spellings of class folders
    aliases: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        ratio: float | None = None,
        shots: int | None = None,
        seed: int = 0,
    ) -> None:
        self.ratio = self.default_ratio if ratio is None else ratio
        self.shots = shots
        self.seed = seed
        super().__init__(root, split, bands, transforms, download, checksum)

    def _chosen_items(self, items: list[Item]) -> list[Item]:
        """The items of the split, of all items of the dataset, by the ratio."""
        assert self.ratio is not None
        if self.split not in ("train", self.rest):
            raise InputError(f"{self.card.title} has no split {self.split!r} by ratio", expected=f"train, {self.rest}")
        train, rest = split_by_ratio([item.label for item in items], self.ratio, self.seed)
        return self._few([items[i] for i in train]) if self.split == "train" else [items[i] for i in rest]

    def _few(self, items: list[Item]) -> list[Item]:
        """The items, or the shots of them, if any are asked for."""
        if self.shots is None or self.split != "train":
            return items
        return [items[i] for i in few_shot([item.label for item in items], self.shots, self.seed)]

    def _class_folders(self, folder: Path, suffixes: Sequence[str] = IMAGES) -> list[Item]:
        """The images of ``folder/<class>``, by class number and file name.

        Raises:
            NotFoundError: no such folder.
            InputError: a folder that is no class; names it.
        """
        numbers = {_plain(name): number for number, name in enumerate(self.classes)}
        numbers |= {_plain(other): numbers[_plain(name)] for other, name in self.aliases.items()}
        found: list[tuple[int, Path]] = []
        for child in self._need(folder).iterdir():
            if not child.is_dir() or child.name.startswith((".", "__MACOSX")):
                continue
            if _plain(child.name) not in numbers:
                raise InputError(
                    f"the folder {child} is not a class of {self.card.title}",
                    found=child.name,
                    expected=", ".join(self.classes),
                    hint="move it elsewhere, or check that root is the folder of this dataset",
                )
            found.append((numbers[_plain(child.name)], child))
        return [
            Item(f"{child.name}/{path.stem}", {"image": path}, label)
            for label, child in sorted(found)
            for path in self._folder(child, suffixes)
        ]


class ListedSceneDataset(SceneDataset):
    """A :class:`SceneDataset` with a published list of file names per split, which a ``ratio`` passes over."""

    #: folder of the class folders, below the root
    folder: ClassVar[str]
    #: name of the list of a split
    list_name: ClassVar[str]

    def _index(self) -> list[Item]:
        items = self._class_folders(self.root / self.folder)
        if self.ratio is not None:
            return self._chosen_items(items)
        path = self.root / self.list_name.format(split=self.split)
        by_stem = {item.files["image"].stem: item for item in items}
        listed = [Path(line).stem for line in self._lines(path)]
        missing = [name for name in listed if name not in by_stem]
        if missing:
            raise self._not_found(f"{len(missing)} images that {path.name} lists are not there, first {missing[0]}")
        return self._few([by_stem[name] for name in listed])


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())
