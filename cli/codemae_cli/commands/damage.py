"""`codemae damage`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, make_reporter
from codemae_cli.show import report_estimate, report_map

EXAMPLES = """Examples:

\b
codemae damage --pre before.tif --post after.tif -o out
codemae damage --pre pre/*.tif --post post/*.tif --footprints buildings.gpkg -o out
codemae damage --pre pre.tif --post sar.tif --post-sensor sar --model damage-sar.safetensors -o out
codemae damage --pre pre.tif --post post.tif --aoi town.geojson --tta --dry-run -o out
"""


@command
def damage(
    pre: Annotated[
        list[str], typer.Option(metavar="RASTER...", help="Scene before: files, folder, pattern, URL or STAC item.")
    ],
    post: Annotated[list[str], typer.Option(metavar="RASTER...", help="Scene after, in any CRS and resolution.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to create.")],
    footprints: Annotated[Path | None, typer.Option(help="Building polygons to give a damage class each.")] = None,
    footprints_crs: Annotated[str | None, typer.Option(help="CRS of footprints that carry none.")] = None,
    only_near_buildings: Annotated[
        bool, typer.Option("--only-near-buildings", help="Analyse only near footprints.")
    ] = False,
    near_distance: Annotated[float, typer.Option(min=0, help="Metres that count as near.")] = 50.0,
    probabilities: o.Probabilities = False,
    post_sensor: Annotated[
        Literal["optical", "sar"] | None, typer.Option(help="Sensor of the post scene [default: the model's].")
    ] = None,
    model: o.Model = None,
    tta: o.Tta = False,
    window: o.Window = None,
    overlap: o.Overlap = None,
    blend: o.Blend = "hann",
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    batch_size: o.BatchSize = None,
    aoi: o.Aoi = None,
    bounds: o.Bounds = None,
    grid: Annotated[Literal["pre", "post", "utm"], typer.Option(help="Whose grid the map has.")] = "pre",
    dst_crs: o.DstCrs = None,
    res: o.Res = None,
    src_crs: o.SrcCrs = None,
    gcps: o.Gcps = "tps",
    pre_bands: Annotated[str | None, typer.Option(help="Bands to use, e.g. 4,3,2.")] = None,
    post_bands: Annotated[str | None, typer.Option(help="Bands to use.")] = None,
    pre_unit: Annotated[str, typer.Option(help="Unit of stored values.")] = "auto",
    post_unit: Annotated[str, typer.Option(help="Unit of stored values: db, power, amplitude, ...")] = "auto",
    pre_nodata: Annotated[float | None, typer.Option(help="Nodata value.")] = None,
    post_nodata: Annotated[float | None, typer.Option(help="Nodata value.")] = None,
    pre_assets: Annotated[str | None, typer.Option(help="Assets of a STAC item.")] = None,
    post_assets: Annotated[str | None, typer.Option(help="Assets of a STAC item.")] = None,
    pre_stretch: Annotated[str, typer.Option(help="auto, minmax or LOW,HIGH.")] = "auto",
    post_stretch: Annotated[str, typer.Option(help="auto, minmax or LOW,HIGH.")] = "auto",
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
    dry_run: o.DryRun = False,
) -> None:
    """Map building damage from a scene before and a scene after an event.

    Writes damage.tif and confidence.tif (Cloud Optimized GeoTIFFs), damage.gpkg (polygons and, with footprints,
    a table of buildings, styled for QGIS) and summary.json into a new folder.
    """
    from codemae_cli.parse import scene_request
    from codemae_geo.inference.damage import MapOptions, estimate_damage, map_damage

    reporter = make_reporter(progress, quiet)
    arguments: dict[str, Any] = {
        "post_sensor": post_sensor,
        "model": model,
        "footprints": footprints,
        "footprints_crs": footprints_crs,
        "aoi": aoi,
        "bounds": bounds,
        "grid": grid,
        "dst_crs": dst_crs,
        "res": res,
        "only_near_buildings": near_distance if only_near_buildings else None,
        "options": MapOptions(window, overlap, blend, tta, batch_size, device, precision, probabilities),
        "reporter": reporter,
    }
    try:
        before = scene_request(pre, pre_bands, src_crs, pre_nodata, pre_unit, pre_assets, pre_stretch, gcps)
        after = scene_request(post, post_bands, src_crs, post_nodata, post_unit, post_assets, post_stretch, gcps)
        if dry_run:
            plan = estimate_damage(before, after, **arguments)
        else:
            result = map_damage(before, after, output, overwrite=overwrite, **arguments)
    finally:
        close(reporter)
    if dry_run:
        report_estimate(plan, json_=json_, progress=progress)
        return
    report_map(result, json_=json_, progress=progress, quiet=quiet)
