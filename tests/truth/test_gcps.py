"""Scenes by ground control points only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from scipy import ndimage

from codemae_geo.errors import InputError
from codemae_geo.raster.inspect import inspect
from truth.ruler import Map, measure, write

SIZE = 64


def bent(col: np.ndarray, row: np.ndarray, bend: float) -> tuple[np.ndarray, np.ndarray]:
    """Map coordinates of pixel coordinates on a surface that bends by ``bend`` pixels at its corners."""
    u, v = col / SIZE, row / SIZE
    return 500_000 + 10 * (col + bend * v**2 + bend / 2 * u * v**2), 5_000_000 - 10 * (row + bend * u**2)


def points(n: int, bend: float, noise: float = 0.0) -> list[GroundControlPoint]:
    random = np.random.default_rng(0)
    found = []
    for row in np.linspace(0, SIZE, n):
        for col in np.linspace(0, SIZE, n):
            x, y = bent(np.array(col), np.array(row), bend)
            dx, dy = random.normal(0, noise * 10, 2)
            found.append(GroundControlPoint(row, col, float(x) + dx, float(y) + dy))
    return found


def scene(path: Path, n: int = 9, bend: float = 6.0, along: str = "x", noise: float = 0.0, **options: Any) -> Path:
    """A picture whose value is its own column or row."""
    rows, cols = np.indices((SIZE, SIZE))
    value = np.repeat(((cols if along == "x" else rows) + 1)[None], 3, 0).astype("u1")
    return write(path, value, transform=None, crs="EPSG:32633", gcps=points(n, bend, noise), **options)


def off(found: Map, bend: float, along: str) -> float:
    """Largest distance, in pixels, between where the map has a column or row and where it belongs."""
    x, y = found.centres()
    col, row = (x - 500_000) / 10, (5_000_000 - y) / 10
    for _ in range(50):  # the inverse of `bent`, by iteration
        u, v = col / SIZE, row / SIZE
        col, row = (x - 500_000) / 10 - bend * v**2 - bend / 2 * u * v**2, (5_000_000 - y) / 10 - bend * u**2
    want = (col if along == "x" else row) + 0.5
    inner = found.valid & (want > 3) & (want < SIZE - 3)
    assert inner.mean() > 0.5
    return float(np.abs(found.classes[inner] - want[inner]).max())


@pytest.mark.parametrize("along", ["x", "y"])
@pytest.mark.parametrize("gcps", ["tps", "3"])
def test_a_bent_surface(here: Path, gcps: str, along: str) -> None:
    found = measure(here, scene(here / "a.tif", along=along), gcps=gcps)
    assert off(found, 6, along) < 1  # half a pixel, and half a mark of rounding
    fit = found.summary["inputs"]["image"]["gcps"]
    assert fit["method"] == gcps
    assert fit["count"] == 81
    assert fit["residual_px"] < 0.1
    assert any("81 ground control points" in line for line in found.said)
    assert "gcps" not in found.warned


def test_a_plane_through_a_bent_surface_is_warned_of(here: Path) -> None:
    found = measure(here, scene(here / "a.tif"), gcps="1")
    assert off(found, 6, "x") > 1
    residual = found.summary["inputs"]["image"]["gcps"]["residual_px"]
    # by NumPy: least squares of the plane
    there = points(9, 6)
    terms = np.array([[1, p.x - 500_000, p.y - 5_000_000] for p in there])
    pixel = np.array([[p.col, p.row] for p in there])
    left = np.hypot(*(terms @ np.linalg.lstsq(terms, pixel, rcond=None)[0] - pixel).T)
    assert residual == pytest.approx(left.max(), rel=1e-6)
    assert "misses" in found.warned["gcps"]


def test_points_that_disagree_are_warned_of(here: Path) -> None:
    found = measure(here, scene(here / "a.tif", noise=3.0))
    fit = found.summary["inputs"]["image"]["gcps"]
    assert fit["left_out_px"] > 1
    assert "left out" in found.warned["gcps"]


def test_left_out_points_are_what_leaving_out_gives() -> None:
    """Against the spline itself, fitted anew without each point."""
    from scipy.interpolate import RBFInterpolator

    from codemae_geo.raster.gcps import _left_out

    there = points(4, 6, 1.0)
    ground = np.array([[p.x, p.y] for p in there])
    ground = (ground - ground.mean(0)) / np.abs(ground - ground.mean(0)).max()
    pixel = np.array([[p.col, p.row] for p in there])
    want = []
    for i in range(len(there)):
        rest = np.arange(len(there)) != i
        spline = RBFInterpolator(ground[rest], pixel[rest], kernel="thin_plate_spline", degree=1)
        want.append(np.hypot(*(spline(ground[i : i + 1])[0] - pixel[i])))
    np.testing.assert_allclose(_left_out(ground, pixel), want, rtol=1e-5)


@pytest.mark.parametrize("gcps", ["2", "3"])
def test_too_few_points(here: Path, gcps: str) -> None:
    with pytest.raises(InputError, match="too few ground control points"):
        measure(here, scene(here / "a.tif", n=2), gcps=gcps)


def test_points_on_a_line(here: Path) -> None:
    line = [GroundControlPoint(k, k, 500_000 + 10 * k, 5_000_000 - 10 * k) for k in range(0, 60, 10)]
    path = write(here / "a.tif", np.ones((3, 64, 64), "u1"), transform=None, crs="EPSG:32633", gcps=line)
    with pytest.raises(InputError, match="on one line"):
        measure(here, path)


def test_an_unknown_way(here: Path) -> None:
    with pytest.raises(InputError, match="unknown method"):
        measure(here, scene(here / "a.tif"), gcps="4")


def test_an_assets_points_in_a_stack(here: Path) -> None:
    """Three single-band assets by points, stacked."""
    _, cols = np.indices((SIZE, SIZE))
    for name in ("red", "green", "blue"):
        write(here / f"{name}.tif", (cols + 1).astype("u1"), transform=None, crs="EPSG:32633", gcps=points(9, 6))
    assets = {
        n: {"href": str(here / f"{n}.tif"), "proj:transform": [1, 0, 0, 0, -1, 0]} for n in ("red", "green", "blue")
    }
    text = {
        "type": "Feature", "stac_version": "1.0.0", "id": "swath", "geometry": None, "links": [], "assets": assets,
        "properties": {"datetime": "2022-03-01T10:00:00Z"},
    }  # fmt: skip
    (here / "item.json").write_text(json.dumps(text))
    assert off(measure(here, here / "item.json"), 6, "x") < 1


def blobs(band: np.ndarray, transform: Any) -> np.ndarray:
    """Map positions of bright blobs ``[n, 2]``."""
    labels, n = ndimage.label(band > 0.6 * band.max())
    centres = np.array(ndimage.center_of_mass(band, labels, range(1, n + 1)))
    return np.column_stack(transform @ (centres[:, 1] + 0.5, centres[:, 0] + 0.5))


def test_blobs_of_the_shared_case(here: Path, shared: Path) -> None:
    """Each blob within half a pixel, but for two that lie so near each other that they are measured as one."""
    truth = np.array(json.loads((shared / "cases/gcps_curved.json").read_text())["blob_centres"])
    found = measure(here, shared / "cases/gcps_curved.tif", step=2)
    with rasterio.open(here / "out/classes.tif") as ds:
        places = blobs(np.where(found.valid, found.classes, 0).astype(float), ds.transform)
    apart = np.linalg.norm(truth[:, None] - truth[None], axis=2) + np.eye(len(truth)) * 1e9
    alone = apart.min(1) > 300
    assert alone.sum() >= 20
    error = np.linalg.norm(truth[alone][:, None] - places[None], axis=2).min(1) / 10
    assert error.max() < 0.5
    assert "gcps" not in found.warned


def test_info_tells_the_fit(here: Path, shared: Path) -> None:
    facts = inspect(str(shared / "cases/gcps_curved.tif"))
    assert facts["gcps_fit"]["count"] == 196
    assert not facts["problems"]
    assert inspect(str(shared / "cases/gcps_curved.tif"), "1")["warnings"]


def test_datasets_bend_too(here: Path, shared: Path) -> None:
    from codemae_datasets.scenes import OpticalScenes

    dataset = OpticalScenes(str(shared / "cases/gcps_curved.tif"))
    x, y, t = dataset.bounds
    sample = dataset[x.start : x.stop, y.start : y.stop, t.start : t.stop]
    truth = np.array(json.loads((shared / "cases/gcps_curved.json").read_text())["blob_centres"])
    size = dataset.res[0] if isinstance(dataset.res, tuple) else dataset.res
    transform = rasterio.transform.from_origin(x.start, y.stop, size, size)
    places = blobs(sample["image"][0].numpy(), transform)
    apart = np.linalg.norm(truth[:, None] - truth[None], axis=2) + np.eye(len(truth)) * 1e9
    error = np.linalg.norm(truth[:, None] - places[None], axis=2).min(1)[apart.min(1) > 300] / 10
    assert error.max() < 0.5
