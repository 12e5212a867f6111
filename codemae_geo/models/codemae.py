"""CoDe-MAE pretraining: a masked HiViT over optical-SAR pairs, its decoders and its four losses.

Source: Peng et al., "Better with Less", arXiv 2604.16952, section III. Parameter names and shapes are those of the
published pretraining checkpoints. Where the published code departs from the paper, the default continues the
published checkpoints and the alternative is an option.

One step for B pairs (rows 0..B-1 optical, B..2B-1 SAR; L patches, K kept; W = ``decoder_dim``)::

    noise [B, L] -> ids_keep, the same for both images of a pair
    HiViT on the kept patches of both modalities at once         levels at strides 4, 8, 16; block tap at 3/4 depth
    decoder embedding, levels summed                             tokens [2B, K, W]
      L_MAE  decoder            -> own pixels of removed patches
      L_CDR  cross decoder      -> the other modality's degraded patches     paired batches only
      L_OKD  optical tokens and tapped block -> teacher's tokens
      L_CCL  tokens attend to the other modality, mean, InfoNCE              paired batches only
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.losses.contrast import Gather, info_nce
from codemae_geo.losses.distillation import DistillationKind, distillation_loss
from codemae_geo.losses.reconstruction import masked_mse, normalise_patches, patchify
from codemae_geo.losses.targets import TARGETS, Target, cross_targets
from codemae_geo.models.encoder import encoder_config
from codemae_geo.models.hivit import PATCH, AttentionBlock, HiViT, Mlp, _init_weights, select_patches, sincos_positions

ContrastHead = Literal["none", "linear", "mlp", "ca", "ca_ffn", "ca_sa_ffn", "tokens"]
#: decoder of each backbone size; base and large as published
DECODERS: dict[str, dict[str, int]] = {
    "tiny": {"decoder_dim": 128, "decoder_depth": 2, "decoder_heads": 4},
    "small": {"decoder_dim": 256, "decoder_depth": 4, "decoder_heads": 8},
    "base": {"decoder_dim": 512, "decoder_depth": 8, "decoder_heads": 16},
    "large": {"decoder_dim": 768, "decoder_depth": 8, "decoder_heads": 16},
}
#: temperature of the contrastive loss
TEMPERATURE = 0.07


class Masking(NamedTuple):
    """Which patches a pass sees. One row per pair."""

    keep: Tensor  #: [B, K] int64, row-major numbers of the visible patches
    restore: Tensor  #: [B, L] int64, place of each patch in (visible, removed)
    removed: Tensor  #: [B, L - K] int64


class Losses(NamedTuple):
    """The parts of a step, scalars. ``total`` is what is optimised."""

    total: Tensor
    reconstruction: Tensor  #: L_MAE
    cross: Tensor  #: L_CDR
    distillation: Tensor  #: L_OKD, main and auxiliary added
    contrast: Tensor  #: L_CCL


def random_masking(noise: Tensor, ratio: float = 0.75) -> Masking:
    """Keep the int(L * (1 - ratio)) patches with the least noise [B, L]."""
    order = noise.argsort(dim=1)
    kept = int(noise.shape[1] * (1 - ratio))
    return Masking(order[:, :kept], order.argsort(dim=1), order[:, kept:])


def masking_of(removed: Tensor, rows: int) -> Masking:
    """The masking that removes the patches ``removed`` (bool [L]) of every one of ``rows`` pairs."""
    order = removed.to(torch.uint8).argsort(stable=True)[None].expand(rows, -1)
    kept = int((~removed).sum())
    return Masking(order[:, :kept], order.argsort(dim=1), order[:, kept:])


# ---------------------------------------------------------------- contrast heads


class CrossAttention(nn.Module):
    """Tokens of one modality query those of the other: x, context [B, K, W] -> [B, K, W], no residual here."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.n_q = nn.LayerNorm(dim)  # eps 1e-5, unlike all other norms of the model
        self.n_kv = nn.LayerNorm(dim)
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        b, n, d = x.shape
        q = self.q(self.n_q(x)).reshape(b, n, self.num_heads, -1).transpose(1, 2)
        kv = self.kv(self.n_kv(context)).reshape(b, context.shape[1], 2, self.num_heads, -1)
        k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, K, head_dim]
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, n, d))


class ConditionBlock(nn.Module):
    """Cross-attention as a residual; optionally self-attention and a feed-forward part after it."""

    def __init__(self, dim: int, num_heads: int, head: str, eps: float) -> None:
        super().__init__()
        self.cattn = CrossAttention(dim, num_heads)
        self.rest: nn.Module
        if head == "ca_sa_ffn":
            self.rest = AttentionBlock(dim, num_heads, 4.0, eps)
        elif head == "ca_ffn":
            self.rest = nn.Sequential(nn.LayerNorm(dim, eps=eps), Mlp(dim, 4 * dim))
        else:
            self.rest = nn.Identity()
        self.head = head

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.cattn(x, context)
        return x + self.rest(x) if self.head == "ca_ffn" else self.rest(x)


class ContrastiveHead(nn.Module):
    """Embeddings to contrast: tokens of both modalities [B, K, W] -> one vector [B, W] of each.

    Args:
        head: "ca" (the paper's), "ca_ffn", "ca_sa_ffn": conditioned on the other modality. "linear", "mlp": a
            projection of the mean token per modality. "none": the mean token itself. "tokens" (not in the paper): all
            tokens by themselves, each to find that of its own place, [B * K, W] of each modality.
    """

    def __init__(self, dim: int, num_heads: int, head: ContrastHead, eps: float) -> None:
        super().__init__()
        self.head = head
        if head.startswith("ca"):
            self.crossattn_rgb = ConditionBlock(dim, num_heads, head, eps)
            self.crossattn_sar = ConditionBlock(dim, num_heads, head, eps)
        elif head == "linear":
            self.proj_rgb: nn.Module = nn.Linear(dim, dim)
            self.proj_sar: nn.Module = nn.Linear(dim, dim)
        elif head == "mlp":
            self.proj_rgb, self.proj_sar = Mlp(dim, dim), Mlp(dim, dim)

    def condition(self, rgb: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of each modality after looking at the other's; both directions read the unmodified tokens."""
        if not self.head.startswith("ca"):
            return rgb, sar
        return self.crossattn_rgb(rgb, sar), self.crossattn_sar(sar, rgb)

    def forward(self, rgb: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:
        if self.head == "tokens":
            return rgb.flatten(0, 1), sar.flatten(0, 1)
        rgb, sar = (tokens.mean(dim=1) for tokens in self.condition(rgb, sar))
        return (self.proj_rgb(rgb), self.proj_sar(sar)) if self.head in ("linear", "mlp") else (rgb, sar)


# ---------------------------------------------------------------- model


class CoDeMAE(HiViT):
    """HiViT with decoders, distillation heads and a contrastive head.

    Args:
        encoder: "tiny", "small", "base", "large", or keyword arguments of :class:`HiViT` (``variant`` may name a size).
        decoder_dim, decoder_depth, decoder_heads: of every decoder; None is what :data:`DECODERS` has for the variant
            (for "base" if the encoder names none).
        mask_ratio: share of patches removed.
        shared_decoder: one decoder for both modalities, or one each (with cross decoders of their own embedding).
        norm_pix_loss: each target patch is normalised by its own mean and variance.
        distill: pull optical tokens to a teacher's. SAR rows are not distilled.
        distill_loss: "smooth_l1" as the published code, "l1" as the paper.
        distill_auxiliary: also distil a branch of two blocks that leaves the trunk at 3/4 depth (published code).
        teacher_dim: width of the teacher's tokens.
        contrast: contrast optical with SAR embeddings of paired batches.
        contrast_head: see :class:`ContrastiveHead`.
        contrast_from: what is contrasted: the "decoder" embedding (the sum of all levels, as published) or the
            "encoder"'s own tokens, which are what is exported (not in the paper).
        gather: see :func:`codemae_geo.losses.contrast.gather_rows`.
        cross: reconstruct the other modality in paired batches.
        cross_target: "grey" (SAR: mean over channels), "pixel", "median" (5x5), "pool" (mean of a patch), "hog", "mgf".

    Raises:
        ModelError: a combination that cannot be built.
    """

    def __init__(
        self,
        encoder: str | Mapping[str, Any] = "base",
        decoder_dim: int | None = None,
        decoder_depth: int | None = None,
        decoder_heads: int | None = None,
        mask_ratio: float = 0.75,
        shared_decoder: bool = True,
        norm_pix_loss: bool = True,
        distill: bool = True,
        distill_loss: DistillationKind = "smooth_l1",
        distill_auxiliary: bool = True,
        teacher_dim: int = 1024,
        contrast: bool = True,
        contrast_head: ContrastHead = "ca",
        contrast_from: Literal["decoder", "encoder"] = "decoder",
        gather: Gather = "published",
        cross: bool = True,
        cross_target: Target = "grey",
    ) -> None:
        for what, found, allowed in (
            ("cross_target", cross_target, tuple(TARGETS)),
            ("contrast_head", contrast_head, get_args(ContrastHead)),
            ("distill_loss", distill_loss, get_args(DistillationKind)),
            ("contrast_from", contrast_from, ("decoder", "encoder")),
            ("gather", gather, get_args(Gather)),
        ):
            if found not in allowed:
                raise ModelError(f"unknown {what}", found=repr(found), expected=", ".join(allowed))
        if not 0 < mask_ratio < 1:
            raise ModelError("mask_ratio cannot be used", found=str(mask_ratio), expected="above 0 and below 1")
        settings: dict[str, Any] = {"num_outs": 3, "modality": "Both"} | encoder_config(encoder)
        super().__init__(**settings)
        variant = encoder if isinstance(encoder, str) else encoder.get("variant", "base")
        sizes = DECODERS[variant]
        dim = decoder_dim or sizes["decoder_dim"]
        depth = decoder_depth or sizes["decoder_depth"]
        heads = decoder_heads or sizes["decoder_heads"]
        if dim % (4 * heads):
            raise ModelError("decoder_dim cannot be used", found=str(dim), expected=f"a multiple of {4 * heads}")
        ratio = settings.get("mlp_ratio", 4.0)
        eps, fpn_dim = self.layernorm_eps, self.feature_info[0]["num_chs"]
        self.mask_ratio, self.shared_decoder, self.norm_pix_loss = mask_ratio, shared_decoder, norm_pix_loss
        self.distill, self.distill_loss, self.distill_auxiliary = distill, distill_loss, distill and distill_auxiliary
        self.contrast, self.cross, self.cross_target, self.gather = contrast, cross, cross_target, gather
        self.contrast_from = contrast_from
        #: number of the main attention block whose output feeds the auxiliary branch
        self.tap = int(0.75 * self.depths[2]) if self.distill_auxiliary else None

        if contrast:
            width, parts = (
                (dim, heads) if contrast_from == "decoder" else (self.embed_dim, settings.get("num_heads", 8))
            )
            self.contrastive_loss = ContrastiveHead(width, parts, contrast_head, eps)
        pixels = PATCH * PATCH * self.in_chans
        cross_pixels = PATCH * PATCH * TARGETS[cross_target]
        #: suffix of each decoder of own pixels, and of the other modality's; one serves both modalities if shared
        self.own = ("",) if shared_decoder else ("_rgb", "_sar")
        self.other = () if not cross else ("_cross",) if shared_decoder else ("_cross_rgb", "_cross_sar")
        for suffix in self.own + self.other:
            if shared_decoder is False or suffix == "":
                widths = (dim, dim // 4, dim // 16)
                embed = [nn.Sequential(nn.LayerNorm(fpn_dim, eps=eps), nn.Linear(fpn_dim, w)) for w in widths]
                setattr(self, "decoder_embed" + suffix, nn.ModuleList(embed))  # strides 16, 8, 4
            setattr(self, "mask_token" + suffix, nn.Parameter(torch.zeros(1, 1, dim)))
            blocks = nn.ModuleList(AttentionBlock(dim, heads, ratio, eps) for _ in range(depth))
            setattr(self, "decoder_blocks" + suffix, blocks)
            setattr(self, "decoder_norm" + suffix, nn.LayerNorm(dim, eps=eps))
            setattr(self, "decoder_pred" + suffix, nn.Linear(dim, pixels if suffix in self.own else cross_pixels))
        if distill:
            self.lm_head = nn.Linear(dim, teacher_dim)
            self.norm = nn.LayerNorm(dim, eps=eps)
        if self.distill_auxiliary:
            width, num_heads = self.embed_dim, settings.get("num_heads", 8)
            self.lm_cls_head = nn.Linear(width, teacher_dim)
            self.norm_cls = nn.LayerNorm(width, eps=eps)
            self.cls_pt_layers = nn.ModuleList(AttentionBlock(width, num_heads, ratio, eps) for _ in range(2))
        patches = self.absolute_pos_embed.shape[1]
        if not int(patches * (1 - mask_ratio)):
            raise ModelError("mask_ratio leaves no patch", found=f"{mask_ratio} of {patches}", expected="less")
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, patches, dim), requires_grad=False)

        self.apply(_init_weights)
        if not self.decoder_pos_embed.is_meta:
            self.decoder_pos_embed.data.copy_(sincos_positions(int(patches**0.5), dim)[None])
        for suffix in self.own + self.other:
            nn.init.normal_(getattr(self, "mask_token" + suffix), std=0.02)

    # -- parts of a step

    def gated_parameters(self) -> list[nn.Parameter]:
        """Parameters that only the losses of paired batches use."""
        prefixes = ("contrastive_loss.", "mask_token_cross", *(f"decoder_{part}_cross" for part in _PARTS))
        return [p for name, p in self.named_parameters() if name.startswith(prefixes)]

    def embed_tokens(self, levels: tuple[Tensor, Tensor, Tensor], kind: str = "") -> Tensor:
        """Pyramid levels of visible patches to one vector each, summed over levels: [2B, K, W].

        Args:
            levels: finest first, as :meth:`forward_levels` gives them, optical rows first.
            kind: "" or "_cross"; without a shared decoder the latter has its own embedding.
        """
        if self.shared_decoder:
            return self._sum_levels(levels, self.decoder_embed)
        rows = len(levels[0]) // 2
        optical = self._sum_levels([x[:rows] for x in levels], getattr(self, f"decoder_embed{kind}_rgb"))
        radar = self._sum_levels([x[rows:] for x in levels], getattr(self, f"decoder_embed{kind}_sar"))
        return torch.cat([optical, radar])

    def _sum_levels(self, levels: Any, layers: Any) -> Tensor:
        # [2B, K, s, s, fpn] -> [2B, K, s * s * width / s^2]
        level4, level8, level16 = levels
        return sum(layer(x).flatten(2) for layer, x in zip(layers, (level16, level8, level4), strict=True))

    def decode(self, tokens: Tensor, masking: Masking, kind: str = "", removed_only: bool = False) -> Tensor:
        """Predicted patches [2B, L, pixels] (or [2B, L - K, pixels]) from summed tokens [2B, K, W].

        Args:
            kind: "" for own pixels, "_cross" for the other modality's.
            removed_only: predict the removed patches alone, in the order of ``masking.removed``.
        """
        halves = (tokens,) if self.shared_decoder else tokens.chunk(2)
        suffixes = [s for s in self.own + self.other if ("_cross" in s) == (kind == "_cross")]
        return torch.cat(
            [self._decode(part, masking, s, removed_only) for part, s in zip(halves, suffixes, strict=True)]
        )

    def _decode(self, tokens: Tensor, masking: Masking, suffix: str, removed_only: bool) -> Tensor:
        repeats = len(tokens) // len(masking.keep)
        restore = masking.restore.repeat(repeats, 1)
        rows, _, dim = tokens.shape
        # each of the three levels is filled before the sum, so a removed place holds three mask tokens
        filler = (3 * getattr(self, "mask_token" + suffix)).expand(rows, masking.removed.shape[1], dim)
        x = select_patches(torch.cat([tokens, filler.to(tokens.dtype)], dim=1), restore) + self.decoder_pos_embed
        x = self._run(getattr(self, "decoder_blocks" + suffix), x)
        if removed_only:
            x = select_patches(x, masking.removed.repeat(repeats, 1))
        return getattr(self, "decoder_pred" + suffix)(getattr(self, "decoder_norm" + suffix)(x))

    def auxiliary(self, tapped: Tensor) -> Tensor:
        """The auxiliary branch: [.., K, D] -> [.., K, D]."""
        return self._run(self.cls_pt_layers, tapped)

    # -- the step

    def forward(  # type: ignore[override]
        self,
        rgb: Tensor,
        sar: Tensor,
        paired: bool | Tensor = True,
        teacher: Tensor | None = None,
        noise: Tensor | None = None,
        rgb_01: Tensor | None = None,
        sar_01: Tensor | None = None,
    ) -> Losses:
        """Losses of one batch.

        Args:
            rgb, sar: [B, 3, H, W] normalised images of the model's size.
            paired: whether row i of both shows the same place; a tensor of flags counts as True if all are set. A batch
                that is not paired has no cross and no contrastive loss: those parts are not computed, and their
                parameters get gradients of exactly 0, as published.
            teacher: [B, L, teacher_dim] target tokens of all patches, or [B, K, ..] of the kept ones; needed if
                distillation is on.
            noise: [B, L] uniform masking noise; None draws it.
            rgb_01, sar_01: images in [0, 1], needed by the targets "hog" and "mgf".
        """
        if isinstance(paired, Tensor):
            paired = bool((paired == 1).all())
        rows, patches = len(rgb), self.absolute_pos_embed.shape[1]
        masking = random_masking(
            torch.rand(rows, patches, device=rgb.device) if noise is None else noise, self.mask_ratio
        )
        # the auxiliary branch and its head serve optical rows only, so SAR rows do not pass them
        features = self.forward_stages([rgb, sar], ["RGB", "SAR"], masking.keep.repeat(2, 1), self.tap)
        levels = self.forward_levels(features)
        tokens = self.embed_tokens(levels)

        prediction = self.decode(tokens, masking, removed_only=True)
        own = torch.cat([self._target(image, masking) for image in (rgb, sar)])
        reconstruction = masked_mse(prediction.float(), own)

        zero = reconstruction.new_zeros(())
        distillation = self._distillation(tokens[:rows], features.tapped, teacher, masking) if self.distill else zero
        cross = contrast = zero
        if paired and self.cross:
            other = tokens if self.shared_decoder else self.embed_tokens(levels, "_cross")
            optical, radar = cross_targets(self.cross_target, rgb, sar, rgb_01, sar_01)
            wanted = torch.cat([self._target(image, masking) for image in (radar, optical)])
            cross = masked_mse(self.decode(other, masking, "_cross", removed_only=True).float(), wanted)
        if paired and self.contrast:
            seen = tokens if self.contrast_from == "decoder" else features.tokens
            first, second = self.contrastive_loss(seen[:rows], seen[rows:])
            contrast = info_nce(first.float(), second.float(), TEMPERATURE, self.gather)
        total = reconstruction + distillation + cross + contrast
        if not paired and torch.is_grad_enabled():
            total = total + _zero(self.gated_parameters())
        return Losses(total, *(loss.detach() for loss in (reconstruction, cross, distillation, contrast)))

    def _target(self, image: Tensor, masking: Masking) -> Tensor:
        patches = select_patches(patchify(image), masking.removed)
        return normalise_patches(patches) if self.norm_pix_loss else patches

    def _distillation(self, tokens: Tensor, tapped: Tensor | None, teacher: Tensor | None, masking: Masking) -> Tensor:
        if teacher is None:
            raise ModelError("distillation is on and no teacher tokens were given", hint="give them, or distill=False")
        if teacher.shape[1] != masking.keep.shape[1]:
            teacher = select_patches(teacher, masking.keep)
        teacher = teacher.float()
        loss = distillation_loss(self.lm_head(self.norm(tokens)).float(), teacher, self.distill_loss)
        if tapped is not None:
            branch = self.lm_cls_head(self.norm_cls(self.auxiliary(tapped[: len(tokens)])))
            loss = loss + distillation_loss(branch.float(), teacher, self.distill_loss)
        return loss

    @torch.no_grad()
    def reconstruct(
        self, rgb: Tensor, sar: Tensor, noise: Tensor | None = None, masking: Masking | None = None
    ) -> tuple[Tensor, Tensor | None, Masking]:
        """Predicted patches of both kinds, for pictures: own [2B, L, pixels], cross [2B, L, pixels] or None, masking.

        Optical rows come first; the cross prediction of an optical row is the SAR image's. A given ``masking`` counts,
        else one is made of ``noise``.
        """
        noise = torch.rand(len(rgb), self.absolute_pos_embed.shape[1], device=rgb.device) if noise is None else noise
        masking = masking or random_masking(noise, self.mask_ratio)
        levels = self.forward_levels(self.forward_stages([rgb, sar], ["RGB", "SAR"], masking.keep.repeat(2, 1)))
        own = self.decode(self.embed_tokens(levels), masking)
        cross = self.decode(self.embed_tokens(levels, "_cross"), masking, "_cross") if self.cross else None
        return own, cross, masking

    def no_weight_decay(self) -> set[str]:
        """Parameters that optimizers leave undecayed."""
        return {"absolute_pos_embed", "decoder_pos_embed"}

    def encoder_state(self) -> dict[str, Tensor]:
        """The backbone's share of the state dict, pyramid included: what :class:`HiViT` with three levels loads."""
        return {name: value for name, value in self.state_dict().items() if name.startswith(ENCODER_PREFIXES)}


class DualEncoder(HiViT):
    """A pretrained backbone by itself: one embedding per image, of either modality.

    Args:
        encoder: as in :class:`CoDeMAE`; the pyramid is kept, so that dense tasks can start from the same file.
    """

    def __init__(self, encoder: str | Mapping[str, Any] = "base") -> None:
        settings: dict[str, Any] = {"num_outs": 3, "modality": "Both"} | encoder_config(encoder)
        super().__init__(**settings)

    def forward(self, optical: Tensor, sar: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Mean tokens of normalised images [B, 3, H, W]: [B, D] optical, [B, D] SAR."""
        first, second = self.forward_stages(optical, "RGB"), self.forward_stages(sar, "SAR")
        return first.tokens.mean(dim=1), second.tokens.mean(dim=1)


_PARTS = ("embed", "blocks", "norm", "pred")
ENCODER_PREFIXES = ("patch_embed", "absolute_pos_embed", "blocks", "align_dim", "split_", "block_", "fpn_modules")


def _zero(parameters: list[nn.Parameter]) -> Tensor:
    """0 with a gradient of 0 for every parameter."""
    if not parameters:
        return torch.zeros(())
    return torch.stack([p.flatten()[0] for p in parameters]).sum() * 0.0


# ---------------------------------------------------------------- initialisation


def imagenet_state(source: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """What of an iTPN ImageNet pretraining checkpoint goes into ``model``, by target name.

    Names that start with ``mask`` or ``decoder`` are skipped (decoders start at random), ``patch_embed.*`` goes to both
    tokenizers, all else keeps its name; names the model does not have (the second pyramid block of the original) are
    left out.

    Raises:
        ModelError: a shape does not agree, or nothing fits; names the first.
    """
    target = model.state_dict()
    filled: dict[str, Tensor] = {}
    for name, value in source.items():
        if name.startswith(("mask", "decoder")):
            continue
        stem = name.startswith("patch_embed.")
        names = [name.replace("patch_embed.", f"patch_embed_{kind}.", 1) for kind in ("rgb", "sar")] if stem else [name]
        for one in names:
            if one not in target:
                continue
            if target[one].shape != value.shape:
                raise ModelError(
                    f"the initial weights do not fit at {one}",
                    found=str(list(value.shape)),
                    expected=str(list(target[one].shape)),
                    hint="base weights go into the base model, large ones into the large model",
                )
            filled[one] = value
    if not filled:
        raise ModelError(
            "the initial weights have nothing in common with the model",
            found=", ".join(list(source)[:3]) or "no tensors",
            expected="names such as blocks.0.norm2.weight",
        )
    return filled
