"""`codemae detect`."""

from __future__ import annotations

from typing import Annotated

import typer

from codemae_cli import options as o
from codemae_cli.console import command
from codemae_cli.show import run_job, show_detections
from codemae_geo.progress import Reporter

EXAMPLES = """Examples:

\b
codemae detect ships.safetensors scene.tif -o out
codemae detect ships.safetensors "tiles/*.tif" --score-threshold 0.7 --aoi harbour.geojson -o out
"""


@command
def detect(
    model: Annotated[str, typer.Argument(help="Detection model: name, file, or hf:OWNER/REPO@REVISION.")],
    inputs: o.Inputs,
    output: o.Output,
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Drop boxes below this score [default: the model's].")
    ] = None,
    window: o.Window = None,
    overlap: o.Overlap = None,
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
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
    dry_run: o.DryRun = False,
    measure: o.Measure = False,
) -> None:
    """Find objects in a scene of any size with a detection package; none is bundled.

    Writes detections.gpkg (a box with class and score for every object, styled for QGIS) and summary.json into a new
    folder.
    """
    arguments = dict(locals())
    from codemae_cli.parse import scene_request
    from codemae_geo.inference.detect import DetectJob
    from codemae_geo.inference.request import RunOptions, Target

    def open_job(reporter: Reporter) -> DetectJob:
        return DetectJob.open(
            model,
            scene_request(arguments, "inputs"),
            score_threshold=score_threshold,
            target=o.fill(Target, arguments),
            options=o.fill(RunOptions, arguments),
            reporter=reporter,
        )

    run_job(open_job, arguments, show=show_detections)
