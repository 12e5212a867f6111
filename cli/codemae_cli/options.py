"""Options that several commands share, declared once. Names follow rasterio's rio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ProgressMode = Literal["auto", "plain", "json", "none"]


Json = Annotated[bool, typer.Option("--json", help="End stdout with one JSON object.")]
Progress = Annotated[
    ProgressMode,
    typer.Option(help="How progress is shown; json writes JSON lines to stdout."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show grid, windows and memory, and write nothing."),
]

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Name, file, or hf:OWNER/REPO@REVISION."),
]
Tta = Annotated[bool, typer.Option("--tta", help="Average the eight flips and turns: 8 times slower.")]
Window = Annotated[int | None, typer.Option(min=32, help="Window side in pixels [default: the model's].")]
Overlap = Annotated[
    float | None,
    typer.Option(min=0, max=0.95, help="Share of a window the next repeats [default: the model's]."),
]
Blend = Annotated[Literal["hann", "average", "none"], typer.Option(help="How overlapping windows vote.")]
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
Aoi = Annotated[Path | None, typer.Option(help="Area of interest: polygons in any format GDAL reads.")]
DstCrs = Annotated[str | None, typer.Option(help="Target CRS, e.g. EPSG:32615.")]
Res = Annotated[float | None, typer.Option(help="Target pixel size in CRS units.")]
Gcps = Annotated[
    Literal["tps", "1", "2", "3"],
    typer.Option(help="Ground control points: a spline through them, or a polynomial of an order."),
]
SrcCrs = Annotated[str | None, typer.Option(help="CRS of scenes that carry none.")]
