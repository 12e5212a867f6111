"""`codemae damage`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from codemae_cli import options as o
from codemae_cli.console import command
from codemae_cli.show import run_job
from codemae_geo.progress import Reporter
from codemae_geo.tasks import NEAR_BUILDINGS_M

EXAMPLES = """Examples:

\b
codemae damage --pre before.tif --post after.tif -o out
codemae damage --pre pre/*.tif --post post/*.tif --footprints buildings.gpkg -o out
codemae damage --pre pre.tif --post sar.tif --post-sensor sar --model damage-sar.safetensors -o out
codemae damage --pre demo:pre --post demo:post-sar --post-sensor sar --model damage-tiny-sar-demo -o out
codemae damage --pre pre.tif --post post.tif --aoi town.geojson --tta --dry-run -o out
codemae damage --pre pre.tif --post post.tif -o out --resume
codemae damage --batch pairs.csv -o maps --resume
"""


@command
def damage(
    output: o.Output,
    pre: o.SomePre = None,
    post: o.SomePost = None,
    batch: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Several pairs: CSV or JSON with name, pre, post; each gets a folder."),
    ] = None,
    footprints: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Building polygons to give a class each: file, folder, URL."),
    ] = None,
    footprints_crs: Annotated[str | None, typer.Option(help="CRS of footprints that carry none.")] = None,
    only_near_buildings: Annotated[
        bool, typer.Option("--only-near-buildings", help="Analyse only near footprints.")
    ] = False,
    near_distance: Annotated[float, typer.Option(min=0, help="Metres that count as near.")] = NEAR_BUILDINGS_M,
    probabilities: o.Probabilities = False,
    post_sensor: Annotated[
        Literal["optical", "sar"] | None, typer.Option(help="Sensor of the post scene [default: the model's].")
    ] = None,
    model: o.Model = None,
    tta: o.Tta = False,
    window: o.Window = None,
    overlap: o.Overlap = None,
    blend: o.Blend = "hann",
    runtime: o.Runtime = "auto",
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    batch_size: o.BatchSize = None,
    aoi: o.Aoi = None,
    bounds: o.Bounds = None,
    grid: Annotated[Literal["pre", "post", "utm"], typer.Option(help="Whose grid the map takes.")] = "pre",
    dst_crs: o.DstCrs = None,
    res: o.Res = None,
    resampling: o.Resampling = "auto",
    src_crs: o.SrcCrs = None,
    gcps: o.Gcps = "tps",
    pre_bands: o.Bands = None,
    post_bands: o.Bands = None,
    pre_unit: o.Unit = "auto",
    post_unit: o.Unit = "auto",
    pre_nodata: o.Nodata = None,
    post_nodata: o.Nodata = None,
    pre_assets: o.Assets = None,
    post_assets: o.Assets = None,
    pre_stretch: o.Stretch = "auto",
    post_stretch: o.Stretch = "auto",
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
    resume: o.Resume = False,
    scheduler: o.Scheduler = None,
    dry_run: o.DryRun = False,
    measure: o.Measure = False,
) -> None:
    """Map building damage from a scene before and a scene after an event.

    Writes damage.tif and confidence.tif (Cloud Optimized GeoTIFFs), damage.gpkg (polygons and, with footprints,
    a table of buildings, styled for QGIS) and summary.json into a new folder.
    """
    arguments = dict(locals())
    from codemae_cli.parse import scene_request
    from codemae_geo.inference.damage import DamageJob
    from codemae_geo.inference.request import RunOptions, Target

    def open_job(arguments: Mapping[str, Any], reporter: Reporter) -> DamageJob:
        return DamageJob.open(
            scene_request(arguments, "pre", "pre_"),
            scene_request(arguments, "post", "post_"),
            post_sensor=arguments["post_sensor"],
            model=arguments["model"],
            footprints=arguments["footprints"],
            footprints_crs=footprints_crs,
            only_near_buildings=near_distance if only_near_buildings else None,
            target=o.fill(Target, arguments),
            options=o.fill(RunOptions, arguments),
            reporter=reporter,
        )

    if batch is not None:
        from codemae_cli.batch import run_batch

        if pre or post or dry_run:
            raise typer.BadParameter("is a run of its own, without --pre, --post and --dry-run", param_hint="--batch")
        run_batch(batch, arguments, open_job)
        return
    for name, given in (("pre", pre), ("post", post)):
        if not given:
            raise typer.BadParameter("is missing, and so is --batch", param_hint=f"--{name}")
    run_job(partial(open_job, arguments), arguments)
