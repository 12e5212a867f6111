"""`codemae embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, make_reporter
from codemae_cli.show import report_estimate, report_map, show_embedding

EXAMPLES = """Examples:

\b
codemae embed run/encoder.safetensors scene.tif -o out
codemae embed run/encoder.safetensors "tiles/*.tif" --sensor sar --overlap 0.75 -o out
codemae embed damage-tiny-optical scene.tif --stride 4 --dtype float32 -o out
"""


@command
def embed(
    model: Annotated[str, typer.Argument(help="Package with a backbone: name, file, or hf:OWNER/REPO@REVISION.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Rasters of one scene: files, folders, URLs.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to create.")],
    sensor: Annotated[
        Literal["optical", "sar"] | None, typer.Option(help="Sensor of the scene [default: guessed].")
    ] = None,
    stride: Annotated[Literal["16", "8", "4"], typer.Option(help="Pixels that share one vector, along a side.")] = "16",
    dtype: Annotated[Literal["float16", "float32"], typer.Option(help="How features are stored.")] = "float16",
    keep_positions: Annotated[
        bool, typer.Option("--keep-positions", help="Keep what depends on the place in the window alone.")
    ] = False,
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
    """Dense features of a scene of any size, from a pretrained backbone.

    Writes embedding.tif (one band per dimension), components.tif (the first three principal components as a picture)
    and summary.json into a new folder.
    """
    from codemae_cli.parse import scene_request
    from codemae_geo.inference.embed import embed as run
    from codemae_geo.inference.embed import estimate_embed
    from codemae_geo.inference.job import MapOptions

    reporter = make_reporter(progress, quiet)
    arguments: dict[str, Any] = {
        "sensor": sensor,
        "stride": int(stride),
        "dtype": dtype,
        "keep_positions": keep_positions,
        "aoi": aoi,
        "bounds": bounds,
        "dst_crs": dst_crs,
        "res": res,
        "options": MapOptions(window, overlap, blend, False, batch_size, device, precision),
        "reporter": reporter,
    }
    try:
        scene = scene_request(inputs, bands, src_crs, nodata, unit, assets, stretch, gcps)
        if dry_run:
            plan = estimate_embed(model, scene, **arguments)
        else:
            result = run(model, scene, output, overwrite=overwrite, **arguments)
    finally:
        close(reporter)
    if dry_run:
        report_estimate(plan, json_=json_, progress=progress)
        return
    report_map(result, json_=json_, progress=progress, quiet=quiet, show=show_embedding)
