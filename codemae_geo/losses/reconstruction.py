"""Masked reconstruction: patches, their normalisation, squared error on what was removed (MAE, He et al., 2022)."""

from __future__ import annotations

from torch import Tensor


def patchify(image: Tensor, patch: int = 16) -> Tensor:
    """Flat patches: [B, C, H, W] -> [B, L, patch * patch * C], values ordered (row, column, channel)."""
    b, c, height, width = image.shape
    rows, cols = height // patch, width // patch
    # [B, C, rows, p, cols, p] -> [B, rows, cols, p, p, C]
    x = image.reshape(b, c, rows, patch, cols, patch).permute(0, 2, 4, 3, 5, 1)
    return x.reshape(b, rows * cols, patch * patch * c)


def unpatchify(patches: Tensor, grid: tuple[int, int], patch: int = 16) -> Tensor:
    """The inverse of :func:`patchify`: [B, rows * cols, patch * patch * C] -> [B, C, rows * patch, cols * patch]."""
    b = patches.shape[0]
    rows, cols = grid
    x = patches.reshape(b, rows, cols, patch, patch, -1).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(b, -1, rows * patch, cols * patch)


def normalise_patches(patches: Tensor, eps: float = 1e-6) -> Tensor:
    """Each patch [..., D] to mean 0 and variance 1; unbiased variance, ``eps`` inside the root (as published)."""
    centred = patches - patches.mean(dim=-1, keepdim=True)
    return centred / (patches.var(dim=-1, keepdim=True) + eps).sqrt()


def masked_mse(prediction: Tensor, target: Tensor, removed: Tensor | None = None) -> Tensor:
    """Squared error averaged in each patch, then over the removed patches of the whole batch.

    Args:
        prediction, target: [B, L, D].
        removed: [B, L], 1 where the patch was hidden from the encoder. None: all L patches given were removed.
    """
    error = (prediction - target).square().mean(dim=-1)
    if removed is None:
        return error.mean()
    return (error * removed).sum() / removed.sum()
