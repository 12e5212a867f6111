"""Leave one chip out: what the bundled damage model, adapting it with a few labels, and fine-tuning it are worth.

    python benchmarks/joplin.py DATA -o out          (two CPU cores: about an hour; started again it goes on)

DATA holds ``joplin/`` and ``los_angeles_s1s2/``. There are four chips of one town with the damage that the xView2
first-place solution **predicted** for them: predictions, not truth. Each chip is tested in turn; labels come from the
other three, 16 pixels and more away. Buildings are the connected areas of the labels. Of each turn is measured

- ``bundled``: the package as it is. It was made with the labels of chips 0, 1 and 3, so only chip 2 is a test of it;
- ``base``: a model that has not seen the chip. On chip 2 that is the bundled one; on the others it is trained by the
  bundled model's script, without pretraining and with ``--steps`` of 4 crops where that one had 1,600 of 8 (chips 1
  and 3, of which 40 % are there, share one that has seen neither);
- ``adapted``: the base after ``codemae adapt`` with 10, 20, 40 and 80 labels of the three chips, drawn anew with every
  ``--draws``: strength by cross-validation, and the weights left alone where nothing is gained on labels left out;
- ``adapted own``: the same with labels of the tested chip itself, measured on its other buildings: what an analyst
  does;
- ``fine-tuned``: ``codemae finetune damage --from base`` on all labels of the three chips.

Every answer is kept in ``buildings.csv``; ``joplin.csv``, ``joplin.md`` and ``joplin.png`` are made of it.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
import torch
import torch.nn.functional as F
from codemae_train import adapt
from codemae_train.confidence import SMALLEST, building_rows, labelled_areas
from codemae_train.evaluate import Case, normalised
from codemae_train.joplin import BUFFER, HELD_OUT, Joplin, read_joplin
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import shapes
from shapely.geometry import shape
from torch import Tensor

from codemae_geo.classes import NODATA
from codemae_geo.inference.slide import windows
from codemae_geo.metrics.calibration import fit_logistic, reliability, uncertain_error_ratio
from codemae_geo.metrics.maps import building_figures
from codemae_geo.models.damageformer import DamageFormer
from codemae_geo.progress import Reporter
from codemae_geo.raster.align import target_grid
from codemae_geo.raster.scene import Scene
from codemae_geo.vector.buildings import choose_class, logit
from codemae_geo.weights import ModelPackage, load_model
from codemae_geo.weights.package import BuildingCalibration

COUNTS = (10, 20, 40, 80)
SCRIPT = Path(__file__).resolve().parent.parent / "train" / "scripts" / "bundled.py"
#: chips that the base of a turn has not seen: 1 and 3 are small and share one
APART = {0: (0,), 1: (1, 3), 3: (1, 3)}
#: fewest buildings that are left to test on when labels come from the tested chip
LEFT = 30


# ---------------------------------------------------------------- a turn's data


@dataclass(frozen=True)
class Turn:
    """One chip to test on, the others to learn from.

    Args:
        chip: its number.
        scene: the mosaics; ``held_out`` is the chip.
        learning: uint8 [H, W], the labels outside the chip and 16 pixels around it.
        areas: int [H, W], connected areas of all labels, those of the chip among them.
        polygons: of the areas, by number; classes: [N] of them, 1 and up; tested: [N], whether of the chip.
    """

    chip: int
    scene: Joplin
    learning: NDArray[np.uint8]
    areas: NDArray[np.int64]
    polygons: gpd.GeoDataFrame
    classes: NDArray[np.int64]
    tested: NDArray[np.bool_]


def open_turn(folder: Path, chip: int, package: ModelPackage) -> Turn:
    """Labels of a turn."""
    scene = read_joplin(folder, chip)
    label = scene.label.numpy()
    rows, cols = scene.held_out
    near = tuple(slice(max(s.start - BUFFER, 0), s.stop + BUFFER) for s in (rows, cols))
    learning = label.copy()
    learning[near] = NODATA
    outside, inside = labelled_areas(learning), np.zeros(label.shape, np.int64)
    inside[rows, cols] = labelled_areas(label[rows, cols])
    areas = np.where(inside > 0, inside + outside.max(), outside)
    with rasterio.open(next((folder / "pre").glob("*.tif"))) as tile:
        crs = tile.crs
    grid = target_grid(Scene.open(sorted(map(str, (folder / "pre").glob("*.tif"))), role="pre", family="optical"))
    assert grid.shape.yx == label.shape, "the mosaic is the engine's grid"
    outlines = shapes(areas.astype(np.int32), areas > 0, connectivity=4, transform=grid.affine)
    found = pd.DataFrame(
        [(int(number), shape(outline)) for outline, number in outlines], columns=["number", "geometry"]
    )
    k = len(package.contract.classes)
    counts = np.bincount(areas[areas > 0] * k + label[areas > 0], minlength=(areas.max() + 1) * k).reshape(-1, k)
    polygons = gpd.GeoDataFrame(found, crs=crs).dissolve("number", as_index=False)
    numbers = polygons["number"].to_numpy()
    polygons = polygons[counts[numbers].sum(1) >= SMALLEST].reset_index(drop=True)
    counts = counts[polygons["number"]]
    classes = choose_class(counts / counts.sum(1, keepdims=True), package.contract.class_table, adapt.MIN_SHARE)
    return Turn(chip, scene, learning, areas, polygons, classes, polygons["number"].to_numpy() > outside.max())


# ---------------------------------------------------------------- the network over the tested chip, once


@dataclass(frozen=True)
class Windows:
    """What the damage classifier sees of each window of an image, so that another one costs next to nothing."""

    size: tuple[int, int]
    parts: list[tuple[tuple[int, int, int, int], Tensor]]

    def probabilities(self, classifier: adapt.Classifier, temperature: float) -> NDArray[np.float32]:
        """[K, H, W], blended as :func:`codemae_train.evaluate.answer` blends."""
        weight, bias = classifier
        total, norm = torch.zeros(len(bias), *self.size), torch.zeros(self.size)
        for (top, left, bottom, right), maps in self.parts:
            logits = F.conv2d(maps, weight[:, :, None, None], bias)
            logits = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
            answer = (logits[0, :, : bottom - top, : right - left] / temperature).softmax(0)
            ramps = (torch.hann_window(n + 2, periodic=False)[1:-1] for n in (bottom - top, right - left))
            blend = torch.outer(*ramps)
            total[:, top:bottom, left:right] += answer * blend
            norm[top:bottom, left:right] += blend
        return np.asarray((total / norm).numpy())


@torch.inference_mode()
def look(package: ModelPackage, turn: Turn) -> Windows:
    """Run the network over the tested chip."""
    network, scene = package.module.eval(), turn.scene
    assert isinstance(network, DamageFormer)
    rows, cols = scene.held_out
    images = [(date[:, rows, cols] * 255).round().numpy().astype(np.float32) for date in (scene.pre, scene.post)]
    seen = ~((scene.buildings != NODATA) & (scene.label == NODATA))[rows, cols].numpy()
    label = scene.label[rows, cols].numpy()
    case = Case("chip", images, [np.ones(label.shape, bool), seen], label)
    inputs = normalised(case, package.contract, torch.device("cpu"))
    size, side = (label.shape[0], label.shape[1]), package.contract.window
    side = min(side, max(size))
    found: list[Tensor] = []
    handle = network.clf_2.register_forward_pre_hook(lambda module, given: found.append(given[0].clone()))
    parts = []
    for box in windows(size, side, side // 2):
        network(*(x[..., box[0] : box[2], box[1] : box[3]] for x in inputs))
        parts.append((box, found.pop()))
    handle.remove()
    return Windows(size, parts)


def buildings(
    package: ModelPackage,
    turn: Turn,
    windows: Windows,
    classifier: adapt.Classifier,
) -> NDArray[np.float64]:
    """[N, 6] of the tested chip: number of the area, and the columns of :func:`building_rows`."""
    rows, cols = turn.scene.held_out
    likely = windows.probabilities(classifier, package.contract.temperature)
    label, areas = turn.scene.label[rows, cols].numpy(), turn.areas[rows, cols]
    keep = np.isin(areas, turn.polygons["number"].to_numpy()[turn.tested])
    areas = np.where(keep, areas, 0)
    found = likely.argmax(0).astype(np.uint8)
    table = package.contract.class_table
    answers = building_rows(areas, label, found, likely.max(0), likely, table)
    return np.column_stack([np.unique(areas[areas > 0]), answers])


# ---------------------------------------------------------------- the models of a turn


def base_model(data: Path, out: Path, chip: int, steps: int) -> Path | str:
    """A package that has not seen the chip."""
    if chip == HELD_OUT:
        return "damage-tiny-optical"
    chips = APART[chip]
    folder = out / f"base{''.join(map(str, chips))}"
    path = folder / "damage_tiny_optical.safetensors"
    if not path.exists():
        command = [sys.executable, str(SCRIPT), "--data", str(data), "-o", str(folder), "--chips", *map(str, chips)]
        command += ["--pretrain-steps", "0", "--steps", str(steps), "--batch", "4", "--every", "20"]
        subprocess.run(command, check=True)
    return path


def fine_tune(turn: Turn, base: Path | str, data: Path, out: Path, steps: int) -> Path:
    """``codemae finetune damage`` from the base, on all labels of the three chips."""
    run = out / f"finetuned{turn.chip}"
    if (run / "model.safetensors").exists():
        return run / "model.safetensors"
    labels = out / f"labels{turn.chip}.tif"
    pre = sorted(map(str, (data / "joplin" / "pre").glob("*.tif")))
    grid: GeoBox = target_grid(Scene.open(pre, role="pre", family="optical"))
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": NODATA, "crs": str(grid.crs)}
    height, width = grid.shape.yx
    with rasterio.open(
        labels, "w", **profile, height=height, width=width, transform=grid.affine, compress="deflate"
    ) as file:
        file.write(turn.learning, 1)
    command = [sys.executable, "-m", "codemae_cli", "finetune", "damage", "--from", str(base), "-o", str(run)]
    command += ["--pre", str(data / "joplin" / "pre"), "--post", str(data / "joplin" / "post"), "--labels", str(labels)]
    command += [
        "data.classes={background: 0, intact: 1, damaged: 2, destroyed: 3}",
        "data.holdout=0",
        f"data.samples={steps * 4}",
        "train.epochs=1",
        "train.batch=4",
        "train.lr=2e-4",
    ]
    command += ["train.warmup=0.05", "train.select=last", "evaluate.window=512", "evaluate.stride=256"]
    command += ["--progress", "plain", *(["--resume"] if run.exists() else [])]
    subprocess.run(command, check=True)
    return run / "model.safetensors"


def adapted(
    features: adapt.Features, start: adapt.Classifier, package: ModelPackage, count: int, draw: int
) -> tuple[adapt.Classifier, adapt.LeftOut, NDArray[np.int64], float | None]:
    """As ``codemae adapt`` decides: classifier, what was left out, the buildings learnt from, strength."""
    rng = np.random.default_rng([729, draw])
    while True:
        rows = np.sort(rng.choice(len(features.labels), count, replace=False))
        if len(set(features.labels[rows].tolist())) >= adapt.CLASSES:
            break
    few = features.take(rows)
    with adapt.one_thread():
        found = adapt.leave_out(few, start, package, draw)
        helps = found.figures["gain"] > 0
        strength = adapt.choose_strength(few, start, package, draw) if helps else float("inf")
        fitted = adapt.fit(few, start, strength)
    return fitted, found, rows, None if strength == float("inf") else strength


def by_halves(
    rows: NDArray[np.float64], earlier: NDArray[np.float64], found: adapt.LeftOut | None
) -> NDArray[np.float64]:
    """Rows of a chip with the confidence that the package would give them, had it never seen the chip.

    The earlier calibration of the package is fitted on the base's answers to one half of the chip and used on the
    other; adapting pulls it towards its own labels, as ``codemae adapt`` does.

    Args:
        rows: [N, 6] of :func:`buildings`; earlier: [M, 6] of the base, on all buildings of the chip.
        found: of :func:`adapted`; None leaves the earlier calibration as it is.
    """
    out, upper = rows.copy(), np.median(earlier[:, 0])
    z, right = logit(earlier[:, 5]), earlier[:, 1] == earlier[:, 2]
    for side in (False, True):
        other, here = (earlier[:, 0] <= upper) == side, (rows[:, 0] <= upper) != side
        slope, intercept = fit_logistic(z[other], right[other])
        if found is not None:
            calibration = BuildingCalibration(slope=slope, intercept=intercept, split="-")
            (slope, intercept), _ = adapt.calibrate(found.z, found.right, found.part, calibration)
        out[here, 3] = 1 / (1 + np.exp(-(slope * logit(rows[here, 5]) + intercept)))
    return out


# ---------------------------------------------------------------- measuring

FIELDS = (
    "turn",
    "method",
    "labels",
    "draw",
    "seen",
    "building",
    "truth",
    "answer",
    "confidence",
    "pixel_mean",
    "score",
)


class Answers:
    """``buildings.csv``: what has been measured, unit by unit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: set[tuple[str, ...]] = set()
        if path.exists():
            with path.open() as file:
                self.done = {tuple(row[k] for k in FIELDS[:4]) for row in csv.DictReader(file)}

    def missing(self, *unit: Any) -> bool:
        """Whether a unit has to be measured."""
        return tuple(map(str, unit)) not in self.done

    def add(self, unit: Sequence[Any], seen: bool, rows: NDArray[np.float64]) -> None:
        """Keep the buildings of a unit, all or none."""
        lines = [",".join([*map(str, unit), str(int(seen)), *(f"{v:.6g}" for v in row)]) for row in rows]
        head = "" if self.path.exists() else ",".join(FIELDS) + "\n"
        with self.path.open("a") as file:
            file.write(head + "\n".join(lines) + "\n")
        self.done.add(tuple(map(str, unit)))


def measure(data: Path, out: Path, chip: int, args: argparse.Namespace) -> None:
    """All units of a turn that are not yet measured."""
    answers = Answers(out / "buildings.csv")
    bundled = load_model("damage-tiny-optical")
    turn = open_turn(data / "joplin", chip, bundled)

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} turn {chip}: {text}", flush=True)

    say(f"{int(turn.tested.sum())} buildings to test on, {int((~turn.tested).sum())} to learn from")

    def whole(package: ModelPackage, *unit: Any, seen: bool = False) -> None:
        rows = buildings(package, turn, look(package, turn), classifier_of(package))
        answers.add(unit, seen, by_halves(rows, rows, None))
        say(" ".join(map(str, unit)))

    if answers.missing(chip, "bundled", 0, 0):
        whole(bundled, chip, "bundled", 0, 0, seen=chip != HELD_OUT)
    base = base_model(data, out, chip, args.steps)
    package = load_model(base)
    package = replace(package, contract=package.contract.model_copy(update={"temperature": 1.0}))  # not the chip's
    if answers.missing(chip, "base", 0, 0):
        whole(package, chip, "base", 0, 0)

    units = [(m, n, d) for d in range(args.draws) for m in ("adapted", "adapted own") for n in COUNTS]
    units = [(m, n, d) for m, n, d in units if m == "adapted" or turn.tested.sum() - n >= LEFT]
    units = [u for u in units if answers.missing(chip, *u)]
    if units:
        network = package.module.eval()
        assert isinstance(network, DamageFormer)
        scenes = [
            Scene.open(sorted(map(str, (data / "joplin" / name).glob("*.tif"))), role=name, family="optical")
            for name in ("pre", "post")
        ]
        everything = np.arange(len(turn.polygons))
        features = adapt.collect(
            network, package, scenes, target_grid(*scenes), turn.polygons, everything, turn.classes, 0, Reporter()
        )
        seen, start = look(package, turn), classifier_of(package)
        first = buildings(package, turn, seen, start)
        of_chip = turn.tested[features.fids]
        for method, count, draw in units:
            pool = features.take(np.flatnonzero(of_chip if method != "adapted" else ~of_chip))
            if len(set(pool.labels.tolist())) < adapt.CLASSES or np.bincount(pool.labels).max() > len(pool.labels) - 2:
                continue
            began = time.process_time()
            classifier, left, rows, strength = adapted(pool, start, package, count, draw)
            found = by_halves(buildings(package, turn, seen, classifier), first, left)
            if method != "adapted":  # not on the buildings that were learnt from
                learnt = turn.polygons["number"].to_numpy()[pool.fids[rows]]
                found = found[~np.isin(found[:, 0], learnt)]
            answers.add((chip, method, count, draw), False, found)
            say(f"{method} {count} {draw}: strength {strength}, {time.process_time() - began:.0f} CPU s")

    if args.finetune_steps and answers.missing(chip, "fine-tuned", "all", 0):
        path = fine_tune(turn, base, data, out, args.finetune_steps)
        whole(load_model(path), chip, "fine-tuned", "all", 0)


def classifier_of(package: ModelPackage) -> adapt.Classifier:
    """Weight [K, D] and bias [K] of the damage head."""
    head = package.module.clf_2
    return head.weight.detach().flatten(1), head.bias.detach()  # type: ignore[union-attr, operator, return-value]


# ---------------------------------------------------------------- figures


def summarise(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """A row a unit: F1 by class, their mean over the classes that occur, and what confidence is worth.

    ``ece`` and ``ratio`` (errors among the least certain fifth, to average) are of a confidence that was not fitted on
    these buildings, see :func:`by_halves`. ``floor`` is the ``ece`` that answers would have on average that are right
    exactly as often as they say: ten bins of a few dozen buildings never match.
    """
    rows = []
    for unit, part in table.groupby(["turn", "method", "labels", "draw"], sort=False):
        truth, found = part["truth"].to_numpy(int), part["answer"].to_numpy(int)
        figures, right = building_figures(truth, found, names), truth == found
        own, rng = part["confidence"].to_numpy(), np.random.default_rng(0)
        floor = np.mean([reliability(own, rng.random(len(own)) < own, 10).ece for _ in range(200)])
        rows.append(
            dict(zip(("turn", "method", "labels", "draw"), unit, strict=True))
            | {"seen": bool(part["seen"].iloc[0]), "buildings": len(part)}
            | {f"f1_{name}": value for name, value in figures["f1"].items()}
            | {"mean_f1": figures["mean_f1"], "constant": figures["best_constant_mean_f1"]}
            | {"accuracy": figures["accuracy"]}
            | {"ece": reliability(own, right, 10).ece, "floor": floor, "ratio": uncertain_error_ratio(own, right)}
        )
    return pd.DataFrame(rows)


def markdown(units: pd.DataFrame, names: Sequence[str]) -> str:
    """Mean over draws of every turn and method."""
    figures = [f"f1_{name}" for name in names[1:]] + ["mean_f1", "constant", "ece", "floor", "ratio"]
    head = ["chip", "model", "labels", "buildings", *names[1:], "mean F1", "constant", "ECE", "floor", "ratio"]
    lines = ["| " + " | ".join(head) + " |", "| ---: | --- | ---: | ---: |" + " ---: |" * len(figures)]
    for (turn, method, labels), part in units.groupby(["turn", "method", "labels"], sort=False):
        cells = []
        for name in figures:
            values = part[name].dropna().to_numpy(float)
            spread = f" ± {values.std(ddof=1):.3f}" if name == "mean_f1" and len(values) > 1 else ""
            cells.append(f"{values.mean():.3f}{spread}" if len(values) else "-")
        about = f"{method} (has seen it)" if part["seen"].any() else method
        lines.append(f"| {turn} | {about} | {labels} | {part['buildings'].mean():.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(units: pd.DataFrame, path: Path) -> None:
    """Mean F1 over the number of labels, a panel a turn."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    turns = sorted(units["turn"].unique())
    figure, axes = plt.subplots(1, len(turns), figsize=(2.4 * len(turns) + 0.6, 3.2), sharey=True, squeeze=False)
    styles = {
        "adapted": ("#0072b2", "labels of the other chips"),
        "adapted own": ("#009e73", "labels of the chip itself"),
    }
    for axis, turn in zip(axes[0], turns, strict=True):
        here = units[units["turn"] == turn]
        for method, colour, style in (
            ("bundled", "#999999", ":"),
            ("base", "black", "--"),
            ("fine-tuned", "#d55e00", "-."),
        ):
            part = here[here["method"] == method]
            if len(part):
                axis.axhline(part["mean_f1"].iloc[0], color=colour, linestyle=style, linewidth=1.2, label=method)
        for method, (colour, label) in styles.items():
            part = here[here["method"] == method].groupby("labels")["mean_f1"]
            if len(part):
                mean, spread = part.mean(), part.std().fillna(0)
                axis.errorbar(mean.index.astype(int), mean, spread, color=colour, marker="o", capsize=3, label=label)
        axis.set_xscale("log", base=2)
        axis.set_xticks(COUNTS, map(str, COUNTS))
        axis.set_ylim(0, 1)
        count = int(here[here["method"] == "base"]["buildings"].max())
        axis.set_title(f"chip {turn} ({count} buildings)", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("mean F1 over buildings")
    figure.supxlabel("labelled buildings", fontsize=9)
    legend = {
        label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    legend["bundled (chip 2 alone is new to it)"] = legend.pop("bundled")
    figure.legend(legend.values(), legend.keys(), ncols=5, fontsize=7, loc="upper center", frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.93))
    figure.savefig(path, dpi=110)


def report(out: Path) -> None:
    """Tables and plot of what there is."""
    names = [c.name for c in load_model("damage-tiny-optical").contract.classes]
    units = summarise(pd.read_csv(out / "buildings.csv", dtype={"labels": str}), names)
    units.to_csv(out / "joplin.csv", index=False, float_format="%.4f")
    (out / "joplin.md").write_text(markdown(units, names))
    draw(units, out / "joplin.png")
    print(markdown(units, names))


def main() -> None:
    """Command line of the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("joplin"))
    parser.add_argument("--turns", type=int, nargs="*", choices=range(4), default=[2, 0, 1, 3])
    parser.add_argument("--steps", type=int, default=300, help="of the base of a turn")
    parser.add_argument("--finetune-steps", type=int, default=100, help="0 leaves fine-tuning out")
    parser.add_argument("--draws", type=int, default=3, help="of the labels to adapt with")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    settings = {k: v for k, v in vars(args).items() if k not in ("data", "output")}
    (args.output / "settings.json").write_text(json.dumps(settings) + "\n")
    for chip in args.turns:
        measure(args.data, args.output, chip, args)
    if (args.output / "buildings.csv").exists():
        report(args.output)


if __name__ == "__main__":
    main()
