"""`codemae models`, `codemae doctor`, `codemae info`, and what packages refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.scenes import Pair, Result, make_model

from codemae_geo import load_model, models
from codemae_geo.errors import ModelError
from codemae_geo.weights import read_contract, save_package
from codemae_geo.weights.card import stac_item
from codemae_geo.weights.convert import PRESETS, convert_checkpoint, read_checkpoint
from codemae_geo.weights.package import HEADER_KEY
from codemae_geo.weights.registry import DEFAULT_DAMAGE_MODEL


def test_the_bundled_model_is_listed_and_whole(codemae: Callable[..., Result]) -> None:
    listed = codemae("models", "list", "--json")
    assert DEFAULT_DAMAGE_MODEL in [m["name"] for m in listed.json["models"] if m["origin"] == "bundled"]
    verified = codemae("models", "verify", DEFAULT_DAMAGE_MODEL, "--json")
    assert verified.code == 0, verified.err
    path = load_model(DEFAULT_DAMAGE_MODEL).path
    assert path.stat().st_size <= 25_000_000
    contract = read_contract(path)
    assert contract.metrics and contract.limits and contract.training_data


def test_card_and_stac_item(tmp_path: Path, codemae: Callable[..., Result]) -> None:
    result = codemae("models", "card", DEFAULT_DAMAGE_MODEL, "--stac", tmp_path / "item.json")
    assert result.code == 0, result.err
    for heading in ("## Inputs", "## Classes", "## Measured", "## Limits", "## Training"):
        assert heading in result.out
    item = json.loads((tmp_path / "item.json").read_text())
    assert item["properties"]["mlm:tasks"] == ["semantic-segmentation"]
    assert [i["name"] for i in item["properties"]["mlm:input"]] == ["pre", "post"]
    assert item["assets"]["model"]["file:checksum"].startswith("1220")


def test_mlm_scaling_is_that_of_the_contract(model: Path) -> None:
    spec = read_contract(model).inputs[0]
    scaling = stac_item(model)["properties"]["mlm:input"][0]["value_scaling"][0]
    stored = 100.0
    ours = (stored * spec.scale - spec.mean[0]) / spec.std[0]
    assert (stored - scaling["mean"]) / scaling["stddev"] == pytest.approx(ours)


def test_the_users_folder_adds_models(
    tmp_path: Path, model: Path, codemae: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_model.safetensors").write_bytes(model.read_bytes())
    listed = codemae("models", "list", env={"CODEMAE_MODELS": str(tmp_path)})
    assert "my-model" in listed.out and "user" in listed.out
    monkeypatch.setenv("CODEMAE_MODELS", str(tmp_path))
    assert load_model("my-model").contract.name == "random"


def test_verify_finds_changed_weights(tmp_path: Path, model: Path, codemae: Callable[..., Result]) -> None:
    tensors = load_file(model)
    name = next(n for n, t in tensors.items() if t.ndim > 1)
    tensors[name][0] += 1
    with safe_open(model, "pt") as file:
        save_file(tensors, tmp_path / "changed.safetensors", metadata=file.metadata())
    result = codemae("models", "verify", tmp_path / "changed.safetensors")
    assert result.code == 1 and "tensors" in result.err


def test_a_broken_contract_names_the_field(tmp_path: Path, model: Path) -> None:
    with safe_open(model, "pt") as file:
        contract = json.loads(file.metadata()[HEADER_KEY])
    contract["inputs"][1]["std"] = [0.2, 0.2, -1]
    path = tmp_path / "broken.safetensors"
    save_file(load_file(model), path, metadata={HEADER_KEY: json.dumps(contract)})
    with pytest.raises(ModelError, match=r"inputs.1.*std must be above 0"):
        load_model(path)


def test_weights_of_another_architecture_are_named(tmp_path: Path, model: Path) -> None:
    tensors = load_file(model)
    gone = next(iter(tensors))
    del tensors[gone]
    save_package(tmp_path / "less.safetensors", tensors, read_contract(model))
    with pytest.raises(ModelError, match=f"missing {gone}"):
        load_model(tmp_path / "less.safetensors")


def test_half_precision_storage_loads_as_float32(tmp_path: Path, model: Path) -> None:
    half = {k: v.half() if v.is_floating_point() else v for k, v in load_file(model).items()}
    save_package(tmp_path / "half.safetensors", half, read_contract(model))
    loaded = load_model(tmp_path / "half.safetensors")
    assert all(p.dtype == torch.float32 for p in loaded.module.parameters())


def test_hub_addresses_need_a_revision() -> None:
    with pytest.raises(ModelError, match="hub address"):
        load_model("hf:owner/repo")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the published base model's keys and shapes, wrapped as training scripts do."""
    torch.manual_seed(0)
    contract = PRESETS["damageformer-base"].contract
    module = models.build(contract["architecture"].name, contract["architecture"].config)
    path = tmp_path_factory.mktemp("published") / "damage_base.pth"
    state = {f"module.{k}": v for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save({"state_dict": state, "iteration": 3}, path)
    return path


def test_convert_a_published_checkpoint(tmp_path: Path, published: Path, codemae: Callable[..., Result]) -> None:
    out = tmp_path / "damage-sar.safetensors"
    keys = tmp_path / "keys.json"
    result = codemae(
        *("models", "convert", published, "-o", out, "--preset", "damageformer-base", "--licence", "MIT"),
        *("--report", keys),
    )
    assert result.code == 0, result.err
    report = json.loads(keys.read_text())
    assert len(report["used"]) == 425 - len(report["made"]) and not report["left_out"]
    contract = read_contract(out)
    assert (contract.inputs[1].family, contract.localisation, contract.licence) == ("sar", "gate", "MIT")
    weights = torch.load(published, weights_only=True)["state_dict"]
    loaded = load_model(out).module.state_dict()
    assert all(torch.equal(loaded[k.removeprefix("module.")], v) for k, v in weights.items())
    again = codemae("models", "convert", published, "-o", out, "--preset", "damageformer-base")
    assert again.code == 1 and "--overwrite" in again.err


def test_convert_names_the_first_keys_that_differ(tmp_path: Path, published: Path) -> None:
    state = torch.load(published, weights_only=True)["state_dict"]
    state["module.extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="unknown extra"):
        convert_checkpoint(tmp_path / "other.pth", tmp_path / "o.safetensors", "damageformer-base")
    assert not (tmp_path / "o.safetensors").exists()


class Payload:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


def test_nothing_but_tensors_is_unpickled(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.zeros(1)}, "evil": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match="more than tensors"):
        read_checkpoint(tmp_path / "evil.pth")
    (tmp_path / "noise.pth").write_bytes(b"noise")
    with pytest.raises(ModelError):
        read_checkpoint(tmp_path / "noise.pth")


def test_unknown_preset(tmp_path: Path, published: Path, codemae: Callable[..., Result]) -> None:
    result = codemae("models", "convert", published, "-o", tmp_path / "o.safetensors", "--preset", "nope")
    assert result.code == 1 and "damageformer-base" in result.err


def test_save_package_does_not_overwrite(tmp_path: Path) -> None:
    from codemae_geo.errors import OutputError

    path = make_model(tmp_path / "m.safetensors")
    with pytest.raises(OutputError, match="exists"):
        make_model(path)


def test_doctor_is_well_here(codemae: Callable[..., Result]) -> None:
    result = codemae("doctor", "--json")
    assert result.code == 0, result.out
    assert result.json["protocol"] == 1 and "cpu" in result.json["devices"]
    broken = codemae("doctor", env={"PROJ_DATA": "/nowhere", "PROJ_LIB": "/nowhere"})
    assert "PROJ_DATA" in broken.out


def test_info(pair: Pair, tmp_path: Path, codemae: Callable[..., Result]) -> None:
    result = codemae("info", pair.pre, pair.post, "--json")
    assert result.code == 0, result.err
    assert len(result.json["rasters"]) == 2
    text = codemae("info", pair.pre)
    assert "EPSG:32615" in text.out and "120 x 100" in text.out
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    photo = codemae("info", tmp_path / "photo.png")
    assert photo.code == 0 and "is not georeferenced" in photo.out and not photo.err
    missing = codemae("info", tmp_path / "gone.tif")
    assert missing.code == 1 and "gone.tif" in missing.err
