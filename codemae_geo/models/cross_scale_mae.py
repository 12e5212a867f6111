"""Cross-Scale MAE: a masked autoencoder that sees every image at two scales.

Source: Tang et al., "Cross-Scale MAE: A Tale of Multiscale Exploitation in Remote Sensing", NeurIPS 2023. Parameter
names and shapes are those of the published program (aicip/Cross-Scale-MAE) with timm's blocks; checkpoints that it
wrote with xFormers have other names and another order of norms, see :func:`from_xformers`.

One step (B images, L patches, K kept; D and W the widths of encoder and decoder)::

    image [B, C, S, S] and a crop of it, resized to S (one crop for the batch)      two scales
    masks drawn separately -> ViT on the kept patches of both                      [2B, 1 + K, D]
      L_cc  mean of the kept tokens: the two scales of an image find each other
    decoder with mask tokens, normed                                               [2B, 1 + L, W]
      L_cp  an MLP predicts the image's decoder tokens from the crop's
      L_re  pixels of the removed patches, image and crop added
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.losses.contrast import Gather, gather_rows
from codemae_geo.losses.cross_scale import cross_scale_contrast, cross_scale_prediction
from codemae_geo.losses.reconstruction import masked_mse, patchify
from codemae_geo.models.codemae import Masking, random_masking
from codemae_geo.models.encoder import Sensor
from codemae_geo.models.hivit import (
    AttentionBlock,
    pad_to_multiple,
    resample_positions,
    select_patches,
    sincos_positions,
)

#: sizes by name: base as published, tiny and small for CPUs
VARIANTS: dict[str, dict[str, int]] = {
    name: dict(
        zip(("embed_dim", "depth", "num_heads", "decoder_dim", "decoder_depth", "decoder_heads"), sizes, strict=True)
    )
    for name, sizes in {
        "tiny": (192, 6, 3, 128, 2, 4),
        "small": (384, 12, 6, 256, 4, 8),
        "base": (768, 12, 12, 512, 8, 16),
        "large": (1024, 24, 16, 512, 8, 16),
    }.items()
}
NormOrder = Literal["pre", "post"]


class CrossScaleLosses(NamedTuple):
    """The parts of a step, scalars. ``total`` is their sum, weight 1 each."""

    total: Tensor
    reconstruction: Tensor  #: L_re, of image and crop added
    prediction: Tensor  #: L_cp
    contrast: Tensor  #: L_cc


class Crop(NamedTuple):
    """A window of an image in pixels."""

    top: int
    left: int
    height: int
    width: int


# ---------------------------------------------------------------- the second scale


def draw_crop(
    size: tuple[int, int],
    scale: tuple[float, float] = (0.25, 0.75),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    generator: torch.Generator | None = None,
) -> Crop:
    """A random window with a share of the area in ``scale`` and width / height in ``ratio`` (torchvision's rule).

    Args:
        size: height and width of the image.
        scale, ratio: limits; the ratio is drawn evenly on a logarithmic axis.
        generator: of the random numbers, on the CPU; None is torch's own.
    """
    height, width = size
    for _ in range(10):
        u = torch.rand(2, generator=generator, dtype=torch.float64)
        area = height * width * (scale[0] + float(u[0]) * (scale[1] - scale[0]))
        low, high = math.log(ratio[0]), math.log(ratio[1])
        shape = math.exp(low + float(u[1]) * (high - low))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(0, height - h + 1, (), generator=generator))
            left = int(torch.randint(0, width - w + 1, (), generator=generator))
            return Crop(top, left, h, w)
    # a long image may have no such window: the largest one in its middle
    h, w = min(height, round(width / ratio[0])), min(width, round(height * ratio[1]))
    return Crop((height - h) // 2, (width - w) // 2, h, w)


def resized_crop(
    image: Tensor, crop: Crop, size: int | tuple[int, int], mode: Literal["bilinear", "bicubic"] = "bilinear"
) -> Tensor:
    """A window of [B, C, H, W], resized with antialiasing to ``size``."""
    window = image[..., crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    size = (size, size) if isinstance(size, int) else size
    return F.interpolate(window, size=size, mode=mode, align_corners=False, antialias=True)


# ---------------------------------------------------------------- model


class PostNormBlock(AttentionBlock):
    """The block that xFormers builds: ``LN(x + attention(x))``, then ``LN(x + MLP(x))``; [B, L, D] -> [B, L, D]."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.drop_path(self.attn(x)))
        return self.norm2(x + self.drop_path(self.mlp(x)))


class _PatchEmbed(nn.Module):
    """Patches to tokens: [B, C, H, W] -> [B, L, D], row-major."""

    def __init__(self, channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch, patch)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).flatten(2).transpose(1, 2)


class CrossScaleEncoder(nn.Module):
    """The ViT by itself: a backbone for optical and SAR images alike.

    Args:
        variant: "tiny", "small", "base" or "large"; the widths and depths below replace its own.
        img_size: side of the training images in pixels, a multiple of ``patch``.
        patch: side of a patch in pixels.
        channels: bands.
        embed_dim, depth, num_heads: of the encoder.
        norm_order: "pre" as a ViT; "post" as the published program's blocks with ``use_xformers``. Weights of one
            order give wrong features in the other.
        sensors: what it was trained on, in the order of the inputs of its package.

    Raises:
        ModelError: a value that cannot be used, named.
    """

    def __init__(
        self,
        variant: str = "base",
        img_size: int = 128,
        patch: int = 16,
        channels: int = 3,
        embed_dim: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        norm_order: NormOrder = "pre",
        sensors: Sequence[Sensor] = ("optical",),
    ) -> None:
        super().__init__()
        size = _size(variant, embed_dim=embed_dim, depth=depth, num_heads=num_heads)
        dim, heads = size["embed_dim"], size["num_heads"]
        if norm_order not in ("pre", "post"):
            raise ModelError("unknown order of norms", found=repr(norm_order), expected="'pre' or 'post'")
        if img_size % patch or img_size < patch:
            raise ModelError("img_size cannot be used", found=str(img_size), expected=f"a multiple of {patch}")
        _fits("embed_dim", dim, heads)
        self.patch, self.norm_order, self.sensors = patch, norm_order, tuple(sensors)
        self.num_features = self.embed_dim = dim
        self.side = img_size // patch
        self.patch_embed = _PatchEmbed(channels, dim, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.encoder_pos_embed = nn.Parameter(torch.zeros(1, self.side**2 + 1, dim), requires_grad=False)
        self.encoder = _blocks(norm_order, dim, heads, size["depth"])
        self.encoder_norm = nn.LayerNorm(dim, eps=1e-6)  # no loss reads it; probes do

    def encode(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens after the last block, before any norm, the class token first.

        Args:
            image: [B, C, H, W]; sides that do not divide by the patch are padded by their last row and column, and
                positions of another grid than the stored one are resampled.
            keep: [B, K] numbers of the patches to see; None sees all.

        Returns:
            [B, 1 + K, D], or [B, 1 + L, D].
        """
        image = pad_to_multiple(image, self.patch)
        grid = (image.shape[-2] // self.patch, image.shape[-1] // self.patch)
        stored = self.encoder_pos_embed[:, 1:]
        x = self.patch_embed(image)
        x = x + (stored if grid == (self.side, self.side) else resample_positions(stored, grid))
        if keep is not None:
            x = select_patches(x, keep)
        first = (self.cls_token + self.encoder_pos_embed[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([first.to(x.dtype), x], dim=1)
        for block in self.encoder:
            x = block(x)
        return x

    def forward_features(self, image: Tensor) -> Tensor:
        """What published probes read: all tokens after the final norm, [B, 1 + L, D], the class token first."""
        return self.encoder_norm(self.encode(image))

    def dense(self, image: Tensor, sensor: Sensor, stride: int = 16) -> Tensor:
        """The patch tokens as a map [B, D, H / patch, W / patch] of an image whose sides divide by the patch.

        Args:
            image: [B, C, H, W], normalised.
            sensor: not looked at: all images pass the same weights.
            stride: that of the map; the patch is the only one there is.
        """
        x = self.encode(image)[:, 1:].transpose(1, 2)
        return x.unflatten(2, (-(-image.shape[-2] // self.patch), -(-image.shape[-1] // self.patch)))

    @property
    def strides(self) -> tuple[int, ...]:
        """The stride of the map that :meth:`dense` gives."""
        return (self.patch,)

    def width(self, stride: int) -> int:
        """Channels of the map."""
        return self.embed_dim

    def pooled(self, image: Tensor, sensor: Sensor) -> Tensor:
        """Mean patch token of each image [B, C, H, W], what the contrast between scales trains: [B, D]."""
        return self.encode(image)[:, 1:].mean(dim=1)

    def forward(self, *images: Tensor) -> Any:
        """:meth:`pooled` of each batch, in the order of ``sensors``: tuple of [B, D]."""
        return tuple(self.pooled(image, sensor) for image, sensor in zip(images, self.sensors, strict=True))


class CrossScaleMAE(CrossScaleEncoder):
    """The ViT with its decoder, a predictor between scales and the three losses.

    Args:
        variant, img_size, patch, channels, embed_dim, depth, num_heads, norm_order, sensors: of the encoder, see
            :class:`CrossScaleEncoder`.
        decoder_dim, decoder_depth, decoder_heads: of the decoder.
        predictor_dim: hidden width of the predictor; its batch norm counts patches, not channels, as published.
        mask_ratio: share of patches removed, drawn separately for the two scales.
        crop_scale: share of the area that the second scale's window has.
        temperature: of the contrast between scales.

    Raises:
        ModelError: a value that cannot be used, named.
    """

    def __init__(
        self,
        variant: str = "base",
        img_size: int = 128,
        patch: int = 16,
        channels: int = 3,
        embed_dim: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        decoder_dim: int | None = None,
        decoder_depth: int | None = None,
        decoder_heads: int | None = None,
        predictor_dim: int = 2048,
        mask_ratio: float = 0.75,
        norm_order: NormOrder = "pre",
        crop_scale: Sequence[float] = (0.25, 0.75),
        temperature: float = 0.5,
        sensors: Sequence[Sensor] = ("optical",),
    ) -> None:
        super().__init__(variant, img_size, patch, channels, embed_dim, depth, num_heads, norm_order, sensors)
        size = _size(variant, decoder_dim=decoder_dim, decoder_depth=decoder_depth, decoder_heads=decoder_heads)
        width, heads = size["decoder_dim"], size["decoder_heads"]
        _fits("decoder_dim", width, heads)
        if not 0 < mask_ratio < 1 or int(self.side**2 * (1 - mask_ratio)) < 1:
            raise ModelError(
                "mask_ratio cannot be used", found=str(mask_ratio), expected="above 0, below 1, one patch or more left"
            )
        if len(crop_scale) != 2 or not 0 < crop_scale[0] <= crop_scale[1] <= 1:
            raise ModelError(
                "crop_scale cannot be used", found=str(tuple(crop_scale)), expected="smallest, largest share in (0, 1]"
            )
        self.mask_ratio, self.temperature = mask_ratio, temperature
        #: rows of other processes; "none" where all processes hold the same
        self.gather: Gather = "exact"
        self.crop_scale = (crop_scale[0], crop_scale[1])
        self.encoder_norm.requires_grad_(False)  # kept for the names of the checkpoints
        self.decoder_embed = nn.Linear(self.embed_dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, self.side**2 + 1, width), requires_grad=False)
        self.decoder = _blocks(norm_order, width, heads, size["decoder_depth"])
        self.decoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_pred = nn.Linear(width, patch * patch * channels)
        self.predictor = nn.Sequential(
            nn.Linear(width, predictor_dim), nn.BatchNorm1d(self.side**2), nn.ReLU(), nn.Linear(predictor_dim, width)
        )
        self._initialise()

    def _initialise(self) -> None:
        """MAE's start: Xavier for linear layers and patches, sine-cosine positions, 0 for the class token's place."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)
        if not self.encoder_pos_embed.is_meta:
            for table in (self.encoder_pos_embed, self.decoder_pos_embed):
                table.data[0, 1:].copy_(sincos_positions(self.side, table.shape[-1]))

    # -- parts of a step

    def decode(self, tokens: Tensor, restore: Tensor) -> Tensor:
        """Normed decoder tokens [B, 1 + L, W] from [B, 1 + K, D] and the place of each patch [B, L]."""
        x = self.decoder_embed(tokens)
        missing = restore.shape[1] + 1 - x.shape[1]
        patches = torch.cat([x[:, 1:], self.mask_token.to(x.dtype).expand(len(x), missing, -1)], dim=1)
        x = torch.cat([x[:, :1], select_patches(patches, restore)], dim=1) + self.decoder_pos_embed
        for block in self.decoder:
            x = block(x)
        return self.decoder_norm(x)

    def encoder_state(self) -> dict[str, Tensor]:
        """The entries of :class:`CrossScaleEncoder`."""
        return {k: v for k, v in self.state_dict().items() if k.startswith(ENCODER_PREFIXES)}

    # -- the step

    def forward(  # type: ignore[override]
        self,
        image: Tensor,
        crop: Tensor | None = None,
        noise: tuple[Tensor, Tensor] | None = None,
        generator: torch.Generator | None = None,
        kinds: int = 1,
    ) -> CrossScaleLosses:
        """Losses of one batch.

        Args:
            image: [B, C, S, S] of the size that the model was built for, normalised.
            crop: the same images at the second scale; None draws a window for the whole batch and resizes it.
            noise: two [B, L], which patches each scale keeps (the smallest); None draws them.
            generator: of the random numbers, on the CPU: window, noise of the image, noise of the crop, in this order.
            kinds: the rows are so many kinds of images of equal number, one kind after the other, such as optical and
                SAR; each is contrasted within itself, since the same place in another kind is not another image.

        Raises:
            ModelError: a batch of one image, which has nothing to differ from; another size of image.
        """
        count, size = len(image), (image.shape[-2], image.shape[-1])
        whole = self.side * self.patch
        if size != (whole, whole):
            raise ModelError(
                "the images have another size than the model was built for",
                found=f"{size[0]} x {size[1]} pixels",
                expected=f"{whole} x {whole}",
            )
        if crop is None:
            crop = resized_crop(image, draw_crop(size, self.crop_scale, generator=generator), whole)
        if noise is None:
            drawn = [torch.rand(count, self.side**2, generator=generator).to(image.device) for _ in range(2)]
            noise = (drawn[0], drawn[1])
        # nothing in the network mixes the rows of a batch, so both scales pass at once
        both = torch.cat([image, crop])
        masking: Masking = random_masking(torch.cat(noise), self.mask_ratio)
        tokens = self.encode(both, masking.keep)
        decoded = self.decode(tokens, masking.restore)[:, 1:]

        target = select_patches(patchify(both, self.patch), masking.removed)
        predicted = self.decoder_pred(select_patches(decoded, masking.removed))
        of_image, of_crop = decoded.chunk(2)
        # every image hides as many patches: the mean over both, twice, is the sum of the two means
        reconstruction = 2 * masked_mse(_exact(predicted), _exact(target))
        prediction = cross_scale_prediction(_exact(self.predictor(of_crop)), _exact(of_image))
        means = _exact(tokens[:, 1:]).mean(dim=1).reshape(2, kinds, count // kinds, -1)
        contrast = torch.stack([self._contrast(means[0, i], means[1, i]) for i in range(kinds)]).mean()
        return CrossScaleLosses(reconstruction + prediction + contrast, reconstruction, prediction, contrast)

    def _contrast(self, image: Tensor, crop: Tensor) -> Tensor:
        first, second = gather_rows(image, self.gather)[0], gather_rows(crop, self.gather)[0]
        if len(first) < 2:
            raise ModelError(
                "the contrast between scales needs other images to differ from",
                found="a batch of one image",
                expected="2 or more",
            )
        with torch.autocast(first.device.type, enabled=False):
            return cross_scale_contrast(first, second, self.temperature)


def _exact(x: Tensor) -> Tensor:
    """At least float32, for sums of many small numbers."""
    return x if x.dtype == torch.float64 else x.float()


def _size(variant: str, **asked: int | None) -> dict[str, int]:
    if variant not in VARIANTS:
        raise ModelError("unknown size of the model", found=repr(variant), expected=", ".join(VARIANTS))
    return VARIANTS[variant] | {key: value for key, value in asked.items() if value is not None}


def _fits(name: str, dim: int, heads: int) -> None:
    if dim % heads or dim % 4:
        raise ModelError(f"{name} cannot be used", found=str(dim), expected=f"a multiple of 4 and {heads}")


def _blocks(norm_order: str, dim: int, heads: int, depth: int) -> nn.ModuleList:
    if norm_order == "pre":
        return nn.ModuleList(AttentionBlock(dim, heads, 4.0, 1e-6) for _ in range(depth))
    return nn.ModuleList(PostNormBlock(dim, heads, 4.0, 1e-5) for _ in range(depth))  # xFormers' eps is torch's


# ---------------------------------------------------------------- checkpoints

#: what of a pretraining checkpoint the encoder has; ``encoder_`` are its positions and norm
ENCODER_PREFIXES = ("cls_token", "encoder", "patch_embed")
#: names of one block in checkpoints written with xFormers -> names here; q, k and v become one
_XFORMERS = {
    "wrap_att.norm": "norm1",
    "wrap_att.sublayer.layer.proj": "attn.proj",
    "wrap_ff.norm": "norm2",
    "wrap_ff.sublayer.layer.mlp.0": "mlp.fc1",
    "wrap_ff.sublayer.layer.mlp.3": "mlp.fc2",
}
_IN_PROJECTION = re.compile(r"wrap_att\.sublayer\.layer\.in_proj_container\.([qkv])_proj\.(weight|bias)$")
_BLOCK = re.compile(r"^(encoder|decoder)\.encoders\.(\d+)\.(.+)$")


def norm_order_of(state: Mapping[str, Any]) -> NormOrder:
    """The order of norms that a checkpoint was trained with, by its names."""
    return "post" if any(_BLOCK.match(key) for key in state) else "pre"


def from_xformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names of a checkpoint that the published program wrote with ``use_xformers`` -> names of this model.

    Repetitions of the same tensors under ``mha`` and ``feedforward`` are left out; everything else keeps its name, so
    that a strict load reports what does not belong.
    """
    result: dict[str, Tensor] = {}
    projections: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = _BLOCK.match(key)
        if match is None:
            result[key] = value
            continue
        part, number, rest = match.groups()
        if rest.startswith(("mha.", "feedforward.")):
            continue
        projection = _IN_PROJECTION.match(rest)
        if projection:
            which, kind = projection.groups()
            projections.setdefault(f"{part}.{number}.attn.qkv.{kind}", {})[which] = value
            continue
        name, _, kind = rest.rpartition(".")
        result[f"{part}.{number}.{_XFORMERS.get(name, name)}.{kind}"] = value
    for key, parts in projections.items():
        if parts.keys() >= set("qkv"):
            result[key] = torch.cat([parts[which] for which in "qkv"])
    return result
