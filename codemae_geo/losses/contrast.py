"""Symmetric InfoNCE between paired embeddings, across processes."""

from __future__ import annotations

from typing import Literal

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_functional
import torch.nn.functional as F
from torch import Tensor

Gather = Literal["published", "exact", "none"]


def gather_rows(rows: Tensor, gather: Gather = "published") -> tuple[Tensor, int]:
    """The rows of all processes, in rank order, and the number of the first own one.

    Args:
        rows: [B, D], the same B on every rank.
        gather: "published" carries no gradient into any gathered row, the own ones included, as soon as there is more
            than one process; "exact" carries it, so that N processes give the gradient of one with N times the batch;
            "none" stays with the process's own rows, for batches that are the same on all.
    """
    if gather == "none" or not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows, 0
    first = dist.get_rank() * len(rows)
    if gather == "exact":
        return torch.cat(dist_functional.all_gather(rows)), first
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts), first


def info_nce(first: Tensor, second: Tensor, temperature: float = 0.07, gather: Gather = "published") -> Tensor:
    """Row i of one side should find row i of the other among all rows of the global batch, in both directions.

    Args:
        first, second: [B, D], any length; they are L2-normalised here.
        temperature: divides the cosines; fixed, not learned, as published.
        gather: see :func:`gather_rows`.

    Returns:
        the mean of the two cross-entropies, a scalar.
    """
    first, second = F.normalize(first, dim=-1), F.normalize(second, dim=-1)
    all_first, offset = gather_rows(first, gather)
    all_second, _ = gather_rows(second, gather)
    labels = torch.arange(len(first), device=first.device) + offset
    forward = F.cross_entropy(first @ all_second.t() / temperature, labels)
    backward = F.cross_entropy(second @ all_first.t() / temperature, labels)
    return (forward + backward) / 2
