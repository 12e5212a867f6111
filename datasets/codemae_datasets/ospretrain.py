"""OSPretrain-1M as published: ``<dataset>/{RGB,SAR}/<name>.png`` with lists of names, and ``Unpaired/{RGB,SAR}/``.

Source: Peng et al., arXiv 2604.16952; fifteen optical-SAR datasets. The names in
``train.txt``, ``val.txt`` and ``test.txt`` may lack ``.png``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codemae_datasets.pairs import Statistics
from codemae_geo.errors import InputError, param

#: folder of images that have no counterpart
UNPAIRED = "Unpaired"
#: datasets whose test split is evaluated elsewhere and stays out of pretraining
EXCLUDE_TEST = ("WHU-OPT-SAR", "OGSOD-2", "DDHR", "DFC23_Track1")
#: datasets left out by default
EXCLUDE = ("PIE-RGB-SAR", "YESeg-OPT-SAR", "SS4EO-S12")
Use = Literal["both", "paired", "unpaired"]


def published_statistics() -> dict[str, Any]:
    """Mean and deviation by folder name, ``{"rgb": {"mean", "std"}, "sar": ...}``."""
    text = (files("codemae_datasets") / "ospretrain_stats.json").read_text(encoding="utf-8")
    return json.loads(text)["datasets"]


class OSPretrain:
    """Pairs and unpaired images of a folder in the published layout.

    Args:
        root: the folder.
        use: paired images, unpaired ones, or both.
        exclude: dataset folders to leave out.
        exclude_test: datasets whose ``test.txt`` is left out.
        skip_unreadable: how many files may be passed over. A file that does not decode is replaced by the next one; the
            reader of the samples counts them.

    Raises:
        InputError: no such folder, no images, or a dataset without published statistics.
    """

    def __init__(
        self,
        root: str | Path,
        use: Use = "both",
        exclude: Sequence[str] = EXCLUDE,
        exclude_test: Sequence[str] = EXCLUDE_TEST,
        skip_unreadable: int = 0,
    ) -> None:
        self.root = Path(root)
        self.skip_unreadable = skip_unreadable
        if not self.root.is_dir():
            raise InputError(
                f"the data folder {root} does not exist",
                expected="a folder with <dataset>/RGB, <dataset>/SAR and <dataset>/train.txt",
                hint="set data.root=FOLDER",
            )
        folders = sorted(p.name for p in self.root.iterdir() if p.is_dir() and p.name not in exclude)
        self.names = [name for name in folders if name == UNPAIRED or (self.root / name / "RGB").is_dir()]
        #: (dataset, file name) of each pair, and of each unpaired image
        self.pairs: list[tuple[int, str]] = []
        self.unpaired: dict[str, list[str]] = {"RGB": [], "SAR": []}
        for number, name in enumerate(self.names):
            if name == UNPAIRED:
                if use != "paired":
                    for key in self.unpaired:
                        self.unpaired[key] = image_names(self.root / name / key)
            elif use != "unpaired":
                splits = ("train", "val") if name in exclude_test else ("train", "val", "test")
                self.pairs += [
                    (number, file) for split in splits for file in listed_names(self.root / name / f"{split}.txt")
                ]
        if not self.pairs and not (self.unpaired["RGB"] and self.unpaired["SAR"]):
            raise InputError(
                f"there are no images to use in {root}",
                found=", ".join(folders) or "an empty folder",
                expected="<dataset>/RGB, <dataset>/SAR and <dataset>/train.txt, or Unpaired/RGB and Unpaired/SAR",
            )

    def statistics(self) -> Statistics:
        """The published statistics of the datasets found.

        Raises:
            InputError: a dataset is not among the published ones.
        """
        known = published_statistics()
        for name in self.names:
            if name not in known:
                raise InputError(
                    f"there are no published statistics for the dataset {name}",
                    expected=", ".join(known),
                    hint="rename the folder, leave it out with data.exclude, or set data.statistics=measured",
                )
        parts = {
            key: [(known[name][key]["mean"], known[name][key]["std"]) for name in self.names] for key in ("rgb", "sar")
        }
        return Statistics(parts["rgb"], parts["sar"])

    def paired_items(self, generator: torch.Generator) -> list[tuple[int, int]]:
        """(i, i) for each pair."""
        return [(i, i) for i in range(len(self.pairs))]

    def unpaired_items(self, generator: torch.Generator) -> list[tuple[int, int]]:
        """(i, j): optical image i with SAR image j, matched at random; the longer list is drawn from."""
        first = len(self.pairs)
        count = min(len(self.unpaired["RGB"]), len(self.unpaired["SAR"]))
        rgb = torch.randperm(len(self.unpaired["RGB"]), generator=generator)[:count].tolist()
        sar = torch.randperm(len(self.unpaired["SAR"]), generator=generator)[:count].tolist()
        return [(first + i, first + j) for i, j in zip(rgb, sar, strict=True)]

    def paths(self, item: tuple[int, int]) -> tuple[Path, Path, int]:
        """Optical file, SAR file, number of the dataset."""
        i, j = item
        if i < len(self.pairs):
            number, name = self.pairs[i]
            folder = self.root / self.names[number]
            return folder / "RGB" / name, folder / "SAR" / name, number
        folder, first = self.root / UNPAIRED, len(self.pairs)
        rgb, sar = self.unpaired["RGB"][i - first], self.unpaired["SAR"][j - first]
        return folder / "RGB" / rgb, folder / "SAR" / sar, self.names.index(UNPAIRED)

    def __getitem__(self, item: tuple[int, int]) -> dict[str, Any]:
        """The sample of an item, see :mod:`codemae_datasets.pairs`."""
        passed: list[str] = []
        while True:
            paired = item[0] < len(self.pairs)
            try:
                return self._sample(item, paired) | {"unreadable": tuple(passed)}
            except InputError as error:
                if len(passed) >= self.skip_unreadable:
                    return {"error": error.raw}
                passed.append(error.message)
                item = self._next(item)

    def _next(self, item: tuple[int, int]) -> tuple[int, int]:
        first = len(self.pairs)
        if item[0] < first:
            i = (item[0] + 1) % first
            return i, i
        rgb, sar = len(self.unpaired["RGB"]), len(self.unpaired["SAR"])
        return first + (item[0] - first + 1) % rgb, first + (item[1] - first + 1) % sar

    def _read(self, item: tuple[int, int]) -> tuple[Tensor, Tensor, int, str]:
        """Optical image, SAR image, number of the dataset, name."""
        rgb_path, sar_path, number = self.paths(item)
        return read_image(rgb_path), read_image(sar_path), number, rgb_path.name

    def _sample(self, item: tuple[int, int], paired: bool) -> dict[str, Any]:
        rgb, sar, number, name = self._read(item)
        if paired and rgb.shape != sar.shape:
            raise InputError(
                f"the images of the pair {name} of {self.names[number]} differ in size",
                found=f"optical {rgb.shape[2]} x {rgb.shape[1]}, SAR {sar.shape[2]} x {sar.shape[1]} pixels",
                expected="the same size",
                hint=f"resample one of them; {param('skip_unreadable', 'N')} tolerates up to N such pairs",
            )
        return {"rgb": rgb, "sar": sar, "dataset": number, "paired": paired}


def read_image(path: Path) -> Tensor:
    """An image file as uint8 [3, H, W]; one band is repeated.

    Raises:
        InputError: the file is missing or does not decode; names it.
    """
    return decode_image(path, str(path))


def decode_image(file: Path | BinaryIO, name: str) -> Tensor:
    """An image, from a path or an open file, as uint8 [3, H, W]; see :func:`read_image`."""
    try:
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"the image {name} does not decode",
            found="no such file" if isinstance(error, FileNotFoundError) else str(error),
            hint=f"fetch it again; {param('skip_unreadable', 'N')} tolerates up to N such files",
        ) from error
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def image_names(folder: Path) -> list[str]:
    """The PNG files of a folder, sorted; none where there is no folder."""
    return sorted(p.name for p in folder.iterdir() if p.suffix.lower() == ".png") if folder.is_dir() else []


def listed_names(path: Path) -> list[str]:
    """The file names of a list, each with ``.png``; none where there is no list."""
    if not path.is_file():
        return []
    lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
    return [line if line.endswith(".png") else f"{line}.png" for line in lines if line]
