"""A job: scenes, model, grid and windows, opened and checked, ready to be estimated or run.

Every command that runs a model over scenes opens a job: :class:`~codemae_geo.inference.damage.DamageJob`,
``SegmentJob``, ``EmbedJob`` or ``DetectJob``. ``open`` reads headers and the model and writes nothing; ``estimate``
tells what the run will take; ``run`` makes the output folder, complete or not at all.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from codemae_geo import __version__
from codemae_geo.classes import ClassTable
from codemae_geo.errors import InputError, ModelError, OutputError, number, param
from codemae_geo.inference import distributed, engine
from codemae_geo.inference.journal import clear, now
from codemae_geo.inference.predictor import WindowNetwork
from codemae_geo.inference.request import RunOptions, SceneRequest, absolute
from codemae_geo.inference.runtimes import Choice, Network, Program, choose_runtime, load_network
from codemae_geo.inference.summary import (
    describe_grid,
    describe_model,
    describe_scene,
    fingerprint,
    gdal_versions,
    versions,
    write_summary,
)
from codemae_geo.outputs import FolderStaging
from codemae_geo.progress import Reporter
from codemae_geo.raster.align import crop
from codemae_geo.raster.datum import scene_shift
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.geo import ground_sample_distance, shifted
from codemae_geo.raster.mask import GeometryMask
from codemae_geo.raster.read import AlignedReader
from codemae_geo.raster.scene import Scene
from codemae_geo.sensors import Conversion, Family, Unit, check_varied, plan_conversion
from codemae_geo.tasks import TASKS, Task
from codemae_geo.tiling import plan_tiles
from codemae_geo.vector.footprints import read_aoi
from codemae_geo.weights import PackageFile, models_for, resolve
from codemae_geo.weights import open_package as read_package

#: share of pixels with one extreme value above which it is taken for undeclared nodata
FILL_SHARE = 0.05
#: runtime -> libraries whose versions a summary tells
LIBRARIES = {"torch": ("torch",), "openvino": ("openvino",), "onnx": ("onnxruntime",)}

Windows = TypeVar("Windows", bound=WindowNetwork[Any])


@dataclass(frozen=True)
class MapResult:
    """A finished run.

    Args:
        folder: where the outputs are.
        outputs: kind of output -> file.
        summary: what ``summary.json`` holds.
    """

    folder: Path
    outputs: dict[str, Path]
    summary: dict[str, Any]


class Job(ABC, Generic[Windows]):
    """Everything that a run needs, checked; nothing is written yet. Made by ``open`` of a subclass.

    ``grid`` has the pixels that are read, ``plan`` counts cells of ``stride`` x ``stride`` of them.

    Args:
        package: the model.
        network: feeds a network that a runtime has loaded.
        requests: how the scenes were asked for, in the order of the model's inputs.
        scenes: these scenes, open.
        grid: pixels to read; its sides divide by ``stride``.
        options: how to compute.
        reporter: told stages, progress, decisions and warnings.
        region: pixels that are asked for; None means all.
        facts: what is known of the inputs, for the summary.
        parameters: what the user asked for, for tags and summary.
        reads: other files that the run reads, and so must not replace.
        program: what of the model is run; None is what its task says.
        stride: pixels of the grid, along either axis, that the network answers by one.
        multiple: side in pixels of the smallest block that the network takes, a multiple of ``stride``.

    Raises:
        InputError: a scene has no valid pixel, an option is out of range, the device is missing.
    """

    task: ClassVar[Task]

    def __init__(
        self,
        package: PackageFile,
        network: Callable[[Network, Choice], Windows],
        requests: Sequence[SceneRequest],
        scenes: Sequence[Scene],
        grid: GeoBox,
        options: RunOptions,
        reporter: Reporter,
        *,
        region: engine.Region | None = None,
        facts: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        reads: Sequence[str | Path | None] = (),
        program: Program | None = None,
        stride: int = 1,
        multiple: int = 32,
    ) -> None:
        contract = package.contract
        self.package = package
        self.scenes = list(scenes)
        self.grid = grid
        self.options = options
        self.reporter = reporter
        self.stride = stride
        self.region = region
        self.facts = dict(facts or {})
        self.parameters = dict(parameters or {})
        self.created = now()
        #: opens the same job elsewhere; None where that is not possible
        self.opening: Callable[[], Any] | None = None
        #: of the scheduler that a run is given to
        self.client: Any = None
        self._reads = [*(name for scene in scenes for name in scene.names), *reads]
        self.conversions = [
            decide_conversion(scene, request, spec.family, spec.unit, reporter)
            for spec, request, scene in zip(contract.inputs, requests, scenes, strict=True)
        ]
        for scene in self.scenes:
            shift, doubt = scene_shift(tuple(f.geobox for f in scene.files), grid)
            if shift is not None:
                reporter.log(f"{scene.role}: {shift.describe()}")
            if doubt:
                reporter.warning("datum", f"{scene.role}: {doubt}")
        gsd = ground_sample_distance(grid)
        for spec in contract.inputs[:1]:
            if spec.gsd and not spec.gsd[0] * 0.8 <= gsd <= spec.gsd[1] * 1.25:
                reporter.warning(
                    "gsd",
                    f"the grid has {gsd:.3g} m per pixel; {contract.name} was trained on {spec.gsd[0]:g} to"
                    f" {spec.gsd[1]:g} m: expect poor results, or choose another {param('res')} or {param('model')}",
                )
        if contract.caution:
            reporter.warning("model", f"{contract.name}: {contract.caution}")
        program = program or Program.of(contract)
        choice = choose_runtime(options.runtime, options.device, options.precision, package=package, program=program)
        reporter.log(f"device: {choice.describe()}")
        self.predictor = network(load_network(package, program, choice), choice)
        height, width = (side // stride for side in grid.shape.yx)
        window = (options.window or contract.window) // stride
        overlap = contract.overlap if options.overlap is None else options.overlap
        try:
            self.plan = plan_tiles(height, width, window, overlap, blend=options.blend, multiple=multiple // stride)
        except ValueError as error:
            raise InputError(str(error)) from error

    # -- faces

    @abstractmethod
    def estimate(self) -> dict[str, Any]:
        """What the run will take: grid, windows, memory and disk, before a run."""

    def run(
        self,
        out: str | Path,
        *,
        overwrite: bool = False,
        resume: bool = False,
        keep: bool = False,
        scheduler: str | None = None,
    ) -> MapResult:
        """Run the model over the scenes and write the output folder.

        Args:
            out: folder to create.
            overwrite: allow a folder with content.
            resume: go on where a run of the same job for the same folder was stopped, to the same bytes; where none
                was, begin. Only maps of classes are kept by strips; other jobs begin again.
            keep: what is finished stays when this run is interrupted or fails, as it does when it is killed.
            scheduler: address of a Dask scheduler whose workers compute the map, see
                :mod:`codemae_geo.inference.distributed`; None computes here.

        Raises:
            InputError: not one pixel could be analysed; or the run that was stopped there is another one.
            OutputError: the folder has content or holds an input, or the disk is full.
        """
        with (
            gdal_env(),
            nullcontext() if scheduler is None else distributed.connect(scheduler) as self.client,
            FolderStaging(out, overwrite=overwrite, resume=resume) as staging,
        ):
            self._protect_inputs(staging.path)
            before = self._stamps()
            try:
                outputs, summary = self._write(staging)
                changed = [name for name, stamp in self._stamps().items() if before.get(name) != stamp]
                changed += [name for name in before if not Path(name).exists()]
                if changed:
                    staging.forget()
                    raise InputError(
                        "an input changed while it was read",
                        found=f"{changed[0]} was written to or removed during the run",
                        expected="files that stay as they are",
                        hint="run it again when the file is complete",
                    )
            except BaseException as error:
                self._tell_of_kept(staging, error, keep=keep)
                raise
            clear(staging)
            outputs = {**outputs, "summary": staging.folder / "summary.json"}
            final = {kind: staging.path / path.name for kind, path in outputs.items()}
            summary["outputs"] = {kind: path.name for kind, path in final.items()}
            summary["warnings"] = self.reporter.warnings
            summary["seconds"] = {name: round(s, 3) for name, s in self.reporter.seconds.items()}
            write_summary(outputs["summary"], summary)
            staging.publish_all(stale=self.task.outputs)
            return MapResult(staging.path, final, summary)

    def measure(self) -> dict[str, Any]:
        """How long the run will take, from windows that are run now: those asked for times the seconds of one.

        Returns:
            ``windows`` that hold a pixel asked for, ``passes`` of the network for each, ``seconds_per_window`` with all
            its passes (the faster of two, after one that is not counted), and ``seconds`` for all windows. Reading,
            writing and polygons come on top.
        """
        plan, stride = self.plan, self.stride
        sides = [side * stride for side in plan.window]
        images = [
            np.zeros((1, s.band_count, *sides), np.uint8 if c.target == "uint8" else np.float32)
            for s, c in zip(self.scenes, self.conversions, strict=True)
        ]
        valid = [np.ones((1, *sides), bool) for _ in images]
        times = []
        for _ in range(3):
            start = perf_counter()
            list(self.predictor(images, valid))
            times.append(perf_counter() - start)
        seconds = min(times[1:])
        windows = self._windows_asked_for()
        return {
            "windows": windows,
            "passes": 8 if getattr(self.predictor, "tta", False) else 1,
            "seconds_per_window": seconds,
            "seconds": windows * seconds,
        }

    def _windows_asked_for(self) -> int:
        """Windows that hold a pixel of the region; what is nodata is not known before it is read."""
        plan, stride = self.plan, self.stride
        if self.region is None:
            return len(plan)
        found = 0
        for start in plan.row_starts:
            end = min(start + plan.window[0], plan.height) * stride
            columns = np.flatnonzero(self.region(start * stride, end).any(0))
            starts = np.array(plan.col_starts) * stride
            found += int(
                (np.searchsorted(columns, starts + plan.window[1] * stride) > np.searchsorted(columns, starts)).sum()
            )
        return found

    def _stamps(self) -> dict[str, tuple[int, int]]:
        """Size and time of change of every local file that is read."""
        names = dict.fromkeys(str(name).partition("|")[0] for name in filter(None, self._reads))
        files = [(name, Path(name)) for name in names if "://" not in name and Path(name).is_file()]
        return {name: (path.stat().st_size, path.stat().st_mtime_ns) for name, path in files}

    @abstractmethod
    def _write(self, staging: FolderStaging) -> tuple[dict[str, Path], dict[str, Any]]:
        """Write everything but the summary into the hidden folder; files by kind, and the summary."""

    def _tell_of_kept(self, staging: FolderStaging, error: BaseException, *, keep: bool) -> None:
        """Keep the finished rows of a run that failed, and say so, or let them go."""
        if not staging.kept:
            return
        if keep:
            error.add_note(
                f"what is finished is kept: the same command with {param('resume')} goes on from there, and"
                " `codemae clean` removes it"
            )
        else:
            staging.forget()

    def identity(self) -> dict[str, Any]:
        """What makes a run another one: a run that goes on with finished rows must agree in all of it."""
        plan = self.plan
        files = [*(name for scene in self.scenes for name in scene.names), *map(str, filter(None, self._reads))]
        return {
            "version": __version__,
            "task": self.task.name,
            "model": self.package.sha256,
            "device": self.predictor.runtime.describe(),
            "parameters": self.parameters,
            "conversions": [c.as_dict() for c in self.conversions],
            "grid": describe_grid(self.grid),
            "windows": [*plan.window, len(plan.row_starts), len(plan.col_starts)],
            "inputs": {absolute(name): fingerprint(name) for name in dict.fromkeys(files)},
        }

    # -- what subclasses share

    @property
    def classes(self) -> ClassTable:
        """Classes of the answer."""
        return self.package.contract.class_table

    @property
    def cells(self) -> GeoBox:
        """The grid of the answers."""
        if self.stride == 1:
            return self.grid
        return GeoBox((self.plan.height, self.plan.width), self.grid.affine * Affine.scale(self.stride), self.grid.crs)

    @contextmanager
    def open_readers(self, columns: tuple[int, int] | None = None) -> Iterator[list[AlignedReader]]:
        """One reader per scene, on the job's grid or some of its columns."""
        with ExitStack() as stack:
            yield [
                stack.enter_context(
                    AlignedReader(scene, self.grid, conversion, resampling=self.options.resampling, columns=columns)
                )
                for scene, conversion in zip(self.scenes, self.conversions, strict=True)
            ]

    def predict(self, readers: Sequence[AlignedReader], sink: engine.Sink, *, done: int = 0) -> engine.EngineStats:
        """Every window through the network, the finished rows to ``sink``.

        Args:
            readers: of :meth:`open_readers`.
            sink: takes the rows, top first.
            done: rows that an earlier run has finished.
        """
        with self.reporter.stage("predict", len(self.plan)):
            return engine.run(
                readers,
                self.plan,
                self.predictor,
                sink,
                region=self.region,
                batch=self.predictor.batch_size,
                stride=self.stride,
                done=done,
                reporter=self.reporter,
            )

    def tags(self) -> dict[str, str]:
        """Tags of every output: who made it, from what, with which model and parameters."""
        contract = self.package.contract
        return {
            "SOFTWARE": f"codemae-geo {__version__}",
            "MODEL": f"{contract.name} {contract.version}",
            "MODEL_SHA256": self.package.sha256,
            "MODEL_LICENCE": contract.licence,
            "INPUTS": json.dumps(
                {s.role: [{"file": Path(f.name).name, **fingerprint(f.name)} for f in s.files] for s in self.scenes}
            ),
            "PARAMETERS": json.dumps(self.parameters, default=str),
            "DATE": self.created.isoformat(timespec="seconds"),
        }

    def describe(self, stats: engine.EngineStats) -> dict[str, Any]:
        """What every summary tells: task, model, inputs, grid, parameters, device, windows, versions."""
        return {
            "task": self.task.name,
            "created": self.created.isoformat(timespec="seconds"),
            "model": describe_model(self.package),
            "inputs": {
                s.role: describe_scene(s, c, self.grid) for s, c in zip(self.scenes, self.conversions, strict=True)
            },
            "grid": describe_grid(self.cells),
            **self.facts,
            "parameters": self.parameters,
            "device": self.predictor.runtime.describe(),
            "windows": asdict(stats),
            "versions": {
                **versions(*LIBRARIES[self.predictor.runtime.runtime], "rasterio", "numpy"),
                **gdal_versions(),
            },
        }

    def nothing_analysed(self) -> InputError:
        """The error for a run in which nothing was there to be analysed."""
        options = " and ".join(param(nodata_option(scene.role)) for scene in self.scenes)
        several = len(self.scenes) > 1
        return InputError(
            "no pixel could be analysed",
            found=f"every pixel is nodata in {'at least one' if several else 'the'} scene, or outside the area asked"
            " for",
            hint=f"look at the scenes with codemae info; {options} override{'' if several else 's'} the files' nodata",
        )

    def _estimate(self, channels: int, block_bytes: int, disk_bytes: int) -> dict[str, Any]:
        """What a run will take.

        Args:
            channels: channels of the scores that are blended; 0 without blending.
            block_bytes: memory of the rasters' rows of blocks.
            disk_bytes: disk space.
        """
        plan = self.plan
        rows, width = min(plan.window[0], plan.height), plan.width
        pixels = rows * width * self.stride**2
        inputs = list(zip(self.scenes, self.conversions, strict=True))
        memory = {
            # a strip, the strip read ahead, and the window-high copy while rows move up
            "input_strips": sum(3 * pixels * (s.band_count * (1 if c.target == "uint8" else 4) + 1) for s, c in inputs),
            "score_ring": 2 * channels * 4 * rows * width,
            "finished_rows": 3 * channels * 4 * rows * width,
            "output_blocks": block_bytes,
            # one cache for the whole process, sized by the readers
            "gdal_cache": max(AlignedReader(s, self.grid, c).cache_bytes for s, c in inputs),
            "weights": self.predictor.network.weight_bytes,
        }
        memory = {name: size for name, size in memory.items() if size}
        return {
            "grid": describe_grid(self.cells),
            "windows": {
                "count": len(plan),
                "size": [side * self.stride for side in plan.window],
                "rows": len(plan.row_starts),
                "columns": len(plan.col_starts),
                "blend": self.options.blend,
            },
            "device": self.predictor.runtime.describe(),
            "memory_bytes": {**memory, "total": sum(memory.values())},
            "disk_bytes": disk_bytes,
            **self.facts,
        }

    def _protect_inputs(self, out: Path) -> None:
        """Refuse a run whose outputs would replace what it reads."""
        folder = Path(os.path.realpath(out))  # unlike resolve(), of links in a circle too
        names = {*self.task.outputs, "summary.json"}
        for path in filter(None, self._reads):
            local = Path(os.path.realpath(str(path).split("|")[0]))
            if local.parent == folder and local.name in names:
                raise OutputError(
                    f"the output folder {out} holds an input that would be replaced",
                    found=str(path),
                    expected="a folder without this run's inputs",
                    hint="write to another folder",
                )


def open_package(model: str | Path | PackageFile, task: Task, *, role: str) -> PackageFile:
    """Read a model, if that is not done yet, and check that it does what is asked.

    Raises:
        ModelError: it cannot be loaded, or its task is another.
    """
    package = model if isinstance(model, PackageFile) else read_package(resolve(model, task.name))
    found = TASKS[package.contract.task]
    if found != task:
        other = f"try codemae {found.command}, or " if found.command else "name "
        known = models_for(task.name)
        raise ModelError(
            f"the model {package.contract.name} does not fit {role}",
            found=f"task {found.name}",
            expected=f"task {task.name}",
            hint=f"{other}another model ({', '.join(known) or 'codemae models list'})",
        )
    return package


def crop_to_aoi(grid: GeoBox, aoi: str | Path, stride: int = 1) -> tuple[GeoBox, GeometryMask]:
    """The part of a grid, in whole cells of ``stride`` pixels, that covers an area of interest, and its mask there.

    Raises:
        InputError: the file cannot be read as polygons, or the area lies outside.
    """
    area = read_aoi(aoi, to_crs=grid.crs)
    part = whole_cells(crop(grid, area, grid.crs, "aoi"), stride)
    return part, GeometryMask([area], part)


def whole_cells(grid: GeoBox, stride: int) -> GeoBox:
    """The grid, extended to the right and below until both sides divide by ``stride``."""
    rows, columns = grid.shape.yx
    return shifted(grid, 0, rows + -rows % stride, 0, columns + -columns % stride)


def combine_regions(regions: Sequence[Callable[[int, int], NDArray[np.bool_]]]) -> engine.Region | None:
    """Pixels that lie in every region; None without any."""
    if not regions:
        return None
    return lambda row0, row1: np.logical_and.reduce([r(row0, row1) for r in regions])


def decide_conversion(
    scene: Scene, request: SceneRequest, family: Family, unit: Unit, reporter: Reporter
) -> Conversion:
    """How stored values become what the model takes; told to ``reporter``.

    Args:
        scene: the scene, open.
        request: how it was asked for.
        family, unit: what the model takes.
        reporter: told the decision; warned where nodata seems to be undeclared.

    Raises:
        InputError: the scene has no valid pixel, or its unit cannot become the model's.
    """
    reporter.log(scene.describe())
    for code, message in scene.warnings:
        reporter.warning(code, message)
    undeclared = not any(f.mask and f.mask != ("nan",) for f in scene.files)
    needs_sample = scene.unit != unit or request.stretch != "auto" or undeclared
    sample, valid = scene.sample() if needs_sample else (None, None)
    if undeclared and sample is not None and valid is not None:
        warn_of_fill(scene.role, sample, valid, reporter)
    conversion = plan_conversion(family, scene.unit, unit, sample, valid, stretch=request.stretch)
    if sample is not None and valid is not None:
        check_varied(scene.role, conversion, sample, valid)
    reporter.log(f"{scene.role}: {conversion.describe()}")
    return conversion


def nodata_option(role: str) -> str:
    """The option that overrides a scene's nodata value."""
    return "nodata" if role in ("image", "optical") else f"{role}_nodata"


def warn_of_fill(role: str, sample: NDArray[Any], valid: NDArray[np.bool_], reporter: Reporter) -> None:
    """Warn when pixels without a measurement seem to be stored as a value that the files do not declare as nodata.

    A value is suspected when it is the smallest or largest of the sample ``[bands, rows, columns]`` and more than 5 %
    of the pixels hold exactly it in all bands.
    """
    values = sample[:, valid]
    if values.size == 0 or np.iscomplexobj(values):
        return
    for fill in {values.min().item(), values.max().item()}:
        share = float((values == fill).all(0).mean())
        if share > FILL_SHARE:
            option = nodata_option(role)
            reporter.warning(
                "nodata",
                f"{share:.0%} of the sampled {role} pixels are exactly {number(fill)} and the files declare no"
                f" nodata value; "
                f"if they hold no measurement, say {param(option, number(fill))}",
                option,
            )
