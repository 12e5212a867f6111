"""`codemae embed`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from codemae_cli import options as o
from codemae_cli.console import command
from codemae_cli.show import run_job, show_embedding
from codemae_geo.progress import Reporter

EXAMPLES = """Examples:

\b
codemae embed run/encoder.safetensors scene.tif -o out
codemae embed run/encoder.safetensors "tiles/*.tif" --sensor sar --overlap 0.75 -o out
codemae embed damage-tiny-optical scene.tif --stride 4 --dtype float32 -o out
"""


@command
def embed(
    model: Annotated[str, typer.Argument(help="Package with a backbone: name, file, or hf:OWNER/REPO@REVISION.")],
    inputs: o.Inputs,
    output: o.Output,
    sensor: Annotated[
        Literal["optical", "sar"] | None, typer.Option(help="Sensor of the scene [default: guessed].")
    ] = None,
    stride: Annotated[
        Literal["32", "16", "8", "4"], typer.Option(help="Side, in pixels, of the cell that one vector stands for.")
    ] = "16",
    dtype: Annotated[Literal["float16", "float32"], typer.Option(help="How features are stored.")] = "float16",
    keep_positions: Annotated[
        bool,
        typer.Option(
            "--keep-positions", help="Keep the part of the features that depends only on the position in the window."
        ),
    ] = False,
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
    json_: o.Json = False,
    progress: o.Progress = "auto",
    quiet: o.Quiet = False,
    overwrite: o.Overwrite = False,
    dry_run: o.DryRun = False,
    measure: o.Measure = False,
) -> None:
    """Dense features of a scene of any size, from a pretrained backbone.

    Writes embedding.tif (one band per dimension), components.tif (the first three principal components as a picture)
    and summary.json into a new folder.
    """
    arguments = dict(locals())
    from codemae_cli.parse import scene_request
    from codemae_geo.inference.embed import EmbedJob
    from codemae_geo.inference.request import RunOptions, Target

    def open_job(reporter: Reporter) -> EmbedJob:
        return EmbedJob.open(
            model,
            scene_request(arguments, "inputs"),
            sensor=sensor,
            stride=int(stride),
            dtype=dtype,
            keep_positions=keep_positions,
            target=o.fill(Target, arguments),
            options=o.fill(RunOptions, arguments),
            reporter=reporter,
        )

    run_job(open_job, arguments, show=show_embedding)
