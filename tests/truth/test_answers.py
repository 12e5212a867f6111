"""A network that answers NaN is refused, with where it began; never class 0."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.packages import make_detector, make_encoder
from torch import Tensor, nn

from codemae_geo import models
from codemae_geo.errors import ModelError
from codemae_geo.inference import detect, embed, segment
from codemae_geo.inference.request import RunOptions
from codemae_geo.inference.runtimes.base import Program
from codemae_geo.inference.runtimes.export import export
from codemae_geo.weights import open_package
from truth.ruler import MARKS, Ruler, marks, measure, ruler, write


class Gives(nn.Module):
    """NaN where the picture is brighter than 90."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 90, torch.nan, x)


class Broken(Ruler):
    """A ruler whose part ``tail`` gives NaN."""

    def __init__(self, num_classes: int = MARKS) -> None:
        super().__init__(num_classes)
        self.tail = Gives()

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(self.tail(image))


def test_nan_in_one_window(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = marks((200, 200), top=80)
    data[:, 150, 20] = 99
    path = write(here / "a.tif", data)
    assert (measure(here, path).classes == data[0]).all()
    monkeypatch.setitem(models.ARCHITECTURES, "ruler", Broken)
    with pytest.raises(ModelError, match="answers NaN") as error:
        measure(here, path)
    assert "part tail" in str(error.value)
    assert "row 128 column 0" in str(error.value)


def test_nan_that_a_detector_would_drop(here: Path) -> None:
    model = make_detector(here / "d.safetensors")
    scene = write(here / "a.tif", np.random.default_rng(0).integers(1, 255, (3, 96, 96)).astype("u1"))
    job = detect.DetectJob.open(model, scene)
    with torch.no_grad():
        for parameter in job.predictor.network._windows.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ModelError, match="answers NaN"):
        job.run(here / "boxes")


def test_nan_features(here: Path) -> None:
    model = make_encoder(here / "e.safetensors")
    scene = write(here / "a.tif", np.random.default_rng(0).integers(1, 255, (3, 96, 96)).astype("u1"))
    job = embed.EmbedJob.open(model, scene, sensor="optical")
    with torch.no_grad():
        for parameter in job.package.module.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ModelError, match="answers NaN"):
        job.run(here / "features")


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_nan_without_torch(here: Path, monkeypatch: pytest.MonkeyPatch, runtime: str) -> None:
    """An exported network that answers NaN in one window."""
    pytest.importorskip("onnxscript")
    pytest.importorskip({"onnx": "onnxruntime"}.get(runtime, runtime))
    monkeypatch.setitem(models.ARCHITECTURES, "ruler", Broken)
    package = open_package(shutil.copy(ruler(here), here / "own.safetensors"))
    export(package, here / "own.onnx", Program.of(package.contract))
    data = marks((200, 200), top=80)
    options = RunOptions(runtime=runtime, precision="float32")
    job = segment.SegmentJob.open(here / "own.safetensors", write(here / "a.tif", data), options=options)
    job.run(here / "good")
    data[:, 150, 20] = 99
    job = segment.SegmentJob.open(here / "own.safetensors", write(here / "b.tif", data), options=options)
    with pytest.raises(ModelError, match="answers NaN") as error:
        job.run(here / "out")
    assert "row 128 column 0" in str(error.value)
    assert not (here / "out").exists()
