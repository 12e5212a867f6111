"""`codemae predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, make_reporter
from codemae_cli.show import report_estimate, report_map

EXAMPLES = """Examples:

\b
codemae predict landcover.safetensors scene.tif -o out
codemae predict landcover.safetensors "tiles/*.tif" --bounds 366000 4103000 367000 4104000 -o out
codemae predict hf:owner/landcover@3f2a9c1 s3://bucket/scene.tif --probabilities -o out
"""


@command
def predict(
    model: Annotated[str, typer.Argument(help="Segmentation model: name, file, or hf:OWNER/REPO@REVISION.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Rasters of one scene: files, folders, URLs.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to create.")],
    probabilities: o.Probabilities = False,
    polygons: Annotated[bool, typer.Option(help="Also write polygons.")] = True,
    tta: o.Tta = False,
    window: o.Window = None,
    overlap: o.Overlap = None,
    blend: o.Blend = "hann",
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    batch_size: o.BatchSize = None,
    aoi: o.Aoi = None,
    bounds: o.Bounds = None,
    dst_crs: o.DstCrs = None,
    res: o.Res = None,
    src_crs: o.SrcCrs = None,
    gcps: o.Gcps = "tps",
    bands: Annotated[str | None, typer.Option(help="Bands to use, e.g. 4,3,2.")] = None,
    unit: Annotated[str, typer.Option(help="Unit of stored values.")] = "auto",
    nodata: Annotated[float | None, typer.Option(help="Nodata value.")] = None,
    assets: Annotated[str | None, typer.Option(help="Assets of a STAC item.")] = None,
    stretch: Annotated[str, typer.Option(help="auto, minmax or LOW,HIGH.")] = "auto",
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
    dry_run: o.DryRun = False,
) -> None:
    """Segment a scene of any size with any segmentation package.

    Writes classes.tif, confidence.tif, classes.gpkg (styled for QGIS) and summary.json into a new folder.
    """
    from codemae_cli.parse import scene_request
    from codemae_geo.inference.job import MapOptions
    from codemae_geo.inference.segment import estimate_predict
    from codemae_geo.inference.segment import predict as run

    reporter = make_reporter(progress, quiet)
    arguments: dict[str, Any] = {
        "aoi": aoi,
        "bounds": bounds,
        "dst_crs": dst_crs,
        "res": res,
        "options": MapOptions(window, overlap, blend, tta, batch_size, device, precision, probabilities),
        "reporter": reporter,
    }
    try:
        scene = scene_request(inputs, bands, src_crs, nodata, unit, assets, stretch, gcps)
        if dry_run:
            plan = estimate_predict(model, scene, **arguments)
        else:
            result = run(model, scene, output, polygons=polygons, overwrite=overwrite, **arguments)
    finally:
        close(reporter)
    if dry_run:
        report_estimate(plan, json_=json_, progress=progress)
        return
    report_map(result, json_=json_, progress=progress, quiet=quiet)
