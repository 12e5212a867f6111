"""From a scene to the objects in it: boxes of overlapping windows, put together to one table for the whole scene."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from codemae_geo.errors import InputError, ModelError, param
from codemae_geo.inference import engine
from codemae_geo.inference.finite import placed
from codemae_geo.inference.job import Job, MapResult, combine_regions, open_package
from codemae_geo.inference.predictor import WindowNetwork
from codemae_geo.inference.request import Bounds, RunOptions, SceneLike, Target, as_request
from codemae_geo.outputs import FolderStaging
from codemae_geo.progress import Reporter
from codemae_geo.raster.align import crop, target_grid
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.geo import lattice_offset, shifted
from codemae_geo.raster.mask import GeometryMask
from codemae_geo.styles import box_qml
from codemae_geo.tasks import TASKS, Task
from codemae_geo.tiling import TilePlan
from codemae_geo.vector.footprints import read_aoi
from codemae_geo.vector.geopackage import GeoPackageWriter
from codemae_geo.weights import ModelContract

#: a window that is larger than its scene ends at a multiple of this many pixels, the coarsest stride of a detector
STRIDE = 64
#: a box that ends within this many pixels of an inner edge of its window counts as cut by it
EDGE = 2.0
#: of two boxes of one class that overlap by more than this, the better one stays
NMS_IOU = 0.5


@dataclass(frozen=True)
class Boxes:
    """Boxes of a window or a scene.

    Args:
        corners: ``[N, 4]`` left, top, right, bottom in pixels.
        classes: ``[N]`` class values.
        scores: ``[N]`` 0 to 1.
        cut: ``[N]`` whether the box ends at an edge beyond which no window shows it.
    """

    corners: NDArray[np.float64]
    classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    cut: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: NDArray[Any]) -> Boxes:
        return Boxes(self.corners[chosen], self.classes[chosen], self.scores[chosen], self.cut[chosen])

    @classmethod
    def join(cls, parts: Sequence[Boxes]) -> Boxes:
        """All boxes of several tables; none of none."""
        empty = cls(np.empty((0, 4)), np.empty(0, np.int64), np.empty(0), np.empty(0, bool))
        columns = zip(*((b.corners, b.classes, b.scores, b.cut) for b in [empty, *parts]), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


class DetectionNetwork(WindowNetwork[Boxes]):
    """Boxes of windows, in pixels of the window."""

    def _answer(self, images: Sequence[NDArray[np.generic]], valid: Sequence[NDArray[np.bool_]]) -> list[Boxes]:
        return [
            Boxes(
                found["boxes"].astype(np.float64).reshape(-1, 4),
                found["labels"].astype(np.int64) - 1,  # a detector's label 0 is "no object"
                found["scores"].astype(np.float64),
                np.zeros(len(found["scores"]), bool),
            )
            for found in self.network(images, valid)
        ]


class DetectJob(Job[DetectionNetwork]):
    """A table of the objects in one scene, see :func:`detect`."""

    task: ClassVar[Task] = TASKS["object-detection"]

    @classmethod
    def open(
        cls,
        model: str | Path,
        scene: SceneLike,
        *,
        score_threshold: float | None = None,
        target: Target | None = None,
        options: RunOptions | None = None,
        reporter: Reporter | None = None,
    ) -> DetectJob:
        """Open and check everything, without writing. Arguments and errors are those of :func:`detect`."""
        options = replace(options or RunOptions(), blend="none")
        target, reporter = target or Target(), reporter or Reporter()
        if score_threshold is not None and not 0 <= score_threshold <= 1:
            raise InputError("the score threshold is out of range", found=f"{score_threshold:g}", expected="0 to 1")
        request = as_request(scene)
        with gdal_env(), reporter.stage("check"):
            package = open_package(model, cls.task, role="finding objects")
            contract = package.contract
            check_classes(contract)
            opened = request.open(contract.inputs[0])
            whole = target_grid(opened, dst_crs=target.dst_crs, res=target.res)
            grid, areas = whole, []
            if target.bounds is not None:
                grid = target_grid(opened, dst_crs=target.dst_crs, res=target.res, bounds=target.bounds)
                areas.append(shapely.box(*target.bounds))
            if target.aoi is not None:
                areas.append(read_aoi(target.aoi, to_crs=grid.crs))
                grid = crop(grid, areas[-1], grid.crs, "aoi")
            if areas:  # what lies at the border of the area is seen whole, and counts if its middle is inside
                overlap = contract.overlap if options.overlap is None else options.overlap
                grid = widen(grid, whole, round((options.window or contract.window) * overlap))
            return cls(
                package,
                lambda network, choice: DetectionNetwork(network, contract, choice, batch_size=options.batch_size),
                [request],
                [opened],
                grid,
                options,
                reporter,
                region=combine_regions([GeometryMask([area], grid) for area in areas]),
                parameters={
                    "score_threshold": contract.score_threshold if score_threshold is None else score_threshold,
                    "nms_iou": NMS_IOU,
                    **target.parameters(pair=False),
                    **{k: v for k, v in asdict(options).items() if k not in ("tta", "probabilities", "blend")},
                },
                reads=[target.aoi],
                multiple=STRIDE,
            )

    def estimate(self) -> dict[str, Any]:
        """See :meth:`Job.estimate`."""
        return self._estimate(0, 0, 0)

    def _write(self, staging: FolderStaging) -> tuple[dict[str, Path], dict[str, Any]]:
        folder = staging.folder
        reporter = self.reporter
        with reporter.stage("predict", len(self.plan)):
            boxes, stats = find_boxes(self)
        if stats.run == 0:
            raise self.nothing_analysed()
        with reporter.stage("merge"):
            boxes = boxes[suppress(boxes)]
        if boxes.cut.any():
            reporter.warning(
                "cut",
                f"{int(boxes.cut.sum())} of {len(boxes)} boxes end at a window's edge: objects larger than the overlap"
                f" of two windows; a larger {param('window')} or {param('overlap')} shows them whole",
            )
        outputs = {"detections": folder / "detections.gpkg"}
        with reporter.stage("write"), GeoPackageWriter(outputs["detections"]) as package:
            package.append(
                "detections",
                to_frame(self, boxes),
                geometry_type="Polygon",
                qml=box_qml(self.classes),
                tags=self.tags(),
            )
        return outputs, {
            **self.describe(stats),
            "detections": {
                "n": len(boxes),
                "cut": int(boxes.cut.sum()),
                "score_threshold": self.parameters["score_threshold"],
                "classes": {c.name: int((boxes.classes == c.value).sum()) for c in self.classes},
            },
        }


def detect(
    model: str | Path,
    scene: SceneLike,
    out: str | Path,
    *,
    score_threshold: float | None = None,
    dst_crs: str | None = None,
    res: float | None = None,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    options: RunOptions | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> MapResult:
    """Find objects in a scene of any size.

    Windows overlap; of the boxes that an inner edge cuts, those are dropped that a neighbour sees better, and of boxes
    of one class that overlap by more than :data:`NMS_IOU` the one with the best score stays (whole ones before cut
    ones). An object counts where the middle of its box was analysed: neither nodata nor outside the area asked for. An
    object larger than the overlap of two windows may stay in pieces, marked ``cut``.

    Args:
        model: name, file or hub address of a package with the task object-detection.
        scene: one file or many of one date.
        out: folder to create: ``detections.gpkg`` (layer ``detections``: polygons in the scene's CRS with ``class``,
            ``name``, ``score``, ``cut``, best first, styled for QGIS) and ``summary.json``.
        score_threshold: boxes below it are dropped; None takes the model's.
        dst_crs, res, bounds, aoi: where, see :class:`Target`.
        options: see :class:`RunOptions`; ``blend``, ``tta`` and ``probabilities`` have no meaning here.
        overwrite: allow a folder with content.
        reporter: told stages, progress, decisions and warnings.

    Returns:
        The files and the summary.

    Raises:
        InputError, OutputError: as :func:`codemae_geo.map_damage`.
        ModelError: a model of another task or sensor, or torchvision is missing.
    """
    job = DetectJob.open(
        model,
        scene,
        score_threshold=score_threshold,
        target=Target(dst_crs=dst_crs, res=res, bounds=bounds, aoi=aoi),
        options=options,
        reporter=reporter,
    )
    return job.run(out, overwrite=overwrite)


def widen(part: GeoBox, whole: GeoBox, margin: int) -> GeoBox:
    """``part`` of ``whole`` with ``margin`` more pixels on every side, as far as there are any."""
    offset = lattice_offset(whole, part)
    assert offset is not None, "both are of one lattice"
    col, row = offset
    rows, columns = whole.shape.yx
    height, width = part.shape.yx
    return shifted(
        whole,
        max(row - margin, 0),
        min(row + height + margin, rows),
        max(col - margin, 0),
        min(col + width + margin, columns),
    )


def check_classes(contract: ModelContract) -> None:
    """Refuse a package whose network and contract disagree on the number of classes.

    Raises:
        ModelError: they do.
    """
    built = contract.architecture.config.get("num_classes", len(contract.classes))
    if built != len(contract.classes):
        raise ModelError(
            f"the contract of {contract.name} does not fit its network",
            found=f"{len(contract.classes)} classes, num_classes={built}",
            expected="one class for each that the network tells apart",
        )


def find_boxes(job: DetectJob) -> tuple[Boxes, engine.EngineStats]:
    """All boxes of all windows in pixels of the grid, less those below the threshold, cut ones that a neighbour sees
    better, and those whose middle was not analysed.
    """
    plan, reporter, threshold = job.plan, job.reporter, job.parameters["score_threshold"]
    stats = engine.EngineStats()
    parts: list[Boxes] = []
    with job.open_readers() as readers, closing(engine.walk(readers, plan, region=job.region)) as rows:
        for row in rows:
            stats.count(row, plan)
            for columns, images, masks in row.batches(job.predictor.batch_size):
                with placed(plan, row.index, columns):
                    answers = list(job.predictor(images, masks))
                for j, found in zip(columns, answers, strict=True):
                    boxes = place(found[found.scores >= threshold], plan, row.index, j)
                    x, y = _middles(boxes, plan)
                    parts.append(boxes[row.analysed[y - plan.row_starts[row.index], x]])
                    reporter.progress(row.index * len(plan.col_starts) + j + 1, len(plan))
            reporter.progress((row.index + 1) * len(plan.col_starts), len(plan))
    return Boxes.join(parts), stats


def _middles(boxes: Boxes, plan: TilePlan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Column and row of the pixel in the middle of each box."""
    x = np.clip((boxes.corners[:, 0] + boxes.corners[:, 2]) / 2, 0, plan.width - 1)
    y = np.clip((boxes.corners[:, 1] + boxes.corners[:, 3]) / 2, 0, plan.height - 1)
    return x.astype(np.int64), y.astype(np.int64)


def place(found: Boxes, plan: TilePlan, i: int, j: int) -> Boxes:
    """Boxes of the window in row ``i`` and column ``j`` in pixels of the raster, less those a neighbour sees better.

    A box that touches an inner edge of its window goes on beyond it. If the next window on that side has all of the
    visible part inside, its box is the better one and this one is dropped; if not, it stays, marked ``cut``. Windows
    that follow one another this way see more each time, so of every object some box stays.
    """
    row, col = plan.row_starts[i], plan.col_starts[j]
    corners = found.corners + np.array([col, row, col, row], np.float64)
    corners = np.clip(corners, 0, np.array([plan.width, plan.height] * 2, np.float64))
    cut_x, dropped_x = _seen(corners[:, 0], corners[:, 2], plan.col_starts, plan.window[1], plan.width, j)
    cut_y, dropped_y = _seen(corners[:, 1], corners[:, 3], plan.row_starts, plan.window[0], plan.height, i)
    inside = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    return replace(found, corners=corners, cut=cut_x | cut_y)[inside & ~dropped_x & ~dropped_y]


def _seen(
    low: NDArray[np.float64], high: NDArray[np.float64], starts: Sequence[int], window: int, size: int, k: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Along one axis: which boxes window ``k`` cuts, and which of these the next window on that side sees better."""
    end = starts[k] + window
    cut_low = (low <= starts[k] + EDGE) & (starts[k] > 0)
    cut_high = (high >= end - EDGE) & (end < size)
    none = np.zeros(len(low), bool)
    better_low = cut_low & (high <= starts[k - 1] + window - EDGE) if k > 0 else none
    better_high = cut_high & (low >= starts[k + 1] + EDGE) if k + 1 < len(starts) else none
    return cut_low | cut_high, better_low | better_high


def suppress(boxes: Boxes, iou: float = NMS_IOU) -> NDArray[np.int64]:
    """Non-maximum suppression by class over any number of boxes.

    The same boxes stay as with ``torchvision.ops.batched_nms``, if none is cut; cut boxes come after all whole ones.
    Pairs that overlap are found in a tree, so the work grows with the number of such pairs, not of all pairs.

    Returns:
        Indices of the boxes that stay, best first; of equal scores the upper, then the left one first.
    """
    if len(boxes) == 0:
        return np.empty(0, np.int64)
    left, top, right, bottom = boxes.corners.T
    tree = shapely.STRtree(shapely.box(left, top, right, bottom))
    a, b = tree.query(tree.geometries, predicate="intersects")
    pair = (a != b) & (boxes.classes[a] == boxes.classes[b])
    a, b = a[pair], b[pair]
    width = np.minimum(right[a], right[b]) - np.maximum(left[a], left[b])
    height = np.minimum(bottom[a], bottom[b]) - np.maximum(top[a], top[b])
    area = (right - left) * (bottom - top)
    shared = width * height
    close = shared > iou * (area[a] + area[b] - shared)
    a, b = a[close], b[close]
    by_box = np.argsort(a, kind="stable")
    a, b = a[by_box], b[by_box]
    first = np.searchsorted(a, np.arange(len(boxes) + 1))
    dropped = np.zeros(len(boxes), bool)
    for box in np.lexsort((left, top, -boxes.scores, boxes.cut)):
        if not dropped[box]:
            dropped[b[first[box] : first[box + 1]]] = True
    kept = np.flatnonzero(~dropped)
    return kept[np.lexsort((left[kept], top[kept], -boxes.scores[kept]))]


def to_frame(job: DetectJob, boxes: Boxes) -> gpd.GeoDataFrame:
    """Boxes as polygons in the grid's CRS, with their columns."""
    left, top, right, bottom = boxes.corners.T
    x, y = np.stack([left, right, right, left], 1), np.stack([top, top, bottom, bottom], 1)
    affine = job.grid.affine
    corners = np.stack([affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f], -1)
    names = job.classes.names
    return gpd.GeoDataFrame(
        {
            "class": boxes.classes.astype(np.int32),
            "name": np.array([names[c] for c in boxes.classes], dtype=object),
            "score": boxes.scores,
            "cut": boxes.cut,
        },
        geometry=list(shapely.polygons(corners)),
        crs=job.grid.crs.to_wkt() if job.grid.crs else None,
    )
