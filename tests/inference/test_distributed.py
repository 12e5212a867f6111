"""Maps on several workers: the pixels of one process, whatever their number, and when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.scenes import make_model, run_codemae, write_raster

from codemae_geo.errors import InputError
from codemae_geo.inference import distributed
from codemae_geo.inference.damage import DamageJob
from codemae_geo.inference.maps import MapJob
from codemae_geo.inference.request import RunOptions, Target
from codemae_geo.inference.segment import open_prediction
from codemae_geo.tiling import plan_tiles

dask = pytest.importorskip("distributed")
OPTIONS = RunOptions(device="cpu", runtime="torch", precision="float32", window=64, probabilities=True)


@given(st.integers(1, 700), st.integers(1, 700), st.sampled_from([0.0, 0.25, 0.5, 0.75]), st.integers(1, 400))
def test_tiles_cover_the_grid_once_and_see_every_window(height: int, width: int, overlap: float, side: int) -> None:
    plan = plan_tiles(height, width, 96, overlap)
    seen = np.zeros((height, width), int)
    for band in distributed.cut(plan, side):
        for tile in band:
            seen[tile.top : tile.end, tile.left : tile.right] += 1
            part, top, left = distributed.plan_of(plan, tile)
            assert {r + top for r in part.row_starts} == {
                r for r in plan.row_starts if r < tile.end and r + plan.window[0] > tile.top
            }
            assert {c + left for c in part.col_starts} == {
                c for c in plan.col_starts if c < tile.right and c + plan.window[1] > tile.left
            }
    assert (seen == 1).all()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A pair whose post scene must be warped, with a hole, and a model."""
    folder = tmp_path_factory.mktemp("scenes")
    pre = write_raster(folder / "pre.tif", size=(260, 240), nodata=7)
    post = write_raster(folder / "post.tif", size=(290, 270), origin=(365996.3, 4104004.1), res=0.47, seed=1)
    return pre, post, make_model(folder / "model.safetensors")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with dask.LocalCluster(
        n_workers=0, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as made:
        yield made


def pixels(folder: Path) -> dict[str, NDArray[Any]]:
    found = {}
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as raster:
            found[path.name] = raster.read()
    return found


def assert_same(one: Path, other: Path) -> None:
    expected, found = pixels(one), pixels(other)
    assert list(expected) == list(found) == ["confidence.tif", "damage.tif", "probabilities.tif"]
    assert len(np.unique(expected["damage.tif"])) > 1
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    before, after = (json.loads((f / "summary.json").read_text()) for f in (one, other))
    assert before["polygons"] == after["polygons"]
    assert [c["pixels"] for c in before["classes"]] == [c["pixels"] for c in after["classes"]]


@pytest.fixture(scope="module")
def alone(pair: tuple[Path, Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "out"
    DamageJob.open(pair[0], pair[1], model=pair[2], options=OPTIONS).run(out)
    return out


def scale(cluster: Any, workers: int) -> None:
    cluster.scale(workers)
    with dask.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=60)


@pytest.mark.slow
def test_any_number_of_workers_gives_the_pixels_of_one_process(
    cluster: Any, pair: tuple[Path, Path, Path], alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MapJob, "super_tile", 64)
    for workers in (1, 2, 4):
        scale(cluster, workers)
        job = DamageJob.open(pair[0], pair[1], model=pair[2], options=OPTIONS)
        assert sum(map(len, distributed.cut(job.plan, job.super_tile))) >= 9
        job.run(tmp_path / f"{workers}", scheduler=cluster.scheduler_address)
        assert_same(alone, tmp_path / f"{workers}")

    # one is killed in the middle
    job = DamageJob.open(pair[0], pair[1], model=pair[2], options=OPTIONS)
    victims = [worker.process.pid for worker in cluster.workers.values()]
    ended: list[int] = []

    def kill() -> None:
        while not list(tmp_path.glob(".killed.*.part/journal/tiles/*.npy")):
            time.sleep(0.01)
        os.kill(victims[0], signal.SIGKILL)
        ended.append(victims[0])

    thread = threading.Thread(target=kill)
    thread.start()
    job.run(tmp_path / "killed", scheduler=cluster.scheduler_address)
    thread.join()
    assert ended == victims[:1]
    assert_same(alone, tmp_path / "killed")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2", "4", "killed"]


@pytest.mark.slow
def test_what_workers_refuse_is_one_message(
    cluster: Any, pair: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale(cluster, 1)
    job = DamageJob.open(pair[0], pair[1], model=pair[2], options=OPTIONS)
    monkeypatch.setattr(job, "identity", lambda: {"version": "0.0.0"})
    with pytest.raises(InputError, match="a worker would compute another map"):
        job.run(tmp_path / "out", scheduler=cluster.scheduler_address)
    assert not (tmp_path / "out").exists()


def test_a_scheduler_that_is_not_there_is_said_soon(pair: tuple[Path, Path, Path], tmp_path: Path) -> None:
    words = ["damage", "--pre", pair[0], "--post", pair[1], "-m", pair[2], "-o", tmp_path / "out"]
    refused = run_codemae(*words, "--scheduler", "tcp://127.0.0.1:9", "--progress", "none")
    assert refused.code == 1
    assert "the scheduler tcp://127.0.0.1:9 cannot be reached" in refused.err
    assert "Traceback" not in refused.err and not (tmp_path / "out").exists()


def test_tiles_of_a_scene_are_its_pixels(tmp_path: Path) -> None:
    """Without workers: every tile, computed alone, holds what the whole run's rasters hold."""
    scene = write_raster(tmp_path / "scene.tif", size=(200, 180))
    model = make_model(tmp_path / "model.safetensors", task="segmentation")
    target = Target(dst_crs="EPSG:32616")
    job = open_prediction(model, scene, polygons=False, target=target, options=OPTIONS)
    whole = pixels(job.run(tmp_path / "out").folder)
    for band in distributed.cut(job.plan, 70):
        for tile in band:
            found, _ = distributed.compute(job, tile)
            for n, name in enumerate(("classes.tif", "confidence.tif")):
                expected = whole[name][0, tile.top : tile.end, tile.left : tile.right]
                np.testing.assert_array_equal(found[n], expected)
