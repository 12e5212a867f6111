"""The plain installation: no torch, the bundled model and exported ones on OpenVINO, and little disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from support.packages import make_detector, make_encoder
from support.scenes import make_model, write_raster

from codemae_geo.inference.damage import map_damage
from codemae_geo.inference.request import RunOptions
from codemae_geo.inference.runtimes import Program
from codemae_geo.inference.runtimes.export import export
from codemae_geo.inference.runtimes.graph import export_path
from codemae_geo.weights import open_package

#: bytes; measured 597 million, of which OpenVINO is 184, the two copies of GDAL 216, NumPy and pandas 101
LIMIT = 600_000_000


def run(*words: str | Path, **keywords: object) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, **keywords)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr[-3000:]
    return str(done.stdout)


def largest(environment: Path) -> str:
    """The largest packages of an environment, in MB."""
    (packages,) = environment.rglob("site-packages")
    sizes = {p.name: sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) for p in packages.iterdir()}
    return ", ".join(f"{n} {s / 1e6:.0f}" for n, s in sorted(sizes.items(), key=lambda item: -item[1])[:12])


@pytest.mark.slow
def test_the_demo_without_torch(root: Path, tmp_path: Path) -> None:
    program = os.environ.get("UV") or shutil.which("uv")  # `uv run` says where it is
    if program is None:
        pytest.skip("uv is not installed")
    uv = [program]
    run(*uv, "build", "-q", "--wheel", "-o", tmp_path / "dist", root)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    environment = tmp_path / "env"
    run(*uv, "venv", "-q", "--python", sys.executable, environment)
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    run(*uv, "pip", "install", "-q", "--link-mode", "copy", "--python", python, wheel)
    size = sum(f.stat().st_size for f in environment.rglob("*") if f.is_file() and not f.is_symlink())
    print(f"\ninstalled without torch: {size / 1e6:.1f} MB")
    assert size < LIMIT, largest(environment)

    code = (
        "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is not None or u.find_spec('timm') is not None)"
    )
    run(python, "-c", code)
    data = root / "codemae_geo" / "data" / "joplin"
    pair = ["--pre", data / "pre.tif", "--post", data / "post.tif"]
    command = [python, "-m", "codemae_cli", "damage", *pair, "--precision", "float32", "--json", "--progress", "none"]
    summary = json.loads(run(*command, "-o", tmp_path / "plain", cwd=tmp_path).splitlines()[-1])["summary"]
    assert "openvino" in summary["device"]
    assert "torch" not in summary["versions"]
    options = RunOptions(runtime="torch", device="cpu", precision="float32")
    map_damage(data / "pre.tif", data / "post.tif", tmp_path / "whole", options=options)
    labels = []
    for folder in ("plain", "whole"):
        with rasterio.open(tmp_path / folder / "damage.tif") as found:
            labels.append(found.read(1))
    same = float(np.mean(labels[0] == labels[1]))
    print(f"labels equal to those of torch: {same:.4%}")
    assert same >= 0.9999

    # the other commands, on packages that were exported where torch is
    packages = {
        "predict": make_model(tmp_path / "classes.safetensors", task="segmentation"),
        "embed": make_encoder(tmp_path / "encoder.safetensors"),
        "detect": make_detector(tmp_path / "detector.safetensors", loud=True),
    }
    scene = write_raster(tmp_path / "scene.tif", size=(150, 210))
    for name, package in packages.items():
        options = ["--tta"] if name == "predict" else []
        missing = subprocess.run(
            [python, "-m", "codemae_cli", name, package, scene, "-o", tmp_path / "none"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert missing.returncode == 1 and "PyTorch" in missing.stderr and "codemae-geo[torch]" in missing.stderr
        opened = open_package(package)
        program = Program.of(opened.contract)
        model = export(opened, export_path(opened, program), program)
        for runtime, what, where in (("torch", package, sys.executable), ("auto", model, python)):
            out = tmp_path / f"{name}-{runtime}"
            words = [name, what, scene, *options, "--runtime", runtime, "--precision", "float32", "--window", "128"]
            run(where, "-m", "codemae_cli", *words, "--progress", "none", "-o", out, cwd=tmp_path)
        assert "openvino" in json.loads((tmp_path / f"{name}-auto" / "summary.json").read_text())["device"]
    with (
        rasterio.open(tmp_path / "predict-torch" / "classes.tif") as expected,
        rasterio.open(tmp_path / "predict-auto" / "classes.tif") as found,
    ):
        assert len(np.unique(expected.read(1))) > 1
        assert np.mean(expected.read(1) == found.read(1)) >= 0.999
    with (
        rasterio.open(tmp_path / "embed-torch" / "embedding.tif") as expected,
        rasterio.open(tmp_path / "embed-auto" / "embedding.tif") as found,
    ):
        vectors = expected.read()
        np.testing.assert_allclose(found.read(), vectors, atol=2e-3 * np.nanmax(np.abs(vectors)))
    tables = [geopandas.read_file(tmp_path / f"detect-{r}" / "detections.gpkg") for r in ("torch", "auto")]
    assert len(tables[0]) == len(tables[1]) > 10
    np.testing.assert_allclose(tables[0].score, tables[1].score, atol=1e-3)
    np.testing.assert_allclose(tables[0].geometry.bounds, tables[1].geometry.bounds, atol=0.05)
    shutil.rmtree(environment)
