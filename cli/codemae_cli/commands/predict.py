"""`codemae predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from codemae_cli import options as o
from codemae_cli.console import command
from codemae_cli.show import run_job
from codemae_geo.progress import Reporter

EXAMPLES = """Examples:

\b
codemae predict buildings-tiny-optical demo:pre -o out
codemae predict landcover.safetensors scene.tif -o out
codemae predict landcover.safetensors "tiles/*.tif" --bounds 366000 4103000 367000 4104000 -o out
codemae predict fused.safetensors optical.tif --sar radar.tif -o out
codemae predict model.onnx scene.tif --contract contract.json -o out
codemae predict hf:owner/landcover@3f2a9c1 s3://bucket/scene.tif --probabilities -o out
"""


@command
def predict(
    model: Annotated[
        str, typer.Argument(help="Package (name, file, hf:OWNER/REPO@REVISION), ONNX file, or STAC MLM item.")
    ],
    inputs: o.Inputs,
    output: o.Output,
    sar: Annotated[
        list[str] | None, typer.Option(metavar="RASTER", help="Radar scene of a model for both sensors; repeat.")
    ] = None,
    probabilities: o.Probabilities = False,
    contract: Annotated[
        Path | None, typer.Option(help="What an ONNX file takes and answers: JSON of `codemae models wrap`.")
    ] = None,
    polygons: Annotated[bool, typer.Option(help="Also write polygons.")] = True,
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
    dst_crs: o.DstCrs = None,
    res: o.Res = None,
    resampling: o.Resampling = "auto",
    src_crs: o.SrcCrs = None,
    gcps: o.Gcps = "tps",
    bands: o.Bands = None,
    unit: o.Unit = "auto",
    nodata: o.Nodata = None,
    assets: o.Assets = None,
    stretch: o.Stretch = "auto",
    sar_bands: o.Bands = None,
    sar_unit: o.Unit = "auto",
    sar_nodata: o.Nodata = None,
    sar_assets: o.Assets = None,
    sar_stretch: o.Stretch = "auto",
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
    resume: o.Resume = False,
    scheduler: o.Scheduler = None,
    dry_run: o.DryRun = False,
    measure: o.Measure = False,
) -> None:
    """Run a model over a scene of any size: a map of classes, or bands of values.

    A model for both sensors takes the radar scene as --sar; the map has the grid of the other.

    Writes classes.tif, confidence.tif, classes.gpkg (styled for QGIS) and summary.json into a new folder; a regression
    model writes values.tif and summary.json.
    """
    arguments = dict(locals())
    from codemae_cli.parse import scene_request
    from codemae_geo.inference.request import RunOptions, Target
    from codemae_geo.inference.segment import SegmentJob, open_prediction

    def open_job(reporter: Reporter) -> SegmentJob:
        return open_prediction(
            model,
            scene_request(arguments, "inputs"),
            sar=scene_request(arguments, "sar", "sar_") if sar else None,
            contract=contract,
            polygons=polygons,
            target=o.fill(Target, arguments),
            options=o.fill(RunOptions, arguments),
            reporter=reporter,
        )

    run_job(open_job, arguments)
