"""A small damage run with footprints, and one without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import pytest
from shapely.geometry import box
from support.scenes import make_model, write_raster

from codemae_geo.inference.damage import map_damage


@dataclass(frozen=True)
class Runs:
    folder: Path
    #: with footprints, and without
    out: Path
    bare: Path
    pre: Path
    post: Path
    #: four quarters of the map's ground, in another CRS
    zones: Path
    #: of the zones
    names: list[str]


NAMES = ["North west", "<script>alert(1)</script>", "South \"west' & Co", "Süd-Ost"]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    pre = write_raster(folder / "pre <b>.tif", seed=1, size=(200, 240))
    post = write_raster(folder / "post.tif", seed=2, size=(200, 240), origin=(366010.0, 4103995.0))
    houses = [
        box(366003 + 11 * i, 4103903 + 9 * j, 366004.5 + 11 * i, 4103904.5 + 9 * j)
        for i in range(11)
        for j in range(11)
    ]
    gpd.GeoDataFrame({"note": ["x"] * len(houses)}, geometry=houses, crs="EPSG:32615").to_file(folder / "houses.gpkg")
    model = make_model(folder / "model.safetensors", limits="<img src=x onerror=alert(2)> Only <noise>.")
    map_damage(pre, post, folder / "out", model=model, footprints=folder / "houses.gpkg")
    map_damage(pre, post, folder / "bare", model=model)
    west, south, east, north = 366000, 4103900, 366120, 4104000
    x, y = 366060, 4103950
    quarters = [box(west, y, x, north), box(x, y, east, north), box(west, south, x, y), box(x, south, east, y)]
    zones = gpd.GeoDataFrame({"code": [1, 2, 3, 4], "NAME": NAMES}, geometry=quarters, crs="EPSG:32615")
    zones.to_file(folder / "zones.gpkg")
    return Runs(folder, folder / "out", folder / "bare", pre, post, folder / "zones.gpkg", NAMES)
