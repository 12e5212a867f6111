"""Fixtures of the command line tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pytest
from shapely.geometry import box
from support.scenes import Pair, Result, make_model, run_codemae, write_raster


@pytest.fixture(scope="session")
def codemae() -> Callable[..., Result]:
    return run_codemae


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "random.safetensors")


@pytest.fixture(scope="session")
def sar_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "random-sar.safetensors", "sar")


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "segmenter.safetensors", task="segmentation")


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Two small overlapping scenes and three footprints: inside, half outside, outside."""
    folder = tmp_path_factory.mktemp("pair")
    pre = write_raster(folder / "pre.tif", seed=1)
    post = write_raster(folder / "post.tif", seed=2)
    houses = [box(366010, 4103970, 366020, 4103980), box(365995, 4103960, 366005, 4103965), box(0, 0, 9, 9)]
    footprints = folder / "houses.gpkg"
    gpd.GeoDataFrame({"name": ["a", "b", "c"]}, geometry=houses, crs="EPSG:32615").to_file(footprints)
    return Pair(pre, post, footprints)
