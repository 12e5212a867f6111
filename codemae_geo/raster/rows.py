"""Reading a finished raster back from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window


def iter_rows(path: Path, rows: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """All bands of a raster in strips: ``(first row, values [bands, up to rows, width])``."""
    with rasterio.open(path) as source:
        for row in range(0, source.height, rows):
            yield row, source.read(window=Window(0, row, source.width, min(rows, source.height - row)))
