"""Labels of one's own on a grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from codemae_datasets.labels import read_labels
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin


def test_damage_in_a_raster_keeps_its_numbers(tmp_path: Path) -> None:
    values = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [255, 255, 1, 1]], np.uint8)
    transform = from_origin(400_000, 4_000_000, 1, 1)
    path = tmp_path / "damage.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 3, "width": 4, "dtype": "uint8", "crs": "EPSG:32615"}
    with rasterio.open(path, "w", **profile, transform=transform) as file:
        file.write(values, 1)
    found = read_labels(path, GeoBox((3, 4), transform, "EPSG:32615"), damage=True)
    assert np.array_equal(found.label, values) and found.classes == ("background", "intact", "damaged", "destroyed")
