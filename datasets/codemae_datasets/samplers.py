"""Which windows and which images an epoch takes, in what order, on which rank.

All randomness is a function of (seed, epoch): whoever knows these knows every batch, so a run that was stopped needs
only the number of batches it has done, and N processes deal out what one process would have used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import shapely
import torch
from torch.utils.data import Sampler

from codemae_datasets.pairs import PairSource
from codemae_geo.errors import InputError
from codemae_geo.raster.geo import transform_points
from codemae_geo.tiling.plan import axis_starts

#: (left, bottom, right, top) in CRS units
Bounds = tuple[float, float, float, float]


def seeded(*numbers: int) -> torch.Generator:
    """A generator whose state depends on every one of the numbers."""
    state = 0
    for number in numbers:
        state = (state * 6364136223846793005 + number + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(state)


def deal_batches(
    paired: Sequence[Any], unpaired: Sequence[Any], batch: int, generator: torch.Generator, shuffle: bool = True
) -> list[list[Any]]:
    """Shuffle both lists, cut each into whole batches, mix the batches. What does not fill a batch waits for its turn.

    Args:
        batch: items per batch, over all ranks.
        shuffle: False keeps the order of both lists, which then take turns at random.

    Raises:
        InputError: a list that is not empty does not fill one batch, so none of its images would ever be seen.
    """
    batches: list[list[Any]] = []
    for items, what in ((paired, "pairs"), (unpaired, "unpaired images")):
        if 0 < len(items) < batch:
            raise InputError(
                f"a batch is larger than the {what} there are",
                found=f"{batch} in a batch, {len(items)} {what}",
                expected=f"at most {len(items)}",
                hint=f"set train.batch={len(items)} or less",
            )
        order = torch.randperm(len(items), generator=generator).tolist() if shuffle else range(len(items))
        whole = len(items) // batch * batch
        batches += [[items[i] for i in order[k : k + batch]] for k in range(0, whole, batch)]
    turns = torch.randperm(len(batches), generator=generator).tolist()
    if not shuffle:
        first = len(paired) // batch
        queues = iter(batches[:first]), iter(batches[first:])
        return [next(queues[turn >= first]) for turn in turns]
    return [batches[i] for i in turns]


class PairBatchSampler(Sampler[list[Any]]):
    """Batch sampler of one rank; give it to a loader as ``batch_sampler``.

    Args:
        source: what to draw from.
        batch: items per batch over all ranks; divides by ``world``.
        seed: of everything drawn.
        rank, world: this process, number of processes.
        accumulate: batches per optimizer step; an epoch ends with a whole step.

    Set ``epoch`` and ``start`` (batches of the epoch already done) before iterating.

    Raises:
        InputError: the batch does not divide by the ranks, or is larger than the dataset.
    """

    def __init__(
        self, source: PairSource, batch: int, seed: int = 0, rank: int = 0, world: int = 1, accumulate: int = 1
    ) -> None:
        if batch % world:
            raise InputError(
                "the batch cannot be dealt out evenly",
                found=f"{batch} items, {world} processes",
                expected=f"a multiple of {world}",
                hint=f"set train.batch={max(world, batch // world * world) * accumulate}",
            )
        self.source, self.batch, self.seed = source, batch, seed
        self.rank, self.world, self.accumulate = rank, world, accumulate
        self.epoch = 0
        self.start = 0
        self._dealt: tuple[int, list[list[Any]]] | None = None
        if not len(self):
            raise InputError(
                "an optimizer step needs more images than there are",
                found=f"{batch * accumulate} images in a step",
                hint="set a smaller train.batch",
            )

    def batches(self) -> list[list[Any]]:
        """All batches of the epoch, for all ranks."""
        if self._dealt is None or self._dealt[0] != self.epoch:
            generator = seeded(self.seed, self.epoch)
            paired, unpaired = self.source.paired_items(generator), self.source.unpaired_items(generator)
            shuffle = not getattr(self.source, "ordered", False)
            dealt = deal_batches(paired, unpaired, self.batch, generator, shuffle)
            self._dealt = (self.epoch, dealt[: len(dealt) // self.accumulate * self.accumulate])
        return self._dealt[1]

    def __iter__(self) -> Iterator[list[Any]]:
        share = self.batch // self.world
        for items in self.batches()[self.start :]:
            yield items[self.rank * share : (self.rank + 1) * share]

    def __len__(self) -> int:
        """Batches of a whole epoch, the same on every rank and in every epoch."""
        return len(self.batches())


class EpochBatches(Sampler[list[int]]):
    """Batch sampler of one rank over a dataset of known length, each epoch in an order of its own.

    Args:
        length: samples of the dataset.
        batch: items per batch over all ranks; divides by ``world``.
        seed: of the orders.
        rank, world: this process, number of processes.
        accumulate: batches per optimizer step; an epoch ends with a whole step.
        samples: items of an epoch: the dataset is repeated and cut to so many before it is shuffled; None: its length.

    What does not fill a step is left out of the epoch, and another epoch leaves out others. Set ``epoch`` and ``start``
    (batches of the epoch already done) before iterating.

    Raises:
        InputError: the dataset is empty, the batch does not divide by the ranks, or the dataset does not fill one step.
    """

    def __init__(
        self,
        length: int,
        batch: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
        samples: int | None = None,
    ) -> None:
        if batch % world:
            raise InputError(
                "the batch cannot be dealt out evenly",
                found=f"{batch} items, {world} processes",
                expected=f"a multiple of {world}",
                hint=f"set train.batch={max(world, batch // world * world) * accumulate}",
            )
        self.length, self.batch, self.seed = length, batch, seed
        self.rank, self.world, self.accumulate = rank, world, accumulate
        self.samples = length if samples is None else samples
        self.epoch = 0
        self.start = 0
        if not length or not len(self):
            raise InputError(
                "an optimizer step needs more samples than there are",
                found=f"{self.samples if length else 0} samples, {batch * accumulate} in a step",
                hint=f"set train.batch={max(self.samples, 1)} or less" if length else "check which samples are chosen",
            )

    def __iter__(self) -> Iterator[list[int]]:
        order = (torch.randperm(self.samples, generator=seeded(self.seed, self.epoch)) % self.length).tolist()
        share = self.batch // self.world
        for number in range(self.start, len(self)):
            first = number * self.batch + self.rank * share
            yield order[first : first + share]

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self.samples // (self.batch * self.accumulate) * self.accumulate


# ---------------------------------------------------------------------------------------------------- windows


#: points along one side of a window at which its validity is looked up, at most
MAX_POINTS = 257
#: rounds of drawing before it is said that there is no room
ROUNDS = 200


class Place(NamedTuple):
    """A rectangle that windows may lie in, on the pixels of a dataset, with its span of time."""

    left: float
    bottom: float
    right: float
    top: float
    start: Any = None
    stop: Any = None


def find_places(
    dataset: Any, size: tuple[int, int], roi: Any = None, toi: tuple[Any, Any] | None = None, around: bool = False
) -> list[Place]:
    """The rectangles of a dataset's index that have room for a window, in a fixed order.

    Args:
        dataset: any torchgeo dataset.
        size: (rows, columns) of a window.
        roi: a shapely geometry or (left, bottom, right, top); only its extent counts here.
        toi: (start, stop) that a scene's time must touch.
        around: a scene without room counts as well, as the rectangle in which a window covers it.

    Raises:
        InputError: there is no room.
    """
    (dx, dy), limits = dataset.res, None if roi is None else roi_bounds(roi)
    snap, names = _snapping(dataset)
    parts, row = shapely.get_parts(np.asarray(dataset.index.geometry.values), return_index=True)
    starts, stops = dataset.index.index.left, dataset.index.index.right
    found: list[Place] = []
    for (left, bottom, right, top), i in zip(shapely.bounds(parts).tolist(), row.tolist(), strict=True):
        if limits is not None:
            left, bottom = max(left, limits[0]), max(bottom, limits[1])
            right, top = min(right, limits[2]), min(top, limits[3])
        if toi is not None and (starts[i] > toi[1] or stops[i] < toi[0]):
            continue
        small = (right - left) / dx < size[1] - 0.5 or (top - bottom) / dy < size[0] - 0.5
        if right <= left or top <= bottom or (small and not around):
            continue
        left, top = snap(left, top, names[i])
        cols, rows = math.floor((right - left) / dx + 1e-3), math.floor((top - bottom) / dy + 1e-3)
        if small:  # a window has as many places to cover the scene as it is longer
            more = max(size[1] - cols, 0), max(size[0] - rows, 0)
            left, top, cols, rows = left - more[0] * dx, top + more[1] * dy, cols + 2 * more[0], rows + 2 * more[1]
        if cols >= size[1] and rows >= size[0]:
            found.append(Place(left, top - rows * dy, left + cols * dx, top, starts[i], stops[i]))
    if not found:
        raise InputError(
            "no scene has room for a window",
            found=f"{len(parts)} scenes or overlaps of scenes",
            expected=f"at least {size[0]} x {size[1]} pixels" + (" inside the region asked for" if limits else ""),
            hint="use a smaller window",
        )
    return sorted(found, key=lambda p: p[:4])


def valid_share(dataset: Any, bounds: Bounds, size: tuple[int, int], time: slice | None = None) -> float:
    """Share of a window with measurements at a time (None is any), by the coarse masks of the dataset's files.

    1.0 means that every pixel is valid wherever the coarse masks are exact (see
    :func:`codemae_datasets.reading.coarse_mask`). A dataset that does not know counts as valid.
    """
    if not hasattr(dataset, "valid_at"):
        return 1.0
    if getattr(dataset, "solid", False):
        return 1.0
    left, bottom, right, top = bounds
    dx, dy = (right - left) / size[1], (top - bottom) / size[0]
    counts = [min(-(-n // 8) + 1, MAX_POINTS) for n in size]  # finer than half a cell of the masks
    # centres of the outermost pixels, and between
    x = np.linspace(left + dx / 2, right - dx / 2, counts[1])
    y = np.linspace(top - dy / 2, bottom + dy / 2, counts[0])
    gx, gy = np.meshgrid(x, y)
    return float(dataset.valid_at(gx.ravel(), gy.ravel(), time).mean())


class WindowSampler(Sampler[Any]):
    """Windows for a loader, as the slices that torchgeo's datasets are indexed with.

    All of an epoch is drawn at once from one generator, in the process that iterates; so neither the number of workers
    nor that of ranks changes which windows there are. Every rank gets the same number.

    Args:
        dataset: any torchgeo dataset; those of :mod:`codemae_datasets.scenes` know where they are valid.
        size: side of a window in pixels, or (rows, columns).
        seed: the draws are a function of ``seed`` and ``epoch``.
        generator: draw from this one instead, going on from epoch to epoch; on several ranks it must be in the same
            state.
        rank, world: this process, number of processes.

    Set ``epoch`` (or call :meth:`set_epoch`) before iterating.
    """

    def __init__(
        self,
        dataset: Any,
        size: int | tuple[int, int],
        *,
        seed: int = 0,
        generator: torch.Generator | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.dataset = dataset
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        self.seed, self.generator, self.rank, self.world = seed, generator, rank, world
        self.epoch = 0
        if min(self.size) < 1 or not 0 <= rank < world:
            raise InputError("the sampler cannot be set up", found=f"size {self.size}, rank {rank} of {world}")

    def windows(self, generator: torch.Generator) -> list[Place]:
        """All windows of an epoch, for all ranks."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, as with torch's distributed sampler."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[slice, slice, slice]]:
        windows = self.windows(self.generator or seeded(self.seed, self.epoch))
        share = -(-len(windows) // self.world)
        padded = (windows * self.world)[: share * self.world] if len(windows) < self.world else windows
        padded = padded + padded[: share * self.world - len(padded)]
        for w in padded[self.rank :: self.world]:
            yield slice(w.left, w.right), slice(w.bottom, w.top), slice(w.start, w.stop)


class RandomWindows(WindowSampler):
    """Windows at random places that are valid, for pairs where both are.

    torchgeo's ``RandomGeoSampler`` chooses the tile without its generator, so a seed does not fix what it yields, and
    knows only the bounds of files.

    Args:
        dataset, size, seed, generator, rank, world: see :class:`WindowSampler`.
        length: windows per epoch over all ranks; None is as many as fit side by side.
        balance: ``area`` makes every place on the ground equally likely, however many scenes show it; ``scene`` every
            scene (or overlap of scenes) equally likely, however small.
        min_valid: smallest share of valid pixels, 0 to 1; below 1 a scene smaller than a window is covered by one.
        roi: a shapely geometry in the dataset's CRS, or (left, bottom, right, top); windows lie inside.
        toi: (start, stop); scenes of other times are left out.

    Raises:
        InputError: there is no room, or hardly any valid window.
    """

    def __init__(
        self,
        dataset: Any,
        size: int | tuple[int, int],
        length: int | None = None,
        *,
        balance: Literal["area", "scene"] = "area",
        min_valid: float = 1.0,
        roi: Any = None,
        toi: tuple[Any, Any] | None = None,
        seed: int = 0,
        generator: torch.Generator | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__(dataset, size, seed=seed, generator=generator, rank=rank, world=world)
        if balance not in ("area", "scene"):
            raise InputError(f"there is no balance {balance!r}", expected="area or scene")
        self.balance, self.min_valid = balance, min_valid
        self.roi = None if roi is None else roi if hasattr(roi, "bounds") else shapely.box(*roi)
        self.places = find_places(dataset, self.size, roi, toi, around=min_valid < 1)
        self._corners = np.array([p[:4] for p in self.places])
        self.res = (float(dataset.res[0]), float(dataset.res[1]))
        c = self._corners
        pixels = ((c[:, 2] - c[:, 0]) / self.res[0] * (c[:, 3] - c[:, 1]) / self.res[1]).sum()
        self.length = max(round(pixels / (self.size[0] * self.size[1])), 1) if length is None else length

    def __len__(self) -> int:
        return -(-self.length // self.world)

    def windows(self, generator: torch.Generator) -> list[Place]:
        """See :class:`WindowSampler`."""
        weights = self._areas() if self.balance == "area" else torch.ones(len(self.places), dtype=torch.float64)
        chosen: list[Place] = []
        for _ in range(ROUNDS):
            rows = torch.multinomial(weights, self.length, replacement=True, generator=generator).tolist()
            draws = torch.rand(self.length, 3, generator=generator, dtype=torch.float64).tolist()
            for i, (u, v, luck) in zip(rows, draws, strict=True):
                window = self._put(self.places[i], u, v)
                if self._accept(window, luck):
                    chosen.append(window)
                    if len(chosen) == self.length:
                        return chosen
        raise InputError(
            "there is hardly any valid window",
            found=f"{len(chosen)} of {ROUNDS * self.length} tried",
            expected=f"windows of {self.size[0]} x {self.size[1]} pixels, {self.min_valid:.0%} of them valid",
            hint="use a smaller window, a lower min_valid, or another region",
        )

    def _areas(self) -> torch.Tensor:
        """Number of positions of a window in each place."""
        c = self._corners
        cols = np.rint((c[:, 2] - c[:, 0]) / self.dataset.res[0]) - self.size[1] + 1
        rows = np.rint((c[:, 3] - c[:, 1]) / self.dataset.res[1]) - self.size[0] + 1
        return torch.from_numpy(cols * rows)

    def _put(self, place: Place, u: float, v: float) -> Place:
        """The window at share (u, v) of the positions in a place, whole pixels from its corner."""
        dx, dy = self.res
        cols = round((place.right - place.left) / dx) - self.size[1]
        rows = round((place.top - place.bottom) / dy) - self.size[0]
        left = place.left + int(u * (cols + 1)) * dx
        top = place.top - int(v * (rows + 1)) * dy
        return Place(left, top - self.size[0] * dy, left + self.size[1] * dx, top, place.start, place.stop)

    def _accept(self, window: Place, luck: float) -> bool:
        if self.balance == "area":  # a place that several scenes show comes up that much more often
            c, ex, ey = self._corners, self.res[0] / 2, self.res[1] / 2
            inside = (c[:, 0] < window.left + ex) & (c[:, 1] < window.bottom + ey)
            inside &= (c[:, 2] > window.right - ex) & (c[:, 3] > window.top - ey)
            if luck * inside.sum() >= 1:
                return False
        if self.roi is not None and not self.roi.covers(shapely.box(*window[:4])):
            return False
        time = None if window.start is None else slice(window.start, window.stop)
        return self.min_valid <= 0 or valid_share(self.dataset, window[:4], self.size, time) >= self.min_valid


class ClassBalancedWindows(RandomWindows):
    """Windows around pixels of classes that are drawn as often as each other, or as ``weights`` say.

    A class is drawn, then a small cell by its pixels of the class, then a window that holds the cell.

    Args:
        dataset: what the windows are for, the labels included where samples shall have a mask.
        size, length, min_valid, roi, seed, generator, rank, world: see :class:`RandomWindows`.
        labels: a :class:`~codemae_datasets.scenes.LabelScenes`; every file is read once, here.
        classes: the values that take part; None is all that occur.
        weights: how often each of them is drawn.

    Raises:
        InputError: a class does not occur, or as in :class:`RandomWindows`.
    """

    def __init__(
        self,
        dataset: Any,
        labels: Any,
        size: int | tuple[int, int],
        length: int | None = None,
        *,
        classes: Sequence[int] | None = None,
        weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset, size, length, balance="scene", **kwargs)
        cell = max(1, min(32, min(self.size) // 2))
        self._cells, counts = _class_cells(labels, dataset.crs, cell, self.places)
        present = np.flatnonzero(counts.sum(0)).tolist()
        self.classes = present if classes is None else list(classes)
        if missing := sorted(set(self.classes) - set(present)):
            raise InputError(
                f"the class {missing[0]} does not occur", expected=", ".join(map(str, present)) or "a class"
            )
        if weights is not None and (len(weights) != len(self.classes) or min(weights) < 0 or sum(weights) <= 0):
            raise InputError("the weights do not fit", found=str(list(weights)), expected=f"for {self.classes}")
        self.weights = torch.tensor(weights or [1.0] * len(self.classes), dtype=torch.float64)
        self._counts = [np.cumsum(counts[:, c]) for c in self.classes]

    def windows(self, generator: torch.Generator) -> list[Place]:
        """See :class:`WindowSampler`."""
        chosen: list[Place] = []
        for _ in range(ROUNDS):
            drawn = torch.multinomial(self.weights, self.length, replacement=True, generator=generator).tolist()
            draws = torch.rand(self.length, 3, generator=generator, dtype=torch.float64).tolist()
            for k, (pick, along, down) in zip(drawn, draws, strict=True):
                total = self._counts[k]
                cell = self._cells[int(np.searchsorted(total, pick * total[-1], side="right"))]
                window = self._around(self.places[int(cell[4])], cell[:4].tolist(), along, down)
                if self._accept(window, 0.0):
                    chosen.append(window)
                    if len(chosen) == self.length:
                        return chosen
        raise InputError("there is hardly any valid window around these classes", hint="use a smaller window")

    def _around(self, place: Place, cell: Sequence[float], along: float, down: float) -> Place:
        """A window in a place that holds a cell, at share (along, down) of the positions that do."""
        (dx, dy), (rows, cols) = self.res, self.size
        first = (cell[2] - place.left) / dx - cols, (place.top - cell[1]) / dy - rows
        last = (cell[0] - place.left) / dx, (place.top - cell[3]) / dy
        col, row = (round(a + share * (b - a)) for a, b, share in zip(first, last, (along, down), strict=True))
        col = min(max(col, 0), round((place.right - place.left) / dx) - cols)
        row = min(max(row, 0), round((place.top - place.bottom) / dy) - rows)
        left, top = place.left + col * dx, place.top - row * dy
        return Place(left, top - rows * dy, left + cols * dx, top, place.start, place.stop)


class GridWindows(WindowSampler):
    """Windows side by side, the last of a row or column pulled back, so that every pixel is covered.

    Scenes that touch or overlap are covered together. Where they are smaller than a window, it reaches beyond them;
    what lies outside is not ``valid`` in the sample. On several ranks the first windows come twice to fill up.

    Args:
        dataset, size, rank, world: see :class:`WindowSampler`.
        stride: step in pixels, or (rows, columns), at most ``size``; None is ``size``.
        roi: (left, bottom, right, top) or a shapely geometry; windows that do not touch it are left out.

    Raises:
        InputError: the stride leaves gaps.
    """

    def __init__(
        self,
        dataset: Any,
        size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        *,
        roi: Any = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__(dataset, size, rank=rank, world=world)
        step = self.size if stride is None else (stride, stride) if isinstance(stride, int) else tuple(stride)
        if not (0 < step[0] <= self.size[0] and 0 < step[1] <= self.size[1]):
            raise InputError("the stride leaves gaps", found=str(step), expected=f"1 to {self.size}")
        self.items = grid_windows(dataset, self.size, (int(step[0]), int(step[1])), roi)

    def __len__(self) -> int:
        return -(-len(self.items) // self.world)

    def windows(self, generator: torch.Generator) -> list[Place]:
        """See :class:`WindowSampler`; nothing is drawn."""
        return self.items


def grid_windows(dataset: Any, size: tuple[int, int], stride: tuple[int, int], roi: Any = None) -> list[Place]:
    """Windows of ``size`` (rows, columns) in steps of ``stride`` that cover every footprint of a dataset."""
    (dx, dy), time = dataset.res, dataset.bounds[2]
    region = None if roi is None else roi if hasattr(roi, "bounds") else shapely.box(*roi)
    snap, names = _snapping(dataset)
    shapes, entry = shapely.get_parts(np.asarray(dataset.index.geometry.values), return_index=True)
    tree = shapely.STRtree(shapes)
    found: list[Place] = []
    near = shapely.union_all(shapely.buffer(shapes, min(dx, dy) / 2, cap_style="square", join_style="mitre"))
    for group in shapely.get_parts(near):
        numbers = np.sort(tree.query(group, predicate="intersects"))
        members = shapes[numbers]
        left, bottom, right, top = shapely.total_bounds(members).tolist()
        x, y = snap(left, top, names[entry[numbers[0]]])
        left, top = x - dx * (x > left + dx / 1000), y + dy * (y < top - dy / 1000)
        cols = max(math.ceil((right - left) / dx - 1e-3), 1)
        rows = max(math.ceil((top - bottom) / dy - 1e-3), 1)
        local = shapely.STRtree(members)
        boxes: list[Bounds] = []
        for row in axis_starts(rows, size[0], stride[0]):
            for col in axis_starts(cols, size[1], stride[1]):
                x0, y1 = left + col * dx, top - row * dy
                boxes.append((x0, y1 - size[0] * dy, x0 + size[1] * dx, y1))
        corners = np.array(boxes)
        inner = shapely.box(
            corners[:, 0] + dx / 1000, corners[:, 1] + dy / 1000, corners[:, 2] - dx / 1000, corners[:, 3] - dy / 1000
        )
        hit = np.unique(local.query(inner, predicate="intersects")[0])
        if region is not None:
            hit = hit[shapely.intersects(inner[hit], region)]
        found += [Place(*boxes[int(i)], time.start, time.stop) for i in hit]
    return found


def _snapping(dataset: Any) -> tuple[Callable[[float, float, str], tuple[float, float]], Sequence[str]]:
    """How a dataset moves a corner to the pixels of a file, and the file of every entry of its index."""
    if not hasattr(dataset, "snap"):
        return (lambda x, y, name: (x, y)), [""] * len(dataset.index)
    return dataset.snap, dataset.index["filepath"].to_list()


def roi_bounds(roi: Any) -> Bounds:
    """(left, bottom, right, top) of a shapely geometry, or of these four numbers."""
    left, bottom, right, top = roi.bounds if hasattr(roi, "bounds") else roi
    return float(left), float(bottom), float(right), float(top)


def _class_cells(labels: Any, crs: Any, cell: int, places: Sequence[Place]) -> tuple[np.ndarray, np.ndarray]:
    """Cells of all label files: ``[N, 5]`` (x0, y0, x1, y1 in ``crs``, number of the place), pixels per class [N, 256].

    Cells outside all places are left out.
    """
    corners = np.array([p[:4] for p in places])
    boxes: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    for grid, strips in labels.strips(cell):
        for row0, values, valid in strips:
            height, width = values.shape
            cols = -(-width // cell)
            column = np.broadcast_to(np.arange(width) // cell, values.shape)
            keep = valid & (values >= 0) & (values < 256)
            table = np.bincount(column[keep] * 256 + values[keep], minlength=cols * 256).reshape(cols, 256)
            for k in np.flatnonzero(table.sum(1)):
                c0, c1 = k * cell, min((k + 1) * cell, width)
                a = grid.affine
                px, py = np.array([c0, c1, c0, c1]), np.array([row0, row0, row0 + height, row0 + height])
                x, y = transform_points(a.a * px + a.b * py + a.c, a.d * px + a.e * py + a.f, grid.crs, crs)
                mx, my = x.mean(), y.mean()
                inside = (corners[:, 0] <= mx) & (corners[:, 1] <= my) & (corners[:, 2] >= mx) & (corners[:, 3] >= my)
                if inside.any():
                    boxes.append(np.array([x.min(), y.min(), x.max(), y.max(), np.argmax(inside)]))
                    counts.append(table[k])
    if not boxes:
        raise InputError("the labels do not overlap the scenes", expected="labels of the same place")
    return np.array(boxes), np.array(counts)
