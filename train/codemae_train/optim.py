"""What the optimizer is given: layer-wise rates, weight decay, and schedules. LARS is in :mod:`codemae_train.lars`.

A rate is always ``base x scale x factor``: the recipe's base, the parameter's layer scale, the schedule's factor at the
position that the loop has reached. Every schedule here is a function of that position alone, so that a resumed run
follows the same curve.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from codemae_geo.errors import ModelError

# ---------------------------------------------------------------- layers

_STEM = re.compile(r"(?:^|\.)(?:absolute_pos_embed|pos_embed|cls_token|mask_token|patch_embed(?:_\w+)?)(?:\.|$)")
_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")


def layer_ids(names: Iterable[str], *, top: Literal["last block", "own"] = "last block") -> dict[str, int]:
    """The layer of every parameter, for rates that fall towards the input (BEiT; CoDe-MAE's numbering).

    0 are tokenizers and positions; block ``i`` of the backbone is ``i + 1``, HiViT's two merges counting as blocks.
    Everything else (pyramid, norm, heads) shares the last block's number in CoDe-MAE's programs. That is not what
    timm's ``param_groups_layer_decay`` does: there it is a layer of its own, and all rates below are one step lower.

    Args:
        names: of a model's parameters, with or without the prefix of the backbone.
        top: "own" gives everything after the last block a number of its own, as MAE and Cross-Scale MAE do.

    Raises:
        ModelError: no parameter belongs to a numbered block.
    """
    names = list(names)
    blocks = [int(match[1]) for name in names if (match := _BLOCK.search(name))]
    if not blocks:
        raise ModelError(
            "rates that fall from layer to layer need a backbone of numbered blocks",
            found=", ".join(names[:3]) or "no parameters",
            expected="names such as blocks.0.norm1.weight",
            hint="train this model with a layer decay of 1",
        )
    last = max(blocks) + 1
    above = last if top == "last block" else last + 1

    def layer(name: str) -> int:
        if match := _BLOCK.search(name):
            return int(match[1]) + 1
        return 0 if _STEM.search(name) else above

    return {name: layer(name) for name in names}


def undecayed(name: str, parameter: Tensor) -> bool:
    """True for what weight decay leaves alone: one-dimensional tensors, biases, positions and learnt tokens."""
    return parameter.ndim <= 1 or name.endswith((".bias", "pos_embed", "_token")) or name == "bias"


def parameter_groups(
    model: nn.Module,
    lr: float,
    *,
    weight_decay: float = 0.05,
    layer_decay: float = 1.0,
    top: Literal["last block", "own"] = "last block",
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer, of the parameters that require a gradient.

    Args:
        model: its parameters are grouped by layer and by whether they decay.
        lr: base rate.
        weight_decay: see :func:`undecayed`.
        layer_decay: rate of a layer divided by that of the layer above it; 1 gives all the base rate.
        top: see :func:`layer_ids`.

    Returns:
        Groups with ``params``, ``names``, ``lr``, ``base_lr``, ``lr_scale`` and ``weight_decay``, bottom layer first.
        ``base_lr`` is what :func:`set_rates` multiplies.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if layer_decay == 1:
        ids, highest = dict.fromkeys((name for name, _ in named), 0), 0
    else:  # numbered over all parameters, so that freezing some does not move the others
        ids = layer_ids((name for name, _ in model.named_parameters()), top=top)
        highest = max(ids.values())
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in sorted(named, key=lambda pair: ids[pair[0]]):
        plain = undecayed(name, parameter)
        scale = layer_decay ** (highest - ids[name])
        group = groups.setdefault(
            (ids[name], plain),
            {
                "params": [],
                "names": [],
                "lr": lr * scale,
                "base_lr": lr,
                "lr_scale": scale,
                "weight_decay": 0.0 if plain else weight_decay,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Give every group ``base x scale x factor``; returns the highest rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * group.get("lr_scale", 1.0) * factor
    return max(group["lr"] for group in optimizer.param_groups)


# ---------------------------------------------------------------- schedules

#: position (epochs or iterations, as the schedule was made) -> factor of the base rate
Schedule = Callable[[float], float]


def cosine(total: float, *, warmup: float = 0.0, floor: float = 0.0) -> Schedule:
    """From 0 in a straight line over ``warmup``, then half a cosine down to ``floor`` at ``total``.

    Pretraining, classification and probes, with positions in epochs: fractions of an epoch where the rate changes with
    every batch, whole epochs where it does not (DeCUR).

    Args:
        total, warmup: in the unit of the positions.
        floor: smallest factor, i.e. smallest rate divided by the base rate.
    """

    def factor(position: float) -> float:
        if position < warmup:
            return position / warmup
        share = min((position - warmup) / max(total - warmup, 1e-12), 1.0)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))

    return factor


def linear(
    total: int, *, warmup: int = 0, start: float = 1e-6, form: Literal["mmengine", "bright"] = "mmengine"
) -> Schedule:
    """From ``start`` in a straight line over ``warmup`` iterations, then in a straight line to 0.

    Args:
        total: iterations in all.
        warmup: iterations of warm-up.
        start: factor of iteration 0.
        form: "mmengine" reaches the base rate at iteration ``warmup - 1`` and 0 at the last iteration
            (segmentation); "bright" reaches it at iteration ``warmup`` and would reach 0 two iterations after the end.
    """
    rising = warmup if form == "bright" else max(warmup - 1, 1)
    falling = total - warmup + 1 if form == "bright" else max(total - warmup - 1, 1)

    def factor(position: float) -> float:
        if position < warmup:
            return start + (1 - start) * min(position / rising, 1.0)
        return max(1 - (position - warmup) / falling, 0.0)

    return factor


def steps(
    milestones: Sequence[float], *, gamma: float = 0.1, warmup: int = 0, start: float = 1e-3, unit: int = 1
) -> Schedule:
    """Constant after a straight warm-up, times ``gamma`` from every milestone on (detection; DeCUR's BigEarthNet).

    Args:
        milestones: positions divided by ``unit``, e.g. epochs when positions are iterations.
        gamma: factor at each.
        warmup: positions of warm-up; the base rate is reached at ``warmup - 1``, as in mmengine.
        start: factor of position 0 of a warm-up.
        unit: positions per milestone unit, e.g. iterations in an epoch.
    """
    places = sorted(m * unit for m in milestones)

    def factor(position: float) -> float:
        rising = start + (1 - start) * min(position / max(warmup - 1, 1), 1.0) if position < warmup else 1.0
        return rising * gamma ** bisect_right(places, position)

    return factor


def constant() -> Schedule:
    """The base rate throughout."""
    return lambda position: 1.0


#: the schedules that a recipe may name
SCHEDULES: Mapping[str, Callable[..., Schedule]] = {
    "cosine": cosine,
    "linear": linear,
    "steps": steps,
    "constant": constant,
}


def scaled_rate(lr: float, batch: int, per: int = 256) -> float:
    """A rate given for ``per`` images, for a batch of ``batch`` images over all processes and accumulated steps."""
    return lr * batch / per
