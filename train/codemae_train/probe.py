"""Linear probe and nearest neighbours on frozen features, as CoDe-MAE's Table III is made.

Read from top to bottom: images and labels, the frozen model, features (computed once, kept on disk), the two
classifiers, the run over shots and seeds. What is published and where this differs is said at each place; the result
file repeats it: list, checkpoint rule, form of the metric.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from codemae_datasets.public import CATALOGUE, dataset_class
from codemae_datasets.public._base import IMAGES, PairedDataset, read_image
from codemae_datasets.public.multilabel import present_classes
from codemae_datasets.public.splits import split_by_ratio
from codemae_train.optim import cosine
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from codemae_geo.errors import InputError, ModelError
from codemae_geo.metrics import features as figures
from codemae_geo.models.encoder import Encoder, find_encoder
from codemae_geo.models.hivit import HiViT
from codemae_geo.models.probe import LinearProbe, knn_scores
from codemae_geo.progress import Reporter

Modality = Literal["optical", "sar", "both"]
Method = Literal["linear", "knn"]
#: published settings of the probe
SIZE, EPOCHS, BATCH, RATE, FLOOR, EVERY = 224, 50, 256, 0.5, 1e-6, 5
#: what the published lists and the order of batches are seeded with, besides the run's seed
SEED = 729
#: (training, evaluation) split where the published probe takes others than train and test (or val)
SPLITS = {"dfc20": ("test", "val"), "bigearthnet_mm": ("train", "val"), "bigearthnet_v2": ("train", "val")}


# ---------------------------------------------------------------- images and labels


@dataclass(frozen=True)
class LabelledImages:
    """Images of one split.

    Args:
        name, split: said in results.
        keys: identity of every image (name, size and time of its files), for the cache.
        load: number -> ``optical`` and ``sar`` [C, h, w] float32 as stored, and ``label``.
        classes: names.
        several: an image may have several labels; then ``label`` is [K] of 0 and 1, else a class number.
        eight_bit: stored values are 0 to 255; else they are stretched to that by quantiles of the training images.
        statistics: published (mean, std) of each family for 0..1, where there are any.
    """

    name: str
    split: str
    keys: list[str]
    load: Callable[[int], dict[str, Tensor]]
    classes: tuple[str, ...]
    several: bool
    families: tuple[str, ...]
    eight_bit: bool = True
    statistics: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)


def open_images(
    source: str, root: Path | None = None, splits: tuple[str | None, str | None] = (None, None), sensor: str = "optical"
) -> tuple[LabelledImages, LabelledImages]:
    """Training and evaluation images of a public dataset, or of a folder with one folder per class.

    Args:
        source: a name of the catalogue, or a folder: ``train/<class>`` and ``test/<class>`` (or ``val``), or class
            folders alone, of which a fifth per class (seed 0) is then kept for evaluation.
        root: folder of a public dataset.
        splits: (training, evaluation) split; None takes the published ones.
        sensor: what a folder's images are, "optical" or "sar".

    Raises:
        InputError: neither; or files are missing.
    """
    if source in CATALOGUE:
        return _public(source, root or Path("data"), splits)
    folder = Path(source)
    if not folder.is_dir():
        raise InputError(
            f"{source} is neither a folder nor a public dataset",
            expected="a folder with one folder per class, or a name that `codemae data list` shows",
        )
    return _folder(folder, splits, sensor)


def _public(name: str, root: Path, splits: tuple[str | None, str | None]) -> tuple[LabelledImages, LabelledImages]:
    cls = dataset_class(name)
    train, test = SPLITS.get(name, ("train", "test" if "test" in cls.card.splits else "val"))
    made = []
    for split in (splits[0] or train, splits[1] or test):
        data = cls(root, split=split, bands=cls.rgb_bands)
        paired = isinstance(data, PairedDataset)
        alone = "sar" if "optical" not in cls.card.modality.lower() else "optical"
        first = data[0]
        if "mask" not in first and "label" not in first:
            raise InputError(f"{cls.card.title} has no labels to probe with", found=", ".join(first))
        several = "label" not in first or first["label"].ndim > 0
        count = len(cls.card.classes)

        def load(
            i: int, data: Any = data, paired: bool = paired, alone: str = alone, count: int = count
        ) -> dict[str, Tensor]:
            sample = data[i]
            label = sample["label"] if "label" in sample else present_classes(sample["mask"], count)
            images = {"optical" if paired else alone: sample["image"]}
            return images | ({"sar": sample["image_sar"]} if paired else {}) | {"label": label}

        statistics = {}
        if paired and cls.probe is not None:  # type: ignore[attr-defined]
            named = cls.statistics("probe")  # type: ignore[attr-defined]
            order = [cls.all_bands.index(band) for band in cls.rgb_bands]
            statistics["optical"] = tuple(tuple(values[i] for i in order) for values in named["image"])
            statistics["sar"] = named["image_sar"]
        made.append(
            LabelledImages(
                cls.card.title,
                split,
                [_identity(item.name, data.files(item)) for item in data.items],
                load,
                cls.card.classes,
                several,
                ("optical", "sar") if paired else (alone,),
                "8 bit" in cls.card.bands,
                statistics if "8 bit" in cls.card.bands else {},  # type: ignore[arg-type]
            )
        )
    return made[0], made[1]


def _folder(folder: Path, splits: tuple[str | None, str | None], sensor: str) -> tuple[LabelledImages, LabelledImages]:
    inside = {p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")}
    train, test = splits[0] or "train", splits[1] or next((n for n in ("test", "val") if n in inside), "test")
    if {train, test} <= inside:
        lists = {part: _class_files(folder / part) for part in (train, test)}
    elif splits != (None, None):
        missing = next(part for part in (train, test) if part not in inside)
        raise InputError(f"{folder} has no folder {missing}", found=", ".join(sorted(inside)) or "no folders")
    else:
        train, test = "four fifths", "one fifth"
        files = _class_files(folder)
        order = [(name, path) for name, paths in files.items() for path in paths]
        numbers = {name: i for i, name in enumerate(files)}
        first, rest = split_by_ratio([numbers[name] for name, _ in order], 0.8)
        lists = {
            part: {name: [order[i][1] for i in rows if order[i][0] == name] for name in files}
            for part, rows in ((train, first), (test, rest))
        }
    classes = tuple(lists[train])
    unknown = set(lists[test]) - set(classes)
    if unknown:
        raise InputError(
            f"{folder / test} has classes that {train} has not",
            found=", ".join(sorted(unknown)),
            expected=", ".join(classes),
        )
    made = []
    for part, by_class in lists.items():
        rows = [(path, classes.index(name)) for name, paths in by_class.items() for path in paths]

        def load(i: int, rows: list[tuple[Path, int]] = rows) -> dict[str, Tensor]:
            path, label = rows[i]
            return {sensor: read_image(path), "label": torch.tensor(label)}

        keys = [_identity(str(path.relative_to(folder)), [path]) for path, _ in rows]
        made.append(LabelledImages(folder.name, part, keys, load, classes, False, (sensor,)))
    return made[0], made[1]


def _class_files(folder: Path) -> dict[str, list[Path]]:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = {
        name: sorted(p for p in (folder / name).iterdir() if p.suffix.lower() in IMAGES and p.name[0] != ".")
        for name in names
    }
    empty = [name for name, paths in found.items() if not paths]
    if len(names) < 2 or empty:
        raise InputError(
            f"{folder} is not a folder of classes",
            found=f"no image in {empty[0]}" if empty else f"{len(names)} folders",
            expected="two folders or more, one per class, with images in each",
        )
    return found


def _identity(name: str, files: Sequence[Path]) -> str:
    """Name, size and time of an image's files; a folder of bands counts by its time alone."""
    states = [p.stat() for p in files if p.exists()]
    return f"{name}|" + "|".join(f"{s.st_size}:{s.st_mtime_ns}" for s in states)


def few(count: int, classes: int, shots: float | None, seed: int) -> list[int]:
    """Numbers of the training images of a k-shot run, in the published order.

    The list is shuffled by numpy's ``RandomState(729 + seed)``; the first ``k x classes`` of it are taken, whatever
    their classes; it is not k of each class. Below 1, ``shots`` is a fraction of the list; None takes it whole.

    Raises:
        InputError: the list is shorter than that.
    """
    order = np.arange(count)
    if shots is None:
        return order.tolist()
    np.random.RandomState(SEED + seed).shuffle(order)
    wanted = int(shots * count) if shots < 1 else int(shots * classes)
    if not 0 < wanted <= count:
        raise InputError(
            f"{shots:g} shots of {classes} classes are {wanted} images",
            found=f"{count} images in the training list",
            hint="take fewer shots",
        )
    return order[:wanted].tolist()


# ---------------------------------------------------------------- the frozen model


@dataclass(frozen=True)
class Frozen:
    """A frozen model: normalised images [B, 3, size, size] of a family -> features [B, dim].

    Args:
        name: said in results.
        key: identity of its weights, for the cache.
        families: that it takes.
        forward: (images, family) -> features.
        size: side of its images in pixels.
    """

    name: str
    key: str
    families: tuple[str, ...]
    forward: Callable[[Tensor, str], Tensor]
    size: int
    module: nn.Module


def open_frozen(model: str | Path, *, size: int = SIZE, seed: int = 0) -> Frozen:
    """A package (by name, file or hub address), or a model of timm as ``timm:NAME`` (``timm:NAME+`` with its weights).

    Features of a HiViT are the mean of its last block's tokens, then a layer norm without affine (eps 1e-6): the
    published probe passes them through an ``fc_norm`` that no pretraining checkpoint holds. Those of other encoders are
    what they pool, see :class:`codemae_geo.models.encoder.Encoder`.

    Raises:
        ModelError: no such model, or it has no backbone to take features from.
    """
    name = str(model)
    if name.startswith("timm:"):
        return _timm(name.removeprefix("timm:"), size, seed)
    from codemae_geo.weights import load_model

    package = load_model(model)
    trunk = find_encoder(package.module)
    if trunk is None:
        raise ModelError(
            f"the model {package.contract.name} has no backbone that a probe can read",
            found=package.contract.architecture.name,
            expected="an encoder of codemae pretrain, or a model made on one",
        )
    assert isinstance(trunk, nn.Module)
    return Frozen(
        f"{package.contract.name} {package.contract.version}",
        package.contract.tensors_sha256 or package.sha256,
        trunk.sensors,
        _tokens(trunk) if isinstance(trunk, HiViT) else _pooled(trunk),
        size,
        trunk,
    )


def _tokens(trunk: HiViT) -> Callable[[Tensor, str], Tensor]:
    def forward(images: Tensor, family: str) -> Tensor:
        tokens = trunk.forward_stages(images, "RGB" if family == "optical" else "SAR").tokens
        return F.layer_norm(tokens.mean(dim=1), tokens.shape[-1:], eps=1e-6)

    return forward


def _pooled(trunk: Encoder) -> Callable[[Tensor, str], Tensor]:
    def forward(images: Tensor, family: str) -> Tensor:
        return trunk.pooled(images, "optical" if family == "optical" else "sar")

    return forward


def _timm(name: str, size: int, seed: int) -> Frozen:
    import timm

    import codemae_geo.models.zoo  # noqa: F401  (ours are found by their names as well)

    pretrained = name.endswith("+")
    torch.manual_seed(seed)
    try:
        module = timm.create_model(name.removesuffix("+"), pretrained=pretrained, num_classes=0).eval()
    except Exception as error:
        raise ModelError(f"timm cannot make {name}: {str(error).splitlines()[0]}") from error
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(
            tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        )
    config = getattr(module, "pretrained_cfg", {}) or {}
    if config.get("fixed_input_size"):
        size = config["input_size"][-1]
    said = f"timm {name.removesuffix('+')}, " + ("its weights" if pretrained else f"random weights (seed {seed})")
    forward = _tokens(module) if isinstance(module, HiViT) else lambda images, family: module(images)
    return Frozen(said, digest.hexdigest(), ("optical", "sar"), forward, size, module)


# ---------------------------------------------------------------- features


@dataclass(frozen=True)
class Preparation:
    """Stored values -> network input: what maps to 0 and 255 (None: stored in 8 bits), mean and deviation of 0..1."""

    stretch: tuple[tuple[float, ...], tuple[float, ...]] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str

    def __call__(self, image: Tensor, size: int) -> Tensor:
        """[C, h, w] as stored -> [3, size, size]: three channels, cubic resize in 8 bits, /255, normalised."""
        pixels = _resize(_eight_bit(_three(image), self.stretch), size)
        mean, std = (torch.tensor(v)[:, None, None] for v in (self.mean, self.std))
        return (pixels / 255 - mean) / std


def _three(image: Tensor) -> Tensor:
    """One band three times; two bands (VV, VH) and their mean; else the first three."""
    if len(image) == 1:
        return image.expand(3, -1, -1)
    return torch.cat([image, image.mean(0, keepdim=True)]) if len(image) == 2 else image[:3]


def _eight_bit(image: Tensor, stretch: tuple[tuple[float, ...], tuple[float, ...]] | None) -> Tensor:
    if stretch is None:
        return image.floor()
    low, high = (torch.tensor(v)[:, None, None] for v in stretch)
    return ((image - low) / (high - low).clamp(min=1e-12) * 255).clamp(0, 255).floor()


def _resize(image: Tensor, size: int) -> Tensor:
    """Cubic without antialiasing (a = -0.75, as OpenCV), rounded to 8 bits."""
    if image.shape[-2:] == (size, size):
        return image
    return F.interpolate(image[None], size=(size, size), mode="bicubic", align_corners=False)[0].round().clamp(0, 255)


def prepare(data: LabelledImages, family: str, sample: int = 256) -> Preparation:
    """Published statistics of the set, or those of up to ``sample`` training images spread over the list."""
    if family in data.statistics:
        mean, std = data.statistics[family]
        return Preparation(None, tuple(mean), tuple(std), "published")
    rows = np.unique(np.linspace(0, len(data) - 1, min(sample, len(data))).astype(int))
    images = [_three(data.load(int(i))[family]) for i in rows]
    stretch = None
    if not data.eight_bit:
        values = torch.cat([image.flatten(1)[:, ::7] for image in images], dim=1).float().nan_to_num()
        low, high = (np.quantile(values.numpy(), q, axis=1) for q in (0.02, 0.98))
        stretch = (tuple(low.tolist()), tuple(high.tolist()))
    pixels = torch.cat([_eight_bit(image, stretch).flatten(1) / 255 for image in images], dim=1).double()
    spread = pixels.std(dim=1).clamp(min=1e-4)
    said = f"measured on {len(rows)} training images"
    return Preparation(stretch, tuple(pixels.mean(dim=1).tolist()), tuple(spread.tolist()), said)


def read_features(
    frozen: Frozen,
    data: LabelledImages,
    family: str,
    prepare_: Preparation,
    *,
    cache: Path | None = None,
    batch: int = 64,
    reporter: Reporter | None = None,
) -> tuple[Tensor, Tensor]:
    """Features [N, D] and labels ([N] or [N, K]) of a list, from the cache where they lie there.

    The cache's key is the model's weights, the images' names, sizes and times, and how they are prepared; so nothing
    stale is ever taken, and nothing is computed twice.

    Raises:
        InputError: an image has an extent of zero, or does not decode; names it.
    """
    told = json.dumps([frozen.key, frozen.size, family, data.name, data.split, asdict(prepare_), data.keys])
    path = None if cache is None else cache / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.safetensors"
    if path is not None and path.is_file():
        held = load_file(path)
        return held["features"], held["labels"]
    reporter = reporter or Reporter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    frozen.module.to(device).eval()

    def one(i: int) -> tuple[Tensor, Tensor]:
        sample = data.load(i)
        return prepare_(sample[family], frozen.size), sample["label"]

    rows, labels = [], []
    with ThreadPoolExecutor(2) as pool, reporter.stage(f"features of {data.split}, {family}"):
        for start in range(0, len(data), batch):
            numbers = range(start, min(start + batch, len(data)))
            images, truth = zip(*pool.map(one, numbers), strict=True)
            with torch.inference_mode():
                rows.append(frozen.forward(torch.stack(images).to(device), family).float().cpu())
            labels.append(torch.stack(truth))
            reporter.progress(numbers.stop, len(data))
    found = torch.cat(rows).clone(), torch.cat(labels).clone()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file({"features": found[0], "labels": found[1]}, part)
        part.replace(path)
    return found


# ---------------------------------------------------------------- classifiers


def linear_steps(
    head: LinearProbe,
    features: Tensor,
    labels: Tensor,
    *,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    lr: float = RATE,
    seed: int = 0,
) -> Iterator[tuple[int, float]]:
    """Train a head; yields (epoch, loss of its last batch) after each.

    SGD with momentum 0.9 and no decay, the rate not scaled by the batch, half a cosine to 1e-6 set before every
    iteration. Fewer images than a batch are one step an epoch. Several labels an image: soft-margin loss, else
    cross-entropy. The order of batches is that of a DataLoader seeded with 729 + ``seed``.
    """
    optimizer = torch.optim.SGD(head.parameters(), lr=lr, momentum=0.9, weight_decay=0)
    loss_of: nn.Module = nn.MultiLabelSoftMarginLoss() if labels.ndim > 1 else nn.CrossEntropyLoss()
    target = labels.float() if labels.ndim > 1 else labels.long()
    factor = cosine(epochs, floor=FLOOR / lr)
    loader: Any = DataLoader(
        range(len(features)),  # type: ignore[arg-type]
        batch_size=min(batch, len(features)),
        shuffle=True,
        generator=torch.Generator().manual_seed(SEED + seed),
    )
    for epoch in range(epochs):
        head.train()
        value = float("nan")
        for number, rows in enumerate(loader):
            optimizer.param_groups[0]["lr"] = lr * factor(epoch + number / len(loader))
            if len(rows) < 2:  # one row has no statistics of a batch
                continue
            loss = loss_of(head(features[rows]), target[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            value = float(loss.detach())
        yield epoch, value


def score(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Pooled micro average precision and F1 of several labels an image, or the accuracy; times 100."""
    if labels.ndim > 1:
        return {
            "map": 100 * figures.micro_average_precision(scores, labels),
            "f1": 100 * figures.micro_f1(scores, labels),
        }
    return {"accuracy": 100 * figures.overall_accuracy(scores, labels)}


def linear_probe(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int, seed: int, epochs: int = EPOCHS
) -> dict[str, Any]:
    """One run: figures every 5 epochs on the evaluation list.

    Returns:
        ``best`` (the published rule: the best of these), ``last`` (the honest one), ``epoch`` of the best.
    """
    torch.manual_seed(seed)
    head = LinearProbe(train[0].shape[1], classes)
    found: list[tuple[int, dict[str, float]]] = []
    for epoch, _ in linear_steps(head, *train, epochs=epochs, seed=seed):
        if (epoch + 1) % EVERY == 0 or epoch + 1 == epochs:
            with torch.no_grad():
                found.append((epoch + 1, score(head.eval()(test[0]), test[1])))
    key = next(iter(found[0][1]))
    best = max(found, key=lambda one: one[1][key])
    return {"best": best[1], "last": found[-1][1], "epoch": best[0]}


def knn_probe(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int, k: int = 20) -> dict[str, Any]:
    """Nearest neighbours on the evaluation list; there is no training, so best and last are one."""
    labels = train[1] if train[1].ndim > 1 else F.one_hot(train[1].long(), classes)
    scores = torch.cat([knn_scores(part, train[0], labels, k) for part in test[0].split(1024)])
    if test[1].ndim > 1:  # shares of the neighbours' weight to something a sigmoid turns back
        scores = torch.logit((scores / labels_weight(test[0], train[0], k)[:, None]).clamp(1e-6, 1 - 1e-6))
    value = score(scores, test[1])
    return {"best": value, "last": value}


def labels_weight(features: Tensor, train_features: Tensor, k: int, temperature: float = 0.07) -> Tensor:
    """Sum of the neighbours' weights [N]."""
    return knn_scores(features, train_features, torch.ones(len(train_features), 1), k, temperature)[:, 0]


# ---------------------------------------------------------------- the run


def probe(
    model: str | Path,
    source: str,
    *,
    root: Path | None = None,
    modality: Modality | None = None,
    methods: Sequence[Method] = ("linear", "knn"),
    shots: Sequence[float] = (),
    seeds: int = 5,
    splits: tuple[str | None, str | None] = (None, None),
    sensor: str = "optical",
    size: int = SIZE,
    epochs: int = EPOCHS,
    cache: Path | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Probe a frozen model on a set of labelled images.

    Args:
        model: see :func:`open_frozen`.
        source, root, splits, sensor: see :func:`open_images`.
        modality: "both" puts the features of the two images side by side (not published for CoDe-MAE); None takes
            what model and images have in common, both if they have both.
        methods: "linear", "knn" or both.
        shots: see :func:`few`; none takes the whole list.
        seeds: runs, seeded 0, 1, ...; the whole list by nearest neighbours has only one.
        size: side that images are resized to, in pixels.
        epochs: of the linear probe.
        cache: folder of features; None computes them anew.
        reporter: told stages and progress.

    Returns:
        The result file: ``rows`` (method, shots, metric, mean and deviation over seeds of both checkpoint rules, every
        run) and what was done.

    Raises:
        InputError, ModelError: a choice that model or images do not have; see the functions above.
    """
    reporter = reporter or Reporter()
    frozen = open_frozen(model, size=size)
    train, test = open_images(source, root, splits, sensor)
    families = _families(modality, frozen, train)
    parts: list[tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]] = []
    prepared: dict[str, Preparation] = {}
    for family in families:
        prepared[family] = prepare(train, family)
        first, second = (
            read_features(frozen, data, family, prepared[family], cache=cache, reporter=reporter)
            for data in (train, test)
        )
        parts.append((first, second))
    fit = (torch.cat([p[0][0] for p in parts], dim=1), parts[0][0][1])
    held = (torch.cat([p[1][0] for p in parts], dim=1), parts[0][1][1])
    classes = len(train.classes)
    rows = []
    for method in methods:
        for k in shots or (None,):
            runs = []
            for seed in range(1 if method == "knn" and k is None else seeds):
                chosen = few(len(train), classes, k, seed)
                part = (fit[0][chosen], fit[1][chosen])
                done = (
                    knn_probe(part, held, classes)
                    if method == "knn"
                    else linear_probe(part, held, classes, seed, epochs)
                )
                runs.append(done | {"seed": seed, "images": len(chosen)})
            rows += _summary(method, k, runs)
    return {
        "model": frozen.name,
        "dataset": train.name,
        "list": {"train": f"{train.split} ({len(train)})", "evaluation": f"{test.split} ({len(test)})"},
        "shots": "first k x classes of the list shuffled by RandomState(729 + seed); not k per class",
        "modality": "+".join(families),
        "feature": f"{frozen.size} px, {fit[0].shape[1]} wide",
        "statistics": {family: p.source for family, p in prepared.items()},
        "checkpoint": {
            "best": f"published: best of the evaluations every {EVERY} epochs on the evaluation list",
            "last": "last epoch, chosen without looking",
        },
        "metric": "micro average precision, pooled, exact thresholds (map); F1 at 0.5" if train.several else "accuracy",
        "precision": "float32 (published: float16 autocast)",
        "rows": rows,
    }


def _families(modality: Modality | None, frozen: Frozen, data: LabelledImages) -> tuple[str, ...]:
    common = tuple(f for f in data.families if f in frozen.families)
    wanted = common if modality is None else ("optical", "sar") if modality == "both" else (modality,)
    missing = [f for f in wanted if f not in common]
    if missing or not wanted:
        raise InputError(
            f"{missing[0] if missing else 'nothing'} cannot be probed here",
            found=f"model: {', '.join(frozen.families)}; images: {', '.join(data.families)}",
            expected="a modality that both have",
        )
    return wanted


def _summary(method: str, shots: float | None, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for metric in runs[0]["best"]:
        row: dict[str, Any] = {"method": method, "shots": shots, "images": runs[0]["images"], "metric": metric}
        for rule in ("best", "last"):
            values = np.array([run[rule][metric] for run in runs])
            row[rule] = {"mean": values.mean().item(), "std": values.std(ddof=1).item() if len(values) > 1 else 0.0}
        rows.append(row | {"runs": [{rule: run[rule][metric] for rule in ("best", "last")} for run in runs]})
    return rows


def as_table(result: dict[str, Any]) -> str:
    """The rows as text: mean over seeds to two decimals, as in Table III, with the deviation that it leaves out."""
    lines = [f"{'method':8} {'shots':>6} {'images':>7} {'metric':9} {'best (published rule)':>22} {'last':>16}"]
    for row in result["rows"]:
        best, last = (f"{row[r]['mean']:.2f} ± {row[r]['std']:.2f}" for r in ("best", "last"))
        shots = "all" if row["shots"] is None else f"{row['shots']:g}"
        lines.append(f"{row['method']:8} {shots:>6} {row['images']:>7} {row['metric']:9} {best:>22} {last:>16}")
    return "\n".join(lines)


MODALITIES: tuple[str, ...] = get_args(Modality)
