"""FAIR-CSAR V1.0: fine-grained objects in single-look complex images of Gaofen-3, in oriented boxes.

Wu et al., "FAIR-CSAR: A Benchmark Dataset for Fine-Grained Object Detection and Recognition Based on Single-Look
Complex SAR Images", IEEE TGRS, 2025. One of the unpaired SAR sources of OSPretrain-1M.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from codemae_datasets.public._base import Card, Item, Sample, Transform, one_of
from codemae_datasets.public._detection import OrientedDataset
from codemae_datasets.public._mat import read_mat
from codemae_datasets.public.boxes import read_dota
from codemae_geo.errors import InputError

Mode = Literal["SL", "FSI"]
Form = Literal["amplitude", "complex"]
#: copies name the folders of a mode and of a split in different ways
_MODES = {"SL": ("SL", "VOC-SL", "DOTA_SL"), "FSI": ("FSI", "VOC-FSI", "DOTA_FSI")}
_SPLITS = {"trainval": ("trainval", "train"), "test": ("test",)}


class FAIRCSAR(OrientedDataset):
    """FAIR-CSAR V1.0. The class names are those of the annotations, sorted; see ``classes``.

    Args:
        mode: ``SL``, spotlight at about 1 m, 22 classes; or ``FSI``, fine stripmap at about 5 m, 3 classes.
        form: ``amplitude`` reads the 8-bit pictures, ``complex`` the single-look complex patches as two channels, real
            and imaginary part.
        class_names: classes by number; None finds them in the annotations of all splits, which takes some seconds.

    Other arguments and errors: :class:`~codemae_datasets.public._detection.OrientedDataset`.
    """

    card: ClassVar[Card] = Card(
        name="fair_csar",
        title="FAIR-CSAR V1.0",
        home="https://radars.ac.cn/web/data/getData?dataType=FAIR_CSAR_en&pageType=en",
        licence="as on the publishers' page; for research",
        citation="Wu et al., IEEE TGRS, 2025, IEEE Xplore document 10806766",
        size="175 scenes, more than 340,000 objects, 250 GB (33,214 patches in OSPretrain-1M)",
        modality="SAR (Gaofen-3, C band)",
        bands="amplitude, 8 bits; or single-look complex",
        gsd_m=(1.0, 5.0),
        splits={"trainval": None, "test": None},
        layout="{SL,FSI}/{trainval,test}/{PNGImages,SLCMats,Annotations}",
        source="folders as read by training code of its users, among them an author's; class names are not listed in"
        " public text, so they are taken from the annotations",
        task="oriented boxes of 22 (SL) or 3 (FSI) classes",
    )
    all_bands = ("SAR",)
    rgb_bands = ("SAR",)

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        oriented: bool = False,
        mode: Mode = "SL",
        form: Form = "amplitude",
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.mode = one_of("mode", mode, get_args(Mode), self)
        self.form = one_of("form", form, get_args(Form), self)
        self._classes = tuple(class_names or ())
        super().__init__(root, split, bands, transforms, download, checksum, oriented)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by number."""
        return self._classes

    def _index(self) -> list[Item]:
        mode = _first(self.root, _MODES[self.mode])
        folder = _first(mode, _SPLITS[self.split])
        kind, suffix = ("PNGImages", ".png") if self.form == "amplitude" else ("SLCMats", ".mat")
        notes = self._need(folder / "Annotations")
        items = [
            Item(path.stem, {"image": path, "boxes": notes / f"{path.stem}.txt"})
            for path in self._folder(folder / kind, (suffix,))
        ]
        if not self._classes:
            names: set[str] = set()
            for path in sorted(mode.glob("*/Annotations/*.txt")):
                names.update(read_dota(path)[1])
            self._classes = tuple(sorted(names))
        return items

    def _channels(self, path: Path, stored: Sequence[str], wanted: Sequence[str]) -> Tensor:
        return super()._channels(path, stored, wanted) if self.form == "amplitude" else _complex(path)

    def _objects(self, item: Item) -> tuple[Sequence[object], Sequence[str]]:
        return read_dota(item.files["boxes"])

    def plot(self, sample: Sample, show_titles: bool = True, suptitle: str | None = None) -> Any:
        """A picture; of a complex patch, its amplitude in decibels."""
        image = sample["image"]
        if len(image) == 2:
            sample = sample | {"image": 20 * torch.log10(image.square().sum(0, keepdim=True).sqrt().clamp(min=1e-6))}
        return super().plot(sample, show_titles, suptitle)


def _first(folder: Path, names: Sequence[str]) -> Path:
    """The first of the names that is there, or else the first."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder / names[0])


def _complex(path: Path) -> Tensor:
    """Real and imaginary part, float32 [2, H, W], of the largest matrix of a MATLAB file."""
    matrices = [v for v in read_mat(path).values() if isinstance(v, np.ndarray) and v.ndim == 2 and v.size > 1]
    if not matrices:
        raise InputError(f"{path} holds no matrix", hint="fetch it again")
    patch = max(matrices, key=np.size)
    return torch.from_numpy(np.stack([patch.real, patch.imag]).astype(np.float32))
