"""Labelled samples for training: of public datasets, and of anyone's scenes with labels of their own.

A *sample* is a dict: ``images``, a list of one tensor [C, H, W] per input of the model, values 0 to 255; and ``label``,
int64 [H, W] with 255 where nothing is known, or int64 [] of a whole image.

Scenes of one's own are aligned once, onto the first scene's grid, into files that are mapped into memory: each block is
decoded once, and a window costs a copy from then on. Labels may be a raster, polygons or points, in any CRS.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pyogrio
import rasterio
import shapely
import torch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT
from shapely.errors import ShapelyError
from torch import Tensor

from codemae_datasets.samplers import seeded
from codemae_geo.classes import DAMAGE_CLASSES, NODATA
from codemae_geo.errors import InputError
from codemae_geo.raster.align import target_grid
from codemae_geo.raster.geo import outline
from codemae_geo.raster.reach import check_driver, check_file, open_raster
from codemae_geo.raster.read import AlignedReader
from codemae_geo.raster.scene import Scene
from codemae_geo.sensors import Family, plan_conversion

Sample = dict[str, Any]
Say = Callable[[str], None]

#: words for damage classes in other people's tables
DAMAGE_WORDS: dict[str, int] = {
    **{c.name: c.value for c in DAMAGE_CLASSES},
    **{str(c.value): c.value for c in DAMAGE_CLASSES},
    **{"no-damage": 1, "no damage": 1, "undamaged": 1, "none": 1},
    **{"minor": 2, "minor-damage": 2, "minor damage": 2, "major": 2, "major-damage": 2, "major damage": 2},
    **{"collapsed": 3, "total": 3},
}
#: labelled pixels of a class that are remembered as places to draw windows around
PLACES = 200_000
#: pixels between what is trained on and what is validated on
MARGIN = 16


# ---------------------------------------------------------------- public datasets


class PublicSamples:
    """Samples of public datasets that are used together.

    Args:
        parts: datasets of :mod:`codemae_datasets.public` with the same classes.
        takes: which samples, by their dataset and item.
    """

    def __init__(self, parts: Sequence[Any], takes: Callable[[Any, Any], bool]) -> None:
        self.classes: tuple[str, ...] = tuple(parts[0].classes)
        self.names: list[str] = []
        self._places: list[tuple[Any, int]] = []
        for part in parts:
            for number, item in enumerate(part.items):
                if takes(part, item):
                    self._places.append((part, number))
                    self.names.append(item.name)

    def __len__(self) -> int:
        return len(self._places)

    def _stored(self, index: int) -> Sample:
        """The dataset's own sample."""
        part, number = self._places[index]
        stored: Sample = part[number]
        return stored


class PublicLabels(PublicSamples):
    """Labelled samples of public datasets that are used together.

    Args:
        parts: datasets of :mod:`codemae_datasets.public` with the same classes.
        inputs: number of images that the model takes.
        keep: which samples, by name; None takes all.
    """

    def __init__(self, parts: Sequence[Any], inputs: int, keep: Callable[[str], bool] | None = None) -> None:
        self.inputs = inputs
        self.colors: tuple[str, ...] = tuple(getattr(parts[0], "colors", ()))
        super().__init__(parts, lambda part, item: keep is None or keep(item.name))

    def __getitem__(self, index: int) -> Sample:
        """One sample.

        Raises:
            InputError: a file cannot be read, or the sample has no label.
        """
        sample = self._stored(index)
        image = sample["image"]
        images = list(image) if image.ndim == 4 else [image]
        images += [sample[key] for key in ("image_sar",) if key in sample]
        label = sample.get("mask", sample.get("label"))
        if label is None:
            raise InputError(f"{self.names[index]} has no label", hint="choose a split that has labels")
        if len(images) != self.inputs:
            raise InputError(
                f"{self.names[index]} has another number of images than the model takes",
                found=str(len(images)),
                expected=str(self.inputs),
                hint="check data.sensors and data.options",
            )
        return {"images": images, "label": label}


# ---------------------------------------------------------------- labels of one's own


@dataclass
class Burnt:
    """Labels on a grid.

    Args:
        label: uint8 [H, W], class numbers, 255 where nothing is known.
        classes: names by number.
        notes: what was decided or left out, for the log.
    """

    label: NDArray[np.uint8]
    classes: tuple[str, ...]
    notes: list[str] = field(default_factory=list)


def read_labels(
    path: str | Path,
    grid: GeoBox,
    *,
    column: str | None = None,
    classes: Mapping[str, Any] | None = None,
    damage: bool = False,
    crs: str | None = None,
    background: bool = False,
    radius: float = 2.0,
) -> Burnt:
    """Labels of a file on a grid.

    Args:
        path: a raster of class values, a folder of such tiles, or polygons or points in any format that OGR reads.
        grid: target pixels; rasters are brought to it by nearest neighbour.
        column: column of the class; may be left out where there is only one.
        classes: name of each class and its value in the file, or a list of values that become this class, in the order
            of the class numbers; None takes the values that occur, in order.
        damage: the classes are those of building damage, under any of their usual names.
        crs: CRS of a file that states none.
        background: what lies outside all polygons is class 0 (for damage) instead of unknown.
        radius: pixels around a point that get its class.

    Raises:
        InputError: unreadable; no CRS; no overlap with the grid; no such column; a class that is not declared.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"there are no labels {path}")
    if path.is_dir():
        return _sample_rasters(path, sorted(path.glob("*.tif")), grid, classes, damage)
    try:
        open_raster(str(path)).close()
    except rasterio.RasterioIOError:
        return _burn(path, grid, column, classes, damage, crs, background, radius)
    return _sample_rasters(path, [path], grid, classes, damage)


def _sample_rasters(
    path: Path, files: Sequence[Path], grid: GeoBox, classes: Mapping[str, Any] | None, damage: bool
) -> Burnt:
    """The first file with a value counts where several have one."""
    notes: list[str] = []
    values, known = np.zeros(grid.shape.yx, np.float32), np.zeros(grid.shape.yx, bool)
    for file in files:
        found, there = _on_grid(file, grid, notes)
        values[there & ~known] = found[there & ~known]
        known |= there
    if not known.any():
        raise _elsewhere(path, "labelled pixels")
    found, counts = np.unique(values[known], return_counts=True)
    numbers, names = _numbers(found.tolist(), classes, damage)
    for value, count in zip(found.tolist(), counts.tolist(), strict=True):
        if value not in numbers:
            raise InputError(
                f"the labels {path} hold a value that is not a class",
                found=f"{value:.15g} in {count} pixels",
                expected=", ".join(k if isinstance(k, str) else f"{k:.15g}" for k in numbers),
                hint="declare it in data.classes, or store it as nodata",
            )
    label = np.full(values.shape, NODATA, np.uint8)
    for value, number in numbers.items():
        label[known & (values == value)] = number
    return Burnt(label, names, notes)


def _on_grid(path: Path, grid: GeoBox, notes: list[str]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values of a label raster on a grid by nearest neighbour, and where there are any."""
    with open_raster(str(path)) as source:
        if source.crs is None:
            raise InputError(f"the labels {path} have no coordinate reference system")
        same = source.transform.almost_equals(grid.affine, 1e-6) and source.shape == grid.shape.yx
        if not same or CRS.from_user_input(source.crs.to_wkt()) != CRS.from_user_input(str(grid.crs)):
            notes.append(f"the labels {path.name} lie on another grid: aligned by nearest neighbour")
        with WarpedVRT(
            source,
            crs=rasterio.CRS.from_user_input(grid.crs.to_wkt()),  # type: ignore[union-attr]
            transform=grid.affine,
            width=grid.shape.x,
            height=grid.shape.y,
            resampling=Resampling.nearest,
            src_nodata=source.nodata,
            nodata=source.nodata,
            add_alpha=source.nodata is None,
        ) as warped:
            values = warped.read(1)
            there = warped.read(2) > 0 if source.nodata is None else values != source.nodata
    return values, there & (values != NODATA)


def _burn(
    path: Path,
    grid: GeoBox,
    column: str | None,
    classes: Mapping[str, Any] | None,
    damage: bool,
    crs: str | None,
    background: bool,
    radius: float,
) -> Burnt:
    frame, notes = read_labelled(path, column=column, crs=crs, to_crs=grid.crs)
    numbers, names = _numbers(sorted(set(frame["class"]), key=_natural), classes, damage)
    counts = frame["class"].value_counts()
    for value in counts.index:
        if value not in numbers:
            raise InputError(
                f"the labels {path} hold a class that is not declared",
                found=f"{value!r} in {counts[value]} features",
                expected=", ".join(map(str, numbers)),
                hint="declare it in data.classes, or correct the file",
            )
    box = outline(grid)
    inside = shapely.intersects(frame.geometry.array, box)
    if not inside.any():
        raise _elsewhere(path, "features")
    if not inside.all():
        notes.append(f"{int((~inside).sum())} of {len(frame)} features of {path.name} fall outside the scene")
    frame = frame[inside]
    points = shapely.get_type_id(frame.geometry.array) == 0
    shapes = np.asarray(frame.geometry.array, dtype=object)
    pixel = float(np.sqrt(abs(grid.affine.determinant)))
    shapes[points] = shapely.buffer(shapes[points], max(radius, 0.5) * pixel)
    order = np.array([numbers[v] for v in frame["class"]])
    first = np.argsort(order, kind="stable")  # where outlines overlap the higher class stays on top
    fill = 0 if background and not points.any() else NODATA
    burnt = rasterize(
        [(shapes[i], int(order[i])) for i in first],
        out_shape=grid.shape.yx,
        transform=grid.affine,
        fill=fill,
        dtype="uint8",
    )
    if damage and fill == NODATA:
        notes.append(f"{path.name}: outside the labelled features nothing is known, so nothing is learnt there")
    return Burnt(burnt, names, notes)


def read_labelled(
    path: str | Path,
    *,
    column: str | None = None,
    crs: str | None = None,
    to_crs: Any = None,
    single: str | None = None,
) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Features with a class: a frame of ``class`` (text or number) and ``geometry``, and what was left out.

    Where no column is named and none can be told, all are of the class ``single``, if that is given.

    Raises:
        InputError: unreadable, empty, without CRS, or without the column.
    """
    notes: list[str] = []
    check_file(path, f"the file {path}")
    try:
        check_driver(pyogrio.read_info(path)["driver"], f"the file {path}")
        frame = pyogrio.read_dataframe(path)
    except (DataSourceError, DataLayerError, ValueError, ShapelyError) as error:
        raise InputError(f"the labels {path} cannot be read", found=str(error).splitlines()[0]) from error
    if not isinstance(frame, gpd.GeoDataFrame):
        raise InputError(f"the labels {path} have no geometry", expected="polygons or points")
    if frame.crs is None and crs is None:
        raise InputError(
            f"the labels {path} have no coordinate reference system",
            expected="a file that states one",
            hint="give it with data.labels_crs=EPSG:...",
        )
    frame = frame.set_crs(crs, allow_override=True) if crs else frame
    others = [c for c in frame.columns if c != frame.geometry.name]
    if column is None and (len(others) > 1 or single is not None):
        column = next((c for c in others if c.lower() in ("class", "damage", "label", "subtype")), None)
    elif column is None and others:
        column = others[0]
    if column is None and single is not None:
        notes.append(f"{Path(path).name}: no column of classes is named, so all are of one class, {single!r}")
        frame, column = frame.assign(**{"class": single}), "class"
        others = [column]
    if column is None or column not in others:
        raise InputError(
            f"the labels {path} have no column {column!r}" if column else f"which column of {path} holds the class?",
            found=", ".join(others) or "no columns",
            hint="name it with data.column=NAME",
        )
    missing = frame[column].isna() | frame.geometry.isna() | frame.geometry.is_empty
    if missing.any():
        notes.append(f"{int(missing.sum())} of {len(frame)} features without a class or a geometry are left out")
        frame = frame[~missing]
    if frame.empty:
        raise InputError(f"the labels {path} hold no feature with a class")
    shapes = shapely.force_2d(np.asarray(frame.geometry.array, dtype=object))
    if not np.isfinite(shapely.get_coordinates(shapes)).all():
        raise InputError(f"the labels {path} have coordinates that are no numbers", hint="remove these features")
    broken = ~shapely.is_valid(shapes)
    if broken.any():
        notes.append(f"{int(broken.sum())} features with invalid rings are repaired")
        shapes[broken] = shapely.make_valid(shapes[broken])
    values = [v.item() if isinstance(v, np.generic) else v for v in frame[column]]
    values = [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]
    if not all(isinstance(v, Hashable) for v in values):
        raise InputError(f"the column {column!r} of {path} holds lists, not classes", option="column")
    out = gpd.GeoDataFrame({"class": values}, geometry=shapes, crs=frame.crs)
    out["class"] = out["class"].astype(object)
    return (out if to_crs is None else out.to_crs(CRS.from_user_input(str(to_crs)))), notes


def damage_number(value: Any) -> int | None:
    """The damage class that a word or number of a table means; None for none."""
    if isinstance(value, float) and value.is_integer():  # of a raster
        value = int(value)
    return DAMAGE_WORDS.get(str(value).strip().casefold().replace("_", "-"))


def _numbers(
    values: Sequence[Any], classes: Mapping[str, Any] | None, damage: bool
) -> tuple[dict[Any, int], tuple[str, ...]]:
    """Class number of each value, and names by number."""
    if classes:
        listed = [v if isinstance(v, list) else [v] for v in classes.values()]
        return {value: number for number, group in enumerate(listed) for value in group}, tuple(classes)
    if damage:
        known = {value: damage_number(value) for value in values}
        return {v: n for v, n in known.items() if n is not None}, tuple(DAMAGE_CLASSES.names)
    return {value: number for number, value in enumerate(values)}, tuple(
        str(v) if isinstance(v, str) else f"class {v:g}" for v in values
    )


def _natural(value: Any) -> tuple[int, Any]:
    return (1, value) if isinstance(value, str) else (0, value)


def _elsewhere(path: Path, what: str) -> InputError:
    return InputError(
        f"the labels {path} and the images do not overlap",
        found=f"none of its {what} lies in the scene",
        expected="labels of the same place",
        hint="check the labels' CRS",
    )


# ---------------------------------------------------------------- scenes of one's own


@dataclass(frozen=True)
class LabelledArea:
    """One scene, or a pair of dates, with its labels, aligned.

    Args:
        name: of the scene, or of the event.
        images: uint8 [C, H, W] of each input.
        valid: bool [H, W], where all inputs have a measurement.
        label: uint8 [H, W], see :class:`Burnt`; 255 where not valid.
        grid: of the pixels.
    """

    name: str
    images: Sequence[NDArray[np.uint8]]
    valid: NDArray[np.bool_]
    label: NDArray[np.uint8]
    grid: GeoBox


def align_area(
    scenes: Sequence[Scene], name: str, labels: Callable[[GeoBox], Burnt], folder: Path, say: Say
) -> tuple[LabelledArea, tuple[str, ...]]:
    """Bring scenes onto the first one's grid, as 0 to 255, into files below ``folder``; and their labels.

    Returns:
        the area and the names of its classes.

    Raises:
        InputError: the labels do not overlap the scenes, or a scene cannot be read.
    """
    grid = target_grid(scenes[0], scenes[1] if len(scenes) > 1 else None)
    burnt = labels(grid)  # first: what is wrong with labels is told before scenes are read
    for note in burnt.notes:
        say(note)
    images, valid = align_images(scenes, name, grid, folder, say)
    label = burnt.label
    label[~valid] = NODATA
    if (label == NODATA).all():
        raise InputError(
            f"no labelled pixel of {name} has an image of every input",
            hint="check that the scenes cover the labels",
        )
    return LabelledArea(name, images, valid, label, grid), burnt.classes


def align_images(
    scenes: Sequence[Scene], name: str, grid: GeoBox, folder: Path, say: Say
) -> tuple[list[NDArray[np.uint8]], NDArray[np.bool_]]:
    """Scenes on a grid as 0 to 255, each [C, H, W] in a file below ``folder``; and where all have a measurement [H, W].

    Raises:
        InputError: a scene cannot be read.
    """
    height, width = grid.shape.yx
    valid = np.ones((height, width), bool)
    images: list[NDArray[np.uint8]] = []
    for number, scene in enumerate(scenes):
        needs = scene.unit != "uint8"
        sample, known = scene.sample() if needs else (None, None)
        conversion = plan_conversion(scene.family, scene.unit, "uint8", sample, known)
        say(f"{name}, {scene.role}: {conversion.describe()}")
        path = folder / f"{name}_{number}.dat"
        image = np.memmap(path, np.uint8, "w+", shape=(scene.band_count, height, width))
        with AlignedReader(scene, grid, conversion) as reader:
            for row in range(0, height, 256):
                rows = reader.read_rows(row, min(row + 256, height))
                image[:, row : row + 256] = rows.data
                valid[row : row + 256] &= rows.valid
        images.append(image)
    return images, valid


class SceneLabels:
    """Windows of labelled areas: drawn at random to train on, side by side to validate on.

    Args:
        areas: aligned areas.
        classes: names by number.
        side: of a window in pixels; areas that are smaller give smaller windows.
        count: windows drawn per epoch; 0 takes every window once, side by side.
        seed: of the draws.
        balance: draw around a pixel of a class chosen evenly among those that occur, instead of any labelled pixel.
        part: "all", or what :func:`split_blocks` gave to training or validation.
        blocks: True where validation is, by area.

    Raises:
        InputError: nothing is labelled here.
    """

    def __init__(
        self,
        areas: Sequence[LabelledArea],
        classes: tuple[str, ...],
        side: int,
        *,
        count: int = 0,
        seed: int = 0,
        balance: bool = True,
        labels: Sequence[NDArray[np.uint8]] | None = None,
        what: str = "training",
    ) -> None:
        self.areas, self.classes, self.side, self.balance = list(areas), classes, side, balance
        self.colors: tuple[str, ...] = ()
        self.labels = [a.label for a in areas] if labels is None else list(labels)
        self.count, self.seed, self.inputs = count, seed, len(areas[0].images)
        self.pixels = np.zeros(len(classes), np.int64)
        places: list[list[NDArray[np.int64]]] = [[] for _ in classes]
        for number, label in enumerate(self.labels):
            for k in range(len(classes)):
                where = np.flatnonzero(label.ravel() == k)
                self.pixels[k] += len(where)
                if len(where) > PLACES:
                    where = np.random.default_rng([seed, number, k]).choice(where, PLACES, replace=False)
                rows, cols = np.divmod(where, label.shape[1])
                places[k].append(np.stack([np.full_like(rows, number), rows, cols], 1))
        if not self.pixels.any():
            raise InputError(f"there is no labelled pixel for {what}", hint="label more, or change data.holdout")
        self._places = [np.concatenate(p) for p in places if sum(map(len, p))]
        self._grid = [
            (number, row, col)
            for number, label in enumerate(self.labels)
            for row in _starts(label.shape[0], side)
            for col in _starts(label.shape[1], side)
            if (label[row : row + side, col : col + side] != NODATA).any()
        ]
        self.names = [f"{self.areas[n].name} at {row},{col}" for n, row, col in self._grid]

    def __len__(self) -> int:
        return self.count or len(self._grid)

    def draw(self, generator: torch.Generator) -> Sample:
        """A window around a labelled pixel."""
        if self.balance:
            rows = self._places[int(torch.randint(len(self._places), (), generator=generator))]
            number, row, col = rows[int(torch.randint(len(rows), (), generator=generator))]
        else:
            pick = int(torch.randint(sum(map(len, self._places)), (), generator=generator))
            for rows in self._places:
                if pick < len(rows):
                    number, row, col = rows[pick]
                    break
                pick -= len(rows)
        height, width = self.labels[number].shape
        shift = torch.rand(2, generator=generator).tolist()
        top, left = (int(centre - share * self.side) for centre, share in zip((row, col), shift, strict=True))
        return self._window(int(number), *_inside(top, height, self.side), *_inside(left, width, self.side))

    def __getitem__(self, index: int) -> Sample:
        """The windows side by side; with ``count`` see :meth:`draw`."""
        number, row, col = self._grid[index]
        return self._window(number, row, row + self.side, col, col + self.side)

    def _window(self, number: int, top: int, bottom: int, left: int, right: int) -> Sample:
        area = self.areas[number]
        valid = area.valid[top:bottom, left:right]
        label = self.labels[number][top:bottom, left:right].astype(np.int64)
        images = [torch.from_numpy(np.array(image[:, top:bottom, left:right])) for image in area.images]
        return {"images": images, "label": torch.from_numpy(label), "valid": torch.from_numpy(valid.copy())}


def split_blocks(
    area: LabelledArea, share: float, block: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Labels to train on and labels to validate on, apart by blocks of the area and a margin between them.

    Blocks that hold labels are dealt out: every class' blocks, rare classes first, until validation has its share.

    Args:
        area: what to split.
        share: of the labelled blocks that validate, 0 to 1.
        block: side of a block in pixels.
        seed: of the deal.
    """
    height, width = area.label.shape
    rows, cols = -(-height // block), -(-width // block)
    labelled = [
        (r, c)
        for r in range(rows)
        for c in range(cols)
        if (area.label[r * block : (r + 1) * block, c * block : (c + 1) * block] != NODATA).any()
    ]
    if len(labelled) < 2:
        raise InputError(
            f"the labels of {area.name} lie in one block of {block} x {block} pixels, which cannot be split",
            hint="set a smaller data.block, or hold another scene out",
        )
    order = np.random.default_rng(seed).permutation(len(labelled))
    chosen = {labelled[i] for i in order[: min(max(round(share * len(labelled)), 1), len(labelled) - 1)]}
    held = np.zeros((height, width), bool)
    for r, c in chosen:
        held[r * block : (r + 1) * block, c * block : (c + 1) * block] = True
    near = np.zeros_like(held)
    for r, c in chosen:
        top, left = max(r * block - MARGIN, 0), max(c * block - MARGIN, 0)
        near[top : (r + 1) * block + MARGIN, left : (c + 1) * block + MARGIN] = True
    train, validation = area.label.copy(), area.label.copy()
    train[near] = NODATA
    validation[~held] = NODATA
    return train, validation


def scratch_folder(owner: Any) -> Path:
    """A temporary folder that is removed when ``owner`` is."""
    folder = tempfile.TemporaryDirectory(prefix="codemae-")
    weakref.finalize(owner, folder.cleanup)
    return Path(folder.name)


def open_areas(
    groups: Sequence[Sequence[Sequence[str | Path]]],
    families: Sequence[Family],
    roles: Sequence[str],
    labels: Sequence[str | Path],
    folder: Path,
    say: Say,
    **options: Any,
) -> tuple[list[LabelledArea], tuple[str, ...]]:
    """Areas of scenes given by their files.

    Args:
        groups: for each area, for each input, the files of its scene (a mosaic if several).
        families, roles: of the inputs.
        labels: one file for all areas, or one for each.
        folder: for the aligned pixels.
        say: told what was decided.
        options: see :func:`read_labels`.

    Raises:
        InputError: see :func:`align_area`; or areas whose classes differ.
    """
    files = list(labels) * len(groups) if len(labels) == 1 else list(labels)
    if len(files) != len(groups):
        raise InputError(
            "labels and scenes do not go together",
            found=f"{len(files)} label files, {len(groups)} scenes",
            expected="one label file for all scenes, or one for each",
        )
    areas: list[LabelledArea] = []
    classes: tuple[str, ...] = ()
    for number, (group, file) in enumerate(zip(groups, files, strict=True)):
        scenes = [
            Scene.open([str(p) for p in paths], role=role, family=family)
            for paths, role, family in zip(group, roles, families, strict=True)
        ]
        name = Path(group[0][0]).stem
        if any(a.name == name for a in areas):
            name = f"{name}-{number + 1}"
        area, found = align_area(scenes, name, lambda grid, file=file: read_labels(file, grid, **options), folder, say)  # type: ignore[misc]
        if classes and found != classes:
            raise InputError(
                "the label files have different classes",
                found=f"{', '.join(found)}; before {', '.join(classes)}",
                hint="declare all of them in data.classes",
            )
        classes = found
        areas.append(area)
    return areas, classes


def missing_classes(pixels: NDArray[np.int64], classes: Sequence[str]) -> list[str]:
    """Names of the classes that have no pixel."""
    return [name for name, count in zip(classes, pixels.tolist(), strict=True) if not count]


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    return sorted({*range(0, length - side, side), length - side})


def _inside(start: int, length: int, side: int) -> tuple[int, int]:
    start = min(max(start, 0), max(length - side, 0))
    return start, min(start + side, length)


Part = Literal["training", "validation", "test"]


def measure(source: Any, count: int = 64) -> list[tuple[list[float], list[float]]]:
    """Mean and deviation of each input, per channel on 0 to 255, over samples spread over a source."""
    step = max(len(source) // count, 1)
    sums: list[Tensor] = []
    for index in range(0, len(source), step):
        sample = source.draw(seeded(0, index)) if getattr(source, "count", 0) else source[index]
        valid = sample.get("valid")
        for number, image in enumerate(sample["images"]):
            pixels = image.double().flatten(1) if valid is None else image.double()[:, valid]
            moments = torch.stack([torch.full((len(image),), pixels.shape[1]), pixels.sum(1), pixels.square().sum(1)])
            if number == len(sums):
                sums.append(moments)
            else:
                sums[number] += moments
    found = []
    for total in sums:
        mean = total[1] / total[0].clamp(min=1)
        deviation = (total[2] / total[0].clamp(min=1) - mean.square()).clamp(min=1.0).sqrt()
        found.append(([round(v, 2) for v in mean.tolist()], [round(v, 2) for v in deviation.tolist()]))
    return found
