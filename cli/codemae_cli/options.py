"""Options that several commands share, declared once. Names follow rasterio's rio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

ProgressMode = Literal["auto", "plain", "json", "none"]


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object at the end of stdout.")]
Progress = Annotated[
    ProgressMode,
    typer.Option(help="How progress is shown; json writes JSON lines to stdout."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the same run after it was stopped, to the same bytes.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Have the workers of a Dask scheduler compute: tcp://HOST:8786."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show grid, windows and memory, and write nothing."),
]

Measure = Annotated[
    bool, typer.Option("--measure", help="With --dry-run: run a window and say how long all will take.")
]

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Name, file, or hf:OWNER/REPO@REVISION."),
]
Tta = Annotated[bool, typer.Option("--tta", help="Average the eight flips and turns: 8 times slower.")]
Window = Annotated[int | None, typer.Option(min=32, help="Window side in pixels [default: the model's].")]
Overlap = Annotated[
    float | None,
    typer.Option(min=0, max=0.95, help="Share of a window that the next one repeats [default: the model's]."),
]
Blend = Annotated[Literal["hann", "average", "none"], typer.Option(help="How overlapping windows are blended.")]
Runtime = Annotated[
    Literal["auto", "torch", "openvino", "onnx"],
    typer.Option(help="What runs the network; auto: the fastest that is installed and has the model."),
]
Device = Annotated[Literal["auto", "cuda", "mps", "cpu"], typer.Option(help="Where to run.")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option(help="auto: bfloat16 where the hardware has it."),
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Windows per call on a GPU.")]
Probabilities = Annotated[bool, typer.Option("--probabilities", help="Also write one band per class.")]

Bounds = Annotated[
    tuple[float, float, float, float] | None,
    typer.Option(metavar="LEFT BOTTOM RIGHT TOP", help="Extent in the target CRS."),
]
Aoi = Annotated[str | None, typer.Option(help="Area of interest: polygons in any format GDAL reads, file or URL.")]
DstCrs = Annotated[str | None, typer.Option(help="Target CRS, e.g. EPSG:32615.")]
Res = Annotated[float | None, typer.Option(help="Target pixel size in CRS units.")]
Gcps = Annotated[
    Literal["tps", "1", "2", "3"],
    typer.Option(help="How ground control points are fitted: a spline, or a polynomial of this order."),
]
SrcCrs = Annotated[str | None, typer.Option(help="CRS of scenes that carry none.")]

#: one scene of the options of a pair; the same types serve ``--pre-bands`` and ``--bands``
Pre = Annotated[
    list[str], typer.Option(metavar="RASTER...", help="Scene before: files, folder, pattern, URL or STAC item.")
]
Post = Annotated[list[str], typer.Option(metavar="RASTER...", help="Scene after, in any CRS and resolution.")]
SomePre = Annotated[
    list[str] | None, typer.Option(metavar="RASTER...", help="Scene before: files, folder, pattern, URL or STAC item.")
]
SomePost = Annotated[
    list[str] | None, typer.Option(metavar="RASTER...", help="Scene after, in any CRS and resolution.")
]
Inputs = Annotated[list[str], typer.Argument(metavar="INPUT...", help="Rasters of one scene: files, folders, URLs.")]
Resampling = Annotated[
    Literal["auto", "nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode", "gauss"],
    typer.Option(help="How scenes come to the target grid; auto averages where that is much coarser."),
]
Bands = Annotated[str | None, typer.Option(help="Bands to use, e.g. 4,3,2.")]
Unit = Annotated[str, typer.Option(help="Unit of stored values: db, power, amplitude, reflectance, ...")]
Nodata = Annotated[float | None, typer.Option(help="Nodata value.")]
Assets = Annotated[str | None, typer.Option(help="Assets of a STAC item.")]
Stretch = Annotated[str, typer.Option(help="auto, minmax or LOW,HIGH.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder to create.")]

T = TypeVar("T")


def fill(kind: type[T], arguments: Mapping[str, Any], **changes: Any) -> T:
    """A dataclass of the library from the options of a command that are called like its fields.

    Args:
        kind: ``Target`` or ``RunOptions``.
        arguments: what the command was called with; fields that it has no option for keep their defaults.
        changes: fields that the command decides itself.
    """
    named = {f.name: arguments[f.name] for f in fields(kind) if f.name in arguments}  # type: ignore[arg-type]
    return kind(**(named | changes))
