"""Few-shot adaptation of a damage model to one event: forty labelled buildings, minutes on a CPU.

Everything below the last layer stands still: its maps are computed once around the labelled buildings, and only the
damage classifier (a 1x1 convolution) learns, by full-batch L-BFGS. It is drawn back to where it started in two ways:
by a penalty on the distance of the weights (Xuhong et al., ICML 2018), and by having to answer as before on pixels of
which no label speaks (Li and Hoiem, "Learning without forgetting", 2016). How strongly is chosen by cross-validation,
with "not at all changed" among the candidates; and what it gains is measured on buildings that neither the weights nor
that choice have seen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
import torch
import torch.nn.functional as F
from codemae_datasets.labels import damage_number, read_labelled
from codemae_datasets.samplers import seeded
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from torch import Tensor, nn

from codemae_geo.errors import InputError, ModelError
from codemae_geo.inference.damage import map_damage
from codemae_geo.metrics.calibration import fit_logistic, reliability
from codemae_geo.metrics.maps import building_figures
from codemae_geo.models.damageformer import DamageFormer
from codemae_geo.outputs import FolderStaging
from codemae_geo.progress import Reporter
from codemae_geo.raster.align import overlap, same_scene, target_grid
from codemae_geo.raster.read import AlignedReader
from codemae_geo.raster.scene import Scene
from codemae_geo.sensors import Conversion, plan_conversion
from codemae_geo.vector.buildings import choose_class, class_score, logit
from codemae_geo.vector.footprints import read_footprints
from codemae_geo.vector.geopackage import GeoPackageWriter
from codemae_geo.weights.package import BuildingCalibration, DataSource, Metric, ModelPackage, save_package
from codemae_geo.weights.registry import DEFAULT_DAMAGE_MODEL, load_model

#: fewest labelled buildings, and fewest classes among them
FEWEST, CLASSES = 5, 2
#: pixels of a building, and of everything else together, that are learnt from
PIXELS, REFERENCE = 64, 4000
#: strengths of the pull towards the start; the first leaves the model as it is
STRENGTHS = (float("inf"), 3.0, 1.0, 0.3, 0.1)
FOLDS, INNER = 5, 4
#: largest share of the pixels outside labelled buildings whose class may change
BOUND = 0.05
#: share of a footprint that must be seen as a building, as in the building table
MIN_SHARE = 0.1
#: resamples of the interval
BOOTSTRAP = 2000
#: pull of the calibration towards the package's own, which was fitted on buildings that the model had not seen; on the
#: bundled model's chip this made 10 labels' calibration error .089 where it was .105, and 40 labels' no worse
PULL = 10.0


@dataclass(frozen=True)
class Features:
    """What the classifier sees of labelled buildings and of the rest.

    Args:
        pixels: by building, [n, D] features of its pixels.
        labels: [N] damage class of each building, 1 and up.
        rest: [M, D] features of pixels outside the labelled buildings.
        fids: [N] row of each building among the footprints.
    """

    pixels: list[Tensor]
    labels: NDArray[np.int64]
    rest: Tensor
    fids: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Features:
        """Some of the buildings."""
        return replace(self, pixels=[self.pixels[i] for i in rows], labels=self.labels[rows], fids=self.fids[rows])


#: weight [K, D] and bias [K]
Classifier = tuple[Tensor, Tensor]


# ---------------------------------------------------------------- the whole


def adapt(
    pre: str | Path | Sequence[str | Path],
    post: str | Path | Sequence[str | Path],
    footprints: str | Path,
    labels: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    column: str | None = None,
    suggest: int = 20,
    seed: int = 0,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Adapt a damage model to an event from a class for some of its buildings, and map the event with it.

    Args:
        pre, post: the scenes before and after.
        footprints: outlines of all buildings.
        labels: points or polygons with a damage class for 5 and more of them (10 to 200 are meant); a class may be
            named as in :data:`codemae_datasets.labels.DAMAGE_WORDS`.
        out: folder to create: ``model.safetensors``, ``adapt.json``, ``suggested.gpkg`` and ``map/``, see
            :func:`codemae_geo.map_damage`.
        model: package to start from; None is the bundled one.
        column: column of the class.
        suggest: buildings to suggest for labelling next.
        seed: of folds, pixels and resamples.
        overwrite: replace the folder.
        reporter: told stages, decisions and warnings.

    Returns:
        the content of ``adapt.json``: labels, strength, cross-validated figures before and after, their gain with a
        95 % interval, calibration, files.

    Raises:
        InputError: fewer than five labelled buildings or two classes, labels or footprints elsewhere, unreadable files.
        ModelError: not a DamageFormer package.
        OutputError: the folder has content, or the disk is full.
    """
    reporter, began = reporter or Reporter(), time.perf_counter()
    with FolderStaging(out, overwrite=overwrite) as staging:
        with reporter.stage("check"):
            package = load_model(model or DEFAULT_DAMAGE_MODEL)
            network = _damage_former(package)
            scenes = [
                Scene.open(_paths(paths), role=spec.name, family=spec.family)
                for paths, spec in zip((pre, post), package.contract.inputs, strict=True)
            ]
            same_scene(*scenes)
            overlap(*scenes)
            grid = target_grid(*scenes)
            buildings = read_footprints(footprints, to_crs=grid.crs)
            rows, classes = match_labels(labels, buildings, column, len(package.contract.classes), reporter)
        with reporter.stage("features", len(rows)):
            features = collect(network, package, scenes, grid, buildings, rows, classes, seed, reporter)
        check_enough(features.labels, package.contract.class_table.names)
        start = (network.clf_2.weight.detach().flatten(1), network.clf_2.bias.detach())  # type: ignore[union-attr]
        with reporter.stage("cross-validation"), one_thread():
            result = cross_validate(features, start, package, seed)
            helps = result["gain"] > 0
            strength = choose_strength(features, start, package, seed) if helps else float("inf")
            fitted = fit(features, start, strength)
        report = {
            "model": package.contract.name,
            "labels": _counts(features.labels, package.contract.class_table.names),
            "strength": None if strength == float("inf") else strength,
            **result,
            "forgetting": forgetting(features.rest, start, fitted),
        }
        _tell(report, reporter)
        adapted = write_package(staging.folder / "model.safetensors", package, network, fitted, report, labels)
        mapped = staging.folder / "map"
        map_damage(pre, post, mapped, model=adapted, footprints=footprints, reporter=reporter)
        table = gpd.read_file(mapped / "damage.gpkg", layer="buildings")
        suggested = suggest_next(table, set(features.fids.tolist()), suggest)
        with GeoPackageWriter(staging.folder / "suggested.gpkg") as writer:
            writer.append("suggested", suggested)
            writer.finish()
        report |= {"suggested": len(suggested), "seconds": round(time.perf_counter() - began, 1)}
        (staging.folder / "adapt.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        staging.publish_all()
    folder = Path(out)
    files = {"package": "model.safetensors", "map": "map", "suggested": "suggested.gpkg", "report": "adapt.json"}
    return report | {name: str(folder / file) for name, file in files.items()}


def _paths(scene: str | Path | Sequence[str | Path]) -> list[str]:
    return [str(scene)] if isinstance(scene, str | Path) else [str(p) for p in scene]


def _damage_former(package: ModelPackage) -> DamageFormer:
    if not isinstance(package.module, DamageFormer):
        raise ModelError(
            f"{package.contract.name} cannot be adapted",
            found=f"the architecture {package.contract.architecture.name}",
            expected="a damage model of the architecture damageformer",
        )
    return package.module


# ---------------------------------------------------------------- labels


def match_labels(
    path: str | Path, buildings: gpd.GeoDataFrame, column: str | None, count: int, reporter: Reporter
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The footprints that labels speak of: row of each, and its class, 1 and up.

    A point labels the footprint that it lies in, a polygon the one that it shares most of its area with.

    Raises:
        InputError: an unknown class, labels of no building, or too few.
    """
    frame, notes = read_labelled(path, column=column, to_crs=buildings.crs)
    for note in notes:
        reporter.warning("labels", note)
    shapes = np.asarray(buildings.geometry.array, dtype=object)
    tree = shapely.STRtree(shapes)
    found: dict[int, set[int]] = {}
    unmatched = 0
    for value, shape in zip(frame["class"], frame.geometry, strict=True):
        number = damage_number(value)
        if number is None or not 0 < number < count:
            raise InputError(
                f"the labels {path} hold a class that is not one of damage",
                found=repr(value),
                expected="intact, damaged, destroyed (or 1, 2, 3)",
            )
        near = tree.query(shape, predicate="intersects")
        if not len(near):
            unmatched += 1
            continue
        shared = shapely.area(shapely.intersection(shapes[near], shape))
        found.setdefault(int(near[int(np.argmax(shared))]), set()).add(number)
    twice = sum(len(numbers) > 1 for numbers in found.values())
    if twice:
        reporter.warning("labels", f"{twice} buildings have labels that differ, and are left out")
    if unmatched:
        reporter.warning("labels", f"{unmatched} of {len(frame)} labels lie on no footprint, and are left out")
    rows = {row: numbers.pop() for row, numbers in sorted(found.items()) if len(numbers) == 1}
    if not rows:
        raise InputError(
            f"none of the labels {path} lies on a footprint",
            expected="points inside the outlines, or polygons over them",
            hint="check the CRS of both files",
        )
    return np.array(list(rows), np.int64), np.array(list(rows.values()), np.int64)


def check_enough(labels: NDArray[np.int64], names: Sequence[str]) -> None:
    """Refuse what nothing can be learnt from.

    Raises:
        InputError: fewer than five buildings, or one class.
    """
    found = ", ".join(f"{count} {name}" for name, count in _counts(labels, names).items()) or "none"
    if len(labels) < FEWEST:
        raise InputError(
            "there are too few labelled buildings to adapt to",
            found=f"{len(labels)} with an image of both dates ({found})",
            expected=f"{FEWEST} at least, better 40",
            hint="label more; a map of the model as it is (codemae damage) needs none",
        )
    if len(set(labels.tolist())) < CLASSES:
        raise InputError(
            "all labelled buildings are of one class", found=found, expected="buildings of two classes at least"
        )


def _counts(labels: NDArray[np.int64], names: Sequence[str]) -> dict[str, int]:
    return {name: int((labels == k).sum()) for k, name in enumerate(names) if (labels == k).any()}


# ---------------------------------------------------------------- features


def collect(
    network: DamageFormer,
    package: ModelPackage,
    scenes: Sequence[Scene],
    grid: GeoBox,
    buildings: gpd.GeoDataFrame,
    rows: NDArray[np.int64],
    classes: NDArray[np.int64],
    seed: int,
    reporter: Reporter,
) -> Features:
    """Run the network on windows around labelled buildings and keep what its classifier sees.

    Buildings that lie close together share a window. A building without a valid pixel is left out, with a warning.
    """
    conversions = [_conversion(scene, spec.unit) for scene, spec in zip(scenes, package.contract.inputs, strict=True)]
    shapes = np.asarray(buildings.geometry.array, dtype=object)[rows]
    centres = shapely.get_coordinates(shapely.centroid(shapes))
    inverse = ~grid.affine
    cols, lines = inverse * (centres[:, 0], centres[:, 1])
    side, size = package.contract.window, grid.shape.yx
    cell = side // 2
    key = [(int(line // cell), int(col // cell)) for line, col in zip(lines, cols, strict=True)]
    kept: dict[int, Tensor] = {}
    rest: list[Tensor] = []
    places = sorted(set(key))
    for place in places:
        members = [i for i, k in enumerate(key) if k == place]
        top, left = (
            min(max(int(p * cell + cell / 2 - side / 2), 0), max(n - side, 0)) for p, n in zip(place, size, strict=True)
        )
        part = grid[top : min(top + side, size[0]), left : min(left + side, size[1])]
        maps, valid = see(network, package, scenes, conversions, part)
        burnt = rasterize([(shapes[i], i + 1) for i in members], part.shape.yx, transform=part.affine, dtype="int32")
        generator = seeded(seed, *place)
        for i in members:
            inside = torch.from_numpy((burnt == i + 1) & valid)
            if inside.any():
                kept[i] = _some(maps, inside, PIXELS, generator)
            reporter.progress(len(kept), len(rows))
        rest.append(_some(maps, torch.from_numpy((burnt == 0) & valid), REFERENCE // len(places) + 1, generator))
    if len(kept) < len(rows):
        reporter.warning("labels", f"{len(rows) - len(kept)} labelled buildings lie where a date has no image")
    order = np.array(sorted(kept), np.int64)
    return Features(
        [kept[i] for i in order.tolist()],
        classes[order],
        torch.cat(rest) if rest else torch.zeros(0, 1),
        rows[order],
    )


def _conversion(scene: Scene, unit: Any) -> Conversion:
    sample, valid = scene.sample() if scene.unit != unit else (None, None)
    return plan_conversion(scene.family, scene.unit, unit, sample, valid)


@torch.inference_mode()
def see(
    network: DamageFormer,
    package: ModelPackage,
    scenes: Sequence[Scene],
    conversions: Sequence[Conversion],
    part: GeoBox,
) -> tuple[Tensor, NDArray[np.bool_]]:
    """The maps [D, h, w] before the damage classifier, at a pixel each, and where both dates are valid."""
    inputs, valid = [], np.ones(part.shape.yx, bool)
    for scene, conversion, spec in zip(scenes, conversions, package.contract.inputs, strict=True):
        with AlignedReader(scene, part, conversion) as reader:
            pixels = reader.read_rows(0, part.shape.y)
        mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (spec.mean, spec.std))
        image = (torch.from_numpy(np.array(pixels.data))[None].float() * spec.scale - mean) / std
        inputs.append(torch.where(torch.from_numpy(np.array(pixels.valid)), image, 0.0))
        valid &= pixels.valid
    found: list[Tensor] = []
    handle = network.clf_2.register_forward_pre_hook(lambda module, given: found.append(given[0]))
    try:
        network(*inputs)
    finally:
        handle.remove()
    height, width = part.shape.yx
    stride4 = found[0]
    padded = (stride4.shape[-2] * 4, stride4.shape[-1] * 4)
    maps = F.interpolate(stride4, size=padded, mode="bilinear", align_corners=False)
    return maps[0, :, :height, :width], valid


def _some(maps: Tensor, inside: Tensor, count: int, generator: torch.Generator) -> Tensor:
    pixels = maps[:, inside].T
    if len(pixels) > count:
        pixels = pixels[torch.randperm(len(pixels), generator=generator)[:count]]
    return pixels.clone().float()


# ---------------------------------------------------------------- learning


@contextmanager
def one_thread() -> Iterator[None]:
    """The many small products of fitting are slower on several threads, above all on a machine that is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fit(features: Features, start: Classifier, strength: float) -> Classifier:
    """The classifier that answers the labelled buildings, held back by ``strength``.

    Minimises the mean cross-entropy over buildings (each counts once, classes weighed by the root of how rare they
    are) + strength x (squared distance of the weights, relative + divergence from the start's answers elsewhere).
    """
    if strength == float("inf"):
        return start
    counts = np.bincount(features.labels, minlength=len(start[1]))
    rare = {int(k): float((counts.max() / counts[k]) ** 0.5) for k in np.unique(features.labels)}
    share = torch.tensor([rare[int(k)] for k in features.labels])
    share = share / share.sum()
    seen = [evidence(block, start) for block in features.pixels]
    pixels = torch.cat(seen)
    labels = torch.cat([torch.full((len(p),), int(k) - 1) for p, k in zip(seen, features.labels, strict=True)])
    each = torch.cat([torch.full((len(p),), float(s) / len(p)) for p, s in zip(seen, share, strict=True)])
    weight, bias = (nn.Parameter(t.clone()) for t in start)
    size = float(start[0].square().sum())
    before = (features.rest @ start[0].T + start[1]).softmax(1)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=40, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        answers = F.cross_entropy((pixels @ weight.T + bias)[:, 1:], labels, reduction="none")
        moved = ((weight - start[0]).square().sum() + (bias - start[1]).square().sum()) / size
        now = (features.rest @ weight.T + bias).log_softmax(1)
        value = (answers * each).sum() + strength * (moved + F.kl_div(now, before, reduction="batchmean"))
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()


def evidence(pixels: Tensor, start: Classifier) -> Tensor:
    """The pixels of a footprint that look like a building to the start; all of them where none does."""
    seen = (pixels @ start[0].T + start[1]).argmax(1) > 0
    return pixels[seen] if seen.any() else pixels


def judge(
    features: Features, classifier: Classifier, package: ModelPackage
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Class of each building by the building table's rule, and mean probabilities of its pixels [N, K]."""
    weight, bias = classifier
    shares, probabilities = (np.zeros((len(features.pixels), len(bias))) for _ in range(2))
    for number, pixels in enumerate(features.pixels):
        logits = pixels @ weight.T + bias
        shares[number] = np.bincount(logits.argmax(1).numpy(), minlength=len(bias)) / len(pixels)
        probabilities[number] = (logits / package.contract.temperature).softmax(1).mean(0).numpy()
    return choose_class(shares, package.contract.class_table, MIN_SHARE), probabilities


def folds(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Fold of each building, the classes spread evenly over them."""
    rng, out = np.random.default_rng(seed), np.zeros(len(labels), np.int64)
    order = np.concatenate([rng.permutation(np.flatnonzero(labels == k)) for k in np.unique(labels)])
    out[order] = np.arange(len(labels)) % min(count, len(labels))
    return out


def choose_strength(features: Features, start: Classifier, package: ModelPackage, seed: int) -> float:
    """The strength that makes the classes of buildings left out most likely, among those that forget little enough.

    Likelihood, since F1 over a handful of buildings of a rare class is chance. Of equals the one that moves least.
    """
    part = folds(features.labels, INNER, seed + 1)
    best = (float("inf"), float("inf"))
    for strength in STRENGTHS:
        if forgetting(features.rest, start, fit(features, start, strength))["changed"] > BOUND:
            continue
        losses = np.zeros(len(features.labels))
        for number in np.unique(part):
            learnt = fit(features.take(np.flatnonzero(part != number)), start, strength)
            held = np.flatnonzero(part == number)
            _, probabilities = judge(features.take(held), learnt, package)
            state = probabilities[:, 1:] / probabilities[:, 1:].sum(1, keepdims=True).clip(1e-9)
            losses[held] = -np.log(state[np.arange(len(held)), features.labels[held] - 1].clip(1e-6))
        if losses.mean() < best[0] - 1e-3:
            best = (float(losses.mean()), strength)
    return best[1]


@dataclass(frozen=True)
class LeftOut:
    """What adapting does on buildings left out: neither the weights nor the strength have seen them.

    Args:
        figures: ``before`` and ``after`` (see :func:`codemae_geo.metrics.maps.building_figures`), ``gain`` of the mean
            F1 and its 95 % ``interval`` (resampled over buildings, both models on the same ones), number of ``folds``.
        z: [N] log odds of the score of each answer that will be used; right: [N], whether it is; part: [N], its fold.
    """

    figures: dict[str, Any]
    z: NDArray[np.float64]
    right: NDArray[np.bool_]
    part: NDArray[np.int64]


def leave_out(features: Features, start: Classifier, package: ModelPackage, seed: int) -> LeftOut:
    """Adapt to all folds but one, for each in turn, and judge it by that one."""
    names, labels = package.contract.class_table.names, features.labels
    part = folds(labels, FOLDS, seed)
    answers, probabilities = np.zeros(len(labels), np.int64), np.zeros((len(labels), len(names)))
    for number in np.unique(part):
        train, held = np.flatnonzero(part != number), np.flatnonzero(part == number)
        learning = features.take(train)
        strength = choose_strength(learning, start, package, seed)
        answers[held], probabilities[held] = judge(features.take(held), fit(learning, start, strength), package)
    unchanged, as_before = judge(features, start, package)
    before, after = (building_figures(labels, a, names) for a in (unchanged, answers))
    rng, gains = np.random.default_rng(seed), []
    for _ in range(BOOTSTRAP):
        pick = rng.integers(len(labels), size=len(labels))
        one, two = (building_figures(labels[pick], a[pick], names)["mean_f1"] for a in (unchanged, answers))
        gains.append(two - one)
    if after["mean_f1"] <= before["mean_f1"]:  # then the start is what will be used
        answers, probabilities = unchanged, as_before
    z = logit(class_score(probabilities, answers, package.contract.class_table))
    low, high = np.quantile(gains, [0.025, 0.975])
    figures = {
        "before": before,
        "after": after,
        "gain": round(after["mean_f1"] - before["mean_f1"], 4),
        "interval": [round(float(low), 4), round(float(high), 4)],
        "folds": int(part.max()) + 1,
    }
    return LeftOut(figures, z, answers == labels, part)


def cross_validate(features: Features, start: Classifier, package: ModelPackage, seed: int) -> dict[str, Any]:
    """The figures of :class:`LeftOut`, and ``calibration`` and ``ece`` of :func:`calibrate`."""
    found = leave_out(features, start, package, seed)
    calibration, ece = calibrate(found.z, found.right, found.part, package.contract.building_calibration)
    return found.figures | {"calibration": [round(v, 4) for v in calibration], "ece": round(ece, 4)}


def calibrate(
    z: NDArray[np.float64],
    right: NDArray[np.bool_],
    part: NDArray[np.int64],
    earlier: BuildingCalibration | None,
) -> tuple[tuple[float, float], float]:
    """Slope and intercept of the buildings' confidence, and its ECE where each fold is judged by a fit to the others.

    Args:
        z: [N] log odds of the scores of buildings left out; right: [N]; part: [N] their folds.
        earlier: the package's calibration, which the fit is pulled towards.
    """
    prior, centre = (1.0, (1.0, 0.0)) if earlier is None else (PULL, (earlier.slope, earlier.intercept))
    sure = np.zeros(len(z))
    for number in np.unique(part):
        slope, intercept = fit_logistic(z[part != number], right[part != number], prior, centre)
        sure[part == number] = 1 / (1 + np.exp(-(slope * z[part == number] + intercept)))
    return fit_logistic(z, right, prior, centre), reliability(sure, right, bins=10).ece


def forgetting(rest: Tensor, start: Classifier, fitted: Classifier) -> dict[str, float]:
    """How the answers moved where no label speaks: share of pixels with another class."""
    one, two = ((rest @ w.T + b).argmax(1) for w, b in (start, fitted))
    return {"pixels": float(len(rest)), "changed": round(float((one != two).float().mean()), 4) if len(rest) else 0.0}


def _tell(report: dict[str, Any], reporter: Reporter) -> None:
    before, after = (report[k]["mean_f1"] for k in ("before", "after"))
    low, high = report["interval"]
    reporter.log(
        f"mean F1 over buildings left out: {before:.3f} before, {after:.3f} adapted, "
        f"gain {report['gain']:+.3f} (95 % interval {low:+.3f} to {high:+.3f})"
    )
    if report["strength"] is None:
        reporter.warning("gain", "adapting gains nothing on buildings left out: the weights stay as they were")
    elif low <= 0:
        reporter.warning("gain", "the labels do not show that adapting helps: the interval of the gain reaches zero")
    reporter.log(f"{report['forgetting']['changed']:.1%} of the pixels outside the labelled buildings change class")


# ---------------------------------------------------------------- results


def write_package(
    path: Path,
    package: ModelPackage,
    network: DamageFormer,
    fitted: Classifier,
    report: dict[str, Any],
    labels: str | Path,
) -> Path:
    """The adapted model with a contract that says what it is."""
    state = dict(network.state_dict())
    state["clf_2.weight"], state["clf_2.bias"] = fitted[0].reshape_as(state["clf_2.weight"]), fitted[1]
    old = package.contract
    split = f"{sum(report['labels'].values())} labelled buildings, {report['folds']} folds, each left out once"
    used = report["before" if report["strength"] is None else "after"]
    metrics = [
        Metric(name="building mean F1", value=round(used["mean_f1"], 4), split=split),
        Metric(name="building mean F1 before adapting", value=round(report["before"]["mean_f1"], 4), split=split),
        Metric(name="building ECE", value=report["ece"], split=split),
    ]
    contract = old.model_copy(
        update={
            "name": f"{old.name}-adapted",
            "description": f"{old.description} Adapted to one event.",
            "building_calibration": BuildingCalibration(
                slope=report["calibration"][0], intercept=report["calibration"][1], split=split
            ),
            "training": f"{old.training} Adapted: the damage classifier alone, from {split}.",
            "training_data": [*old.training_data, DataSource(name=Path(labels).name, licence="of whoever labelled")],
            "metrics": metrics,
            "limits": f"{old.limits} Adapted to one event: elsewhere expect it to be worse than {old.name}.".strip(),
        }
    )
    return save_package(path, state, contract)


def suggest_next(table: gpd.GeoDataFrame, labelled: set[int], count: int) -> gpd.GeoDataFrame:
    """Buildings to label next: among the least certain, spread over the scene.

    Of the unlabelled buildings the least certain (five times ``count``) are taken, then one after the other the one
    that lies farthest from those chosen, starting with the least certain.

    Args:
        table: the map's building table, in the order of the footprints.
        labelled: rows that have a label.
        count: how many.
    """
    open_ = table[~table.index.isin(labelled) & table["confidence"].notna()]
    if open_.empty or not count:
        return open_.iloc[:0].assign(rank=np.zeros(0, np.int64))
    pool = open_.sort_values("confidence", kind="stable").iloc[: 5 * count]
    places = shapely.get_coordinates(shapely.centroid(np.asarray(pool.to_crs(pool.estimate_utm_crs()).geometry)))
    chosen, far = [0], np.linalg.norm(places - places[0], axis=1)
    while len(chosen) < min(count, len(pool)):
        chosen.append(int(far.argmax()))
        far = np.minimum(far, np.linalg.norm(places - places[chosen[-1]], axis=1))
        far[chosen] = -1
    return pool.iloc[chosen].assign(rank=np.arange(1, len(chosen) + 1))
