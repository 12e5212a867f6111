"""Labelled objects to train a detector on: of public datasets, and of anyone's images with boxes of their own.

A *sample* is a dict: ``images``, a list of one tensor [C, H, W] of 0 to 255; ``boxes`` float32 [N, 4] (left, top,
right, bottom) in pixels; ``labels`` int64 [N] from 0; ``crowd`` bool [N] and ``valid`` bool [H, W] where they are
known. A box of a *crowd* neither counts nor costs.

Images of one's own are scenes, aligned into files that are mapped into memory, or plain pictures without a place.
Labels are polygons with a CRS in any format that OGR reads, of which the box around each counts; or, in pixels of the
image files, a table of COCO, or a folder of YOLO's or of Pascal VOC's files named like the images.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import rasterio
import shapely
import torch
import yaml  # type: ignore[import-untyped]
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from torch import Tensor

from codemae_datasets.labels import PublicSamples, Sample, Say, align_images, read_labelled
from codemae_datasets.public.boxes import read_coco, read_voc
from codemae_geo.errors import InputError
from codemae_geo.raster.align import target_grid
from codemae_geo.raster.geo import apply, transform_points
from codemae_geo.raster.scene import Scene, expand_paths
from codemae_geo.sensors import Family

#: top, left, bottom, right in pixels
Block = tuple[int, int, int, int]
Form = Literal["polygons", "coco", "yolo", "voc"]
#: files in which YOLO's tools write the names of the classes
_NAMES = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names", "_darknet.labels")
#: an object is part of an image if so much of it lies inside
VISIBLE = 0.5


# ---------------------------------------------------------------- public datasets


class PublicObjects(PublicSamples):
    """Labelled images of public datasets that are used together.

    Args:
        parts: datasets of :mod:`codemae_datasets.public` with the same classes.
        empty: images without objects, too.

    Raises:
        InputError: a dataset without boxes, or a list without them.
    """

    count = 0

    def __init__(self, parts: Sequence[Any], *, empty: bool = True) -> None:
        for part in parts:
            if not hasattr(part, "_objects"):
                raise InputError(f"{part.card.title} holds no boxes of objects", expected="a dataset for detection")

        def takes(part: Any, item: Any) -> bool:
            if item.label is None and "boxes" not in item.files:
                raise InputError(
                    f"{part.card.title} ({part.split}) has no boxes for {item.name}",
                    hint="choose a split that has labels",
                )
            return empty or bool(part._objects(item)[1])

        super().__init__(parts, takes)

    def __getitem__(self, index: int) -> Sample:
        """One image with its objects.

        Raises:
            InputError: a file cannot be read.
        """
        sample = self._stored(index)
        return {"images": [sample["image"]], "boxes": sample["bbox_xyxy"], "labels": sample["label"]}


# ---------------------------------------------------------------- labels of one's own


class Placed(NamedTuple):
    """Where the pixels of an image file lie."""

    name: str
    shape: tuple[int, int]  #: rows, columns
    affine: Affine  #: pixels to coordinates
    crs: Any  #: None for a picture without a place


@dataclass
class Objects:
    """Objects on a grid.

    Args:
        boxes: [N, 4] left, top, right, bottom in pixels of the grid, inside it.
        values: [N] the class of each, as the file has it.
        notes: what was decided or left out, for the log.
    """

    boxes: NDArray[np.float64]
    values: list[Any]
    notes: list[str] = field(default_factory=list)


def label_form(path: Path) -> Form:
    """What kind of labels a file or a folder holds.

    Raises:
        InputError: it is not there, or holds none that are known.
    """
    if not path.exists():
        raise InputError(f"there are no labels {path}")
    if path.is_dir():
        if next(path.rglob("*.xml"), None):
            return "voc"
        if next((p for p in path.rglob("*.txt") if p.name not in _NAMES), None):
            return "yolo"
        raise InputError(f"the folder {path} holds no labels", expected=".xml files (Pascal VOC) or .txt files (YOLO)")
    if path.suffix.lower() in (".xml", ".txt"):
        return "voc" if path.suffix.lower() == ".xml" else "yolo"
    if path.suffix.lower() == ".json":
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"the labels {path} cannot be read", found=str(error).splitlines()[0]) from error
        if isinstance(table, dict) and "annotations" in table:
            return "coco"
    return "polygons"


def read_objects(
    path: str | Path,
    files: Sequence[Placed],
    grid: GeoBox,
    *,
    column: str | None = None,
    crs: str | None = None,
    single: str = "object",
) -> Objects:
    """Objects of a label file on a grid.

    Args:
        path: see the module.
        files: the image files that the grid is made of; labels in pixels belong to them by their names.
        grid: target pixels.
        column: column of the class of polygons. Left out it is found if there is only one, or one of a usual name;
            else all are of one class.
        crs: CRS of polygons that state none.
        single: name of that class.

    Raises:
        InputError: unreadable, no CRS, points, none of the files' names, or no object on the grid.
    """
    path = Path(path)
    form = label_form(path)
    placed = form == "polygons"
    found = _polygons(path, grid, column, crs, single) if placed else _in_pixels(path, form, files, grid)
    return _on_grid(found, path, grid)


def _polygons(path: Path, grid: GeoBox, column: str | None, crs: str | None, single: str) -> Objects:
    if grid.crs is None:
        raise InputError(
            f"the labels {path} are polygons on the ground, and the image has no place there",
            expected="labels in pixels: COCO, YOLO or Pascal VOC; or a georeferenced image",
        )
    frame, notes = read_labelled(path, column=column, crs=crs, to_crs=grid.crs, single=single)
    shapes = np.asarray(frame.geometry.array, dtype=object)
    flat = shapely.get_dimensions(shapes) == 2
    if not flat.any():
        raise InputError(
            f"the labels {path} have no extent", found="points or lines", expected="polygons, or boxes around objects"
        )
    if not flat.all():
        notes.append(f"{int((~flat).sum())} of {len(flat)} features of {path.name} are no areas and are left out")
    inverse = ~grid.affine
    shapes = shapely.transform(shapes[flat], lambda xy: np.stack(apply(inverse, xy[:, 0], xy[:, 1]), 1))
    values = [v for v, keep in zip(frame["class"], flat, strict=True) if keep]
    return Objects(shapely.bounds(shapes).reshape(-1, 4), values, notes)


def _in_pixels(path: Path, form: Form, files: Sequence[Placed], grid: GeoBox) -> Objects:
    """Boxes in pixels of image files, by the names of these."""
    notes: list[str] = []
    if form == "coco":
        table = {Path(name).name: (boxes, names) for name, boxes, names in read_coco(path)}
        known = {file: table[Path(file.name).name] for file in files if Path(file.name).name in table}
        there = sorted(table)
    else:
        suffix = ".xml" if form == "voc" else ".txt"
        paths = {p.stem: p for p in ([path] if path.is_file() else sorted(path.rglob(f"*{suffix}")))}
        names = read_yolo_names(path) if form == "yolo" else []
        known = {}
        for file in files:
            label = paths.get(Path(file.name).stem)
            if label is not None:
                known[file] = read_voc(label) if form == "voc" else read_yolo(label, file.shape, names)
        there = sorted(p.name for p in paths.values())
    if not known:
        raise InputError(
            f"the labels {path} are not of these images",
            found=", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else ""),
            expected=f"labels of {', '.join(Path(f.name).name for f in files[:3])}",
            hint="labels in pixels belong to an image file by its name",
        )
    if len(known) < len(files):
        notes.append(f"{len(files) - len(known)} of {len(files)} image files have no labels in {path.name}")
    corners: list[NDArray[np.float64]] = []
    values: list[Any] = []
    for file, (boxes, classes) in known.items():
        if boxes:
            corners.append(_moved(np.array(boxes, np.float64).reshape(-1, 4), file, grid))
            values += classes
    return Objects(np.concatenate(corners) if corners else np.empty((0, 4)), values, notes)


def _moved(boxes: NDArray[np.float64], file: Placed, grid: GeoBox) -> NDArray[np.float64]:
    """Boxes [N, 4] in pixels of a file -> the upright boxes around them in pixels of the grid."""
    left, top, right, bottom = boxes.T
    x, y = apply(file.affine, np.stack([left, right, right, left]), np.stack([top, top, bottom, bottom]))
    x, y = transform_points(x, y, file.crs, grid.crs)
    x, y = apply(~grid.affine, x, y)
    return np.stack([x.min(0), y.min(0), x.max(0), y.max(0)], 1)


def _on_grid(found: Objects, path: Path, grid: GeoBox) -> Objects:
    """Objects of which at least half lies on the grid, cut to it."""
    height, width = grid.shape.yx
    cut, share = clip(found.boxes, (0, 0, height, width))
    keep = share >= VISIBLE
    if len(keep) and not keep.any():
        raise InputError(
            f"the labels {path} and the images do not overlap",
            found="none of its objects lies in the scene",
            expected="labels of the same place",
            hint="check the labels' CRS",
        )
    if not keep.all():
        found.notes.append(f"{int((~keep).sum())} of {len(keep)} objects of {path.name} lie outside the scene")
    return Objects(cut[keep], [v for v, k in zip(found.values, keep, strict=True) if k], found.notes)


def clip(boxes: NDArray[np.float64], block: Block) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes [N, 4] cut to a block, and the share of each that lies in it [N] (0 of boxes without an area)."""
    top, left, bottom, right = block
    low, high = np.array([left, top, left, top]), np.array([right, bottom, right, bottom])
    cut = np.clip(boxes, low, high)
    sides, whole = cut[:, 2:] - cut[:, :2], boxes[:, 2:] - boxes[:, :2]
    area = np.where((whole > 0).all(1), whole.prod(1), np.inf)
    return cut, sides.prod(1) / area


def read_yolo(path: Path, shape: tuple[int, int], names: Sequence[str] = ()) -> tuple[list[list[float]], list[Any]]:
    """Boxes (left, top, right, bottom) in pixels of a file of YOLO.

    Args:
        path: lines of a class number and x and y of the middle, width and height in shares of the image; or of a class
            number and three or more corners of a polygon.
        shape: rows and columns of the image.
        names: of the classes.

    Raises:
        InputError: a line has another form.
    """
    boxes: list[list[float]] = []
    classes: list[Any] = []
    rows, columns = shape
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the labels {path} cannot be read", found=str(error)) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            kind, *rest = line.split()
            k, values = int(kind), np.array([float(v) for v in rest])
            if k < 0 or not (len(values) == 4 or (len(values) >= 6 and len(values) % 2 == 0)):
                raise ValueError
            if not (np.isfinite(values).all() and (np.abs(values - 0.5) <= 1.5).all()):
                raise ValueError
        except ValueError:
            raise InputError(
                f"line {number} of the labels {path} cannot be read",
                found=line.strip()[:60],
                expected="class, x and y of the middle, width, height; or class and a polygon: shares of the image",
            ) from None
        if len(values) == 4:
            x, y, w, h = values
            low, high = np.array([x - w / 2, y - h / 2]), np.array([x + w / 2, y + h / 2])
        else:
            low, high = values.reshape(-1, 2).min(0), values.reshape(-1, 2).max(0)
        boxes.append([*(low * [columns, rows]), *(high * [columns, rows])])
        classes.append(names[k] if k < len(names) else k)
    return boxes, classes


def read_yolo_names(path: Path) -> list[str]:
    """Names of the classes, from a file beside the labels or up to two folders above; none where there is none.

    Raises:
        InputError: the file cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    for place in (folder, *list(folder.resolve().parents)[:2]):
        for name in _NAMES:
            file = place / name
            if not file.is_file():
                continue
            try:
                text = file.read_text(encoding="utf-8")
                if file.suffix != ".yaml":
                    return [line.strip() for line in text.splitlines() if line.strip()]
                names = yaml.safe_load(text)["names"]
                return [str(names[k]) for k in sorted(names)] if isinstance(names, dict) else [str(n) for n in names]
            except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
                raise InputError(f"the class names in {file} cannot be read", found=str(error)[:200]) from error
    return []


# ---------------------------------------------------------------- images of one's own


@dataclass(frozen=True)
class ObjectArea:
    """One scene or picture with its objects.

    Args:
        name: of the scene.
        image: uint8 [C, H, W].
        valid: bool [H, W], where there is a measurement.
        boxes: float64 [N, 4] in pixels.
        labels: int64 [N] from 0.
        placed: whether it is a scene with a place on the ground.
    """

    name: str
    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    placed: bool


def open_object_areas(
    images: Sequence[str | Path],
    labels: Sequence[str | Path],
    family: Family,
    folder: Path,
    say: Say,
    *,
    column: str | None = None,
    crs: str | None = None,
    classes: dict[str, Any] | None = None,
    single: str = "object",
) -> tuple[list[ObjectArea], tuple[str, ...]]:
    """Scenes with objects, given by their files.

    Args:
        images: each a file or a folder. Georeferenced files of a folder are one scene; pictures without a place are one
            each.
        labels: one for all, or one for each of ``images``.
        family: "optical" or "sar".
        folder: for the aligned pixels.
        say: told what was decided.
        column, crs, single: see :func:`read_objects`.
        classes: name of each class and its value in the labels, or a list of values; None takes those that occur.

    Returns:
        the scenes and the names of the classes.

    Raises:
        InputError: see :func:`read_objects`; a class that is not declared; nothing labelled at all.
    """
    files = list(labels) * len(images) if len(labels) == 1 else list(labels)
    if len(files) != len(images):
        raise InputError(
            "labels and images do not go together",
            found=f"{len(files)} labels, {len(images)} images",
            expected="one of labels for all images, or one for each",
        )
    options: dict[str, Any] = {"column": column, "crs": crs, "single": single}
    opened: list[tuple[str, NDArray[np.uint8], NDArray[np.bool_], Objects, bool]] = []
    for number, (image, label) in enumerate(zip(images, files, strict=True)):
        paths = expand_paths([image], "image")
        if _placed(paths[0]):
            name = Path(image).stem
            name = f"{name}-{number + 1}" if any(name == o[0] for o in opened) else name
            opened.append((name, *_open_scene(paths, name, Path(label), family, folder, say, options), True))
        else:
            opened += _open_pictures(paths, Path(label), family, folder, number, say)
    numbers, names = class_numbers([v for o in opened for v in o[3].values], classes, files[0])
    areas = [
        ObjectArea(name, image, valid, found.boxes, np.array([numbers[v] for v in found.values], np.int64), placed)
        for name, image, valid, found, placed in opened
    ]
    return areas, names


def class_numbers(
    values: Sequence[Any], classes: dict[str, Any] | None, path: str | Path
) -> tuple[dict[Any, int], tuple[str, ...]]:
    """Number of each class value, and names by number.

    Raises:
        InputError: no values, or one that is not declared.
    """
    if not values:
        raise InputError(f"the labels {path} hold no object")
    occur = sorted(set(values), key=lambda v: (isinstance(v, str), v))
    if not classes:
        named = tuple(v if isinstance(v, str) else f"class {v:g}" for v in occur)
        return {value: number for number, value in enumerate(occur)}, named
    listed = [v if isinstance(v, list) else [v] for v in classes.values()]
    numbers = {value: number for number, group in enumerate(listed) for value in group}
    unknown = [v for v in occur if v not in numbers]
    if unknown:
        raise InputError(
            f"the labels {path} hold a class that is not declared",
            found=f"{unknown[0]!r} of {sum(v == unknown[0] for v in values)} objects",
            expected=", ".join(map(str, numbers)),
            hint="declare it in data.classes, or mend the file",
        )
    return numbers, tuple(classes)


def _placed(path: str) -> bool:
    """Whether a raster says where it lies, or cannot be asked here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                return file.crs is not None or bool(file.gcps[0]) or not file.transform.is_identity
    except RasterioIOError:
        return True  # the scene says what is wrong with it


def _open_scene(
    paths: Sequence[str], name: str, label: Path, family: Family, folder: Path, say: Say, options: dict[str, Any]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Objects]:
    scene = Scene.open(paths, role="image", family=family)
    grid = target_grid(scene)
    if any(file.gcps for file in scene.files) and label_form(label) != "polygons":
        raise InputError(
            f"{name} lies on the ground by control points alone, so labels in its pixels have no place",
            hint="warp it first, or label it with polygons",
        )
    files = [Placed(f.name, f.shape, f.geobox.affine, f.crs) for f in scene.files]
    found = read_objects(label, files, grid, **options)
    for note in found.notes:
        say(note)
    (image,), valid = align_images([scene], name, grid, folder, say)
    return image, valid, found


def _open_pictures(
    paths: Sequence[str], label: Path, family: Family, folder: Path, number: int, say: Say
) -> list[tuple[str, NDArray[np.uint8], NDArray[np.bool_], Objects, bool]]:
    """Pictures without a place, each by itself; those without labels are left out, as they may hold anything."""
    opened: list[tuple[str, NDArray[np.uint8], NDArray[np.bool_], Objects, bool]] = []
    without = 0
    for path in paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                count = 3 if family == "optical" else 1
                if file.dtypes[0] != "uint8" or file.count < count:
                    raise InputError(
                        f"the picture {path} cannot be learnt from",
                        found=f"{file.count} bands of {file.dtypes[0]}",
                        expected=f"{count} of uint8",
                        hint="convert it, or georeference it: scenes may have any type",
                    )
                pixels = file.read(list(range(1, count + 1)))
        placed = Placed(path, pixels.shape[1:], Affine.identity(), None)
        try:
            found = read_objects(label, [placed], GeoBox(placed.shape, placed.affine, None))
        except InputError as error:
            if "not of these images" not in error.message or len(paths) == 1:
                raise
            without += 1
            continue
        file_path = folder / f"{number}_{len(opened)}.dat"
        image = np.memmap(file_path, np.uint8, "w+", shape=pixels.shape)
        image[:] = pixels
        opened.append((Path(path).stem, image, np.ones(placed.shape, bool), found, False))
    if not opened:
        raise InputError(f"the labels {label} are not of these images", found=", ".join(paths[:3]))
    if without:
        say(f"{without} of {len(paths)} pictures have no labels in {label} and are left out")
    return opened


# ---------------------------------------------------------------- training and validation


class Held(NamedTuple):
    """What is held out of one area: blocks that do not overlap."""

    blocks: list[Block]


def split_areas(
    areas: Sequence[ObjectArea], share: float | Sequence[str], block: int, seed: int
) -> tuple[list[Held], str]:
    """What validates, of each area.

    Args:
        areas: scenes or pictures.
        share: names of whole areas; or the share of the blocks of every scene that hold objects, and of the pictures.
        block: side of a block in pixels.
        seed: of the deal.

    Returns:
        of each area the blocks that are held out, and what to call it.

    Raises:
        InputError: nothing would be left to train on, or nothing to validate on.
    """
    names = [area.name for area in areas]
    if not isinstance(share, float | int):
        if set(share) - set(names) or set(share) >= set(names):
            raise InputError(
                "the scenes to hold out cannot be chosen", found=", ".join(share), expected=", ".join(names)
            )
        held = [Held(_blocks(area, block) if area.name in share else []) for area in areas]
        return held, f"the scenes {', '.join(share)}, left out of training"
    if share <= 0:
        return [Held([]) for _ in areas], ""
    pictures = [k for k, area in enumerate(areas) if not area.placed]
    held = [Held([]) for _ in areas]
    if pictures:
        order = np.random.default_rng(seed).permutation(pictures)
        count = max(round(share * len(pictures)), 1)
        if len(pictures) < 2 and len(areas) == len(pictures):
            raise InputError(
                "one picture cannot be split", hint="hold nothing out (data.holdout=0), or give more pictures"
            )
        for k in order[:count]:
            held[k] = Held(_blocks(areas[k], block))
    for k, area in enumerate(areas):
        if not area.placed:
            continue
        middle = (area.boxes[:, :2] + area.boxes[:, 2:]) / 2
        cells = _blocks(area, block)
        counts = [int(((middle >= [b[1], b[0]]) & (middle < [b[3], b[2]])).all(1).sum()) for b in cells]
        full = [b for b, n in zip(cells, counts, strict=True) if n]
        if len(full) < 2:
            raise InputError(
                f"the objects of {area.name} lie in one block of {block} x {block} pixels, which cannot be split",
                hint="set a smaller data.block, or hold another scene out",
            )
        order = np.random.default_rng(seed + k).permutation(len(full))
        held[k] = Held([full[i] for i in order[: min(max(round(share * len(full)), 1), len(full) - 1)]])
    parts = [f"{share:.0%} of the pictures"] if pictures else []
    parts += [f"{share:.0%} of the blocks of {block} pixels"] if len(pictures) < len(areas) else []
    return held, f"{' and '.join(parts)}, left out of training"


def _blocks(area: ObjectArea, side: int) -> list[Block]:
    height, width = area.valid.shape
    return [
        (row, col, min(row + side, height), min(col + side, width))
        for row in range(0, height, side)
        for col in range(0, width, side)
    ]


class SceneObjects:
    """Windows of areas, drawn at random to train on.

    What is held out is not seen: its pixels are invalid here. So are those of an object that lies partly in it.

    Args:
        areas: scenes or pictures.
        classes: names by number.
        side: of a window in pixels; areas that are smaller give smaller windows.
        count: windows of an epoch.
        held: of each area, see :func:`split_areas`.
        elsewhere: share of the windows that are drawn anywhere instead of around an object.

    Raises:
        InputError: no object is left.
    """

    def __init__(
        self,
        areas: Sequence[ObjectArea],
        classes: tuple[str, ...],
        side: int,
        *,
        count: int,
        held: Sequence[Held],
        elsewhere: float = 0.2,
    ) -> None:
        self.classes, self.side, self.count, self.elsewhere = classes, side, count, elsewhere
        self._areas: list[tuple[ObjectArea, NDArray[np.bool_], NDArray[np.bool_]]] = []
        places: list[list[tuple[int, int]]] = [[] for _ in classes]
        sizes: list[int] = []
        for area, (blocks,) in zip(areas, held, strict=True):
            seen = area.valid.copy()
            share = np.zeros(len(area.boxes))
            for block in blocks:
                seen[block[0] : block[2], block[1] : block[3]] = False
                share += clip(area.boxes, block)[1]
            for left, top, right, bottom in area.boxes[(share > 1e-6) & (share < 1 - 1e-6)]:
                seen[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = False
            whole = share <= 1e-6
            if not seen.any():
                continue
            for number in np.flatnonzero(whole):
                places[area.labels[number]].append((len(self._areas), int(number)))
            self._areas.append((area, seen, whole))
            sizes.append(int(seen.sum()))
        self.objects = [len(p) for p in places]
        if not sum(self.objects):
            raise InputError("there is no object to train on", hint="label more, or change data.holdout")
        self._places = [p for p in places if p]
        self._share = np.cumsum(sizes) / sum(sizes)
        self.names = [area.name for area, _, _ in self._areas]

    def __len__(self) -> int:
        return self.count

    def draw(self, generator: torch.Generator, side: int | None = None) -> Sample:
        """A window around an object of a class chosen evenly, or anywhere."""
        side = side or self.side
        first, row, col, kind, which = torch.rand(5, generator=generator).tolist()
        if first < self.elsewhere:
            number = int(np.searchsorted(self._share, kind, side="right").clip(0, len(self._areas) - 1))
            height, width = self._areas[number][1].shape
            top, left = int(row * max(height - side + 1, 1)), int(col * max(width - side + 1, 1))
        else:
            places = self._places[min(int(kind * len(self._places)), len(self._places) - 1)]
            number, k = places[min(int(which * len(places)), len(places) - 1)]
            box = self._areas[number][0].boxes[k]
            # the object's middle may lie anywhere in the window but where half of it would be cut off
            top, left = (
                round((box[axis] + box[axis + 2]) / 2 - side / 2 + (share - 0.5) * max(side - size, 0))
                for axis, share, size in ((1, row, box[3] - box[1]), (0, col, box[2] - box[0]))
            )
        return self._window(number, top, left, side)

    def _window(self, number: int, top: int, left: int, side: int) -> Sample:
        area, seen, whole = self._areas[number]
        height, width = seen.shape
        top = min(max(top, 0), max(height - side, 0))
        left = min(max(left, 0), max(width - side, 0))
        rows, cols = slice(top, min(top + side, height)), slice(left, min(left + side, width))
        near = whole & (clip(area.boxes, (rows.start, cols.start, rows.stop, cols.stop))[1] > 0)
        boxes = area.boxes[near] - [left, top, left, top]
        return {
            "images": [torch.from_numpy(np.array(area.image[:, rows, cols]))],
            "valid": torch.from_numpy(seen[rows, cols].copy()),
            "boxes": torch.from_numpy(boxes).float(),
            "labels": torch.from_numpy(area.labels[near].copy()),
        }


class HeldObjects:
    """The blocks that are held out, one by one; objects that cross a block's border are crowds there.

    Raises:
        InputError: no object lies whole in any of them.
    """

    count = 0

    def __init__(self, areas: Sequence[ObjectArea], classes: tuple[str, ...], held: Sequence[Held]) -> None:
        self.classes = classes
        self._blocks = [(area, block) for area, (blocks,) in zip(areas, held, strict=True) for block in blocks]
        self.names = [f"{area.name} at {block[0]},{block[1]}" for area, block in self._blocks]
        self.objects = [0] * len(classes)
        for area, block in self._blocks:
            for label in area.labels[clip(area.boxes, block)[1] > 1 - 1e-6]:
                self.objects[label] += 1
        if not sum(self.objects):
            raise InputError("there is no object for validation", hint="label more, or change data.holdout")

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> Sample:
        area, block = self._blocks[index]
        top, left, bottom, right = block
        cut, share = clip(area.boxes, block)
        there = share > 0
        boxes: Tensor = torch.from_numpy(cut[there] - [left, top, left, top]).float()
        return {
            "images": [torch.from_numpy(np.array(area.image[:, top:bottom, left:right]))],
            "valid": torch.from_numpy(area.valid[top:bottom, left:right].copy()),
            "boxes": boxes,
            "labels": torch.from_numpy(area.labels[there].copy()),
            "crowd": torch.from_numpy(share[there] < 1 - 1e-6),
        }
