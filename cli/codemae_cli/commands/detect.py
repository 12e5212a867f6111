"""`codemae detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, make_reporter
from codemae_cli.show import report_estimate, report_map, show_detections

EXAMPLES = """Examples:

\b
codemae detect ships.safetensors scene.tif -o out
codemae detect ships.safetensors "tiles/*.tif" --score-threshold 0.7 --aoi harbour.geojson -o out
"""


@command
def detect(
    model: Annotated[str, typer.Argument(help="Detection model: name, file, or hf:OWNER/REPO@REVISION.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Rasters of one scene: files, folders, URLs.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to create.")],
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Drop boxes below this score [default: the model's].")
    ] = None,
    window: o.Window = None,
    overlap: o.Overlap = None,
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
    """Find objects in a scene of any size with a detection package; none is bundled.

    Writes detections.gpkg (a box with class and score for every object, styled for QGIS) and summary.json into a new
    folder.
    """
    from codemae_cli.parse import scene_request
    from codemae_geo.inference.detect import detect as run
    from codemae_geo.inference.detect import estimate_detect
    from codemae_geo.inference.job import MapOptions

    reporter = make_reporter(progress, quiet)
    arguments: dict[str, Any] = {
        "score_threshold": score_threshold,
        "aoi": aoi,
        "bounds": bounds,
        "dst_crs": dst_crs,
        "res": res,
        "options": MapOptions(window, overlap, batch_size=batch_size, device=device, precision=precision),
        "reporter": reporter,
    }
    try:
        scene = scene_request(inputs, bands, src_crs, nodata, unit, assets, stretch, gcps)
        if dry_run:
            plan = estimate_detect(model, scene, **arguments)
        else:
            result = run(model, scene, output, overwrite=overwrite, **arguments)
    finally:
        close(reporter)
    if dry_run:
        report_estimate(plan, json_=json_, progress=progress)
        return
    report_map(result, json_=json_, progress=progress, quiet=quiet, show=show_detections)
