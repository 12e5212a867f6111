"""The frozen DINOv3 teacher whose patch tokens optical tokens are distilled to.

The paper's teacher is DINOv3 ViT-L/16 trained on satellite images ("sat493m", Simeoni et al., arXiv 2508.10104), in
timm ``vit_large_patch16_dinov3.sat493m``. **Its weights are under Meta's DINOv3 licence**
(https://ai.meta.com/resources/models-and-libraries/dinov3-license/): they are fetched from the hub or read from a file
that you have, and are never part of what this project ships or exports.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.models.hivit import select_patches

#: name in timm and on the hub
SAT_LARGE = "vit_large_patch16_dinov3.sat493m"
LICENCE = "DINOv3 License, https://ai.meta.com/resources/models-and-libraries/dinov3-license/"
#: input statistics of the satellite models, images in [0, 1]
MEAN, STD = (0.430, 0.411, 0.296), (0.213, 0.156, 0.143)


class Teacher(nn.Module):
    """A frozen vision transformer and what is done before and after it.

    Args:
        network: a timm model with ``forward_features`` [B, 3, H, W] -> [B, P + L, D], final norm included, and
            ``num_prefix_tokens`` = P (class token and registers).
        mean, std: input statistics.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, mean: tuple[float, float, float] = MEAN, std: tuple[float, float, float] = STD
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.bf16 = False

    def to_bf16(self) -> Teacher:
        """Multiply in bfloat16 from now on, whatever the precision around the call; targets stay float32.

        The network is frozen, so its linear weights are converted once instead of in every pass.
        """
        for module in self.network.modules():
            if isinstance(module, nn.Linear):
                module.to(torch.bfloat16)
        self.bf16 = True
        return self

    @property
    def dim(self) -> int:
        """Width of the tokens."""
        return int(self.network.num_features)  # type: ignore[arg-type]

    def train(self, mode: bool = True) -> Teacher:
        """Stays in eval mode whatever is asked."""
        return super().train(False)

    def scale(self, image_01: Tensor) -> Tensor:
        """Image in [0, 1] to what the network takes."""
        return (image_01 - self.mean) / self.std

    def targets(self, tokens: Tensor) -> Tensor:
        """Tokens after the final norm [B, P + L, D] -> [B, L, D]: layer norm without affine, prefix dropped."""
        prefix = int(self.network.num_prefix_tokens)  # type: ignore[arg-type]
        return F.layer_norm(tokens[:, prefix:].float(), tokens.shape[-1:], eps=1e-5)

    @torch.no_grad()
    def forward(self, image_01: Tensor, keep: Tensor | None = None) -> Tensor:
        """Target tokens.

        Args:
            image_01: [B, 3, H, W] in [0, 1], sides divisible by 16.
            keep: [B, K] row-major patch numbers; None keeps all L.

        Returns:
            [B, L or K, D], float32.
        """
        with torch.autocast(image_01.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            tokens = self.targets(self.network.forward_features(self.scale(image_01)))  # type: ignore[operator]
        return tokens if keep is None else select_patches(tokens, keep)


def dinov3(dim: int = 1024, depth: int = 24, num_heads: int = 16, qkv_bias: bool = True) -> nn.Module:
    """An untrained network of the teacher's form: 16-pixel patches, 4 registers, rotary positions, layer scale.

    ``qkv_bias`` False is timm's form of the published weights, whose query and value biases are zero.
    """
    import timm

    name = "vit_large_patch16_dinov3_qkvb" if qkv_bias else "vit_large_patch16_dinov3"
    # the timm registry would ask for the hub only if pretrained were set
    return timm.create_model(name, pretrained=False, embed_dim=dim, depth=depth, num_heads=num_heads)


def small_teacher(dim: int = 64, depth: int = 2, num_heads: int = 4, seed: int = 0) -> Teacher:
    """A random teacher of the same form, for tests and dry runs: its tokens teach nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Teacher(dinov3(dim, depth, num_heads))


def load_teacher(source: str | Path = SAT_LARGE) -> Teacher:
    """The teacher from the hub or from a local file.

    Args:
        source: a timm name, or a ``.safetensors`` or ``.pth`` file with timm's, transformers' or Meta's own names.
            Files are read as tensors only, nothing is unpickled beyond that.

    Raises:
        ModelError: neither a file nor reachable, or not of the teacher's form.
    """
    path = Path(source)
    if path.suffix in (".safetensors", ".pth", ".pt", ".bin"):
        return Teacher(_from_file(path))
    import timm

    try:
        return Teacher(timm.create_model(str(source), pretrained=True))
    except Exception as error:  # the hub client raises many kinds; each means that the weights cannot be had
        raise ModelError(
            f"the teacher {source} cannot be loaded",
            found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            expected="a timm name with weights on the hub, or a .safetensors file",
            hint="fetch the weights where there is a network and set model.teacher=FILE, or switch model.distill=false",
        ) from error


def _from_file(path: Path) -> nn.Module:
    state = _read(path)
    prefixes = ("model.", "backbone.")
    state = {next((k.removeprefix(p) for p in prefixes if k.startswith(p)), k): v for k, v in state.items()}
    if any(k.startswith("layer.") for k in state):
        state = from_transformers(state)
    else:
        state = {k.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): v for k, v in state.items()}
        state = {k.replace("storage_tokens", "reg_token"): v for k, v in state.items()}
        for name in [k for k in state if k.endswith("attn.qkv.bias")]:
            query, _, value = state.pop(name).chunk(3)
            stem = name.removesuffix("qkv.bias")
            state[stem + "q_bias"], state[stem + "v_bias"] = query, value
        state = {k: v for k, v in state.items() if "mask" not in k and "rope" not in k and not k.startswith("head")}
    blocks = {k.split(".")[1] for k in state if k.startswith("blocks.")}
    if not blocks or "cls_token" not in state:
        raise ModelError(
            f"{path.name} is not a DINOv3 vision transformer",
            found=", ".join(list(state)[:3]) or "no tensors",
            expected="names such as blocks.0.norm1.weight or layer.0.norm1.weight",
        )
    dim = state["cls_token"].shape[-1]
    with_bias = "blocks.0.attn.q_bias" in state
    network = dinov3(dim, len(blocks), max(1, dim // 64) if dim >= 128 else 4, with_bias)
    missing, unexpected = network.load_state_dict(state, strict=False)
    missing = [k for k in missing if "rope" not in k]
    if missing or unexpected:
        raise ModelError(
            f"{path.name} is not a DINOv3 vision transformer",
            found="; ".join([f"missing {k}" for k in missing[:2]] + [f"unknown {k}" for k in unexpected[:2]]),
            expected=f"the weights of {SAT_LARGE} or of a smaller model of the same form",
        )
    return network


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
        return dict(content.get("model", content.get("state_dict", content)))
    except FileNotFoundError:
        raise ModelError(f"there is no teacher file {path}") from None
    except Exception as error:  # torch and safetensors raise many kinds for a file that is not theirs
        raise ModelError(f"{path.name} cannot be read as tensors", found=str(error).splitlines()[0]) from error


#: transformers' name -> timm's, after the number of the layer
_TRANSFORMERS = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "attention.q_proj.bias": "attn.q_bias",
    "attention.v_proj.bias": "attn.v_bias",
    "attention.o_proj.weight": "attn.proj.weight",
    "attention.o_proj.bias": "attn.proj.bias",
    "layer_scale1.lambda1": "gamma_1",
    "layer_scale2.lambda1": "gamma_2",
    "mlp.up_proj.weight": "mlp.fc1.weight",
    "mlp.up_proj.bias": "mlp.fc1.bias",
    "mlp.down_proj.weight": "mlp.fc2.weight",
    "mlp.down_proj.bias": "mlp.fc2.bias",
}


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the names of transformers' DINOv3 model to timm's names. The unused mask token is left out."""
    out = {
        "cls_token": state["embeddings.cls_token"],
        "reg_token": state["embeddings.register_tokens"],
        "patch_embed.proj.weight": state["embeddings.patch_embeddings.weight"],
        "patch_embed.proj.bias": state["embeddings.patch_embeddings.bias"],
        "norm.weight": state["norm.weight"],
        "norm.bias": state["norm.bias"],
    }
    for name, value in state.items():
        if not name.startswith("layer."):
            continue
        _, number, rest = name.split(".", 2)
        if rest in _TRANSFORMERS:
            out[f"blocks.{number}.{_TRANSFORMERS[rest]}"] = value
        elif rest == "attention.q_proj.weight":
            stem = f"layer.{number}.attention."
            parts = [state[f"{stem}{part}_proj.weight"] for part in "qkv"]
            out[f"blocks.{number}.attn.qkv.weight"] = torch.cat(parts)
    return out
