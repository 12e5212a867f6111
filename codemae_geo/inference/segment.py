"""From one scene to a class map, with any segmentation package."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from codemae_geo.errors import ModelError
from codemae_geo.inference.job import (
    Job,
    MapOptions,
    MapResult,
    SceneLike,
    as_request,
    combine_regions,
    crop_to_aoi,
    estimate,
    finish,
    make_tags,
    open_package,
    prepare,
    protect_inputs,
    run_job,
)
from codemae_geo.inference.predictor import Predictor
from codemae_geo.outputs import FolderStaging
from codemae_geo.progress import Reporter
from codemae_geo.raster.align import target_grid
from codemae_geo.raster.env import gdal_env
from codemae_geo.vector.polygons import polygonize


def prepare_predict(
    model: str | Path,
    scene: SceneLike,
    *,
    aoi: str | Path | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    dst_crs: str | None = None,
    res: float | None = None,
    options: MapOptions | None = None,
    reporter: Reporter | None = None,
) -> Job[Predictor]:
    """Open and check everything that :func:`predict` needs, without writing."""
    options = options or MapOptions()
    reporter = reporter or Reporter()
    request = as_request(scene)
    with reporter.stage("check"):
        package = open_package(model, "segmentation", role="one scene")
        if len(package.contract.inputs) != 1:
            raise ModelError(
                f"the model {package.contract.name} takes {len(package.contract.inputs)} scenes", expected="one scene"
            )
        opened = request.open(package.contract.inputs[0])
        target = target_grid(opened, dst_crs=dst_crs, res=res, bounds=bounds)
        regions = []
        if aoi is not None:
            target, inside = crop_to_aoi(target, aoi)
            regions.append(inside)
        job = prepare("segmentation", package, [request], [opened], target, options, reporter)
        job.region = combine_regions(regions)
    job.parameters = {
        "dst_crs": dst_crs,
        "res": res,
        "bounds": bounds,
        "aoi": None if aoi is None else Path(aoi).name,
        **asdict(options),
    }
    return job


def predict(
    model: str | Path,
    scene: SceneLike,
    out: str | Path,
    *,
    aoi: str | Path | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    dst_crs: str | None = None,
    res: float | None = None,
    options: MapOptions | None = None,
    polygons: bool = True,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> MapResult:
    """Segment a scene of any size.

    Args:
        model: name, file or hub address of a package with the task segmentation.
        scene: one file or many of one date.
        out: folder to create: ``classes.tif``, ``confidence.tif``, ``classes.gpkg``, ``summary.json``.
        aoi: polygons outside of which nothing is analysed.
        bounds: (left, bottom, right, top) in the target CRS.
        dst_crs, res: another target CRS, another pixel size in its units.
        options: see :class:`MapOptions`.
        polygons: also write ``classes.gpkg``.
        overwrite: allow a folder with content.
        reporter: told stages, progress, decisions and warnings.

    Returns:
        The files and the summary.

    Raises:
        InputError, ModelError, OutputError: as :func:`codemae_geo.map_damage`.
    """
    reporter = reporter or Reporter()
    with gdal_env(), FolderStaging(out, overwrite=overwrite) as staging:
        job = prepare_predict(
            model, scene, aoi=aoi, bounds=bounds, dst_crs=dst_crs, res=res, options=options, reporter=reporter
        )
        protect_inputs(out, job.task, [*(n for s in job.scenes for n in s.names), aoi])
        outputs, summary = run_job(job, staging, reporter)
        if polygons:
            outputs["vector"] = staging.folder / "classes.gpkg"
            with reporter.stage("polygons"):
                found = polygonize(
                    outputs["classes"],
                    outputs["vector"],
                    job.classes,
                    confidence_raster=outputs["confidence"],
                    tags=make_tags(job),
                )
            summary["polygons"] = asdict(found)
        return finish(job, staging, outputs, summary, reporter)


def estimate_predict(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """What :func:`predict` would do, without writing. Arguments as there, less ``out``."""
    with gdal_env():
        return estimate(prepare_predict(*args, **kwargs))
