"""Dense features of scenes: positions, seams, nodata, components, and models that do not fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.transform import from_origin
from support.packages import MEAN, make_encoder
from support.scenes import make_model, write_raster

from codemae_geo.errors import InputError, ModelError, OutputError
from codemae_geo.inference import embed as embed_module
from codemae_geo.inference.components import RunningCovariance
from codemae_geo.inference.embed import FeatureSink, embed
from codemae_geo.inference.request import RunOptions, SceneRequest
from codemae_geo.inference.runtimes.program import DenseFeatures
from codemae_geo.models import build
from codemae_geo.weights import InputSpec, ModelContract, load_model
from codemae_geo.weights.package import ArchitectureSpec, save_package

PLAIN = {"precision": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("model") / "encoder.safetensors")


def write(path: Path, data: NDArray[Any], nodata: float | None = None) -> Path:
    """uint8 [bands, rows, columns] as a GeoTIFF of 0.5 m pixels."""
    count, height, width = data.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": "uint8"}
    transform = from_origin(366000, 4104000, 0.5, 0.5)
    with rasterio.open(path, "w", crs="EPSG:32615", transform=transform, nodata=nodata, **profile) as out:
        out.write(data)
    return path


def features(model: Path, scene: Path, out: Path, **options: Any) -> NDArray[np.float32]:
    """``embedding.tif`` [D, rows, columns] of a run."""
    windows = {k: options.pop(k) for k in ("window", "overlap", "blend") if k in options}
    embed(model, scene, out, options=RunOptions(**PLAIN, **windows), dtype=options.pop("dtype", "float32"), **options)
    with rasterio.open(out / "embedding.tif") as raster:
        return raster.read()


def flat(path: Path, size: tuple[int, int] = (208, 240), value: int = MEAN) -> Path:
    return write(path, np.full((3, *size), value, np.uint8))


@pytest.mark.parametrize("stride", [16, 8, 4])
def test_one_window_is_what_the_network_says(stride: int, encoder: Path, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", size=(64, 64))
    package = load_model(encoder)
    with rasterio.open(scene) as raster:
        image = (torch.from_numpy(raster.read()).float() / 255 - 0.4) / 0.2
    with torch.inference_mode():
        wanted = DenseFeatures(package.module, "optical", stride)(image[None])[0].numpy()  # type: ignore[arg-type]
    found = features(encoder, scene, tmp_path / "out", stride=stride, keep_positions=True)
    assert found.shape == wanted.shape == (32 if stride == 16 else 16, 64 // stride, 64 // stride)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("architecture", "config", "stride", "channels"),
    [
        ("decur-encoder", {"backbone": "resnet18", "channels": [3, 3], "rda": True, "img_size": 64}, 32, 512),
        ("decur-encoder", {"backbone": "vit_tiny", "channels": [3, 3], "img_size": 64}, 16, 192),
        (
            "cross-scale-encoder",
            {"variant": "tiny", "img_size": 64, "depth": 1, "sensors": ["sar", "optical"]},
            16,
            192,
        ),
    ],
)
def test_other_encoders_give_features_too(
    architecture: str, config: dict[str, Any], stride: int, channels: int, tmp_path: Path
) -> None:
    inputs = [
        InputSpec(name=f, family=f, bands=b, unit="uint8", scale=1 / 255, mean=[0.4] * 3, std=[0.2] * 3)
        for f, b in (("sar", ["amplitude"]), ("optical", ["red", "green", "blue"]))
    ]
    contract = ModelContract(
        name="other",
        description="an encoder for tests",
        task="embedding",
        architecture=ArchitectureSpec(name=architecture, config=config),
        inputs=inputs,
        window=64,
        licence="none",
    )
    module = build(architecture, config)
    path = save_package(tmp_path / "other.safetensors", module.state_dict(), contract)
    scene = write_raster(tmp_path / "scene.tif", size=(128, 96))
    found = features(path, scene, tmp_path / "out", stride=stride, sensor="optical")
    assert found.shape == (channels, 128 // stride, 96 // stride)
    assert np.isfinite(found).all() and found.std() > 0
    with pytest.raises(ModelError, match="no features of stride 4"):
        features(path, scene, tmp_path / "four", stride=4)


def test_an_empty_scene_has_one_vector_wherever_its_windows_lie(encoder: Path, tmp_path: Path) -> None:
    scene = flat(tmp_path / "scene.tif")
    found = features(encoder, scene, tmp_path / "out")
    assert found.shape == (32, 13, 15)
    size = np.abs(found).max()
    assert np.abs(found - found[:, :1, :1]).max() < 1e-4 * size
    kept = features(encoder, scene, tmp_path / "kept", keep_positions=True)
    assert np.abs(kept - kept[:, :1, :1]).max() > 0.05 * size, "the test would pass without positions being removed"


def test_a_scene_that_repeats_with_the_patches_shows_no_windows(tmp_path: Path) -> None:
    """Without a position table the network sees a set of equal patches in every window, so all vectors are equal."""
    model = make_encoder(tmp_path / "blind.safetensors", positions=False)
    patch = np.random.default_rng(0).integers(1, 255, (3, 16, 16)).astype(np.uint8)
    scene = write(tmp_path / "scene.tif", np.tile(patch, (1, 13, 15)))
    found = features(model, scene, tmp_path / "out")
    assert np.abs(found - found[:, :1, :1]).max() < 1e-4 * np.abs(found).max()
    assert np.abs(found).max() > 0


def test_blending_leaves_no_seams_in_a_smooth_scene(tmp_path: Path) -> None:
    """Across the border of two cores neighbours differ as they do beside it; without blending, twice as much."""
    model = make_encoder(tmp_path / "encoder.safetensors", window=128)
    y, x = np.mgrid[:128, :384] / 384
    smooth = np.stack([120 + 60 * x, 120 + 60 * y, 190 - 45 * (x + y)]).round().astype(np.uint8)
    scene = write(tmp_path / "scene.tif", smooth)

    def jump(blend: str, keep_positions: bool) -> float:
        out = tmp_path / f"{blend}-{keep_positions}"
        found = features(model, scene, out, blend=blend, keep_positions=keep_positions)
        steps = np.linalg.norm(np.diff(found, axis=2), axis=0).mean(0)  # [columns - 1]
        # windows of 8 cells every 4 cells: cores end at columns 6, 10, 14, 18
        return max(float(steps[c - 1] / steps[[c - 2, c]].mean()) for c in (6, 10, 14, 18))

    for keep_positions in (False, True):
        assert jump("hann", keep_positions) < 1.3
        assert jump("none", keep_positions) > 1.8


def test_a_crop_on_the_lattice_of_windows_has_the_features_of_the_whole(encoder: Path, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", size=(128, 192))
    whole = features(encoder, scene, tmp_path / "whole")
    # two cells of 16 pixels of 0.5 m: one step of the windows
    part = features(encoder, scene, tmp_path / "part", bounds=(366016, 4103936, 366096, 4104000))
    assert part.shape == (32, 8, 10)
    np.testing.assert_allclose(part[:, :, 2:], whole[:, :, 4:], atol=1e-4 * np.abs(whole).max())


def test_grid_nodata_and_picture(encoder: Path, tmp_path: Path) -> None:
    data = np.random.default_rng(1).integers(1, 255, (3, 100, 120)).astype(np.uint8)
    data[:, :, :40] = 0  # 40 of 48 pixels of the first three columns of cells: the third is half valid
    scene = write(tmp_path / "scene.tif", data, nodata=0)
    result = embed(encoder, scene, tmp_path / "out", options=RunOptions(**PLAIN))
    with rasterio.open(tmp_path / "out/embedding.tif") as raster, rasterio.open(tmp_path / "out/components.tif") as rgb:
        assert raster.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert raster.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == "16"
        assert (raster.count, raster.shape, raster.dtypes[0]) == (32, (7, 8), "float32")
        assert raster.transform == rgb.transform == from_origin(366000, 4104000, 8, 8)
        assert raster.crs == rgb.crs == "EPSG:32615"
        valid = np.isfinite(raster.read())
        assert (valid == valid[0]).all()
        # the last row has 4 of 16 pixels, the last column 8 of 16
        expected = np.zeros((7, 8), bool)
        expected[:6, 2:] = True
        assert (valid[0] == expected).all()
        assert rgb.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        assert rgb.nodata == 0 and rgb.dtypes == ("uint8",) * 3
        colours = rgb.read()
        assert ((colours > 0) == expected).all()
        assert json.loads(raster.tags()["PARAMETERS"])["stride"] == 16
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary == json.loads(json.dumps(result.summary, default=str))
    assert set(result.outputs) == {"embedding", "components", "summary"}
    assert summary["embedding"] == {
        "dimensions": 32, "stride": 16, "dtype": "float16", "cells": 36, "share": 36 / 56,
    }  # fmt: skip
    shares = summary["components"]["explained_variance_ratio"]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1
    assert summary["inputs"]["image"]["family"] == "optical"
    assert not list(tmp_path.glob(".*"))


def test_half_precision_is_rounding_only(encoder: Path, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", size=(64, 96))
    full = features(encoder, scene, tmp_path / "full")
    half = features(encoder, scene, tmp_path / "half", dtype="float16")
    assert (half == full.astype(np.float16)).all()


def test_radar_takes_the_other_tokenizer(encoder: Path, tmp_path: Path) -> None:
    radar = write_raster(tmp_path / "sar.tif", count=1, size=(64, 64))
    result = embed(encoder, radar, tmp_path / "out", options=RunOptions(**PLAIN))
    assert result.summary["parameters"]["sensor"] == "sar"
    package = load_model(encoder)
    with rasterio.open(radar) as raster:
        image = (torch.from_numpy(raster.read()).float() / 255 - 0.4).repeat(3, 1, 1) / 0.2
    with torch.inference_mode():
        wanted = DenseFeatures(package.module, "sar", 16)(image[None])[0].numpy()  # type: ignore[arg-type]
    found = features(encoder, radar, tmp_path / "plain", sensor="sar", keep_positions=True)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_features_are_in_memory_by_rows_only(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However tall the scene, the first pass holds a window's rows of cells, the second a row of the file's tiles."""
    strips: list[int] = []
    take, rows_of = FeatureSink.__call__, embed_module.iter_rows

    def watch(self: FeatureSink, row: int, vectors: NDArray[np.float32], analysed: NDArray[np.bool_]) -> None:
        strips.append(vectors.shape[1])
        take(self, row, vectors, analysed)

    def rows(path: Path, count: int) -> Iterator[tuple[int, NDArray[Any]]]:
        for row, values in rows_of(path, count):
            strips.append(values.shape[1])
            yield row, values

    monkeypatch.setattr(FeatureSink, "__call__", watch)
    monkeypatch.setattr(embed_module, "iter_rows", rows)
    found = features(encoder, flat(tmp_path / "tall.tif", (4800, 32)), tmp_path / "out", overlap=0.0)
    assert found.shape == (32, 300, 2)
    assert max(strips) == 128 and strips.count(4) >= 74


def test_any_package_with_a_backbone_will_do(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", size=(64, 64))
    for task in ("damage", "segmentation"):
        model = make_model(tmp_path / f"{task}.safetensors", task=task)
        assert embed(model, scene, tmp_path / task).summary["embedding"]["dimensions"] == 32
    with pytest.raises(ModelError, match="does not take sar scenes"):
        embed(model, scene, tmp_path / "out", sensor="sar")
    with pytest.raises(ModelError, match="does not take sar scenes"):
        embed(model, write_raster(tmp_path / "sar.tif", count=1), tmp_path / "out")


def test_what_does_not_fit_is_refused(encoder: Path, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", size=(64, 64))
    with pytest.raises(InputError, match="looks like sar, and optical was asked for"):
        embed(encoder, write_raster(tmp_path / "sar.tif", count=1), tmp_path / "out", sensor="optical")
    with pytest.raises(InputError, match="looks like optical, and sar was asked for"):
        embed(encoder, colour(scene), tmp_path / "out", sensor="sar")
    grey = embed(encoder, SceneRequest(scene, bands=[1]), tmp_path / "grey", sensor="sar")  # radar saved as a picture
    assert grey.summary["inputs"]["image"]["family"] == "sar"
    with pytest.raises(InputError, match="no features of this stride"):
        embed(encoder, scene, tmp_path / "out", stride=12)
    void = write(tmp_path / "void.tif", np.zeros((3, 64, 64), np.uint8), nodata=0)
    with pytest.raises(InputError, match="no pixel could be analysed") as empty:
        embed(encoder, void, tmp_path / "out")
    assert "nodata overrides" in str(empty.value)
    with pytest.raises(InputError, match="lies outside the scene"):
        embed(encoder, scene, tmp_path / "out", bounds=(0, 0, 9, 9))
    assert not (tmp_path / "out").exists()
    with pytest.raises(OutputError, match="exists and is not empty"):
        embed(encoder, scene, tmp_path)


def colour(path: Path) -> Path:
    """Mark the bands of a raster as red, green and blue."""
    with rasterio.open(path, "r+") as raster:
        raster.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    return path


def test_components_are_those_of_all_vectors_at_once() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(500, 6)) @ random.normal(size=(6, 6)) + 1e4
    running = RunningCovariance(6)
    for part in np.split(vectors, [0, 1, 130, 131, 400]):
        running.add(part)
    np.testing.assert_allclose(running.mean, vectors.mean(0))
    np.testing.assert_allclose(running.covariance, np.cov(vectors.T, bias=True), rtol=1e-6)
    components = running.components()
    _, singular, rows = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    np.testing.assert_allclose(components.variances, singular[:3] ** 2 / 500, rtol=1e-6)
    np.testing.assert_allclose(np.abs((components.vectors * rows[:3]).sum(1)), 1, rtol=1e-6)
    assert (components.vectors[np.arange(3), np.abs(components.vectors).argmax(1)] > 0).all()
    assert sum(components.explained) < 1
    picture = components.picture(vectors.T.reshape(6, 20, 25), np.ones((20, 25), bool))
    first = (vectors - vectors.mean(0)) @ components.vectors[0]
    assert np.corrcoef(picture[0].ravel(), first)[0, 1] > 0.98
    assert picture.min() >= 1 and abs(picture.mean() - 128) < 8


def test_without_variance_the_picture_is_grey() -> None:
    running = RunningCovariance(4)
    running.add(np.ones((9, 4)))
    components = running.components()
    assert components.explained == [0.0, 0.0, 0.0]
    valid = np.array([[True, False]])
    assert components.picture(np.ones((4, 1, 2)), valid).tolist() == [[[128, 0]]] * 3
