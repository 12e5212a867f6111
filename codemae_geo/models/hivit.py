"""HiViT in the iTPN form with one tokenizer per modality: the backbone of CoDe-MAE.

Read top to bottom: helpers, blocks, model, checkpoint filter, variants. Sources: HiViT (Zhang et al., ICLR 2023), iTPN
(Tian et al., CVPR 2023), CoDe-MAE (Peng et al., arXiv 2604.16952, section III). Parameter names and shapes are those of
the published checkpoints, so these load strictly.

Layout of one forward pass (D = ``embed_dim``, p = 16 pixels)::

    image [B, 3, H, W]
      tokenizer of its modality   4x4 convolution, layer norm              [B, L, 4, 4, D/4]   L = H/16 * W/16 patches
      (visible patches are selected here when ``ids_keep`` is given)
      MLP blocks, 2x2 merge       stride 4, kept as ``stage4``             [B, L, 2, 2, D/2]
      MLP blocks, 2x2 merge       stride 8, kept as ``stage8``             [B, L, D]
      + positions, attention      stride 16                                [B, L, D]
      top-down pyramid            stride 16, 8, 4, each ``fpn_dim`` wide

Every patch keeps its own 4x4 sub-tokens up to the attention blocks; that lets a masked pass drop patches first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from codemae_geo.errors import ModelError

#: side of a patch in pixels: 4 (tokenizer) x 2 x 2 (two merges)
PATCH = 16
Modality = Literal["RGB", "SAR"]
Modalities = Literal["RGB", "SAR", "Both"]
_MODALITY: dict[str, Modality] = {"optical": "RGB", "sar": "SAR"}
#: the two pooling rules for pyramid levels coarser than stride 16
ExtraLevels = Literal["avg", "max"]
_POOL: dict[str, Callable[..., Tensor]] = {"avg": F.avg_pool2d, "max": F.max_pool2d}


# ---------------------------------------------------------------- helpers


def sincos_positions(side: int, dim: int) -> Tensor:
    """Two-dimensional sine-cosine table, the start of the learnable positions.

    Returns:
        [side * side, dim], rows first; the first half of ``dim`` encodes the column, the second the row (as in MAE).
    """
    quarter = dim // 4
    frequency = 1.0 / 10000 ** (torch.arange(quarter, dtype=torch.float32) / quarter)
    angle = torch.arange(side, dtype=torch.float32)[:, None] * frequency
    axis = torch.cat([angle.sin(), angle.cos()], dim=1)  # [side, dim / 2]
    column = axis[None, :, :].expand(side, side, -1)
    row = axis[:, None, :].expand(side, side, -1)
    return torch.cat([column, row], dim=2).reshape(side * side, dim)


def resample_positions(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions of a table of ``side x side`` tokens at another grid, as published.

    Bicubic, corners not aligned, with scale factor ``(grid + 0.1) / side`` per axis. The factor itself, not the ratio
    of sizes, gives the sampling coordinates, so the result differs slightly from resizing to ``grid``.

    Args:
        table: [1, side * side, D].
        grid: rows, columns of the wanted grid.

    Returns:
        [1, rows * columns, D] in the table's dtype.
    """
    side = math.isqrt(table.shape[1])
    scale = ((grid[0] + 0.1) / side, (grid[1] + 0.1) / side)
    maps = table.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)  # [1, D, side, side]
    maps = F.interpolate(maps, scale_factor=scale, mode="bicubic", align_corners=False, recompute_scale_factor=False)
    if maps.shape[-2:] != grid:
        raise AssertionError(f"positions were resampled to {tuple(maps.shape[-2:])}, not {grid}")
    return maps.flatten(2).transpose(1, 2).to(table.dtype)


def select_patches(x: Tensor, ids: Tensor) -> Tensor:
    """Pick patches along axis 1: ``x`` [B, L, ...], ``ids`` [B, K] -> [B, K, ...]."""
    index = ids.reshape(ids.shape + (1,) * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
    return x.gather(1, index)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of [B, C, H, W] until both sides divide by ``multiple``."""
    right, bottom = -image.shape[-1] % multiple, -image.shape[-2] % multiple
    return F.pad(image, (0, right, 0, bottom), mode="replicate") if right or bottom else image


def fit_positions(table: Tensor, present: int, rows: int, cols: int) -> Tensor:
    """Position rows [1, rows * cols, D] of a whole grid, of which ``present`` patches are in the pass.

    The stored table is used as it stands only if ``present`` equals its length and the grid is square; otherwise it is
    resampled, **also in a masked pass at the stored size**. The published models were trained so.
    """
    if present == table.shape[1] and rows == cols:
        return table
    return resample_positions(table, (rows, cols))


def mix_positions(table: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Positions of another grid by given weights, as an exported graph has it, which knows no size beforehand.

    Args:
        table: [1, side * side, D].
        rows, columns: [h, side] and [w, side].

    Returns:
        [1, h * w, D].
    """
    side = math.isqrt(table.shape[1])
    maps = table.reshape(side, side, -1)
    return torch.einsum("hs,wt,std->hwd", rows, columns, maps).flatten(0, 1)[None]


def drop_samples(x: Tensor, rate: float) -> Tensor:
    """``x`` [B, ...] with each sample 0 with probability ``rate``, else scaled up by 1 / (1 - rate)."""
    keep = x.new_empty(x.shape[0], *(1,) * (x.ndim - 1)).bernoulli_(1 - rate)
    return x * keep / (1 - rate)


# what depends on the size of an image is one node of a traced graph (torch.fx, which feature extraction uses)
for _name in ("pad_to_multiple", "fit_positions", "drop_samples"):
    torch.fx.wrap(_name)


# ---------------------------------------------------------------- blocks


class PatchEmbed(nn.Module):
    """Tokenizer of one modality: 4x4 stride-4 convolution and layer norm.

    Image [B, C, H, W] with sides divisible by 16 -> [B, L, 4, 4, dim], patches and sub-patches both row-major.
    """

    def __init__(self, in_chans: int, dim: int, eps: float) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(dim, eps=eps)

    def forward(self, image: Tensor) -> Tensor:
        x = self.proj(image)
        b, c, h, w = x.shape
        # [B, C, rows, 4, cols, 4] -> [B, rows, cols, 4, 4, C]
        x = x.reshape(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1)
        return self.norm(x.reshape(b, (h // 4) * (w // 4), 4, 4, c))


class PatchMerge(nn.Module):
    """Join 2x2 sub-tokens: [B, L, 2s, 2s, dim] -> [B, L, s, s, 2 dim]."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, eps=eps)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # order (row, col) even-even, odd-even, even-odd, odd-odd
        quarters = [x[:, :, r::2, c::2] for c in (0, 1) for r in (0, 1)]
        return self.reduction(self.norm(torch.cat(quarters, dim=-1)))


class PatchSplit(nn.Module):
    """Open each sub-token into 2x2: [B, L, s, s, dim] -> [B, L, 2s, 2s, out_dim]."""

    def __init__(self, dim: int, out_dim: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.reduction = nn.Linear(dim, 4 * out_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, n, s, _, _ = x.shape
        x = self.reduction(self.norm(x)).reshape(b, n, s, s, 2, 2, -1)
        # [B, L, s, s, 2, 2, C] -> [B, L, s, 2, s, 2, C] -> [B, L, 2s, 2s, C]
        return x.permute(0, 1, 2, 4, 3, 5, 6).reshape(b, n, 2 * s, 2 * s, -1)


class DropPath(nn.Module):
    """Stochastic depth: in training a sample's residual branch is dropped with probability ``rate``, else scaled up.

    This and :class:`Mlp` are timm's, written out: importing timm takes longer than mapping a small scene.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return drop_samples(x, self.rate) if self.training and self.rate > 0 else x


class Mlp(nn.Module):
    """Linear, exact GELU, linear over the last axis."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Attention(nn.Module):
    """Multi-head self-attention over [B, L, dim], scale head_dim^-0.5."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.fused = True  # the fused kernel never stores the L x L matrix
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, d // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, L, head_dim]
        if self.fused:
            x = F.scaled_dot_product_attention(q, k, v)
        else:
            weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
            x = weights.softmax(dim=-1) @ v
        return self.proj(x.transpose(1, 2).reshape(b, n, d))


class MlpBlock(nn.Module):
    """x + MLP(LN(x)). The norm is ``norm2`` because the published block is an attention block without attention."""

    def __init__(self, dim: int, ratio: float, eps: float, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, int(dim * ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mlp(self.norm2(x)))


class AttentionBlock(MlpBlock):
    """Pre-norm transformer block over [B, L, dim]."""

    def __init__(self, dim: int, num_heads: int, ratio: float, eps: float, drop_path: float = 0.0) -> None:
        super().__init__(dim, ratio, eps, drop_path)
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.drop_path(self.attn(self.norm1(x))))


# ---------------------------------------------------------------- model


class Features(NamedTuple):
    """What the backbone knows before its pyramid. L is the number of patches present (K in a masked pass)."""

    stage4: Tensor  #: [B, L, 4, 4, D/4], before the first merge
    stage8: Tensor  #: [B, L, 2, 2, D/2], before the second merge
    tokens: Tensor  #: [B, L, D], after the last attention block
    grid: tuple[int, int]  #: rows, columns of patches of the whole (padded) image
    tapped: Tensor | None = None  #: [B, L, D], the output of attention block ``tap`` if asked for


class HiViT(nn.Module):
    """HiViT with iTPN pyramid; optical and SAR tokenizers before one shared trunk.

    Args:
        img_size: side in pixels of the square image whose positions are stored; other sizes are resampled.
        in_chans: bands of every modality.
        num_classes: classes of the linear head on mean-pooled tokens; 0 for none.
        head_norm: a batch norm without affine (eps 1e-6) before the linear head, as in the published SAR classifiers.
        global_pool: "avg" pools the tokens; "" leaves them, and the head works on each.
        embed_dim: width D at stride 16; D/2 at stride 8, D/4 at stride 4.
        mlp_depth1, mlp_depth2: MLP blocks at stride 4 and 8.
        depth, num_heads: attention blocks at stride 16.
        stem_mlp_ratio, mlp_ratio: hidden width of the MLP blocks; of the attention and pyramid blocks.
        fpn_dim, fpn_depth: width of every pyramid level; MLP blocks per top-down step.
        num_outs: pyramid levels, finest (stride 4) first: 3, 4 or 5; 1 builds no pyramid (the classification form).
        extra_levels: levels coarser than stride 16 are 2x2 "avg" or "max" pools of the level before.
        modality: tokenizers to build, "RGB", "SAR" or "Both".
        drop_rate: dropout before the head.
        drop_path_rate: stochastic depth, rising linearly over stem and attention blocks.
        layernorm_eps: 1e-6 in pretraining, classification and damage mapping; 1e-5 in the published dense backbone.
        pad_input: an image whose sides do not divide by 16 is padded by repeating its last row and column, and the
            levels are cropped back to ``ceil(side / stride)``. If False such an image is an error.
        instance_norm: every channel of every image is brought to mean 0 and deviation 1 before the tokenizer (not in
            the paper): what is left is structure, which optical and SAR images share sooner than brightness.

    Raises:
        ModelError: a combination that cannot be built, or at run time an unknown modality or a wrong image size.
    """

    def __init__(
        self,
        img_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 0,
        global_pool: str = "avg",
        embed_dim: int = 512,
        mlp_depth1: int = 3,
        mlp_depth2: int = 3,
        depth: int = 24,
        num_heads: int = 8,
        stem_mlp_ratio: float = 3.0,
        mlp_ratio: float = 4.0,
        fpn_dim: int = 256,
        fpn_depth: int = 1,
        num_outs: int = 1,
        extra_levels: ExtraLevels = "max",
        modality: Modalities = "Both",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        layernorm_eps: float = 1e-6,
        pad_input: bool = True,
        head_norm: bool = False,
        instance_norm: bool = False,
    ) -> None:
        super().__init__()
        _check(num_outs in (1, 3, 4, 5), "number of pyramid levels", num_outs, "1 (no pyramid), 3, 4 or 5")
        _check(extra_levels in _POOL, "rule for extra pyramid levels", extra_levels, "'avg' or 'max'")
        _check(modality in ("RGB", "SAR", "Both"), "modality", modality, "'RGB', 'SAR' or 'Both'")
        _check(img_size % PATCH == 0, "img_size", img_size, f"a multiple of {PATCH}")
        _check(global_pool in ("avg", ""), "global_pool", global_pool, "'avg' or ''")
        _check(
            embed_dim % (4 * num_heads) == 0, "embed_dim", embed_dim, f"a multiple of 4 x num_heads = {4 * num_heads}"
        )
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = self.embed_dim = embed_dim
        self.in_chans = in_chans
        self.num_outs = num_outs
        self.extra_levels = extra_levels
        self.modalities: tuple[Modality, ...] = ("RGB", "SAR") if modality == "Both" else (modality,)
        self.pad_input = pad_input
        self.instance_norm = instance_norm
        self.grad_checkpointing = False
        #: given when a graph is exported, see :func:`mix_positions`
        self.position_weights: tuple[Tensor, Tensor] | None = None
        side = img_size // PATCH
        self.absolute_pos_embed = nn.Parameter(torch.zeros(1, side * side, embed_dim))
        if "RGB" in self.modalities:
            self.patch_embed_rgb = PatchEmbed(in_chans, embed_dim // 4, layernorm_eps)
        if "SAR" in self.modalities:
            self.patch_embed_sar = PatchEmbed(in_chans, embed_dim // 4, layernorm_eps)

        count = mlp_depth1 + mlp_depth2 + depth
        rates = iter(drop_path_rate * i / max(count - 1, 1) for i in range(count))
        stem = partial(MlpBlock, ratio=stem_mlp_ratio, eps=layernorm_eps)
        self.blocks = nn.ModuleList(
            [stem(embed_dim // 4, drop_path=next(rates)) for _ in range(mlp_depth1)]
            + [PatchMerge(embed_dim // 4, layernorm_eps)]
            + [stem(embed_dim // 2, drop_path=next(rates)) for _ in range(mlp_depth2)]
            + [PatchMerge(embed_dim // 2, layernorm_eps)]
            + [
                AttentionBlock(embed_dim, num_heads, mlp_ratio, layernorm_eps, drop_path=next(rates))
                for _ in range(depth)
            ]
        )
        self.depths = (mlp_depth1, mlp_depth2, depth)
        self._merge4, self._merge8 = mlp_depth1, mlp_depth1 + 1 + mlp_depth2  # where the two merges stand
        self.stages = 3  # fewer once the model is pruned
        ends = (self._merge4 - 1, self._merge8 - 1, len(self.blocks) - 1)
        #: timm's table of feature maps: the levels of the pyramid, or the three stages of a model without one
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": embed_dim // 4 * 2**i, "reduction": 4 * 2**i, "module": f"blocks.{end}"}
            for i, end in enumerate(ends)
        ]

        if num_outs > 1:
            block = partial(MlpBlock, fpn_dim, mlp_ratio, layernorm_eps)
            self.align_dim_16tofpn = nn.Linear(embed_dim, fpn_dim)
            self.fpn_modules = nn.ModuleList(block() for _ in range(3))  # strides 16, 8, 4
            self.align_dim_16to8 = nn.Linear(embed_dim // 2, fpn_dim, bias=False)
            self.split_16to8 = PatchSplit(embed_dim, fpn_dim, layernorm_eps)
            self.block_16to8 = nn.Sequential(*(block() for _ in range(fpn_depth)))
            self.align_dim_8to4 = nn.Linear(embed_dim // 4, fpn_dim, bias=False)
            self.split_8to4 = PatchSplit(fpn_dim, fpn_dim, layernorm_eps)
            self.block_8to4 = nn.Sequential(*(block() for _ in range(fpn_depth)))
            self.feature_info = [
                {"num_chs": fpn_dim, "reduction": 4 * 2**i, "module": f"fpn_modules.{max(2 - i, 0)}"}
                for i in range(num_outs)
            ]
        self.global_pool = global_pool
        self.layernorm_eps = layernorm_eps
        self.fc_norm = nn.LayerNorm(embed_dim, eps=layernorm_eps) if num_classes else nn.Identity()
        self.head_drop = nn.Dropout(drop_rate)
        self.head_norm = head_norm
        self.apply(_init_weights)
        self.head = classifier_head(embed_dim, num_classes, head_norm)
        if not self.absolute_pos_embed.is_meta:
            self.absolute_pos_embed.data.copy_(sincos_positions(side, embed_dim)[None])

    # -- stages

    def embed(self, image: Tensor, modality: Modality | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Tokenize an image [B, C, H, W] of one modality (the first one built if not given).

        Returns:
            sub-tokens [B, L, 4, 4, D/4] and the grid (rows, columns) of the L patches, after padding.
        """
        if modality is None or isinstance(modality, torch.fx.Proxy):  # a traced graph serves the first modality
            modality = self.modalities[0]
        if modality not in self.modalities:
            raise ModelError(
                f"the model has no tokenizer for modality {modality!r}",
                expected=" or ".join(self.modalities),
                hint="build it with modality='Both'",
            )
        if self.instance_norm:
            image = F.instance_norm(image, eps=1e-3)  # a flat image stays flat
        if self.pad_input:
            image = pad_to_multiple(image, PATCH)
        elif image.shape[-2] % PATCH or image.shape[-1] % PATCH:
            raise ModelError(
                "the image sides do not divide by the patch size",
                found=f"{image.shape[-2]} x {image.shape[-1]} pixels",
                expected=f"multiples of {PATCH}",
                hint="build the model with pad_input=True",
            )
        tokenizer = self.patch_embed_rgb if modality == "RGB" else self.patch_embed_sar
        return tokenizer(image), (image.shape[-2] // PATCH, image.shape[-1] // PATCH)

    def forward_stages(
        self,
        images: Tensor | Sequence[Tensor],
        modality: Modality | Sequence[Modality] | None = None,
        ids_keep: Tensor | None = None,
        tap: int | None = None,
    ) -> Features:
        """Images to features at strides 4, 8 and 16, before the pyramid.

        Args:
            images: [B, C, H, W], or several such batches of one size that share the trunk, rows concatenated.
            modality: that of the images, one per batch.
            ids_keep: [rows, K] indices of the visible patches (row-major), selected right after the tokenizer so that
                removed patches cost nothing. None keeps all.
            tap: number (from 0) of an attention block whose output is returned as well.
        """
        batches = list(images) if isinstance(images, list | tuple) else [cast("Tensor", images)]
        names = list(modality) if isinstance(modality, list | tuple) else [modality] * len(batches)
        embedded = [
            self.embed(image, cast("Modality | None", name)) for image, name in zip(batches, names, strict=True)
        ]
        x, grid = torch.cat([tokens for tokens, _ in embedded]) if len(embedded) > 1 else embedded[0][0], embedded[0][1]
        if ids_keep is not None:
            x = select_patches(x, ids_keep)

        if self.stages < 3:
            raise ModelError("the model was pruned to its first stages", found=f"{self.stages} of 3 stages")
        stage4 = self._stage4(x)
        stage8 = self._stage8(stage4)
        x, attention = self._merged(stage8), self.blocks[self._merge8 + 1 :]
        if self.position_weights is None:
            position = fit_positions(self.absolute_pos_embed, x.shape[1], *grid)
        else:
            position = mix_positions(self.absolute_pos_embed, *self.position_weights)
        if ids_keep is not None:
            position = select_patches(position.expand(len(ids_keep), -1, -1), ids_keep)
        x = x + position
        if tap is None:
            return Features(stage4, stage8, self._run(attention, x), grid)
        tapped = self._run(attention[: tap + 1], x)
        return Features(stage4, stage8, self._run(attention[tap + 1 :], tapped), grid, tapped)

    def _stage4(self, x: Tensor) -> Tensor:
        return self._run(self.blocks[: self._merge4], x)

    def _stage8(self, stage4: Tensor) -> Tensor:
        return self._run(self.blocks[self._merge4 + 1 : self._merge8], self.blocks[self._merge4](stage4))

    def _merged(self, stage8: Tensor) -> Tensor:
        return self.blocks[self._merge8](stage8)[:, :, 0, 0]  # [B, L, 1, 1, D] -> [B, L, D]

    def _run(self, blocks: nn.ModuleList, x: Tensor) -> Tensor:
        for block in blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x

    def forward_levels(self, features: Features) -> tuple[Tensor, Tensor, Tensor]:
        """Refined pyramid levels, finest first, still grouped by patch (what a masked decoder needs).

        Returns:
            stride 4 [B, L, 4, 4, fpn_dim], stride 8 [B, L, 2, 2, fpn_dim], stride 16 [B, L, 1, 1, fpn_dim].
        """
        if self.num_outs == 1:
            raise ModelError("the model was built without a pyramid", found="num_outs=1", expected="num_outs=3, 4 or 5")
        x = features.tokens[:, :, None, None]  # [B, L, 1, 1, D]
        level16 = self.align_dim_16tofpn(x)
        # the next step starts from levels that have not passed their own refining block
        level8 = self.block_16to8(self.split_16to8(x) + self.align_dim_16to8(features.stage8))
        level4 = self.block_8to4(self.split_8to4(level8) + self.align_dim_8to4(features.stage4))
        refine16, refine8, refine4 = self.fpn_modules
        return refine4(level4), refine8(level8), refine16(level16)

    def forward_pyramid(
        self, images: Tensor | Sequence[Tensor], modality: Modality | Sequence[Modality] | None = None
    ) -> list[Tensor]:
        """Feature maps of ``num_outs`` levels, finest (stride 4) first.

        Args:
            images, modality: as in :meth:`forward_stages`.

        Returns:
            maps [B, fpn_dim, ceil(H / stride), ceil(W / stride)] for strides 4, 8, 16, then
            [B, fpn_dim, h // 2, w // 2] for each further level, h x w being the size of the level before.
        """
        height, width = (images if isinstance(images, Tensor) else images[0]).shape[-2:]
        return self._pyramid(self.forward_stages(images, modality), height, width)

    def _pyramid(self, features: Features, height: int, width: int) -> list[Tensor]:
        levels = zip((4, 8, 16), self.forward_levels(features), strict=True)
        maps = [_cropped(level, features.grid, stride, height, width) for stride, level in levels]
        for _ in range(self.num_outs - 3):
            maps.append(_POOL[self.extra_levels](maps[-1], kernel_size=2, stride=2))
        return maps

    def forward_features(self, x: Tensor, modality: Modality | None = None) -> Tensor:
        """The tokens [B, L, D] of images [B, C, H, W], row-major: what timm means by the features of a model."""
        return self.forward_stages(x, modality).tokens

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens [B, L, D] through mean, layer norm, dropout and head: [B, num_classes] ([B, D] without a head).

        With ``global_pool=""`` nothing is pooled: [B, L, num_classes] or [B, L, D].
        """
        x = self.head_drop(self.fc_norm(x.mean(dim=1) if self.global_pool else x))
        return x if pre_logits else self.head(x)

    def forward(self, image: Tensor, modality: Modality | None = None) -> Tensor | list[Tensor]:
        """Logits [B, num_classes] or pooled features [B, D] without a pyramid, else the list of pyramid maps."""
        if self.num_outs > 1 and not self.num_classes:
            return self.forward_pyramid(image, modality)
        return self.forward_head(self.forward_features(image, modality))

    # -- what every encoder of ours answers, see :class:`codemae_geo.models.encoder.Encoder`

    @property
    def sensors(self) -> tuple[Literal["optical", "sar"], ...]:
        """What there are tokenizers for."""
        return tuple("optical" if modality == "RGB" else "sar" for modality in self.modalities)

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the maps that :meth:`dense` gives, the tokens' first."""
        return (16,) if self.num_outs == 1 else (16, 8, 4)

    def width(self, stride: int = PATCH) -> int:
        """Channels of the map of a stride."""
        return self.embed_dim if stride == PATCH else int(self.feature_info[0]["num_chs"])

    def dense(self, image: Tensor, sensor: Literal["optical", "sar"], stride: int = PATCH) -> Tensor:
        """The last block's tokens (stride 16) or a pyramid level (8, 4) of [B, C, H, W] as a map [B, D, h, w]."""
        features = self.forward_stages(image, _MODALITY[sensor])
        if stride == PATCH:
            return levels_to_map(features.tokens[:, :, None, None], features.grid)
        return levels_to_map(self.forward_levels(features)[(4, 8).index(stride)], features.grid)

    def pooled(self, image: Tensor, sensor: Literal["optical", "sar"]) -> Tensor:
        """Mean token of [B, C, H, W]: [B, D]."""
        return self.forward_stages(image, _MODALITY[sensor]).tokens.mean(dim=1)

    # -- what else timm asks of a model

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        modality: Modality | None = None,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Feature maps of :attr:`feature_info`: levels of the pyramid, or the three stages of a model without one.

        Args:
            x: [B, C, H, W].
            indices: which maps, finest first; a number takes that many from the coarse end, None all.
            norm: of no effect, the stages end in no norm.
            stop_early: leave out the stages after the last map asked for (a pyramid needs them all).
            output_fmt: "NCHW" for maps [B, c, h, w], "NLC" for [B, h * w, c].
            intermediates_only: return the maps alone.
            modality: of the images.

        Returns:
            the maps, or (tokens [B, L, D], maps); with ``stop_early`` the tokens of the last stage that ran.
        """
        from timm.models._features import feature_take_indices

        _check(output_fmt in ("NCHW", "NLC"), "output format", output_fmt, "'NCHW' or 'NLC'")
        take, last = feature_take_indices(len(self.feature_info), indices)
        if self.num_outs > 1:
            features = self.forward_stages(x, modality)
            tokens, maps = features.tokens, self._pyramid(features, *x.shape[-2:])
        else:
            tokens, maps = self._stage_maps(x, modality, last + 1 if stop_early else self.stages)
        chosen = [maps[i] for i in take]
        if output_fmt == "NLC":
            chosen = [m.flatten(2).transpose(1, 2) for m in chosen]
        return chosen if intermediates_only else (tokens, chosen)

    def _stage_maps(self, image: Tensor, modality: Modality | None, stages: int) -> tuple[Tensor, list[Tensor]]:
        """The last tokens and the maps of the first ``stages`` stages."""
        if stages == 3:
            whole = self.forward_stages(image, modality)
            grid, levels = whole.grid, [whole.stage4, whole.stage8, whole.tokens[:, :, None, None]]
        else:
            x, grid = self.embed(image, modality)
            levels = [self._stage4(x)]
            if stages == 2:
                levels.append(self._stage8(levels[0]))
        height, width = image.shape[-2:]
        maps = [_cropped(level, grid, 4 * 2**i, height, width) for i, level in enumerate(levels)]
        return levels[-1].flatten(1, 3), maps

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what the maps ``indices`` do not need: the head, and without a pyramid the stages after the last.

        Returns:
            the indices, counted from the finest map.
        """
        from timm.models._features import feature_take_indices

        take, last = feature_take_indices(len(self.feature_info), indices)
        if self.num_outs == 1:
            self.stages = last + 1
            self.blocks = self.blocks[: (self._merge4, self._merge8, len(self.blocks))[last]]
        if prune_norm:
            self.fc_norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0)
        return take

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks' activations in the backward pass: less memory, about a third more time."""
        self.grad_checkpointing = enable

    def set_fused_attention(self, enable: bool = True) -> None:
        """Use torch's fused attention (default) or the written-out form."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.fused = enable

    def no_weight_decay(self) -> set[str]:
        """Parameters that optimizers leave undecayed."""
        return {"absolute_pos_embed"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layer groups for layer-wise learning-rate decay: tokenizers and positions first, then block by block."""
        return {"stem": r"^absolute_pos_embed|^patch_embed_(?:rgb|sar)", "blocks": [(r"^blocks\.(\d+)", None)]}

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head by a fresh one with ``num_classes`` outputs (0 removes it), and the pooling if given."""
        if global_pool is not None:
            _check(global_pool in ("avg", ""), "global_pool", global_pool, "'avg' or ''")
            self.global_pool = global_pool
        self.num_classes = num_classes
        if num_classes and isinstance(self.fc_norm, nn.Identity):
            self.fc_norm = nn.LayerNorm(self.embed_dim, eps=self.layernorm_eps)
        self.head = classifier_head(self.embed_dim, num_classes, self.head_norm)
        self.head.to(self.absolute_pos_embed.device)
        self.fc_norm.to(self.absolute_pos_embed.device)


def classifier_head(dim: int, num_classes: int, norm: bool = False) -> nn.Module:
    """The head of the published classifiers on features [B, dim]; no classes give the identity."""
    if not num_classes:
        return nn.Identity()
    linear = nn.Linear(dim, num_classes)
    nn.init.trunc_normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.BatchNorm1d(dim, affine=False, eps=1e-6), linear) if norm else linear


def levels_to_map(level: Tensor, grid: tuple[int, int]) -> Tensor:
    """Sub-tokens of all patches to a map: [B, rows * cols, s, s, C] -> [B, C, rows * s, cols * s]."""
    b, _, s, _, c = level.shape
    # [B, rows, cols, s, s, C] -> [B, C, rows, s, cols, s]
    x = level.reshape(b, grid[0], grid[1], s, s, c).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(b, c, grid[0] * s, grid[1] * s)


def _cropped(level: Tensor, grid: tuple[int, int], stride: int, height: int, width: int) -> Tensor:
    """The map of a level without what padding added: [B, C, ceil(height / stride), ceil(width / stride)]."""
    return levels_to_map(level, grid)[:, :, : -(-height // stride), : -(-width // stride)]


def _check(ok: bool, what: str, found: object, expected: str) -> None:
    if not ok:
        raise ModelError(f"the {what} of the model cannot be used", found=repr(found), expected=expected)


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# ---------------------------------------------------------------- checkpoints


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """Make a published state dict fit ``model``.

    Accepts the pretraining model (its decoders, auxiliary and contrastive parts are dropped), fine-tuned backbones
    (``encoder.`` or ``backbone.`` prefixes are removed), and iTPN's single-tokenizer model (``patch_embed.*`` goes to
    every tokenizer; its second pyramid block is dropped). A position table of another length is resampled. Keys that a
    backbone should have and the source lacks stay missing, so strict loading reports them.
    """
    source = state_dict.get("model", state_dict.get("state_dict", state_dict))
    target = model.state_dict()
    result: dict[str, Tensor] = {}
    for full_name, value in source.items():
        name = full_name
        for prefix in ("module.", "encoder.", "backbone."):
            name = name.removeprefix(prefix)
        names = [name]
        if name.startswith("patch_embed."):
            names = [name.replace("patch_embed.", f"patch_embed_{kind}.") for kind in ("rgb", "sar")]
        for one in names:
            if one not in target:
                continue
            if one == "absolute_pos_embed" and value.shape != target[one].shape:
                side = math.isqrt(target[one].shape[1])
                value = resample_positions(value, (side, side))
            result[one] = value
    return result


# ---------------------------------------------------------------- variants

#: sizes by name: base and large as published, small and tiny for CPUs
VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": {
        "embed_dim": 192,
        "mlp_depth1": 1,
        "mlp_depth2": 1,
        "depth": 6,
        "num_heads": 3,
        "fpn_dim": 64,
    },
    "small": {
        "embed_dim": 384,
        "mlp_depth1": 2,
        "mlp_depth2": 2,
        "depth": 10,
        "num_heads": 6,
        "fpn_dim": 128,
    },
    "base": {"embed_dim": 512, "mlp_depth1": 3, "mlp_depth2": 3, "depth": 24, "num_heads": 8, "fpn_dim": 256},
    "large": {"embed_dim": 768, "mlp_depth1": 2, "mlp_depth2": 2, "depth": 40, "num_heads": 12, "fpn_dim": 256},
}
