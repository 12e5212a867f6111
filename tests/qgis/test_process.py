"""The plugin in `qgis_process`, with the real toolkit: same map as the command line, nothing left when QGIS is killed.

Skips where there is no QGIS; with CODEMAE_REQUIRE_QGIS=1 it fails there instead.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from support.qgis import desktop_environment

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "codemae_geo" / "data" / "joplin"
#: left, bottom, right, top in EPSG:26915; on whole pixels of both the tiles and the sample pair
BOUNDS = (367400.4, 4103800.8, 367640.4, 4104040.8)
#: what differs between two runs that are the same
VOLATILE = ("created", "seconds")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a QGIS with the plugin switched on, in a profile of its own; the runtime lies at an odd path."""
    program = shutil.which("qgis_process.bin") or shutil.which("qgis_process")
    if program is None:
        if os.environ.get("CODEMAE_REQUIRE_QGIS") == "1":
            pytest.fail("QGIS is required and qgis_process is missing")
        pytest.skip("qgis_process is missing")
    folder = tmp_path_factory.mktemp("Profil für Zoë")
    folder.chmod(0o700)
    runtime = folder / "runtime"
    runtime.symlink_to(sys.prefix, target_is_directory=True)
    env = desktop_environment()
    env |= {
        "PROGRAM": program,
        "LC_ALL": "C.UTF-8",
        "QT_QPA_PLATFORM": "offscreen",
        "XDG_RUNTIME_DIR": str(folder),
        "QGIS_CUSTOM_CONFIG_PATH": str(folder),
        "QGIS_PLUGINPATH": str(ROOT / "qgis_plugin"),
        "CODEMAE_GEO_PYTHON": str(runtime / "bin" / "python"),
    }
    subprocess.run([program, "plugins", "enable", "codemae_qgis"], env=env, check=True, capture_output=True)
    return env


def command(environment: dict[str, str], name: str, *parameters: str) -> list[str]:
    return [environment["PROGRAM"], "--json", "run", f"codemae:{name}", "--", *parameters]


def run(environment: dict[str, str], name: str, *parameters: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(environment, name, *parameters), env=environment, capture_output=True, text=True, timeout=300
    )


def toolkit(*arguments: str | Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "codemae_cli", *map(str, arguments), "--json", "--progress", "none"],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def engines(parent: int) -> list[int]:
    """Engines that a process has started; it also has children of other kinds for a moment."""
    children = [pid for file in Path(f"/proc/{parent}/task").glob("*/children") for pid in file.read_text().split()]
    return [int(pid) for pid in children if "codemae_cli" in command_line(pid)]


def command_line(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # it has ended
        return ""


def wait_for(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def scenes() -> tuple[list[Path], list[Path], Path]:
    """The tiles of Joplin where they are, else the pair that the package brings."""
    tiles = ROOT.parent / "shared" / "data" / "joplin"
    if tiles.is_dir():
        return sorted(tiles.glob("pre/*.tif")), sorted(tiles.glob("post/*.tif")), tiles / "buildings_2020.gpkg"
    return [SAMPLE / "pre.tif"], [SAMPLE / "post.tif"], SAMPLE / "buildings.gpkg"


def test_same_map_and_same_numbers_as_the_command_line(environment: dict[str, str], tmp_path: Path) -> None:
    pre, post, footprints = scenes()
    spaced = tmp_path / "Häuser von Zoë.gpkg"
    shutil.copy(footprints, spaced)  # QGIS writes into GeoPackages that it opens
    out = tmp_path / "Karten für Zoë"
    out.mkdir()
    left, bottom, right, top = BOUNDS
    done = run(
        environment,
        "damagemap",
        f"PRE={pre[0]}",
        *(f"PRE_MORE={p}" for p in pre[1:]),
        f"POST={post[0]}",
        *(f"POST_MORE={p}" for p in post[1:]),
        f"FOOTPRINTS={spaced}",
        f"EXTENT={left},{right},{bottom},{top} [EPSG:26915]",
        "DEVICE=cpu",
        f"CLASSES={out / 'classes.tif'}",
        f"CONFIDENCE={out / 'confidence.tif'}",
        f"POLYGONS={out / 'polygons.gpkg'}",
        f"BUILDINGS={out / 'buildings.gpkg'}",
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    bounds = [str(v) for v in BOUNDS]
    arguments = ["--pre", *pre, "--post", *post, "--footprints", spaced, "--bounds", *bounds, "--device", "cpu"]
    expected = toolkit("damage", *arguments, "-o", tmp_path / "cli")
    summary = json.loads(results["SUMMARY"])
    assert {k: v for k, v in summary.items() if k not in VOLATILE} == {
        k: v for k, v in expected["summary"].items() if k not in VOLATILE
    }
    for c in expected["summary"]["classes"]:
        assert results[f"AREA_{c['name'].upper()}_M2"] == pytest.approx(c["area_m2"], rel=1e-12)
    assert results["BUILDINGS_DESTROYED"] == expected["summary"]["buildings"]["classes"]["destroyed"]
    for ours, theirs in (("classes.tif", "damage.tif"), ("confidence.tif", "confidence.tif")):
        with rasterio.open(out / ours) as a, rasterio.open(tmp_path / "cli" / theirs) as b:
            np.testing.assert_array_equal(a.read(), b.read())
            assert a.profile == b.profile
    with rasterio.open(out / "classes.tif") as a:
        assert len(np.unique(a.read(1))) > 2


def test_failure_is_a_message_and_exit_code_1(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(
        environment,
        "damagemap",
        f"PRE={SAMPLE / 'pre.tif'}",
        f"POST={SAMPLE / 'post.tif'}",
        "POST_SENSOR=sar",
        f"CLASSES={tmp_path / 'c.tif'}",
    )
    assert done.returncode == 1
    assert "does not take a sar post scene" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_killed_qgis_leaves_no_engine_and_no_output(environment: dict[str, str], tmp_path: Path) -> None:
    parameters = (
        f"PRE={SAMPLE / 'pre.tif'}",
        f"POST={SAMPLE / 'post.tif'}",
        f"CLASSES={tmp_path / 'c.tif'}",
        "TTA=true",
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    qgis = subprocess.Popen(
        command(environment, "damagemap", *parameters),
        env={**environment, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: engines(qgis.pid), 60)
        (engine,) = engines(qgis.pid)
        wait_for(lambda: list(temporary.glob("processing_*/*/.out.*.part")), 60)  # into the work
        assert alive(engine)
    finally:
        qgis.kill()
        qgis.wait()
    wait_for(lambda: not alive(engine), 10)
    temporary_files = [p.name for p in temporary.rglob("*") if p.is_file()]
    assert not [name for name in temporary_files if "codemae" in name or ".tif" in name], temporary_files
    assert list(tmp_path.iterdir()) == [temporary]


def test_pair_check(environment: dict[str, str]) -> None:
    done = run(environment, "checkpair", f"PRE={SAMPLE / 'pre.tif'}", f"POST={SAMPLE / 'post.tif'}")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert results["USABLE"] == 1
    assert results["SHARE_OF_PRE"] == pytest.approx(0.993, abs=0.001)


def test_segment_detect_and_embed_with_packages_of_their_own(environment: dict[str, str], tmp_path: Path) -> None:
    from support.packages import make_detector
    from support.scenes import make_model

    folder = tmp_path / "Modelle für Zoë"
    folder.mkdir()
    scene = write_crop(folder / "Szene 1.tif")
    segmenter = make_model(folder / "segment er.safetensors", task="segmentation")
    detector = make_detector(folder / "detect or.safetensors")

    done = run(environment, "segment", f"INPUT={scene}", f"MODEL={segmenter}", f"CLASSES={tmp_path / 'c.tif'}")
    assert done.returncode == 0, done.stderr
    expected = toolkit("predict", segmenter, scene, "-o", tmp_path / "cli")
    with rasterio.open(tmp_path / "c.tif") as a, rasterio.open(expected["outputs"]["classes"]) as b:
        np.testing.assert_array_equal(a.read(), b.read())

    done = run(environment, "detect", f"INPUT={scene}", f"MODEL={detector}", f"OBJECTS={tmp_path / 'o.gpkg'}")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert results["OBJECT_COUNT"] == json.loads(results["SUMMARY"])["detections"]["n"]
    assert (tmp_path / "o.gpkg").exists()

    parameters = (f"FEATURES={tmp_path / 'f.tif'}", f"PICTURE={tmp_path / 'p.tif'}", "STRIDE=8", "SENSOR=optical")
    done = run(environment, "embed", f"INPUT={scene}", "MODEL=damage-tiny-optical", *parameters)
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "f.tif") as features, rasterio.open(tmp_path / "p.tif") as picture:
        assert features.count == json.loads(done.stdout)["results"]["FEATURE_COUNT"]
        assert features.shape == picture.shape == (16, 16)
        assert picture.count == 3

    done = run(environment, "segment", f"INPUT={scene}", "MODEL=damage-tiny-optical", f"CLASSES={tmp_path / 'x.tif'}")
    assert done.returncode == 1
    assert "does not fit" in done.stderr + done.stdout
    assert not (tmp_path / "x.tif").exists()


def write_crop(path: Path) -> Path:
    """A corner of the sample scene, 128 x 128 pixels."""
    with rasterio.open(SAMPLE / "pre.tif") as source:
        window = rasterio.windows.Window(300, 300, 128, 128)
        profile = source.profile | {"width": 128, "height": 128, "transform": source.window_transform(window)}
        profile |= {"driver": "GTiff", "compress": "deflate", "photometric": "rgb", "tiled": False}
        for key in ("blockxsize", "blockysize"):
            profile.pop(key, None)
        with rasterio.open(path, "w", **profile) as target:
            target.write(source.read(window=window))
    return path
