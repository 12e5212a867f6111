"""Parity of DeCUR with ``shared/reference`` section 12: key lists, attention, two streams, the segmentation head."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.models import build
from codemae_geo.models.decur import DeCUR, DeCURSegmenter, DeformableAttention, encode

TINY: dict[str, Any] = {"backbone": "resnet18", "channels": [2, 3], "projector": [32, 32], "img_size": 64}


@pytest.fixture(scope="session")
def reference(shared: Path) -> Path:
    return shared / "reference"


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Within 1e-4 of the expected tensor's largest magnitude."""
    assert found.shape == expected.shape
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < 1e-4, f"relative error {error:.2e}"


def assert_gradients(module: nn.Module, expected: dict[str, float | None], rel: float) -> None:
    """Norms of all gradients; those listed as 0 are zero but for rounding, those listed as None are unused."""
    largest = max(v for v in expected.values() if v)
    for name, parameter in module.named_parameters():
        want = expected[name]
        found = 0.0 if parameter.grad is None else float(parameter.grad.norm())
        assert found == pytest.approx(want or 0.0, rel=rel, abs=1e-12 * largest), name


# ---------------------------------------------------------------- key lists


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("rn50_ssl4eo", {}),
        ("rn50_rda_ssl4eo", {"rda": True}),
        ("vits16_ssl4eo", {"backbone": "vit_small"}),
    ],
)
def test_keys(reference: Path, name: str, config: dict[str, Any]) -> None:
    listed = json.loads((reference / f"keys_decur_{name}_joint.json").read_text())
    with torch.device("meta"):
        model = build("decur", config)
    found = {f"module.{k}": tuple(v.shape) for k, v in model.state_dict().items()}
    assert found == {k: tuple(shape) for k, (shape, _) in listed["state_dict"].items()}
    assert sum(p.numel() for p in model.parameters()) == listed["total_params"]


# ---------------------------------------------------------------- attention


@pytest.mark.parametrize("name", ["stride2", "stride1"])
def test_attention(reference: Path, name: str) -> None:
    data = load_file(reference / "decur_rda_tiny.safetensors")
    listed = json.loads((reference / "decur_rda_tiny.json").read_text())[name]
    config = listed["config"]
    module = DeformableAttention(
        config["heads"] * config["head_channels"],
        config["q_size"][0],
        config["heads"],
        config["groups"],
        config["stride"],
        config["kernel"],
    )
    module.load_state_dict({k.split(".", 2)[2]: v for k, v in data.items() if k.startswith(f"weights.{name}.")})
    x = data[f"{name}.input"]
    with torch.no_grad():
        grid, places = module.places(module.proj_q(x))
        assert_close(grid.reshape(data[f"{name}.reference_yx"].shape), data[f"{name}.reference_yx"])
        assert_close(places.reshape(data[f"{name}.positions_yx"].shape), data[f"{name}.positions_yx"])
        assert_close(x + module(x), data[f"{name}.residual_output"])

    module.double()
    x = x.double().requires_grad_()
    loss = ((x + module(x)) * data[f"{name}.output_grad"].double()).sum()
    assert float(loss.detach()) == pytest.approx(listed["loss_float64"], rel=1e-8)
    loss.backward()
    assert_gradients(module, listed["grad_norms_float64"], rel=1e-8)
    assert x.grad is not None
    assert_close(x.grad, data[f"{name}.input_grad"].double())


# ---------------------------------------------------------------- two streams


def made_up(name: str, shape: tuple[int, ...]) -> Tensor:
    """The reference's rule for weights that are too many to store."""
    value = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(value)


def made_up_state(model: DeCUR) -> dict[str, Tensor]:
    state = {}
    for key, old in model.state_dict().items():
        v = made_up(f"decur-ref/{key.replace('projector1', 'projector2')}", tuple(old.shape))
        if key.endswith("num_batches_tracked"):
            state[key] = old
        elif key.endswith("running_mean"):
            state[key] = 0.2 * v
        elif key.endswith("running_var"):
            state[key] = (0.3 * v).exp()
        elif key.endswith("rpe_table"):
            state[key] = 0.3 * v
        elif old.ndim > 1:
            state[key] = v / np.float32(np.sqrt(v[0].numel()))
        else:
            state[key] = 1 + 0.2 * v if key.endswith("weight") else 0.1 * v
    return state


def made_up_views(sensor: str, channels: int) -> list[Tensor]:
    def draw(name: str, *shape: int) -> Tensor:
        return made_up(f"decur-ref/{name}", shape)

    return [
        draw(f"input.{sensor}_{view}", 8, channels, 224, 224)
        + 2 * draw(f"offset.{sensor}", 8, channels, 1, 1)
        + 0.5 * draw(f"offset.{sensor}_{view}", 8, channels, 1, 1)
        for view in ("view1", "view2")
    ]


@pytest.fixture(scope="module")
def two_stream() -> tuple[DeCUR, list[Tensor], list[Tensor]]:
    model = build("decur", {"rda": True, "projector": [256, 256, 256]})
    assert isinstance(model, DeCUR)
    model.load_state_dict(made_up_state(model), strict=True)
    return model, made_up_views("s1", 2), made_up_views("s2", 13)


@pytest.mark.slow
def test_two_stream_features(reference: Path, two_stream: tuple[DeCUR, list[Tensor], list[Tensor]]) -> None:
    data = load_file(reference / "decur_two_stream_rn50.safetensors")
    model, s1, s2 = two_stream
    model.float().eval()
    with torch.no_grad():
        features = encode(model.backbone_1, s1[0])
        assert_close(features, data["eval.features_s1"])
        assert_close(model.projector1(features), data["eval.projected_s1"])
        assert_close(encode(model.backbone_2, s2[0]), data["eval.features_s2"])
        assert_close(model.encode(s1[0], 1), data["eval.features_s1_rda"])
        assert_close(model.encode(s2[0], 2), data["eval.features_s2_rda_own_modules"])
        assert_close(encode(model.backbone_2, s2[0], model.attention_of(1)), data["eval.features_s2_rda_as_published"])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "rda_as_published"])
def test_two_stream_losses_and_gradients(
    reference: Path, two_stream: tuple[DeCUR, list[Tensor], list[Tensor]], form: str
) -> None:
    expected = json.loads((reference / "decur_two_stream_rn50.json").read_text())[form]
    model, s1, s2 = two_stream
    model.double().train().zero_grad()
    model.rda = form != "plain"
    with torch.set_grad_enabled(model.rda):  # every gradient of the plain form is one of the other's too
        losses = model((s1[0].double(), s1[1].double()), (s2[0].double(), s2[1].double()))
    model.rda = True
    for name, found in (
        ("loss_intra_s1", losses.first),
        ("loss_intra_s2", losses.second),
        ("loss_cross", losses.cross),
        ("total", losses.total),
    ):
        assert float(found.detach()) == pytest.approx(expected["float64"][name], rel=1e-8), name
    if form != "plain":
        losses.total.backward()
        assert_gradients(model, expected["grad_norms_float64"], rel=1e-6)


# ---------------------------------------------------------------- switches and refusals


def test_switches_are_what_they_say() -> None:
    published, paper = (
        build("decur", TINY | {"rda": True}),
        build("decur", TINY | {"rda": True, "projectors": "separate", "attention": "own"}),
    )
    assert isinstance(published, DeCUR)
    assert isinstance(paper, DeCUR)
    assert published.projector1 is published.projector2
    assert paper.projector1 is not paper.projector2
    views = (
        (torch.randn(4, 2, 64, 64), torch.randn(4, 2, 64, 64)),
        (torch.randn(4, 3, 64, 64), torch.randn(4, 3, 64, 64)),
    )
    for model, used in ((published, False), (paper, True)):
        model(*views).total.backward()
        gradient = model.get_parameter("da2_l4.proj_v.weight").grad
        assert (gradient is not None) is used
    same = tuple((view, view) for view, _ in views)
    with torch.no_grad():
        correlation = published(*same)
        published.divisor = "published"
        quarter = published(*same)
    # equal views correlate perfectly: the diagonal is 1, or a quarter when divided by four times the samples
    assert float(quarter.first) > 0.75**2 * 32 > 0.0051 * 32 * 31 > float(correlation.first)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"backbone": "resnet51"}, "unknown backbone"),
        ({"common_share": 1.5}, "share of common dimensions"),
        ({"projectors": "both"}, "no projectors 'both'"),
        ({"backbone": "vit_tiny", "rda": True}, "between the stages of a ResNet"),
        ({"channels": [2]}, "a number of bands each"),
    ],
)
def test_refusals(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build("decur", TINY | config)


def test_a_batch_of_one_sample_is_refused() -> None:
    model = build("decur", TINY).eval()
    one, two = torch.randn(1, 2, 64, 64), torch.randn(1, 3, 64, 64)
    with pytest.raises(ModelError, match="one sample has no correlation"):
        model((one, one), (two, two))


# ---------------------------------------------------------------- segmentation head


def test_geonrw_head(reference: Path) -> None:
    data = load_file(reference / "decur_geonrw_fcn_tiny.safetensors")
    listed = json.loads((reference / "decur_geonrw_fcn_tiny.json").read_text())
    head = DeCURSegmenter([24, 32, 40], [8, 10, 12], 11)
    head.load_state_dict({k.removeprefix("weights."): v for k, v in data.items() if k.startswith("weights.")})
    streams = [[data[f"{kind}.layer{i}"] for i in (2, 3, 4)] for kind in ("rgb", "dem")]
    with torch.no_grad():
        logits = head(*streams)
        assert logits.shape == (2, 11, 64, 64)
        assert_close(logits[:, :, ::2, ::2], data["logits_sub"])
    head.double()
    loss = F.cross_entropy(head(*([m.double() for m in maps] for maps in streams)), data["labels"], ignore_index=0)
    assert float(loss.detach()) == pytest.approx(listed["loss_ignore_0_float64"], rel=1e-8)
    loss.backward()
    assert_gradients(head, listed["grad_norms_float64"], rel=1e-8)


# ---------------------------------------------------------------- encoders alone


@pytest.mark.parametrize("config", [{"rda": True}, {"backbone": "vit_tiny"}])
def test_the_encoder_takes_its_part_of_the_pretraining_model(config: dict[str, Any]) -> None:
    model = build("decur", TINY | config).eval()
    assert isinstance(model, DeCUR)
    shape = {key: (TINY | config)[key] for key in ("backbone", "channels", "img_size")} | {"rda": "rda" in config}
    encoder = build("decur-encoder", shape).eval()
    encoder.load_state_dict(model.encoder_state(), strict=True)
    sar, optical = torch.randn(2, 2, 64, 64), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found = encoder(sar, optical)
        assert torch.equal(found[0], model.encode(sar, 1))
        assert torch.equal(found[1], model.encode(optical, 2))
        assert encoder.dense(optical, "optical").shape[-2:] == (4, 4)
    one = build("decur-encoder", shape | {"channels": [3], "sensors": ["optical"], "streams": [2]})
    with pytest.raises(ModelError, match="no encoder for this sensor"):
        one.dense(sar, "sar")
