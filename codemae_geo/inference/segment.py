"""From one scene to a class map, with any segmentation package."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from codemae_geo.errors import ModelError
from codemae_geo.inference.job import MapResult, combine_regions, crop_to_aoi, open_package
from codemae_geo.inference.maps import MapJob
from codemae_geo.inference.predictor import Predictor
from codemae_geo.inference.request import Bounds, RunOptions, SceneLike, Target, as_request
from codemae_geo.progress import Reporter
from codemae_geo.raster.align import target_grid
from codemae_geo.raster.env import gdal_env
from codemae_geo.tasks import TASKS, Task


class SegmentJob(MapJob):
    """A class map of one scene, see :func:`predict`."""

    task: ClassVar[Task] = TASKS["segmentation"]
    polygons: bool = True

    @classmethod
    def open(
        cls,
        model: str | Path,
        scene: SceneLike,
        *,
        polygons: bool = True,
        target: Target | None = None,
        options: RunOptions | None = None,
        reporter: Reporter | None = None,
    ) -> SegmentJob:
        """Open and check everything, without writing. Arguments and errors are those of :func:`predict`."""
        target, options, reporter = target or Target(), options or RunOptions(), reporter or Reporter()
        request = as_request(scene)
        with gdal_env(), reporter.stage("check"):
            package = open_package(model, cls.task, role="one scene")
            if len(package.contract.inputs) != 1:
                raise ModelError(
                    f"the model {package.contract.name} takes {len(package.contract.inputs)} scenes",
                    expected="one scene",
                )
            opened = request.open(package.contract.inputs[0])
            grid = target_grid(opened, dst_crs=target.dst_crs, res=target.res, bounds=target.bounds)
            regions = []
            if target.aoi is not None:
                grid, inside = crop_to_aoi(grid, target.aoi)
                regions.append(inside)
            job = cls(
                package,
                lambda runtime: Predictor(
                    package.module, package.contract, runtime, tta=options.tta, batch_size=options.batch_size
                ),
                [request],
                [opened],
                grid,
                options,
                reporter,
                region=combine_regions(regions),
                parameters={**target.parameters(pair=False), **asdict(options)},
                reads=[target.aoi],
            )
        job.polygons = polygons
        return job

    def _write(self, folder: Path) -> tuple[dict[str, Path], dict[str, Any]]:
        outputs, summary = self._write_map(folder)
        if self.polygons:
            outputs["vector"] = folder / f"{self.task.stem}.gpkg"
            summary["polygons"] = self._write_polygons(outputs, outputs["vector"])
        return outputs, summary


def predict(
    model: str | Path,
    scene: SceneLike,
    out: str | Path,
    *,
    polygons: bool = True,
    dst_crs: str | None = None,
    res: float | None = None,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    options: RunOptions | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> MapResult:
    """Segment a scene of any size.

    Args:
        model: name, file or hub address of a package with the task segmentation.
        scene: one file or many of one date.
        out: folder to create: ``classes.tif``, ``confidence.tif``, ``classes.gpkg``, ``summary.json``.
        dst_crs, res, bounds, aoi: where, see :class:`Target`.
        options: see :class:`RunOptions`.
        polygons: also write ``classes.gpkg``.
        overwrite: allow a folder with content.
        reporter: told stages, progress, decisions and warnings.

    Returns:
        The files and the summary.

    Raises:
        InputError, ModelError, OutputError: as :func:`codemae_geo.map_damage`.
    """
    job = SegmentJob.open(
        model,
        scene,
        polygons=polygons,
        target=Target(dst_crs=dst_crs, res=res, bounds=bounds, aoi=aoi),
        options=options,
        reporter=reporter,
    )
    return job.run(out, overwrite=overwrite)
