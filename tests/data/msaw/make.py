"""SpaceNet 6: ``SN6_buildings/train/train/AOI_11_Rotterdam/<product>``, as the archive unpacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from support.fakes import SIZE, pixels, write


def make(root: Path) -> None:
    """Two tiles to train, the second without buildings, and a test tile of SAR alone; a border without data."""
    for n in range(3):
        tile = f"2019080411122{n}_20190804111453_tile_{8000 + n}"
        part, area = (
            ("Train", root / "SN6_buildings/train/train")
            if n < 2
            else ("Test_Public", root / "SN6_buildings/test/test_public")
        )
        area = area / "AOI_11_Rotterdam"
        left, top = 590000.0 + 100 * n, 5750000.0
        sar = np.random.default_rng(n).random((4, SIZE, SIZE), np.float32) * 30 + 1
        sar[:, :, :2] = 0
        grid(area / f"SAR-Intensity/SN6_{part}_AOI_11_Rotterdam_SAR-Intensity_{tile}.tif", sar, left, top)
        if n == 2:
            return
        rgb = np.maximum(pixels(n).transpose(2, 0, 1), 1)
        grid(area / f"PS-RGB/SN6_{part}_AOI_11_Rotterdam_PS-RGB_{tile}.tif", rgb, left, top)
        # pixels (4..8, 2..6): x from 4 to 8, y from 2 to 6
        ring = [[left + 0.5 * x, top - 0.5 * y] for x, y in ((4, 2), (8, 2), (8, 6), (4, 6), (4, 2))]
        building = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}
        table = {"type": "FeatureCollection", "crs": crs, "features": [building] if n == 0 else []}
        write(area / f"geojson_buildings/SN6_{part}_AOI_11_Rotterdam_Buildings_{tile}.geojson", json.dumps(table))


def grid(path: Path, array: np.ndarray, left: float, top: float) -> None:
    """A GeoTIFF of 0.5 m pixels in UTM zone 31."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"count": len(array), "height": SIZE, "width": SIZE, "dtype": array.dtype.name, "crs": "EPSG:32631"}
    with rasterio.open(path, "w", driver="GTiff", transform=from_origin(left, top, 0.5, 0.5), **profile) as target:
        target.write(array)
