"""Small scenes with labels of one's own, in every form that labels come in."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from rasterio.transform import from_origin
from shapely.geometry import box

CRS, LEFT, TOP, PIXEL = "EPSG:32615", 400_000.0, 4_000_000.0, 1.0


def scene(path: Path, size: int = 128, seed: int = 0, shift: float = 0.0) -> Path:
    """A uint8 GeoTIFF of three bands: dark in the west, bright in the east, with noise; ``shift`` brightens squares."""
    rng = np.random.default_rng(seed)
    image = np.tile(np.where(np.arange(size) < size / 2, 60, 160), (3, size, 1)) + rng.integers(0, 20, (3, size, size))
    for number, (row, col) in enumerate(squares(size)):
        image[:, row : row + 10, col : col + 10] += int(30 + shift * (number % 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=size, width=size, dtype="uint8", crs=CRS,
        transform=from_origin(LEFT, TOP, PIXEL, PIXEL),
    ) as target:  # fmt: skip
        target.write(image.clip(0, 255).astype(np.uint8))
    return path


def squares(size: int = 128, step: int = 16) -> list[tuple[int, int]]:
    """Upper left pixels of the buildings."""
    return [(row + 3, col + 3) for row in range(0, size, step) for col in range(0, size, step)]


def buildings(path: Path, size: int = 128, crs: str | None = None) -> Path:
    """A polygon for each building with its damage as a word, by turns; GeoPackage in any CRS."""
    words = ("no-damage", "damaged", "destroyed")
    shapes = [box(LEFT + c, TOP - r - 10, LEFT + c + 10, TOP - r) for r, c in squares(size)]
    frame = gpd.GeoDataFrame({"id": range(len(shapes)), "damage": [words[i % 3] for i in range(len(shapes))]},
                             geometry=shapes, crs=CRS)  # fmt: skip
    frame.to_crs(crs or CRS).to_file(path)
    return path


def cover(path: Path, size: int = 128) -> Path:
    """A raster of classes 1 (west) and 2 (east), 0 is nodata, on a grid of half the resolution."""
    half = size // 2
    values = np.tile(np.where(np.arange(half) < half / 2, 1, 2), (half, 1)).astype(np.uint8)
    values[:2] = 0
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=half, width=half, dtype="uint8", crs=CRS, nodata=0,
        transform=from_origin(LEFT, TOP, 2 * PIXEL, 2 * PIXEL),
    ) as target:  # fmt: skip
        target.write(values, 1)
    return path
