"""Behaviour of the architectures that needs no fixture: sizes, modalities, registration, errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import timm.optim
import torch

import codemae_geo
from codemae_geo.errors import ModelError
from codemae_geo.models import DamageFormer, HiViT, Segmenter, build

SMALLEST = {"embed_dim": 32, "mlp_depth1": 1, "mlp_depth2": 1, "depth": 2, "num_heads": 2, "fpn_dim": 16}


@pytest.mark.parametrize(
    ("size", "low", "high"), [("tiny", 3.0, 4.5), ("small", 18, 24), ("base", 81, 82), ("large", 291, 292)]
)
def test_registered_with_timm(size: str, low: float, high: float) -> None:
    with torch.device("meta"):
        model = timm.create_model(f"codemae_{size}", num_outs=3)
    assert low < sum(p.numel() for p in model.parameters()) / 1e6 < high
    assert [info["reduction"] for info in model.feature_info] == [4, 8, 16]


@pytest.mark.parametrize("indices", [(0, 1, 2), (2,), (1, 3), (0, 1, 2, 3, 4)])
def test_features_only(indices: tuple[int, ...]) -> None:
    model = timm.create_model("codemae_tiny", features_only=True, out_indices=indices, modality="SAR")
    image = torch.randn(1, 3, 64, 96)
    strides = [4 * 2**i for i in indices]
    assert model.feature_info.reduction() == strides
    assert [tuple(m.shape) for m in model(image)] == [(1, 64, 64 // s, 96 // s) for s in strides]
    assert model.feature_info.channels() == [64] * len(indices)


def test_timm_classifier_and_layer_groups() -> None:
    model = timm.create_model("codemae_tiny", num_classes=7, modality="RGB", drop_path_rate=0.1)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    model.reset_classifier(0)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 192)
    groups = timm.optim.param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.5)
    scale = {id(p): g["lr_scale"] for g in groups for p in g["params"]}
    assert scale[id(model.patch_embed_rgb.proj.weight)] < scale[id(model.blocks[-1].mlp.fc1.weight)]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (1, 1), (33, 50), (48, 17), (100, 260)])
def test_any_size(height: int, width: int) -> None:
    backbone = build("backbone", SMALLEST).eval()
    image = torch.randn(1, 3, height, width)
    with torch.no_grad():
        maps = backbone(image)
        assert [m.shape[-2:] for m in maps] == [(-(-height // s), -(-width // s)) for s in (4, 8, 16)]
        localisation, damage = DamageFormer(SMALLEST).eval()(image, image)
        assert localisation.shape == (1, 2, height, width)
        assert damage.shape == (1, 4, height, width)
        assert Segmenter(SMALLEST, num_classes=5).eval()(image).shape == (1, 5, height, width)


def test_padding_is_the_padded_image_cropped() -> None:
    model = build("backbone", SMALLEST).eval()
    image = torch.randn(1, 3, 40, 64)
    padded = torch.nn.functional.pad(image, (0, 0, 0, 8), mode="replicate")
    with torch.no_grad():
        for got, whole in zip(model(image), model(padded), strict=True):
            torch.testing.assert_close(got, whole[:, :, : got.shape[2]])


def test_unpadded_model_refuses_odd_sizes() -> None:
    model = build("backbone", SMALLEST | {"pad_input": False})
    with pytest.raises(ModelError, match="33 x 48"):
        model(torch.randn(1, 3, 33, 48))


def test_tokenizers_differ_and_share_the_trunk() -> None:
    model = build("backbone", SMALLEST).eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        optical, sar = model(image, "RGB")[0], model(image, "SAR")[0]
        assert not torch.allclose(optical, sar)
        torch.testing.assert_close(model.forward_pyramid([image, image], ["RGB", "SAR"])[0], torch.cat([optical, sar]))
    assert not hasattr(build("backbone", SMALLEST | {"modality": "RGB"}), "patch_embed_sar")


def test_visible_patches_are_independent_of_removed_ones() -> None:
    model = build("backbone", SMALLEST).eval()
    assert isinstance(model, HiViT)
    image = torch.randn(1, 3, 64, 64)
    changed = image.clone()
    changed[:, :, :16, :16] += 5  # patch 0
    keep = torch.tensor([[3, 7, 9]])
    with torch.no_grad():
        a = model.forward_stages(image, ids_keep=keep)
        b = model.forward_stages(changed, ids_keep=keep)
    assert a.stage4.shape == (1, 3, 4, 4, 8)
    assert torch.equal(a.tokens, b.tokens)


def test_optical_optical() -> None:
    torch.manual_seed(0)
    both = build("damageformer", {"encoder": SMALLEST, "pre": "optical", "post": "optical"}).eval()
    cross = build("damageformer", {"encoder": SMALLEST}).eval()
    cross.load_state_dict(both.state_dict(), strict=True)  # one checkpoint serves both combinations
    pre, post = torch.randn(2, 1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(both(pre, post), cross(pre, post), strict=True):
            assert a.shape == b.shape
        torch.testing.assert_close(both(pre, post)[0], cross(pre, post)[0])  # localisation sees the pre image only
        assert not torch.allclose(both(pre, post)[1], cross(pre, post)[1])
    slim = build("damageformer", {"encoder": SMALLEST | {"modality": "RGB"}, "post": "optical"})
    assert not any("patch_embed_sar" in name for name in slim.state_dict())


@pytest.mark.parametrize(
    ("architecture", "config", "words"),
    [
        ("damagefromer", {}, "did you mean 'damageformer'"),
        ("damageformer", {"num_clases": 4}, "did you mean 'num_classes'"),
        ("damageformer", {"encoder": {"embed_dims": 64}}, "did you mean 'embed_dim'"),
        ("damageformer", {"encoder": "huge"}, "base, large, small, tiny"),
        ("damageformer", {"post": "lidar"}, "'optical' or 'sar'"),
        ("damageformer", {"encoder": SMALLEST | {"modality": "RGB"}}, "modality='Both'"),
        ("classifier", {"variant": "tiny"}, "num_classes"),
        ("backbone", {"variant": "tiny", "num_outs": 2}, "3, 4 or 5"),
        ("backbone", {"variant": "tiny", "embed_dim": 100}, "multiple of"),
    ],
)
def test_wrong_configurations_say_what_is_wrong(architecture: str, config: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError) as error:
        build(architecture, config)
    assert words in str(error.value)


def loaded(code: str, *names: str) -> list[str]:
    """Which of the modules ``names`` a fresh interpreter has after ``code``."""
    code = f"import sys\n{code}\nprint(*(m for m in {names} if m in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_import_registers_with_timm_unless_told_not_to() -> None:
    heavy = ("rasterio", "geopandas", "pyogrio", "timm")
    known = "import timm\nassert timm.is_model('codemae_tiny')"
    assert loaded(f"import codemae_geo.models\n{known}", *heavy) == ["timm"]
    assert loaded("import codemae_geo\ncodemae_geo.register_with_timm = False\nimport codemae_geo.models", *heavy) == []


def test_a_command_on_torch_does_not_wait_for_timm(tmp_path: Path) -> None:
    demo = Path(codemae_geo.__file__).parent / "data" / "joplin"
    words = ["damage", "--pre", demo / "pre.tif", "--post", demo / "post.tif", "-o", tmp_path / "out", "--dry-run"]
    command = [sys.executable, "-X", "importtime", "-m", "codemae_cli", *map(str, words), "--runtime", "torch"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "codemae_geo.models.hivit" in names and "timm" not in names
