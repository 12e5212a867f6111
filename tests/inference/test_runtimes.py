"""Runtimes: the same labels from each, for windows of every size; what cannot be run is refused in a sentence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.errors import InputError, ModelError
from codemae_geo.inference.finite import has_nan
from codemae_geo.inference.predictor import D4, apply_d4, best_class, undo_d4
from codemae_geo.inference.runtimes import Choice, Program, choose_runtime, graph, load_network
from codemae_geo.inference.runtimes.export import export
from codemae_geo.inference.runtimes.positions import position_weights
from codemae_geo.inference.runtimes.program import Windows
from codemae_geo.models import build
from codemae_geo.models.hivit import fit_positions, mix_positions
from codemae_geo.weights import (
    ArchitectureSpec,
    InputSpec,
    ModelContract,
    class_specs,
    open_package,
    read_contract,
    resolve,
    save_package,
)
from codemae_geo.weights.registry import DEFAULT_DAMAGE_MODEL

GRAPHS = ("openvino", "onnx")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CODEMAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def windows(contract: ModelContract, height: int, width: int, count: int = 1) -> tuple[list[Any], list[Any]]:
    random = np.random.default_rng(height * width)
    images = [random.integers(0, 255, (count, len(s.bands), height, width), dtype=np.uint8) for s in contract.inputs]
    valid = [np.ones((count, height, width), bool) for _ in images]
    valid[0][:, :9, :17] = False
    return images, valid


def scores(runtime: str, precision: str, height: int, width: int, count: int = 1) -> NDArray[np.float32]:
    pytest.importorskip({"onnx": "onnxruntime"}.get(runtime, runtime))
    package = open_package(resolve(DEFAULT_DAMAGE_MODEL))
    choice = choose_runtime(runtime, "cpu", precision, package=package)
    network = load_network(package, Program("scores"), choice)
    answer: NDArray[np.float32] = network(*windows(package.contract, height, width, count))
    return answer


@pytest.mark.parametrize("runtime", GRAPHS)
@pytest.mark.parametrize("size", [(256, 256), (96, 160)])
def test_the_bundled_export_answers_as_torch_does(runtime: str, size: tuple[int, int]) -> None:
    expected, found = scores("torch", "float32", *size, count=2), scores(runtime, "float32", *size, count=2)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.9999


def test_bfloat16_keeps_the_labels_where_the_processor_has_it() -> None:
    pytest.importorskip("openvino")
    if graph.native_precision()[0] != "bfloat16":
        pytest.skip("no native bfloat16")
    expected, found = scores("torch", "float32", 256, 256), scores("openvino", "bfloat16", 256, 256)
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.995


@pytest.mark.parametrize(("side", "rows", "columns"), [(14, 32, 32), (16, 16, 16), (16, 8, 20), (4, 4, 5), (7, 3, 40)])
def test_positions_are_weighted_as_torch_resamples_them(side: int, rows: int, columns: int) -> None:
    table = torch.randn(1, side * side, 6, generator=torch.Generator().manual_seed(0))
    expected = fit_positions(table, rows * columns, rows, columns)
    mixed = mix_positions(table, *(torch.from_numpy(w) for w in position_weights(side, rows, columns)))
    torch.testing.assert_close(mixed, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("turns", "mirror"), D4)
def test_symmetries_are_undone(turns: int, mirror: bool) -> None:
    x = np.random.default_rng(0).random((2, 5, 5))
    np.testing.assert_array_equal(undo_d4(apply_d4(x, turns, mirror), turns, mirror), x)


def test_of_equal_scores_the_first_class_counts() -> None:
    tied = np.random.default_rng(0).integers(0, 3, (5, 40, 40)).astype(np.float32)
    labels, best = best_class(tied)
    np.testing.assert_array_equal(labels, tied.argmax(0))
    np.testing.assert_array_equal(best, tied.max(0))


def test_nan_is_found_and_infinities_are_no_nan() -> None:
    x = torch.tensor([1.0, float("inf"), -float("inf")])
    assert not has_nan({"a": [x, torch.tensor([1])]}), "their sum is NaN, they are not"
    assert has_nan([torch.ones(3), torch.tensor([1.0, float("nan")])])


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_many_classes_are_calibrated_in_bands_to_the_same_bits(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = ModelContract(
        name="many",
        description="a test",
        task="segmentation",
        architecture=ArchitectureSpec(name="near-free", config={}),
        inputs=[
            InputSpec(
                name="image", family="optical", bands=["r", "g", "b"], unit="uint8", mean=[0.0] * 3, std=[1.0] * 3
            )
        ],
        classes=class_specs(DAMAGE_CLASSES),
        temperature=temperature,
        licence="none",
    )
    torch.manual_seed(0)
    windows = Windows(nn.Conv2d(3, 4, 1), contract, Program("scores")).eval()
    image, valid = torch.rand(1, 3, 96, 160) * 9, torch.ones(1, 96, 160, dtype=torch.bool)
    with torch.inference_mode():
        whole = windows(image, valid)
        monkeypatch.setattr("codemae_geo.inference.runtimes.program.LARGE", 0)
        torch.testing.assert_close(windows(image, valid), whole, rtol=0, atol=0)


def test_a_compiled_network_is_found_again_and_a_damaged_one_is_made_anew(cache: Path) -> None:
    pytest.importorskip("openvino")
    first = scores("openvino", "float32", 64, 64)
    blob = next((cache / "compiled").rglob("*.blob"))
    stored = blob.read_bytes()
    np.testing.assert_array_equal(scores("openvino", "float32", 64, 64), first)
    assert blob.read_bytes() == stored
    for path in (cache / "compiled").rglob("*.blob"):
        path.write_bytes(stored[: len(stored) // 2])
    np.testing.assert_array_equal(scores("openvino", "float32", 64, 64), first)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small segmenter of one radar band, exported beside its package."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    config = {
        "encoder": {"embed_dim": 32, "mlp_depth1": 1, "mlp_depth2": 1, "depth": 1, "num_heads": 2, "fpn_dim": 16},
        "num_classes": 4,
        "sensor": "sar",
    }
    contract = ModelContract(
        name="small",
        description="a test",
        task="segmentation",
        architecture=ArchitectureSpec(name="segmenter", config=config),
        inputs=[InputSpec(name="image", family="sar", bands=["vv"], unit="db", mean=[-12.0] * 3, std=[5.0] * 3)],
        classes=class_specs(DAMAGE_CLASSES),
        window=64,
        licence="Apache-2.0",
    )
    path = tmp_path_factory.mktemp("exported") / "small.safetensors"
    save_package(path, build("segmenter", config).state_dict(), contract)
    export(open_package(path), path.with_suffix(".onnx"))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("runtime", GRAPHS)
def test_an_export_carries_its_contract_and_answers_for_every_size(exported: Path, runtime: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(runtime, runtime))
    package, model = open_package(exported), open_package(exported.with_suffix(".onnx"))
    assert model.contract == package.contract == read_contract(exported.with_suffix(".onnx"))
    program = Program("scores")
    for height, width in ((64, 64), (96, 32), (224, 224)):
        image = np.random.default_rng(0).normal(-12, 5, (1, 1, height, width)).astype(np.float32)
        arrays = [image], [np.ones((1, height, width), bool)]
        expected = load_network(package, program, Choice("torch", "cpu", "float32", ""))(*arrays)
        found = load_network(model, program, Choice(runtime, "cpu", "float32", ""))(*arrays)
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_an_export_of_something_else_is_refused(exported: Path, tmp_path: Path) -> None:
    model = open_package(exported.with_suffix(".onnx"))
    with pytest.raises(ModelError, match="exported for something else"):
        graph.find_export(model, Program("features", "sar", 16))
    shutil.copy(resolve(DEFAULT_DAMAGE_MODEL), tmp_path / "other.safetensors")
    shutil.copy(model.path, tmp_path / "other.onnx")
    with pytest.raises(ModelError, match="not an export of this version"):
        graph.find_export(open_package(tmp_path / "other.safetensors"), Program("scores"))
    with pytest.raises(ModelError, match="torch does not run"):
        load_network(model, Program("scores"), Choice("torch", "cpu", "float32", ""))


def test_a_runtime_that_answers_otherwise_is_refused_once_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    package = open_package(resolve(DEFAULT_DAMAGE_MODEL))
    choice = choose_runtime("openvino", precision="float32", package=package)
    plain = graph.OpenVinoNetwork._run

    def broken(self: Any, feeds: Any) -> NDArray[np.float32]:
        return plain(self, feeds)[:, ::-1]

    monkeypatch.setattr(graph.OpenVinoNetwork, "_run", broken)
    for _ in range(2):
        with pytest.raises(ModelError, match="does not answer as"):
            load_network(package, Program("scores"), choice)


def test_the_check_is_made_at_first_use(cache: Path) -> None:
    scores("openvino", "float32", 64, 64)
    (mark,) = (cache / "checked").iterdir()
    assert float(mark.read_text()) <= 0.0001
    assert "openvino" in mark.name


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from codemae_geo.inference.runtimes import choose

    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="the runtime openvino is not installed") as caught:
        choose_runtime("openvino")
    assert "pip install openvino" in (caught.value.hint or "")
    with pytest.raises(ModelError, match="nothing is installed"):
        choose_runtime(package=open_package(resolve(DEFAULT_DAMAGE_MODEL)))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"runtime": "tflite"}, "unknown runtime"),
        ({"runtime": "onnx", "precision": "bfloat16"}, "float32"),
        ({"runtime": "openvino", "device": "cuda"}, "works on the CPU"),
    ],
)
def test_wrong_choices_are_named(asked: dict[str, str], message: str) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match=message):
        choose_runtime(**asked)


def test_files_that_are_not_exports_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x0a\x3a\xff\xff\x7fcut")
    with pytest.raises(ModelError, match="cannot be read"):
        read_contract(path)
    path.write_bytes(b"\x08\x0a")
    with pytest.raises(ModelError, match="not a model package"):
        read_contract(path)
