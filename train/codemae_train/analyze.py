"""What representations do on scenes of one's own: the mechanism figures of the papers, several models side by side.

Every analysis draws windows of pairs at random from two folders of scenes (so that memory is bounded however large they
are), shows all models the same pixels, and gives a :class:`Finding`: a table, a drawing, and a summary. Definitions
stand in :mod:`codemae_geo.analysis` and, with their formula, in docs/analyze.md.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from codemae_datasets.pairs import raise_error
from codemae_datasets.samplers import seeded
from codemae_train.config import DataConfig
from numpy.typing import NDArray
from torch import Tensor, nn

from codemae_geo.analysis import alignment, decoupling, spectrum, ssim_gsd
from codemae_geo.analysis.saliency import band_shares, spatial_saliency
from codemae_geo.errors import InputError, ModelError
from codemae_geo.losses.reconstruction import normalise_patches, patchify, unpatchify
from codemae_geo.losses.targets import cross_targets
from codemae_geo.models import build
from codemae_geo.models.codemae import CoDeMAE, masking_of
from codemae_geo.models.encoder import Encoder, find_encoder
from codemae_geo.outputs import FolderStaging
from codemae_geo.progress import Reporter
from codemae_geo.weights.contract import InputSpec, ModelContract
from codemae_geo.weights.package import load_package
from codemae_geo.weights.registry import resolve

Floats = NDArray[np.floating[Any]]
SENSORS = ("optical", "sar")
#: windows that pass a network at once
BATCH = 32
#: windows that pictures show
SHOWN = 4


@dataclass
class Finding:
    """What an analysis found.

    Args:
        name: of the analysis, and of its files.
        columns, rows: of the CSV.
        summary: the figures to read first, by model.
        draw: draws on the figure that it is given.
        size: of the figure in inches.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    summary: dict[str, Any]
    draw: Callable[[Any], None]
    size: tuple[float, float] = (9.0, 4.0)


# ---------------------------------------------------------------- pairs


@dataclass(frozen=True)
class Pairs:
    """Windows of the same places in both sensors.

    Args:
        optical: uint8 [N, 3, S, S].
        sar: uint8 [N, S, S].
        gsd: metres of a pixel along the scene's grid (degrees where its system has degrees).
    """

    optical: NDArray[np.uint8]
    sar: NDArray[np.uint8]
    gsd: float

    def __len__(self) -> int:
        return len(self.optical)

    def grey(self, number: int) -> tuple[Floats, Floats]:
        """Both images of a pair as grey [S, S] in 0..1."""
        return ssim_gsd.grey(self.optical[number] / 255), self.sar[number] / 255


def sample_pairs(data: DataConfig, count: int, seed: int = 0) -> Pairs:
    """Draw windows of two folders of scenes; of the held-out area alone where ``data.holdout`` names one.

    Raises:
        InputError: a folder cannot be used, or there is no room for a window.
    """
    from codemae_train.pairdata import open_source

    source, held_out = open_source(data)
    if data.holdout is not None:
        order = torch.randperm(len(held_out), generator=seeded(seed)).tolist()[:count]
        items: Sequence[Any] = [held_out[i] for i in order]
    else:
        items = source.paired_items(seeded(seed))[:count]
    if len(items) < 8:
        raise InputError(
            "there are too few windows to analyse",
            found=f"{len(items)} of {data.window} pixels",
            expected="eight or more",
            hint="give smaller windows, or larger scenes",
            option="window",
        )
    optical = np.empty((len(items), 3, data.window, data.window), np.uint8)
    sar = np.empty((len(items), data.window, data.window), np.uint8)
    for number, item in enumerate(items):
        sample = source[item]
        raise_error(sample)
        optical[number], sar[number] = sample["rgb"].numpy(), sample["sar"][0].numpy()
    return Pairs(optical, sar, float(getattr(source, "res", (1.0,))[0]))


# ---------------------------------------------------------------- models


@dataclass(frozen=True)
class Subject:
    """A model that is looked at.

    Args:
        name: as it is told apart from the others.
        contract: what it takes.
        module: the network.
        encoder: its part that gives features.
        run: the folder of its pretraining, if it was named by it.
    """

    name: str
    contract: ModelContract
    module: nn.Module
    encoder: Encoder
    run: Path | None = None

    def spec(self, sensor: str) -> InputSpec:
        """What it takes of a sensor."""
        return next(spec for spec in self.contract.inputs if spec.family == sensor)

    def images(self, pairs: Pairs, sensor: str, rows: slice) -> Tensor:
        """Normalised images [N, C, S, S] of a sensor."""
        spec = self.spec(sensor)
        pixels = torch.from_numpy(pairs.optical[rows] if sensor == "optical" else pairs.sar[rows][:, None]).float()
        mean, std = (torch.tensor(v)[:, None, None] for v in (spec.mean, spec.std))
        return (pixels.expand(-1, len(spec.mean), -1, -1) * spec.scale - mean) / std


def open_subjects(models: Sequence[str | Path]) -> list[Subject]:
    """Models by package (file, name or hub address) or by the folder of a pretraining run.

    Raises:
        ModelError: none there; no encoder; or a model of one sensor only.
    """
    found: list[Subject] = []
    for model in models:
        folder = Path(model) if Path(model).is_dir() else None
        if folder is not None and not (folder / "encoder.safetensors").is_file():
            raise ModelError(
                f"the folder {folder} holds no finished pretraining run",
                expected="encoder.safetensors in it",
                hint="let codemae pretrain end, or name a package",
            )
        package = load_package(folder / "encoder.safetensors" if folder else resolve(model))
        encoder, contract = find_encoder(package.module), package.contract
        if encoder is None:
            raise ModelError(f"the model {contract.name} has no encoder to look into", found=contract.architecture.name)
        lacking = [s for s in SENSORS if s not in {i.family for i in contract.inputs} or s not in encoder.sensors]
        if lacking:
            raise ModelError(
                f"the model {contract.name} takes no {' and no '.join(lacking)} images",
                found=", ".join(f"{i.name} ({i.family})" for i in contract.inputs),
                expected="one that knows both sensors",
                hint="name the folder of a pretraining run, or its encoder.safetensors",
            )
        name = folder.name if folder else Path(model).stem if Path(model).exists() else str(model)
        name = Path(model).parent.name if name == "encoder" else name
        taken = sum(s.name.rsplit(" #", 1)[0] == name for s in found)
        found.append(Subject(f"{name} #{taken + 1}" if taken else name, contract, package.module, encoder, folder))
    return found


def pooled_of(encoder: Encoder, sensor: Any, images: Tensor) -> Tensor:
    """Mean features [B, F] of normalised images [B, C, S, S] of a sensor."""
    return encoder.pooled(images, sensor)


@torch.no_grad()
def pooled(subject: Subject, pairs: Pairs) -> tuple[Floats, Floats]:
    """Mean features of every window [N, D] in both sensors."""
    return tuple(  # type: ignore[return-value]
        np.concatenate(
            [
                subject.encoder.pooled(subject.images(pairs, sensor, slice(i, i + BATCH)), sensor).numpy()  # type: ignore[arg-type]
                for i in range(0, len(pairs), BATCH)
            ]
        ).astype(np.float64)
        for sensor in SENSORS
    )


@torch.no_grad()
def dense(subject: Subject, pairs: Pairs) -> tuple[Floats, Floats, int]:
    """Features of every patch [N, D, h, w] in both sensors, and the stride that they have."""
    stride = subject.encoder.strides[0]
    if pairs.sar.shape[-1] % stride:
        raise InputError(
            f"the windows do not divide into patches of {stride} pixels",
            found=f"{pairs.sar.shape[-1]} pixels",
            expected=f"a multiple of {stride}",
            option="window",
        )
    maps = [
        np.concatenate(
            [
                subject.encoder.dense(subject.images(pairs, sensor, slice(i, i + BATCH)), sensor, stride).numpy()  # type: ignore[arg-type]
                for i in range(0, len(pairs), BATCH)
            ]
        ).astype(np.float64)
        for sensor in SENSORS
    ]
    return maps[0], maps[1], stride


# ---------------------------------------------------------------- analyses


def analyse_ssim_gsd(pairs: Pairs, levels: int = 6) -> Finding:
    """SSIM of optical grey and SAR at ever coarser pixels (CoDe-MAE, Fig. 1). No model."""
    by_factor: dict[int, list[float]] = {}
    for number in range(len(pairs)):
        for factor, value in ssim_gsd.ssim_by_resolution(*pairs.grey(number), levels):
            by_factor.setdefault(factor, []).append(value)
    rows = [
        (pairs.gsd * factor, factor, float(np.mean(v)), float(np.std(v)), len(v)) for factor, v in by_factor.items()
    ]

    def draw(figure: Any) -> None:
        axis = figure.subplots()
        gsd, mean, std = (np.array([row[i] for row in rows]) for i in (0, 2, 3))
        axis.plot(gsd, mean, marker="o")
        axis.fill_between(gsd, mean - std, mean + std, alpha=0.2)
        axis.set_xscale("log", base=2)
        axis.set_xticks(gsd, [f"{g:.3g}" for g in gsd])
        axis.minorticks_off()
        axis.set_xlabel("size of a pixel, in units of the scenes' coordinate system")
        axis.set_ylabel("SSIM of optical (grey) and SAR")
        axis.set_title(f"{rows[0][4]} windows; band: deviation over windows", fontsize=9)
        axis.grid(alpha=0.3)

    summary = {f"ssim at {g:.3g}": m for g, _, m, *_ in rows}
    return Finding(
        "ssim-gsd", ("gsd", "factor", "ssim", "deviation", "windows"), rows, {"pairs": summary}, draw, (6, 4)
    )


def analyse_spectrum(subjects: Sequence[Subject], pairs: Pairs) -> Finding:
    """Singular values and effective rank of window features (CoDe-MAE, Fig. 2d)."""
    rows: list[Sequence[Any]] = []
    summary: dict[str, Any] = {}
    curves: list[tuple[str, str, Floats, float]] = []
    for subject in subjects:
        for sensor, features in zip(SENSORS, pooled(subject, pairs), strict=True):
            for form, prepared in (("centred", features), ("standardised", alignment.standardised(features))):
                values = spectrum.singular_values(prepared)
                rank = spectrum.effective_rank(values)
                share = values / values.max()
                rows += [(subject.name, sensor, form, i + 1, v, s, rank) for i, (v, s) in enumerate(zip(values, share))]  # noqa: B905
                summary.setdefault(subject.name, {})[f"effective rank, {sensor}, {form}"] = rank
                if form == "centred":
                    curves.append((subject.name, sensor, share, rank))
    if len(pairs) < 4 * max(len(c[2]) for c in curves):
        summary["note"] = "fewer than four windows a dimension: the spectrum is not stable, draw more"

    def draw(figure: Any) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        for axis, sensor in zip(axes, SENSORS, strict=True):
            for name, _, share, rank in (c for c in curves if c[1] == sensor):
                axis.semilogy(np.arange(1, len(share) + 1), np.maximum(share, 1e-8), label=f"{name}: {rank:.1f}")
            axis.set_title({"optical": "optical", "sar": "SAR"}[sensor], fontsize=10)
            axis.set_xlabel("dimension")
            axis.set_ylim(1e-5, 1.5)
            axis.legend(title="effective rank", fontsize=8, title_fontsize=8)
            axis.grid(alpha=0.3)
        axes[0].set_ylabel("singular value over the largest")

    columns = ("model", "sensor", "form", "dimension", "singular_value", "share_of_largest", "effective_rank")
    return Finding("spectrum", columns, rows, summary, draw)


def analyse_projection(subjects: Sequence[Subject], pairs: Pairs, seed: int = 0) -> Finding:
    """UMAP of both sensors' features with a line for each pair, and how parallel the lines are (CoDe-MAE, Fig. 4a).

    The lines are measured in the space of the features, not in the drawing.

    Raises:
        InputError: umap-learn is missing.
    """
    try:
        import umap
    except ModuleNotFoundError as error:
        raise InputError(
            "a projection needs umap-learn", found=str(error), hint="pip install 'codemae-geo[analyze]'"
        ) from error
    rows: list[Sequence[Any]] = []
    summary: dict[str, Any] = {}
    drawn: list[tuple[str, Floats, Floats, float]] = []
    for subject in subjects:
        features = pooled(subject, pairs)
        told = {"parallelism, raw": alignment.parallelism(*features)}
        both = np.concatenate(features)
        scaled = alignment.standardised(both)  # by the features of both, so that the line between the sensors stays
        told["parallelism, standardised"] = alignment.parallelism(scaled[: len(pairs)], scaled[len(pairs) :])
        summary[subject.name] = told
        neighbours = min(15, 2 * len(pairs) - 1)
        flat = umap.UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1, metric="cosine").fit_transform(both)
        first, second = flat[: len(pairs)], flat[len(pairs) :]
        for sensor, places in zip(SENSORS, (first, second), strict=True):
            rows += [(subject.name, i, sensor, float(x), float(y)) for i, (x, y) in enumerate(places)]
        drawn.append((subject.name, first, second, told["parallelism, raw"]))

    def draw(figure: Any) -> None:
        axes = np.atleast_1d(figure.subplots(1, len(drawn)))
        for axis, (name, first, second, value) in zip(axes, drawn, strict=True):
            for a, b in zip(first[:150], second[:150], strict=True):
                axis.plot(*zip(a, b, strict=True), color="0.7", linewidth=0.4, zorder=1)
            axis.scatter(*first.T, s=6, label="optical", zorder=2)
            axis.scatter(*second.T, s=6, label="SAR", zorder=2)
            axis.set_title(f"{name}\nparallelism {value:.2f}", fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0].legend(fontsize=8)

    size = (3.6 * len(subjects), 3.8)
    return Finding("projection", ("model", "pair", "sensor", "x", "y"), rows, summary, draw, size)


def analyse_alignment(subjects: Sequence[Subject], pairs: Pairs) -> Finding:
    """Cosine of patches against their SSIM with quartiles (CoDe-MAE, Fig. 4c); retrieval, alignment, uniformity and
    DeCUR's histogram of dimensions. All by raw and by standardised features.
    """
    rows: list[Sequence[Any]] = []
    summary: dict[str, Any] = {}
    drawn: list[tuple[str, Floats, Floats, Floats]] = []
    for subject in subjects:
        first, second, stride = dense(subject, pairs)
        greys = [pairs.grey(i) for i in range(len(pairs))]
        similarity = np.stack([ssim_gsd.patch_ssim(a, b, stride) for a, b in greys]).ravel()
        # [N, D, h, w] -> [N h w, D]
        tokens = [np.moveaxis(x, 1, -1).reshape(-1, x.shape[1]) for x in (first, second)]
        windows = pooled(subject, pairs)
        histogram = decoupling.dimension_alignment(*(torch.from_numpy(x) for x in windows)).numpy()
        told: dict[str, Any] = {}
        for form, (a, b), (u, v) in (
            ("raw", tokens, windows),
            ("standardised", [alignment.standardised(x) for x in tokens], [alignment.standardised(x) for x in windows]),
        ):
            cosines = alignment.cosine(a, b)
            found = alignment.agreement(cosines, similarity)
            told[form] = {
                "cosine of pairs": float(cosines.mean()),
                "pearson": found.pearson,
                "spearman": found.spearman,
                **{f"cosine, SSIM quarter {q}": value for q, value in enumerate(found.by_quartile, 1)},
                "retrieval top-1, optical to SAR": alignment.retrieval_top1(u, v),
                "retrieval top-1, SAR to optical": alignment.retrieval_top1(v, u),
                "retrieval top-1 by places, optical to SAR": alignment.retrieval_top1(
                    *(x.reshape(len(pairs), -1) for x in (alignment.unit(a), alignment.unit(b)))
                ),
                "alignment": alignment.alignment(u, v),
                "uniformity, optical": alignment.uniformity(u),
                "uniformity, sar": alignment.uniformity(v),
            }
            rows += [(subject.name, form, key, value) for key, value in told[form].items()]
            if form == "standardised":
                drawn.append((subject.name, similarity, cosines, histogram))
        counts, share, outside = decoupling.alignment_histogram(torch.from_numpy(histogram))
        rows += [(subject.name, "dimensions", f"(1 - C)^2 in {i / 10:.1f}..{(i + 1) / 10:.1f}", int(c))
                 for i, c in enumerate(counts)]  # fmt: skip
        rows.append((subject.name, "dimensions", "(1 - C)^2 above 1", outside))
        summary[subject.name] = told | {"dimensions aligned below 0.5": float(share[:5].sum() / 100)}

    def draw(figure: Any) -> None:
        axes = np.atleast_2d(figure.subplots(len(drawn), 2, squeeze=False))
        for (scatter, bars), (name, x, y, histogram) in zip(axes, drawn, strict=True):
            scatter.hexbin(x, y, gridsize=40, cmap="Greys", bins="log", mincnt=1)
            quarters = np.quantile(x, [0, 0.25, 0.5, 0.75, 1])
            told = summary[name]["standardised"]
            for q in range(4):
                value = told[f"cosine, SSIM quarter {q + 1}"]
                scatter.plot(quarters[q : q + 2], [value, value], color="C1", linewidth=2)
            scatter.set_xlabel("SSIM of the patch")
            scatter.set_ylabel("cosine, standardised")
            top = told["retrieval top-1, optical to SAR"]
            raw = summary[name]["raw"]["retrieval top-1, optical to SAR"]
            scatter.set_title(
                f"{name}: r = {told['pearson']:.2f}, top-1 {raw:.1%} raw, {top:.1%} standardised", fontsize=9
            )
            bars.hist(np.clip(histogram, 0, 1.4), bins=np.linspace(0, 1.4, 15))
            bars.set_xlabel("(1 - C)² of a dimension: 0 shared, 1 unrelated")
            bars.set_ylabel("dimensions")

    return Finding(
        "alignment", ("model", "form", "figure", "value"), rows, summary, draw, (9, 3.2 * max(len(subjects), 1))
    )


def analyse_saliency(subjects: Sequence[Subject], pairs: Pairs) -> Finding:
    """Where in a window and in which band its features come from, and how far two sensors agree in it (DeCUR)."""
    rows: list[Sequence[Any]] = []
    summary: dict[str, Any] = {}
    shown: list[tuple[str, list[Floats]]] = []
    for subject in subjects:
        maps: dict[str, list[Tensor]] = {s: [] for s in SENSORS}
        shares: dict[str, list[Tensor]] = {s: [] for s in SENSORS}
        for start in range(0, len(pairs), BATCH):
            for sensor in SENSORS:
                images = subject.images(pairs, sensor, slice(start, start + BATCH))
                gradient = spatial_saliency(partial(pooled_of, subject.encoder, sensor), images)
                maps[sensor].append(gradient.abs().sum(1, keepdim=True))
                shares[sensor].append(band_shares(gradient, images))
        both = [torch.cat(maps[s]) for s in SENSORS]
        overlap = decoupling.saliency_overlap(both[0], both[1], size=pairs.sar.shape[-1]).numpy()
        other = decoupling.saliency_overlap(both[0], both[1].roll(1, 0), size=pairs.sar.shape[-1]).numpy()
        told: dict[str, Any] = {
            "overlap of pairs": float(overlap.mean()),
            "overlap of other pairs": float(other.mean()),
        }
        rows += [(subject.name, "overlap", i, float(v)) for i, v in enumerate(overlap)]
        share = torch.cat(shares["optical"]).mean(0)  # of a SAR image there is one band
        for band, value in zip(subject.spec("optical").bands, share.tolist(), strict=False):
            told[f"share of {band}"] = value
            rows.append((subject.name, "band", band, value))
        summary[subject.name] = told
        shown.append((subject.name, [torch.log10(m[:SHOWN, 0] + 1e-20).numpy() for m in both]))

    def draw(figure: Any) -> None:
        count = min(SHOWN, len(pairs))
        axes = figure.subplots(2 + 2 * len(shown), count, squeeze=False)
        for i in range(count):
            axes[0, i].imshow(stretched(pairs.optical[i]))
            axes[1, i].imshow(pairs.sar[i], cmap="gray")
            for m, (_, (a, b)) in enumerate(shown):
                for row, image in ((2 + 2 * m, a[i]), (3 + 2 * m, b[i])):
                    axes[row, i].imshow(image, cmap="magma", vmin=np.quantile(image, 0.05), vmax=image.max())
        names = ["optical", "SAR", *(f"{name}\n{s}" for name, _ in shown for s in ("optical", "SAR"))]
        for row, name in zip(axes, names, strict=True):
            row[0].set_ylabel(name, fontsize=8)
            for axis in row:
                axis.set_xticks([])
                axis.set_yticks([])

    return Finding(
        "saliency", ("model", "kind", "of", "value"), rows, summary, draw, (1.9 * SHOWN, 1.8 * (2 + 2 * len(subjects)))
    )


def analyse_reconstruct(
    subjects: Sequence[Subject], pairs: Pairs, box: tuple[int, int, int, int] | None = None
) -> Finding:
    """Own and cross-modal reconstruction with a box of every window masked (CoDe-MAE, Fig. 4b).

    Args:
        box: left, top, right, bottom in pixels of the window; every patch that it touches is removed. None: the middle.

    Raises:
        ModelError: a model without its decoders.
        InputError: the box masks nothing or everything.
    """
    side = pairs.sar.shape[-1]
    box = box or (side // 4, side // 4, 3 * side // 4, 3 * side // 4)
    rows: list[Sequence[Any]] = []
    summary: dict[str, Any] = {}
    drawn: list[tuple[str, dict[str, Tensor]]] = []
    for subject in subjects:
        model = load_decoders(subject)
        grid = int(model.absolute_pos_embed.shape[1] ** 0.5)
        size = grid * 16
        removed = box_patches(box, side, grid)
        images = [
            nn.functional.interpolate(subject.images(pairs, s, slice(0, BATCH)), (size, size), mode="bilinear")
            for s in SENSORS
        ]
        with torch.no_grad():
            own, cross, _ = model.reconstruct(images[0], images[1], masking=masking_of(removed, len(images[0])))
        targets = {"optical": images[0], "sar": images[1]}
        answers = {"optical from optical": own.chunk(2)[0], "sar from sar": own.chunk(2)[1]}
        wanted = {"optical from optical": targets["optical"], "sar from sar": targets["sar"]}
        if cross is not None:
            radar, optical = cross.chunk(2)
            grey = cross_targets(model.cross_target, images[0], images[1])
            answers |= {"sar from optical": radar, "optical from sar": optical}
            wanted |= {"sar from optical": grey[1], "optical from sar": grey[0]}
        pictures: dict[str, Tensor] = {}
        told: dict[str, Any] = {}
        for way, answer in answers.items():
            truth = patchify(wanted[way])
            if model.norm_pix_loss:  # the patch gets its own mean and deviation back: what is seen is the structure
                error = (answer - normalise_patches(truth)) ** 2
                answer = answer * truth.std(-1, keepdim=True) + truth.mean(-1, keepdim=True)
            else:
                error = (answer - truth) ** 2
            told[way] = float(error[:, removed].mean())
            rows += [(subject.name, way, i, float(e)) for i, e in enumerate(error[:, removed].mean((1, 2)))]
            filled = torch.where(removed[None, :, None], answer, truth)
            pictures[way] = unpatchify(filled, (grid, grid))
        summary[subject.name] = told
        drawn.append((subject.name, pictures))

    def draw(figure: Any) -> None:
        ways = max((list(p) for _, p in drawn), key=len)
        count = min(SHOWN, len(pairs))
        axes = figure.subplots(2 + sum(len(p) for _, p in drawn), count, squeeze=False)
        names = ["optical", "SAR"]
        for i in range(count):
            axes[0, i].imshow(stretched(pairs.optical[i]))
            axes[1, i].imshow(pairs.sar[i], cmap="gray")
        row = 2
        for name, pictures in drawn:
            for way in ways:
                if way not in pictures:
                    continue
                for i in range(count):
                    axes[row, i].imshow(stretched(pictures[way][i].numpy()), cmap="gray")
                    scale = pictures[way].shape[-1] / side
                    left, top, right, bottom = (v * scale - 0.5 for v in box)
                    axes[row, i].plot(
                        [left, right, right, left, left], [top, top, bottom, bottom, top], "C1", linewidth=1
                    )
                names.append(f"{name}\n{way.replace('sar', 'SAR')}")
                row += 1
        for line, text in zip(axes, names, strict=True):
            line[0].set_ylabel(text, fontsize=7)
            for axis in line:
                axis.set_xticks([])
                axis.set_yticks([])

    count = 2 + sum(len(p) for _, p in drawn)
    return Finding("reconstruct", ("model", "way", "pair", "error"), rows, summary, draw, (1.9 * SHOWN, 1.8 * count))


def box_patches(box: tuple[int, int, int, int], side: int, grid: int) -> Tensor:
    """Which of ``grid`` x ``grid`` patches of a window of ``side`` pixels a box touches: bool [grid * grid].

    Raises:
        InputError: none, or all.
    """
    left, top, right, bottom = box
    edges = np.arange(grid + 1) * side / grid
    columns = (edges[1:] > left) & (edges[:-1] < right)
    rows = (edges[1:] > top) & (edges[:-1] < bottom)
    touched = torch.from_numpy((rows[:, None] & columns[None]).ravel())
    if not left < right or not top < bottom or not touched.any() or touched.all():
        raise InputError(
            "the box cannot be masked",
            found=f"{left}, {top}, {right}, {bottom}",
            expected=f"left, top, right, bottom in 0 to {side} pixels, and some of the window outside",
            option="box",
        )
    return touched


def load_decoders(subject: Subject) -> CoDeMAE:
    """The whole pretraining model of a run, decoders included.

    Raises:
        ModelError: it is not the folder of a CoDe-MAE run with its checkpoint.
    """
    from codemae_train.checkpoint import load_weights, read_checkpoint
    from codemae_train.config import Recipe, make_recipe, read_recipe

    needs = [] if subject.run is None else [subject.run / "recipe.yaml", subject.run / "checkpoint.pt"]
    if not needs or not all(path.is_file() for path in needs):
        raise ModelError(
            f"{subject.name} has no decoder to reconstruct with",
            expected="the folder of a CoDe-MAE run, with recipe.yaml and checkpoint.pt",
        )
    content = read_recipe(needs[0])
    if content.get("method", "codemae") != "codemae":
        raise ModelError(f"{subject.name} has no decoder of both sensors", found=f"method {content['method']}")
    recipe = make_recipe(Recipe, content)
    state: Mapping[str, Any] = read_checkpoint(needs[1])["model"]
    dim = state["lm_head.weight"].shape[0] if "lm_head.weight" in state else 1024
    model = build("codemae", recipe.model.build_args(dim))
    assert isinstance(model, CoDeMAE)
    load_weights(model, dict(state), needs[1])
    return model.eval()


def stretched(image: Any) -> Any:
    """[3, H, W] from its 2nd to its 98th percentile, [H, W, 3] in 0..1; one band stays one: [H, W]."""
    pixels = np.asarray(image, np.float64)
    low, high = np.quantile(pixels, (0.02, 0.98))
    pixels = np.clip((pixels - low) / max(high - low, 1e-9), 0, 1)
    return np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels[0]


# ---------------------------------------------------------------- the command


@dataclass(frozen=True)
class Request:
    """What is to be analysed: two folders of scenes, and how much of them."""

    optical: Path
    sar: Path
    window: int = 96
    count: int = 512
    seed: int = 0
    holdout: float | None = None
    optical_stretch: tuple[float, float] | None = None
    sar_stretch: tuple[float, float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def data(self) -> DataConfig:
        """As the recipes say it."""
        return DataConfig(
            kind="scenes", optical=self.optical, sar=self.sar, window=self.window, places=self.count,
            holdout=self.holdout, optical_stretch=self.optical_stretch, sar_stretch=self.sar_stretch,
        )  # fmt: skip


ANALYSES: dict[str, Callable[..., Finding]] = {
    "ssim-gsd": analyse_ssim_gsd,
    "spectrum": analyse_spectrum,
    "projection": analyse_projection,
    "reconstruct": analyse_reconstruct,
    "alignment": analyse_alignment,
    "saliency": analyse_saliency,
}


def analyse(
    name: str,
    models: Sequence[str | Path],
    request: Request,
    out: Path,
    *,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Run one analysis and write ``NAME.csv``, ``NAME.png`` and ``NAME.svg`` into a folder.

    Args:
        name: of :data:`ANALYSES`.
        models: packages or run folders; none for "ssim-gsd".
        request: the scenes.
        out: folder to create, or to add to.
        overwrite: replace files of the same name.
        reporter: told stages.

    Returns:
        the files, the summary, and the number of windows.

    Raises:
        InputError: scenes that cannot be used, or matplotlib or umap-learn is missing.
        ModelError: see :func:`open_subjects`.
        OutputError: the files exist.
    """
    reporter = reporter or Reporter()
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise InputError(
            "figures need matplotlib", found=str(error), hint="pip install 'codemae-geo[analyze]'"
        ) from error
    with FolderStaging(out, overwrite=overwrite) as staging:
        with reporter.stage("models"):
            subjects = open_subjects(models)
        with reporter.stage("windows"):
            pairs = sample_pairs(request.data(), request.count, request.seed)
        with reporter.stage(name):
            given = (pairs,) if name == "ssim-gsd" else (subjects, pairs)
            finding = ANALYSES[name](*given, **request.options)
            with (staging.folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(finding.columns)
                writer.writerows(finding.rows)
            figure = Figure(figsize=finding.size, layout="constrained")
            finding.draw(figure)
            for ending in ("png", "svg"):
                figure.savefig(staging.folder / f"{name}.{ending}", dpi=130)
        staging.publish_all(stale=())
    files = {ending: str(out / f"{name}.{ending}") for ending in ("csv", "png", "svg")}
    return {"analysis": name, "windows": len(pairs), "files": files, "summary": finding.summary}
