"""Small rasters made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

#: 2 m pixels in UTM 33N, corner on whole metres
TRANSFORM = Affine(2.0, 0.0, 500_000.0, 0.0, -2.0, 5_000_000.0)
RasterMaker = Callable[..., Path]


@pytest.fixture
def make_raster(tmp_path: Path) -> RasterMaker:
    """``make_raster(name, data [C, h, w], transform=..., crs=..., mask=..., overviews=..., **creation options)``."""

    def make(
        name: str,
        data: np.ndarray,
        *,
        transform: Affine | None = TRANSFORM,
        crs: Any = "EPSG:32633",
        mask: np.ndarray | None = None,
        sidecar: bool = False,
        descriptions: tuple[str, ...] = (),
        overviews: tuple[int, ...] = (),
        **options: Any,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = data[None] if data.ndim == 2 else data
        profile = {"driver": "GTiff", "count": data.shape[0], "height": data.shape[1], "width": data.shape[2]}
        if transform is not None:
            profile["transform"] = transform
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not sidecar),
            rasterio.open(path, "w", dtype=data.dtype, crs=crs, **{**profile, **options}) as ds,
        ):
            ds.write(data)
            if mask is not None:
                ds.write_mask(mask)
            for i, text in enumerate(descriptions, 1):
                ds.set_band_description(i, text)
        if overviews:
            with rasterio.open(path, "r+") as ds:
                ds.build_overviews(list(overviews), rasterio.enums.Resampling.average)
        return path

    return make
