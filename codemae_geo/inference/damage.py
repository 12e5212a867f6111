"""From a pair of scenes to a map of building damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import shapely
from odc.geo.geobox import GeoBox

from codemae_geo.errors import InputError, ModelError, param
from codemae_geo.inference.job import (
    Job,
    MapOptions,
    MapResult,
    SceneLike,
    SceneRequest,
    as_request,
    combine_regions,
    crop_to_aoi,
    estimate,
    finish,
    make_tags,
    open_package,
    open_readers,
    prepare,
    protect_inputs,
    run_job,
)
from codemae_geo.inference.predictor import Predictor
from codemae_geo.outputs import FolderStaging
from codemae_geo.progress import Reporter
from codemae_geo.raster.align import Overlap, overlap, same_scene, target_grid
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.geo import center_lonlat, outline, utm_crs
from codemae_geo.raster.mask import GeometryMask
from codemae_geo.raster.offset import estimate_offset
from codemae_geo.vector.buildings import aggregate_buildings, warn_if_elsewhere
from codemae_geo.vector.footprints import read_footprints
from codemae_geo.vector.geopackage import GeoPackageWriter
from codemae_geo.vector.polygons import polygonize
from codemae_geo.weights import ModelContract
from codemae_geo.weights.registry import DEFAULT_DAMAGE_MODEL

Bounds = tuple[float, float, float, float]

#: metres around a footprint that `only_near_buildings` keeps by default
NEAR_BUILDINGS_M = 50.0


def prepare_damage(
    pre: SceneLike,
    post: SceneLike,
    *,
    post_sensor: Literal["optical", "sar"] | None = None,
    model: str | Path | None = None,
    footprints: gpd.GeoDataFrame | None = None,
    aoi: str | Path | None = None,
    bounds: Bounds | None = None,
    grid: Literal["pre", "post", "utm"] = "pre",
    dst_crs: str | None = None,
    res: float | None = None,
    only_near_buildings: float | None = None,
    options: MapOptions | None = None,
    check_offset: bool = True,
    reporter: Reporter | None = None,
) -> Job[Predictor]:
    """Open and check everything that :func:`map_damage` needs, without writing.

    Arguments and errors are those of :func:`map_damage`; ``footprints`` are already read here.
    """
    options = options or MapOptions()
    reporter = reporter or Reporter()
    requests = [as_request(pre), as_request(post)]
    with reporter.stage("check"):
        package = open_package(model or DEFAULT_DAMAGE_MODEL, "damage", role="a pre and post pair")
        check_sensors(package.contract, post_sensor)
        scenes = [r.open(spec) for r, spec in zip(requests, package.contract.inputs, strict=True)]
        same_scene(*scenes)
        common = overlap(*scenes)
        target = target_grid(scenes[0], scenes[1], grid=grid, dst_crs=dst_crs, res=res, bounds=bounds)
        regions = []
        if aoi is not None:
            target, inside = crop_to_aoi(target, aoi)
            regions.append(inside)
        check_covers(target, common)
        if only_near_buildings is not None:
            if footprints is None:
                raise InputError(
                    "near which buildings?",
                    expected=f"{param('footprints', 'FILE')} beside {param('only_near_buildings')}",
                    option="only_near_buildings",
                )
            regions.append(GeometryMask(near(footprints, only_near_buildings, target), target, all_touched=True))
        job = prepare("damage", package, requests, scenes, target, options, reporter)
        job.region = combine_regions(regions)
        job.facts["overlap"] = {
            "area_m2": common.area_m2,
            "share_of_pre": common.fraction_of_pre,
            "share_of_post": common.fraction_of_post,
        }
        if common.fraction_of_pre < 0.5:
            reporter.warning(
                "overlap", f"the post scene covers {100 * common.fraction_of_pre:.2g} % of the pre scene's extent"
            )
    if check_offset:
        with reporter.stage("offset"), open_readers(job) as (before, after):
            offset = estimate_offset(before, after, target)
            job.facts["offset"] = asdict(offset)
            if offset.quality == "good" and max(abs(offset.dx_px), abs(offset.dy_px)) > 2:
                reporter.warning(
                    "offset",
                    f"the post scene seems shifted by {offset.dx_m:+.1f} m east, {offset.dy_m:+.1f} m north against the"
                    " pre scene; it is reported, not corrected",
                )
    job.parameters = {
        "post_sensor": package.contract.inputs[1].family,
        "grid": grid,
        "dst_crs": dst_crs,
        "res": res,
        "bounds": bounds,
        "aoi": None if aoi is None else Path(aoi).name,
        "only_near_buildings_m": only_near_buildings,
        **asdict(options),
    }
    return job


def map_damage(
    pre: SceneLike,
    post: SceneLike,
    out: str | Path,
    *,
    post_sensor: Literal["optical", "sar"] | None = None,
    model: str | Path | None = None,
    footprints: str | Path | None = None,
    footprints_crs: str | None = None,
    aoi: str | Path | None = None,
    bounds: Bounds | None = None,
    grid: Literal["pre", "post", "utm"] = "pre",
    dst_crs: str | None = None,
    res: float | None = None,
    only_near_buildings: float | None = None,
    options: MapOptions | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> MapResult:
    """Map building damage from a scene before and a scene after an event.

    The post scene is warped onto the target grid while it is read; a residual offset is estimated and reported, never
    applied. Where either scene is nodata, nothing is analysed (value 255).

    Args:
        pre: the scene before: optical; one file or many.
        post: the scene after: optical or SAR, as the model takes.
        out: folder to create: ``damage.tif``, ``confidence.tif``, ``damage.gpkg`` (layers ``polygons`` and, with
            footprints, ``buildings``), ``summary.json``, and ``probabilities.tif`` if asked for.
        post_sensor: checked against the model; None takes the model's.
        model: name, file or hub address of a model package; None is the bundled optical model.
        footprints: building polygons to aggregate on.
        footprints_crs: CRS of a footprint file that has none.
        aoi: polygons outside of which nothing is analysed.
        bounds: (left, bottom, right, top) in the target CRS.
        grid: take the grid of the pre scene (default), of the post scene, or the local UTM zone.
        dst_crs, res: another target CRS, another pixel size in its units.
        only_near_buildings: analyse only within this many metres of a footprint.
        options: see :class:`MapOptions`.
        overwrite: allow a folder with content.
        reporter: told stages, progress, decisions and warnings.

    Returns:
        The files and the summary.

    Raises:
        InputError: scenes that cannot be read, do not overlap or are the same; an area outside; nothing to analyse.
        ModelError: a model that is not a package or does not fit the sensors.
        OutputError: the folder has content, or the disk is full.
    """
    reporter = reporter or Reporter()
    with gdal_env(), FolderStaging(out, overwrite=overwrite) as staging:
        buildings = None if footprints is None else read_footprints(footprints, src_crs=footprints_crs)
        job = prepare_damage(
            pre,
            post,
            post_sensor=post_sensor,
            model=model,
            footprints=buildings,
            aoi=aoi,
            bounds=bounds,
            grid=grid,
            dst_crs=dst_crs,
            res=res,
            only_near_buildings=only_near_buildings,
            options=options,
            reporter=reporter,
        )
        protect_inputs(out, job.task, [*(n for s in job.scenes for n in s.names), footprints, aoi])
        outputs, summary = run_job(job, staging, reporter)
        outputs["vector"] = staging.folder / "damage.gpkg"
        tags = make_tags(job)
        with GeoPackageWriter(outputs["vector"]) as package:
            if buildings is not None:
                with reporter.stage("buildings", len(buildings)):
                    table = aggregate_buildings(
                        buildings, outputs["classes"], outputs["confidence"], job.classes, out=package, tags=tags
                    )
                warn_if_elsewhere(table, reporter)
                summary["buildings"] = asdict(table)
            with reporter.stage("polygons"):
                polygons = polygonize(
                    outputs["classes"], package, job.classes, confidence_raster=outputs["confidence"], tags=tags
                )
            summary["polygons"] = asdict(polygons)
        return finish(job, staging, outputs, summary, reporter)


def estimate_damage(*args: Any, footprints: str | Path | None = None, **kwargs: Any) -> dict[str, Any]:
    """What :func:`map_damage` would do, without writing; arguments as there, less ``out``."""
    crs = kwargs.pop("footprints_crs", None)
    with gdal_env():
        frame = None if footprints is None else read_footprints(footprints, src_crs=crs)
        return estimate(prepare_damage(*args, footprints=frame, check_offset=False, **kwargs))


def check_sensors(contract: ModelContract, post_sensor: str | None) -> None:
    """Refuse a model that takes another post sensor than the user has.

    Raises:
        ModelError: the sensors differ; the message says where a fitting model comes from.
    """
    takes = contract.inputs[1].family
    if post_sensor is None or post_sensor == takes:
        return
    raise ModelError(
        f"the model {contract.name} does not take a {post_sensor} post scene",
        found=param("post_sensor", post_sensor),
        expected=f"a post scene of the {takes} kind",
        hint=f"name a model for it with {param('model')}; a published CoDe-MAE damage checkpoint (optical to SAR)"
        " comes in through `codemae models convert`, with the preset damageformer-base"
        if post_sensor == "sar"
        else f"leave out {param('post_sensor')}, or name another {param('model')}",
    )


def check_covers(grid: GeoBox, common: Overlap) -> None:
    """Refuse a target grid on which the scenes have nothing in common.

    Raises:
        InputError: the area asked for lies outside the common ground.
    """
    area = outline(grid, common.crs)
    if shapely.intersection(area, common.geometry).area <= 0:
        raise InputError(
            "the area asked for lies outside the common ground of the two scenes",
            found=f"a grid from {param('bounds')}, {param('aoi')}, {param('grid')} or {param('dst_crs')} that touches"
            " one scene only, or none",
            expected="an area that both scenes cover",
            hint="leave these options out to map all common ground",
        )


def near(footprints: gpd.GeoDataFrame, metres: float, grid: GeoBox) -> Sequence[Any]:
    """Footprints widened by ``metres`` (in the UTM zone of the grid's centre), in the grid's CRS."""
    if metres < 0:
        raise InputError("the distance around buildings is negative", found=f"{metres} m", expected="0 or more")
    local = footprints.geometry.to_crs(utm_crs(*center_lonlat(grid)))
    local = local[np.isfinite(local.bounds).all(axis=1)]  # places that the zone cannot represent are far away
    # four segments a quarter circle are within 2 % of the radius; windows are hundreds of pixels wide
    wide = gpd.GeoSeries(local.buffer(metres, quad_segs=4), crs=local.crs)
    assert grid.crs is not None
    return list(wide.to_crs(grid.crs.to_wkt()))


__all__ = ["MapOptions", "MapResult", "SceneRequest", "estimate_damage", "map_damage", "prepare_damage"]
