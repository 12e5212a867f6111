"""`codemae checkpair`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from codemae_cli import options as o
from codemae_cli.console import close, command, emit, make_reporter, print_json

EXAMPLES = """Examples:

\b
codemae checkpair --pre before.tif --post after.tif
codemae checkpair --pre pre/*.tif --post post/*.tif --json
codemae checkpair --pre before.tif --post sar.tif --post-sensor sar --post-unit power --model damage-sar.safetensors
"""


@command
def checkpair(
    pre: o.Pre,
    post: o.Post,
    post_sensor: Annotated[
        Literal["optical", "sar"] | None, typer.Option(help="Sensor of the post scene [default: guessed].")
    ] = None,
    model: o.Model = None,
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
) -> None:
    """Tell whether two scenes can be made into a damage map: overlap, resolution, sensors, nodata, offset, dates.

    Reads headers and some patches, in seconds, and runs no model. A pair that cannot be used is an answer (exit code
    0); only files that cannot be read are errors.
    """
    arguments = dict(locals())
    from codemae_cli.parse import scene_request
    from codemae_cli.show import show_pair
    from codemae_geo.inference.checkpair import check_pair

    reporter = make_reporter(progress, quiet)
    try:
        before = scene_request(arguments, "pre", "pre_")
        after = scene_request(arguments, "post", "post_")
        report = check_pair(before, after, post_sensor=post_sensor, model=model, reporter=reporter).as_dict()
    finally:
        close(reporter)
    if progress == "json":
        emit("result", outputs={}, summary=report)
    if json_:
        print_json({"outputs": {}, "summary": report})
    elif progress != "json" and not quiet:
        show_pair(report)
