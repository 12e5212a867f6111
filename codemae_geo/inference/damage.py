"""From a pair of scenes to a map of building damage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import geopandas as gpd
import numpy as np
import shapely
from odc.geo.geobox import GeoBox

from codemae_geo.demo import SAR_MODEL
from codemae_geo.errors import InputError, ModelError, param
from codemae_geo.inference.job import MapResult, combine_regions, crop_to_aoi, open_package
from codemae_geo.inference.maps import MapJob
from codemae_geo.inference.predictor import Predictor
from codemae_geo.inference.request import Bounds, RunOptions, SceneLike, SceneRequest, Target, absolute, as_request
from codemae_geo.outputs import FolderStaging
from codemae_geo.progress import Reporter
from codemae_geo.raster.align import Overlap, overlap, same_scene, target_grid
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.geo import center_lonlat, outline, utm_crs
from codemae_geo.raster.mask import GeometryMask
from codemae_geo.raster.offset import estimate_offset
from codemae_geo.tasks import TASKS, Task
from codemae_geo.vector.buildings import aggregate_buildings, warn_if_elsewhere
from codemae_geo.vector.footprints import read_footprints
from codemae_geo.vector.geopackage import GeoPackageWriter
from codemae_geo.weights import ModelContract
from codemae_geo.weights.registry import DEFAULT_DAMAGE_MODEL

__all__ = ["DamageJob", "MapResult", "RunOptions", "SceneRequest", "Target", "map_damage"]


class DamageJob(MapJob):
    """A damage map of a pair of scenes, see :func:`map_damage`."""

    task: ClassVar[Task] = TASKS["damage"]
    buildings: gpd.GeoDataFrame | None = None

    @classmethod
    def open(
        cls,
        pre: SceneLike,
        post: SceneLike,
        *,
        post_sensor: Literal["optical", "sar"] | None = None,
        model: str | Path | None = None,
        footprints: str | Path | None = None,
        footprints_crs: str | None = None,
        only_near_buildings: float | None = None,
        target: Target | None = None,
        options: RunOptions | None = None,
        reporter: Reporter | None = None,
    ) -> DamageJob:
        """Open and check everything, without writing. Arguments and errors are those of :func:`map_damage`."""
        target, options, reporter = target or Target(), options or RunOptions(), reporter or Reporter()
        requests = [as_request(pre), as_request(post)]
        with gdal_env(), reporter.stage("check"):
            package = open_package(model or DEFAULT_DAMAGE_MODEL, cls.task, role="a pre and post pair")
            check_sensors(package.contract, post_sensor)
            scenes = [r.open(spec) for r, spec in zip(requests, package.contract.inputs, strict=True)]
            same_scene(*scenes)
            common = overlap(*scenes)
            grid = target_grid(*scenes, grid=target.grid, dst_crs=target.dst_crs, res=target.res, bounds=target.bounds)
            regions = []
            if target.aoi is not None:
                grid, inside = crop_to_aoi(grid, target.aoi)
                regions.append(inside)
            check_covers(grid, common)
            buildings = None
            if footprints is not None:  # a country's are read only where the map will be
                buildings = read_footprints(footprints, src_crs=footprints_crs, around=grid)
            if only_near_buildings is not None:
                if buildings is None:
                    raise InputError(
                        "near which buildings?",
                        expected=f"{param('footprints', 'FILE')} beside {param('only_near_buildings')}",
                        option="only_near_buildings",
                    )
                regions.append(GeometryMask(near(buildings, only_near_buildings, grid), grid, all_touched=True))
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
                facts={
                    "overlap": {
                        "area_m2": common.area_m2,
                        "share_of_pre": common.fraction_of_pre,
                        "share_of_post": common.fraction_of_post,
                    }
                },
                parameters={
                    "post_sensor": package.contract.inputs[1].family,
                    **target.parameters(pair=True),
                    "only_near_buildings_m": only_near_buildings,
                    **asdict(options),
                },
                reads=[footprints, target.aoi],
            )
            if common.fraction_of_pre < 0.5:
                reporter.warning(
                    "overlap", f"the post scene covers {100 * common.fraction_of_pre:.2g} % of the pre scene's extent"
                )
        job.buildings = buildings
        job.opening = partial(
            cls.open,
            *(request.located() for request in requests),
            post_sensor=post_sensor,
            model=None if model is None else absolute(model),
            footprints=None if footprints is None else absolute(footprints),
            footprints_crs=footprints_crs,
            only_near_buildings=only_near_buildings,
            target=target.located(),
            options=options,
        )
        return job

    @property
    def writes_probabilities(self) -> bool:
        """Also where a calibrated confidence of buildings is made of them."""
        calibrated = self.package.contract.building_calibration is not None
        return self.options.probabilities or (calibrated and self.buildings is not None)

    def _write(self, staging: FolderStaging) -> tuple[dict[str, Path], dict[str, Any]]:
        self._find_offset()
        outputs, summary = self._write_map(staging)
        calibration = self.package.contract.building_calibration
        outputs["vector"] = staging.folder / f"{self.task.stem}.gpkg"
        with GeoPackageWriter(outputs["vector"]) as package:
            if self.buildings is not None:
                with self.reporter.stage("buildings", len(self.buildings)):
                    table = aggregate_buildings(
                        self.buildings,
                        outputs["classes"],
                        outputs["confidence"],
                        self.classes,
                        probability_raster=outputs.get("probabilities"),
                        calibration=None if calibration is None else (calibration.slope, calibration.intercept),
                        out=package,
                        tags=self.tags(),
                    )
                warn_if_elsewhere(table, self.reporter)
                summary["buildings"] = asdict(table)
            summary["polygons"] = self._write_polygons(outputs, package)
        if self.writes_probabilities and not self.options.probabilities:
            outputs.pop("probabilities").unlink()
        return outputs, summary

    def _find_offset(self) -> None:
        """Estimate how far the post scene is shifted against the pre scene; reported, never corrected."""
        with self.reporter.stage("offset"), self.open_readers() as (before, after):
            offset = estimate_offset(before, after, self.grid)
        self.facts["offset"] = asdict(offset)
        if offset.quality == "good" and max(abs(offset.dx_px), abs(offset.dy_px)) > 2:
            self.reporter.warning(
                "offset",
                f"the post scene seems shifted by {offset.dx_m:+.1f} m east, {offset.dy_m:+.1f} m north against the"
                " pre scene; it is reported, not corrected",
            )


def map_damage(
    pre: SceneLike,
    post: SceneLike,
    out: str | Path,
    *,
    post_sensor: Literal["optical", "sar"] | None = None,
    model: str | Path | None = None,
    footprints: str | Path | None = None,
    footprints_crs: str | None = None,
    only_near_buildings: float | None = None,
    grid: Literal["pre", "post", "utm"] = "pre",
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
        only_near_buildings: analyse only within this many metres of a footprint.
        grid, dst_crs, res, bounds, aoi: where, see :class:`Target`.
        options: see :class:`RunOptions`.
        overwrite: allow a folder with content.
        resume: go on where a run for the same folder was stopped, to the same bytes.
        scheduler: address of a Dask scheduler whose workers compute, see :mod:`codemae_geo.inference.distributed`.
        reporter: told stages, progress, decisions and warnings.

    Returns:
        The files and the summary.

    Raises:
        InputError: scenes that cannot be read, do not overlap or are the same; an area outside; nothing to analyse.
        ModelError: a model that is not a package or does not fit the sensors.
        OutputError: the folder has content, or the disk is full.
    """
    job = DamageJob.open(
        pre,
        post,
        post_sensor=post_sensor,
        model=model,
        footprints=footprints,
        footprints_crs=footprints_crs,
        only_near_buildings=only_near_buildings,
        target=Target(grid, dst_crs, res, bounds, aoi),
        options=options,
        reporter=reporter,
    )
    return job.run(out, overwrite=overwrite, resume=resume, scheduler=scheduler)


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
        " comes in through `codemae models convert`, with the preset damageformer-base; to see how it works,"
        f" {param('model', SAR_MODEL)} learnt from simulated radar"
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
