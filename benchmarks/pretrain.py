"""The pretraining step against a straightforward form of the published one: same machine, batch, weights and precision.

    python benchmarks/pretrain.py [--encoder base] [--batch 4] [--repeats 3] [--threads 2] [--compile]

The straightforward step writes attention out, calls the teacher by itself, decodes and predicts every patch, computes
the losses of paired batches for unpaired ones too and multiplies them by 0, and takes AdamW as it comes. On a GPU it
runs in float16 autocast, ours in bfloat16. On a CPU both train in float32; ours runs the frozen teacher in bfloat16
where the processor multiplies it natively (``train.teacher_precision``), and once more with the teacher in float32 and
with all of it in bfloat16 autocast (``train.precision=bf16-mixed``, the recipes' default).
Steps of all forms alternate, so that a busy machine slows all. Prints one JSON object: pairs/s, ratios, the largest
difference of the losses, shares of our step, peak memory.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from codemae_datasets.pairs import Statistics, collate
from codemae_datasets.samplers import seeded
from codemae_datasets.transforms import PairTransform, Views
from codemae_train.config import load_recipe
from torch import Tensor

from codemae_geo.losses import cross_targets, distillation_loss, info_nce, masked_mse, normalise_patches, patchify
from codemae_geo.models.codemae import CoDeMAE, Losses, random_masking
from codemae_geo.models.precision import has_bf16
from codemae_geo.models.teacher import Teacher, dinov3

#: pairs of OSPretrain-1M, and of unpaired images: the share of batches of each kind
PAIRED, UNPAIRED = 538_166, 259_038


def straightforward(model: CoDeMAE, views: Views, paired: bool, teacher: Tensor, noise: Tensor) -> Tensor:
    """The published forward, part by part; returns the total loss."""
    masking = random_masking(noise)
    rows = len(views.rgb)
    removed = torch.zeros_like(noise).scatter(1, masking.removed, 1.0).repeat(2, 1)
    features = model.forward_stages([views.rgb, views.sar], ["RGB", "SAR"], masking.keep.repeat(2, 1), model.tap)
    assert features.tapped is not None
    auxiliary = model.auxiliary(features.tapped)[:rows]
    tokens = model.embed_tokens(model.forward_levels(features))
    own, cross = model.decode(tokens, masking), model.decode(tokens, masking, "_cross")
    target = normalise_patches(patchify(torch.cat([views.rgb, views.sar])))
    reconstruction = masked_mse(own.float(), target, removed)
    optical, radar = cross_targets("grey", views.rgb, views.sar)
    cross_loss = masked_mse(cross.float(), normalise_patches(patchify(torch.cat([radar, optical]))), removed)
    kept = teacher.gather(1, masking.keep[:, :, None].expand(-1, -1, teacher.shape[2]))
    distillation = distillation_loss(model.lm_head(model.norm(tokens[:rows])).float(), kept)
    distillation = distillation + distillation_loss(model.lm_cls_head(model.norm_cls(auxiliary)).float(), kept)
    first, second = model.contrastive_loss(tokens[:rows], tokens[rows:])
    contrast = info_nce(first.float(), second.float())
    gate = 1.0 if paired else 0.0
    return reconstruction + distillation + gate * cross_loss + gate * contrast


def timed(function: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Seconds that a call takes, and what it returns."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    result = function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, result


def shares(model: CoDeMAE, teacher: Teacher, views: Views, noise: Tensor, cast: Any) -> dict[str, float]:
    """Seconds of teacher, encoder and decoders of a paired step, forward and (where trained) backward."""
    device, out = views.rgb.device, {}
    with cast():
        out["teacher"], _ = timed(lambda: teacher(views.rgb_01), device)
        masking = random_masking(noise)

        def encode() -> Tensor:
            features = model.forward_stages([views.rgb, views.sar], ["RGB", "SAR"], masking.keep.repeat(2, 1))
            return model.embed_tokens(model.forward_levels(features))

        def encode_and_back() -> Tensor:
            tokens = encode()
            tokens.sum().backward()
            return tokens.detach().requires_grad_()

        def decode_and_back() -> None:
            for kind in ("", "_cross"):
                model.decode(tokens, masking, kind, removed_only=True).sum().backward()

        out["encoder"], tokens = timed(encode_and_back, device)
        out["decoders"], _ = timed(decode_and_back, device)
    model.zero_grad(set_to_none=True)
    return out


def main() -> None:
    """Command line of the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="base")
    parser.add_argument("--batch", type=int, default=4, help="pairs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--teacher-depth", type=int, default=24, help="blocks of the (random) teacher, width 1024")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    size = 224
    config = load_recipe("base", [f"model.encoder={args.encoder}"]).model.build_args(1024)
    model = CoDeMAE(**config).to(device)
    teacher = Teacher(dinov3(depth=args.teacher_depth)).to(device)
    quick = copy.deepcopy(teacher).to_bf16() if has_bf16(device) else teacher
    attention = [m for module in (teacher, quick) for m in module.modules() if hasattr(m, "fused_attn")]
    step_model: Any = torch.compile(model) if args.compile else model
    ours = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    theirs = torch.optim.AdamW(model.parameters(), lr=0.0)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")

    statistics_ = Statistics([((0.5,) * 3, (0.2,) * 3)], [((0.5,) * 3, (0.2,) * 3)])
    transform = PairTransform(statistics_, size).to(device)
    images = torch.randint(0, 256, (2 * args.batch, 3, 256, 256), dtype=torch.uint8)
    samples = [
        {"rgb": images[2 * i], "sar": images[2 * i + 1], "dataset": 0, "paired": True} for i in range(args.batch)
    ]
    noise = torch.rand(args.batch, model.absolute_pos_embed.shape[1], generator=seeded(1)).to(device)

    def load() -> Views:
        batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in collate(samples).items()}
        return transform(batch, seeded(2))

    def cast(dtype: torch.dtype, on: bool = device.type == "cuda") -> Any:
        return torch.autocast(device.type, dtype) if on else nullcontext()

    def fuse(on: bool) -> None:
        model.set_fused_attention(on)
        for module in attention:
            module.fused_attn = on  # type: ignore[assignment]

    def our_step(paired: bool, teacher: Teacher = quick, mixed: bool = device.type == "cuda") -> float:
        fuse(True)
        with cast(torch.bfloat16, mixed):
            losses: Losses = step_model(views.rgb, views.sar, paired, teacher(views.rgb_01), noise)
        losses.total.backward()
        ours.step()
        ours.zero_grad()
        return float(losses.total.detach())

    def published_step(paired: bool) -> float:
        fuse(False)
        with torch.no_grad(), cast(torch.float16):
            tokens = teacher(views.rgb_01)
        with cast(torch.float16):
            total = straightforward(model, views, paired, tokens, noise)
        scaler.scale(total).backward()
        scaler.step(theirs)
        scaler.update()
        theirs.zero_grad()
        return float(total.detach())

    forms: dict[str, Callable[[bool], float]] = {
        "ours": our_step,
        "ours, teacher in float32": lambda paired: our_step(paired, teacher),
        "ours, bf16-mixed": lambda paired: our_step(paired, quick, True),
        "published": published_step,
    }
    seconds: dict[str, dict[bool, list[float]]] = {who: {True: [], False: []} for who in forms}
    difference, peaks = dict.fromkeys(forms, 0.0), {}
    views = load()
    for repeat in range(args.repeats + 1):
        for paired in (True, False):
            values = {}
            for who, step in forms.items():
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                took, values[who] = timed(lambda step=step, paired=paired: step(paired), device)
                if repeat:  # the first round warms up
                    seconds[who][paired].append(took)
                if device.type == "cuda":
                    peaks[who] = torch.cuda.max_memory_allocated() / 2**20
            for who, value in values.items():
                difference[who] = max(difference[who], abs(value / values["published"] - 1))
    fuse(True)
    parts = shares(model, quick, views, noise, lambda: cast(torch.bfloat16))
    parts["data"], _ = timed(load, device)
    kinds = {"paired": (1, 0), "unpaired": (0, 1), "mixed": (PAIRED, UNPAIRED)}
    median = {
        who: {
            kind: (a * statistics.median(took[True]) + b * statistics.median(took[False])) / (a + b)
            for kind, (a, b) in kinds.items()
        }
        for who, took in seconds.items()
    }
    print(
        json.dumps(
            {
                "encoder": args.encoder,
                "batch": args.batch,
                "device": str(device),
                "threads": args.threads,
                "compile": args.compile,
                "teacher_depth": args.teacher_depth,
                "teacher": "bfloat16" if quick.bf16 else "as the model",
                "pairs_per_s": {
                    who: {kind: round(args.batch / value, 3) for kind, value in took.items()}
                    for who, took in median.items()
                },
                "ratio": {
                    who: {kind: round(median["published"][kind] / value, 3) for kind, value in took.items()}
                    for who, took in median.items()
                    if who != "published"
                },
                "loss_difference": difference,
                "seconds": {key: round(value, 3) for key, value in parts.items()},
                "share": {key: round(value / median["ours"]["paired"], 3) for key, value in parts.items()},
                "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "peak_gpu_mib": peaks,
            }
        )
    )


if __name__ == "__main__":
    main()
