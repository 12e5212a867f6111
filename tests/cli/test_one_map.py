"""One map, whoever asks for it: Python, the command line, the plugin's engine and a Dask scheduler."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from support.scenes import make_model, run_codemae, write_raster

from codemae_geo.inference.damage import map_damage
from codemae_geo.inference.request import RunOptions

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_every_face_gives_the_same_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dask = pytest.importorskip("distributed")
    monkeypatch.syspath_prepend(str(ROOT / "qgis_plugin"))
    from codemae_qgis.engine.runner import run
    from codemae_qgis.engine.runtime import with_python

    pre, post = write_raster(tmp_path / "pre.tif"), write_raster(tmp_path / "post.tif", res=0.6, seed=1)
    model = make_model(tmp_path / "model.safetensors")
    how = {"runtime": "torch", "device": "cpu", "precision": "float32"}

    map_damage(pre, post, tmp_path / "python", model=model, options=RunOptions(**how))
    words = [w for name, value in how.items() for w in (f"--{name}", value)]
    done = run_codemae("damage", "--pre", pre, "--post", post, "-m", model, *words, "-o", tmp_path / "command")
    assert done.code == 0, done.err
    asked = {"pre": [str(pre)], "post": [str(post)], "model": str(model), **how, "output": str(tmp_path / "qgis")}
    run(with_python(Path(sys.executable), "setting"), "damage", asked)
    with dask.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        map_damage(
            pre,
            post,
            tmp_path / "dask",
            model=model,
            options=RunOptions(**how),
            scheduler=cluster.scheduler_address,
        )
    for name in ("damage.tif", "confidence.tif"):
        with rasterio.open(tmp_path / "python" / name) as raster:
            expected = raster.read()
        for face in ("command", "qgis", "dask"):
            with rasterio.open(tmp_path / face / name) as raster:
                np.testing.assert_array_equal(raster.read(), expected, err_msg=f"{face}: {name}")
