"""A job: scenes, model, grid, windows, checked and ready; and the run that turns it into rasters.

Every command that runs a model over scenes prepares a :class:`Job`. The two that make maps, damage and predict, call
:func:`run_job`; they differ in the inputs that they open and in what they derive from the class raster.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from codemae_geo import __version__
from codemae_geo.classes import NODATA, ClassTable
from codemae_geo.errors import InputError, ModelError, OutputError, param
from codemae_geo.inference import engine
from codemae_geo.inference.device import Runtime, choose_runtime
from codemae_geo.inference.predictor import Predictor, WindowNetwork
from codemae_geo.outputs import FolderStaging, check_space, write_failure
from codemae_geo.progress import Reporter
from codemae_geo.raster.align import crop
from codemae_geo.raster.env import is_remote
from codemae_geo.raster.gcps import GcpMethod
from codemae_geo.raster.geo import ground_sample_distance, shifted
from codemae_geo.raster.mask import GeometryMask
from codemae_geo.raster.read import AlignedReader
from codemae_geo.raster.scene import Scene
from codemae_geo.raster.write import RasterWriter, encode_probability, estimate_bytes
from codemae_geo.sensors import Conversion, Family, Stretch, Unit, check_varied, plan_conversion
from codemae_geo.tiling import Blend, TilePlan, plan_tiles
from codemae_geo.tiling.area import pixel_area_m2
from codemae_geo.vector.footprints import read_aoi
from codemae_geo.weights import InputSpec, ModelPackage, load_model

#: task -> name of its class raster and GeoPackage, without ending
STEMS = {"damage": "damage", "segmentation": "classes"}
#: task -> files that a run may write besides ``summary.json``
OUTPUTS = {
    **{task: (f"{s}.tif", f"{s}.gpkg", "confidence.tif", "probabilities.tif") for task, s in STEMS.items()},
    "embedding": ("embedding.tif", "components.tif"),
    "object-detection": ("detections.gpkg",),
}
#: task -> command that runs a model for it
COMMANDS = {"damage": "damage", "segmentation": "predict", "embedding": "embed", "object-detection": "detect"}
#: share of pixels with one extreme value above which it is taken for undeclared nodata
FILL_SHARE = 0.05
#: bytes of each end of a file that its fingerprint covers
_FINGERPRINT_ENDS = 2**20


@dataclass(frozen=True)
class SceneRequest:
    """How a scene is to be opened, see :meth:`codemae_geo.raster.scene.Scene.open`.

    Args:
        paths: rasters, folders, patterns, URLs or STAC items of one date.
        bands: indexes of the bands to use, from 1.
        src_crs: CRS of files without one.
        nodata: value without a measurement, overriding the headers.
        unit: what the stored values are; ``auto`` recognises it.
        assets: asset names of STAC items.
        stretch: ``auto``, ``minmax`` or (low, high), see :func:`codemae_geo.sensors.plan_conversion`.
        gcps: how ground control points are used, of files that have nothing else, see :mod:`codemae_geo.raster.gcps`.
    """

    paths: str | Path | Sequence[str | Path]
    bands: Sequence[int] | None = None
    src_crs: str | None = None
    nodata: float | None = None
    unit: Unit | Literal["auto"] = "auto"
    assets: Sequence[str] | None = None
    stretch: Stretch = "auto"
    gcps: GcpMethod = "tps"

    def open(self, spec: InputSpec) -> Scene:
        """Open the scene for an input of a model."""
        return self.open_as(spec.name, spec.family)

    def open_as(self, role: str, family: Family) -> Scene:
        """Open the scene for a role, as scenes of a family."""
        return Scene.open(
            self.paths,
            role=role,
            family=family,
            bands=self.bands,
            src_crs=self.src_crs,
            nodata=self.nodata,
            unit=self.unit,
            assets=self.assets,
            gcps=self.gcps,
        )


#: a scene as a caller may give it
SceneLike = str | Path | Sequence[str | Path] | SceneRequest


def as_request(scene: SceneLike) -> SceneRequest:
    """Paths alone as a request with everything recognised automatically."""
    return scene if isinstance(scene, SceneRequest) else SceneRequest(scene)


@dataclass(frozen=True)
class MapOptions:
    """How a map is computed; the defaults are right for most.

    Args:
        window: window side in pixels; None is the model's.
        overlap: share of a window that the next repeats, 0 to below 1; None is the model's.
        blend: ``hann``, ``average`` or ``none``.
        tta: average the eight flips and turns.
        batch_size: windows per call on a GPU; None chooses.
        device: ``auto``, ``cuda``, ``mps`` or ``cpu``.
        precision: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        probabilities: also write one band of probability per class.
    """

    window: int | None = None
    overlap: float | None = None
    blend: Blend = "hann"
    tta: bool = False
    batch_size: int | None = None
    device: str = "auto"
    precision: str = "auto"
    probabilities: bool = False


Network = TypeVar("Network", bound=WindowNetwork[Any])


@dataclass
class Job(Generic[Network]):
    """Everything that a run needs, checked; nothing is written yet.

    ``grid`` has the pixels that are read, ``plan`` counts cells of ``stride`` x ``stride`` of them.
    """

    task: str
    package: ModelPackage
    predictor: Network
    scenes: list[Scene]
    conversions: list[Conversion]
    grid: GeoBox
    plan: TilePlan
    options: MapOptions
    stride: int = 1
    region: engine.Region | None = None
    #: facts about the inputs for the summary (overlap, offset)
    facts: dict[str, Any] = field(default_factory=dict)
    #: what the user asked for, for tags and summary
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> ClassTable:
        """Classes of the map."""
        return self.package.contract.class_table

    @property
    def cells(self) -> GeoBox:
        """The grid of the answers."""
        if self.stride == 1:
            return self.grid
        return GeoBox((self.plan.height, self.plan.width), self.grid.affine * Affine.scale(self.stride), self.grid.crs)


@dataclass(frozen=True)
class MapResult:
    """A finished map.

    Args:
        folder: where the outputs are.
        outputs: kind of output -> file.
        summary: what ``summary.json`` holds.
    """

    folder: Path
    outputs: dict[str, Path]
    summary: dict[str, Any]


def protect_inputs(out: str | Path, task: str, inputs: Sequence[str | Path | None]) -> None:
    """Refuse a run whose outputs would replace what it reads.

    Raises:
        OutputError: an input is a file of the output folder that this run would write.
    """
    folder = Path(out).resolve()
    names = {*OUTPUTS[task], "summary.json"}
    for path in filter(None, inputs):
        local = Path(str(path).split("|")[0]).resolve()
        if local.parent == folder and local.name in names:
            raise OutputError(
                f"the output folder {out} holds an input that would be replaced",
                found=str(path),
                expected="a folder without this run's inputs",
                hint="write to another folder",
            )


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


def open_package(model: str | Path, task: str, *, role: str) -> ModelPackage:
    """Load a model and check that it does what is asked.

    Raises:
        ModelError: it cannot be loaded, or its task is another.
    """
    package = load_model(model)
    found = package.contract.task
    if found != task:
        other = f"try codemae {COMMANDS[found]}, or " if found in COMMANDS else "name "
        raise ModelError(
            f"the model {package.contract.name} does not fit {role}",
            found=f"task {found}",
            expected=f"task {task}",
            hint=f"{other}another model (codemae models list)",
        )
    return package


def prepare(
    task: str,
    package: ModelPackage,
    requests: Sequence[SceneRequest],
    scenes: Sequence[Scene],
    grid: GeoBox,
    options: MapOptions,
    reporter: Reporter,
) -> Job[Predictor]:
    """A job that makes a map, see :func:`prepare_windows`."""

    def network(runtime: Runtime) -> Predictor:
        return Predictor(package.module, package.contract, runtime, tta=options.tta, batch_size=options.batch_size)

    return prepare_windows(task, package, requests, scenes, grid, options, reporter, network)


def prepare_windows(
    task: str,
    package: ModelPackage,
    requests: Sequence[SceneRequest],
    scenes: Sequence[Scene],
    grid: GeoBox,
    options: MapOptions,
    reporter: Reporter,
    network: Callable[[Runtime], Network],
    *,
    stride: int = 1,
    multiple: int = 32,
) -> Job[Network]:
    """Plan the windows, choose the device, and decide how stored values become what the model takes.

    Args:
        task, package, requests, scenes, options, reporter: see :class:`Job`.
        grid: pixels to read; its sides divide by ``stride``.
        network: makes the network for a device.
        stride: pixels of the grid, along either axis, that the network answers by one.
        multiple: side in pixels of the smallest block that the network takes, a multiple of ``stride``.

    Raises:
        InputError: a scene has no valid pixel, an option is out of range, the device is missing.
    """
    contract = package.contract
    conversions = []
    for spec, request, scene in zip(contract.inputs, requests, scenes, strict=True):
        reporter.log(scene.describe())
        for code, message in scene.warnings:
            reporter.warning(code, message)
        undeclared = not any(f.mask and f.mask != ("nan",) for f in scene.files)
        needs_sample = scene.unit != spec.unit or request.stretch != "auto" or undeclared
        sample, valid = scene.sample() if needs_sample else (None, None)
        if undeclared and sample is not None and valid is not None:
            warn_of_fill(scene.role, sample, valid, reporter)
        conversion = plan_conversion(
            spec.family,
            scene.unit,
            spec.unit,
            sample,
            valid,
            stretch=request.stretch,
        )
        if sample is not None and valid is not None:
            check_varied(scene.role, conversion, sample, valid)
        reporter.log(f"{scene.role}: {conversion.describe()}")
        conversions.append(conversion)
    gsd = ground_sample_distance(grid)
    for spec in contract.inputs[:1]:
        if spec.gsd and not spec.gsd[0] * 0.8 <= gsd <= spec.gsd[1] * 1.25:
            reporter.warning(
                "gsd",
                f"the grid has {gsd:.3g} m per pixel; {contract.name} was trained on {spec.gsd[0]:g} to {spec.gsd[1]:g}"
                f" m: expect poor results, or choose another {param('res')} or {param('model')}",
            )
    runtime = choose_runtime(options.device, options.precision)
    reporter.log(f"device: {runtime.describe()}")
    predictor = network(runtime)
    height, width = (side // stride for side in grid.shape.yx)
    window = (options.window or contract.window) // stride
    overlap = contract.overlap if options.overlap is None else options.overlap
    try:
        plan = plan_tiles(height, width, window, overlap, blend=options.blend, multiple=multiple // stride)
    except ValueError as error:
        raise InputError(str(error)) from error
    return Job(task, package, predictor, list(scenes), conversions, grid, plan, options, stride)


def nodata_option(role: str) -> str:
    """The option that overrides a scene's nodata value."""
    return "nodata" if role == "image" else f"{role}_nodata"


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
                f"{share:.0%} of the sampled {role} pixels are exactly {fill:g} and the files declare no nodata value; "
                f"if they hold no measurement, say {param(option, f'{fill:g}')}",
                option,
            )


def estimate(job: Job[Predictor]) -> dict[str, Any]:
    """What a map will take: grid, windows, memory and disk, before a run."""
    outputs = 2 + (len(job.classes) if job.options.probabilities else 0)
    blocks = 512 * job.plan.width * outputs
    return estimate_run(job, job.predictor.channels, blocks, estimate_bytes(job.cells, outputs))


def estimate_run(job: Job[Any], channels: int, block_bytes: int, disk_bytes: int) -> dict[str, Any]:
    """What a run will take, before a run.

    Args:
        job: the run.
        channels: channels of the scores that are blended; 0 without blending.
        block_bytes: memory of the rasters' rows of blocks.
        disk_bytes: disk space.
    """
    rows, width = min(job.plan.window[0], job.plan.height), job.plan.width
    pixels = rows * width * job.stride**2
    bands = [(s.band_count, 1 if c.target == "uint8" else 4) for s, c in zip(job.scenes, job.conversions, strict=True)]
    memory = {
        # a strip, the strip read ahead, and the window-high copy while rows move up
        "input_strips": sum(3 * pixels * (count * size + 1) for count, size in bands),
        "score_ring": 2 * channels * 4 * rows * width,
        "finished_rows": 3 * channels * 4 * rows * width,
        "output_blocks": block_bytes,
        # one cache for the whole process, sized by the readers
        "gdal_cache": max(
            AlignedReader(s, job.grid, c).cache_bytes for s, c in zip(job.scenes, job.conversions, strict=True)
        ),
        "weights": sum(p.numel() * p.element_size() for p in job.predictor.parameters()),
    }
    memory = {name: size for name, size in memory.items() if size}
    return {
        "grid": describe_grid(job.cells),
        "windows": {
            "count": len(job.plan),
            "size": [side * job.stride for side in job.plan.window],
            "rows": len(job.plan.row_starts),
            "columns": len(job.plan.col_starts),
            "blend": job.options.blend,
        },
        "device": job.predictor.runtime.describe(),
        "memory_bytes": {**memory, "total": sum(memory.values())},
        "disk_bytes": disk_bytes,
        **job.facts,
    }


@contextmanager
def open_readers(job: Job[Any]) -> Iterator[list[AlignedReader]]:
    """One reader per scene, on the job's grid."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(AlignedReader(scene, job.grid, conversion))
            for scene, conversion in zip(job.scenes, job.conversions, strict=True)
        ]


def run_job(job: Job[Predictor], staging: FolderStaging, reporter: Reporter) -> tuple[dict[str, Path], dict[str, Any]]:
    """Run the network over the grid and write class, confidence and (if asked) probability rasters.

    Returns:
        The rasters in the staging folder by kind, and the base of the summary.

    Raises:
        InputError: not one pixel could be analysed.
        OutputError: the disk is full.
    """
    check_space(staging.folder, estimate_bytes(job.grid, 2 + job.options.probabilities * len(job.classes)))
    with ExitStack() as stack:
        readers = stack.enter_context(open_readers(job))
        sink = stack.enter_context(MapSink(job, staging.folder))
        with reporter.stage("predict", len(job.plan)):
            stats = engine.run(
                readers,
                job.plan,
                job.predictor,
                sink,
                region=job.region,
                batch=job.predictor.batch_size,
                reporter=reporter,
            )
        if not sink.pixels.any():
            raise nothing_analysed(job)
        with reporter.stage("write"):
            sink.close()
    return sink.outputs, _summary(job, sink, stats)


def nothing_analysed(job: Job[Any]) -> InputError:
    """The error for a run in which nothing was there to be analysed."""
    options = " and ".join(param(nodata_option(scene.role)) for scene in job.scenes)
    return InputError(
        "no pixel could be analysed",
        found=f"every pixel is nodata in {'at least one' if len(job.scenes) > 1 else 'the'} scene, or outside the area"
        " asked for",
        hint=f"look at the scenes with codemae info; {options} override{'' if len(job.scenes) > 1 else 's'} the files'"
        " nodata",
    )


class MapSink:
    """Takes finished rows from the engine: decodes them, writes them, and counts pixels and areas per class."""

    def __init__(self, job: Job[Predictor], folder: Path) -> None:
        self._job = job
        self._stack = ExitStack()
        classes = job.classes
        tags = make_tags(job)
        stem = STEMS[job.task]
        self.outputs = {"classes": folder / f"{stem}.tif", "confidence": folder / "confidence.tif"}
        open_ = self._stack.enter_context
        self._classes = open_(
            RasterWriter(self.outputs["classes"], job.grid, classes=classes, band_names=[stem], tags=tags)
        )
        self._confidence = open_(
            RasterWriter(
                self.outputs["confidence"],
                job.grid,
                overview_resampling="average",
                band_names=["confidence"],
                tags=tags,
            )
        )
        self._probabilities: RasterWriter | None = None
        if job.options.probabilities:
            self.outputs["probabilities"] = folder / "probabilities.tif"
            self._probabilities = open_(
                RasterWriter(
                    self.outputs["probabilities"],
                    job.grid,
                    count=len(classes),
                    overview_resampling="average",
                    band_names=classes.names,
                    tags=tags,
                )
            )
        self.pixels = np.zeros(len(classes), np.int64)
        self.area_m2 = np.zeros(len(classes))

    def __call__(self, row: int, scores: NDArray[np.float32], analysed: NDArray[np.bool_]) -> None:
        """Take rows from ``row`` on: ``scores [channels, rows, columns]``, ``analysed [rows, columns]``."""
        decoded = self._job.predictor.decode(scores)
        labels = np.where(analysed, decoded.labels, np.uint8(NODATA))
        self._classes.write_rows(row, labels)
        self._confidence.write_rows(row, encode_probability(decoded.confidence, analysed))
        if self._probabilities is not None:
            self._probabilities.write_rows(row, encode_probability(decoded.probabilities, analysed))
        # [classes, rows]: pixels of each class in each row
        counts = np.stack([(labels == c.value).sum(1) for c in self._job.classes])
        self.pixels += counts.sum(1)
        self.area_m2 += counts @ pixel_area_m2(self._job.grid, np.arange(row, row + len(labels)))

    def close(self) -> None:
        """Finish the rasters."""
        self._stack.close()

    def __enter__(self) -> MapSink:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def make_tags(job: Job[Any]) -> dict[str, str]:
    """Tags of every raster: who made it, from what, with which model and parameters."""
    contract = job.package.contract
    return {
        "SOFTWARE": f"codemae-geo {__version__}",
        "MODEL": f"{contract.name} {contract.version}",
        "MODEL_SHA256": job.package.sha256,
        "MODEL_LICENCE": contract.licence,
        "INPUTS": json.dumps(
            {s.role: [{"file": Path(f.name).name, **fingerprint(f.name)} for f in s.files] for s in job.scenes}
        ),
        "PARAMETERS": json.dumps(job.parameters, default=str),
        "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def fingerprint(path: str) -> dict[str, Any]:
    """Size, and SHA-256 of the size, first and last MiB, of a local file: cheap for any scene; {} for a remote one."""
    local = Path(path)
    if is_remote(path) or not local.is_file():
        return {}
    size = local.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with local.open("rb") as file:
        digest.update(file.read(_FINGERPRINT_ENDS))
        if size > _FINGERPRINT_ENDS:
            file.seek(max(size - _FINGERPRINT_ENDS, _FINGERPRINT_ENDS))
            digest.update(file.read())
    return {"bytes": size, "sha256_ends": digest.hexdigest()}


def describe_grid(grid: GeoBox) -> dict[str, Any]:
    """A grid as JSON: CRS, shape, affine (row-major, six numbers), bounds, ground sample distance in metres."""
    crs = grid.crs
    assert crs is not None
    box = grid.boundingbox
    return {
        "crs": f"EPSG:{crs.to_epsg()}" if crs.to_epsg() else crs.to_wkt(),
        "height": grid.shape[0],
        "width": grid.shape[1],
        "transform": list(grid.affine)[:6],
        "bounds": [box.left, box.bottom, box.right, box.top],
        "gsd_m": ground_sample_distance(grid),
    }


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write ``summary.json``.

    Raises:
        OutputError: the disk is full.
    """
    try:
        text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False, default=str)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise write_failure(error, path) from error


def finish(
    job: Job[Any], staging: FolderStaging, outputs: dict[str, Path], summary: dict[str, Any], reporter: Reporter
) -> MapResult:
    """Write the summary, move everything into place, and name the final files."""
    outputs = {**outputs, "summary": staging.folder / "summary.json"}
    final = {kind: staging.path / path.name for kind, path in outputs.items()}
    summary["outputs"] = {kind: path.name for kind, path in final.items()}
    summary["warnings"] = reporter.warnings
    summary["seconds"] = {name: round(s, 3) for name, s in reporter.seconds.items()}
    write_summary(outputs["summary"], summary)
    staging.publish_all(stale=OUTPUTS[job.task])
    return MapResult(staging.path, final, summary)


def _summary(job: Job[Predictor], sink: MapSink, stats: engine.EngineStats) -> dict[str, Any]:
    total = int(sink.pixels.sum())
    height, width = job.grid.shape
    return {
        **describe_run(job, stats),
        "analysed": {
            "pixels": total,
            "share": total / (height * width),
            "area_m2": float(sink.area_m2.sum()),
        },
        "classes": [
            {
                "value": c.value,
                "name": c.name,
                "pixels": int(n),
                "share": float(n / total),
                "area_m2": float(a),
            }
            for c, n, a in zip(job.classes, sink.pixels, sink.area_m2, strict=True)
        ],
    }


def describe_run(job: Job[Any], stats: engine.EngineStats) -> dict[str, Any]:
    """What every summary tells: task, model, inputs, grid, parameters, device, windows, versions."""
    contract = job.package.contract
    return {
        "task": job.task,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": contract.name,
            "version": contract.version,
            "sha256": job.package.sha256,
            "licence": contract.licence,
            "limits": contract.limits,
        },
        "inputs": {
            scene.role: {
                "files": scene.names,
                "family": scene.family,
                "unit": scene.unit,
                "unit_reason": scene.unit_reason,
                "conversion": conversion.as_dict(),
                "crs": str(scene.crs),
                "gsd_m": scene.gsd,
                **({"gcps": scene.gcps} if scene.gcps else {}),
            }
            for scene, conversion in zip(job.scenes, job.conversions, strict=True)
        },
        "grid": describe_grid(job.cells),
        **job.facts,
        "parameters": job.parameters,
        "device": job.predictor.runtime.describe(),
        "windows": asdict(stats),
        "versions": {
            "codemae_geo": __version__,
            "python": platform.python_version(),
            **{p: version(p) for p in ("torch", "rasterio", "numpy")},
        },
    }


def combine_regions(regions: Sequence[Callable[[int, int], NDArray[np.bool_]]]) -> engine.Region | None:
    """Pixels that lie in every region; None without any."""
    if not regions:
        return None
    return lambda row0, row1: np.logical_and.reduce([r(row0, row1) for r in regions])
