"""Parity with the published models: numbers, key names and shapes of ``shared/reference``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from codemae_geo.models import DamageFormer, HiViT, build
from codemae_geo.models.hivit import AttentionBlock, checkpoint_filter_fn, fit_positions

TINY: dict[str, Any] = {"embed_dim": 64, "mlp_depth1": 1, "mlp_depth2": 1, "depth": 4, "num_heads": 4}


@pytest.fixture(scope="session")
def reference(shared: Path) -> Path:
    return shared / "reference"


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Within 1e-4 of the expected tensor's largest magnitude."""
    assert found.shape == expected.shape
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < 1e-4, f"relative error {error:.2e}"


def keys_and_shapes(reference: Path, name: str) -> dict[str, tuple[int, ...]]:
    listed = json.loads((reference / f"keys_{name}.json").read_text())["state_dict"]
    return {key: tuple(shape) for key, (shape, _) in listed.items()}


def own(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


# ---------------------------------------------------------------- key lists (models on the meta device: no memory)


def test_damageformer_base_keys(reference: Path) -> None:
    with torch.device("meta"):
        model = DamageFormer("base")
    assert own(model) == keys_and_shapes(reference, "damageformer_base")
    assert sum(p.numel() for p in model.parameters()) == 89_886_982


@pytest.mark.parametrize("modality", ["RGB", "SAR"])
def test_classification_base_keys(reference: Path, modality: str) -> None:
    with torch.device("meta"):
        model = build("classifier", {"variant": "base", "modality": modality, "num_classes": 45})
    assert own(model) == keys_and_shapes(reference, f"classification_base_{modality.lower()}")
    assert sum(p.numel() for p in model.parameters()) == 77_928_109


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_dense_backbone_base_keys(reference: Path, levels: int) -> None:
    with torch.device("meta"):
        model = build("backbone", {"variant": "base", "modality": "RGB", "num_outs": levels, "layernorm_eps": 1e-5})
    assert own(model) == keys_and_shapes(reference, "dualembed_backbone_base_rgb")
    assert sum(p.numel() for p in model.parameters()) == 81_552_000


@pytest.mark.parametrize(("size", "count"), [("base", 81_558_528), ("large", 291_408_256)])
def test_encoder_part_of_the_pretraining_model(reference: Path, size: str, count: int) -> None:
    listed = json.loads((reference / f"keys_pretrain_{size}.json").read_text())
    prefixes = tuple(listed["encoder_prefixes"])
    expected = {k: v for k, v in keys_and_shapes(reference, f"pretrain_{size}").items() if k.startswith(prefixes)}
    with torch.device("meta"):
        model = build("backbone", {"variant": size})
        published = {k: torch.empty(v) for k, v in keys_and_shapes(reference, f"pretrain_{size}").items()}
    assert own(model) == expected
    assert sum(p.numel() for p in model.parameters()) == count
    # the whole pretraining checkpoint goes in, and nothing of the backbone is left unfilled
    model.load_state_dict(checkpoint_filter_fn(published, model), strict=True, assign=True)


def test_imagenet_checkpoint_fills_both_tokenizers(reference: Path) -> None:
    mapping = json.loads((reference / "itpn_imagenet_base_mapping.json").read_text())
    with torch.device("meta"):
        model = build("backbone", {"variant": "base"})
        shapes = own(model)
        stem = {k.replace("_rgb", ""): torch.empty(v) for k, v in shapes.items() if k.startswith("patch_embed_rgb")}
        rest = {k: torch.empty(v) for k, v in shapes.items() if not k.startswith("patch_embed")}
        extra = {"block_16to8.1.norm2.weight": torch.empty(256), "decoder_pred.weight": torch.empty(1)}
        filtered = checkpoint_filter_fn({"model": stem | rest | extra}, model)
    assert mapping  # the list of the original's keys is there
    assert filtered.keys() == shapes.keys()


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("modality", ["rgb", "sar"])
def test_classification_numbers(reference: Path, modality: str) -> None:
    data = load_file(reference / f"classification_tiny_{modality}.safetensors")
    weights = {k.removeprefix("weights."): v for k, v in data.items() if k.startswith("weights.")}
    model = build("classifier", TINY | {"img_size": 64, "num_classes": 10, "modality": modality.upper()}).eval()
    assert isinstance(model, HiViT)
    model.load_state_dict(weights, strict=True)
    for fused in (True, False):
        model.set_fused_attention(fused)
        with torch.no_grad():
            assert_close(model.forward_stages(data["input"]).tokens, data["tokens"])
            assert_close(model(data["input"]), data["logits"])
            assert_close(model(data["input_96"]), data["logits_96"])


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_dense_backbone_numbers(reference: Path, pool: str) -> None:
    data = load_file(reference / "dualembed_backbone_tiny.safetensors")
    weights = {k.removeprefix("weights."): v for k, v in data.items() if k.startswith("weights.")}
    config = TINY | {"mlp_depth2": 2, "fpn_dim": 32, "modality": "RGB", "layernorm_eps": 1e-5}
    model = build("backbone", config | {"num_outs": 5, "extra_levels": pool}).eval()
    assert isinstance(model, HiViT)
    model.load_state_dict(weights, strict=True)
    with torch.no_grad():
        maps = model(data["input_96x128"])
        assert_close(
            fit_positions(model.absolute_pos_embed, 48, 6, 8).reshape(data["pos_embed_6x8"].shape),
            data["pos_embed_6x8"],
        )
        square = model(data["input_224"])
    for level in range(3):
        assert_close(maps[level], data[f"out_96x128.level{level}"])
        assert_close(square[level], data[f"out_224.level{level}"])
    for level in (3, 4):
        assert_close(maps[level], data[f"out_96x128.level{level}.{pool}"])


def test_masked_pass_numbers(reference: Path) -> None:
    """Patches selected after the tokenizer, resampled positions, pyramid and tapped block in pretraining."""
    weights = load_file(reference / "pretrain_tiny_weights.safetensors")
    io = load_file(reference / "pretrain_tiny_io.safetensors")
    model = build("backbone", TINY | {"depth": 8, "img_size": 64, "fpn_dim": 32}).eval()
    assert isinstance(model, HiViT)
    model.load_state_dict(checkpoint_filter_fn(weights, model), strict=True)
    with torch.no_grad():
        masked = model.forward_stages([io["rgb"], io["sar"]], ["RGB", "SAR"], ids_keep=io["ids_keep"], tap=6)
        full = model.forward_stages([io["rgb"], io["sar"]], ["RGB", "SAR"])
        assert_close(full.tokens, io["full_last_block"])
        for name, level in zip(("level4", "level8", "level16"), model.forward_levels(masked), strict=True):
            assert_close(level, io[name])
        assert_close(fit_positions(model.absolute_pos_embed, 16, *full.grid), io["pos_embed_full"])
        assert_close(fit_positions(model.absolute_pos_embed, 4, *full.grid), io["pos_embed_resampled_masked"])
        assert masked.tapped is not None
        auxiliary = masked.tapped
        for i in range(2):
            block = AttentionBlock(64, num_heads=4, ratio=4.0, eps=1e-6)
            prefix = f"cls_pt_layers.{i}."
            block.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
            auxiliary = block(auxiliary)
        assert_close(auxiliary, io["aux"])


@pytest.fixture(scope="module")
def damageformer(shared: Path) -> tuple[DamageFormer, dict[str, Tensor]]:
    reference = shared / "reference"
    scales = json.loads((reference / "damageformer_tiny.json").read_text())["scales"]
    weights: dict[str, Tensor] = {}
    for part in ("encoder", "head_a", "head_b"):
        weights |= load_file(reference / f"damageformer_tiny_weights_{part}.safetensors")
    weights = {k: v.float() * scales[k] if v.dtype == torch.int8 else v for k, v in weights.items()}
    model = DamageFormer(TINY | {"fpn_dim": 256}).eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)  # the counters are not stored
    return model, load_file(reference / "damageformer_tiny_io.safetensors")


def test_damageformer_numbers(damageformer: tuple[DamageFormer, dict[str, Tensor]]) -> None:
    model, io = damageformer
    fused: dict[str, Tensor] = {}
    hooks = [
        getattr(model, layer).register_forward_hook(lambda _m, _i, out, name=name: fused.__setitem__(name, out))
        for layer, name in (("fusion_layer_1", "fused_loc_sub"), ("fusion_layer_3", "fused_dam_sub"))
    ]
    with torch.no_grad():
        localisation, damage = model(io["pre"], io["post"])
        maps = model.encoder.forward_pyramid([io["pre"], io["post"]], ("RGB", "SAR"))
    for hook in hooks:
        hook.remove()
    assert_close(localisation, io["loc_logits"])
    assert_close(damage, io["damage_logits"])
    assert_close(maps[3], io["enc_stride32"])
    assert_close(maps[2], io["enc_stride16"])
    assert_close(maps[1][[0, 2]], io["enc_stride8"])
    assert_close(maps[0][[0, 2]][:, ::4], io["enc_stride4_sub"])
    for name, value in fused.items():
        assert_close(value[:, ::8], io[name])


def test_damageformer_speed_options_keep_the_answer(damageformer: tuple[DamageFormer, dict[str, Tensor]]) -> None:
    model, io = damageformer
    model.encoder.set_grad_checkpointing(True)
    model.encoder.set_fused_attention(False)
    _, damage = model(io["pre"], io["post"])  # with gradients, so that checkpointing is on
    assert_close(damage.detach(), io["damage_logits"])
    damage.sum().backward()
    with_checkpoints = model.encoder.blocks[0].mlp.fc1.weight.grad.clone()
    model.zero_grad()
    model.encoder.set_grad_checkpointing(False)
    model.encoder.set_fused_attention(True)
    model(io["pre"], io["post"])[1].sum().backward()
    assert_close(with_checkpoints, model.encoder.blocks[0].mlp.fc1.weight.grad)
    model.zero_grad()
