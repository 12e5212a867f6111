"""The one engine: rows are read ahead, windows predicted and blended, finished rows handed on.

:func:`walk` reads and cuts windows; :func:`run` has a dense network answer them and blends. Memory is bounded by the
plan: per input one window-high strip of rows plus the rows read ahead, one window-high ring of scores, and two finished
strips, of which one is with the writer. Nothing grows with the raster's height.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from codemae_geo.inference.finite import placed
from codemae_geo.progress import Reporter
from codemae_geo.tiling import RollingAccumulator, TilePlan


class Rows(Protocol):
    """A strip of pixels: ``data [bands, rows, columns]`` and ``valid [rows, columns]``."""

    @property
    def data(self) -> NDArray[np.generic]: ...
    @property
    def valid(self) -> NDArray[np.bool_]: ...


class RowSource(Protocol):
    """Reads full-width strips of the target grid, from the top down; used by one thread only."""

    def read_rows(self, row0: int, row1: int) -> Rows: ...


class WindowPredictor(Protocol):
    """What the engine needs of :class:`codemae_geo.inference.predictor.Predictor`."""

    @property
    def channels(self) -> int: ...
    def __call__(
        self, images: Sequence[NDArray[np.generic]], valid: Sequence[NDArray[np.bool_]], /
    ) -> Iterable[NDArray[np.float32]]: ...


#: takes ``(first row, scores [channels, rows, columns], analysed [rows, columns])`` of finished rows, top-down; the
#: scores are lent until it returns
Sink = Callable[[int, NDArray[np.float32], NDArray[np.bool_]], None]
#: tells which pixels of the rows ``row0 .. row1`` are asked for, ``[rows, columns]``
Region = Callable[[int, int], NDArray[np.bool_]]


@dataclass
class EngineStats:
    """Windows that were run, windows that were skipped because nothing in them was asked for."""

    run: int = 0
    skipped: int = 0

    def count(self, row: WindowRow, plan: TilePlan) -> None:
        """Add a row of windows."""
        self.run += len(row.columns)
        self.skipped += len(plan.col_starts) - len(row.columns)


class _Strip:
    """The rows of one input that the current row of windows sees."""

    def __init__(self, rows: int, width: int) -> None:
        self.data: NDArray[np.generic] | None = None
        self.valid = np.zeros((rows, width), bool)

    def advance(self, drop: int, new: Rows | None, count: int) -> None:
        """Drop ``drop`` rows at the top; the last ``count`` of the rows become ``new`` (None: invalid)."""
        height = self.valid.shape[0]
        if drop:
            self.valid[: height - drop] = self.valid[drop:].copy()
            if self.data is not None:
                self.data[:, : height - drop] = self.data[:, drop:].copy()
        at = slice(height - count, height)
        if new is None:
            self.valid[at] = False
            return
        if self.data is None:
            self.data = np.zeros((new.data.shape[0], *self.valid.shape), new.data.dtype)
        self.data[:, at] = new.data
        self.valid[at] = new.valid


@dataclass(frozen=True)
class WindowRow:
    """A row of windows whose pixels are there; usable until the next row is asked for.

    Args:
        index: which row of windows.
        analysed: ``[rows, columns]`` pixels of the rows that it sees: valid in every source and asked for.
        columns: the windows of the row that hold an analysed pixel.
    """

    index: int
    analysed: NDArray[np.bool_]
    columns: list[int]
    _strips: Sequence[_Strip]
    _starts: Sequence[int]
    _window: tuple[int, int]

    def batches(self, size: int) -> Iterator[tuple[list[int], list[NDArray[np.generic]], list[NDArray[np.bool_]]]]:
        """The windows, ``size`` at a time: numbers, per source images ``[N, bands, H, W]`` and masks ``[N, H, W]``.

        They may be views of the row's pixels.
        """
        for at in range(0, len(self.columns), size):
            chosen = self.columns[at : at + size]
            images, masks = _gather(self._strips, [self._starts[j] for j in chosen], self._window)
            yield chosen, images, masks


def walk(
    sources: Sequence[RowSource], plan: TilePlan, *, region: Region | None = None, stride: int = 1, first: int = 0
) -> Generator[WindowRow, None, None]:
    """Read a raster in rows of windows, the next row's pixels ahead in threads.

    Args:
        sources: one per input of the network; all on one grid of ``stride`` times the plan's size.
        plan: windows, counted in cells of ``stride`` x ``stride`` pixels.
        region: pixels asked for; None means all.
        stride: pixels of a cell along either axis.
        first: the row of windows to begin with.

    Yields:
        Every row of windows from the first.

    Raises:
        Whatever a source raises; threads are stopped first, also when the generator is closed early.
    """
    rows, columns = (side * stride for side in plan.window)
    height, width = plan.height * stride, plan.width * stride
    row_starts, col_starts = ([start * stride for start in starts] for starts in (plan.row_starts, plan.col_starts))
    strip_rows = min(rows, height)
    strips = [_Strip(strip_rows, width) for _ in sources]
    with ExitStack() as stack:
        readers = [stack.enter_context(ThreadPoolExecutor(1, "codemae-read")) for _ in sources]
        reads: list[Future[Rows]] = []
        stack.callback(lambda: [f.cancel() for f in reads])

        def span(i: int) -> tuple[int, int]:
            """Rows that row ``i`` of windows sees and row ``i - 1`` did not."""
            top = row_starts[i] if i == first else row_starts[i - 1] + strip_rows
            return top, row_starts[i] + strip_rows

        def ahead(i: int) -> list[Future[Rows]]:
            top, end = span(i)
            # rows that share no window with a pixel asked for are never looked at, so they are not read
            if region is not None and not region(max(top - rows, 0), min(end + rows, height)).any():
                return []
            return [r.submit(s.read_rows, top, end) for r, s in zip(readers, sources, strict=True)]

        reads = ahead(first)
        for i in range(first, len(row_starts)):
            row = row_starts[i]
            top, end = span(i)
            new: list[Rows | None] = [f.result() for f in reads] if reads else [None] * len(sources)
            for strip, pixels in zip(strips, new, strict=True):
                strip.advance(row - row_starts[i - 1] if i > first else 0, pixels, end - top)
            del new
            reads = ahead(i + 1) if i + 1 < len(row_starts) else []
            analysed = np.logical_and.reduce([s.valid for s in strips])
            if region is not None:
                analysed &= region(row, row + strip_rows)
            todo = [j for j, col in enumerate(col_starts) if analysed[:, col : col + columns].any()]
            yield WindowRow(i, analysed, todo, strips, col_starts, (rows, columns))


def run(
    sources: Sequence[RowSource],
    plan: TilePlan,
    predictor: WindowPredictor,
    sink: Sink,
    *,
    region: Region | None = None,
    batch: int = 1,
    stride: int = 1,
    done: int = 0,
    reporter: Reporter | None = None,
) -> EngineStats:
    """Run a dense network over a raster in blended windows.

    A pixel is analysed where every source is valid and the region asks for it; a window is run if it holds such a
    pixel, so every analysed pixel gets the votes of all windows that cover it. Windows are added in plan order whatever
    the batch size, so the result does not depend on it.

    Args:
        sources: one per input of the network; all on the plan's grid (times ``stride``).
        plan: windows and weights, in pixels of the answer.
        predictor: the network.
        sink: gets finished rows in order, in a thread of its own, one call at a time.
        region: pixels of the sources asked for; None means all.
        batch: windows handed to the predictor at once.
        stride: pixels of the sources, along either axis, that the network answers by one. An answer counts as analysed
            where at least half of its pixels are.
        done: rows that an earlier run has handed on. The windows that reach below them are run (again), in the same
            order, so that what follows is bit for bit what it would have been; the rows themselves are not repeated.
        reporter: told the windows done, skipped ones included.

    Raises:
        Whatever a source, the predictor or the sink raises; threads are stopped first.
    """
    reporter = reporter or Reporter()
    height, width = plan.height, plan.width
    if done >= height:
        return EngineStats()
    first = next(i for i, start in enumerate(plan.row_starts) if start + plan.window[0] > done)
    stats = EngineStats(skipped=first * len(plan.col_starts))
    ring = RollingAccumulator(predictor.channels, plan.window[0], width, plan.row_starts[first])
    with ExitStack() as stack:
        written = _Behind(stack.enter_context(ThreadPoolExecutor(1, "codemae-write")))
        blended = _Behind(stack.enter_context(ThreadPoolExecutor(1, "codemae-blend")))

        def add(i: int, j: int, scores: NDArray[np.float32]) -> None:
            start, col = plan.row_starts[i], plan.col_starts[j]
            cut = scores[:, : height - start, : width - col]
            ring.add(start, col, cut, (plan.row_weights[i], plan.col_weights[j]))

        def finish(i: int, analysed: NDArray[np.bool_]) -> None:
            start, end = plan.row_starts[i], plan.finished(i)
            finished = ring.take(end)
            if end > done:
                known = max(done - start, 0)  # rows at the top that the earlier run has handed on
                written.submit(sink, start + known, finished[:, known:], analysed[known:])

        for row in stack.enter_context(closing(walk(sources, plan, region=region, stride=stride, first=first))):
            i = row.index
            stats.count(row, plan)
            for columns, images, masks in row.batches(batch):
                with placed(plan, i, columns):
                    for j, scores in zip(columns, predictor(images, masks), strict=True):
                        blended.submit(add, i, j, scores)
                        reporter.progress(i * len(plan.col_starts) + j + 1, len(plan))
            blended.submit(finish, i, _cells(row.analysed, stride)[: plan.finished(i) - plan.row_starts[i]].copy())
            reporter.progress((i + 1) * len(plan.col_starts), len(plan))
        blended.result()
        written.result()
    return stats


class _Behind:
    """Calls in a thread, in order, of which one at most is under way while the next is prepared."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self._last: Future[None] | None = None

    def submit(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function when the one before is done; raises what that one raised."""
        self.result()
        self._last = self._thread.submit(function, *arguments)

    def result(self) -> None:
        """Wait for the last call; raises what it raised."""
        if self._last is not None:
            self._last.result()


def _cells(analysed: NDArray[np.bool_], stride: int) -> NDArray[np.bool_]:
    """``[rows * stride, columns * stride]`` to ``[rows, columns]``: cells of which at least half is set."""
    if stride == 1:
        return analysed
    rows, columns = (side // stride for side in analysed.shape)
    return 2 * analysed.reshape(rows, stride, columns, stride).sum((1, 3)) >= stride**2


def _gather(
    strips: Sequence[_Strip], cols: Sequence[int], window: tuple[int, int]
) -> tuple[list[NDArray[np.generic]], list[NDArray[np.bool_]]]:
    """Cut windows out of the strips, padded with invalid pixels where they reach beyond the raster.

    A single window that lies inside is not copied.

    Returns:
        Per input ``[N, bands, H, W]`` and ``[N, H, W]``.
    """
    images: list[NDArray[np.generic]] = []
    masks: list[NDArray[np.bool_]] = []
    for strip in strips:
        assert strip.data is not None
        if len(cols) == 1 and strip.valid.shape[0] == window[0] and cols[0] + window[1] <= strip.valid.shape[1]:
            inside = slice(cols[0], cols[0] + window[1])
            images.append(strip.data[None, :, :, inside])
            masks.append(strip.valid[None, :, inside])
            continue
        image = np.zeros((len(cols), strip.data.shape[0], *window), strip.data.dtype)
        mask = np.zeros((len(cols), *window), bool)
        for n, col in enumerate(cols):
            piece = strip.data[:, :, col : col + window[1]]
            image[n, :, : piece.shape[1], : piece.shape[2]] = piece
            mask[n, : piece.shape[1], : piece.shape[2]] = strip.valid[:, col : col + window[1]]
        images.append(image)
        masks.append(mask)
    return images, masks
