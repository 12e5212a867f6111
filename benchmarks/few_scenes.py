"""Recipe `few-scenes` against what needs no training, and against the published form at the same budget.

    python benchmarks/few_scenes.py LOS_ANGELES -o out --mstar MSTAR.zip --tiles SENTINEL_TILES

LOS_ANGELES holds ``optical/`` and ``sar/`` scenes, of which the eastern quarter is held out of training; MSTAR.zip has
``<class>/<id>.jpeg`` chips of another sensor, SENTINEL_TILES (``S2L2A``, ``S1RTC``, ``LULC``) four other places. Both
trainings are ``codemae pretrain`` with the same steps, batches and seeds; "published form" is the recipe with every
departure switched off (no teacher: none is small enough for this budget). Against them stand a random network, HOG,
and MIND (Heinrich et al., 2012: how alike a pixel's surroundings are to those of its neighbours, which radar and
optical images share). Everything is measured twice, by raw and by standardised features:

- top-1 of 256 held-out windows, optical to SAR and back, averaged; features are a window's patches, by place;
- MSTAR: nearest neighbour on 30 % of the chips, the others known; a single neighbour by cosine;
- land cover: a ridge classifier on patches of 16 x 16 pixels, three places known, tested on the fourth, all in turn;
  mean over sensors of the balanced accuracy.

Runs that are finished are taken as they are. Writes ``few_scenes.json`` and ``few_scenes.md``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import torch
import torch.nn.functional as F
from codemae_datasets.public.splits import split_by_ratio
from codemae_train.analyze import Pairs, Request, sample_pairs
from mstar import read
from torch import Tensor

from codemae_geo.analysis.alignment import retrieval_top1, standardised, unit
from codemae_geo.losses.targets import hog
from codemae_geo.models import build
from codemae_geo.models.encoder import find_encoder
from codemae_geo.weights import load_package

Sensor = Literal["optical", "sar"]
#: images [N, 1 or 3, S, S] in 0..1 and their sensor -> features of the patches [N, S / 16, S / 16, D]
Describe = Callable[[Tensor, Sensor], Tensor]
SENSORS: tuple[Sensor, Sensor] = ("optical", "sar")
#: side of the images that all see, and of a patch
SIDE, PATCH = 64, 16
#: the recipe without its departures from the paper
PUBLISHED = [
    "model.encoder=tiny", "model.contrast_head=ca", "model.contrast_from=decoder", "train.masks=pair",
    "model.cross=true", "train.augment=true",
]  # fmt: skip
TRAINED: dict[str, list[str]] = {"few-scenes": [], "published form": PUBLISHED}


# ---------------------------------------------------------------- what is compared


def hog_patches(images: Tensor, _sensor: Sensor) -> Tensor:
    """Histograms of gradients of the four cells of every patch: [N, h, w, 36]."""
    return _cells(hog(images.mean(1, keepdim=True))[:, :, 4::8, 4::8])


def mind_patches(images: Tensor, _sensor: Sensor) -> Tensor:
    """MIND over eight neighbours at a distance of two pixels, averaged over the four cells of every patch."""
    grey = images.mean(1, keepdim=True)
    shifts = [(dy, dx) for dy in (-2, 0, 2) for dx in (-2, 0, 2) if (dy, dx) != (0, 0)]
    distance = torch.cat([smooth((grey - grey.roll(s, (2, 3))) ** 2) for s in shifts], dim=1)
    variance = distance.mean(1, keepdim=True).clamp(min=1e-6)
    found = (-(distance - distance.amin(1, keepdim=True)) / variance).exp()
    return _cells(F.avg_pool2d(found, 8))


def smooth(image: Tensor) -> Tensor:
    """Mean over 5 x 5 pixels."""
    return F.avg_pool2d(image, 5, stride=1, padding=2, count_include_pad=False)


def _cells(maps: Tensor) -> Tensor:
    """[N, D, 2 h, 2 w] of 8-pixel cells -> [N, h, w, 4 D] of patches."""
    return F.pixel_unshuffle(maps, 2).permute(0, 2, 3, 1)


def network(path: Path | None, seed: int) -> Describe:
    """Tokens of an exported encoder, or of the recipe's backbone as it begins."""
    if path is not None:
        package = load_package(path)
        module = package.module
        tables = {spec.family: (spec.mean, spec.std) for spec in package.contract.inputs}
    else:
        torch.manual_seed(seed)
        module = build("encoder", {"encoder": {"variant": "tiny", "instance_norm": True, "img_size": SIDE}}).eval()
        tables = {s: ([0.5] * 3, [0.25] * 3) for s in SENSORS}
    encoder = find_encoder(module)
    assert encoder is not None

    @torch.no_grad()
    def describe(images: Tensor, sensor: Sensor) -> Tensor:
        mean, std = (torch.tensor(v)[:, None, None] for v in tables[sensor])
        parts = images.expand(-1, 3, -1, -1).split(64)
        return torch.cat([encoder.dense((x - mean) / std, sensor, PATCH) for x in parts]).permute(0, 2, 3, 1)

    return describe


def train(name: str, seed: int, steps: int, scenes: Path, folder: Path) -> tuple[Path, float]:
    """One run of ``codemae pretrain``; its encoder, and the seconds that it took."""
    run = folder / f"{name.replace(' ', '-')}-{seed}"
    clock = run / "seconds.txt"
    if not clock.exists():
        command = [sys.executable, "-m", "codemae_cli", "pretrain", "few-scenes", f"data.optical={scenes / 'optical'}"]
        command += [f"data.sar={scenes / 'sar'}", f"train.max_steps={steps}", f"train.epochs={-(-steps // 64)}"]
        command += [f"train.seed={seed}", "train.validate_every=1000", *TRAINED[name], "-o", str(run)]
        again = "--resume" if (run / "checkpoint.pt").exists() else "--overwrite"
        began = time.perf_counter()
        subprocess.run([*command, again, "--progress", "plain"], check=True)
        clock.write_text(f"{time.perf_counter() - began:.1f}")
    return run / "encoder.safetensors", float(clock.read_text())


# ---------------------------------------------------------------- measures


def both_forms(measure: Callable[[bool], float]) -> dict[str, float]:
    """A measure by raw and by standardised features."""
    return {form: round(measure(form == "standardised"), 4) for form in ("raw", "standardised")}


def retrieval(describe: Describe, pairs: Pairs) -> dict[str, float]:
    """Top-1 of a pair's other image among all windows, mean of both directions."""
    optical = F.interpolate(torch.from_numpy(pairs.optical).float() / 255, (SIDE, SIDE), mode="area")
    sar = F.interpolate(torch.from_numpy(pairs.sar)[:, None].float() / 255, (SIDE, SIDE), mode="area")
    a, b = (describe(x, s).flatten(1).double().numpy() for x, s in ((optical, "optical"), (sar, "sar")))  # type: ignore[arg-type]

    def measure(scaled: bool) -> float:
        first, second = (standardised(x) if scaled else x for x in (a, b))
        return (retrieval_top1(first, second) + retrieval_top1(second, first)) / 2

    return both_forms(measure)


def mstar(describe: Describe, chips: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy of the nearest neighbour by cosine."""
    known, held = split_by_ratio(labels.tolist(), 0.7)
    features = describe(chips, "sar").flatten(1).double().numpy()

    def measure(scaled: bool) -> float:
        x = standardised(features) if scaled else features
        nearest = (unit(x[held]) @ unit(x[known]).T).argmax(1)
        return float((labels[known][torch.from_numpy(nearest)] == labels[held]).float().mean())

    return both_forms(measure)


def land_cover(describe: Describe, places: list[dict[str, Any]]) -> dict[str, float]:
    """Balanced accuracy over the classes of the place left out that others have, mean over places and sensors."""

    def measure(scaled: bool) -> float:
        found = []
        for sensor in SENSORS:
            features = [describe(p[sensor], sensor).flatten(0, 2).double().numpy() for p in places]
            for number, place in enumerate(places):
                others = [i for i in range(len(places)) if i != number]
                x, y = (
                    np.concatenate([features[i] for i in others]),
                    np.concatenate([places[i]["label"] for i in others]),
                )
                mean, std = (x.mean(0), x.std(0) + 1e-9) if scaled else (0.0, 1.0)
                classes = np.unique(y)
                answer = classes[
                    ridge((x - mean) / std, y[:, None] == classes, (features[number] - mean) / std).argmax(1)
                ]
                truth = place["label"]
                found.append([float((answer[truth == c] == c).mean()) for c in np.intersect1d(truth, classes)])
        return float(np.mean([np.mean(recalls) for recalls in found]))

    return both_forms(measure)


def ridge(x: np.ndarray, y: np.ndarray, asked: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Scores [M, K] of a least-squares classifier with an intercept, weights held down by ``strength`` x N / D."""
    x1, asked1 = (np.concatenate([v, np.ones((len(v), 1))], 1) for v in (x, asked))
    held = np.eye(x1.shape[1]) * strength * np.square(x).sum() / x1.shape[1] / 10
    return asked1 @ np.linalg.solve(x1.T @ x1 + held, x1.T @ (2.0 * y - 1))


# ---------------------------------------------------------------- data


def read_places(folder: Path) -> list[dict[str, Any]]:
    """Crops of 64 pixels of each place in both sensors, 0..1, and the most frequent class of every patch."""
    places = []
    for path in sorted((folder / "LULC").glob("*.tif")):
        with rasterio.open(path) as file:
            label = file.read(1)
        with rasterio.open(folder / "S2L2A" / path.name) as file:
            optical = np.clip(file.read([4, 3, 2]).astype(np.float32) / 3000, 0, 1)
        with rasterio.open(folder / "S1RTC" / path.name) as file:
            amplitude = 10 ** (file.read(2).astype(np.float32) / 20)  # VH
        sar = np.clip(amplitude / np.nanquantile(amplitude, 0.99), 0, 1)[None]
        corners = [(r, c) for r in (0, 64, 128) for c in (0, 64, 128)]
        cut = {
            name: torch.from_numpy(np.stack([np.nan_to_num(x[:, r : r + SIDE, c : c + SIDE]) for r, c in corners]))
            for name, x in (("optical", optical), ("sar", sar))
        }
        blocks = np.stack([label[r : r + SIDE, c : c + SIDE] for r, c in corners]).reshape(-1, 4, PATCH, 4, PATCH)
        flat = blocks.swapaxes(2, 3).reshape(-1, PATCH * PATCH)
        places.append({**cut, "label": np.array([np.bincount(row).argmax() for row in flat])})
    return places


def read_mstar(path: Path) -> tuple[Tensor, Tensor]:
    """Middle [N, 1, 64, 64] of the chips in 0..1, and their classes."""
    chips, labels, _ = read(path, SIDE)
    return chips[:, None].float() / 255, labels


# ---------------------------------------------------------------- table


def markdown(rows: list[dict[str, Any]]) -> str:
    """Mean and range over seeds, in percent, raw / standardised."""
    measures = [m for m in ("retrieval", "mstar", "land_cover") if m in rows[0]]
    titles = {"retrieval": "top-1 of 256, held out", "mstar": "MSTAR nearest", "land_cover": "land cover"}
    lines = [
        "| features | seeds | " + " | ".join(f"{titles[m]}, raw | standardised" for m in measures) + " | seconds |"
    ]
    lines.append("| --- | --- |" + " ---: | ---: |" * len(measures) + " ---: |")
    for name in dict.fromkeys(row["features"] for row in rows):
        chosen = [row for row in rows if row["features"] == name]
        cells = []
        for measure in measures:
            for form in ("raw", "standardised"):
                values = [100 * row[measure][form] for row in chosen]
                spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
                cells.append(f"{np.mean(values):.1f}{spread}")
        seconds = np.mean([row["seconds"] for row in chosen])
        lines.append(f"| {name} | {len(chosen)} | " + " | ".join(cells) + f" | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line of the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path, help="folder with optical/ and sar/")
    parser.add_argument("-o", "--output", type=Path, default=Path("few-scenes"))
    parser.add_argument("--mstar", type=Path)
    parser.add_argument("--tiles", type=Path)
    parser.add_argument("--steps", type=int, default=640, help="of 64 pairs")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    where = Request(args.scenes / "optical", args.scenes / "sar", window=96, count=256, holdout=0.25)
    pairs = sample_pairs(where.data(), where.count, seed=1)
    chips = read_mstar(args.mstar) if args.mstar else None
    places = read_places(args.tiles) if args.tiles else None
    jobs: list[tuple[str, int]] = [("HOG", 0), ("MIND", 0)]
    jobs += [(name, seed) for seed in range(args.seeds) for name in ("random network", *TRAINED)]
    rows: list[dict[str, Any]] = []
    for name, seed in jobs:
        seconds, describe = 0.0, {"HOG": hog_patches, "MIND": mind_patches}.get(name)
        if name in TRAINED:
            encoder, seconds = train(name, seed, args.steps, args.scenes, args.output)
            describe = network(encoder, seed)
        describe = describe or network(None, seed)
        row: dict[str, Any] = {"features": name, "seed": seed, "seconds": seconds, "steps": args.steps}
        row["retrieval"] = retrieval(describe, pairs)
        if chips is not None:
            row["mstar"] = mstar(describe, *chips)
        if places is not None:
            row["land_cover"] = land_cover(describe, places)
        rows.append(row)
        print(json.dumps(row), flush=True)
        (args.output / "few_scenes.json").write_text(json.dumps(rows, indent=1) + "\n")
        (args.output / "few_scenes.md").write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
