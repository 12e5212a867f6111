"""Choosing boxes in NumPy: what torch and torchvision do where they are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.packages import BrightSquares, make_detector

from codemae_geo import models
from codemae_geo.errors import ModelError
from codemae_geo.inference.runtimes import Choice, Program, boxes, load_network
from codemae_geo.inference.runtimes.export import detector_settings, export
from codemae_geo.models import faster_rcnn
from codemae_geo.weights import open_package
from codemae_geo.weights.package import load_package

torchvision = pytest.importorskip("torchvision")


def random_boxes(seed: int, count: int, size: tuple[int, int]) -> Any:
    random = np.random.default_rng(seed)
    corner = random.uniform(-10, max(size), (count, 2))
    sides = random.exponential(40, (count, 2))
    limit = np.array([size[1], size[0]] * 2)
    return np.clip(np.concatenate([corner, corner + sides], 1), 0, limit).astype(np.float32)


@given(st.integers(0, 10**6), st.integers(0, 120), st.sampled_from([0.3, 0.5, 0.7]))
@settings(max_examples=40, deadline=None)
def test_the_boxes_that_stay_are_those_of_torchvision(seed: int, count: int, iou: float) -> None:
    found = random_boxes(seed, count, (120, 160))
    random = np.random.default_rng(seed)
    scores, groups = random.permutation(count).astype(np.float32), random.integers(0, 3, count)
    wanted = torchvision.ops.batched_nms(*(torch.from_numpy(a) for a in (found, scores, groups)), iou)
    np.testing.assert_array_equal(boxes.suppress(found, scores, groups, iou), wanted.numpy())


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_detector(tmp_path_factory.mktemp("model") / "detector.safetensors", loud=True)


@pytest.mark.parametrize("seed", range(4))
def test_regions_are_cut_as_roi_align_does(package: Path, seed: int) -> None:
    size = (192, 256)
    levels = [torch.randn(1, 5, size[0] // s, size[1] // s) for s in faster_rcnn.STRIDES[:4]]
    regions = random_boxes(seed, 60, size)
    regions = regions[(regions[:, 2] > regions[:, 0]) & (regions[:, 3] > regions[:, 1])]
    wanted = faster_rcnn.cut_regions(levels, [torch.from_numpy(regions)])
    found = boxes.cut_regions(
        [level[0].numpy() for level in levels], regions, detector_settings(load_package(package).module)
    )
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)  # torchvision places samples in float32


@pytest.mark.slow
def test_an_exported_detector_finds_what_torch_finds(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEMAE_CACHE", str(tmp_path))
    opened, program = open_package(package), Program("boxes")
    exported = open_package(export(opened, tmp_path / "detector.onnx"))
    for height, width in ((64, 64), (192, 128)):
        image = np.random.default_rng(0).integers(0, 255, (2, 3, height, width), dtype=np.uint8)
        arrays = [image], [np.ones((2, height, width), bool)]
        expected = load_network(opened, program, Choice("torch", "cpu", "float32", ""))(*arrays)
        for runtime, library in (("openvino", "openvino"), ("onnx", "onnxruntime")):
            pytest.importorskip(library)
            found = load_network(exported, program, Choice(runtime, "cpu", "float32", ""))(*arrays)
            for one, other in zip(expected, found, strict=True):
                assert len(one["boxes"]) > 10
                np.testing.assert_array_equal(one["labels"], other["labels"])
                np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-4)
                np.testing.assert_allclose(one["boxes"], other["boxes"], atol=0.01)


def test_another_detector_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.ARCHITECTURES, "bright-squares", BrightSquares)
    other = make_detector(tmp_path / "other.safetensors", fake=True)
    with pytest.raises(ModelError, match="architecture bright-squares are not exported"):
        export(open_package(other), tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()
