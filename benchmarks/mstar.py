"""Few labels on MSTAR: pretrained by the project's recipe, from scratch, HOG with a linear layer, raw-pixel neighbours.

    python benchmarks/mstar.py MSTAR.zip LOS_ANGELES -o out      (two CPU cores: about ten minutes)

MSTAR.zip holds ``<class>/<id>.jpeg`` chips of ten vehicles (2,747, 17 degrees depression); LOS_ANGELES holds
``optical/`` and ``sar/`` scenes. Three tenths of every class are kept for testing, the same for all; the rest is
learnt from: all of it, or 40 a class, drawn anew with every seed. Pretraining sees no label and no test chip: it is
``codemae pretrain small`` on the chips with optical windows of Los Angeles as unpaired images. The networks are the
tiny backbone on the middle 48 x 48 pixels, fine-tuned by the published recipe of SAR targets (layer decay 0.85, cosine,
no augmentation) with fewer epochs. Needs scikit-image for HOG. Writes ``mstar.json``, ``mstar.md`` and ``mstar.png``;
started again with the same folder it goes on.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
import torch.nn.functional as F
from codemae_datasets.public.splits import few_shot, split_by_ratio
from codemae_train.optim import cosine, parameter_groups, scaled_rate, set_rates
from codemae_train.probe import linear_steps
from PIL import Image
from torch import Tensor

from codemae_geo.models import build
from codemae_geo.models.probe import LinearProbe, knn_scores
from codemae_geo.weights import load_package

SIDE, SEEDS, SHOTS = 48, 5, 40
EPOCHS = {"40-shot": 10, "full": 3}
CONFIG = {"variant": "tiny", "img_size": SIDE, "modality": "SAR", "num_classes": 10, "drop_path_rate": 0.05}
METHODS = ("pretrained", "from scratch", "HOG + linear", "raw pixels, nearest")


def read(path: Path, side: int = SIDE) -> tuple[Tensor, Tensor, list[str]]:
    """Middle [N, side, side] uint8 of all chips, labels [N], class names."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if n.lower().endswith((".jpeg", ".jpg")))
        classes = sorted({Path(n).parent.name for n in names})
        chips = []
        for name in names:
            pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("L"))
            top, left = ((n - side) // 2 for n in pixels.shape)
            chips.append(pixels[top : top + side, left : left + side].copy())
    labels = [classes.index(Path(n).parent.name) for n in names]
    return torch.from_numpy(np.stack(chips)), torch.tensor(labels), classes


def pretrain(chips: Tensor, los_angeles: Path, folder: Path, epochs: int) -> Path:
    """Run the project's recipe on chips and optical windows in the published layout; the exported encoder."""
    data = folder / "images"
    for part in ("RGB", "SAR"):
        (data / "Unpaired" / part).mkdir(parents=True, exist_ok=True)
    for i, chip in enumerate(chips.numpy()):
        Image.fromarray(chip).save(data / "Unpaired" / "SAR" / f"{i:05}.png")
    scenes = sorted((los_angeles / "optical").glob("*.tif"))
    rng = np.random.default_rng(0)
    pictures = []
    for scene in scenes:
        with rasterio.open(scene) as file:
            pictures.append(file.read([1, 2, 3]).transpose(1, 2, 0))
    for i in range(len(chips)):
        picture = pictures[i % len(pictures)]
        top, left = (int(rng.integers(n - SIDE)) for n in picture.shape[:2])
        window = picture[top : top + SIDE, left : left + SIDE]
        Image.fromarray(window).save(data / "Unpaired" / "RGB" / f"{i:05}.png")
    run = folder / "pretraining"
    command = [sys.executable, "-m", "codemae_cli", "pretrain", "small", "data.kind=ospretrain", f"data.root={data}"]
    command += ["data.use=unpaired", "data.statistics=measured", "data.holdout=null", f"model.img_size={SIDE}"]
    # nothing is paired, so the objectives of pairs would count 0: they are not computed
    command += ["model.cross=false", "model.contrast=false", "model.decoder_depth=2"]
    command += [f"train.epochs={epochs}", "train.batch=64", "train.save_every=20", "train.validate_every=1000"]
    command += ["-o", str(run), "--progress", "plain", *(["--resume"] if (run / "checkpoint.pt").exists() else [])]
    subprocess.run(command, check=True)
    return run / "encoder.safetensors"


def normalise(chips: Tensor, mean: float, std: float) -> Tensor:
    """[N, 48, 48] uint8 -> [N, 3, 48, 48]."""
    return ((chips.float() / 255 - mean) / std)[:, None].expand(-1, 3, -1, -1)


def fine_tune(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], epochs: int, seed: int, start: Path | None
) -> float:
    """Accuracy on the test chips after the last epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = build("classifier", CONFIG | {"head_norm": True})
    if start is not None:
        state = load_package(start).module.state_dict()
        wanted = model.state_dict()
        kept = {k: v for k, v in state.items() if k in wanted and v.shape == wanted[k].shape}
        missing = [k for k in wanted if k not in kept and not k.startswith(("head.", "fc_norm."))]
        assert not missing, missing
        model.load_state_dict(kept, strict=False)
    batch = 50
    lr = scaled_rate(5e-3, batch)  # five times the published rate: a network 25 times smaller, fewer epochs
    optimizer = torch.optim.AdamW(parameter_groups(model, lr, layer_decay=0.85))
    factor = cosine(epochs, warmup=epochs / 30, floor=1e-6 / lr)
    mean, std = float(train[0].float().mean() / 255), float(train[0].float().std() / 255)
    images, labels = normalise(train[0], mean, std), train[1]
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(labels), generator=generator)
        steps = len(labels) // batch
        for number in range(steps):
            rows = order[number * batch : (number + 1) * batch]
            set_rates(optimizer, factor(epoch + number / steps))
            loss = F.cross_entropy(model(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        held = torch.cat([model.eval()(part) for part in normalise(test[0], mean, std).split(128)])
    return float((held.argmax(1) == test[1]).float().mean())


def hog_linear(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int) -> float:
    """Histograms of gradients (8 x 8 cells, 9 directions) under the probe's linear layer."""
    from skimage.feature import hog

    def features(chips: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([hog(chip, pixels_per_cell=(8, 8)) for chip in chips.numpy()])).float()

    torch.manual_seed(seed)
    first = features(train[0])
    head = LinearProbe(first.shape[1], 10)
    for _ in linear_steps(head, first, train[1], seed=seed):
        pass
    with torch.no_grad():
        return float((head.eval()(features(test[0])).argmax(1) == test[1]).float().mean())


def pixel_neighbours(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """The most alike chip by the cosine of its centred pixels."""
    first, second = (part.flatten(1).float() for part in (train[0], test[0]))
    first, second = (part - part.mean(1, keepdim=True) for part in (first, second))
    return float((knn_scores(second, first, train[1], k=1).argmax(1) == test[1]).float().mean())


def one(job: dict[str, Any]) -> dict[str, Any]:
    """One method on one draw."""
    began = time.process_time()
    chips, labels, _ = read(job["archive"])
    first, test = (torch.tensor(rows) for rows in split_by_ratio(labels.tolist(), 0.7))
    if job["labels"] == "40-shot":
        first = first[few_shot(labels[first].tolist(), SHOTS, job["seed"])]
    train, held = (chips[first], labels[first]), (chips[test], labels[test])
    torch.set_num_threads(1)
    match job["method"]:
        case "pretrained":
            value = fine_tune(train, held, EPOCHS[job["labels"]], job["seed"], job["encoder"])
        case "from scratch":
            value = fine_tune(train, held, EPOCHS[job["labels"]], job["seed"], None)
        case "HOG + linear":
            value = hog_linear(train, held, job["seed"])
        case _:
            value = pixel_neighbours(train, held)
    row = {k: job[k] for k in ("method", "labels", "seed")} | {"images": len(first), "accuracy": 100 * value}
    return row | {"cpu_seconds": round(time.process_time() - began, 1)}


def _sets(rows: list[dict[str, Any]]) -> list[str]:
    """The label sets that every method has been measured on."""
    return [s for s in EPOCHS if all(any(r["method"] == m and r["labels"] == s for r in rows) for m in METHODS)]


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars with the deviation over seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 3.4))
    sets = _sets(rows)
    colours = ("#0072b2", "#56b4e9", "#009e73", "#999999")
    for i, (method, colour) in enumerate(zip(METHODS, colours, strict=True)):
        for j, labels in enumerate(sets):
            values = [r["accuracy"] for r in rows if r["method"] == method and r["labels"] == labels]
            spread = np.std(values, ddof=1) if len(values) > 1 else 0
            place = j + 0.2 * (i - 1.5)
            axis.bar(place, np.mean(values), 0.18, yerr=spread, capsize=3, color=colour, label=None if j else method)
            axis.text(place, np.mean(values) + spread + 1, f"{np.mean(values):.1f}", ha="center", fontsize=8)
    counts = {labels: next(r["images"] for r in rows if r["labels"] == labels) for labels in sets}
    axis.set_xticks(range(len(sets)), [f"{labels} ({counts[labels]} chips)" for labels in sets])
    axis.set_ylabel("accuracy on held-out chips (%)")
    axis.set_ylim(0, 112)
    axis.legend(fontsize=8, ncols=4, loc="upper center", frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: mean and deviation over seeds."""
    sets = _sets(rows)
    lines = ["| method | " + " | ".join(sets) + " |", "| --- |" + " ---: |" * len(sets)]
    for method in METHODS:
        cells = []
        for labels in sets:
            values = [r["accuracy"] for r in rows if r["method"] == method and r["labels"] == labels]
            spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.2f}{spread}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line of the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("los_angeles", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("mstar"))
    parser.add_argument("--epochs", type=int, default=5, help="of pretraining")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    encoder = args.output / "pretraining" / "encoder.safetensors"
    if not encoder.exists():
        chips, labels, _ = read(args.archive)
        first, _ = split_by_ratio(labels.tolist(), 0.7)
        pretrain(chips[first], args.los_angeles, args.output, args.epochs)
    jobs = [
        {"archive": args.archive, "encoder": encoder, "method": method, "labels": labels, "seed": seed}
        for labels in EPOCHS
        for seed in range(SEEDS)
        for method in METHODS
        if not (labels == "full" and method == METHODS[3] and seed)  # it draws nothing
    ]
    kept = args.output / "mstar.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else []
    done = {(row["method"], row["labels"], row["seed"]) for row in rows}
    jobs = [job for job in jobs if (job["method"], job["labels"], job["seed"]) not in done]
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        for row in pool.map(one, jobs):
            rows.append(row)
            print(json.dumps(row), flush=True)
            part = kept.with_suffix(".part")
            part.write_text(json.dumps(rows, indent=1) + "\n")
            part.replace(kept)
    (args.output / "mstar.md").write_text(table(rows))
    draw(rows, args.output / "mstar.png")
    print(table(rows))


if __name__ == "__main__":
    main()
