"""Checkpoints of the published layouts (random weights) as packages: every key is accounted for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from codemae_geo.errors import ModelError
from codemae_geo.weights import load_package
from codemae_geo.weights.convert import PRESETS, convert_checkpoint, read_checkpoint

#: preset -> (key list in the reference, classes given)
PUBLISHED = {
    "damageformer-base": ("keys_damageformer_base", None),
    "upernet-loveda-base": ("keys_segmentation_upernet_base_loveda", None),
    "classifier-resisc45-base": ("keys_classification_base_rgb", [f"class {i}" for i in range(45)]),
    "encoder-base": ("keys_pretrain_base", None),
    "itpn-base": ("itpn_imagenet_base_mapping", None),
    "faster-rcnn-dior-base": ("keys_detection_fasterrcnn_base_dior", None),
    "faster-rcnn-sardet100k-base": ("keys_detection_fasterrcnn_base_sardet100k", None),
    "cross-scale-base": ("keys_cross_scale_mae_base", None),
}


@pytest.fixture
def published(shared: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Writes a checkpoint of a listed layout with random weights, as the programs wrap it."""

    def make(listing: str, change: Callable[[dict[str, Tensor]], None] | None = None) -> Path:
        listed = json.loads((shared / "reference" / f"{listing}.json").read_text())
        if "mapping" in listed:
            shapes: dict[str, list[int]] = {k: v["shape"] for k, v in listed["mapping"].items()}
        else:
            shapes = {k: shape for k, (shape, _) in listed["state_dict"].items()}
        torch.manual_seed(0)
        state = {k: 0.02 * torch.randn(shape) for k, shape in shapes.items() if not k.endswith("num_batches_tracked")}
        state |= {k: v.abs() + 0.5 for k, v in state.items() if k.endswith("running_var")}
        if change is not None:
            change(state)
        path = tmp_path / f"{listing}.pth"
        torch.save({"model" if "classification" in listing else "state_dict": state, "epoch": 3}, path)
        return path

    return make


@pytest.mark.parametrize("preset", PUBLISHED)
def test_every_key_of_a_published_layout_is_accounted_for(
    published: Callable[[str], Path], shared: Path, tmp_path: Path, preset: str
) -> None:
    listing, classes = PUBLISHED[preset]
    checkpoint = published(listing)
    source = read_checkpoint(checkpoint)
    done = convert_checkpoint(checkpoint, tmp_path / "p.safetensors", preset, classes=classes)
    assert done.used.keys() | done.left_out.keys() == source.keys()
    assert not done.used.keys() & done.left_out.keys()
    package = load_package(tmp_path / "p.safetensors")
    loaded = package.module.state_dict()
    for key, places in done.used.items():
        assert all(torch.equal(loaded[place], source[key]) for place in places)
    assert {p for places in done.used.values() for p in places} | set(done.made) == loaded.keys()
    if preset in ("damageformer-base", "upernet-loveda-base", "classifier-resisc45-base"):
        assert not done.left_out
    if preset == "itpn-base":
        mapping = json.loads((shared / "reference" / "itpn_imagenet_base_mapping.json").read_text())
        assert set(done.left_out) == {*mapping["source_keys_ignored"], *mapping["source_keys_skipped_by_prefix"]}
        assert done.used == {k: v["assigned"] for k, v in mapping["mapping"].items() if v["assigned"]}


def test_a_converted_model_answers_the_same_twice(published: Callable[[str], Path], tmp_path: Path) -> None:
    convert_checkpoint(
        published("keys_segmentation_upernet_base_loveda"), tmp_path / "p.safetensors", "upernet-loveda-base"
    )
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        first, second = (load_package(tmp_path / "p.safetensors").module(image) for _ in range(2))
    assert torch.equal(first, second) and first.shape == (1, 7, 64, 64)


def test_the_head_of_the_sar_classifiers(published: Callable[..., Path], tmp_path: Path) -> None:
    def sar_head(state: dict[str, Tensor]) -> None:
        weight, bias = state.pop("head.weight"), state.pop("head.bias")
        state |= {"head.1.weight": weight[:10], "head.1.bias": bias[:10]}
        state |= {"head.0.running_mean": torch.zeros(512), "head.0.running_var": torch.ones(512)}

    checkpoint = published("keys_classification_base_sar", sar_head)
    names = ["A220", "A330", "ARJ21", "Boeing737", "Boeing787"]
    done = convert_checkpoint(checkpoint, tmp_path / "p.safetensors", "classifier-sar-base", classes=names)
    assert [c.name for c in done.contract.classes] == [*names, *(f"unused {i}" for i in range(5, 10))]
    assert done.made == ["head.0.num_batches_tracked"]
    assert load_package(tmp_path / "p.safetensors").module.eval()(torch.randn(1, 3, 32, 32)).shape == (1, 10)


def test_class_names_are_asked_for(published: Callable[..., Path], tmp_path: Path) -> None:
    checkpoint = published("keys_classification_base_sar")
    with pytest.raises(ModelError, match="names of its classes"):
        convert_checkpoint(checkpoint, tmp_path / "p.safetensors", "classifier-sar-base")
    with pytest.raises(ModelError, match=r"has no decode_head\.conv_seg\.weight"):
        convert_checkpoint(checkpoint, tmp_path / "p.safetensors", "upernet-loveda-base")


@pytest.mark.parametrize("preset", ["encoder-base", "itpn-base"])
def test_a_key_nobody_knows_is_an_error(published: Callable[..., Path], tmp_path: Path, preset: str) -> None:
    def extra(state: dict[str, Tensor]) -> None:
        state["blocks.40.norm1.weight"] = torch.zeros(3)

    with pytest.raises(ModelError, match=r"unknown blocks\.40\.norm1\.weight"):
        convert_checkpoint(published(PUBLISHED[preset][0], extra), tmp_path / "p.safetensors", preset)


def test_presets_are_named_after_themselves() -> None:
    assert len(PRESETS) == 27
    assert all(preset.contract["name"] == name for name, preset in PRESETS.items())


def test_the_log_in_an_mmengine_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self) -> None:
            self.log = np.arange(3.0)
            self.last = np.float64(2.0)

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    content: dict[str, Any] = {"meta": {"iter": 1}, "message_hub": {"log_scalars": {"loss": HistoryBuffer()}}}
    torch.save(content | {"state_dict": {"w": torch.ones(2)}}, tmp_path / "iter.pth")
    monkeypatch.delitem(sys.modules, module.__name__)
    assert read_checkpoint(tmp_path / "iter.pth").keys() == {"w"}


# ---------------------------------------------------------------- DeCUR, Cross-Scale MAE


def decur_state(shared: Path, name: str, stream: int | None) -> dict[str, Tensor]:
    """A checkpoint of the published names, zeros without memory; its projectors are left out where too large."""
    listed = json.loads((shared / "reference" / f"keys_decur_{name}_joint.json").read_text())["state_dict"]
    state = {}
    for key, (shape, kind) in listed.items():
        plain = key.removeprefix("module.")
        if stream is None:
            small = [min(s, 8) for s in shape] if plain.startswith("projector") else shape
            state[key] = torch.zeros(small, dtype=getattr(torch, kind))
        elif plain.startswith(f"backbone_{stream}."):
            prefix = "backbone." if "rda" in name else ""
            state[prefix + plain.removeprefix(f"backbone_{stream}.")] = torch.zeros(shape, dtype=getattr(torch, kind))
        elif plain.startswith(f"da{stream}_"):
            state[plain] = torch.zeros(shape)
    return state


@pytest.mark.parametrize(("preset", "listing"), [("rn50", "rn50"), ("rn50-rda", "rn50_rda"), ("vits16", "vits16")])
@pytest.mark.parametrize(("suffix", "stream"), [("", None), ("-sar", 1), ("-optical", 2)])
def test_decur(shared: Path, tmp_path: Path, preset: str, listing: str, suffix: str, stream: int | None) -> None:
    state = decur_state(shared, f"{listing}_ssl4eo", stream)
    torch.save({"model": state} if stream is None else state, tmp_path / "c.pth")
    done = convert_checkpoint(tmp_path / "c.pth", tmp_path / "p.safetensors", f"decur-{preset}-ssl4eo{suffix}")
    assert len(done.used) + len(done.left_out) == len(state)
    assert set(done.left_out.values()) == ({"projector", "norm before the loss"} if stream is None else set())
    package = load_package(tmp_path / "p.safetensors")
    assert {p for places in done.used.values() for p in places} == package.module.state_dict().keys()
    families = ["sar", "optical"] if stream is None else [("sar", "optical")[stream - 1]]
    assert [spec.family for spec in package.contract.inputs] == families
    missing = dict(list(state.items())[1:])
    torch.save(missing, tmp_path / "d.pth")
    with pytest.raises(ModelError):
        convert_checkpoint(tmp_path / "d.pth", tmp_path / "q.safetensors", f"decur-{preset}-ssl4eo{suffix}")


def test_the_order_of_norms_is_seen(shared: Path, tmp_path: Path) -> None:
    listed = json.loads((shared / "reference" / "keys_cross_scale_mae_base.json").read_text())["state_dict"]
    pre = {k: torch.zeros(shape) for k, (shape, _) in listed.items()}
    post: dict[str, Tensor] = {}
    names = {
        "norm1": "wrap_att.norm",
        "attn.proj": "wrap_att.sublayer.layer.proj",
        "norm2": "wrap_ff.norm",
        "mlp.fc1": "wrap_ff.sublayer.layer.mlp.0",
        "mlp.fc2": "wrap_ff.sublayer.layer.mlp.3",
    }
    for key, value in pre.items():
        part, _, rest = key.partition(".")
        number, _, rest = rest.partition(".")
        name, _, kind = rest.rpartition(".")
        if part not in ("encoder", "decoder"):
            post[key] = value
        elif name == "attn.qkv":
            for which, third in zip("qkv", value.chunk(3), strict=True):
                place = f"wrap_att.sublayer.layer.in_proj_container.{which}_proj.{kind}"
                post[f"{part}.encoders.{number}.{place}"] = third.clone()
        else:
            post[f"{part}.encoders.{number}.{names[name]}.{kind}"] = value
    for name, state, other in (("pre", pre, "cross-scale-base-xformers"), ("post", post, "cross-scale-base")):
        torch.save({"model": state}, tmp_path / f"{name}.pth")
        with pytest.raises(ModelError, match="other order of norms"):
            convert_checkpoint(tmp_path / f"{name}.pth", tmp_path / "no.safetensors", other)
    convert_checkpoint(tmp_path / "post.pth", tmp_path / "post.safetensors", "cross-scale-base-xformers")
    module: Any = load_package(tmp_path / "post.safetensors").module
    assert module.norm_order == "post"
