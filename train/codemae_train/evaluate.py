"""What a package is worth on labelled images: every figure of its task, per class, per event, per kind of disaster.

Read from top to bottom: labelled cases, a window loop, counting, the figures, the files. Nothing is chosen here: the
package is scored as it is, on one named list; a damage model is scored with and without its localisation gate, and both
are named.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import torch
from codemae_datasets.public import CATALOGUE, dataset_class
from codemae_train.confidence import building_rows, halves, labelled_areas, left_out
from codemae_train.joplin import HELD_OUT, read_joplin
from codemae_train.simulated_sar import simulate_sar
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from codemae_geo import __version__
from codemae_geo.classes import NODATA
from codemae_geo.errors import InputError, ModelError
from codemae_geo.inference.device import Runtime, choose_runtime
from codemae_geo.inference.slide import slide, windows
from codemae_geo.metrics import calibration, features, maps
from codemae_geo.metrics.boxes import box_metrics, scene_metrics
from codemae_geo.outputs import FolderStaging
from codemae_geo.progress import Reporter
from codemae_geo.report import page as html
from codemae_geo.weights import ModelContract, ModelPackage, load_model
from codemae_geo.weights.package import BuildingCalibration, InputSpec, Metric, save_package

Form = Literal["engine", "published"]
#: labelled pixels of each image whose logits are kept to fit and to test a temperature
SAMPLED = 20_000
#: pictures on the page, and the longest side in pixels of a scene that is drawn on it with its objects
SHOWN = 4
LARGEST_SHOWN = 4096


# ---------------------------------------------------------------- cases


@dataclass(frozen=True)
class Case:
    """One labelled image, or pair of dates.

    Args:
        name: of the image.
        images: per input of the model [bands, H, W] in the contract's unit.
        valid: per input bool [H, W].
        label: uint8 [H, W] of class numbers, 255 where nothing is known; or the class number of the whole image; or
            ``boxes`` [N, 4] and ``labels`` [N] from 1.
        event: what it belongs to, such as an event; None for nothing.
        kind: kind of that event.
        regions: int [H, W], number of the building that a pixel belongs to, 0 for none; None takes the connected areas
            of the label map.
    """

    name: str
    images: list[NDArray[np.float32]]
    valid: list[NDArray[np.bool_]]
    label: Any
    event: str | None = None
    kind: str | None = None
    regions: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Cases:
    """A list of cases, opened one by one.

    Args:
        name: of the data set.
        split: which list of it.
        count: how many.
        load: number -> case.
        classes: names of the labels, by number.
        note: what should be said of the labels.
    """

    name: str
    split: str
    count: int
    load: Callable[[int], Case]
    classes: tuple[str, ...]
    note: str = ""

    def __iter__(self) -> Iterator[Case]:
        return (self.load(i) for i in range(self.count))


def open_cases(
    name: str, contract: ModelContract, *, root: Path | None = None, split: str | None = None, limit: int | None = None
) -> Cases:
    """The labelled images of a public dataset, or ``joplin``: the bundled damage model's chip that it never saw.

    Args:
        name: of the catalogue.
        contract: what the model takes.
        root: folder of the data.
        split: None takes ``test`` or ``holdout``, or the last that there is.
        limit: at most that many images, spread over the list.

    Raises:
        InputError: no such dataset, or one without labels of the model's kind.
    """
    if name == "joplin":
        return _joplin(root or Path("data") / "joplin", contract)
    if name not in CATALOGUE:
        dataset_class(name)  # says which names are alike
    cls = dataset_class(name)
    options: dict[str, Any] = {"levels": "three"} if name == "xbd" else {}
    chosen = split or next((s for s in ("test", "holdout", "hold", "val") if s in cls.card.splits), None)
    data: Any = cls(root or Path("data"), split=chosen, bands=cls.rgb_bands, **options)
    rows = np.unique(np.linspace(0, len(data) - 1, min(limit or len(data), len(data))).astype(int))
    sample = data[int(rows[0])]
    needed = {"classification": "label", "object-detection": "bbox_xyxy"}.get(contract.task, "mask")
    if needed not in sample:
        raise InputError(
            f"{cls.card.title} ({data.split}) has no labels for the task {contract.task}", found=", ".join(sample)
        )
    alone = "sar" if "optical" not in cls.card.modality.lower() else "optical"

    def load(i: int) -> Case:
        item = data.items[int(rows[i])]
        held = data[int(rows[i])]
        image = held["image"]
        if image.ndim == 4:  # two dates
            found = dict(zip(("pre", "post"), image, strict=True))
        else:
            found = {alone if "image_sar" not in held else "optical": image} | (
                {"sar": held["image_sar"]} if "image_sar" in held else {}
            )
        images = [_bands(found, spec, item.name) for spec in contract.inputs]
        event = item.name.rsplit("_", 1)[0] if contract.task == "damage" else None
        kind = None if event is None else event.split("-")[0 if name == "xbd" else -1]
        if contract.task == "classification":
            label: Any = int(held["label"])
        elif contract.task == "object-detection":
            label = {"boxes": held["bbox_xyxy"].numpy(), "labels": held["label"].numpy() + 1}
        else:
            label = held["mask"].numpy().astype(np.uint8)
        return Case(item.name, images, [np.ones(x.shape[1:], bool) for x in images], label, event, kind)

    return Cases(cls.card.title, str(data.split), len(rows), load, tuple(data.classes))


def _bands(found: Mapping[str, Tensor], spec: InputSpec, name: str) -> NDArray[np.float32]:
    image = found.get(spec.name, found.get(spec.family))
    if image is None:
        raise InputError(
            f"{name} has no image for the model's input {spec.name}", found=", ".join(found), expected=spec.family
        )
    wanted = len(spec.bands)
    pixels = image.float().numpy()
    if wanted == 1:
        return pixels[:1].copy()
    if len(pixels) not in (1, wanted):
        raise InputError(f"{name} has {len(pixels)} bands", expected=f"{wanted}: {', '.join(spec.bands)}")
    return np.array(np.broadcast_to(pixels, (wanted, *pixels.shape[1:])))


def _joplin(root: Path, contract: ModelContract) -> Cases:
    """Chip 2: damage from both dates (radar after it is simulated), or the buildings of the date before."""
    scene = read_joplin(root)
    rows, cols = scene.held_out
    label = scene.label[rows, cols].numpy()
    if contract.task == "segmentation":
        label = scene.buildings[rows, cols].numpy()
        label = np.where(label == NODATA, NODATA, label > 0).astype(np.uint8)
    before, after = ((date * 255).round().numpy().astype(np.float32) for date in (scene.pre, scene.post))
    note = "the labels are predictions of the xView2 first-place solution, not truth"
    if contract.inputs[-1].family == "sar":
        after = simulate_sar(scene.post.numpy())[None].astype(np.float32)
        note += "; the radar image is simulated"
    # where only the date after is missing there is no label, and the image is the training mean
    seen = ~((scene.buildings != NODATA) & (scene.label == NODATA)).numpy()
    dates = {"pre": (before, np.ones(seen.shape, bool)), "post": (after, seen)}
    chosen = [dates.get(spec.name, dates["post" if spec.family == "sar" else "pre"]) for spec in contract.inputs]
    images = [np.ascontiguousarray(image[:, rows, cols]) for image, _ in chosen]
    valid = [known[rows, cols] for _, known in chosen]
    case = Case(f"chip {HELD_OUT}", images, valid, label, "joplin-tornado", "tornado")
    return Cases(
        "Joplin",
        f"chip {HELD_OUT}, left out of all training",
        1,
        lambda i: case,
        tuple(c.name for c in contract.classes),
        note,
    )


# ---------------------------------------------------------------- the model over an image


@dataclass(frozen=True)
class Answer:
    """Probabilities of classes [K, H, W]; of background and building [2, H, W] where the model has that head; and
    sampled logits [N, K] with the flat places [N] that they belong to.
    """

    classes: Tensor
    localisation: Tensor | None
    logits: Tensor
    places: Tensor


def normalised(case: Case, contract: ModelContract, device: torch.device) -> list[Tensor]:
    """Network inputs [1, C, H, W]; invalid pixels are the training mean."""
    tensors = []
    for spec, image, valid in zip(contract.inputs, case.images, case.valid, strict=True):
        mean, std = (torch.tensor(v, device=device)[None, :, None, None] for v in (spec.mean, spec.std))
        x = (torch.from_numpy(image).to(device)[None] * spec.scale - mean) / std
        tensors.append(torch.where(torch.from_numpy(valid).to(device), x, 0.0))
    return tensors


@torch.inference_mode()
def answer(module: nn.Module, contract: ModelContract, case: Case, form: Form, runtime: Runtime) -> Answer:
    """The model over one image, window by window.

    Args:
        form: "engine": probabilities of windows that fade out to their edges, as maps are made; "published": logits
            averaged with equal weights, as the papers' programs do.
    """
    inputs = normalised(case, contract, runtime.device)
    height, width = inputs[0].shape[-2:]
    side = min(contract.window, max(height, width))
    step = max(round(side * (1 - contract.overlap)), 1)
    rng = torch.Generator().manual_seed(0)
    known = torch.from_numpy(np.flatnonzero(case.label != NODATA))
    chosen = known[torch.randperm(len(known), generator=rng)[:SAMPLED]].sort().values

    def network(*images: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(runtime.device.type, runtime.precision, enabled=runtime.precision != torch.float32):
            out = module(*images)
        return tuple(part.float() for part in (out if isinstance(out, tuple) else (out,)))

    if form == "published":
        *first, damage = slide(network, *inputs, window=side, stride=step)
        logits = damage[0].flatten(1)[:, chosen.to(damage.device)].T.cpu()
        location = first[0][0].softmax(0).cpu() if first else None
        return Answer((damage[0] / contract.temperature).softmax(0).cpu(), location, logits, chosen)

    ramp = torch.hann_window(side + 2, periodic=False)[1:-1]
    weights = ramp[:, None] * ramp[None, :]
    total: Tensor | None = None
    norm = torch.zeros(height, width)
    heads: list[int] = []
    rows, places = [], []
    for top, left, bottom, right in windows((height, width), side, step):
        area = (slice(top, bottom), slice(left, right))
        out = network(*(x[..., area[0], area[1]] for x in inputs))
        *location_logits, damage = (part[0].cpu() for part in out)
        answers = [*(part.softmax(0) for part in location_logits), (damage / contract.temperature).softmax(0)]
        if total is None:
            heads = [len(part) for part in answers]
            total = torch.zeros(sum(heads), height, width)
        weight = weights[: bottom - top, : right - left]
        total[:, area[0], area[1]] += torch.cat(answers) * weight
        norm[area] += weight
        # each sampled pixel counts once: in the window whose middle holds it
        y, x = chosen // width, chosen % width
        quarter = (side - step) // 2
        low = (top + (quarter if top else 0), left + (quarter if left else 0))
        high = (
            bottom - (quarter if bottom < height else 0),
            right - (quarter if right < width else 0),
        )
        here = (y >= low[0]) & (y < high[0]) & (x >= low[1]) & (x < high[1])
        rows.append(damage[:, y[here] - top, x[here] - left].T)
        places.append(chosen[here])
    assert total is not None
    total /= norm
    parts = total.split(heads)
    return Answer(parts[-1], parts[0] if len(parts) > 1 else None, torch.cat(rows), torch.cat(places))


# ---------------------------------------------------------------- counting


@dataclass
class Tally:
    """Counts of one group of images."""

    names: tuple[str, ...]
    images: int = 0
    tables: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    pixels: calibration.ReliabilityScore = field(default_factory=calibration.ReliabilityScore)
    buildings: dict[str, list[NDArray[Any]]] = field(default_factory=dict)

    def count(self, rule: str, truth: Tensor, found: Tensor, classes: int) -> None:
        """Add a map's confusion to the table of a rule."""
        table = maps.confusion(truth, found, classes)
        self.tables[rule] = self.tables.get(rule, np.zeros_like(table)) + table

    def house(self, rule: str, rows: NDArray[Any]) -> None:
        """Add buildings: columns truth, answer, confidence."""
        self.buildings.setdefault(rule, []).append(rows)


@dataclass
class Sampled:
    """Logits and labels of sampled pixels, by image, to fit and test a temperature."""

    logits: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    half: list[Tensor] = field(default_factory=list)  # which half of its image a pixel lies in


def score_maps(
    package: ModelPackage, cases: Cases, form: Form, reporter: Reporter, show: list[dict[str, Any]] | None = None
) -> tuple[dict[str, Tally], Sampled]:
    """Run a damage or segmentation model over all cases and count; groups ``all``, ``event: ...``, ``kind: ...``."""
    contract = package.contract
    runtime = choose_runtime("auto", contract.precision)
    module = package.module.to(runtime.device)
    names = tuple(c.name for c in contract.classes)
    tallies: dict[str, Tally] = {}
    sampled = Sampled()
    damage = contract.task == "damage"
    for number, case in enumerate(cases):
        out = answer(module, contract, case, form, runtime)
        truth = torch.from_numpy(case.label)
        plain = out.classes.argmax(0)
        rules = {"ungated": (plain, out.classes.max(0).values, out.classes)}
        if out.localisation is not None:
            building = out.localisation[1] > out.localisation[0]
            sure = torch.where(building, rules["ungated"][1], out.localisation[0])
            gated = torch.where(building, out.classes, 0.0)
            gated[0] = torch.where(building, gated[0], 1.0)
            rules["gated"] = (plain * building, sure, gated)
        used = "gated" if contract.localisation == "gate" and "gated" in rules else "ungated"
        groups = ["all"] + [f"{k}: {v}" for k, v in (("event", case.event), ("kind", case.kind)) if v]
        known = truth != NODATA
        regions = case.regions
        if damage and regions is None:
            regions = labelled_areas(case.label)
        houses = {}
        if regions is not None:
            for rule, (found, confidence, likely) in rules.items():
                answered = found.numpy().astype(np.uint8)
                houses[rule] = building_rows(
                    regions,
                    case.label,
                    answered,
                    confidence.numpy(),
                    likely.numpy(),
                    contract.class_table,
                    contract.building_calibration,
                )
        for group in groups:
            tally = tallies.setdefault(group, Tally(names))
            tally.images += 1
            for rule, (found, *_) in rules.items():
                tally.count(rule, truth, found, len(names))
            if damage:
                mask = torch.where(known, (truth > 0).long(), NODATA)
                tally.count("mask", mask, (rules[used][0] > 0).long(), 2)
                if out.localisation is not None:
                    tally.count("localisation", mask, out.localisation.argmax(0), 2)
                for rule, rows in houses.items():
                    tally.house(rule, rows)
            found, confidence, _ = rules[used]
            tally.pixels.add(confidence[known].numpy(), (found == truth)[known].numpy())
        sampled.logits.append(out.logits)
        sampled.labels.append(truth.flatten()[out.places].long())
        sampled.half.append(out.places // truth.shape[1] >= truth.shape[0] / 2)
        if show is not None and len(show) < SHOWN:
            show.append({"case": case, "found": rules[used][0].numpy().astype(np.uint8)})
        reporter.progress(number + 1, cases.count)
    return tallies, sampled


def temperatures(sampled: Sampled, contract: ModelContract, where: str) -> dict[str, Any]:
    """A temperature for every image left out in turn (halves, if there is one image), and what it does there.

    Args:
        sampled: of the images, see :class:`Sampled`.
        where: said in the result.

    Returns:
        ``contract`` (the package's), ``fitted`` (on all), ``ece_contract`` and ``ece_fitted`` on pixels that the
        temperature was not fitted on, and ``how``.
    """
    logits, labels = torch.cat(sampled.logits), torch.cat(sampled.labels)
    if len(sampled.logits) > 1:
        fold = torch.cat([torch.full((len(y),), i % 2) for i, y in enumerate(sampled.labels)])
        how = "two folds of images, each scored with the temperature of the other"
    else:
        fold = torch.cat(sampled.half).long()
        how = "two halves of the image, each scored with the temperature of the other"
    if min((fold == f).sum() for f in (0, 1)) < 100:
        return {"contract": contract.temperature, "how": "too few labelled pixels to fit one"}
    scores = {"ece_contract": calibration.ReliabilityScore(), "ece_fitted": calibration.ReliabilityScore()}
    for f in (0, 1):
        fitted = calibration.fit_temperature(logits[fold != f], labels[fold != f])
        for key, t in (("ece_contract", contract.temperature), ("ece_fitted", fitted)):
            best = (logits[fold == f] / t).softmax(1).max(1)
            scores[key].add(best.values.numpy(), (best.indices == labels[fold == f]).numpy())
    return {
        "contract": contract.temperature,
        "fitted": calibration.fit_temperature(logits, labels),
        **{key: score.result().ece for key, score in scores.items()},
        "diagram": {key.removeprefix("ece_"): score.result().as_dict() for key, score in scores.items()},
        "how": f"{where}: {how}; {len(labels):,} sampled pixels, before any gate",
    }


# ---------------------------------------------------------------- figures


def map_result(tally: Tally, contract: ModelContract) -> dict[str, Any]:
    """Figures of a group: each rule, localisation, buildings, reliability."""
    result: dict[str, Any] = {"images": tally.images}
    for rule in ("ungated", "gated"):
        if rule not in tally.tables:
            continue
        result[rule] = maps.map_figures(tally.tables[rule], tally.names)
        if contract.task == "damage" and "localisation" in tally.tables:
            result[rule]["bright"] = maps.bright_figures(tally.tables[rule], tally.tables["localisation"], tally.names)
        if rule in tally.buildings:
            result[rule]["buildings"] = building_result(tally.buildings[rule], tally.names)
    for rule in ("localisation", "mask"):
        if rule in tally.tables:
            result[f"f1_{rule}"] = float(np.nan_to_num(maps.f1(tally.tables[rule])[1]))
    result["reliability"] = tally.pixels.result().as_dict()
    return result


def building_result(images: Sequence[NDArray[np.float64]], names: Sequence[str]) -> dict[str, Any]:
    """Figures of the buildings of some images, see :func:`building_rows`.

    ``left_out`` is what a calibration fitted here does on buildings that it was not fitted on: every second image, or
    the upper and the lower half of a single one, each judged by the fit of the other.
    """
    rows = np.concatenate(images)
    if not len(rows):
        return {"count": 0}
    truth, found = rows[:, 0].astype(int), rows[:, 1].astype(int)
    right = truth == found
    return {
        "count": len(rows),
        **maps.building_figures(truth, found, names),
        "reliability": calibration.reliability(rows[:, 2], right, 10).as_dict(),
        "error": float(1 - right.mean()),
        "error_of_least_certain_fifth_to_average": calibration.uncertain_error_ratio(rows[:, 2], right),
        "pixel_mean": {
            "ece": calibration.reliability(rows[:, 3], right, 10).ece,
            "error_of_least_certain_fifth_to_average": calibration.uncertain_error_ratio(rows[:, 3], right),
        },
        "left_out": left_out(rows, halves(images)),
    }


def card_figures(result: Mapping[str, Any], contract: ModelContract) -> list[dict[str, Any]]:
    """The card's figures beside what was measured now, by name; others are left out."""
    rule = "gated" if contract.localisation == "gate" and "gated" in result else "ungated"
    found: dict[str, Any] = {}
    if rule in result:
        per_class = result[rule]["per_class"]
        found = {f"iou_{name}": float(v["iou"] or 0) for name, v in per_class.items()}
        found |= {"miou": float(result[rule]["miou_absent_zero"]), "ece_pixels": result["reliability"]["ece"]}
        found |= {f"f1_{name}": float(v["f1"] or 0) for name, v in per_class.items()}
        found |= {"f1_localisation": result.get("f1_localisation"), "f1_damage_as_mask": result.get("f1_mask")}
        houses = result[rule].get("buildings", {})
        if houses.get("count"):
            found |= {"building_mean_f1": houses["mean_f1"]}
            found |= {"building_ece_left_out": houses["left_out"]["ece"]} if houses["left_out"] else {}
    elif "map50" in result:
        found = {"map": result["map"], "map50": result["map50"], "map75": result["map75"]}
    elif "accuracy" in result:
        found = {"accuracy": result["accuracy"], "macro_f1": result["macro_f1"]}
    return [
        {
            "name": m.name,
            "split": m.split,
            "card": m.value,
            "measured": found[m.name],
            "equal": round(found[m.name], 4) == m.value,
        }
        for m in contract.metrics
        if found.get(m.name) is not None
    ]


def score_images(package: ModelPackage, cases: Cases, reporter: Reporter) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of a classification package, and its temperature."""
    contract = package.contract
    runtime = choose_runtime("auto", contract.precision)
    module = package.module.to(runtime.device)
    logits, labels = [], []
    for number, case in enumerate(cases):
        inputs = normalised(case, contract, runtime.device)
        side = (contract.window, contract.window)
        inputs = [torch.nn.functional.interpolate(x, side, mode="bicubic", antialias=True) for x in inputs]
        with torch.inference_mode():
            logits.append(module(*inputs)[0].float().cpu())
        labels.append(int(case.label))
        reporter.progress(number + 1, cases.count)
    rows, truth = torch.stack(logits), torch.tensor(labels)
    names = [c.name for c in contract.classes]
    table = maps.confusion(truth, rows.argmax(1), len(names))
    figures = maps.map_figures(table, names)
    best = (rows / contract.temperature).softmax(1).max(1)
    result = {
        "images": len(truth),
        "accuracy": features.overall_accuracy(rows, truth),
        "macro_f1": figures["mf1"],
        "mean_class_accuracy": figures["macc"],
        "per_class": figures["per_class"],
        "absent": figures["absent"],
        "confusion": figures["confusion"],
        "reliability": calibration.reliability(best.values.numpy(), (best.indices == truth).numpy()).as_dict(),
    }
    sampled = Sampled([*rows.split(1)], [*truth.split(1)], [])
    return result, temperatures(sampled, contract, cases.split)


def score_boxes(package: ModelPackage, cases: Cases, reporter: Reporter) -> dict[str, Any]:
    """COCO's figures of a detection package on whole images."""
    contract = package.contract
    runtime = choose_runtime("auto", contract.precision)
    module = package.module.to(runtime.device)
    truth, found = [], []
    for number, case in enumerate(cases):
        with torch.inference_mode():
            (answers,) = module(*normalised(case, contract, runtime.device))
        truth.append(case.label)
        found.append({key: value.float().cpu().numpy() for key, value in answers.items()})
        reporter.progress(number + 1, cases.count)
    figures = asdict(box_metrics(truth, found, [c.name for c in contract.classes]))
    return {"images": len(truth), "objects": sum(len(t["labels"]) for t in truth), **figures}


# ---------------------------------------------------------------- scenes of one's own


def score_scene_boxes(
    model: str | Path,
    contract: ModelContract,
    images: Sequence[Path],
    labels: Path,
    *,
    column: str | None,
    reporter: Reporter,
    show: list[dict[str, Any]],
) -> tuple[dict[str, Any], str]:
    """COCO's figures of a detector over a whole scene, found by the engine that serves users, without a limit of boxes.

    Labels are polygons in any CRS, or COCO, YOLO or Pascal VOC in pixels of the scene's files.

    Raises:
        InputError: the labels hold a class that the model does not know.
    """
    from codemae_datasets.objects import Placed, class_numbers, read_objects

    from codemae_geo.inference.detect import DetectJob, find_boxes, suppress
    from codemae_geo.inference.request import RunOptions

    names = [c.name for c in contract.classes]
    options = RunOptions(precision=contract.precision)
    floor = float(contract.architecture.config.get("min_score", 0.05))
    job = DetectJob.open(model, [str(p) for p in images], score_threshold=floor, options=options, reporter=reporter)
    (scene,) = job.scenes
    files = [Placed(f.name, f.shape, f.geobox.affine, f.crs) for f in scene.files]
    truth = read_objects(labels, files, job.grid, column=column, single=names[0])
    numbers = _class_values(names, truth.values) if truth.values else {}
    numbers = numbers or class_numbers(truth.values, {name: name for name in names}, labels)[0]
    boxes, _ = find_boxes(job)
    boxes = boxes[suppress(boxes)]
    known = np.array([numbers[v] for v in truth.values], np.int64)
    figures = scene_metrics(
        {"boxes": truth.boxes, "labels": known + 1},
        {"boxes": boxes.corners, "labels": boxes.classes + 1, "scores": boxes.scores},
        names,
    )
    if max(job.grid.shape.yx) <= LARGEST_SHOWN:
        case = _shown({"image": images}, job.grid, np.zeros(0, np.uint8))
        show.append(
            {"case": case, "truth": truth.boxes, "found": boxes.corners[boxes.scores >= contract.score_threshold]}
        )
    result = {"images": 1, "objects": len(known), **asdict(figures)}
    return result, "; ".join(truth.notes)


def _class_values(names: Sequence[str], values: Sequence[Any]) -> dict[Any, int] | None:
    """Class numbers of labels that hold numbers, or another spelling of the names; None where that does not fit."""
    plain = {_spelling(name): number for number, name in enumerate(names)}
    found = {v: v if isinstance(v, int) and v < len(names) else plain.get(_spelling(str(v))) for v in set(values)}
    return None if None in found.values() else {v: n for v, n in found.items() if n is not None}


def _spelling(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def scene_cases_result(
    package: ModelPackage,
    model: str | Path,
    scenes: Mapping[str, Sequence[Path]],
    labels: Path,
    *,
    column: str | None,
    classes: Mapping[str, Any] | None,
    footprints: Path | None,
    reporter: Reporter,
    show: list[dict[str, Any]],
) -> tuple[dict[str, Tally], str]:
    """Map scenes with the engine that serves users, and count against labels on the map's grid.

    A damage model is run twice, with and without its gate. Labels may be a raster, polygons or points in any CRS.

    Raises:
        InputError: ``classes`` are not the model's; or see :func:`codemae_datasets.labels.read_labels`.
    """
    from codemae_datasets.labels import read_labels
    from odc.geo.geobox import GeoBox

    from codemae_geo import map_damage
    from codemae_geo.inference.request import RunOptions
    from codemae_geo.inference.segment import predict

    contract = package.contract
    names = tuple(c.name for c in contract.classes)
    tally = Tally(names, images=1)
    damage = contract.task == "damage"
    options = RunOptions(precision=contract.precision, probabilities=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        truth: NDArray[np.uint8] | None = None
        note = ""
        for rule in ("ungated", "gated") if damage else ("ungated",):
            out = folder / rule
            source: str | Path = model
            if damage:
                source = _regated(package, folder / f"{rule}.safetensors", "gate" if rule == "gated" else "ignore")
                done = map_damage(
                    list(scenes["pre"]), list(scenes["post"]), out, model=source, options=options, reporter=reporter
                )
            else:
                done = predict(
                    source,
                    list(scenes["images"]),
                    out,
                    sar=list(scenes["sar"]) if "sar" in scenes else None,
                    polygons=False,
                    options=options,
                    reporter=reporter,
                )
            path = done.outputs["classes"]
            with rasterio.open(path) as file, rasterio.open(done.outputs["confidence"]) as other:
                found, sure = file.read(1), other.read(1).astype(np.float32) * np.float32(other.scales[0])
                grid = GeoBox(file.shape, file.transform, file.crs.to_wkt())
            with rasterio.open(done.outputs["probabilities"]) as file:
                likely = file.read().astype(np.float32) * np.float32(file.scales[0])
            if truth is None:
                wanted = None if damage else {name: name for name in names}
                if classes is not None and not damage:
                    if set(classes) != set(names):
                        raise InputError(
                            "these are not the model's classes", found=", ".join(classes), expected=", ".join(names)
                        )
                    wanted = {name: classes[name] for name in names}
                try:
                    burnt = read_labels(labels, grid, column=column, damage=damage, classes=wanted)
                except InputError:
                    if damage or classes is not None:
                        raise
                    burnt = read_labels(labels, grid, column=column, classes={n: i for i, n in enumerate(names)})
                note = "; ".join(burnt.notes)
                truth = burnt.label
            known = (truth != NODATA) & (found != NODATA)
            if not known.any():
                raise InputError(f"no labelled pixel of {labels} lies where the model answered")
            counted = torch.from_numpy(np.where(known, truth, NODATA))
            answered = torch.from_numpy(np.where(known, found, 0))
            tally.count(rule, counted, answered, len(names))
            used = rule == ("gated" if contract.localisation == "gate" else "ungated")
            if damage:
                labelled = np.where(known, truth, NODATA).astype(np.uint8)
                regions = _footprint_regions(footprints, grid) if footprints else labelled_areas(labelled)
                tally.house(
                    rule,
                    building_rows(
                        regions, labelled, found, sure, likely, contract.class_table, contract.building_calibration
                    ),
                )
            if used or not damage:
                if damage:
                    mask = torch.where(counted != NODATA, (counted > 0).long(), NODATA)
                    tally.count("mask", mask, (answered > 0).long(), 2)
                tally.pixels.add(sure[known], (found == truth)[known])
                show.append({"case": _shown(scenes, grid, truth), "found": np.where(known, found, NODATA)})
    return {"all": tally}, note


def _regated(package: ModelPackage, path: Path, rule: str) -> Path:
    contract = package.contract.model_copy(update={"localisation": rule})
    return save_package(path, package.module.state_dict(), contract)


def _footprint_regions(path: Path, grid: Any) -> NDArray[np.int64]:
    from rasterio.features import rasterize

    from codemae_geo.vector.footprints import read_footprints

    shapes = read_footprints(path).to_crs(str(grid.crs)).geometry
    numbered = ((shape, i + 1) for i, shape in enumerate(shapes) if shape is not None and not shape.is_empty)
    return rasterize(numbered, out_shape=grid.shape.yx, transform=grid.affine, fill=0, dtype="int32").astype(np.int64)


def _shown(scenes: Mapping[str, Sequence[Path]], grid: Any, label: NDArray[np.uint8]) -> Case:
    """The scenes on the map's grid, to be looked at only."""
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    images = []
    for paths in scenes.values():
        out = np.zeros((3, *grid.shape.yx), np.float32)
        for path in paths:
            with rasterio.open(path) as file:
                bands = [1, 2, 3] if file.count >= 3 else [1, 1, 1]
                part = np.zeros_like(out)
                reproject(
                    file.read(bands),
                    part,
                    src_transform=file.transform,
                    src_crs=file.crs,
                    dst_transform=grid.affine,
                    dst_crs=grid.crs.to_wkt(),
                    resampling=Resampling.bilinear,
                )
                out = np.where(part.any(0), part, out)
        images.append(out)
    return Case(", ".join(scenes), images, [], label)


# ---------------------------------------------------------------- files


def evaluate(
    model: str | Path,
    source: str | None,
    out: str | Path,
    *,
    root: Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    form: Form = "engine",
    scenes: Mapping[str, Sequence[Path]] | None = None,
    labels: Path | None = None,
    column: str | None = None,
    classes: Mapping[str, Any] | None = None,
    footprints: Path | None = None,
    save: Path | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Score a package and write ``metrics.json`` and ``report.html``.

    Args:
        model: name, file or hub address of a package for damage, segmentation, classification or object detection.
        source: a public dataset by name, or ``joplin``; None where ``scenes`` and ``labels`` are given.
        out: folder to create.
        root, split, limit: see :func:`open_cases`.
        form: see :func:`answer`.
        scenes: files by input: ``pre`` and ``post``, or ``images``, with ``sar`` of a model for both sensors.
        labels: a raster, polygons or points of classes, in any CRS; ``column`` holds the class.
        classes: of a segmentation model, what the labels hold for each class (a value, or a list of them); None takes
            the names of the model, or its numbers from 0.
        footprints: building outlines; without them buildings are the connected areas of the labels.
        save: also write the package with what was fitted here, see :func:`calibrated`.
        overwrite: allow a folder with content.
        reporter: told stages and progress.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        InputError: no labels of the model's kind, other classes than the model's, or scenes that cannot be read.
        ModelError: a task that has no maps and no classes.
        OutputError: the folder has content.
    """
    reporter = reporter or Reporter()
    package = load_model(model)
    contract = package.contract
    if contract.task not in ("damage", "segmentation", "classification", "object-detection"):
        raise ModelError(
            f"the model {contract.name} cannot be evaluated here",
            found=f"task {contract.task}",
            expected="damage, segmentation, classification or object-detection",
            hint="probe a backbone: codemae probe MODEL DATASET" if contract.task == "embedding" else None,
        )
    show: list[dict[str, Any]] = []
    tallies: dict[str, Tally]
    result: dict[str, Any]
    fitted: dict[str, Any] | None
    said_form: str
    with FolderStaging(out, overwrite=overwrite) as staging:
        with reporter.stage("evaluate"):
            if scenes is not None and labels is not None and contract.task == "object-detection":
                tallies, fitted, said_form = {}, None, "engine"
                result, remark = score_scene_boxes(
                    model, contract, scenes["images"], labels, column=column, reporter=reporter, show=show
                )
                named = {"dataset": labels.name, "split": "all labelled objects", "note": remark}
            elif scenes is not None and labels is not None:
                tallies, remark = scene_cases_result(
                    package,
                    model,
                    scenes,
                    labels,
                    column=column,
                    classes=classes,
                    footprints=footprints,
                    reporter=reporter,
                    show=show,
                )
                named = {"dataset": labels.name, "split": "all labelled pixels", "note": remark}
                result, fitted, said_form = map_result(tallies["all"], contract), None, "engine"
            elif source is not None:
                cases = open_cases(source, contract, root=root, split=split, limit=limit)
                _check_classes(cases, contract)
                named = {
                    "dataset": cases.name,
                    "split": f"{cases.split} ({cases.count} image{'s'[: cases.count != 1]})",
                    "note": cases.note,
                }
                tallies = {}
                if contract.task == "classification":
                    result, fitted = score_images(package, cases, reporter)
                elif contract.task == "object-detection":
                    result, fitted = score_boxes(package, cases, reporter), None
                else:
                    tallies, sampled = score_maps(package, cases, form, reporter, show)
                    result, fitted = map_result(tallies["all"], contract), temperatures(sampled, contract, cases.split)
                said_form = form
            else:
                raise InputError("there is nothing to evaluate on", expected="a dataset, or scenes with labels")
        metrics: dict[str, Any] = {
            "model": {"name": contract.name, "version": contract.version, "sha256": package.sha256},
            "task": contract.task,
            "list": named,
            "checkpoint": "the package as it is; this run chose nothing",
            "metric_form": {
                "pooling": "one confusion table over all labelled pixels or images of the list",
                "absent_classes": "miou leaves classes out that neither occur nor are answered (mmsegmentation); "
                "miou_absent_zero and 'bright' count them 0 (BRIGHT)",
                "windows": "probabilities, tapered (engine)"
                if said_form == "engine"
                else "logits averaged (published)",
                "damage": "gated: damage class only where the localisation head sees a building; ungated: damage head "
                f"alone. The package uses '{contract.localisation}'",
                "boxes": "COCO: 101 points of recall, overlaps 0.50 to 0.95, at most 100 boxes an image (a scene: all)",
                "buildings": "each footprint or connected area of the labels once; class by the rule of codemae damage",
            },
            "figures": result,
            "groups": {g: map_result(t, contract) for g, t in tallies.items() if g != "all"},
            "temperature": fitted,
            "card": card_figures(result, contract),
            "created_with": f"codemae-geo {__version__}",
        }
        text = json.dumps(_plain(metrics), indent=2, allow_nan=False) + "\n"
        (staging.folder / "metrics.json").write_text(text, encoding="utf-8")
        page = report(metrics, contract, show)
        (staging.folder / "report.html").write_text(page, encoding="utf-8")
        if save is not None:
            save_package(save, load_file(package.path), calibrated(contract, metrics), overwrite=overwrite)
        staging.publish_all(stale=("metrics.json", "report.html"))
    return _plain(metrics)


def calibrated(contract: ModelContract, metrics: Mapping[str, Any]) -> ModelContract:
    """The contract with the temperature and the building confidence of an evaluation on images left out of training.

    With the latter, the card gets the figures of buildings on the same list.

    A temperature is taken where it does better than the package's on pixels that it was not fitted on; the building
    calibration where it does better, on buildings left out, than the mean confidence of their pixels.
    """
    changes: dict[str, Any] = {}
    fitted = metrics["temperature"]
    if fitted and "fitted" in fitted and fitted["ece_fitted"] < fitted["ece_contract"]:
        changes["temperature"] = round(fitted["fitted"], 3)
    rule = "gated" if contract.localisation == "gate" else "ungated"
    houses = metrics["figures"].get(rule, {}).get("buildings", {})
    left = houses.get("left_out")
    if left and left["ece"] < houses["pixel_mean"]["ece"]:
        named = metrics["list"]
        place = f"{houses['count']} buildings of {named['dataset']}, {named['split']}"
        place += f"; {named['note']}" if named.get("note") else ""
        figures = f"ECE {left['ece']:.3f} on those left out of the fit, {houses['pixel_mean']['ece']:.3f} without it"
        changes["building_calibration"] = BuildingCalibration(
            slope=round(left["slope"], 4), intercept=round(left["intercept"], 4), split=f"{place}; {figures}"
        )
        said = {"building_mean_f1": houses["mean_f1"], "building_ece_left_out": left["ece"]}
        others = [m for m in contract.metrics if m.name not in said]
        changes["metrics"] = [
            *others,
            *(Metric(name=name, value=round(value, 4), split=place) for name, value in said.items()),
        ]
    return contract.model_copy(update=changes)


def _check_classes(cases: Cases, contract: ModelContract) -> None:
    if len(cases.classes) != len(contract.classes):
        raise InputError(
            f"{cases.name} has other classes than the model {contract.name}",
            found=", ".join(cases.classes),
            expected=", ".join(c.name for c in contract.classes),
            hint="evaluate on a dataset with the model's classes, or fine-tune a head for these",
        )


def _plain(value: Any) -> Any:
    """Numbers that JSON can hold; what is undefined becomes null."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else float(value)
    return value


def _boxed(image: NDArray[np.uint8], one: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Outlines of labelled objects in black, of found ones in white, on a picture [H, W, 3]."""
    out = image.copy()
    height, width = out.shape[:2]
    for boxes, value in ((one["truth"], 0), (one["found"], 255)):
        for left, top, right, bottom in np.rint(boxes).astype(int).tolist():
            rows, cols = slice(max(top, 0), bottom), slice(max(left, 0), right)
            for row in (top, top + 1, bottom - 2, bottom - 1):
                out[np.clip(row, 0, height - 1), cols] = value
            for col in (left, left + 1, right - 2, right - 1):
                out[rows, np.clip(col, 0, width - 1)] = value
    return out


def _coloured(label: NDArray[np.uint8], contract: ModelContract) -> NDArray[np.uint8]:
    table = np.full((256, 3), 200, np.uint8)
    for info in contract.class_table:
        table[info.value] = (245, 245, 245) if info.background else info.rgb
    return table[label]


def _visible(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[bands, H, W] stretched from its 2nd to its 98th percentile, [H, W, 3]."""
    pixels = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, 0)
    low, high = np.percentile(pixels, (2, 98))
    return ((pixels - low) / max(high - low, 1e-9) * 255).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def report(metrics: Mapping[str, Any], contract: ModelContract, show: Sequence[Mapping[str, Any]]) -> str:
    """The page of one evaluation."""
    figures, named = metrics["figures"], metrics["list"]
    names = [c.name for c in contract.classes]
    facts = [
        ("Model", f"{contract.name} {contract.version}"),
        ("List", f"{named['dataset']}, {named['split']}"),
        ("Checkpoint", metrics["checkpoint"]),
        ("Windows", metrics["metric_form"]["windows"]),
        ("Absent classes", metrics["metric_form"]["absent_classes"]),
    ]
    facts += [("Labels", named["note"])] if named["note"] else []
    parts = [html.table((), facts, "facts")]
    if metrics["card"]:
        rows = [(m["name"], m["card"], m["measured"], "yes" if m["equal"] else "no") for m in metrics["card"]]
        parts.append(
            html.section("The card's figures, measured again", html.table(("figure", "card", "now", "equal"), rows))
        )
    if contract.task == "object-detection":
        top = [(key, figures[key]) for key in ("images", "objects", "map", "map50", "map75")]
        each = [(n, figures["ap"][n], figures["ap50"][n]) for n in names]
        sizes = [(f"mAP of {size} objects", value) for size, value in figures["by_size"].items()]
        sizes += [(f"recall, {count} boxes an image", value) for count, value in figures["recall"].items()]
        sizes += [("best F1 at 0.50", figures["f1"]), ("score that gives it", figures["threshold"])]
        tables = html.beside(html.table((), [*top, *sizes], "facts"), html.table(("class", "AP", "AP at 0.50"), each))
        parts.append(html.section("Objects (COCO)", tables))
        for one in show:
            picture = _boxed(_visible(one["case"].images[0]), one)
            words = f"Black: {len(one['truth'])} labelled objects. White: {len(one['found'])} found with a score of "
            words += f"{contract.score_threshold:g} or more."
            parts.append(html.section("Labels and answers", html.pictures(words, {"image": picture}, 900)))
        lead = f"{named['dataset']}, {named['split']}. Made with {metrics['created_with']}."
        return html.page(f"Evaluation of {contract.name}", lead, *parts)
    rules: list[str | None] = [r for r in ("ungated", "gated") if r in figures] or [None]
    for rule in rules:
        parts.append(_rule_section(figures if rule is None else figures[rule], rule, names, contract))
    diagrams = {"pixels" if "images" in figures and rules != [None] else "images": figures["reliability"]}
    used = "gated" if contract.localisation == "gate" and "gated" in figures else "ungated"
    houses = figures.get(used, {}).get("buildings", {})
    if houses.get("count"):
        diagrams["buildings"] = houses["reliability"]
        if houses["left_out"]:
            diagrams["buildings, fitted on others"] = houses["left_out"]["diagram"]
    shown = [html.reliability(diagrams, "Each dot is a bin of confidence, its size the share of answers in it.")]
    fitted = metrics["temperature"]
    if fitted and "diagram" in fitted:
        both = {f"temperature {fitted['contract']:.2f}": fitted["diagram"]["contract"]}
        both[f"fitted, {fitted['fitted']:.2f}"] = fitted["diagram"]["fitted"]
        shown.append(html.reliability(both, fitted["how"]))
    parts.append(html.section("Does the confidence mean what it says?", html.beside(*shown)))
    for kind, title in (("event", "By event"), ("kind", "By kind of disaster")):
        groups = {g.partition(": ")[2]: r for g, r in metrics["groups"].items() if g.startswith(kind)}
        if len(groups) > 1:
            parts.append(html.section(title, _group_table(groups, used, names)))
    if show:
        seen = [html.legend(names, [c.color if not c.background else "#f5f5f5" for c in contract.classes])]
        for one in show:
            case = one["case"]
            titles = [spec.name for spec in contract.inputs]
            images = {t: _visible(x) for t, x in zip(titles, case.images, strict=False)}
            images |= {"label": _coloured(case.label, contract), "answer": _coloured(one["found"], contract)}
            seen.append(html.pictures(case.name, images, 300))
        parts.append(html.section("Labels and answers", *seen))
    return html.page(
        f"Evaluation of {contract.name}",
        f"{named['dataset']}, {named['split']}. Made with {metrics['created_with']}.",
        *parts,
    )


def _rule_section(figures: Mapping[str, Any], rule: str | None, names: Sequence[str], contract: ModelContract) -> str:
    keys = ("iou", "f1", "recall", "precision")
    rows = [(n, *(figures["per_class"][n][k] for k in keys), figures["per_class"][n]["pixels"]) for n in names]
    unit = "images" if rule is None else "pixels"
    if rule is None:
        title, top = "Images", [("accuracy", figures["accuracy"]), ("mean F1", figures["macro_f1"])]
    else:
        title = {"ungated": "Damage head alone (ungated)", "gated": "Gated by the localisation head"}[rule]
        title = title if contract.task == "damage" else "Map"
        top = [("mIoU", figures["miou"]), ("mIoU, absent classes 0", figures["miou_absent_zero"])]
        top += [
            ("accuracy", figures["accuracy"]),
            ("mean class accuracy", figures["macc"]),
            ("mean F1", figures["mf1"]),
        ]
        if "bright" in figures:
            bright = figures["bright"]
            top += [("localisation F1 (BRIGHT)", bright["localisation_f1"])]
            top += [("harmonic mean of damage F1 inside buildings (BRIGHT)", bright["harmonic_mean"])]
    parts = [
        html.beside(
            html.table((), top, "facts") + html.table(("class", "IoU", "F1", "recall", "precision", unit), rows),
            html.confusion(figures["confusion"], names, f"Rows are the truth; shares of the row, {unit}."),
        )
    ]
    houses = figures.get("buildings", {})
    if houses.get("count"):
        facts = [
            ("buildings", houses["count"]),
            ("mean F1", houses["mean_f1"]),
            ("harmonic mean of F1 (xView2)", houses["harmonic_mean"]),
            ("mean F1 of the best constant answer", houses["best_constant_mean_f1"]),
            ("accuracy", houses["accuracy"]),
            ("calibration error (ECE)", houses["reliability"]["ece"]),
            ("errors among the least certain fifth, to average", houses["error_of_least_certain_fifth_to_average"]),
        ]
        left = houses["left_out"]
        if left:
            facts.append(("ECE of a calibration fitted here, on buildings left out", left["ece"]))
        rows = [(n, f, houses["buildings"][n]) for n, f in houses["f1"].items()]
        parts.append(
            html.beside(
                html.table((), facts, "facts") + html.table(("buildings", "F1", "labelled"), rows),
                html.confusion(houses["confusion"], names, "Buildings, each counted once."),
            )
        )
    return html.section(title, *parts)


def _group_table(groups: Mapping[str, Mapping[str, Any]], rule: str, names: Sequence[str]) -> str:
    rows = []
    for name, result in sorted(groups.items()):
        figures = result[rule]
        houses = figures.get("buildings", {})
        each = [figures["per_class"][n]["iou"] if figures["per_class"][n]["pixels"] else None for n in names]
        rows.append(
            (name, result["images"], figures["miou"], *each, result.get("f1_localisation"), houses.get("mean_f1"))
        )
    return html.table(("", "images", "mIoU", *(f"IoU {n}" for n in names), "F1 localisation", "F1 buildings"), rows)
