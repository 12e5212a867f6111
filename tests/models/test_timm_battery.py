"""The backbones against the checks that timm makes of its own models (its tests/test_models.py) and those of its users.

What does not apply, and why:

* TorchScript (``torch.jit``): torch deprecates it, and the forward pass takes one image or several and picks a
  tokenizer by name, which its types cannot say; ``torch.fx`` and ``torch.export`` are checked instead.
* ``set_input_size`` and ``dynamic_img_size``: every model takes any size, positions are resampled in the forward pass.
* ``pool_size``: the image decides it, as ``fixed_input_size=False`` says.
* ``norm`` of intermediates, ``output_stride``: no norm ends the trunk, and its stride is fixed by the tokenizer.
* distillation heads, class and register tokens: there are none.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.data import resolve_data_config
from timm.models import group_parameters, list_models
from timm.models._features_fx import create_feature_extractor as timm_extractor
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

import codemae_geo.models  # noqa: F401  (registers the models)
from codemae_geo.errors import ModelError
from codemae_geo.models import build, zoo

NAMES = ("codemae_tiny", "codemae_small", "codemae_base", "codemae_large")
#: the smallest trunk with the names of the real one
SMALL: dict[str, Any] = {"embed_dim": 48, "mlp_depth1": 1, "mlp_depth2": 2, "depth": 2, "num_heads": 3, "fpn_dim": 16}


def create(**kwargs: Any) -> Any:
    return timm.create_model("codemae_tiny", **(SMALL | kwargs)).eval()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 3, 64, 96)


# ---------------------------------------------------------------- registry and configuration


def test_listed() -> None:
    assert set(NAMES) <= set(list_models("codemae_*"))
    assert timm.is_model("codemae_tiny")


@pytest.mark.parametrize("name", NAMES)
def test_configuration_names_what_the_model_has(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=5)
    cfg, state = model.pretrained_cfg, model.state_dict()
    assert model.default_cfg is cfg and cfg["architecture"] == name
    assert cfg["input_size"] == (3, 224, 224) and cfg["fixed_input_size"] is False
    assert len(cfg["mean"]) == len(cfg["std"]) == 3 and all(0 < v < 1 for v in (*cfg["mean"], *cfg["std"]))
    assert cfg["classifier"] + ".weight" in state
    for conv in cfg["first_conv"]:
        assert state[conv + ".weight"].shape[1] == cfg["input_size"][0]


def test_data_configuration() -> None:
    data = resolve_data_config({}, model=create())
    assert data["mean"] == zoo.MEAN and data["std"] == zoo.STD and data["input_size"] == (3, 224, 224)
    assert data["interpolation"] == "bicubic" and data["crop_pct"] == 1.0


@pytest.mark.parametrize("modality", ["RGB", "SAR"])
def test_first_convolution_is_that_of_the_modality(modality: str) -> None:
    model = create(modality=modality)
    assert model.pretrained_cfg["first_conv"] + ".weight" in model.state_dict()


# ---------------------------------------------------------------- forward, head, classifier


def test_forward(image: Tensor) -> None:
    out = create(num_classes=7)(image)
    assert out.shape == (2, 7) and out.isfinite().all()


def test_backward_reaches_every_parameter(image: Tensor) -> None:
    model = create(num_classes=3, modality="RGB").train()
    model(image).mean().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]


def test_features_and_head_make_the_forward_pass(image: Tensor) -> None:
    model = create(num_classes=7)
    features = model.forward_features(image)
    assert features.shape == (2, 4 * 6, model.num_features)
    assert torch.equal(model.forward_head(features), model(image))
    hidden = model.forward_head(features, pre_logits=True)
    assert hidden.shape == (2, model.head_hidden_size)
    assert torch.equal(model.get_classifier()(hidden), model(image))


def test_without_classifier_the_output_is_pooled(image: Tensor) -> None:
    model = create(num_classes=7)
    model.reset_classifier(0)
    assert model(image).shape == (2, model.num_features) and model.num_classes == 0
    assert isinstance(model.get_classifier(), nn.Identity)
    assert create(num_classes=0)(image).shape == (2, model.num_features)


def test_without_classifier_and_pooling_the_tokens_are_left(image: Tensor) -> None:
    model = create(num_classes=0, global_pool="")
    assert torch.equal(model(image), model.forward_features(image))
    other = create(num_classes=7)
    other.reset_classifier(0, "")
    assert other(image).shape == (2, 24, other.num_features)
    other.reset_classifier(4, "avg")
    assert other(image).shape == (2, 4)
    with pytest.raises(ModelError, match="global_pool"):
        create(global_pool="max")


def test_classifier_is_a_linear_layer() -> None:
    head = create(num_classes=7).get_classifier()
    assert isinstance(head, nn.Linear) and head.out_features == 7


@pytest.mark.parametrize("channels", [1, 5])
def test_any_number_of_bands(channels: int) -> None:
    model = create(in_chans=channels, num_classes=2)
    assert model(torch.randn(1, channels, 32, 32)).shape == (1, 2)


def test_any_size_of_image() -> None:
    model = create(num_classes=2)
    for size in ((224, 224), (32, 48), (33, 50), (1, 1)):
        assert model(torch.randn(1, 3, *size)).shape == (1, 2)


def test_image_size_sets_the_table_of_positions(image: Tensor) -> None:
    model = create(img_size=128)
    assert model.absolute_pos_embed.shape[1] == 64
    assert model(image).shape == (2, model.num_features)


def test_dropout_works_in_training_only(image: Tensor) -> None:
    model = create(num_classes=7, drop_rate=0.5)
    assert torch.equal(model(image), model(image))
    model.train()
    assert not torch.equal(model(image), model(image))


def test_stochastic_depth_works_in_training_only(image: Tensor) -> None:
    model = create(drop_path_rate=0.5)
    assert torch.equal(model(image), model(image))
    model.train()
    assert not torch.equal(model(image), model(image))
    rates = [b.drop_path.rate for b in model.blocks if hasattr(b, "drop_path")]
    assert rates == sorted(rates) and rates[0] == 0 and rates[-1] == 0.5


def test_gradient_checkpointing_changes_nothing(image: Tensor) -> None:
    model = create(num_classes=2, modality="RGB").train()
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(image).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


# ---------------------------------------------------------------- optimizers


def test_groups_hold_every_parameter_of_the_trunk_once() -> None:
    model = create(num_classes=7, num_outs=1)
    groups = group_parameters(model, model.group_matcher())
    names = [name for members in groups.values() for name in members]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def test_undecayed_names_are_parameters() -> None:
    model = create()
    assert model.no_weight_decay() <= {name for name, _ in model.named_parameters()}


def test_layer_decay_grows_from_stem_to_head() -> None:
    model = create(num_classes=7)
    scale = {
        id(p): group["lr_scale"]
        for group in param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.5)
        for p in group["params"]
    }
    order = [model.patch_embed_sar.proj, model.blocks[0].mlp.fc1, model.blocks[-1].mlp.fc1, model.head]
    scales = [scale[id(layer.weight)] for layer in order]
    assert scales == sorted(scales) and scales[0] < scales[-1]
    assert create_optimizer_v2(model, "adamw", lr=1e-3, layer_decay=0.5).param_groups


# ---------------------------------------------------------------- feature maps


@pytest.mark.parametrize(("outs", "channels"), [(1, [12, 24, 48]), (3, [16] * 3), (5, [16] * 5)])
def test_feature_table_is_what_comes_out(outs: int, channels: list[int], image: Tensor) -> None:
    model = create(num_outs=outs)
    assert [info["num_chs"] for info in model.feature_info] == channels
    tokens, maps = model.forward_intermediates(image)
    assert torch.equal(tokens, model.forward_features(image))
    for info, one in zip(model.feature_info, maps, strict=True):
        assert one.shape == (2, info["num_chs"], 64 // info["reduction"], 96 // info["reduction"])
        model.get_submodule(info["module"])  # and the module that makes it exists


@pytest.mark.parametrize("outs", [1, 3])
@pytest.mark.parametrize("indices", [[0], [1, 2], [-1], [0, -2], 2, None])
def test_indices_of_intermediates(outs: int, indices: Any, image: Tensor) -> None:
    model = create(num_outs=outs)
    everything = model.forward_intermediates(image, intermediates_only=True)
    chosen = model.forward_intermediates(image, indices=indices, intermediates_only=True)
    wanted = everything if indices is None else everything[-2:] if indices == 2 else [everything[i] for i in indices]
    assert all(torch.equal(a, b) for a, b in zip(chosen, wanted, strict=True))


@pytest.mark.parametrize("outs", [1, 4])
def test_formats_of_intermediates(outs: int, image: Tensor) -> None:
    model = create(num_outs=outs)
    maps = model.forward_intermediates(image, intermediates_only=True)
    rows = model.forward_intermediates(image, output_fmt="NLC", norm=True, intermediates_only=True)
    for a, b in zip(maps, rows, strict=True):
        assert torch.equal(a.flatten(2).transpose(1, 2), b)
    with pytest.raises(ModelError, match="output format"):
        model.forward_intermediates(image, output_fmt="NHWC")


@pytest.mark.parametrize("last", [0, 1, 2])
def test_stopping_early_leaves_later_stages_out(last: int, image: Tensor) -> None:
    model = create()
    ran = []
    for number, block in enumerate(model.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    tokens, maps = model.forward_intermediates(image, indices=[last], stop_early=True)
    assert len(ran) == (1, 4, len(model.blocks))[last]
    assert torch.equal(maps[0], model.forward_intermediates(image, indices=[last], intermediates_only=True)[0])
    assert tokens.shape[-1] == maps[0].shape[1]


def test_intermediates_of_an_odd_size_are_cropped() -> None:
    sizes = [m.shape[-2:] for m in create().forward_intermediates(torch.randn(1, 3, 33, 50), intermediates_only=True)]
    assert sizes == [(9, 13), (5, 7), (3, 4)]


def test_intermediates_have_a_modality(image: Tensor) -> None:
    model = create()
    optical, sar = (model.forward_intermediates(image, modality=m, intermediates_only=True) for m in ("RGB", "SAR"))
    assert not any(torch.equal(a, b) for a, b in zip(optical, sar, strict=True))


@pytest.mark.parametrize("last", [0, 1, 2])
def test_pruned_to_its_first_stages(last: int, image: Tensor) -> None:
    model = create(num_classes=7)
    whole = model.forward_intermediates(image, intermediates_only=True)
    before = len(model.blocks)
    assert model.prune_intermediate_layers([last], prune_norm=True) == [last]
    assert len(model.blocks) == (1, 4, before)[last] and isinstance(model.get_classifier(), nn.Identity)
    assert torch.equal(model.forward_intermediates(image, indices=[last], intermediates_only=True)[0], whole[last])
    if last < 2:
        with pytest.raises(ModelError, match="pruned"):
            model(image)


def test_pruning_keeps_what_a_pyramid_needs(image: Tensor) -> None:
    model = create(num_outs=3)
    whole = model(image)
    model.prune_intermediate_layers([0])
    assert torch.equal(model(image)[0], whole[0])


@pytest.mark.parametrize("indices", [(0, 1, 2), (2,), (-1,), (-3, -1), (0, 1, 2, 3, 4), 2])
def test_features_only(indices: Any, image: Tensor) -> None:
    model = create(features_only=True, out_indices=indices)
    maps = model(image)
    assert len(maps) == (indices if isinstance(indices, int) else len(indices))
    for one, channels, stride in zip(maps, model.feature_info.channels(), model.feature_info.reduction(), strict=True):
        assert one.shape == (2, channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize("indices", [(0,), (1, 2), (-1,)])
def test_features_only_of_the_plain_model(indices: tuple[int, ...], image: Tensor) -> None:
    plain = create(features_only=True, num_outs=1, out_indices=indices)
    assert [m.shape[1] for m in plain(image)] == plain.feature_info.channels()
    assert plain.feature_info.channels() == [(12, 24, 48)[i] for i in indices]


# ---------------------------------------------------------------- graphs


@pytest.mark.parametrize("outs", [1, 3])
def test_feature_extraction_by_torch_fx(outs: int, image: Tensor) -> None:
    model = create(num_outs=outs)
    nodes = {f"blocks.{n}": name for n, name in ((0, "fine"), (len(model.blocks) - 1, "coarse"))}
    train, evaluated = get_graph_node_names(model)
    assert train and any(node.startswith("blocks.0") for node in evaluated)
    seen = {}
    for path, name in nodes.items():
        model.get_submodule(path).register_forward_hook(lambda m, i, out, name=name: seen.update({name: out}))
    model(image)
    expected = dict(seen)
    for make in (create_feature_extractor, timm_extractor):
        graph = make(model, nodes)
        for size in ((64, 96), (33, 50)):  # the graph is one for all sizes
            other = torch.randn(1, 3, *size)
            model(other)
            got = graph(other)
            assert all(torch.equal(got[name], seen[name]) for name in seen)
        got = graph(image)
        assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.mark.filterwarnings("ignore:NOTE. The nodes obtained by tracing")
def test_training_graph_drops_samples(image: Tensor) -> None:
    graph = create_feature_extractor(create(drop_path_rate=0.9), {"head": "out"}).train()
    assert not torch.equal(graph(image)["out"], graph(image)["out"])


def test_exported_program(image: Tensor) -> None:
    model = create(num_classes=4)
    torch.testing.assert_close(torch.export.export(model, (image,)).module()(image), model(image))


# ---------------------------------------------------------------- weights


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """What ``codemae pretrain`` leaves: a dual encoder with its pyramid."""
    path = tmp_path / "run" / "encoder.safetensors"
    path.parent.mkdir()
    save_file(build("encoder", {"encoder": SMALL}).state_dict(), path)
    return path


@pytest.mark.parametrize("outs", [1, 3])
@pytest.mark.parametrize("modality", ["Both", "RGB", "SAR"])
def test_our_own_export_loads_strictly(outs: int, modality: str, exported: Path) -> None:
    model = create(checkpoint_path=exported, num_outs=outs, modality=modality)
    stored = load_file(exported)
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())


def test_a_weight_that_the_file_lacks_is_an_error(exported: Path) -> None:
    stored = load_file(exported)
    del stored["patch_embed_sar.proj.weight"]
    save_file(stored, exported)
    with pytest.raises(RuntimeError, match=r"patch_embed_sar\.proj\.weight"):
        create(checkpoint_path=exported)


def test_our_own_export_as_pretrained_weights(exported: Path, image: Tensor) -> None:
    source = {"file": str(exported)}
    maps = create(pretrained=True, pretrained_cfg_overlay=source, features_only=True)
    stored = load_file(exported)
    assert torch.equal(maps.model.state_dict()["patch_embed_sar.proj.weight"], stored["patch_embed_sar.proj.weight"])
    one = create(pretrained=True, pretrained_cfg_overlay=source, in_chans=1)
    summed = stored["patch_embed_rgb.proj.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(one.patch_embed_rgb.proj.weight.data, summed)
    labelled = create(pretrained=True, pretrained_cfg_overlay=source, num_classes=9)
    assert labelled(image).shape == (2, 9)


def test_pretrained_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "HUB", "")
    with pytest.raises(ModelError, match="no weights of codemae_tiny are published") as error:
        create(pretrained=True)
    assert "CODEMAE_HUB" in str(error.value) and "checkpoint_path" in str(error.value)


def test_pretrained_comes_from_the_repository_named_in_one_place(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(repo_id: str, filename: str, revision: str | None = None, **_: Any) -> str:
        asked.append((repo_id, filename, revision))
        return shutil.copy(exported, exported.with_name(filename))

    monkeypatch.setattr(zoo, "HUB", "somebody/codemae_{size}@0123abc")
    monkeypatch.setattr("timm.models._hub.hf_hub_download", fetch)
    model = create(pretrained=True)
    assert asked == [("somebody/codemae_tiny", "model.safetensors", "0123abc")]
    assert torch.equal(model.absolute_pos_embed, load_file(exported)["absolute_pos_embed"])


# ---------------------------------------------------------------- segmentation_models_pytorch


@pytest.mark.parametrize("name", ["Unet", "FPN", "UPerNet"])
def test_encoder_of_segmentation_models_pytorch(name: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    model = getattr(smp, name)("tu-codemae_tiny", encoder_weights=None, in_channels=4, classes=6).train()
    image = torch.randn(2, 4, 64, 96)
    out = model(image)
    assert out.shape == (2, 6, 64, 96)
    out.square().mean().backward()
    encoder = dict(model.encoder.named_parameters())
    assert encoder["model.model.blocks.0.mlp.fc1.weight"].grad.abs().sum() > 0
