"""What every public dataset shares: its card, its files, its samples, its picture and its check.

A dataset of one file each says two things: what it is (:class:`Card`) and where its files lie (``_index``). The rest
is here. Samples hold tensors only, as in torchgeo: ``image`` float32 [C, H, W] as stored, ``mask`` int64 [H, W] of
class numbers with 255 for pixels without a class, ``label`` int64 [] or float32 [K], ``bbox_xyxy`` float32 [N, 4] in
pixels with ``label`` int64 [N]. Paired optical-SAR datasets add ``image_sar``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import default_collate

from codemae_datasets._compat import DatasetNotFoundError
from codemae_datasets.public._archives import check, extract, fetch, is_archive
from codemae_datasets.public._card import Archive, Card, Item, Report, SplitReport
from codemae_datasets.public._picture import class_color, colored, stretched
from codemae_datasets.public._pixels import IMAGES, read_codes, read_image, to_classes
from codemae_geo.errors import CodemaeError, InputError

# torchgeo comes after _compat, which says what to install where it is missing
from torchgeo.datasets import NonGeoDataset  # isort: skip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "IMAGES",
    "Archive",
    "Card",
    "Item",
    "Modality",
    "NotFoundError",
    "PairedDataset",
    "PublicDataset",
    "Report",
    "Sample",
    "SplitReport",
    "Transform",
    "collate",
    "read_codes",
    "read_image",
]

Sample = dict[str, Tensor]
Transform = Callable[[Sample], Sample]
Modality = Literal["both", "optical", "sar"]
#: (mean, std) per channel, for values in [0, 1]
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]

#: keys of a sample that lie on its pixel grid
GRIDS = ("image", "image_sar", "depth", "hha", "dem", "height", "mask", "valid", "masks")
#: keys of class numbers per pixel
CLASS_MAPS = ("mask", "prediction")


class NotFoundError(InputError, DatasetNotFoundError):
    """A dataset, or a part of it, is not where it should be; also torchgeo's DatasetNotFoundError."""


class PublicDataset(NonGeoDataset):
    """A public dataset in a folder.

    Args:
        root: the folder.
        split: one of the card's splits; None is the first.
        bands: channels to load, in that order; None loads all.
        transforms: applied to each sample.
        download: fetch the archives that have a public address and are missing.
        checksum: compare the archives that are there with the published checksums.

    Raises:
        NotFoundError: the files are not there.
        InputError: no such split or band; an archive is damaged.
    """

    card: ClassVar[Card]
    #: channels in the order of the file
    all_bands: ClassVar[tuple[str, ...]] = ("R", "G", "B")
    #: the channels that make a picture
    rgb_bands: ClassVar[tuple[str, ...]] = ("R", "G", "B")
    #: value in a mask file to class number; empty: the values are the class numbers
    mask_codes: ClassVar[Mapping[int, int]] = {}
    #: red, green, blue in a mask file to class number; empty: masks are no pictures
    mask_colors: ClassVar[Mapping[tuple[int, int, int], int]] = {}
    #: #rrggbb of each class in pictures; empty: any
    colors: tuple[str, ...] = ()
    #: titles of the images of a sample with several dates
    times: ClassVar[tuple[str, ...]] = ("before", "after")

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
    ) -> None:
        self.root = Path(root)
        self.split = one_of("split", next(iter(self.card.splits)) if split is None else split, self.card.splits, self)
        self.bands = self._chosen(bands)
        self.transforms = transforms
        self.download = download
        self.checksum = checksum
        if checksum:
            for name, state in self._checksums().items():
                if state == "differs":
                    raise InputError(
                        f"the archive {self.root / name} is not the published one",
                        found="another checksum",
                        hint="delete it and fetch it again",
                    )
        #: the samples of the split
        self.items = self._listed()

    # what a dataset defines

    def _index(self) -> list[Item]:
        """The items of the split, in a fixed order; reads lists and folders, never images.

        Raises:
            NotFoundError: a list or folder is missing.
        """
        raise NotImplementedError

    def _load(self, item: Item) -> Sample:
        """The sample of an item; here: image, mask and label by the keys of ``item.files``."""
        sample: Sample = {}
        if "image" in item.files:
            sample["image"] = self._channels(item.files["image"], self.all_bands, self.bands)
        if "mask" in item.files:
            sample["mask"] = self._mask(item.files["mask"])
        if item.label is not None:
            sample["label"] = torch.as_tensor(item.label)
        return sample

    # the torchgeo surface

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        """One sample.

        Raises:
            InputError: a file does not decode, a mask holds an unknown value, or sizes differ; names the file.
        """
        item = self.items[index]
        sample = self._load(item)
        self._check_sizes(item, sample)
        return self.transforms(sample) if self.transforms else sample

    def files(self, item: Item) -> list[Path]:
        """Every file that a sample is read from."""
        return list(item.files.values())

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by number."""
        return self.card.classes

    def plot(self, sample: Sample, show_titles: bool = True, suptitle: str | None = None) -> Figure:
        """A picture of a sample: images (stretched from their 2nd to their 98th percentile), masks and boxes."""
        from matplotlib import pyplot

        panels = list(self._panels(sample))
        figure, axes = pyplot.subplots(1, len(panels), figsize=(4 * len(panels), 4.4), squeeze=False)
        for axis, (title, pixels, options) in zip(axes[0], panels, strict=True):
            axis.imshow(pixels, **options)
            axis.axis("off")
            if show_titles:
                axis.set_title(title)
            if "bbox_xyxy" in sample and title not in CLASS_MAPS:
                self._draw_boxes(axis, sample, show_titles)
        if show_titles and any(key in sample for key in CLASS_MAPS):
            self._draw_legend(figure, sample)
        words = [suptitle] if suptitle else []
        if show_titles and "label" in sample and "bbox_xyxy" not in sample:
            words.append(self._label_text(sample["label"]))
        if words:
            figure.suptitle("\n".join(words))
        return figure

    @classmethod
    def verify(
        cls,
        root: str | Path,
        limit: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Report:
        """Read a whole dataset and say what is there: counts, sizes, checksums, label ranges, files that fail.

        Args:
            root: the folder.
            limit: read only that many samples per split, spread evenly; all are counted.
            progress: called with (samples read, samples to read) of the split.
            options: passed to the class.

        Raises:
            NotFoundError: no split of it is there.
        """
        report = Report(cls.card.name, Path(root))
        first: NotFoundError | None = None
        for split in cls.card.splits:
            try:
                dataset = cls(root, split=split, **options)
            except NotFoundError as error:
                report.missing[split] = error.found or error.message
                first = first or error
                continue
            report.checksums = report.checksums or dataset._checksums()
            report.splits[split] = dataset._report(limit, progress)
        if first and not report.splits:
            raise first
        return report

    # files

    def _need(self, path: Path) -> Path:
        """The path, if something is there.

        Raises:
            NotFoundError: with what to fetch and where it goes.
        """
        if path.exists():
            return path
        raise self._not_found(f"{path} is not there")

    def _not_found(self, found: str) -> NotFoundError:
        card = self.card
        fetch = f"fetch it from {card.home}"
        if card.archives:
            fetch += " (" + ", ".join(f"{a.name} into {self.root / a.into}" for a in card.archives) + ")"
            if all(a.url for a in card.archives) and not self.download:
                fetch = f"pass download=True, or {fetch}"
        marks = [_unpacked(self.root / archive.into / archive.name) for archive in card.archives]
        stale = [str(mark) for mark in marks if mark.exists()]
        if stale:
            fetch += f"; to unpack an archive again, delete {', '.join(stale)}"
        return NotFoundError(
            f"{card.title} is not complete in {self.root}", found=found, expected=card.layout, hint=fetch
        )

    def _first(self, *paths: Path) -> Path:
        """The first of several places that exists.

        Raises:
            NotFoundError: none does; names the first.
        """
        return next((path for path in paths if path.exists()), None) or self._need(paths[0])

    def _folder(self, folder: Path, suffixes: Sequence[str] = IMAGES) -> list[Path]:
        """The files of a folder with one of the suffixes, sorted by name.

        Raises:
            NotFoundError: no such folder.
        """
        self._need(folder)
        return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))

    def _lines(self, path: Path) -> list[str]:
        """The lines of a list that are not empty.

        Raises:
            NotFoundError: no such list.
            InputError: it is no text.
        """
        try:
            text = self._need(path).read_text(encoding="utf-8-sig")  # with a byte order mark where an editor wrote one
        except UnicodeDecodeError as error:
            raise InputError(
                f"the list {path} is not UTF-8 text", found=str(error), hint="fetch it again, or convert it"
            ) from error
        return [line.strip() for line in text.splitlines() if line.strip()]

    def _listed(self) -> list[Item]:
        """The index; where files are missing, after unpacking or fetching the archives."""
        self._finish_unpacking()
        try:
            items = self._index()
        except NotFoundError:
            if not self._unpack():
                raise
            items = self._index()
        if not items:
            raise self._not_found(f"no sample of the split {self.split}")
        return items

    def _unpack(self) -> bool:
        """Unpack the archives, after fetching them where ``download`` allows it; whether anything was done.

        A mark beside each archive keeps it from being unpacked a second time for something else that is missing.
        """
        done = False
        for archive in self.card.archives:
            folder = self.root / archive.into
            path = folder / archive.name
            mark = _unpacked(folder / archive.name)
            if not path.is_file() and self.download and archive.url and not mark.exists():
                fetch(archive, folder)
                done = True
            if path.is_file() and is_archive(path) and not mark.exists():
                begun = _begun(path)
                begun.touch()
                extract(path, folder)
                begun.replace(mark)
                done = True
        return done

    def _finish_unpacking(self) -> None:
        """Unpack an archive again whose unpacking was stopped: what lies there looks like a smaller dataset."""
        for archive in self.card.archives:
            path = self.root / archive.into / archive.name
            if not _begun(path).exists():
                continue
            if not path.is_file():
                raise self._not_found(
                    f"{path} was unpacked in part only and is gone (delete {_begun(path)} if the files are whole)"
                )
            self._unpack()

    def _checksums(self) -> dict[str, str]:
        """State of the archives that are there, by their path below the root: names recur in different folders."""
        found = {}
        for archive in self.card.archives:
            place = Path(archive.into) / archive.name
            if (self.root / place).is_file():
                found[place.as_posix()] = check(self.root / place, archive.checksum)
        return found

    # pixels

    def _chosen(self, bands: Sequence[str] | None) -> tuple[str, ...]:
        return some_of("band", bands, self.all_bands, self) if bands is not None else self.all_bands

    def _channels(self, path: Path, stored: Sequence[str], wanted: Sequence[str]) -> Tensor:
        """Channels of an image file, float32 [C, H, W]. A grey file serves three channels, and the reverse.

        Raises:
            InputError: the file does not decode or has too few channels.
        """
        image = read_image(path)
        if len(image) == 1 and len(stored) == 3:
            image = image.expand(3, -1, -1)
        if len(image) < len(stored):
            raise InputError(
                f"the image {path} has too few channels",
                found=str(len(image)),
                expected=f"{len(stored)}: {', '.join(stored)}",
                hint="fetch it again",
            )
        if tuple(wanted) == tuple(stored):
            return image[: len(stored)].contiguous()
        return image[[list(stored).index(band) for band in wanted]]

    def _mask(self, path: Path) -> Tensor:
        """Class numbers of a mask file, int64 [H, W]; 255 where there is none.

        Raises:
            InputError: the file does not decode, or holds a value that is not a class; names both.
        """
        if self.mask_colors:
            red, green, blue = read_image(path).to(torch.int64)[:3].numpy()
            values = red << 16 | green << 8 | blue
            codes = {r << 16 | g << 8 | b: number for (r, g, b), number in self.mask_colors.items()}
        else:
            values = read_codes(path)
            codes = dict(self.mask_codes) or {n: n for n in range(len(self.classes))}
        return torch.from_numpy(to_classes(values, codes, path, colors=bool(self.mask_colors)))

    def _check_sizes(self, item: Item, sample: Sample) -> None:
        sizes = {key: tuple(sample[key].shape[-2:]) for key in GRIDS if key in sample}
        if len(set(sizes.values())) > 1:
            raise InputError(
                f"the files of {item.name} differ in size: "
                + ", ".join(str(p) for p in self.files(item) if p.suffix.lower() in IMAGES),
                found=", ".join(f"{key} {w} x {h}" for key, (h, w) in sizes.items()),
                expected="the same width and height",
                hint="fetch them again",
            )

    # the report

    def _report(self, limit: int | None, progress: Callable[[int, int], None] | None) -> SplitReport:
        report = SplitReport(samples=len(self), published=self.card.splits[self.split])
        count = len(self) if limit is None else min(limit, len(self))
        chosen = {i * len(self) // count for i in range(count)}
        read = 0
        counted: set[Path] = set()
        for index, item in enumerate(self.items):
            there = {path for path in self.files(item) if path not in counted and path.is_file()}
            report.bytes += sum(path.stat().st_size for path in there)
            counted |= there
            if index not in chosen:
                continue
            try:
                sample = self[index]
            except CodemaeError as error:
                report.problems.append(f"{error.message} ({error.found})" if error.found else error.message)
            else:
                self._tally(sample, report)
            read += 1
            if progress:
                progress(read, count)
        return report

    def _tally(self, sample: Sample, report: SplitReport) -> None:
        for key in ("image", "image_sar"):
            if key in sample:
                image = sample[key]
                finite = image[torch.isfinite(image)]
                if len(finite):
                    low, high = report.ranges.get(key, (float("inf"), float("-inf")))
                    report.ranges[key] = (min(low, float(finite.min())), max(high, float(finite.max())))
        if "image" in sample:
            height, width = sample["image"].shape[-2:]
            report.sizes[f"{width} x {height}"] += 1
        for number in _label_numbers(sample):
            report.labels.update(number)

    # the picture

    def _panels(self, sample: Sample) -> Iterator[tuple[str, npt.NDArray[Any], dict[str, Any]]]:
        """(title, pixels, options of imshow) of each panel."""
        valid = sample.get("valid")
        image = sample.get("image")
        if image is not None:
            title = self._image_title()
            if image.ndim == 4:
                for time, part in zip(self.times, image, strict=False):
                    yield time, *self._picture(part, valid)
            else:
                yield title, *self._picture(image, valid)
        for key, title in (
            ("image_sar", "SAR"),
            ("hha", "HHA"),
            ("depth", "depth"),
            ("dem", "DEM"),
            ("height", "height"),
        ):
            if key in sample:
                yield title, *stretched(sample[key] if len(sample[key]) == 3 else sample[key][:1], valid)
        for key in CLASS_MAPS:
            if key in sample:
                yield key, colored(sample[key], self.colors), {}

    def _image_title(self) -> str:
        return "image"

    def _picture(self, image: Tensor, valid: Tensor | None) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        names = list(self.bands)
        if len(names) == len(image) and set(self.rgb_bands) <= set(names):
            return stretched(image[[names.index(band) for band in self.rgb_bands]], valid)
        return stretched(image if len(image) == 3 else image[:1], valid)

    def _draw_boxes(self, axis: Any, sample: Sample, names: bool) -> None:
        from matplotlib.patches import Rectangle

        for (left, top, right, bottom), label in zip(
            sample["bbox_xyxy"].tolist(), sample["label"].tolist(), strict=True
        ):
            color = class_color(label, self.colors)
            # imshow puts the middle of the first pixel at 0, boxes its outer corner
            corner = (left - 0.5, top - 0.5)
            size = (right - left, bottom - top)
            axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor=color, linewidth=2))
            if names and label < len(self.classes) > 1:
                axis.text(*corner, self.classes[label], color=color, fontsize="x-small", va="bottom")

    def _draw_legend(self, figure: Figure, sample: Sample) -> None:
        from matplotlib.patches import Patch

        there = {int(n) for key in CLASS_MAPS if key in sample for n in sample[key].unique()}
        handles = [
            Patch(color=class_color(n, self.colors), label=name) for n, name in enumerate(self.classes) if n in there
        ]
        if handles:
            # the figure grows by the legend's rows, so that it covers nothing
            width, height = figure.get_size_inches()
            extra = 0.22 * (len(handles) // 4)
            figure.set_size_inches(width, height + extra)
            figure.subplots_adjust(bottom=(0.11 * height + extra) / (height + extra))
            figure.legend(handles=handles, loc="lower center", ncols=min(len(handles), 4), fontsize="small")

    def _label_text(self, label: Tensor) -> str:
        numbers = label.nonzero().flatten().tolist() if label.ndim else [int(label)]
        return ", ".join(self.classes[n] if n < len(self.classes) else str(n) for n in numbers)


class PairedDataset(PublicDataset):
    """A public dataset of optical images with a SAR image of the same grid.

    Args:
        modality: ``both`` gives ``image`` (optical) and ``image_sar``; ``optical`` or ``sar`` gives that one, as
            ``image``.
        bands: channels to load, of either sensor; a sensor of which none is named gives all.

    Other arguments and errors: :class:`PublicDataset`.
    """

    #: channels of the SAR image in the order of the file
    sar_bands: ClassVar[tuple[str, ...]] = ("SAR",)
    #: folder of this dataset in OSPretrain-1M, which names its published statistics
    ospretrain: ClassVar[str | None] = None
    #: name of this dataset in the published linear probes
    probe: ClassVar[str | None] = None

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        modality: Modality = "both",
    ) -> None:
        one_of("modality", modality, get_args(Modality), self)
        self.modality: Modality = modality
        super().__init__(root, split, bands, transforms, download, checksum)

    @property
    def bands_sar(self) -> tuple[str, ...]:
        """The SAR channels that are loaded."""
        return self._bands_sar

    def _chosen(self, bands: Sequence[str] | None) -> tuple[str, ...]:
        wanted = some_of("band", bands or (), (*self.all_bands, *self.sar_bands), self)
        self._bands_sar = tuple(b for b in wanted if b in self.sar_bands) or self.sar_bands
        optical = tuple(b for b in wanted if b in self.all_bands) or self.all_bands
        return self._bands_sar if self.modality == "sar" else optical

    def _load(self, item: Item) -> Sample:
        sample: Sample = {}
        if self.modality != "sar":
            sample["image"] = self._optical(item)
        if self.modality != "optical":
            sample["image" if self.modality == "sar" else "image_sar"] = self._sar(item)
        if "mask" in item.files:
            sample["mask"] = self._mask(item.files["mask"])
        if item.label is not None:
            sample["label"] = torch.as_tensor(item.label)
        return sample

    def _optical(self, item: Item) -> Tensor:
        return self._channels(item.files["image"], self.all_bands, self.bands)

    def _sar(self, item: Item) -> Tensor:
        return self._channels(item.files["image_sar"], self.sar_bands, self.bands_sar)

    def _image_title(self) -> str:
        return "SAR" if self.modality == "sar" else "optical"

    def _picture(self, image: Tensor, valid: Tensor | None) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        if self.modality == "sar":
            return stretched(image[:1], valid)
        return super()._picture(image, valid)

    def _matched(
        self,
        folders: Mapping[str, Path],
        names: Sequence[str] | None = None,
        stems: Mapping[str, Callable[[str], str]] | None = None,
        suffixes: Sequence[str] = IMAGES,
    ) -> list[Item]:
        """Items of the files that bear one name in several folders.

        Args:
            folders: by sample key; that of a sensor that is not loaded is passed over.
            names: the names to take; None takes all, and then every file must have its counterparts.
            stems: by sample key, file stem to name; the stem itself where left out.
            suffixes: of the files.

        Raises:
            NotFoundError: a folder or a counterpart is missing; names it.
        """
        unused = {"optical": "image_sar", "sar": "image"}.get(self.modality)
        found = {
            key: {(stems or {}).get(key, str)(path.stem): path for path in self._folder(folder, suffixes)}
            for key, folder in folders.items()
            if key != unused
        }
        return self._joined(found, names)

    def _joined(self, found: Mapping[str, Mapping[str, Path]], names: Sequence[str] | None = None) -> list[Item]:
        """Items of files by sample key and name; see :meth:`_matched`."""
        wanted = list(names) if names is not None else sorted({n for by in found.values() for n in by}, key=natural)
        for key, by_name in found.items():
            missing = [name for name in wanted if name not in by_name]
            if missing:
                kind = {"image": "optical image", "image_sar": "SAR image"}.get(key, key)
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise self._not_found(f"{missing[0]}{more} without its {kind}")
        return [Item(name, {key: by_name[name] for key, by_name in found.items()}) for name in wanted]

    @classmethod
    def statistics(cls, of: Literal["pretraining", "probe"] = "pretraining") -> dict[str, Normalisation]:
        """Published (mean, std) of ``image`` and ``image_sar``, for images of 8 bits divided by 255.

        Source: scenarri/CoDeMAE, the statistics of OSPretrain-1M (``pretraining``) and of the linear probes
        (``probe``; Sentinel-2 bands in the order of ``all_bands``, SAR as VV, VH and their mean).

        Raises:
            InputError: none are published for this dataset.
        """
        name = cls.ospretrain if of == "pretraining" else cls.probe
        if name is None:
            raise InputError(
                f"there are no published {of} statistics of {cls.card.title}",
                hint="measure them with `codemae data stats`",
            )
        if of == "pretraining":
            text = (package_files("codemae_datasets") / "ospretrain_stats.json").read_text(encoding="utf-8")
        else:
            text = (package_files("codemae_datasets.public") / "probe_stats.json").read_text(encoding="utf-8")
        found = json.loads(text)["datasets"][name]
        result = {}
        for key, modality in (("image", "rgb"), ("image_sar", "sar")):
            mean, std = found[modality]["mean"], found[modality]["std"]
            order = found[modality].get("bands")
            if order:
                mean, std = ([values[order.index(band)] for band in cls.all_bands] for values in (mean, std))
            result[key] = (tuple(mean), tuple(std))
        return result


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """A batch: tensors stacked, except boxes and what belongs to them, which stay lists.

    Pass it to a DataLoader as ``collate_fn`` for datasets with ``bbox_xyxy``.
    """
    ragged = {"bbox_xyxy", "label", "masks", "corners"} if "bbox_xyxy" in samples[0] else set()
    return {
        key: [sample[key] for sample in samples] if key in ragged else default_collate([s[key] for s in samples])
        for key in samples[0]
    }


# names


def _begun(archive: Path) -> Path:
    """The mark beside an archive that is being unpacked."""
    return archive.with_name(f"{archive.name}.unpacking")


def _unpacked(archive: Path) -> Path:
    """The mark beside an archive that is unpacked."""
    return archive.with_name(f"{archive.name}.unpacked")


def natural(name: str) -> tuple[Any, ...]:
    """Sorts names by the numbers in them: 2 before 10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name))


def one_of(kind: str, value: str, valid: Iterable[str], dataset: PublicDataset) -> str:
    """The value, if it is a valid one.

    Raises:
        InputError: lists the valid ones.
    """
    names = list(valid)
    if value not in names:
        raise InputError(f"{dataset.card.title} has no {kind} {value!r}", found=str(value), expected=", ".join(names))
    return value


def some_of(kind: str, values: Sequence[str], valid: Iterable[str], dataset: PublicDataset) -> tuple[str, ...]:
    """The values, if all are valid; see :func:`one_of`."""
    if isinstance(values, str):
        values = (values,)
    names = list(valid)
    return tuple(one_of(kind, value, names, dataset) for value in values)


def _label_numbers(sample: Sample) -> Iterator[dict[int, int]]:
    """How often each class number occurs."""
    if "mask" in sample:
        values, counts = sample["mask"].unique(return_counts=True)
        yield dict(zip(values.tolist(), counts.tolist(), strict=True))
    if "label" in sample:
        label = sample["label"]
        if "bbox_xyxy" not in sample and label.ndim == 1:
            label = label.nonzero().flatten()
        yield dict(Counter(int(n) for n in label.flatten().tolist()))
