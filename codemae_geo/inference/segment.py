"""From one scene, or one of each sensor, to a map of classes or bands of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from codemae_geo.errors import ModelError, param
from codemae_geo.inference.job import MapResult, combine_regions, crop_to_aoi, open_package
from codemae_geo.inference.journal import Journal
from codemae_geo.inference.maps import MapJob, ValuesSink
from codemae_geo.inference.predictor import Predictor
from codemae_geo.inference.request import Bounds, RunOptions, SceneLike, SceneRequest, Target, absolute, as_request
from codemae_geo.inference.runtimes.graph import is_exported
from codemae_geo.outputs import FolderStaging
from codemae_geo.progress import Reporter
from codemae_geo.raster.align import overlap, target_grid
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.write import estimate_bytes
from codemae_geo.tasks import TASKS, Task
from codemae_geo.weights import ModelContract, PackageFile, resolve
from codemae_geo.weights import open_package as read_package

if TYPE_CHECKING:
    from torch import nn

    from codemae_geo.weights.foreign import ClassLike, InputLike


class SegmentJob(MapJob):
    """A class map of one scene, see :func:`predict`."""

    task: ClassVar[Task] = TASKS["segmentation"]
    polygons: bool = True

    @classmethod
    def open(
        cls,
        model: str | Path | PackageFile,
        scene: SceneLike,
        *,
        sar: SceneLike | None = None,
        polygons: bool = True,
        target: Target | None = None,
        options: RunOptions | None = None,
        reporter: Reporter | None = None,
    ) -> SegmentJob:
        """Open and check everything, without writing. Arguments and errors are those of :func:`predict`."""
        target, options, reporter = target or Target(), options or RunOptions(), reporter or Reporter()
        with gdal_env(), reporter.stage("check"):
            package = open_package(model, cls.task, role="one scene" if sar is None else "an optical and a SAR scene")
            requests = in_order(package.contract, as_request(scene), None if sar is None else as_request(sar))
            module = getattr(package, "module", None)  # of a model from elsewhere, or already loaded
            side = getattr(module, "side", None)
            if side is not None and options.window not in (None, side):
                raise ModelError(
                    f"the model {package.contract.name} takes windows of one size",
                    found=param("window", options.window),
                    expected=f"{side} pixels",
                    option="window",
                )
            scenes = [request.open(spec) for request, spec in zip(requests, package.contract.inputs, strict=True)]
            first = next((s for s in scenes if s.family == "optical"), scenes[0])
            facts = {"overlap": {"area_m2": overlap(*scenes).area_m2}} if len(scenes) > 1 else {}
            grid = target_grid(first, dst_crs=target.dst_crs, res=target.res, bounds=target.bounds)
            regions = []
            if target.aoi is not None:
                grid, inside = crop_to_aoi(grid, target.aoi)
                regions.append(inside)
            job = cls(
                package,
                lambda network, choice: Predictor(
                    network, package.contract, choice, tta=options.tta, batch_size=options.batch_size
                ),
                requests,
                scenes,
                grid,
                options,
                reporter,
                region=combine_regions(regions),
                facts=facts,
                parameters={**target.parameters(pair=False), **asdict(options)},
                reads=[target.aoi],
                multiple=getattr(module, "multiple", 32),
            )
        job.polygons = polygons
        return job

    def _write(self, staging: FolderStaging) -> tuple[dict[str, Path], dict[str, Any]]:
        outputs, summary = self._write_map(staging)
        if self.polygons:
            outputs["vector"] = staging.folder / f"{self.task.stem}.gpkg"
            summary["polygons"] = self._write_polygons(outputs, outputs["vector"])
        return outputs, summary


def in_order(contract: ModelContract, scene: SceneRequest, sar: SceneRequest | None) -> list[SceneRequest]:
    """The scenes in the order of the model's inputs.

    Raises:
        ModelError: the model takes other scenes than were given.
    """
    families = [spec.family for spec in contract.inputs]
    if sar is None and len(families) == 1:
        return [scene]
    if sar is not None and sorted(families) == ["optical", "sar"]:
        return [sar if family == "sar" else scene for family in families]
    takes = " and ".join(f"one {family}" for family in families)
    fused = sorted(families) == ["optical", "sar"]
    raise ModelError(
        f"the model {contract.name} takes {takes} scene{'s' if len(families) > 1 else ''}",
        found="one scene" if sar is None else f"a scene, and one more as {param('sar')}",
        hint=f"name the SAR scene with {param('sar')}" if fused else None,
        option="sar",
    )


class ValuesJob(SegmentJob):
    """Bands of float32 values of one scene, see :func:`codemae_geo.predict`."""

    task: ClassVar[Task] = TASKS["regression"]

    def estimate(self) -> dict[str, Any]:
        """See :meth:`Job.estimate`."""
        count = len(self.package.contract.values)
        rows = 4 * self.plan.window[0] * self.plan.width * count
        return self._estimate(self.predictor.channels, rows, estimate_bytes(self.cells, count, "float32"))

    def encode(self, scores: NDArray[np.float32], analysed: NDArray[np.bool_]) -> NDArray[Any]:
        """See :meth:`MapJob.encode`."""
        return np.where(analysed, scores, np.float32(np.nan))

    def _sink(self, folder: Path, journal: Journal) -> ValuesSink:
        return ValuesSink(self, folder, journal)

    def _write(self, staging: FolderStaging) -> tuple[dict[str, Path], dict[str, Any]]:
        return self._write_map(staging)


def is_foreign(model: str | Path | PackageFile | nn.Module) -> bool:
    """Whether ``model`` is anything but a package or the name, file or address of one, exported or not."""
    if isinstance(model, str | Path):
        return Path(model).suffix.lower() in (".onnx", ".json") and not is_exported(model)
    return not isinstance(model, PackageFile)


def open_prediction(
    model: str | Path | PackageFile | nn.Module,
    scene: SceneLike,
    *,
    sar: SceneLike | None = None,
    inputs: InputLike | Sequence[InputLike] | None = None,
    classes: Sequence[ClassLike] | None = None,
    values: Sequence[str] | None = None,
    contract: ModelContract | str | Path | None = None,
    polygons: bool = True,
    target: Target | None = None,
    options: RunOptions | None = None,
    reporter: Reporter | None = None,
) -> SegmentJob:
    """The job of :func:`predict`, open and checked; arguments and errors are those of :func:`predict`."""
    options = options or RunOptions()
    told = inputs is not None or classes or values or contract is not None
    foreign = is_foreign(model)
    if isinstance(model, PackageFile):
        package = model
    elif foreign:
        from codemae_geo.weights.foreign import wrap

        package = wrap(model, inputs, classes, values, contract=contract)
    elif told:
        raise ModelError(
            "a model package says itself what it takes and answers",
            found=str(model),
            expected="inputs, classes and contracts only with a torch module, an ONNX file or a STAC item",
        )
    else:
        package = read_package(resolve(str(model), "segmentation", "regression"))
    kind: type[SegmentJob] = SegmentJob
    if package.contract.task == "regression":
        kind = ValuesJob
    # 16 bits keep two or three digits of a value, and nobody has measured what they do to a model from elsewhere
    if options.precision == "auto" and (kind is ValuesJob or foreign):
        options = replace(options, precision="float32")
    job = kind.open(package, scene, sar=sar, polygons=polygons, target=target, options=options, reporter=reporter)
    if isinstance(model, str | Path):
        job.opening = partial(
            open_prediction,
            absolute(model),
            as_request(scene).located(),
            sar=None if sar is None else as_request(sar).located(),
            inputs=inputs,
            classes=classes,
            values=values,
            contract=absolute(contract) if isinstance(contract, str | Path) else contract,
            polygons=polygons,
            target=(target or Target()).located(),
            options=options,
        )
    return job


def predict(
    model: str | Path | PackageFile | nn.Module,
    scene: SceneLike,
    out: str | Path,
    *,
    sar: SceneLike | None = None,
    inputs: InputLike | Sequence[InputLike] | None = None,
    classes: Sequence[ClassLike] | None = None,
    values: Sequence[str] | None = None,
    contract: ModelContract | str | Path | None = None,
    polygons: bool = True,
    dst_crs: str | None = None,
    res: float | None = None,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    options: RunOptions | None = None,
    overwrite: bool = False,
    resume: bool = False,
    scheduler: str | None = None,
    reporter: Reporter | None = None,
) -> MapResult:
    """Run a model over a scene of any size: a map of classes, or bands of values.

    Args:
        model: name, file or hub address of a package with the task segmentation or regression; or any torch module, an
            ONNX file, or a STAC MLM item, see :func:`codemae_geo.weights.foreign.wrap`. A module is set to evaluation.
        scene: one file or many of one date; of a model that takes both sensors, the optical one. Its grid is the map's.
        sar: the radar scene of a model that takes both sensors; where either is nodata, nothing is analysed.
        out: folder to create: ``classes.tif``, ``confidence.tif``, ``classes.gpkg`` and ``summary.json``, or of a
            regression ``values.tif`` and ``summary.json``.
        inputs: what a model that is not a package takes: ``{"family": "optical", "bands": ["red", "green", "blue"],
            "unit": "uint8", "mean": [...], "std": [...]}``; the network gets (value - mean) / std.
        classes: names of its classes, in the order of its channels.
        values: names of its bands, in place of classes: a regression.
        contract: all that as a contract or its file (``codemae models wrap``).
        dst_crs, res, bounds, aoi: where, see :class:`Target`.
        options: see :class:`RunOptions`.
        polygons: also write ``classes.gpkg``.
        overwrite: allow a folder with content.
        resume: go on where a run for the same folder was stopped, to the same bytes.
        scheduler: address of a Dask scheduler whose workers compute, see :mod:`codemae_geo.inference.distributed`.
        reporter: told stages, progress, decisions and warnings.

    Returns:
        The files and the summary.

    Raises:
        InputError, ModelError, OutputError: as :func:`codemae_geo.map_damage`.
    """
    job = open_prediction(
        model,
        scene,
        sar=sar,
        inputs=inputs,
        classes=classes,
        values=values,
        contract=contract,
        polygons=polygons,
        target=Target(dst_crs=dst_crs, res=res, bounds=bounds, aoi=aoi),
        options=options,
        reporter=reporter,
    )
    return job.run(out, overwrite=overwrite, resume=resume, scheduler=scheduler)
