"""Options that several commands share, declared once. Names follow rasterio's rio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ProgressMode = Literal["auto", "plain", "json", "none"]

GLOBAL = "Global options"
MODEL = "Model"
AREA = "Grid and area"
SCENES = "Reading scenes"

Json = Annotated[bool, typer.Option("--json", help="End stdout with one JSON object.", rich_help_panel=GLOBAL)]
Progress = Annotated[
    ProgressMode,
    typer.Option(help="How progress is shown; json writes JSON lines to stdout.", rich_help_panel=GLOBAL),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=GLOBAL)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.", rich_help_panel=GLOBAL)]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show grid, windows and memory, and write nothing.", rich_help_panel=GLOBAL),
]

Model = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Name, file, or hf:OWNER/REPO@REVISION.", rich_help_panel=MODEL),
]
Tta = Annotated[
    bool, typer.Option("--tta", help="Average the eight flips and turns: 8 times slower.", rich_help_panel=MODEL)
]
Window = Annotated[
    int | None, typer.Option(min=32, help="Window side in pixels [default: the model's].", rich_help_panel=MODEL)
]
Overlap = Annotated[
    float | None,
    typer.Option(
        min=0, max=0.95, help="Share of a window the next repeats [default: the model's].", rich_help_panel=MODEL
    ),
]
Blend = Annotated[
    Literal["hann", "average", "none"], typer.Option(help="How overlapping windows vote.", rich_help_panel=MODEL)
]
Device = Annotated[Literal["auto", "cuda", "mps", "cpu"], typer.Option(help="Where to run.", rich_help_panel=MODEL)]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option(help="auto: bfloat16 where the hardware has it.", rich_help_panel=MODEL),
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Windows per call on a GPU.", rich_help_panel=MODEL)]
Probabilities = Annotated[bool, typer.Option("--probabilities", help="Also write one band per class.")]

Bounds = Annotated[
    tuple[float, float, float, float] | None,
    typer.Option(metavar="LEFT BOTTOM RIGHT TOP", help="Extent in the target CRS.", rich_help_panel=AREA),
]
Aoi = Annotated[
    Path | None, typer.Option(help="Area of interest: polygons in any format GDAL reads.", rich_help_panel=AREA)
]
DstCrs = Annotated[str | None, typer.Option(help="Target CRS, e.g. EPSG:32615.", rich_help_panel=AREA)]
Res = Annotated[float | None, typer.Option(help="Target pixel size in CRS units.", rich_help_panel=AREA)]
SrcCrs = Annotated[str | None, typer.Option(help="CRS of scenes that carry none.", rich_help_panel=SCENES)]
