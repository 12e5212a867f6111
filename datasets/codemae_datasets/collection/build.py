"""OSPretrain-1M from the downloads of its fifteen sources, in the published layout.

The paper (Peng et al., arXiv 2604.16952, Table 1) publishes how many patches each source gave, not how they were cut;
:data:`PARTS` says for each source what is done here and what speaks for it. Images of 8 bits are kept as stored; others
are stretched linearly between their quantiles 0.02 and 0.98 over the whole source, since no limits are published.

Every image is cut by itself and its patches are noted in a journal; a build that was stopped goes on after the last
line of the journal, and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from codemae_datasets.collection._resume import GOES_ON, begin, claims_output, write_whole
from codemae_datasets.collection.stats import dtype_of, measure_rasters
from codemae_datasets.ospretrain import UNPAIRED
from codemae_datasets.public import dataset_class
from codemae_datasets.public._base import Item, NotFoundError, PublicDataset, read_image
from codemae_datasets.public.ospretrain1m import SUMS
from codemae_geo.errors import InputError, number, param
from codemae_geo.outputs import write_failure
from codemae_geo.progress import Reporter
from codemae_geo.sensors import Array, Mask
from codemae_geo.texts import read_text
from codemae_geo.tiling.plan import axis_starts

KEYS = {"image": "RGB", "image_sar": "SAR"}
_JOURNAL, _RESULT = ".build", "ospretrain.json"
_QUANTILES = (0.02, 0.98)


@dataclass(frozen=True)
class Part:
    """How one dataset enters the collection.

    Args:
        source: its name in the catalogue.
        folder: the folder it goes to.
        lists: split of the source to the list its patches are named in; the lists of unpaired images are not kept.
        held_out: splits that are built on request only, all of them into ``test.txt``.
        patch: side of the patches; None keeps images whole. Smaller images are kept whole.
        edge: what becomes of the pixels beyond the last whole patch: they are dropped, or covered by a patch that
            overlaps its neighbour.
        images: published number of images (both of a pair count); of the folder for parts that share one.
        why: what speaks for patch and edge.
        sensor: of unpaired images.
        options: of the dataset's class.
        nodata: value without a measurement; patches with less than half of their pixels measured are left out.
    """

    source: str
    folder: str
    lists: Mapping[str, str]
    patch: int | None
    images: int
    why: str
    held_out: Sequence[str] = ()
    edge: Literal["drop", "cover"] = "drop"
    sensor: Literal["RGB", "SAR"] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    nodata: float | None = None

    @property
    def prefix(self) -> str:
        """What the names of its patches start with, where several parts share a folder."""
        mode = "_".join(["", *map(str, self.options.values())])
        return f"{self.source}{mode}_" if sum(p.folder == self.folder for p in PARTS) > 1 else ""


_ALL = {"train": "train", "val": "val", "test": "test"}
_AS_IS = "stored in patches of that size"

PARTS: tuple[Part, ...] = (
    Part("msaw", "SpaceNet6", {"train": "train"}, 256, 64_084, edge="cover", nodata=0.0,
         why="not published; tiles of 900 give at most 9 patches without overlap, fewer than there are"),
    Part("qxs_saropt", "QXSLAB_SARPORT", {"all": "train"}, 256, 40_000, why=_AS_IS),
    Part("ddhr_xa", "DDHR", {"all": "train"}, 256, 15_662, why=_AS_IS),
    Part("ddhr_dy", "DDHR", {"all": "train"}, 256, 15_662, why=_AS_IS),
    Part("ddhr_sk", "DDHR", {}, 256, 15_662, held_out=("all",), why=_AS_IS + "; South Korea is probed, so held out"),
    Part("whu_opt_sar", "WHU-OPT-SAR", {"train": "train"}, 256, 47_040, held_out=("test",),
         why="80 scenes of 21 x 14 whole patches give the published number"),
    Part("dfc23_track1", "DFC23_Track1", {"train": "train", "val": "val"}, 256, 65_800, held_out=("test",),
         why="not published; the number is that of both tracks, and a multiple of four patches an image"),
    Part("dfc23_track2", "DFC23_Track2", _ALL, 256, 65_800, why="as track 1"),
    Part("ogsod2", "OGSOD-2", {"train": "train", "val": "val"}, 256, 32_570, held_out=("test",),
         why=_AS_IS + "; train and val give the published number"),
    Part("gfge_so", "GFGE_SOdataset", _ALL, 256, 60_000, why=_AS_IS),
    Part("openearthmap_sar", "DFC25", {"train": "train"}, 256, 138_578,
         why="4,333 images of 16 patches are 39 more than published; which ones were left out is not"),
    Part("earthmiss", "EarthMiss", _ALL, 256, 44_008,
         why="not published; all images give more than twice the number, so some were left out"),
    Part("osdataset2", "osdataset", _ALL, 256, 30_424, options={"size": 256}, why=_AS_IS),
    Part("rsd46_whu", UNPAIRED, {"train": "", "val": ""}, None, 109_157, sensor="RGB", why="kept whole: mostly 256"),
    Part("fair1m", UNPAIRED, {"train": "", "val": ""}, 256, 149_881, sensor="RGB",
         why="not published; nine whole patches of an image of 1,000 come near the number"),
    Part("fair_csar", UNPAIRED, {"trainval": ""}, None, 33_214, sensor="SAR", options={"mode": "SL"},
         why="not published; the tests stay unseen"),
    Part("fair_csar", UNPAIRED, {"trainval": ""}, None, 33_214, sensor="SAR", options={"mode": "FSI"},
         why="not published; the tests stay unseen"),
    Part("sardet_180k", UNPAIRED, {"train": ""}, None, 157_733, sensor="SAR",
         why="kept whole; published without the test images of its parts, which are not listed"),
    Part("atrnet_star", UNPAIRED, {"train": ""}, None, 68_091, sensor="SAR",
         why="the training chips of SOC-40 are the published number"),
)  # fmt: skip
SOURCES = tuple(dict.fromkeys(p.source for p in PARTS))


@dataclass
class _Work:
    """One image to cut."""

    part: Part
    dataset: PublicDataset
    index: int
    name: str
    list: str

    @property
    def item(self) -> Item:
        return self.dataset.items[self.index]


@claims_output
def build(
    roots: Sequence[str],
    output: Path,
    *,
    sources: Sequence[str] | None = None,
    held_out: bool = False,
    patch: int | None = None,
    stretch: Mapping[str, tuple[float, float]] | None = None,
    overwrite: bool = False,
    workers: int = 1,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Cut, stretch and write the collection, or go on doing so.

    Args:
        roots: folders that hold a source each as ``<root>/<name>``, or ``NAME=FOLDER`` for a single one.
        output: the collection.
        sources: names of :data:`SOURCES`; None is all of them, except ``ddhr_sk`` unless held-out tests are built.
        held_out: also build the four tests that pretraining must not see, into ``test.txt``; the readers leave
            them out.
        patch: side of the patches of every source that is cut, instead of :data:`PARTS`.
        stretch: ``<source>.rgb`` or ``<source>.sar`` to the values that become 0 and 255.
        overwrite: start again where ``output`` holds a build of other sources or settings.
        workers: threads.

    Returns:
        What ``ospretrain.json`` holds: settings, and counts per source.

    Raises:
        InputError: sources are missing (what, where, how), an image does not decode or a pair differs in size (named).
        OutputError: ``output`` holds something else, or the disk is full.
    """
    reporter = reporter or Reporter()
    parts = _chosen(sources, held_out)
    with reporter.stage("looking for sources"):
        work = _listing(parts, _places(roots), held_out)
        asked = _stretches(work, stretch or {})
        settings = _settings(parts, work, held_out, patch, asked)
    if begin(
        output,
        settings["plan"],
        journal=output / _JOURNAL / "plan.json",
        final=output / _RESULT,
        what="a build",
        overwrite=overwrite,
        clear=lambda: _clear(output),
    ):
        reporter.log("everything is there already")
        shutil.rmtree(output / _JOURNAL, ignore_errors=True)
        return json.loads(read_text(output / _RESULT))
    with reporter.stage("measuring values"):
        limits = _limits(work, asked, output / _JOURNAL / "stretch.json", workers)
        for name, values in limits.items():
            if values is not None:
                reporter.log(f"{name}: {number(values[0])} and {number(values[1])} become 0 and 255")
    try:
        notes = _cut_all(work, output, patch, limits, workers, reporter)
        with reporter.stage("writing lists"):
            return _finish(output, work, notes, settings, limits)
    except OSError as error:
        raise write_failure(error, output) from error


# ---------------------------------------------------------------------------------------------------- sources


def _chosen(sources: Sequence[str] | None, held_out: bool) -> list[Part]:
    for name in sources or ():
        if name not in SOURCES:
            raise InputError(f"{name!r} is not a source of OSPretrain-1M", expected=", ".join(SOURCES))
    return [
        part
        for part in PARTS
        if (sources is None or part.source in sources) and (part.lists or (held_out and part.held_out))
    ]


def _places(roots: Sequence[str]) -> dict[str, list[Path]]:
    """Folders to look for each source in."""
    named = {name: Path(folder) for name, equals, folder in (r.partition("=") for r in roots) if equals}
    for name in named:
        if name not in SOURCES:
            raise InputError(f"{name!r} is not a source of OSPretrain-1M", expected=", ".join(SOURCES))
    plain = [Path(r) for r in roots if "=" not in r]
    for folder in (*plain, *named.values()):
        if not folder.is_dir():
            raise InputError(f"the folder {folder} does not exist", expected="a folder of downloads")
    return {name: [named[name]] if name in named else [f / name for f in plain] for name in SOURCES}


def _listing(parts: Sequence[Part], places: Mapping[str, list[Path]], held_out: bool) -> list[_Work]:
    work: list[_Work] = []
    missing: dict[str, list[str]] = {}
    for part in parts:
        there = [f for f in places[part.source] if f.is_dir()]
        card = dataset_class(part.source).card
        if not there:
            looked = ", ".join(map(str, places[part.source])) or "no folder was given"
            missing.setdefault(part.source, []).append(
                f"{card.title} is not in {looked}; fetch it from {card.home}; layout: {card.layout}"
            )
            continue
        lists = dict(part.lists) | (dict.fromkeys(part.held_out, "test") if held_out else {})
        for split, name in lists.items():
            try:
                dataset = dataset_class(part.source)(there[0], split=split, **part.options)
            except NotFoundError as error:
                missing.setdefault(part.source, []).append(f"{error.found}; {error.hint}; layout: {card.layout}")
                continue
            # names do not depend on whether tests are built
            stem = part.prefix + (f"{split}_" if len(part.lists) + len(part.held_out) > 1 else "")
            work += [
                _Work(part, dataset, i, stem + item.name.replace("/", "_"), name)
                for i, item in enumerate(dataset.items)
            ]
    if missing:
        rest = [name for name in dict.fromkeys(p.source for p in parts) if name not in missing]
        raise InputError(
            "a source is missing" if len(missing) == 1 else f"{len(missing)} sources are missing",
            found="".join(f"\n    {name}: {what}" for name, texts in missing.items() for what in dict.fromkeys(texts)),
            expected="a folder of the source's name in one of the folders of downloads, or "
            + param("from", "NAME=FOLDER"),
            hint="fetch them" + (", or build without them: " + param("sources", ",".join(rest)) if rest else ""),
        )
    seen: dict[tuple[str, str | None, str], _Work] = {}
    for one in work:
        other = seen.setdefault((one.part.folder, one.part.sensor, one.name), one)
        if other is not one:
            raise InputError(
                f"two images of {one.part.source} would have the name {one.name}",
                found=", ".join(str(next(iter(w.item.files.values()))) for w in (other, one)),
                hint="rename one of the files",
            )
    return work


def _settings(
    parts: Sequence[Part],
    work: Sequence[_Work],
    held_out: bool,
    patch: int | None,
    asked: Mapping[str, tuple[float, float]],
) -> dict[str, Any]:
    digest = hashlib.sha256(repr([parts, held_out, patch, sorted(asked.items())]).encode())
    for one in work:
        sizes = sorted((key, path.stat().st_size) for key, path in one.item.files.items() if path.is_file())
        digest.update(f"{one.part.folder}\t{one.list}\t{one.name}\t{sizes}\n".encode())
    return {"format": 1, "plan": digest.hexdigest(), "held_out": held_out, "patch": patch}


def _clear(output: Path) -> None:
    """Remove a build."""
    for folder in {*(output / p.folder for p in PARTS), output / _JOURNAL}:
        shutil.rmtree(folder, ignore_errors=True)
    (output / _RESULT).unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------- values

#: "<source>.rgb" or "<source>.sar" to the values that become 0 and 255; None keeps values as stored
Limits = dict[str, tuple[float, float] | None]


def _stretches(work: Sequence[_Work], asked: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """The stretches that were asked for, as pairs of floats, if there is something to stretch."""
    names = dict.fromkeys(_value_name(one.part, key) for one in work for key in one.item.files if key in KEYS)
    if unknown := set(asked) - set(names):
        raise InputError(f"there is nothing to stretch called {min(unknown)}", expected=", ".join(names))
    return {name: (float(low), float(high)) for name, (low, high) in asked.items()}


def _limits(work: Sequence[_Work], asked: dict[str, tuple[float, float]], journal: Path, workers: int) -> Limits:
    """How the values of every source become 8 bits."""
    paths: dict[str, list[Path]] = {}
    nodata: dict[str, float | None] = {}
    for one in work:
        for key, path in one.item.files.items():
            if key in KEYS:
                name = _value_name(one.part, key)
                paths.setdefault(name, []).append(path)
                nodata[name] = one.part.nodata
    known: dict[str, Any] = json.loads(read_text(journal)) if journal.is_file() else {}
    for name, files in paths.items():
        if name in asked:
            known[name] = list(asked[name])
        elif name not in known:
            known[name] = None
            if dtype_of(files[0]) != "uint8":
                bands = measure_rasters(files, _QUANTILES, nodata[name], workers)
                used = bands[:1] if name.endswith(".sar") else bands[:3]
                low = min(band.quantiles[_QUANTILES[0]] for band in used)
                high = max(band.quantiles[_QUANTILES[1]] for band in used)
                known[name] = [low, high]
    write_whole(journal, json.dumps(known) + "\n")
    return {name: None if values is None else (values[0], values[1]) for name, values in known.items()}


def _value_name(part: Part, key: str) -> str:
    return f"{part.source}.{(part.sensor or KEYS[key]).lower()}"


def to_uint8(image: Array, limits: tuple[float, float] | None, valid: Mask | None, name: str) -> Array:
    """Values [C, H, W] to 8 bits: as stored, or stretched; 0 where there is no measurement.

    Raises:
        InputError: values to be kept as stored are not of 8 bits; names the file.
    """
    if limits is None:
        if image.size and (image.min() < 0 or image.max() > 255 or (image != np.rint(image)).any()):
            raise InputError(
                f"{name} does not hold values of 8 bits, as the first image of its source does",
                found=f"{number(image.min())} to {number(image.max())}",
                expected="whole numbers from 0 to 255",
                hint=f"give the values that become 0 and 255 with {param('stretch', 'SOURCE.SENSOR=LOW,HIGH')}",
                option="stretch",
            )
        scaled = image
    else:
        low, high = limits
        scaled = np.rint((image.astype(np.float64) - low) * (255 / max(high - low, 1e-12))).clip(0, 255)
    scaled = np.where(np.isfinite(scaled), scaled, 0)
    if valid is not None:
        scaled = np.where(valid, scaled, 0)
    return scaled.astype(np.uint8)


# ---------------------------------------------------------------------------------------------------- cutting


def windows(height: int, width: int, patch: int | None, edge: Literal["drop", "cover"]) -> Iterator[tuple[int, int]]:
    """First (row, column) of every patch; an image smaller than a patch along one side is taken whole along it.

    >>> list(windows(500, 700, 256, "drop"))
    [(0, 0), (0, 256)]
    >>> list(windows(300, 300, 256, "cover"))
    [(0, 0), (0, 44), (44, 0), (44, 44)]
    """

    def starts(size: int) -> Sequence[int]:
        if patch is None or size <= patch:
            return (0,)
        return axis_starts(size, patch, patch) if edge == "cover" else range(0, size - patch + 1, patch)

    return ((row, col) for row in starts(height) for col in starts(width))


def _cut_all(
    work: Sequence[_Work], output: Path, patch: int | None, limits: Limits, workers: int, reporter: Reporter
) -> dict[tuple[str, str], dict[str, Any]]:
    """The journal's note on every image, by folder and name, after cutting those without one."""
    path = output / _JOURNAL / "journal.jsonl"
    notes = _read_journal(path, output)
    todo = [one for one in work if (_group(one), one.name) not in notes]
    if len(todo) < len(work):
        reporter.log(f"{len(work) - len(todo)} of {len(work)} images are cut already")
    for one in work:
        for key in [k for k in KEYS if k in one.item.files]:
            (output / one.part.folder / (one.part.sensor or KEYS[key])).mkdir(parents=True, exist_ok=True)
    with (
        reporter.stage("cutting images", total=len(work)),
        path.open("a", encoding="utf-8") as journal,
        ThreadPoolExecutor(max(1, workers)) as pool,
    ):
        pending: deque[tuple[_Work, Future[dict[str, Any]]]] = deque()
        queue = iter(todo)
        done = len(work) - len(todo)
        try:
            while True:
                while len(pending) < 2 * max(1, workers) and (following := next(queue, None)) is not None:
                    pending.append((following, pool.submit(_cut, following, output, patch, limits)))
                if not pending:
                    break
                one, future = pending.popleft()
                note = future.result()
                notes[_group(one), one.name] = note
                journal.write(json.dumps(note) + "\n")
                journal.flush()
                done += 1
                reporter.progress(done, len(work))
        except BaseException as error:
            pool.shutdown(cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                reporter.log(GOES_ON)
            raise
    return notes


def _group(one: _Work) -> str:
    return f"{one.part.folder}/{one.part.sensor or ''}"


def _read_journal(path: Path, output: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Notes whose files are there in full; the last line may be broken off."""
    notes: dict[tuple[str, str], dict[str, Any]] = {}
    if not path.is_file():
        return notes
    good = []
    for line in read_text(path).splitlines():
        try:
            note = json.loads(line)
        except ValueError:
            continue
        if all(_size(output / file) == size for file, size, _ in note["files"]):
            notes[note["group"], note["image"]] = note
            good.append(line)
    write_whole(path, "".join(f"{line}\n" for line in good))
    return notes


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _cut(one: _Work, output: Path, patch: int | None, limits: Limits) -> dict[str, Any]:
    """Write the patches of one image; the journal's note on it."""
    part, item = one.part, one.item
    images = _pixels(one)
    valid = None
    if part.nodata is not None:
        valid = np.logical_and.reduce(
            [(image != part.nodata).any(0) & np.isfinite(image).all(0) for image in images.values()]
        )
    ready = {
        key: to_uint8(image, limits[_value_name(part, key)], valid, str(item.files[key]))
        for key, image in images.items()
    }
    height, width = next(iter(ready.values())).shape[1:]
    side = part.patch if patch is None or part.patch is None else patch
    note: dict[str, Any] = {"group": _group(one), "image": one.name, "patches": [], "left_out": 0, "files": []}
    places = list(windows(height, width, side, part.edge))
    for row, col in places:
        area = (slice(row, row + (side or height)), slice(col, col + (side or width)))
        cut = {key: image[:, *area] for key, image in ready.items()}
        if any(np.ptp(image) == 0 for image in cut.values()) or (valid is not None and valid[area].mean() < 0.5):
            note["left_out"] += 1
            continue
        name = f"{one.name}.png" if len(places) == 1 else f"{one.name}_{row}_{col}.png"
        note["patches"].append(name)
        for key, image in cut.items():
            file = f"{part.folder}/{part.sensor or KEYS[key]}/{name}"
            data = _png(image)
            (output / file).write_bytes(data)
            note["files"].append([file, len(data), hashlib.sha256(data).hexdigest()])
    return note


def _pixels(one: _Work) -> dict[str, Array]:
    """Optical image of three channels and SAR image of one, values as stored."""
    item, part = one.item, one.part
    found: dict[str, Array] = {}
    for key in (k for k in KEYS if k in item.files):
        image = read_image(item.files[key]).numpy()
        optical = (part.sensor or KEYS[key]) == "RGB"
        channels = 3 if optical and len(image) >= 3 else 1
        found[key] = image[:channels]
    if not found:
        raise InputError(f"{item.name} of {part.source} has no image", expected=" or ".join(KEYS))
    shapes = {image.shape[1:] for image in found.values()}
    if len(shapes) > 1:
        raise InputError(
            f"the images of the pair {item.name} of {part.source} differ in size",
            found=", ".join(f"{item.files[k]} {v.shape[2]} x {v.shape[1]}" for k, v in found.items()),
            expected="the same size",
            hint="fetch them again",
        )
    return found


def _png(image: Array) -> bytes:
    buffer = io.BytesIO()
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


# ---------------------------------------------------------------------------------------------------- the end


def _finish(
    output: Path,
    work: Sequence[_Work],
    notes: Mapping[tuple[str, str], dict[str, Any]],
    settings: dict[str, Any],
    limits: Limits,
) -> dict[str, Any]:
    lists: dict[tuple[str, str], list[str]] = {}
    sums: dict[str, list[str]] = {}
    counts: dict[str, dict[str, Any]] = {}
    for one in work:
        note = notes[_group(one), one.name]
        part = one.part
        if one.list:
            lists.setdefault((part.folder, one.list), []).extend(Path(n).stem for n in note["patches"])
        for file, _, digest in note["files"]:
            sums.setdefault(part.folder, []).append(f"{digest}  {Path(file).relative_to(part.folder).as_posix()}")
        count = counts.setdefault(
            part.source,
            {"folder": part.folder, "images": 0, "patches": 0, "left_out": 0, "published_images": part.images},
        )
        count["images"] += 1
        count["patches"] += len(note["patches"])
        count["left_out"] += note["left_out"]
    for (folder, name), names in lists.items():
        write_whole(output / folder / f"{name}.txt", "".join(f"{n}\n" for n in names))
    for folder, lines in sums.items():
        write_whole(output / folder / SUMS, "".join(f"{line}\n" for line in sorted(lines, key=lambda x: x[64:])))
    result = settings | {"stretch": limits, "sources": counts}
    write_whole(output / _RESULT, json.dumps(result, indent=1) + "\n")
    shutil.rmtree(output / _JOURNAL)
    return result
