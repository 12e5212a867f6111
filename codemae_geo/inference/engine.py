"""The one engine: rows are read ahead, windows predicted and blended, finished rows handed on.

Memory is bounded by the plan: per input one window-high strip of rows plus the rows read ahead, one window-high ring of
scores, and one finished strip that waits for the writer. Nothing grows with the raster's height.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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


#: takes ``(first row, scores [channels, rows, columns], analysed [rows, columns])`` of finished rows, top-down
Sink = Callable[[int, NDArray[np.float32], NDArray[np.bool_]], None]
#: tells which pixels of the rows ``row0 .. row1`` are asked for, ``[rows, columns]``
Region = Callable[[int, int], NDArray[np.bool_]]


@dataclass
class EngineStats:
    """Windows that were run, windows that were skipped because nothing in them was asked for."""

    run: int = 0
    skipped: int = 0


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


def run(
    sources: Sequence[RowSource],
    plan: TilePlan,
    predictor: WindowPredictor,
    sink: Sink,
    *,
    region: Region | None = None,
    batch: int = 1,
    reporter: Reporter | None = None,
) -> EngineStats:
    """Run a network over a raster in blended windows.

    A pixel is analysed where every source is valid and the region asks for it; a window is run if it holds such a
    pixel, so every analysed pixel gets the votes of all windows that cover it. Windows are added in plan order whatever
    the batch size, so the result does not depend on it.

    Args:
        sources: one per input of the network; all on the plan's grid.
        plan: windows and weights.
        predictor: the network.
        sink: gets finished rows in order, in a thread of its own, one call at a time.
        region: pixels asked for; None means all.
        batch: windows handed to the predictor at once.
        reporter: told the windows done, skipped ones included.

    Raises:
        Whatever a source, the predictor or the sink raises; threads are stopped first.
    """
    reporter = reporter or Reporter()
    stats = EngineStats()
    rows, columns = plan.window
    height, width = plan.height, plan.width
    strip_rows = min(rows, height)
    strips = [_Strip(strip_rows, width) for _ in sources]
    ring = RollingAccumulator(predictor.channels, rows, width)
    with ExitStack() as stack:
        readers = [stack.enter_context(ThreadPoolExecutor(1, "codemae-read")) for _ in sources]
        writer = stack.enter_context(ThreadPoolExecutor(1, "codemae-write"))
        reads: list[Future[Rows]] = []
        written: Future[None] | None = None
        stack.callback(lambda: [f.cancel() for f in reads])

        def span(i: int) -> tuple[int, int]:
            """Rows that row ``i`` of windows sees and row ``i - 1`` did not."""
            first = 0 if i == 0 else plan.row_starts[i - 1] + strip_rows
            return first, plan.row_starts[i] + strip_rows

        def ahead(i: int) -> list[Future[Rows]]:
            first, end = span(i)
            # rows that share no window with a pixel asked for are never looked at, so they are not read
            if region is not None and not region(max(first - rows, 0), min(end + rows, height)).any():
                return []
            return [r.submit(s.read_rows, first, end) for r, s in zip(readers, sources, strict=True)]

        reads = ahead(0)
        for i, row in enumerate(plan.row_starts):
            first, end = span(i)
            new: list[Rows | None] = [f.result() for f in reads] if reads else [None] * len(sources)
            for strip, pixels in zip(strips, new, strict=True):
                strip.advance(row - plan.row_starts[i - 1] if i else 0, pixels, end - first)
            del new
            reads = ahead(i + 1) if i + 1 < len(plan.row_starts) else []
            analysed = np.logical_and.reduce([s.valid for s in strips])
            if region is not None:
                analysed &= region(row, row + strip_rows)
            todo = [j for j, col in enumerate(plan.col_starts) if analysed[:, col : col + columns].any()]
            stats.run += len(todo)
            stats.skipped += len(plan.col_starts) - len(todo)
            for at in range(0, len(todo), batch):
                chosen = todo[at : at + batch]
                images, masks = _gather(strips, [plan.col_starts[j] for j in chosen], plan.window)
                for j, scores in zip(chosen, predictor(images, masks), strict=True):
                    col = plan.col_starts[j]
                    cut = scores[:, : height - row, : width - col]
                    ring.add(row, col, cut * plan.weight(i, j)[: cut.shape[1], : cut.shape[2]])
                    reporter.progress(i * len(plan.col_starts) + j + 1, len(plan))
            done = plan.finished(i)
            if written is not None:
                written.result()
            written = writer.submit(sink, row, ring.take(done), analysed[: done - row].copy())
            reporter.progress((i + 1) * len(plan.col_starts), len(plan))
        assert written is not None
        written.result()
    return stats


def _gather(
    strips: Sequence[_Strip], cols: Sequence[int], window: tuple[int, int]
) -> tuple[list[NDArray[np.generic]], list[NDArray[np.bool_]]]:
    """Cut windows out of the strips, padded with invalid pixels where they reach beyond the raster.

    Returns:
        Per input ``[N, bands, H, W]`` and ``[N, H, W]``.
    """
    images: list[NDArray[np.generic]] = []
    masks: list[NDArray[np.bool_]] = []
    for strip in strips:
        assert strip.data is not None
        image = np.zeros((len(cols), strip.data.shape[0], *window), strip.data.dtype)
        mask = np.zeros((len(cols), *window), bool)
        for n, col in enumerate(cols):
            piece = strip.data[:, :, col : col + window[1]]
            image[n, :, : piece.shape[1], : piece.shape[2]] = piece
            mask[n, : piece.shape[1], : piece.shape[2]] = strip.valid[:, col : col + window[1]]
        images.append(image)
        masks.append(mask)
    return images, masks
