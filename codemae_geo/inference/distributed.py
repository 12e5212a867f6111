"""Maps on many machines: super-tiles with a halo as tasks of a Dask scheduler, and one map in the end.

The grid is cut at starts of windows into super-tiles. A task opens the job anew where it runs, runs all windows that
reach into its super-tile, in the order of the plan, and writes the finished pixels as one file into the run's hidden
folder, complete or not at all. Whoever started the run puts rows of finished tiles into the rasters, as one process
does, and makes one COG and one GeoPackage of them. A pixel gets the votes of the same windows in the same order
whichever process computes it, so it has the same bits.

A worker that dies costs its tile: the scheduler gives it to another. What the run itself has finished outlives it as
ever, and tiles that were finished and not yet taken are found again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from codemae_geo.errors import InputError, OutputError, param
from codemae_geo.inference import engine
from codemae_geo.inference.journal import differences
from codemae_geo.inference.predictor import Predictor
from codemae_geo.progress import Reporter
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.read import AlignedReader
from codemae_geo.tiling import TilePlan

#: side of a super-tile in pixels: the halo of a window of 512 at half overlap adds an eighth to the work
SIDE = 4096
#: rows that are put together at once
STRIP = 256
#: seconds in which a scheduler must answer, and have a worker
PATIENCE = 5
#: folder of finished tiles beside the journal
FOLDER = "tiles"


class TiledJob(Protocol):
    """What is asked of a job here; :class:`codemae_geo.inference.maps.MapJob` is one."""

    plan: TilePlan
    predictor: Predictor
    region: engine.Region | None
    super_tile: int
    opening: Callable[[], Any] | None

    def encode(self, scores: NDArray[np.float32], analysed: NDArray[np.bool_]) -> NDArray[Any]:
        """What the rasters hold of blended scores ``[channels, rows, columns]``."""

    def open_readers(self, columns: tuple[int, int] | None = None) -> AbstractContextManager[list[AlignedReader]]:
        """One reader per scene, on some columns of the grid."""

    def identity(self) -> dict[str, Any]:
        """What makes a run another one."""


@dataclass(frozen=True)
class Tile:
    """A super-tile: pixels ``top .. end``, ``left .. right`` of the grid."""

    top: int
    end: int
    left: int
    right: int

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.top}-{self.end}-{self.left}-{self.right}.npy"


def cut(plan: TilePlan, side: int = SIDE) -> list[list[Tile]]:
    """The plan's grid in super-tiles of about ``side`` pixels, which begin where windows do: row by row of tiles."""

    def borders(starts: Sequence[int], size: int) -> list[tuple[int, int]]:
        chosen = [0]
        for start in starts[1:]:
            if start - chosen[-1] >= side:
                chosen.append(start)
        return list(pairwise([*chosen, size]))

    return [
        [Tile(top, end, left, right) for left, right in borders(plan.col_starts, plan.width)]
        for top, end in borders(plan.row_starts, plan.height)
    ]


def plan_of(plan: TilePlan, tile: Tile) -> tuple[TilePlan, int, int]:
    """The windows that reach into a tile, as a plan of their own, and where its first pixel lies: row and column."""

    def axis(starts: Sequence[int], low: int, high: int, window: int, size: int) -> tuple[slice, int, int]:
        hit = [k for k, start in enumerate(starts) if start < high and start + window > low]
        return slice(hit[0], hit[-1] + 1), starts[hit[0]], min(starts[hit[-1]] + window, size)

    (height, width) = plan.window
    rows, top, end = axis(plan.row_starts, tile.top, tile.end, height, plan.height)
    cols, left, right = axis(plan.col_starts, tile.left, tile.right, width, plan.width)
    part = TilePlan(
        end - top,
        right - left,
        plan.window,
        tuple(start - top for start in plan.row_starts[rows]),
        tuple(start - left for start in plan.col_starts[cols]),
        plan.row_weights[rows],
        plan.col_weights[cols],
    )
    return part, top, left


class _Below:
    """Rows of a reader, from a first one on."""

    def __init__(self, reader: AlignedReader, top: int) -> None:
        self._reader, self._top = reader, top

    def read_rows(self, row0: int, row1: int) -> engine.Rows:
        """See :class:`codemae_geo.inference.engine.RowSource`."""
        return self._reader.read_rows(row0 + self._top, row1 + self._top)


def compute(job: TiledJob, tile: Tile) -> tuple[NDArray[Any], engine.EngineStats]:
    """The pixels of a tile as the job's rasters hold them, ``[bands of all rasters, rows, columns]``."""
    part, top, left = plan_of(job.plan, tile)
    columns = slice(left, left + part.width)
    inside = slice(tile.left - left, tile.right - left)
    rows: list[NDArray[Any]] = []

    def take(row: int, scores: NDArray[np.float32], analysed: NDArray[np.bool_]) -> None:
        low, high = max(tile.top - top - row, 0), min(tile.end - top - row, scores.shape[1])
        if low < high:
            rows.append(job.encode(scores[:, low:high, inside], analysed[low:high, inside]))

    region = job.region
    wanted: engine.Region | None = (
        None if region is None else lambda row0, row1: region(row0 + top, row1 + top)[:, columns]
    )
    with job.open_readers((columns.start, columns.stop)) as readers:
        stats = engine.run(
            [_Below(reader, top) for reader in readers],
            part,
            job.predictor,
            take,
            region=wanted,
            batch=job.predictor.batch_size,
        )
    return np.concatenate(rows, 1), stats


# ---------------------------------------------------------------- in a worker


#: the job that this process has open, by the identity of the run
_OPEN: dict[str, TiledJob] = {}


def task(opening: Callable[[], TiledJob], identity: str, tile: Tile, folder: str) -> tuple[int, int]:
    """Compute a tile and write it into ``folder``; windows that were run and skipped.

    Raises:
        InputError: this machine would compute something else, or does not see the run's folder.
        OutputError: the disk is full.
    """
    if not Path(folder).is_dir():
        raise InputError(
            "a worker does not see the folder of the run",
            found=f"no {folder} there",
            expected="inputs, model and output folder under the same names on every machine",
            hint="use a disk that they share",
            option="scheduler",
        )
    if identity not in _OPEN:
        _OPEN.clear()
        with gdal_env():
            job = opening()
        check_same(json.loads(identity), json.loads(told(job)))
        _OPEN[identity] = job
    with gdal_env():
        pixels, stats = compute(_OPEN[identity], tile)
    path = Path(folder, tile.name)
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with hidden.open("wb") as file:
            np.save(file, pixels)
        hidden.replace(path)
    except OSError as error:
        hidden.unlink(missing_ok=True)
        raise OutputError(f"a worker cannot write {path.name} into {folder}", found=str(error)) from error
    return stats.run, stats.skipped


def told(job: TiledJob) -> str:
    """What makes a run another one, as text that machines compare."""
    return json.dumps(job.identity(), default=str, sort_keys=True)


def check_same(here: dict[str, Any], there: dict[str, Any]) -> None:
    """Refuse a machine on which the same job is another one.

    Raises:
        InputError: names the first difference.
    """
    if differing := differences(here, there):
        name, ours, theirs = differing[0]
        raise InputError(
            "a worker would compute another map",
            found=f"{name} is {theirs!r} there",
            expected=f"{ours!r}, as where the run was started",
            hint="the same version of everything, the same files, and runtime, device and precision named"
            f" ({param('runtime')}, {param('device')}, {param('precision')})",
            option="scheduler",
        )


# ---------------------------------------------------------------- where the run is started


@contextmanager
def connect(address: str) -> Iterator[Any]:
    """A client of a Dask scheduler that has a worker.

    Raises:
        InputError: distributed is not installed, the scheduler cannot be reached, or has no worker.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            "many machines need Dask, which is not installed",
            found=str(error),
            hint="pip install 'codemae-geo[distributed]'",
            option="scheduler",
        ) from error
    with ExitStack() as stack:
        try:
            client = stack.enter_context(_quietly(partial(Client, address, timeout=PATIENCE, set_as_default=False)))
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(
                f"the scheduler {address} cannot be reached",
                found=str(error).splitlines()[0][:200] or type(error).__name__,
                expected="the address of a running scheduler, such as tcp://10.0.0.5:8786",
                hint="start one: dask scheduler; and workers: dask worker ADDRESS",
                option="scheduler",
            ) from error
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            raise InputError(
                f"the scheduler {address} has no workers",
                hint=f"start some, on machines that see the same files: dask worker {address}",
                option="scheduler",
            ) from error
        yield client


@contextmanager
def _quietly(make: Callable[[], Any]) -> Iterator[Any]:
    """A client whose farewell is not told in the log."""
    import logging

    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with make() as client:
            yield client
    finally:
        logger.setLevel(level)


def run(
    job: TiledJob, client: Any, take: Callable[[int, NDArray[Any]], None], folder: Path, done: int, reporter: Reporter
) -> engine.EngineStats:
    """Have a scheduler's workers compute a map.

    Args:
        job: the map; its ``opening`` opens it elsewhere.
        client: of the scheduler.
        take: takes rows ``[bands of all rasters, rows, columns]`` from the first that is not done, in order.
        folder: for finished tiles.
        done: rows that are finished already.
        reporter: told the tiles that are done.

    Returns:
        Windows that were run, those in halos more than once, and that were skipped.

    Raises:
        Whatever a task raises; :class:`InputError` when workers die of a tile.
    """
    from distributed import KilledWorker, as_completed

    opening = job.opening
    if opening is None:
        raise InputError(
            "a model in memory cannot be sent to other machines",
            expected="a model named by its file",
            option="scheduler",
        )
    folder.mkdir(exist_ok=True)
    bands = [band for band in cut(job.plan, job.super_tile) if band[0].end > done]
    tiles = [tile for band in bands for tile in band]
    open_ = {tile for tile in tiles if not (folder / tile.name).is_file()}
    todo = iter([tile for tile in tiles if tile in open_])
    # never more than the workers can begin soon, so that a million tiles are no million futures
    ahead = 4 * max(sum(client.nthreads().values()), 1)
    identity = told(job)
    stats = engine.EngineStats()
    count = len(tiles)

    def submit(tile: Tile) -> Any:
        key = f"codemae-{hashlib.sha256((identity + str(folder)).encode()).hexdigest()[:12]}-{tile.name}"
        future = client.submit(task, opening, identity, tile, str(folder), key=key, pure=False)
        which[future.key] = tile
        return future

    which: dict[str, Tile] = {}
    waiting = as_completed([submit(tile) for tile in islice(todo, ahead)], loop=client.loop)
    bands = bands[_drain(bands, open_, folder, done, take) :]
    reporter.progress(count - len(open_), count)
    for future in waiting:
        try:
            run_, skipped = future.result()
        except KilledWorker as error:
            raise InputError(
                "workers die of a part of the map",
                found=str(error).splitlines()[0][:200],
                hint="they may lack memory: give them more, or fewer threads each",
                option="scheduler",
            ) from error
        open_.discard(which.pop(future.key))
        stats.run, stats.skipped = stats.run + run_, stats.skipped + skipped
        future.release()
        for tile in islice(todo, 1):
            waiting.add(submit(tile))
        bands = bands[_drain(bands, open_, folder, done, take) :]
        reporter.progress(count - len(open_), count)
    return stats


def _drain(
    bands: Sequence[Sequence[Tile]],
    open_: set[Tile],
    folder: Path,
    done: int,
    take: Callable[[int, NDArray[Any]], None],
) -> int:
    """Hand on the rows of the first bands of which every tile is finished, and remove these; how many there were."""
    for number, band in enumerate(bands):
        if any(tile in open_ for tile in band):
            return number
        parts = [np.load(folder / tile.name, mmap_mode="r", allow_pickle=False) for tile in band]
        for row in range(max(band[0].top, done), band[0].end, STRIP):
            rows = slice(row - band[0].top, min(row + STRIP, band[0].end) - band[0].top)
            take(row, np.concatenate([part[:, rows] for part in parts], 2))
        del parts
        for tile in band:
            (folder / tile.name).unlink()
    return len(bands)
