"""DeCUR: two encoders and projectors that split what two sensors share from what only one of them sees.

Source: Wang et al., "Decoupling Common and Unique Representations for Multimodal Self-supervised Learning", ECCV 2024.
Parameter names and shapes are those of the published checkpoints (zhu-xlab/DeCUR), so that these load strictly. The
networks underneath are timm's, whose names agree with them; timm is imported when a model is built, not before.

One step (B samples, two views of each of two modalities)::

    view of modality 1 [B, C1, H, W] -> backbone_1 (-> attention after layers 3 and 4) -> mean [B, F]
    view of modality 2 [B, C2, H, W] -> backbone_2 (-> attention after layers 3 and 4) -> mean [B, F]
    projector: three linear layers, batch norm and ReLU between them                      [B, D]
    losses: :mod:`codemae_geo.losses.redundancy`

Where paper and published program differ there is one switch each, and the default is what the published checkpoints
were trained with and load into: ``projectors``, ``attention``. ``divisor`` is the exception: "samples" is the paper's
form, and also what the published program computes on the four processes that its scripts start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.losses.contrast import Gather, gather_rows
from codemae_geo.losses.redundancy import OFF_DIAGONAL, RedundancyLosses, common_dimensions, decur_loss
from codemae_geo.models.encoder import Sensor

#: what of a pretraining checkpoint the encoder has
ENCODER_PREFIXES = ("backbone_", "da1_", "da2_")
Backbone = Literal["resnet18", "resnet50", "vit_tiny", "vit_small"]
#: name here -> (name in timm, settings)
BACKBONES: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet18": ("resnet18", {}),
    "resnet50": ("resnet50", {}),
    "vit_tiny": ("vit_tiny_patch16_224", {}),
    "vit_small": ("vit_small_patch16_224", {}),
}
#: settings of the attention after layers 3 and 4: heads, groups, stride, kernel
_ATTENTION = {"layer3": (8, 4, 2, 5), "layer4": (16, 8, 1, 3)}


# ---------------------------------------------------------------- residual deformable attention


class _ChannelNorm(nn.Module):
    """Layer norm over the channels of a map [B, C, H, W]; ``norm`` is its name in the checkpoints."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class DeformableAttention(nn.Module):
    """Every cell attends to cells at learned places: [B, C, H, W] -> [B, C, H, W]; the caller adds it to its input.

    The places are a coarse grid, moved by offsets that each group of channels predicts from the queries, and clamped
    to the map. A table of relative positions, sampled at the real-valued distance of query and place, is added to the
    logits. Source: DAT (Xia et al., CVPR 2022) as DeCUR uses it, without a limit on the offsets.

    Args:
        dim: channels C.
        size: side of the map that the table of relative positions is made for; others read it by relative distance.
        heads: heads of C / heads channels.
        groups: groups of channels that share their places; divides the number of heads.
        stride, kernel: of the depth-wise convolution that predicts the offsets. Places are H/stride x W/stride.
    """

    def __init__(self, dim: int, size: int, heads: int, groups: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.heads, self.groups = heads, groups
        if dim % heads or heads % groups:
            raise ModelError(
                "the attention cannot be split into groups of heads",
                found=f"{dim} channels, {heads} heads, {groups} groups",
                expected="heads that divide the channels, groups that divide the heads",
            )
        group = dim // groups
        self.conv_offset = nn.Sequential(
            nn.Conv2d(group, group, kernel, stride, kernel // 2, groups=group),
            _ChannelNorm(group),
            nn.GELU(),
            nn.Conv2d(group, 2, 1, bias=False),
        )
        self.proj_q = nn.Conv2d(dim, dim, 1)
        self.proj_k = nn.Conv2d(dim, dim, 1)
        self.proj_v = nn.Conv2d(dim, dim, 1)
        self.proj_out = nn.Conv2d(dim, dim, 1)
        self.rpe_table = nn.Parameter(torch.zeros(self.heads, 2 * size - 1, 2 * size - 1))
        nn.init.trunc_normal_(self.rpe_table, std=0.01)

    def places(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Where the keys of each group lie, as (y, x) with -1 and 1 at the centres of the outermost cells.

        Args:
            queries: [B, C, H, W].

        Returns:
            the grid before it is moved, and the places, both [B * groups, h, w, 2].
        """
        offset = self.conv_offset(queries.reshape(-1, queries.shape[1] // self.groups, *queries.shape[2:]))
        # as published: half a cell is added but the division is by n - 1, so the last cells lie beyond 1
        axes = [
            (torch.arange(n, dtype=offset.dtype, device=offset.device) + 0.5) / max(n - 1, 1) * 2 - 1
            for n in offset.shape[-2:]
        ]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).expand(len(offset), -1, -1, -1)
        return grid, (grid + offset.permute(0, 2, 3, 1)).clamp(-1, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        queries = self.proj_q(x)
        _, places = self.places(queries)
        keys = places.shape[1] * places.shape[2]
        sampled = F.grid_sample(
            x.reshape(b * self.groups, -1, height, width), places.flip(-1).to(x.dtype), "bilinear", align_corners=True
        ).reshape(b, c, 1, keys)

        def split(maps: Tensor) -> Tensor:  # [B, C, ...] -> [B, heads, cells, head_dim]
            return maps.reshape(b, self.heads, c // self.heads, -1).transpose(2, 3)

        bias = self._bias(places, (height, width)).to(x.dtype)
        out = F.scaled_dot_product_attention(
            split(queries), split(self.proj_k(sampled)), split(self.proj_v(sampled)), attn_mask=bias
        )
        return self.proj_out(out.transpose(2, 3).reshape(b, c, height, width))

    def _bias(self, places: Tensor, size: tuple[int, int]) -> Tensor:
        """What the table says of each query and key: [B, heads, H * W, keys]."""
        axes = [torch.linspace(-1, 1, n, dtype=places.dtype, device=places.device) for n in size]
        queries = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(1, -1, 1, 2)
        distance = (queries - places.reshape(len(places), 1, -1, 2)) * 0.5  # [B * groups, H * W, keys, 2]
        table = self.rpe_table.to(places.dtype).reshape(1, self.groups, -1, *self.rpe_table.shape[1:])
        table = table.expand(len(places) // self.groups, -1, -1, -1, -1).flatten(0, 1)
        return F.grid_sample(table, distance.flip(-1), "bilinear", align_corners=True).reshape(
            -1, self.heads, queries.shape[1], distance.shape[2]
        )


# ---------------------------------------------------------------- encoders


def make_backbone(name: str, channels: int, img_size: int = 224, pretrained: bool = False) -> nn.Module:
    """One encoder without a head, from timm.

    Args:
        name: a key of :data:`BACKBONES`.
        channels: bands of its input.
        img_size: side in pixels that a ViT stores positions for.
        pretrained: start from timm's ImageNet weights (downloads them).

    Raises:
        ModelError: unknown name.
    """
    if name not in BACKBONES:
        raise ModelError("unknown backbone", found=repr(name), expected=", ".join(BACKBONES))
    import timm

    timm_name, settings = BACKBONES[name]
    if name.startswith("vit"):
        settings = settings | {"img_size": img_size}
    return timm.create_model(timm_name, in_chans=channels, num_classes=0, pretrained=pretrained, **settings)


def encode_maps(backbone: nn.Module, x: Tensor, attention: Mapping[str, nn.Module] | None = None) -> list[Tensor]:
    """Maps of layers 2, 3 and 4 of a ResNet (strides 8, 16, 32), attention added after those that it is given for."""
    net: Any = backbone
    x = net.layer1(net.maxpool(net.act1(net.bn1(net.conv1(x)))))
    maps = []
    for name in ("layer2", "layer3", "layer4"):
        x = getattr(net, name)(x)
        if attention is not None and name in attention:
            x = x + attention[name](x)
        maps.append(x)
    return maps


def encode(backbone: nn.Module, x: Tensor, attention: Mapping[str, nn.Module] | None = None) -> Tensor:
    """One vector for each image: a ResNet's mean over cells, a ViT's class token after its norm; [B, F]."""
    if hasattr(backbone, "layer4"):
        return encode_maps(backbone, x, attention)[-1].mean(dim=(2, 3))
    features: Tensor = backbone.forward_features(x)  # type: ignore[operator]
    return features[:, 0]


def add_attention(owner: nn.Module, stream: int, features: int, img_size: int) -> None:
    """Give a model the attention modules of a stream, under their names in the checkpoints: ``da1_l3``, ``da1_l4``."""
    for layer, settings in _ATTENTION.items():
        width = features // (2 if layer == "layer3" else 1)
        size = img_size // (16 if layer == "layer3" else 32)
        owner.add_module(f"da{stream}_l{layer[-1]}", DeformableAttention(width, size, *settings))


def find_attention(owner: nn.Module, stream: int) -> dict[str, nn.Module]:
    """The attention modules of a stream by the layer that they stand after."""
    return {layer: owner.get_submodule(f"da{stream}_l{layer[-1]}") for layer in _ATTENTION}


def make_projector(features: int, widths: Sequence[int]) -> nn.Sequential:
    """Linear layers without bias, batch norm and ReLU between them: [B, features] -> [B, widths[-1]]."""
    layers: list[nn.Module] = []
    sizes = [features, *widths]
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers.append(nn.Linear(a, b, bias=False))
        if i < len(sizes) - 2:
            layers += [nn.BatchNorm1d(b), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


# ---------------------------------------------------------------- model


class DeCUR(nn.Module):
    """Two encoders, one for each modality, and the loss that decouples common and unique dimensions.

    Args:
        backbone: "resnet50" and "vit_small" as published; "resnet18" and "vit_tiny" for CPUs.
        channels: bands of modality 1 and of modality 2 (SAR 2 and Sentinel-2 13 in the published SSL4EO-S12 models).
        projector: widths of the projector's layers; the last is the number of dimensions D.
        common_share: share of the dimensions that both modalities have in common.
        rda: residual deformable attention in the last two stages of the ResNets.
        projectors: "tied": both modalities pass the same projector (published); "separate": one each (paper).
        attention: "first": both streams pass modality 1's attention in training (published); "own": each its own
            (paper). Encoding for downstream tasks always uses each stream's own, as published.
        divisor: "samples": correlations over the global batch (paper); "published": four times the batch of one
            process, whatever the number of processes.
        weight: of the correlations beside the diagonal.
        img_size: side of the training images in pixels.
        pretrained: start the encoders from ImageNet, as published.

    Raises:
        ModelError: a value that cannot be used, named.
    """

    def __init__(
        self,
        backbone: Backbone = "resnet50",
        channels: Sequence[int] = (2, 13),
        projector: Sequence[int] = (8192, 8192, 8192),
        common_share: float = 0.875,
        rda: bool = False,
        projectors: Literal["tied", "separate"] = "tied",
        attention: Literal["first", "own"] = "first",
        divisor: Literal["samples", "published"] = "samples",
        weight: float = OFF_DIAGONAL,
        img_size: int = 224,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        _one_of("projectors", projectors, ("tied", "separate"))
        _one_of("attention", attention, ("first", "own"))
        _one_of("divisor", divisor, ("samples", "published"))
        if len(channels) != 2 or min(channels) < 1:
            raise ModelError(
                "the two modalities need a number of bands each", found=str(list(channels)), expected="two, 1 or more"
            )
        if not projector or min(projector) < 1:
            raise ModelError("the projector cannot be built", found=str(list(projector)), expected="one width or more")
        if rda and not backbone.startswith("resnet"):
            raise ModelError(
                "residual deformable attention stands between the stages of a ResNet",
                found=f"rda with {backbone}",
                expected="a backbone resnet18 or resnet50",
            )
        self.common = common_dimensions(projector[-1], common_share)
        self.backbone_1 = make_backbone(backbone, channels[0], img_size, pretrained)
        self.backbone_2 = make_backbone(backbone, channels[1], img_size, pretrained)
        self.num_features = int(self.backbone_1.num_features)  # type: ignore[arg-type]
        self.rda = rda
        if rda:
            for stream in (1, 2):
                add_attention(self, stream, self.num_features, img_size)
            if attention == "first":  # as published these keep their random start
                for module in find_attention(self, 2).values():
                    module.requires_grad_(False)
        self.projector1 = make_projector(self.num_features, projector)
        self.projector2 = self.projector1 if projectors == "tied" else make_projector(self.num_features, projector)
        # its running statistics are entries of the published checkpoints; the loss standardises by the batch itself
        self.bn = nn.BatchNorm1d(projector[-1], affine=False)
        self.training_attention = attention
        #: rows of other processes; "none" where all processes hold the same
        self.gather: Gather = "exact"
        self.divisor, self.weight = divisor, weight

    def attention_of(self, stream: int) -> dict[str, nn.Module] | None:
        """The attention modules that a stream (1 or 2) is encoded with; None without RDA."""
        return find_attention(self, stream) if self.rda else None

    def encoder_state(self) -> dict[str, Tensor]:
        """The entries of :class:`DeCUREncoder`: each stream's own attention, as downstream programs load it."""
        return {k: v for k, v in self.state_dict().items() if k.startswith(ENCODER_PREFIXES)}

    def encode(self, image: Tensor, stream: int) -> Tensor:
        """Vectors [B, F] of images of modality 1 or 2, through the stream's own attention."""
        return encode(self.get_submodule(f"backbone_{stream}"), image, self.attention_of(stream))

    def project(self, image: Tensor, stream: int) -> Tensor:
        """Embeddings [B, D] of images of modality 1 or 2, as training computes them."""
        attention = self.attention_of(1 if self.training_attention == "first" else stream)
        features = encode(self.get_submodule(f"backbone_{stream}"), image, attention)
        return self.get_submodule(f"projector{stream}")(features)

    def forward(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> RedundancyLosses:
        """Losses of one batch.

        Args:
            first: two views of modality 1, each [B, C1, H, W], normalised.
            second: two views of modality 2, each [B, C2, H, W].

        Raises:
            ModelError: fewer than two samples in the global batch.
        """
        # each view passes on its own: batch norm sees one view at a time, as published. The rows of all processes are
        # gathered with their gradients, so that N processes compute the loss of one with N times the batch
        one = [gather_rows(self.project(view, 1), self.gather)[0] for view in first]
        two = [gather_rows(self.project(view, 2), self.gather)[0] for view in second]
        if self.training:
            self._track([*one, *two])
        divisor = 4.0 * len(first[0]) if self.divisor == "published" else None
        return decur_loss((one[0], one[1]), (two[0], two[1]), self.common, self.weight, divisor)

    @torch.no_grad()
    def _track(self, embeddings: Sequence[Tensor]) -> None:
        """Let the running statistics of the last norm follow the embeddings of a step."""
        kind: torch.dtype = next(self.projector1.parameters()).dtype
        for z in embeddings:
            if len(z) > 1:
                self.bn(z.detach().to(kind))


def _one_of(key: str, found: str, known: Sequence[str]) -> None:
    if found not in known:
        raise ModelError(f"the model has no {key} {found!r}", expected=" or ".join(repr(k) for k in known))


class DeCUREncoder(nn.Module):
    """The encoders by themselves, with their attention: backbones for downstream tasks.

    Args:
        backbone, channels, rda, img_size: as in :class:`DeCUR`; ``channels`` of one or both streams.
        sensors: what each stream sees, in the order of the inputs of its package.
        streams: numbers of the streams in the names of the weights; the published backbone-only files hold one.

    Raises:
        ModelError: a value that cannot be used, named.
    """

    def __init__(
        self,
        backbone: Backbone = "resnet50",
        channels: Sequence[int] = (2, 13),
        sensors: Sequence[Sensor] = ("sar", "optical"),
        rda: bool = False,
        img_size: int = 224,
        streams: Sequence[int] = (1, 2),
    ) -> None:
        super().__init__()
        if not len(channels) == len(sensors) == len(streams):
            raise ModelError(
                "channels, sensors and streams do not go together",
                found=f"{len(channels)}, {len(sensors)} and {len(streams)}",
                expected="one of each for every stream",
            )
        self.sensors, self.streams, self.rda = tuple(sensors), tuple(streams), rda
        for stream, bands in zip(streams, channels, strict=True):
            self.add_module(f"backbone_{stream}", make_backbone(backbone, bands, img_size))
            self.num_features = int(self.get_submodule(f"backbone_{stream}").num_features)  # type: ignore[arg-type]
            if rda:
                add_attention(self, stream, self.num_features, img_size)

    def stream_of(self, sensor: Sensor) -> int:
        """The number of the stream that images of a sensor pass.

        Raises:
            ModelError: there is none.
        """
        if sensor not in self.sensors:
            raise ModelError("no encoder for this sensor", found=repr(sensor), expected=" or ".join(self.sensors))
        return self.streams[self.sensors.index(sensor)]

    def attention_of(self, stream: int) -> dict[str, nn.Module] | None:
        """The stream's own attention modules; None without RDA."""
        return find_attention(self, stream) if self.rda else None

    def maps(self, image: Tensor, sensor: Sensor) -> list[Tensor]:
        """A ResNet's maps of strides 8, 16 and 32 [B, C, h, w]."""
        stream = self.stream_of(sensor)
        return encode_maps(self.get_submodule(f"backbone_{stream}"), image, self.attention_of(stream))

    def dense(self, image: Tensor, sensor: Sensor, stride: int = 16) -> Tensor:
        """A map of features [B, C, ceil(H / stride), ceil(W / stride)].

        Args:
            image: [B, bands, H, W], normalised.
            sensor: "optical" or "sar".
            stride: 8, 16 or 32 of a ResNet (layers 2, 3, 4); 16 of a ViT, whose patch tokens after the norm they are.
        """
        if self.is_vit:
            net: Any = self.get_submodule(f"backbone_{self.stream_of(sensor)}")
            tokens = net.forward_features(image)[:, 1:].transpose(1, 2)
            return tokens.unflatten(2, (image.shape[-2] // 16, image.shape[-1] // 16))
        return self.maps(image, sensor)[(8, 16, 32).index(stride)]

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the maps that :meth:`dense` gives."""
        return (16,) if self.is_vit else (32, 16, 8)

    def width(self, stride: int) -> int:
        """Channels of the map of a stride."""
        return self.num_features if self.is_vit else self.num_features * stride // 32

    def pooled(self, image: Tensor, sensor: Sensor) -> Tensor:
        """One vector [B, F] for each image of a sensor."""
        stream = self.stream_of(sensor)
        return encode(self.get_submodule(f"backbone_{stream}"), image, self.attention_of(stream))

    @property
    def is_vit(self) -> bool:
        """Whether the streams are ViTs."""
        return not hasattr(self.get_submodule(f"backbone_{self.streams[0]}"), "layer4")

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        """One vector for each image, of each stream in order: tuple of [B, F]."""
        return tuple(
            encode(self.get_submodule(f"backbone_{stream}"), image, self.attention_of(stream))
            for stream, image in zip(self.streams, images, strict=True)
        )


class DeCURSegmenter(nn.Module):
    """The segmentation head of the GeoNRW protocol: an FCN over layers 2 to 4 of one or two streams.

    For each level the streams' maps are concatenated, reduced to ``widths`` channels, classified and resized by 8, 16
    and 32 with corners aligned; the three answers are added. The published head resizes before it classifies, which
    gives the same numbers (both are linear, and the weights of the resizing sum to 1) with more work.

    Args:
        in_dims: channels of the concatenated maps of layers 2, 3 and 4.
        widths: channels that they are reduced to.
        num_classes: classes K.
    """

    def __init__(self, in_dims: Sequence[int], widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        for level, (a, b) in enumerate(zip(in_dims, widths, strict=True)):
            self.add_module(f"uc{level}", nn.Conv2d(a, b, 1))
            self.add_module(f"cls{level}", nn.Conv2d(b, num_classes, 1))

    def forward(self, *streams: Sequence[Tensor]) -> Tensor:
        """Maps of strides 8, 16, 32 of each stream -> logits [B, K, H, W] at the image's size."""
        total: Tensor | None = None
        for level, factor in enumerate((8, 16, 32)):
            x = self.get_submodule(f"uc{level}")(torch.cat([maps[level] for maps in streams], dim=1))
            x = self.get_submodule(f"cls{level}")(x)
            x = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)
            total = x if total is None else total + x
        assert total is not None
        return total
