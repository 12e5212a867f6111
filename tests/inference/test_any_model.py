"""Models that are not packages of ours: torch modules, ONNX files, STAC MLM items, and images in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from rasterio.transform import from_origin
from torch import Tensor, nn

import codemae_geo
from codemae_geo.errors import InputError, ModelError
from codemae_geo.inference.request import RunOptions
from codemae_geo.weights.foreign import OnnxModule, wrap

INPUTS = {
    "family": "optical",
    "bands": ["red", "green", "blue"],
    "unit": "uint8",
    "mean": [120, 110, 100],
    "std": [60, 50, 40],
}
CLASSES = ["ground", "building", "water"]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """150 x 200 pixels of noise, one corner without measurement."""
    data = np.random.default_rng(0).integers(1, 255, (3, 150, 200), dtype=np.uint8)
    data[:, :20, :30] = 0
    path = tmp_path / "scene.tif"
    options = {"count": 3, "height": 150, "width": 200, "dtype": "uint8", "crs": "EPSG:32633", "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", transform=from_origin(5e5, 5e6, 2, 2), **options) as file:
        file.write(data)
    return path


def pointwise(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, outputs, 1))


def dense(module: nn.Module, scene: Path) -> Tensor:
    """What the module says of the whole scene at once."""
    with rasterio.open(scene) as file, torch.no_grad():
        mean, std = (torch.tensor(INPUTS[k], dtype=torch.float32).view(3, 1, 1) for k in ("mean", "std"))
        return module(((torch.from_numpy(file.read()).float() - mean) / std)[None])[0]


def read(path: Path) -> Any:
    with rasterio.open(path) as file:
        return file.read()


def export(module: nn.Module, path: Path, side: int | None = None, batch: bool = True) -> Path:
    """An ONNX file, of any size of image unless ``side`` is given."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, name = [], [], "image"
    for number, layer in enumerate(module):  # type: ignore[arg-type]
        out = f"out{number}"
        if isinstance(layer, nn.Conv2d):
            for key in ("weight", "bias"):
                weights.append(numpy_helper.from_array(getattr(layer, key).detach().numpy(), f"{key}{number}"))
            nodes.append(helper.make_node("Conv", [name, f"weight{number}", f"bias{number}"], [out]))
        else:
            kind, options = ("Softmax", {"axis": 1}) if isinstance(layer, nn.Softmax) else ("Relu", {})
            nodes.append(helper.make_node(kind, [name], [out], **options))
        name = out
    size = ["h", "w"] if side is None else [side, side]
    shape = ["n" if batch else 1, 3, *size]
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    answer = helper.make_tensor_value_info(name, TensorProto.FLOAT, [shape[0], None, *size])
    graph = helper.make_graph(nodes, "small", [given], [answer], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


# ---------------------------------------------------------------- torch modules


def test_a_torch_module_makes_the_map_that_it_makes_at_once(scene: Path, tmp_path: Path) -> None:
    model = pointwise(3)
    result = codemae_geo.predict(
        model,
        scene,
        tmp_path / "out",
        inputs=INPUTS,
        classes=CLASSES,
        options=RunOptions(window=64),
    )
    labels, valid = read(result.outputs["classes"])[0], read(scene)[0] != 0
    logits = dense(model, scene)
    assert np.array_equal(labels[valid], logits.argmax(0).numpy()[valid]) and (labels[~valid] == 255).all()
    confidence = read(result.outputs["confidence"])[0][valid] / 250
    assert np.abs(confidence - logits.softmax(0).amax(0).numpy()[valid]).max() <= 0.5 / 250 + 1e-5
    assert [c["name"] for c in result.summary["classes"]] == CLASSES
    assert result.summary["model"]["name"] == "sequential" and len(result.summary["model"]["sha256"]) == 64
    assert {"gdal", "proj"} <= set(result.summary["versions"])


def test_a_regression_gives_bands_of_values(scene: Path, tmp_path: Path) -> None:
    model = pointwise(2)
    result = codemae_geo.predict(model, scene, tmp_path / "out", inputs=INPUTS, values=["height in m", "slope"])
    assert set(result.outputs) == {"values", "summary"}
    with rasterio.open(result.outputs["values"]) as file:
        values = file.read()
        assert file.descriptions == ("height in m", "slope") and file.dtypes == ("float32",) * 2
        assert np.isnan(file.nodata)
    valid = read(scene)[0] != 0
    expected = dense(model, scene).numpy()
    np.testing.assert_allclose(values[:, valid], expected[:, valid], atol=1e-5)
    assert np.isnan(values[:, ~valid]).all()
    told = result.summary["values"][0]
    assert told["name"] == "height in m" and told["min"] == pytest.approx(expected[0][valid].min(), abs=1e-5)
    assert told["mean"] == pytest.approx(expected[0][valid].mean(), abs=1e-5)


def test_one_channel_is_the_logit_of_the_second_class(scene: Path, tmp_path: Path) -> None:
    model = pointwise(1)
    result = codemae_geo.predict(model, scene, tmp_path / "out", inputs=INPUTS, classes=["not", "road"])
    labels, valid = read(result.outputs["classes"])[0], read(scene)[0] != 0
    assert np.array_equal(labels[valid], (dense(model, scene)[0] > 0).numpy()[valid])


class Named(nn.Module):
    """Answers a dictionary, as torchvision's segmentation models do."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"aux": x, "out": self.module(x)}


def test_a_dictionary_of_answers(scene: Path, tmp_path: Path) -> None:
    out = [
        read(codemae_geo.predict(m, scene, tmp_path / n, inputs=INPUTS, classes=CLASSES).outputs["classes"])
        for m, n in ((pointwise(3), "a"), (Named(pointwise(3)), "b"))
    ]
    assert np.array_equal(*out)


@pytest.mark.parametrize(
    ("module", "told", "words"),
    [
        (pointwise(3), {"inputs": INPUTS, "classes": ["a", "b"]}, "one number for every class"),
        (pointwise(3), {"inputs": {**INPUTS, "bands": ["red"], "mean": [0], "std": [1]}, "classes": CLASSES}, "bands"),
        (pointwise(3), {"inputs": INPUTS}, "classes=[...]"),
        (pointwise(3), {"classes": CLASSES}, "inputs"),
        (pointwise(3), {}, "nothing says what Sequential takes"),
        (nn.Conv2d(3, 3, 3), {"inputs": INPUTS, "classes": CLASSES}, "another shape"),
        (pointwise(3), {"inputs": {**INPUTS, "unit": "metres"}, "classes": CLASSES}, "unit"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(
    module: nn.Module, told: dict[str, Any], words: str, scene: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as error:
        codemae_geo.predict(module, scene, tmp_path / "out", **told)
    assert words in str(error.value) and not (tmp_path / "out").exists()


# ---------------------------------------------------------------- ONNX files and STAC items


@pytest.mark.parametrize(("side", "batch"), [(None, True), (64, True), (64, False)])
def test_an_onnx_file_makes_the_map_of_its_module(side: int | None, batch: bool, scene: Path, tmp_path: Path) -> None:
    model = pointwise(3)
    path = export(model, tmp_path / "small.onnx", side, batch)
    result = codemae_geo.predict(path, scene, tmp_path / "out", inputs=INPUTS, classes=CLASSES)
    labels, valid = read(result.outputs["classes"])[0], read(scene)[0] != 0
    assert np.array_equal(labels[valid], dense(model, scene).argmax(0).numpy()[valid])


def test_probabilities_are_not_squashed_twice(scene: Path, tmp_path: Path) -> None:
    module = pointwise(3)
    path = export(nn.Sequential(*module, nn.Softmax(1)), tmp_path / "p.onnx")
    result = codemae_geo.predict(path, scene, tmp_path / "out", inputs=INPUTS, classes=CLASSES)
    valid = read(scene)[0] != 0
    expected = dense(module, scene).softmax(0).amax(0).numpy()[valid]
    assert np.abs(read(result.outputs["confidence"])[0][valid] / 250 - expected).max() <= 0.5 / 250 + 1e-5


def test_a_contract_may_stand_in_a_file_or_in_the_model(scene: Path, tmp_path: Path) -> None:
    path = export(pointwise(3), tmp_path / "small.onnx")
    contract = wrap(path, INPUTS, CLASSES).contract
    (tmp_path / "contract.json").write_text(contract.model_dump_json())
    first = codemae_geo.predict(path, scene, tmp_path / "a", contract=tmp_path / "contract.json")
    import onnx

    model = onnx.load(path)
    model.metadata_props.add(key="codemae", value=contract.model_dump_json())
    onnx.save(model, path)
    second = codemae_geo.predict(path, scene, tmp_path / "b")
    assert np.array_equal(read(first.outputs["classes"]), read(second.outputs["classes"]))


def item(path: Path, **changes: Any) -> Path:
    properties = {
        "mlm:name": "Small model",
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:input": [
            {
                "name": "rgb",
                "bands": ["red", {"name": "green"}, "blue"],
                "input": {"shape": [-1, 3, 64, 64]},
                "value_scaling": [
                    {"type": "z-score", "mean": m, "stddev": s}
                    for m, s in zip(INPUTS["mean"], INPUTS["std"], strict=True)
                ],
            }
        ],
        "mlm:output": [{"classification:classes": [{"value": n, "name": c} for n, c in enumerate(CLASSES)]}],
    }
    assets = {"model": {"href": "./small.onnx", "roles": ["mlm:model"]}}
    path.write_text(json.dumps({"type": "Feature", "properties": properties | changes, "assets": assets}))
    return path


def test_a_stac_item_names_model_bands_and_classes(scene: Path, tmp_path: Path) -> None:
    model = pointwise(3)
    export(model, tmp_path / "small.onnx")
    result = codemae_geo.predict(item(tmp_path / "item.json"), scene, tmp_path / "out")
    labels, valid = read(result.outputs["classes"])[0], read(scene)[0] != 0
    assert np.array_equal(labels[valid], dense(model, scene).argmax(0).numpy()[valid])
    assert (
        result.summary["model"]["name"] == "small-model" and "told from statistics" in result.summary["model"]["limits"]
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mlm:tasks": ["object-detection"]}, "for another task"),
        ({"mlm:input": [{"bands": ["red"], "value_scaling": [{"type": "clip"}]}]}, "cannot be applied"),
        ({"mlm:output": []}, "mlm:output"),
    ],
)
def test_items_that_cannot_be_served(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    export(pointwise(3), tmp_path / "small.onnx")
    with pytest.raises(ModelError, match=words):
        wrap(item(tmp_path / "item.json", **changes))


def test_files_that_are_not_models(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="cannot be opened as an ONNX model"):
        OnnxModule(tmp_path / "bad.onnx")
    with pytest.raises(ModelError, match="no model file"):
        OnnxModule(tmp_path / "none.onnx")
    (tmp_path / "item.json").write_text("{}")
    with pytest.raises(ModelError, match="not an item of the STAC MLM extension"):
        wrap(tmp_path / "item.json")


# ---------------------------------------------------------------- images in memory


@pytest.mark.parametrize("shape", [(3, 70, 131), (2, 3, 70, 131), (3, 5, 7)])
@pytest.mark.parametrize("blend", ["hann", "average", "none"])
def test_an_array_is_answered_as_at_once(shape: tuple[int, ...], blend: Any) -> None:
    model, image = pointwise(4), torch.randn(shape)
    with torch.no_grad():
        expected = model(image)
    answer = codemae_geo.predict_array(model, image, window=32, blend=blend, batch_size=3)
    torch.testing.assert_close(answer, expected, atol=1e-5, rtol=1e-5)
    as_array = codemae_geo.predict_array(model, image.numpy(), window=32, blend=blend)
    assert isinstance(as_array, np.ndarray)
    np.testing.assert_allclose(as_array, expected, atol=1e-5)


def test_windows_of_an_array_fade_into_each_other() -> None:
    class Place(nn.Module):  # answers the distance from the window's left edge, whatever it sees
        def forward(self, x: Tensor) -> Tensor:
            return torch.arange(x.shape[-1]).float().expand(len(x), 1, *x.shape[-2:])

    answer = codemae_geo.predict_array(Place(), torch.zeros(1, 64, 256), window=64)
    jumps = answer[0, 0].diff().abs()
    assert jumps.max() < 10  # side by side they would jump by 63


def test_arrays_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="wrong shape"):
        codemae_geo.predict_array(pointwise(2), torch.zeros(3, 3))
    with pytest.raises(ModelError, match="another size"):
        codemae_geo.predict_array(nn.Conv2d(3, 1, 3), torch.zeros(3, 64, 64))
