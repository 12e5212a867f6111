"""`codemae predict` and `codemae models wrap` with an ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from support.scenes import run_codemae

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

TOLD = ["--family", "optical", "--bands", "red,green,blue", "--unit", "uint8", "--mean", "0,0,0", "--std", "1,1,1"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A scene, and a model whose class is the brightest band."""
    from onnx import TensorProto, helper

    shape = ["n", 3, "h", "w"]
    given, answer = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("image", "scores"))
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["scores"])], "brightest", [given], [answer])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "model.onnx"
    )
    data = np.random.default_rng(0).integers(1, 255, (3, 80, 90), dtype=np.uint8)
    options = {"count": 3, "height": 80, "width": 90, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", transform=from_origin(5e5, 5e6, 2, 2), **options
    ) as file:
        file.write(data)
    return tmp_path


def test_wrap_and_predict(place: Path) -> None:
    told = [*TOLD, "--classes", "red,green,blue"]
    done = run_codemae("models", "wrap", "model.onnx", "-o", "contract.json", *told, cwd=place)
    assert done.code == 0 and "codemae predict model.onnx" in done.out, done.err
    assert json.loads((place / "contract.json").read_text())["task"] == "segmentation"
    done = run_codemae("predict", "model.onnx", "scene.tif", "--contract", "contract.json", "-o", "out", cwd=place)
    assert done.code == 0, done.err
    with rasterio.open(place / "scene.tif") as scene, rasterio.open(place / "out/classes.tif") as classes:
        assert np.array_equal(classes.read(1), scene.read().argmax(0))


def test_regression_shows_the_range_of_its_bands(place: Path) -> None:
    told = [*TOLD, "--values", "a,b,c"]
    assert run_codemae("models", "wrap", "model.onnx", "-o", "contract.json", *told, cwd=place).code == 0
    done = run_codemae("predict", "model.onnx", "scene.tif", "--contract", "contract.json", "-o", "out", cwd=place)
    assert done.code == 0 and "mean" in done.out, done.err
    with rasterio.open(place / "scene.tif") as scene, rasterio.open(place / "out/values.tif") as values:
        np.testing.assert_allclose(values.read(), scene.read(), atol=1e-3)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([], "--family"),
        ([*TOLD, "--classes", "a,b"], "one number for every class"),
        ([*TOLD[:-1], "1,x,1", "--classes", "a,b,c"], "--std"),
    ],
)
def test_what_is_missing_or_wrong_is_named(told: list[str], words: str, place: Path) -> None:
    done = run_codemae("models", "wrap", "model.onnx", "-o", "contract.json", *told, cwd=place)
    assert done.code == 1 and words in done.err and "Traceback" not in done.err
    assert not (place / "contract.json").exists()


def test_a_model_without_a_contract_is_asked_for_one(place: Path) -> None:
    done = run_codemae("predict", "model.onnx", "scene.tif", "-o", "out", cwd=place)
    assert done.code == 1 and "codemae models wrap" in done.err and not (place / "out").exists()
