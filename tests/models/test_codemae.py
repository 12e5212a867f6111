"""Parity of the pretraining model, its teacher and its initialisation with ``shared/reference``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from codemae_geo.errors import ModelError
from codemae_geo.losses import normalise_patches, patchify
from codemae_geo.losses.targets import grey
from codemae_geo.models import build
from codemae_geo.models.codemae import CoDeMAE, imagenet_state, random_masking
from codemae_geo.models.teacher import Teacher, dinov3, from_transformers, load_teacher, small_teacher

ENCODER = {"img_size": 64, "embed_dim": 64, "mlp_depth1": 1, "mlp_depth2": 1, "depth": 8, "num_heads": 4, "fpn_dim": 32}
TINY: dict[str, Any] = {"encoder": ENCODER, "decoder_dim": 64, "decoder_depth": 2, "decoder_heads": 4}


@pytest.fixture(scope="module")
def reference(shared: Path) -> Path:
    return shared / "reference"


@pytest.fixture(scope="module")
def io(reference: Path) -> dict[str, Tensor]:
    return load_file(reference / "pretrain_tiny_io.safetensors")


@pytest.fixture(scope="module")
def model(reference: Path) -> CoDeMAE:
    model = build("codemae", TINY)
    assert isinstance(model, CoDeMAE)
    model.load_state_dict(load_file(reference / "pretrain_tiny_weights.safetensors"), strict=True)
    return model


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Within 1e-4 of the expected tensor's largest magnitude."""
    assert found.shape == expected.shape
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < 1e-4, f"relative error {error:.2e}"


def step(model: CoDeMAE, io: dict[str, Tensor], **kwargs: Any) -> Any:
    return model(io["rgb"], io["sar"], teacher=io["teacher"], noise=io["noise"], **kwargs)


# ---------------------------------------------------------------- key lists


@pytest.mark.parametrize(
    ("name", "config", "count"),
    [
        ("base", {"encoder": "base"}, 142_262_432),
        ("large", {"encoder": "large"}, 426_502_000),
        ("base_unshared_decoder", {"encoder": "base", "shared_decoder": False}, 193_751_680),
    ],
)
def test_keys(reference: Path, name: str, config: dict[str, Any], count: int) -> None:
    listed = json.loads((reference / f"keys_pretrain_{name}.json").read_text())["state_dict"]
    with torch.device("meta"):
        model = build("codemae", config)
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == {k: tuple(s) for k, (s, _) in listed.items()}
    assert sum(p.numel() for p in model.parameters()) == count
    if name == "base":
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 142_162_080


@pytest.mark.parametrize("size", ["base", "large"])
def test_imagenet_initialisation_follows_the_mapping(reference: Path, size: str) -> None:
    mapping = json.loads((reference / f"itpn_imagenet_{size}_mapping.json").read_text())
    with torch.device("meta"):
        model = build("codemae", {"encoder": size})
        source = {name: torch.empty(entry["shape"]) for name, entry in mapping["mapping"].items()}
    filled = imagenet_state(source, model)
    assert sorted(filled) == sorted(t for entry in mapping["mapping"].values() for t in entry["assigned"])
    assert sorted(set(model.state_dict()) - set(filled)) == sorted(mapping["target_keys_left_at_random_init"])
    assert len(mapping["target_keys_left_at_random_init"]) == 267
    model.load_state_dict(filled, strict=False, assign=True)  # shapes agree


def test_imagenet_weights_of_another_size_are_refused(reference: Path) -> None:
    mapping = json.loads((reference / "itpn_imagenet_large_mapping.json").read_text())
    with torch.device("meta"):
        model = build("codemae", {"encoder": "base"})
        source = {name: torch.empty(entry["shape"]) for name, entry in mapping["mapping"].items()}
    with pytest.raises(ModelError, match="do not fit at absolute_pos_embed"):
        imagenet_state(source, model)


# ---------------------------------------------------------------- numbers


def test_masking(io: dict[str, Tensor]) -> None:
    masking = random_masking(io["noise"])
    assert torch.equal(masking.keep.repeat(2, 1), io["ids_keep"])
    assert torch.equal(masking.restore.repeat(2, 1), io["ids_restore"])
    assert torch.equal(torch.zeros(4, 16).scatter(1, masking.removed, 1.0).repeat(2, 1), io["mask"])


@torch.no_grad()
def test_activations(model: CoDeMAE, io: dict[str, Tensor]) -> None:
    masking = random_masking(io["noise"])
    features = model.forward_stages([io["rgb"], io["sar"]], ["RGB", "SAR"], io["ids_keep"], tap=6)
    levels = model.forward_levels(features)
    for name, level in zip(("level4", "level8", "level16"), levels, strict=True):
        assert_close(level, io[name])
    assert features.tapped is not None
    assert_close(model.auxiliary(features.tapped), io["aux"])
    tokens = model.embed_tokens(levels)
    assert_close(tokens, torch.cat([io["tokens_rgb"], io["tokens_sar"]]))
    assert_close(model.lm_head(model.norm(tokens[:4])), io["distill_main_out"])
    assert_close(model.lm_cls_head(model.norm_cls(io["aux"][:4])), io["distill_aux_out"])
    assert_close(model.decode(tokens, masking), io["self_pred"])
    assert_close(model.decode(tokens, masking, "_cross"), io["cross_pred"])
    rgb, sar = model.contrastive_loss.condition(tokens[:4], tokens[4:])
    assert_close(rgb, io["ccl_rgb_after_ca"])
    assert_close(sar, io["ccl_sar_after_ca"])
    first, second = (torch.nn.functional.normalize(x.mean(1), dim=-1) for x in (rgb, sar))
    assert_close(first @ second.t() / 0.07, io["ccl_logits_rgb_to_sar"])
    assert_close(patchify(io["rgb"])[:1], io["patchify_rgb"])
    assert_close(grey(io["rgb"]), io["degraded_rgb"])
    own, cross, _ = model.reconstruct(io["rgb"], io["sar"], io["noise"])
    assert cross is not None
    assert_close(own, io["self_pred"])
    assert_close(cross, io["cross_pred"])


@torch.no_grad()
def test_full_pass(model: CoDeMAE, io: dict[str, Tensor]) -> None:
    features = model.forward_stages([io["rgb"], io["sar"]], ["RGB", "SAR"], tap=6)
    assert_close(features.tokens, io["full_last_block"])
    assert features.tapped is not None
    assert_close(model.auxiliary(features.tapped), io["full_aux"])
    for name, level in zip(("full_level4", "full_level8", "full_level16"), model.forward_levels(features), strict=True):
        assert_close(level, io[name])


NAMES = {"reconstruction": "self_loss", "cross": "cross_loss", "distillation": "distill_loss"}


@pytest.mark.parametrize("batch", ["paired", "unpaired"])
@pytest.mark.parametrize("fused", [True, False])
def test_losses_and_gradients(reference: Path, model: CoDeMAE, io: dict[str, Tensor], batch: str, fused: bool) -> None:
    expected = json.loads((reference / "pretrain_tiny_losses.json").read_text())[f"{batch}_batch"]
    norms = json.loads((reference / "pretrain_tiny_grad_norms.json").read_text())[batch]
    flags = torch.tensor(expected.get("paired_flags", [1, 1, 1, 1]))
    model.set_fused_attention(fused)
    model.zero_grad()
    losses = step(model, io, paired=flags)
    losses.total.backward()
    model.set_fused_attention(True)
    for ours, theirs in (NAMES | {"contrast": "contrastive_loss", "total": "total"}).items():
        assert getattr(losses, ours).item() == pytest.approx(expected["float64"][theirs], rel=1e-5)
    for name, parameter in model.named_parameters():
        if norms[name] is None:
            assert parameter.grad is None and name == "decoder_pos_embed"
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.norm().item() == pytest.approx(
                norms[name], rel=1e-3, abs=0 if norms[name] == 0 else 1e-9
            )
    if batch == "paired":
        assert_close(model.absolute_pos_embed.grad, io["grad_absolute_pos_embed"])  # type: ignore[arg-type]
        assert_close(model.mask_token.grad, io["grad_mask_token"])  # type: ignore[arg-type]
        assert_close(model.patch_embed_sar.proj.weight.grad, io["grad_patch_embed_sar_proj_weight"])  # type: ignore[arg-type]
        query = model.contrastive_loss.crossattn_rgb.cattn.q.weight.grad
        assert query is not None
        assert_close(query, io["grad_ccl_rgb_q_weight"])
    else:
        gated = model.gated_parameters()
        assert gated and all(torch.count_nonzero(p.grad) == 0 for p in gated)  # type: ignore[arg-type]


def test_parts_of_the_distillation(reference: Path, model: CoDeMAE, io: dict[str, Tensor]) -> None:
    expected = json.loads((reference / "pretrain_tiny_losses.json").read_text())["paired_batch"]["float64"]
    without = CoDeMAE(**TINY, distill_auxiliary=False)
    without.load_state_dict({k: v for k, v in model.state_dict().items() if k in without.state_dict()})
    assert step(without, io).distillation.item() == pytest.approx(expected["distill_main"], rel=1e-5)


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("head", ["none", "linear", "mlp", "ca", "ca_ffn", "ca_sa_ffn"])
def test_contrast_heads(io: dict[str, Tensor], head: str) -> None:
    torch.manual_seed(0)
    model = CoDeMAE(**TINY, contrast_head=head)
    losses = step(model, io)
    losses.total.backward()
    assert losses.contrast > 0
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing


@pytest.mark.parametrize("target", ["grey", "pixel", "median", "pool", "hog", "mgf"])
@pytest.mark.parametrize("shared_decoder", [True, False])
def test_targets_and_decoders(io: dict[str, Tensor], target: str, shared_decoder: bool) -> None:
    torch.manual_seed(0)
    model = CoDeMAE(**TINY, cross_target=target, shared_decoder=shared_decoder)
    losses = step(model, io, rgb_01=io["rgb"].sigmoid(), sar_01=io["sar"].sigmoid())
    losses.total.backward()
    assert torch.isfinite(losses.total) and losses.cross > 0
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_switched_off_parts_have_no_parameters_and_no_loss(io: dict[str, Tensor]) -> None:
    model = CoDeMAE(**TINY, distill=False, contrast=False, cross=False)
    losses = model(io["rgb"], io["sar"], noise=io["noise"])
    assert losses.distillation == losses.cross == losses.contrast == 0
    assert losses.total.item() == pytest.approx(losses.reconstruction.item())
    assert not any(n.startswith(("lm_", "cls_pt", "contrastive", "decoder_blocks_cross")) for n in model.state_dict())


def test_paper_distillation_is_l1(model: CoDeMAE, io: dict[str, Tensor]) -> None:
    paper = CoDeMAE(**TINY, distill_loss="l1")
    paper.load_state_dict(model.state_dict())
    teacher = torch.gather(io["teacher"], 1, io["ids_keep"][:4, :, None].expand(-1, -1, 1024))
    expected = sum((io[name] - teacher).abs().mean() for name in ("distill_main_out", "distill_aux_out"))
    assert step(paper, io).distillation.item() == pytest.approx(expected.item(), rel=1e-5)


def test_teacher_tokens_of_kept_patches_alone_are_enough(model: CoDeMAE, io: dict[str, Tensor]) -> None:
    teacher = torch.gather(io["teacher"], 1, io["ids_keep"][:4, :, None].expand(-1, -1, 1024))
    kept = model(io["rgb"], io["sar"], teacher=teacher, noise=io["noise"])
    assert kept.distillation.item() == pytest.approx(step(model, io).distillation.item(), rel=1e-6)


def test_missing_teacher_and_unknown_options_are_refused(io: dict[str, Tensor]) -> None:
    with pytest.raises(ModelError, match="teacher"):
        CoDeMAE(**TINY)(io["rgb"], io["sar"])
    with pytest.raises(ModelError, match="cross_target"):
        CoDeMAE(**TINY, cross_target="gray")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="unknown key") as caught:
        build("codemae", {"encoder": "tiny", "contrast_heads": "ca"})
    assert "contrast_head" in str(caught.value.hint)


def test_encoder_loads_as_backbone(model: CoDeMAE, io: dict[str, Tensor]) -> None:
    backbone = build("backbone", ENCODER)
    backbone.load_state_dict(model.encoder_state(), strict=True)
    with torch.no_grad():
        assert_close(backbone.forward_stages(io["rgb"], "RGB").tokens, io["full_last_block"][:4])


def test_dual_encoder_embeds_both_modalities(model: CoDeMAE, io: dict[str, Tensor]) -> None:
    encoder = build("encoder", {"encoder": ENCODER})
    encoder.load_state_dict(model.encoder_state(), strict=True)
    with torch.no_grad():
        optical, sar = encoder(io["rgb"], io["sar"])
    assert_close(torch.cat([optical, sar]), io["full_last_block"].mean(1))


# ---------------------------------------------------------------- teacher


def test_teacher_postprocessing(reference: Path) -> None:
    data = load_file(reference / "teacher_postprocess.safetensors")
    teacher = small_teacher()
    assert_close(teacher.scale(data["image_01"]), data["image_scaled"])
    assert_close(teacher.targets(data["teacher_tokens"]), data["patch_targets"])


def test_teacher_numbers(reference: Path, tmp_path: Path) -> None:
    data = load_file(reference / "teacher_dinov3_tiny.safetensors")
    weights = {k.removeprefix("weights."): v for k, v in data.items() if k.startswith("weights.")}
    save_file(weights, tmp_path / "teacher.safetensors")
    teacher = load_teacher(tmp_path / "teacher.safetensors")
    assert teacher.dim == 64
    with torch.no_grad():
        assert_close(teacher.network.forward_features(teacher.scale(data["image_01"])), data["tokens_after_final_norm"])  # type: ignore[operator]
        assert_close(teacher(data["image_01"]), data["patch_targets"])
        keep = torch.tensor([[3, 0], [11, 5]])
        expected = torch.stack([data["patch_targets"][i][keep[i]] for i in range(2)])
        assert_close(teacher(data["image_01"], keep), expected)
    assert not teacher.train().network.training
    save_file(teacher.network.state_dict(), tmp_path / "timm.safetensors")
    assert_close(load_teacher(tmp_path / "timm.safetensors")(data["image_01"]), data["patch_targets"])


def test_a_teacher_in_bfloat16_gives_nearly_the_same_targets() -> None:
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    teacher = small_teacher()
    exact = teacher(image)
    rough = teacher.to_bf16()(image)
    assert rough.dtype == torch.float32 and teacher.network.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16  # type: ignore[union-attr,index]
    assert not torch.equal(rough, exact)
    assert (rough - exact).abs().mean() < 0.02  # targets have a mean of 0 and a variance of 1


def test_teacher_keys(reference: Path) -> None:
    listed = json.loads((reference / "keys_dinov3_teacher_vitl16.json").read_text())
    with torch.device("meta"):
        state = {k: torch.empty(s) for k, (s, _) in listed["state_dict"].items()}
        network = dinov3()
        converted = from_transformers(state)
    own = {k: v.shape for k, v in network.state_dict().items() if "rope" not in k}
    assert {k: v.shape for k, v in converted.items()} == own
    # the unused mask token of the published list is the only thing timm's form leaves out
    assert sum(p.numel() for p in network.parameters()) + 1024 == listed["total_params"]


def test_a_file_that_is_no_teacher(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="not a DINOv3"):
        load_teacher(tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match="no teacher file"):
        load_teacher(tmp_path / "b.safetensors")
    (tmp_path / "c.pth").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read"):
        load_teacher(tmp_path / "c.pth")


def test_teacher_is_one_module_without_gradients() -> None:
    teacher = small_teacher()
    assert isinstance(teacher, Teacher)
    assert not any(p.requires_grad for p in teacher.parameters())
    tokens = teacher(torch.rand(2, 3, 32, 48))
    assert tokens.shape == (2, 6, 64) and not tokens.requires_grad
    assert torch.allclose(normalise_patches(tokens), tokens, atol=5e-2)  # normalised already, but for N and N - 1
