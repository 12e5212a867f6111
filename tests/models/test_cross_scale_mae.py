"""Parity of Cross-Scale MAE with ``shared/reference`` sections 5 and 13."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from codemae_geo.errors import ModelError
from codemae_geo.models import build
from codemae_geo.models.codemae import random_masking
from codemae_geo.models.cross_scale_mae import (
    Crop,
    CrossScaleMAE,
    PostNormBlock,
    draw_crop,
    from_xformers,
    norm_order_of,
    resized_crop,
)

TINY: dict[str, Any] = {
    "img_size": 64,
    "embed_dim": 64,
    "depth": 2,
    "num_heads": 4,
    "decoder_dim": 48,
    "decoder_depth": 2,
    "decoder_heads": 4,
    "predictor_dim": 96,
}


@pytest.fixture(scope="session")
def reference(shared: Path) -> Path:
    return shared / "reference"


@pytest.fixture(scope="module")
def io(shared: Path) -> dict[str, Tensor]:
    return load_file(shared / "reference" / "cross_scale_mae_tiny.safetensors")


@pytest.fixture
def model(io: dict[str, Tensor]) -> CrossScaleMAE:
    model = build("cross-scale-mae", TINY)
    assert isinstance(model, CrossScaleMAE)
    model.load_state_dict({k.removeprefix("weights."): v for k, v in io.items() if k.startswith("weights.")})
    return model


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Within 1e-4 of the expected tensor's largest magnitude."""
    assert found.shape == expected.shape
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < 1e-4, f"relative error {error:.2e}"


def test_keys(reference: Path) -> None:
    listed = json.loads((reference / "keys_cross_scale_mae_base.json").read_text())
    with torch.device("meta"):
        model = build("cross-scale-mae", {})
    found = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    assert found == {k: tuple(shape) for k, (shape, _) in listed["state_dict"].items()}
    assert sum(p.numel() for p in model.parameters()) == listed["total_params"]


def test_activations(io: dict[str, Tensor], model: CrossScaleMAE) -> None:
    for view in ("original", "crop"):
        masking = random_masking(io[f"noise_{view}"])
        assert torch.equal(masking.keep, io[f"ids_keep_{view}"])
        assert torch.equal(masking.restore, io[f"ids_restore_{view}"])
        with torch.no_grad():
            tokens = model.encode(io[f"img_{view}"], masking.keep)
            assert_close(tokens, io[f"enc_{view}"])
            decoded = model.decode(tokens, masking.restore)
            assert_close(decoded, io[f"dec_{view}"])
            if view == "original":
                assert_close(model.decoder_pred(decoded[:, 1:]), io["pred_original"])
            else:
                assert_close(model.predictor(decoded[:, 1:]), io["predictor_out"])


def test_losses_gradients_and_statistics(reference: Path, io: dict[str, Tensor], model: CrossScaleMAE) -> None:
    listed = json.loads((reference / "cross_scale_mae_tiny.json").read_text())
    model.double()
    noise = (io["noise_original"], io["noise_crop"])
    losses = model(io["img_original"].double(), io["img_crop"].double(), noise)
    for name, found in (
        ("total", losses.total),
        ("L_re_sum", losses.reconstruction),
        ("L_cp_mse", losses.prediction),
        ("L_cc_ntxent", losses.contrast),
    ):
        assert float(found.detach()) == pytest.approx(listed["float64"][name], rel=1e-6), name
    losses.total.backward()
    for name, parameter in model.named_parameters():
        want = listed["grad_norms_float64"][name]
        if want is None:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert float(parameter.grad.norm()) == pytest.approx(want, rel=1e-4), name
    assert_close(model.predictor[1].running_mean.float(), io["bn_running_mean_after"])  # type: ignore[union-attr]
    assert_close(model.predictor[1].running_var.float(), io["bn_running_var_after"])  # type: ignore[union-attr]


def test_crop_and_reduction(reference: Path) -> None:
    data = load_file(reference / "cross_scale_extra.safetensors")
    crop = Crop(*json.loads((reference / "cross_scale_extra.json").read_text())["crop_top_left_height_width"])
    assert_close(resized_crop(data["crop.input"], crop, 32), data["crop.bilinear_antialias"])
    assert_close(resized_crop(data["crop.input"], crop, 32, "bicubic"), data["crop.bicubic_antialias"])
    whole = Crop(0, 0, *data["shrink.input"].shape[-2:])
    assert_close(resized_crop(data["shrink.input"], whole, 32, "bicubic"), data["shrink.bicubic_antialias_32"])


def test_drawn_windows_keep_their_limits() -> None:
    generator = torch.Generator().manual_seed(3)
    for _ in range(200):
        crop = draw_crop((60, 80), generator=generator)
        assert 0 <= crop.top <= 60 - crop.height
        assert 0 <= crop.left <= 80 - crop.width
        assert 0.24 < crop.height * crop.width / 4800 < 0.76
        assert 0.7 < crop.width / crop.height < 1.4
    assert draw_crop((10, 400), (0.9, 1.0)) == Crop(0, 193, 10, 13)


def test_same_generator_same_losses(model: CrossScaleMAE, io: dict[str, Tensor]) -> None:
    model.eval()
    with torch.no_grad():
        first, second, other = (
            float(model(io["img_original"], generator=torch.Generator().manual_seed(seed)).total) for seed in (1, 1, 2)
        )
    assert first == second != other


def test_post_norm_blocks(reference: Path) -> None:
    data = load_file(reference / "cross_scale_postnorm_blocks.safetensors")
    state = {k.removeprefix("weights."): v for k, v in data.items() if k.startswith("weights.")}
    repeated = {
        k.replace("wrap_att.sublayer.layer", "mha").replace("wrap_ff.sublayer.layer", "feedforward"): v
        for k, v in state.items()
    }
    assert norm_order_of(state) == "post"
    ours = from_xformers(state | repeated)
    assert norm_order_of(ours) == "pre"
    x = data["input"]
    for number in (0, 1):
        block = PostNormBlock(32, 4, 4.0, 1e-5)
        prefix = f"encoder.{number}."
        block.load_state_dict({k.removeprefix(prefix): v for k, v in ours.items() if k.startswith(prefix)}, strict=True)
        with torch.no_grad():
            x = block(x)
        assert_close(x, data[f"after_block{number}"])


def test_area_resizing_for_nearest_neighbours(reference: Path) -> None:
    data = load_file(reference / "cross_scale_extra.safetensors")
    image = data["knn_scale.area_32"]
    for side in (8, 16):
        assert_close(F.interpolate(image, size=side, mode="area"), data[f"knn_scale.area_{side}"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"variant": "huge"}, "unknown size"),
        ({"norm_order": "both"}, "order of norms"),
        ({"img_size": 100}, "img_size"),
        ({"mask_ratio": 0.99}, "mask_ratio"),
        ({"crop_scale": (0.8, 0.2)}, "crop_scale"),
        ({"embed_dim": 66}, "embed_dim"),
    ],
)
def test_refusals(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build("cross-scale-mae", TINY | config)


def test_a_batch_of_one_and_another_size_are_refused(model: CrossScaleMAE) -> None:
    with pytest.raises(ModelError, match="other images to differ from"):
        model(torch.randn(1, 3, 64, 64))
    with pytest.raises(ModelError, match="another size"):
        model(torch.randn(2, 3, 96, 96))
    assert model.forward_features(torch.randn(1, 3, 90, 96)).shape == (1, 37, 64)


def test_the_encoder_takes_its_part_of_the_pretraining_model(model: CrossScaleMAE) -> None:
    shape = {key: TINY[key] for key in ("img_size", "embed_dim", "depth", "num_heads")}
    encoder = build("cross-scale-encoder", shape)
    encoder.load_state_dict(model.encoder_state(), strict=True)
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        tokens = model.encode(image)[:, 1:]
        assert torch.equal(encoder(image)[0], tokens.mean(dim=1))
        dense = encoder.dense(image, "optical")
    assert dense.shape == (2, 64, 4, 6)
    assert torch.equal(dense[:, :, 1, 2], tokens[:, 8])


def test_two_kinds_are_contrasted_apart(model: CrossScaleMAE, io: dict[str, Tensor]) -> None:
    model.eval()
    noise = (io["noise_original"], io["noise_crop"])
    with torch.no_grad():
        apart = [
            model(io["img_original"][rows], io["img_crop"][rows], (noise[0][rows], noise[1][rows])).contrast
            for rows in (slice(0, 2), slice(2, 4))
        ]
        both = model(io["img_original"], io["img_crop"], noise, kinds=2).contrast
    assert float(both) == pytest.approx(float(sum(apart)) / 2, rel=1e-5)
