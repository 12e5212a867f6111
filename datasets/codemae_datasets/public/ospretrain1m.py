"""OSPretrain-1M: optical and SAR patches of fifteen public datasets, about half of them in pairs.

Peng et al., "Better with Less: Tackling Heterogeneous Multi-Modal Image Joint Pretraining via Conditioned and Degraded
Masked Autoencoder", arXiv 2604.16952.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from codemae_datasets.ospretrain import EXCLUDE, EXCLUDE_TEST, UNPAIRED, OSPretrain, listed_names, published_statistics
from codemae_datasets.public._base import Card, Item, Modality, PairedDataset, Report, Sample, Transform, some_of

#: file of a dataset's folder in which `codemae data build` notes the sha256 of every image
SUMS = "SHA256SUMS"
#: folders by number, as ``sample["dataset"]`` gives it
FOLDERS = tuple(published_statistics())


class OSPretrain1M(PairedDataset):
    """OSPretrain-1M as a dataset; pretraining itself reads it through :mod:`codemae_datasets.ospretrain`.

    Splits: ``train`` is every pair that pretraining may see, ``test`` the four held-out tests where they are there,
    ``unpaired`` an optical image with a SAR image of another place, drawn anew by :meth:`set_epoch`.

    A sample has ``image``, ``image_sar`` (of another size in ``unpaired``), ``dataset`` int64 [], the number of its
    folder in :data:`FOLDERS`, and ``paired`` bool []. ``transforms=normalise`` takes off the published mean of its
    folder and divides by the deviation.

    Args:
        datasets: folders to read; None reads all but PIE-RGB-SAR, YESeg-OPT-SAR and SS4EO-S12, as published.
        seed: of the matching in ``unpaired``.

    Other arguments and errors: :class:`~codemae_datasets.public._base.PairedDataset`.
    """

    card: ClassVar[Card] = Card(
        name="ospretrain1m",
        title="OSPretrain-1M",
        home="https://github.com/scenarri/CoDeMAE",
        licence="academic research only; the fifteen sources keep their own",
        citation="Peng et al., arXiv 2604.16952, 2026",
        size="1,056,242 patches: 269,083 pairs, and 259,038 optical and 259,038 SAR images without a counterpart",
        modality="optical + SAR of many sensors",
        bands="RGB and one SAR band, 8 bits",
        gsd_m=(0.15, 10.0),
        splits={"train": 269_083, "test": None, "unpaired": 259_038},
        layout="<dataset>/{RGB,SAR}/<name>.png, <dataset>/{train,val,test}.txt of names, Unpaired/{RGB,SAR}/<name>.png",
        source="scenarri/CoDeMAE (pretrain/opt_sar_dataset.py)",
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
        datasets: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        chosen = some_of("dataset", datasets, FOLDERS, self) if datasets is not None else None
        self.datasets = chosen or tuple(name for name in FOLDERS if name not in EXCLUDE)
        self.seed = seed
        self.epoch = 0
        super().__init__(root, split, bands, transforms, download, checksum, modality)

    def set_epoch(self, epoch: int) -> None:
        """Match the unpaired images anew; the matching is a function of seed and epoch."""
        self.epoch = epoch
        self.items = self._listed()

    def _index(self) -> list[Item]:
        self._need(self.root)
        if self.split == "test":
            held_out = [name for name in self.datasets if name in EXCLUDE_TEST]
            return [self._pair(name, file) for name in held_out for file in listed_names(self.root / name / "test.txt")]
        there = [name for name in self.datasets if (self.root / name / "RGB").is_dir()]
        if not there:
            raise self._not_found(f"none of {', '.join(self.datasets)} is in {self.root}")
        out = [p.name for p in self.root.iterdir() if p.name not in there]
        if self.split == "train":
            source = OSPretrain(self.root, "paired", out)
            return [self._pair(source.names[number], file) for number, file in source.pairs]
        self._need(self.root / UNPAIRED)
        source = OSPretrain(self.root, "unpaired", out)
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        return [self._unpaired(*source.paths(item)[:2]) for item in sorted(source.unpaired_items(generator))]

    def _pair(self, dataset: str, file: str) -> Item:
        folder = self.root / dataset
        files = {"image": folder / "RGB" / file, "image_sar": folder / "SAR" / file}
        return Item(f"{dataset}/{Path(file).stem}", self._wanted(files), (FOLDERS.index(dataset), True))

    def _unpaired(self, optical: Path, sar: Path) -> Item:
        files = {"image": optical, "image_sar": sar}
        return Item(f"{UNPAIRED}/{optical.stem}", self._wanted(files), (FOLDERS.index(UNPAIRED), False))

    def _wanted(self, files: dict[str, Path]) -> dict[str, Path]:
        unused = {"optical": "image_sar", "sar": "image"}.get(self.modality)
        return {key: path for key, path in files.items() if key != unused}

    def _load(self, item: Item) -> Sample:
        sample = super()._load(Item(item.name, item.files))
        number, paired = item.label
        return sample | {"dataset": torch.tensor(number), "paired": torch.tensor(paired)}

    def _check_sizes(self, item: Item, sample: Sample) -> None:
        if sample["paired"]:
            super()._check_sizes(item, sample)

    @classmethod
    def verify(
        cls,
        root: str | Path,
        limit: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Report:
        """As of every dataset; without a limit also the sha256 of every image that ``codemae data build`` noted."""
        report = super().verify(root, limit, progress, **options)
        if limit is None:
            for folder in sorted(Path(root).iterdir()):
                if (folder / SUMS).is_file():
                    wrong = changed_files(folder)
                    report.checksums[f"{folder.name}/{SUMS}"] = "differs" if wrong else "ok"
                    split = "unpaired" if folder.name == UNPAIRED else "train"
                    if split in report.splits:
                        report.splits[split].problems += [f"{path} is missing or changed" for path in wrong]
        return report


def changed_files(folder: Path) -> list[Path]:
    """The files that ``SHA256SUMS`` of a folder names and that are not as it says."""
    wrong = []
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = folder / name
        try:
            with path.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == digest
        except OSError:
            same = False
        if not same:
            wrong.append(path)
    return wrong


def normalise(sample: Sample) -> Sample:
    """Images of 8 bits to what the encoder is trained on: in [0, 1], less the mean of their folder, by its deviation.

    Pass it to :class:`OSPretrain1M` as ``transforms``.
    """
    known = published_statistics()[FOLDERS[int(sample["dataset"])]]
    result = dict(sample)
    for key, modality in (("image", "rgb"), ("image_sar", "sar")):
        if key in sample:
            mean, std = (_channels(known[modality][name], sample[key]) for name in ("mean", "std"))
            result[key] = (sample[key] / 255 - mean) / std
    return result


def _channels(values: Sequence[float], image: Tensor) -> Tensor:
    """[C, 1, 1] for an image of C channels."""
    return torch.tensor(values[: len(image)], dtype=image.dtype)[:, None, None]
