"""The plain installation: no torch, the bundled model on OpenVINO, and little disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from codemae_geo.inference.damage import map_damage
from codemae_geo.inference.request import RunOptions

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
    map_damage(data / "pre.tif", data / "post.tif", tmp_path / "torch", options=options)
    labels = []
    for folder in ("plain", "torch"):
        with rasterio.open(tmp_path / folder / "damage.tif") as found:
            labels.append(found.read(1))
    same = float(np.mean(labels[0] == labels[1]))
    print(f"labels equal to those of torch: {same:.4%}")
    assert same >= 0.9999
    shutil.rmtree(environment)
