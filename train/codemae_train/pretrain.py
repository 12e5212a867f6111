"""CoDe-MAE pretraining. Read top to bottom: run, loop, step, data, checkpoint, logs, export.

All randomness of the data (order, places, crops, masks) is a function of seed, epoch and batch number, drawn for the
global batch; so a resumed run continues its loss curve, and several processes see what one would.
"""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from codemae_datasets.pairs import PairSource, Statistics, collate, measure, raise_error
from codemae_datasets.samplers import PairBatchSampler, seeded
from codemae_datasets.transforms import PairTransform, Views
from codemae_train import checkpoint as ckpt
from codemae_train.config import DataConfig, Recipe, TrainConfig, recipe_text
from lightning.fabric import Fabric
from lightning.fabric.accelerators import CPUAccelerator
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.data import DataLoader

from codemae_geo import __version__
from codemae_geo.errors import CodemaeError, InputError, OutputError
from codemae_geo.models import build
from codemae_geo.models.codemae import CoDeMAE, Losses, imagenet_state
from codemae_geo.models.precision import has_bf16
from codemae_geo.models.teacher import LICENCE, Teacher, load_teacher, small_teacher
from codemae_geo.progress import Reporter
from codemae_geo.weights.convert import read_checkpoint
from codemae_geo.weights.package import ArchitectureSpec, DataSource, InputSpec, Metric, ModelContract, save_package

#: keys of the recipe that say which images are in which batch
DEALS = {"train.batch", "train.accumulate", "train.seed", "data.kind", "data.window", "data.places", "data.holdout"} | {
    f"data.{key}" for key in ("use", "exclude", "exclude_test")
}
#: columns of log.csv
COLUMNS = ("step", "epoch", "lr", *Losses._fields, "pairs_per_s")


@dataclass
class Run:
    """Everything a run works with."""

    recipe: Recipe
    fabric: Fabric
    folder: Path
    reporter: Reporter
    model: Any  # CoDeMAE, wrapped by Fabric
    bare: CoDeMAE
    teacher: Teacher | None
    optimizer: Any
    transform: PairTransform
    source: PairSource
    sampler: PairBatchSampler
    validation: list[list[Any]]
    validated_on: str  #: what the batches of ``validation`` are of
    statistics: Statistics
    epoch: int = 0
    batch_in_epoch: int = 0  #: batches of the epoch done, accumulated ones counted
    step: int = 0  #: optimizer steps done
    unreadable: set[str] = field(default_factory=set)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return len(self.sampler) // self.recipe.train.accumulate

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run: those before this epoch, and the rest as the recipe has them now."""
        train = self.recipe.train
        before = self.step - self.batch_in_epoch // train.accumulate
        total = before + (train.epochs - self.epoch) * self.steps_per_epoch
        return min(total, train.max_steps) if train.max_steps else total

    @property
    def ended(self) -> bool:
        """Whether ``max_steps`` are done."""
        return 0 < self.recipe.train.max_steps <= self.step


# ---------------------------------------------------------------- run


def pretrain(
    recipe: Recipe,
    folder: Path,
    resume: bool = False,
    dry_run: bool = False,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Run a recipe.

    Args:
        folder: the run's directory; gets ``recipe.yaml``, ``run.json``, ``log.csv``, ``tensorboard/``,
            ``checkpoint.pt``, and at the end ``encoder.safetensors``, a model package.
        resume: go on from ``checkpoint.pt``.
        dry_run: prepare everything, do the two first validation batches, write nothing.
        overwrite: start again in a directory that holds a run.

    Returns:
        what was done: steps, last losses, pairs per second, files.

    Raises:
        CodemaeError: see the classes of :mod:`codemae_geo.errors`; a loss that is not finite is one.
    """
    reporter = reporter or Reporter()
    saved = folder / "checkpoint.pt"
    if not dry_run and not resume and not overwrite and (saved.exists() or (folder / "log.csv").exists()):
        raise OutputError(
            f"{folder} holds a run", hint="add --resume to go on, --overwrite to start again, or another -o"
        )
    fabric = make_fabric(recipe.train)
    with reporter.stage("preparing"):
        run = prepare(recipe, folder, fabric, reporter)
        changes = restore(run, saved) if resume else []
    summary = describe(run)
    with reporter.stage("checking two validation batches"):
        first = validate(run, batches=2)
        reporter.log(f"{summary['pairs']} pairs of images an epoch in {run.steps_per_epoch} steps; {_text(first)}")
    if dry_run:
        return summary | {"validation": first}
    if fabric.is_global_zero:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {folder}: {error}") from error
        if resume:
            again = {"step": run.step, "changes": changes, "command": sys.argv}
            summary["resumed"] = [*_resumed(folder / "run.json"), again]
        else:
            for stale in (saved, folder / "encoder.safetensors", *folder.glob("not_finite_step*.pt")):
                stale.unlink(missing_ok=True)
        _write(folder / "recipe.yaml", recipe_text(recipe))
        _write(folder / "run.json", json.dumps(summary, indent=1, default=str))
    with reporter.stage("pretraining", total=run.total_steps):
        result = fit(run)
    if fabric.is_global_zero:
        result["encoder"] = str(export(run, folder / "encoder.safetensors", result["validation"]))
    return summary | result


def launched_world() -> tuple[int, int] | None:
    """Processes per node, and nodes, that torchrun or srun has started; None without them."""
    if TorchElasticEnvironment.detect():
        world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        return local, world // local
    tasks, nodes = (int(os.environ.get(f"SLURM_STEP_NUM_{what}", 1)) for what in ("TASKS", "NODES"))
    return (tasks // nodes, nodes) if tasks > 1 and SLURMEnvironment.detect() else None


def make_fabric(train: TrainConfig) -> Fabric:
    """Device, precision and processes. Under torchrun or Slurm theirs count, else the recipe's are started.

    Raises:
        InputError: this machine has no such device, or not so many, or cannot compute so.
    """
    launched = launched_world()
    devices, nodes = launched or (train.devices, train.nodes)
    try:
        fabric = Fabric(
            accelerator=train.accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=train.precision,
            strategy="ddp" if devices * nodes > 1 else "auto",
        )
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise InputError(
            "the devices of the recipe cannot be had",
            found=" ".join(str(error).split()),
            expected=f"train.accelerator={train.accelerator}, {devices} per node on {nodes} nodes",
            hint="set train.accelerator and train.devices to what this machine has",
        ) from error
    if train.precision == "16-mixed" and isinstance(fabric.accelerator, CPUAccelerator):
        raise InputError("a CPU does not train in float16", hint="set train.precision=bf16-mixed or 32-true")
    if not launched and devices > 1 and train.accelerator == "auto" and isinstance(fabric.accelerator, CPUAccelerator):
        raise InputError(
            f"the recipe is for {devices} GPUs",
            found="no GPU",
            expected=f"{devices} GPUs, or a choice",
            hint="set train.devices=1 for this machine, or train.accelerator=cpu to start all processes on its CPU",
        )
    fabric.launch()
    return fabric


def prepare(
    recipe: Recipe,
    folder: Path,
    fabric: Fabric,
    reporter: Reporter,
    data: tuple[PairSource, list[Any]] | None = None,
) -> Run:
    """Data, model, teacher and optimizer of a run, on their device.

    Args:
        data: source and held-out items; None opens those of the recipe.
    """
    train = recipe.train
    if train.batch % train.accumulate:
        raise InputError(
            "train.batch does not divide by train.accumulate", found=f"{train.batch} and {train.accumulate}"
        )
    torch.manual_seed(train.seed)
    source, held_out = data or open_source(recipe.data)
    sampler = PairBatchSampler(
        source, train.batch // train.accumulate, train.seed, fabric.global_rank, fabric.world_size, train.accumulate
    )
    statistics = source_statistics(recipe.data, source, sampler)
    transform = PairTransform(statistics, recipe.model.img_size, augment=train.augment).to(fabric.device)
    teacher = open_teacher(recipe) if recipe.model.distill else None
    bare = build("codemae", recipe.model.build_args(teacher.dim if teacher else 1024))
    assert isinstance(bare, CoDeMAE)
    if recipe.model.init:
        initialise(bare, recipe.model.init)
    # as published: biases and norms do not decay, everything else does, position tables included
    decayed = [p for p in bare.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in bare.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": train.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    fused = fabric.device.type in ("cpu", "cuda")  # one kernel for all parameters; float16 scaling and clipping agree
    optimizer = torch.optim.AdamW(groups, lr=peak_rate(train), betas=train.betas, fused=fused)
    module: nn.Module = torch.compile(bare) if train.compile else bare  # type: ignore[assignment]
    model, wrapped = fabric.setup(module, optimizer)
    if teacher is not None:
        teacher = teacher.to(fabric.device)
        if train.teacher_precision == "bf16" or (
            train.teacher_precision == "auto" and train.precision == "32-true" and has_bf16(fabric.device)
        ):
            teacher.to_bf16()
    validation = validation_batches(recipe, source, held_out, sampler)
    return Run(
        recipe,
        fabric,
        folder,
        reporter,
        model,
        bare,
        teacher,
        wrapped,
        transform,
        source,
        sampler,
        validation,
        "held-out area" if held_out else "images of the training set",
        statistics,
    )


def initialise(model: CoDeMAE, path: Path) -> None:
    """Load starting weights: a pretraining checkpoint of the same form, or iTPN's ImageNet weights.

    Raises:
        ModelError: the file cannot be read, or differs (first keys named).
    """
    state = read_checkpoint(path)
    if any(name.startswith("patch_embed.") for name in state):
        model.load_state_dict(imagenet_state(state, model), strict=False)
    else:
        ckpt.load_weights(model, state, path)


def open_teacher(recipe: Recipe) -> Teacher:
    """The recipe's teacher, frozen."""
    return small_teacher() if recipe.model.teacher == "random-small" else load_teacher(recipe.model.teacher)


# ---------------------------------------------------------------- loop


def fit(run: Run) -> dict[str, Any]:
    """Train from where the run stands to its end."""
    train, log = run.recipe.train, Log(run)
    losses: dict[str, float] = {}
    validation = None
    began, done_before = time.perf_counter(), run.step
    for epoch in range(run.epoch, train.epochs):
        if run.ended:
            break
        run.epoch = epoch
        for batch, number in batches(run):
            if number % train.accumulate == 0:
                rate = set_rate(run, epoch + number / len(run.sampler))
            parts = train_step(run, batch, number)
            run.batch_in_epoch = number + 1
            if run.batch_in_epoch % train.accumulate:
                continue
            run.step += 1
            run.reporter.progress(run.step, run.total_steps)
            if run.step % train.log_every == 0 or run.step == run.total_steps:
                losses = log.step(rate, parts)
            if train.save_every and run.step % train.save_every == 0:
                save(run)
            if run.ended:
                break
        if run.batch_in_epoch == len(run.sampler):  # else the rest of the epoch waits for a longer run
            run.epoch, run.batch_in_epoch = epoch + 1, 0
        if (epoch + 1) % train.validate_every == 0 or epoch + 1 == train.epochs or run.ended:
            validation = validate(run, train.validate_batches)
            log.validation(validation)
        save(run)
    log.close()
    seconds = time.perf_counter() - began
    pairs = (run.step - done_before) * train.batch
    return {
        "steps": run.step,
        "losses": losses,
        "validation": validation or validate(run, train.validate_batches),
        "seconds": round(seconds, 1),
        "pairs_per_s": round(pairs / seconds, 2) if pairs else 0.0,
        "unreadable": sorted(run.unreadable),
    }


def batches(run: Run) -> Iterator[tuple[dict[str, Any], int]]:
    """Batches of the rest of the epoch on the device, with their numbers.

    Raises:
        InputError: a sample could not be made, or more files are unreadable than the recipe tolerates.
    """
    data = run.recipe.data
    run.sampler.epoch, run.sampler.start = run.epoch, run.batch_in_epoch
    loader: DataLoader[Any] = DataLoader(
        run.source,  # type: ignore[arg-type]
        batch_sampler=run.sampler,
        num_workers=data.workers,
        collate_fn=collate,
        pin_memory=run.fabric.device.type == "cuda",
        prefetch_factor=4 if data.workers else None,
    )
    for number, batch in enumerate(loader, start=run.batch_in_epoch):
        raise_error(batch)
        tolerate(run, batch.pop("unreadable"))
        yield to_device(batch, run.fabric.device), number


def tolerate(run: Run, unreadable: Iterable[str]) -> None:
    """Count files that were passed over.

    Raises:
        InputError: more than the recipe tolerates.
    """
    for text in sorted(set(unreadable) - run.unreadable):
        run.unreadable.add(text)
        run.reporter.warning("unreadable", text)
    most = run.recipe.data.skip_unreadable
    if len(run.unreadable) > most:
        raise InputError(
            "more files are unreadable than tolerated",
            found=f"{len(run.unreadable)}: {sorted(run.unreadable)[0]}",
            expected=f"at most {most}",
            hint="mend the files, or raise --skip-unreadable",
        )


def train_step(run: Run, batch: dict[str, Any], number: int) -> Losses:
    """Forward, backward, and with the last accumulated batch the optimizer's step.

    Raises:
        CodemaeError: the loss is not finite; the batch is saved in the run directory.
    """
    train = run.recipe.train
    last = (number + 1) % train.accumulate == 0
    views, noise = make_views(run, batch, seeded(train.seed, 1, run.epoch, number))
    with run.fabric.no_backward_sync(run.model, enabled=not last):
        losses = compute(run, run.model, views, noise, batch["paired"])
        if not torch.isfinite(losses.total):
            stop_not_finite(run, batch, noise, losses)
        run.fabric.backward(losses.total / train.accumulate)
    if last:
        if train.clip:
            run.fabric.clip_gradients(run.model, run.optimizer, max_norm=train.clip)
        run.optimizer.step()
        run.optimizer.zero_grad()
    return losses


def make_views(run: Run, batch: dict[str, Any], generator: torch.Generator) -> tuple[Views, Tensor]:
    """Augmented images and masking noise of this rank, drawn for the batches of all ranks."""
    rank, world = run.fabric.global_rank, run.fabric.world_size
    views = run.transform(batch, generator, rank, world)
    rows, patches = len(views.rgb), run.bare.absolute_pos_embed.shape[1]
    noise = torch.rand(rows * world, patches, generator=generator)
    own = noise[:1].expand(rows, -1) if run.recipe.train.masks == "batch" else noise[rank * rows : (rank + 1) * rows]
    return views, own.to(run.fabric.device)


def compute(run: Run, model: Any, views: Views, noise: Tensor, paired: bool) -> Losses:
    """Teacher and model on one batch."""
    tokens = None
    if run.teacher is not None:
        with run.fabric.autocast():
            tokens = run.teacher(views.rgb_01)
    return model(views.rgb, views.sar, paired, tokens, noise, views.rgb_01, views.sar_01)


def peak_rate(train: TrainConfig) -> float:
    """Learning rate after warm-up: the base rate x images per step / 256; both images of a pair count."""
    return train.base_lr * 2 * train.batch / 256


def rate_at(train: TrainConfig, epoch: float) -> float:
    """Linear warm-up, then half a cosine to ``min_lr``, per batch as published."""
    if epoch < train.warmup_epochs:
        return peak_rate(train) * epoch / train.warmup_epochs
    share = (epoch - train.warmup_epochs) / max(train.epochs - train.warmup_epochs, 1e-9)
    return train.min_lr + (peak_rate(train) - train.min_lr) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def set_rate(run: Run, epoch: float) -> float:
    """Give the optimizer the rate of this moment."""
    rate = rate_at(run.recipe.train, epoch)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    return rate


@torch.no_grad()
def validate(run: Run, batches: int) -> dict[str, float]:
    """Mean losses over fixed batches with fixed masks, whole images resized; the same on every process.

    ``cross`` and ``contrast`` are means over the paired batches alone, which have them.

    Raises:
        CodemaeError: a loss is not finite.
    """
    run.model.eval()
    sums: dict[str, float] = dict.fromkeys(Losses._fields, 0.0)
    counts: dict[str, int] = dict.fromkeys(Losses._fields, 0)
    gather, run.bare.gather = run.bare.gather, "none"  # the other processes hold the same rows
    for number, items in enumerate(run.validation[:batches]):
        samples = [run.source[item] for item in items]
        # what was put in the place of an unreadable image is not of the validation's choice
        rows = [row for row, sample in enumerate(samples) if not sample.get("unreadable")]
        if not rows:
            continue
        batch = collate([samples[row] for row in rows])
        raise_error(batch)
        batch = to_device(batch, run.fabric.device)
        generator = seeded(run.recipe.train.seed, 2, number)
        views = PairTransform.forward(run.transform, batch)  # no generator: nothing is drawn
        noise = torch.rand(len(items), run.bare.absolute_pos_embed.shape[1], generator=generator)[rows]
        with run.fabric.autocast():
            losses = compute(run, run.bare, views, noise.to(run.fabric.device), batch["paired"])
        if not torch.isfinite(losses.total):
            raise CodemaeError("a validation loss is not finite", found=_text(losses._asdict()))
        for name, value in losses._asdict().items():
            sums[name] += float(value)
            counts[name] += batch["paired"] or name not in ("cross", "contrast")
    run.bare.gather = gather
    run.model.train()
    return {name: round(value / max(counts[name], 1), 6) for name, value in sums.items()}


def stop_not_finite(run: Run, batch: dict[str, Any], noise: Tensor, losses: Losses) -> None:
    """Save the batch and stop.

    Raises:
        CodemaeError: always.
    """
    path = run.folder / f"not_finite_step{run.step}_rank{run.fabric.global_rank}.pt"
    run.folder.mkdir(parents=True, exist_ok=True)
    names = {
        "epoch": run.epoch,
        "batch": run.batch_in_epoch,
        "losses": {k: float(v.detach()) for k, v in losses._asdict().items()},
    }
    torch.save(
        {k: v.cpu() if isinstance(v, Tensor) else v for k, v in batch.items()} | {"noise": noise.cpu()} | names, path
    )
    raise CodemaeError(
        f"the loss of step {run.step + 1} is not finite",
        found=_text(losses._asdict()),
        hint=f"the batch is in {path}; --resume with a smaller train.base_lr, train.clip=1 or train.precision=32-true",
    )


# ---------------------------------------------------------------- data


def open_source(data: DataConfig) -> tuple[PairSource, list[Any]]:
    """The source of images and the items held out of training (none in the published layout).

    Raises:
        InputError: a folder is not given or cannot be used.
    """
    if data.kind != "scenes":
        from codemae_datasets.ospretrain import OSPretrain
        from codemae_datasets.packed import PackedPairs

        if data.root is None:
            raise InputError("the recipe names no data folder", hint="set data.root=FOLDER")
        source = OSPretrain if data.kind == "ospretrain" else PackedPairs
        return source(data.root, data.use, data.exclude, data.exclude_test, data.skip_unreadable), []
    from codemae_datasets.places import RandomPlaces
    from codemae_datasets.scenes import OpticalScenes, SARScenes

    if data.optical is None or data.sar is None:
        raise InputError("the recipe names no folders of scenes", hint="set data.optical=FOLDER data.sar=FOLDER")
    optical = OpticalScenes(data.optical, stretch=data.optical_stretch)
    pairs = optical & SARScenes(data.sar, stretch=data.sar_stretch, crs=optical.crs, res=optical.res)
    if data.holdout is None:
        return RandomPlaces(pairs, data.window, data.places, skip_unreadable=data.skip_unreadable), []
    area = data.holdout
    if isinstance(area, float | int):
        x, y = pairs.bounds[:2]
        area = (x.stop - float(area) * (x.stop - x.start), y.start, x.stop, y.stop)
    held_out = RandomPlaces(pairs, data.window, 1, inside=area).grid_items()
    training = RandomPlaces(pairs, data.window, data.places, holdout=[area], skip_unreadable=data.skip_unreadable)
    return training, held_out


def source_statistics(data: DataConfig, source: PairSource, sampler: PairBatchSampler) -> Statistics:
    """Published statistics, or those of some hundred images of the first epoch."""
    if data.kind != "scenes" and data.statistics == "published":
        return source.statistics()  # type: ignore[attr-defined]
    items = [item for batch in sampler.batches() for item in batch]
    return measure(source, items[:: max(1, len(items) // 256)], len(source.names))


def validation_batches(
    recipe: Recipe, source: PairSource, held_out: list[Any], sampler: PairBatchSampler
) -> list[list[Any]]:
    """Fixed batches: of the held-out items spread over their area, or the first ones of the first epoch."""
    count, size = recipe.train.validate_batches, recipe.train.batch // recipe.train.accumulate
    if not held_out:
        return [items[:64] for items in sampler.batches()[:count]]
    size = min(size, 64, len(held_out))
    order = torch.randperm(len(held_out), generator=seeded(recipe.train.seed, 3)).tolist()
    return [[held_out[i] for i in order[k : k + size]] for k in range(0, len(order) - size + 1, size)][:count]


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Tensors of a batch to the device; the copy of pinned memory does not wait."""
    return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}


# ---------------------------------------------------------------- checkpoint


def save(run: Run) -> None:
    """Write ``checkpoint.pt``: model, optimizer, scaler, place in the epoch, random states, recipe.

    Raises:
        InputError: all processes together passed over more files than tolerated.
        CodemaeError: a weight is not finite; the checkpoint before is left as it is.
        OutputError: it cannot be written; the checkpoint before is left as it is.
    """
    if run.fabric.world_size > 1:
        shares: list[Any] = [None] * run.fabric.world_size
        torch.distributed.all_gather_object(shares, sorted(run.unreadable))
        tolerate(run, [text for share in shares for text in share])
    if not all(bool(torch.isfinite(p).all()) for p in run.bare.parameters()):
        raise CodemaeError(
            f"the weights are not finite after step {run.step}",
            hint="--resume from the checkpoint before, with a smaller train.base_lr, train.clip=1 or another precision",
        )
    if run.fabric.is_global_zero:
        scaler = getattr(run.fabric._precision, "scaler", None)
        state = {
            "model": run.bare.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "epoch": run.epoch,
            "batch_in_epoch": run.batch_in_epoch,
            "batches": len(run.sampler),
            "step": run.step,
            "unreadable": sorted(run.unreadable),
            "random": ckpt.random_states(),
            "recipe": recipe_text(run.recipe),
            "version": __version__,
        }
        ckpt.save_checkpoint(run.folder / "checkpoint.pt", state)
    run.fabric.barrier()


def restore(run: Run, path: Path) -> list[str]:
    """Put a checkpoint back into a freshly prepared run.

    The recipe may have changed: its settings of the optimizer count, not the checkpoint's. Where it now deals an
    epoch out in another way, an epoch that was broken off begins again.

    Returns:
        what has changed, ``train.batch: 64, was 32``.

    Raises:
        ModelError: no checkpoint, or of another architecture (first differing keys named).
    """
    state = ckpt.read_checkpoint(path)
    ckpt.load_weights(run.bare, state["model"], path)
    settings = [{k: v for k, v in group.items() if k != "params"} for group in run.optimizer.param_groups]
    run.optimizer.load_state_dict(state["optimizer"])
    for group, own in zip(run.optimizer.param_groups, settings, strict=True):
        group.update(own)
    scaler = getattr(run.fabric._precision, "scaler", None)
    if scaler is not None and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    run.epoch, run.batch_in_epoch, run.step = state["epoch"], state["batch_in_epoch"], state["step"]
    run.unreadable = set(state["unreadable"])
    ckpt.restore_random_states(state["random"])

    now, then = flat(run.recipe.model_dump(mode="json")), flat(yaml.safe_load(state["recipe"]))
    changed = [key for key in now if now[key] != then.get(key)]
    changes = [f"{key}: {now[key]}, was {then.get(key)}" for key in changed]
    for text in changes:
        run.reporter.warning("changed", f"resumed with another {text}")
    dealt_apart = DEALS & set(changed) or state.get("batches", len(run.sampler)) != len(run.sampler)
    if dealt_apart and run.batch_in_epoch:
        run.batch_in_epoch = 0
        run.reporter.warning("changed", f"epoch {run.epoch + 1} begins again, since its batches are others now")
    return changes


def flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe by dotted key."""
    parts = {k: v for k, v in recipe.items() if isinstance(v, Mapping)}
    values = {k: v for k, v in recipe.items() if k not in parts}
    return values | {f"{part}.{key}": value for part, section in parts.items() for key, value in section.items()}


# ---------------------------------------------------------------- logs


class Log:
    """``log.csv`` (training), ``validation.csv`` and TensorBoard, by the first process; resumed at the run's step."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.told, self.told_step = time.perf_counter(), run.step
        self.board: Any = None
        if run.fabric.is_global_zero:
            from torch.utils.tensorboard import SummaryWriter

            for name in ("log.csv", "validation.csv"):
                _keep_rows(run.folder / name, run.step)
            self.board = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.step + 1)

    def step(self, rate: float, losses: Losses) -> dict[str, float]:
        """Log one optimizer step: losses of its last batch, averaged over processes."""
        run, train = self.run, self.run.recipe.train
        values = run.fabric.all_reduce(torch.stack([v.detach().float() for v in losses]), reduce_op="mean")
        named = dict(zip(Losses._fields, values.tolist(), strict=True))  # type: ignore[union-attr]
        now = time.perf_counter()
        speed = (run.step - self.told_step) * train.batch / max(now - self.told, 1e-9)
        self.told, self.told_step = now, run.step
        if self.board is not None:
            row = {"step": run.step, "epoch": run.epoch, "lr": rate, **named, "pairs_per_s": round(speed, 2)}
            _append(run.folder / "log.csv", row)
            for name, value in (named | {"lr": rate, "pairs_per_s": speed}).items():
                self.board.add_scalar(f"train/{name}", value, run.step)
            left = (run.total_steps - run.step) * train.batch / max(speed, 1e-9)
            run.reporter.log(
                f"epoch {run.epoch + 1}/{train.epochs} step {run.step}/{run.total_steps} {_text(named)} "
                f"{speed:.1f} pairs/s, {left / 60:.1f} min left"
            )
        return named

    def validation(self, losses: Mapping[str, float]) -> None:
        """Log a validation."""
        if self.board is not None:
            _append(self.run.folder / "validation.csv", {"step": self.run.step, "epoch": self.run.epoch, **losses})
            for name, value in losses.items():
                self.board.add_scalar(f"validation/{name}", value, self.run.step)
            self.run.reporter.log(f"validation after {self.run.step} steps: {_text(losses)}")

    def close(self) -> None:
        """Flush TensorBoard."""
        if self.board is not None:
            self.board.close()


def _append(path: Path, row: Mapping[str, Any]) -> None:
    new = not path.exists() or path.stat().st_size == 0
    try:
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error


def _keep_rows(path: Path, step: int) -> None:
    """Drop rows after ``step``, which a killed run wrote after its last checkpoint, and a row cut short."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        rows = [row for row in reader if len(row) == len(header) and int(row[0]) <= step]
    if not rows:
        path.unlink()
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error


def _resumed(path: Path) -> list[Any]:
    """What an earlier ``run.json`` says of resuming."""
    try:
        return list(json.loads(path.read_text(encoding="utf-8")).get("resumed", []))
    except (OSError, ValueError):
        return []


def _text(losses: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {float(torch.as_tensor(value).detach()):.4f}" for name, value in losses.items())


def describe(run: Run) -> dict[str, Any]:
    """What exactly is run, for ``run.json``."""
    train, device = run.recipe.train, run.fabric.device
    parameters = sum(p.numel() for p in run.bare.parameters())
    return {
        "name": run.recipe.name,
        "version": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": sys.argv,
        "device": str(device) if device.type != "cuda" else torch.cuda.get_device_name(device),
        "processes": run.fabric.world_size,
        "parameters": parameters,
        "teacher": None
        if run.teacher is None
        else {
            "name": run.recipe.model.teacher,
            "licence": LICENCE,
            "precision": "bf16" if run.teacher.bf16 else train.precision,
        },
        "datasets": list(run.source.names),
        "pairs": run.steps_per_epoch * train.batch,
        "steps": run.total_steps,
        "peak_lr": peak_rate(train),
        "batch": {
            "pairs": train.batch,
            "images": 2 * train.batch,
            "per_process": run.sampler.batch // run.fabric.world_size,
        },
        "statistics": run.statistics.as_dict(run.source.names),
        "recipe": run.recipe.model_dump(mode="json"),
    }


# ---------------------------------------------------------------- export


def export(run: Run, path: Path, validation: Mapping[str, float]) -> Path:
    """The encoder with both tokenizers and pyramid as a model package for embedding."""
    recipe, tables = run.recipe, run.statistics
    inputs = []
    for name, bands, table in (("optical", ["red", "green", "blue"], tables.rgb), ("sar", ["amplitude"], tables.sar)):
        mean, std = table.mean(dim=0).tolist()  # of all datasets alike
        family: Any = "optical" if name == "optical" else "sar"
        inputs.append(InputSpec(name=name, family=family, bands=bands, unit="uint8", scale=1 / 255, mean=mean, std=std))
    stretched = {"Optical": recipe.data.optical_stretch, "SAR": recipe.data.sar_stretch}
    limits = ["A backbone: it draws no map. Normalisation is the mean over its data sets."]
    limits += [f"{name} values {s[0]:g} to {s[1]:g} became 0 to 255 before." for name, s in stretched.items() if s]
    contract = ModelContract(
        name=recipe.name,
        description="Backbone pretrained on optical-SAR images with CoDe-MAE: one embedding per image.",
        task="embedding",
        architecture=ArchitectureSpec(name="encoder", config={"encoder": recipe.model.build_args(1024)["encoder"]}),
        inputs=inputs,
        overlap=0.5,
        temperature=1.0,
        window=recipe.model.img_size,
        licence="as its training data and, where one was used, its teacher require",
        training_data=[DataSource(name=name, licence="see the data set") for name in run.source.names],
        training=f"{run.step} steps of {recipe.train.batch} pairs; recipe.yaml and run.json beside this file say all.",
        metrics=[Metric(name=f"loss {k}", value=v, split=run.validated_on) for k, v in validation.items()],
        limits=" ".join(limits),
    )
    return save_package(path, run.bare.encoder_state(), contract, overwrite=True)
