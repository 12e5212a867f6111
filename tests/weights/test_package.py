"""Packages that are not what they say: refused before memory is taken for them."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.scenes import make_model

from codemae_geo.errors import ModelError
from codemae_geo.weights import load_package, read_contract
from codemae_geo.weights.package import HEADER_KEY, tensors_sha256


def rewritten(path: Path, *, tensors: Any = None, contract: Any = None, own_hash: bool = True) -> Path:
    """The package again, with functions that change its tensors and its contract in place."""
    state = load_file(path)
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    text = json.loads(header["__metadata__"][HEADER_KEY])
    if tensors is not None:
        tensors(state)
    if own_hash:
        text["tensors_sha256"] = tensors_sha256(state)
    if contract is not None:
        contract(text)
    save_file(state, path, metadata={HEADER_KEY: json.dumps(text), "format": "pt"})
    return path


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return make_model(tmp_path / "a.safetensors", task="segmentation")


def test_a_package_of_its_own_tensors_loads(package: Path) -> None:
    assert load_package(rewritten(package)).contract == read_contract(package)


def test_tensors_of_another_package(package: Path) -> None:
    def other(state: dict[str, torch.Tensor]) -> None:
        key = next(iter(state))
        state[key] = state[key] + 1

    with pytest.raises(ModelError, match="not those that its contract was made for"):
        load_package(rewritten(package, tensors=other, own_hash=False))


def test_a_contract_without_a_hash(package: Path) -> None:
    with pytest.raises(ModelError, match="not those that its contract was made for"):
        load_package(rewritten(package, contract=lambda text: text.pop("tensors_sha256")))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(package: Path, value: float) -> None:
    def spoil(state: dict[str, torch.Tensor]) -> None:
        state[sorted(state)[3]].view(-1)[0] = value

    with pytest.raises(ModelError, match="NaN or infinity") as error:
        load_package(rewritten(package, tensors=spoil))
    assert sorted(load_file(package))[3] in str(error.value)


@pytest.mark.parametrize("key", ["mean", "std", "scale", "gsd"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_figures_that_are_no_numbers(package: Path, key: str, value: float) -> None:
    def spoil(text: dict[str, Any]) -> None:
        text["inputs"][0][key] = value if key == "scale" else [value] * (2 if key == "gsd" else 3)

    with pytest.raises(ModelError, match="contract") as error:
        load_package(rewritten(package, contract=spoil))
    assert key in str(error.value)


@pytest.mark.parametrize("key", ["temperature", "overlap"])
def test_options_that_are_no_numbers(package: Path, key: str) -> None:
    with pytest.raises(ModelError, match=r"contract.*not valid"):
        load_package(rewritten(package, contract=lambda text: text.update({key: float("nan")})))


@pytest.mark.parametrize(
    "config",
    [
        {"embed_dim": 65536},
        {"embed_dim": 10**9},
        {"depth": 90_000},
        {"depth": 10**12},
        {"mlp_depth1": 50_000},
        {"fpn_dim": 60_000},
        {"img_size": 10**8},
    ],
)
def test_a_contract_for_a_network_that_the_file_does_not_hold(package: Path, config: dict[str, int]) -> None:
    def larger(text: dict[str, Any]) -> None:
        text["architecture"]["config"]["encoder"] |= config

    rewritten(package, contract=larger)
    tracemalloc.start()
    with pytest.raises(ModelError):
        load_package(package)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 2**20


def test_classes_that_the_file_does_not_hold(package: Path) -> None:
    def more(text: dict[str, Any]) -> None:
        text["architecture"]["config"]["num_classes"] = 90_000

    with pytest.raises(ModelError, match="do not fit"):
        load_package(rewritten(package, contract=more))
