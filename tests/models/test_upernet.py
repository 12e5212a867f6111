"""UperNet against the published segmentation model: keys, outputs, loss, gradients, sliding windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from codemae_geo.errors import ModelError
from codemae_geo.inference.slide import slide, windows
from codemae_geo.models import DamageFormer, UperNet, build
from codemae_geo.models.upernet import segmentation_loss

TINY: dict[str, Any] = {"embed_dim": 64, "mlp_depth1": 1, "mlp_depth2": 2, "depth": 4, "num_heads": 4, "fpn_dim": 32}


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Within 1e-4 of the expected tensor's largest magnitude."""
    assert found.shape == expected.shape
    error = (found.detach() - expected).abs().max() / expected.abs().max()
    assert error < 1e-4, f"relative error {error:.2e}"


@pytest.fixture(scope="module")
def data(shared: Path) -> dict[str, Tensor]:
    return load_file(shared / "reference" / "segmentation_upernet_tiny.safetensors")


@pytest.fixture(scope="module")
def numbers(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "reference" / "segmentation_upernet_tiny.json").read_text())


@pytest.fixture
def model(data: dict[str, Tensor]) -> UperNet:
    weights = {k.removeprefix("weights."): v for k, v in data.items() if k.startswith("weights.")}
    network = UperNet(TINY, num_classes=7, channels=24, aux_channels=16, dropout=0.0)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return network.eval()


def test_keys_of_the_published_model(shared: Path) -> None:
    listed = json.loads((shared / "reference" / "keys_segmentation_upernet_base_loveda.json").read_text())
    with torch.device("meta"):
        network = build("upernet", {"encoder": {"variant": "base"}, "num_classes": 7})
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == {
        k: shape for k, (shape, _) in listed["state_dict"].items()
    }
    assert sum(p.numel() for p in network.parameters()) == listed["total_params"]


def test_answers(model: UperNet, data: dict[str, Tensor]) -> None:
    with torch.no_grad():
        decode, auxiliary = model(data["input"], heads=True)
        full = model(data["input"])
    assert_close(decode, data["eval.decode_logits"])
    assert_close(auxiliary, data["eval.aux_logits"])
    assert torch.equal(full.argmax(1).to(torch.uint8), data["eval.logits_full_class_argmax"])


def test_loss_and_gradients(model: UperNet, data: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    model.train().double()
    decode, auxiliary = model(data["input"].double(), heads=True)
    assert_close(decode.float(), data["train.decode_logits"])
    assert_close(auxiliary.float(), data["train.aux_logits"])
    terms = segmentation_loss(decode, auxiliary, data["labels"])
    listed = numbers["losses_train_mode"]["float64"]
    assert terms["loss"].item() == pytest.approx(listed["total"], rel=1e-7)
    assert terms["decode"].item() == pytest.approx(listed["decode.loss_ce"], rel=1e-7)
    assert 0.4 * terms["auxiliary"].item() == pytest.approx(listed["aux.loss_ce"], rel=1e-7)
    terms["loss"].backward()
    norms = {n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
    assert norms.keys() == numbers["grad_norms_float64_of_total"].keys()
    for name, expected in numbers["grad_norms_float64_of_total"].items():
        assert norms[name] == pytest.approx(expected, rel=1e-5, abs=1e-12), name


def test_sliding_windows(model: UperNet, data: dict[str, Tensor], numbers: dict[str, Any]) -> None:
    listed = numbers["slide"]
    found = windows(tuple(listed["size"]), listed["crop"], listed["stride"])
    assert [list(w) for w in found] == listed["windows_y1x1y2x2"]
    assert [list(w) for w in windows((1024, 1024), 512, 256)] == numbers["windows_1024x1024_crop512_stride256"]
    assert [list(w) for w in windows((700, 1000), 512, 256)] == numbers["windows_700x1000_crop512_stride256"]
    assert windows((100, 300), 512, 256) == [(0, 0, 100, 300)]
    (logits,) = slide(model, data["slide.input"], window=listed["crop"], stride=listed["stride"])
    assert_close(logits[..., ::2, ::2], data["slide.logits_sub"])
    assert torch.equal(logits.argmax(1).to(torch.uint8), data["slide.argmax"])


def test_sliding_windows_of_the_damage_model(shared: Path) -> None:
    reference = shared / "reference"
    scales = json.loads((reference / "damageformer_tiny.json").read_text())["scales"]
    weights: dict[str, Tensor] = {}
    for part in ("encoder", "head_a", "head_b"):
        weights |= load_file(reference / f"damageformer_tiny_weights_{part}.safetensors")
    weights = {k: v.float() * scales[k] if v.dtype == torch.int8 else v for k, v in weights.items()}
    network = DamageFormer(TINY | {"mlp_depth2": 1, "fpn_dim": 256}).eval()
    network.load_state_dict(weights, strict=False)
    data = load_file(reference / "damageformer_tta_slide_tiny.safetensors")
    localisation, damage = slide(network, data["slide.pre"], data["slide.post"], window=128, stride=64)
    assert_close(localisation[..., ::2, ::2], data["slide.loc_sub"])
    assert_close(damage[..., ::2, ::2], data["slide.damage_sub"])
    classes = damage.argmax(1)
    assert torch.equal(classes.to(torch.uint8), data["slide.damage_class"])
    assert torch.equal((classes * localisation.argmax(1)).to(torch.uint8), data["slide.damage_class_gated"])


def test_optical_and_sar_are_both_heard() -> None:
    torch.manual_seed(0)
    network = UperNet(TINY, num_classes=3, sensors=("optical", "sar"), channels=8, aux_channels=0).eval()
    optical, sar = torch.randn(2, 1, 3, 70, 50)
    with torch.no_grad():
        first = network(optical, sar)
        assert first.shape == (1, 3, 70, 50)
        assert not torch.allclose(first, network(optical, sar * 0))
        assert not torch.allclose(first, network(optical * 0, sar))
        assert network(optical, sar, heads=True)[1] is None


def test_wrong_inputs_are_named() -> None:
    network = UperNet(TINY, num_classes=3, channels=8, aux_channels=8)
    image = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ModelError, match="a batch of one image"):
        network(image)
    with pytest.raises(ModelError, match="another number of images"):
        network.eval()(image, image)
    with pytest.raises(ModelError, match="sensors"):
        UperNet(TINY, sensors=("optical", "optical"))
