"""The method's parts against one another on two folders of scenes: same data, budget and seeds, an area held out.

    python train/scripts/ablation.py OPTICAL SAR -o out --jobs 2

trains MAE alone, MAE + plain contrast, MAE + CCL, MAE + CCL + CDR (grey), and once CDR with pixel targets for the
pictures; then measures on the held-out area. Distillation is off: there is no small teacher worth learning from.
Windows are taken whole (random crops slow the contrastive loss down more than this budget bears), and all pairs of a
batch have one mask: with a mask per pair, as published, the contrastive loss can tell pairs by their masks.
Writes ``ablation.json``, ``table.md``, ``curves.png`` and ``reconstructions.png``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from codemae_datasets.pairs import PairSource, collate
from codemae_datasets.samplers import seeded
from codemae_datasets.transforms import PairTransform
from codemae_train.config import Recipe, load_recipe
from codemae_train.devices import make_fabric, to_device
from codemae_train.loop import fit, prepare
from codemae_train.methods.pretrain import Pretraining
from codemae_train.pairdata import open_source
from codemae_train.run import Run
from torch import Tensor

from codemae_geo.analysis.alignment import retrieval_top1, standardised
from codemae_geo.losses.reconstruction import masked_mse, normalise_patches, patchify, unpatchify
from codemae_geo.losses.targets import cross_targets
from codemae_geo.progress import Reporter

#: row of the table -> overrides of the recipe
VARIANTS: dict[str, list[str]] = {
    "MAE": ["model.contrast=false", "model.cross=false"],
    "MAE + plain contrast": ["model.contrast_head=none", "model.cross=false"],
    "MAE + CCL": ["model.cross=false"],
    "MAE + CCL + CDR": [],
}
#: trained with the first seed only, for the pictures
PIXEL = "MAE + CCL + CDR, pixel target"
SETTINGS = [
    *("model.img_size=64", "data.window=96", "data.holdout=0.25", "train.batch=64", "train.base_lr=2.0e-3"),
    *("train.accelerator=cpu", "train.precision=32-true", "train.log_every=10", "train.validate_every=1000"),
    *("train.validate_batches=4", "train.warmup_epochs=1", "train.augment=false"),
]
#: held-out windows that the measures are taken on, and training windows kept in memory
HELD_OUT, IN_MEMORY = 384, 5120


class MemoryPairs:
    """Windows of a source, read once."""

    def __init__(self, source: PairSource, items: Sequence[Any], held_out: Sequence[Any]) -> None:
        self.names = list(source.names)
        self.samples = [source[item] for item in (*items, *held_out)]
        self.count = len(items)

    def paired_items(self, generator: torch.Generator) -> list[int]:
        """The numbers of the training windows."""
        return list(range(self.count))

    def unpaired_items(self, generator: torch.Generator) -> list[int]:
        """None."""
        return []

    def held_out_items(self) -> list[int]:
        """The numbers of the held-out windows."""
        return list(range(self.count, len(self.samples)))

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self.samples[item]


_CACHE: dict[str, MemoryPairs] = {}


def memory_pairs(recipe: Recipe) -> MemoryPairs:
    """The windows of a recipe; every process reads them once, the same ones for all variants and seeds."""
    key = str(recipe.data)
    if key not in _CACHE:
        source, held_out = open_source(recipe.data)
        items = list(source.paired_items(seeded(0)))[:IN_MEMORY]
        order = torch.randperm(len(held_out), generator=seeded(1)).tolist()[:HELD_OUT]
        _CACHE[key] = MemoryPairs(source, items, [held_out[i] for i in order])
    return _CACHE[key]


# ---------------------------------------------------------------- one run


def train_and_measure(variant: str, seed: int, overrides: list[str], folder: Path, threads: int) -> dict[str, Any]:
    """Train one variant with one seed, measuring before, four times on the way, and after."""
    torch.set_num_threads(threads)
    recipe = load_recipe("small", [*overrides, f"train.seed={seed}"])
    source = memory_pairs(recipe)
    method = Pretraining(recipe, (source, source.held_out_items()))
    run = prepare(method, folder, make_fabric(recipe.train), Reporter())
    folder.mkdir(parents=True, exist_ok=True)
    began, final = time.perf_counter(), run.total_steps
    points = [{"step": 0, **measure(run, source.held_out_items())}]
    for quarter in range(1, 5):
        recipe.train.max_steps = final * quarter // 4
        fit(run)
        points.append({"step": run.step, **measure(run, source.held_out_items())})
    result = {"variant": variant, "seed": seed, "seconds": round(time.perf_counter() - began, 1), "points": points}
    if seed == 0:
        torch.save(pictures(run, source.held_out_items()[:64]), folder / "pictures.pt")
    return result


@torch.no_grad()
def measure(run: Run, items: Sequence[int]) -> dict[str, float]:
    """Held-out figures: reconstruction loss by modality, cross loss, retrieval, effective rank.

    ``top1`` is optical to SAR by the cosine of the backbone's mean tokens, each modality's own mean removed first (a
    constant offset between the modalities would else decide); ``top1_raw`` leaves it in, ``top1_standardised`` divides
    by each dimension's deviation as well. ``top1_decoder`` is the same with the decoder's embedding, to which contrast
    is applied, before any cross-attention. Unmasked images.
    """
    model = run.bare.eval()
    rgb, sar = held_out_views(run, items)
    noise = torch.rand(len(rgb), model.absolute_pos_embed.shape[1], generator=seeded(2))
    own, cross, masking = model.reconstruct(rgb, sar, noise)
    removed = torch.zeros_like(noise).scatter(1, masking.removed, 1.0)
    out: dict[str, float] = {}
    for name, image, prediction in zip(("optical", "sar"), (rgb, sar), own.chunk(2), strict=True):
        out[f"reconstruction_{name}"] = masked_mse(prediction, normalise_patches(patchify(image)), removed).item()
    if cross is not None:
        optical, radar = cross_targets(model.cross_target, rgb, sar)
        target = normalise_patches(patchify(torch.cat([radar, optical])))
        out["cross"] = masked_mse(cross, target, removed.repeat(2, 1)).item()
    features = model.forward_stages([rgb, sar], ["RGB", "SAR"])
    decoder = model.embed_tokens(model.forward_levels(features)).mean(dim=1).chunk(2)
    first, second = features.tokens.mean(dim=1).chunk(2)
    for name, pair in (("top1", (first, second)), ("top1_decoder", decoder)):
        both = [x.double().numpy() for x in pair]
        out[f"{name}_raw"] = retrieval_top1(*both)
        out[name] = retrieval(*pair)
        out[f"{name}_standardised"] = retrieval_top1(*(standardised(x) for x in both))
    out |= {"rank_optical": effective_rank(first), "rank_sar": effective_rank(second)}
    model.train()
    return {name: round(value, 4) for name, value in out.items()}


def held_out_views(run: Run, items: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Normalised held-out images [N, 3, size, size] of both modalities, whole windows resized."""
    batch = to_device(collate([run.source[item] for item in items]), run.fabric.device)
    views = transform(run)(batch)
    return views.rgb, views.sar


def transform(run: Run) -> PairTransform:
    """What makes network inputs of a run's batches."""
    assert isinstance(run.method, Pretraining)
    return run.method.transform


def retrieval(queries: Tensor, keys: Tensor) -> float:
    """Share of rows whose own partner has the highest cosine, after each side's mean is removed: [N, D] twice."""
    queries, keys = (F.normalize(x - x.mean(dim=0), dim=1) for x in (queries, keys))
    return ((queries @ keys.t()).argmax(dim=1) == torch.arange(len(queries))).float().mean().item()


def effective_rank(features: Tensor) -> float:
    """Exp of the entropy of the normalised singular values of centred features [N, D] (Roy and Vetterli, 2007)."""
    values = torch.linalg.svdvals(features - features.mean(dim=0))
    share = values / values.sum()
    return torch.exp(-(share * share.clamp(min=1e-12).log()).sum()).item()


# ---------------------------------------------------------------- pictures


@torch.no_grad()
def pictures(run: Run, items: Sequence[int]) -> dict[str, Tensor]:
    """Images and cross-modal predictions in [0, 1]; predicted patches get the target's own mean and deviation back."""
    model = run.bare.eval()
    rgb, sar = held_out_views(run, items)
    noise = torch.rand(len(rgb), model.absolute_pos_embed.shape[1], generator=seeded(4))
    _, cross, masking = model.reconstruct(rgb, sar, noise)
    out = {"rgb": _unit(run, rgb, "rgb"), "sar": _unit(run, sar, "sar")}
    if cross is None:
        return out
    optical, radar = cross_targets(model.cross_target, rgb, sar)
    side = rgb.shape[-1] // 16
    removed = torch.zeros_like(noise).scatter(1, masking.removed, 1.0)[:, :, None]
    for name, target, prediction in (
        ("sar_from_rgb", radar, cross[: len(rgb)]),
        ("rgb_from_sar", optical, cross[len(rgb) :]),
    ):
        patches = patchify(target)
        scaled = prediction * patches.std(-1, keepdim=True) + patches.mean(-1, keepdim=True)
        out[name] = unpatchify(scaled, (side, side))
        out[f"{name}_target"] = target
    source = torch.cat([patchify(rgb), patchify(sar)]) * (1 - removed.repeat(2, 1, 1))
    seen = unpatchify(source, (side, side)).chunk(2)
    return out | {"rgb_seen": _unit(run, seen[0], "rgb"), "sar_seen": _unit(run, seen[1], "sar")}


def _unit(run: Run, image: Tensor, key: str) -> Tensor:
    mean, std = getattr(transform(run), f"{key}_stats")[0]
    return (image * std.view(3, 1, 1) + mean.view(3, 1, 1)).clamp(0, 1)


def _show(axis: Any, image: Tensor, like: Tensor | None = None) -> None:
    like = image if like is None else like
    low, high = torch.quantile(like.flatten(), torch.tensor([0.01, 0.99]))
    pixels = ((image - low) / (high - low)).clamp(0, 1).permute(1, 2, 0).numpy()
    axis.imshow(pixels if pixels.shape[2] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=1)
    axis.set_xticks([])
    axis.set_yticks([])


def draw_reconstructions(grey: dict[str, Tensor], pixel: dict[str, Tensor], path: Path, rows: int = 4) -> None:
    """Cross-modal predictions with grey and pixel targets side by side, after the paper's Figure 4b."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    contrast = grey["rgb"].flatten(1).std(1)
    chosen = contrast.argsort(descending=True)[:: max(1, len(contrast) // rows // 2)][:rows].tolist()
    columns = [
        *(("optical", "rgb", grey), ("SAR", "sar", grey), ("seen optical", "rgb_seen", grey)),
        *(
            ("SAR from optical\n(grey run)", "sar_from_rgb", grey),
            ("SAR from optical\n(pixel run)", "sar_from_rgb", pixel),
        ),
        *(
            ("seen SAR", "sar_seen", grey),
            ("grey from SAR", "rgb_from_sar", grey),
            ("pixels from SAR", "rgb_from_sar", pixel),
        ),
    ]
    figure, axes = plt.subplots(rows, len(columns), figsize=(1.35 * len(columns), 1.5 * rows))
    for r, i in enumerate(chosen):
        for c, (title, key, images) in enumerate(columns):
            _show(axes[r, c], images[key][i], images.get(f"{key}_target", images[key])[i])
            if r == 0:
                axes[r, c].set_title(title, fontsize=7)
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_curves(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Held-out figures against steps; bands are the range over seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = {
        "reconstruction_optical": "held-out reconstruction, optical",
        "reconstruction_sar": "held-out reconstruction, SAR",
        "top1": "optical to SAR top-1, backbone",
        "top1_decoder": "top-1, decoder embedding",
        "rank_optical": "effective rank, optical",
    }
    figure, axes = plt.subplots(1, len(shown), figsize=(3.2 * len(shown), 2.8))
    for variant in VARIANTS:
        runs = [r["points"] for r in results if r["variant"] == variant]
        for axis, (key, title) in zip(axes, shown.items(), strict=True):
            values = np.array([[p[key] for p in points] for points in runs])
            steps = [p["step"] for p in runs[0]]
            (line,) = axis.plot(steps, values.mean(0), label=variant)
            axis.fill_between(steps, values.min(0), values.max(0), alpha=0.2, color=line.get_color())
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("steps", fontsize=8)
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown table of the last measurement, mean and deviation over seeds; first row before training."""
    keys = {
        "reconstruction_optical": "rec. optical",
        "reconstruction_sar": "rec. SAR",
        "cross": "cross",
        "top1_raw": "top-1 backbone, raw",
        "top1": "centred",
        "top1_standardised": "standardised",
        "top1_decoder_raw": "top-1 decoder emb., raw",
        "top1_decoder": "centred",
        "top1_decoder_standardised": "standardised",
        "rank_optical": "rank optical",
        "rank_sar": "rank SAR",
    }
    lines = ["| run | " + " | ".join(keys.values()) + " |", "| --- |" + " --- |" * len(keys)]
    groups = {"before training": [r["points"][0] for r in results if r["variant"] == "MAE + CCL + CDR"]}
    groups |= {v: [r["points"][-1] for r in results if r["variant"] == v] for v in VARIANTS}
    for name, points in groups.items():
        cells = []
        for key in keys:
            values = np.array([p[key] for p in points if key in p])
            form = (lambda v: f"{100 * v:.1f} %") if key.startswith("top1") else (lambda v: f"{v:.3f}")
            cells.append(f"{form(values.mean())} ± {form(values.std())}" if len(values) else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line of the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("optical", type=Path)
    parser.add_argument("sar", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("ablation"))
    parser.add_argument("--steps", type=int, default=400, help="optimizer steps of each run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--masks", choices=("pair", "batch"), default="batch", help="see train.masks in a recipe")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    args = parser.parse_args()
    epochs = -(-args.steps * 64 // IN_MEMORY)
    base = [f"data.optical={args.optical.absolute()}", f"data.sar={args.sar.absolute()}", f"data.places={IN_MEMORY}"]
    base += [*SETTINGS, f"train.masks={args.masks}", f"train.epochs={epochs}", f"train.max_steps={args.steps}"]
    jobs = [(v, seed, [*base, *VARIANTS[v]]) for seed in range(args.seeds) for v in VARIANTS]
    jobs.insert(len(VARIANTS), (PIXEL, 0, [*base, "model.cross_target=pixel"]))
    results = []
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        folders = {(v, s): args.output / f"{v.replace(' ', '_').replace(',', '')}-{s}" for v, s, _ in jobs}
        futures = [pool.submit(train_and_measure, v, s, o, folders[v, s], args.threads) for v, s, o in jobs]
        for future in futures:
            results.append(future.result())
            print(json.dumps(results[-1]), flush=True)
            (args.output / "ablation.json").write_text(json.dumps(results, indent=1) + "\n")
    (args.output / "table.md").write_text(table(results))
    draw_curves(results, args.output / "curves.png")
    grey, pixel = (torch.load(folders[v, 0] / "pictures.pt", weights_only=True) for v in ("MAE + CCL + CDR", PIXEL))
    draw_reconstructions(grey, pixel, args.output / "reconstructions.png")
    print(table(results))


if __name__ == "__main__":
    main()
