"""The training loop that every method is handed to. Read top to bottom: run, loop, batches, step, checkpoint.

A run directory holds ``recipe.yaml``, ``run.json``, ``log.csv``, ``validation.csv``, ``tensorboard/``,
``checkpoint.pt``, ``best.pt`` where the method keeps its best weights, and at the end what the method exports.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]
from codemae_datasets.pairs import raise_error
from codemae_train import checkpoint as ckpt
from codemae_train.config import recipe_text
from codemae_train.devices import device_name, make_fabric, to_device
from codemae_train.log import Log, figures
from codemae_train.run import Method, Run
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from codemae_geo import __version__
from codemae_geo.errors import CodemaeError, InputError, ModelError, OutputError, param
from codemae_geo.outputs import claimed
from codemae_geo.progress import Reporter
from codemae_geo.texts import read_text

# ---------------------------------------------------------------- run


def train(
    method: Method,
    folder: Path,
    resume: bool = False,
    dry_run: bool = False,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Train a method from its recipe to its end.

    Args:
        folder: the run's directory, see the module.
        resume: go on from ``checkpoint.pt``.
        dry_run: prepare everything, validate on two batches, write nothing.
        overwrite: start again in a directory that holds a run.

    Returns:
        what was done: steps, last losses, speed, validation, files.

    Raises:
        CodemaeError: see the classes of :mod:`codemae_geo.errors`; a loss that is not finite is one.
    """
    reporter = reporter or Reporter()
    recipe, saved = method.recipe, folder / "checkpoint.pt"
    if not dry_run and not resume and not overwrite and (saved.exists() or (folder / "log.csv").exists()):
        raise OutputError(
            f"{folder} holds a run",
            hint=f"add {param('resume')} to go on, {param('overwrite')} to start again, or choose another folder",
        )
    fabric = make_fabric(recipe.train)
    parts = [f"{name}.part" for name in ("checkpoint.pt", "best.pt")]
    with claimed(folder, temporary=parts, when=fabric.is_global_zero and not dry_run):
        return _train(method, fabric, folder, resume, dry_run, reporter)


def _train(
    method: Method, fabric: Fabric, folder: Path, resume: bool, dry_run: bool, reporter: Reporter
) -> dict[str, Any]:
    recipe, saved = method.recipe, folder / "checkpoint.pt"
    with reporter.stage("preparing"):
        run = prepare(method, folder, fabric, reporter)
        changes = restore(run, saved) if resume else []
    summary = describe(run)
    with reporter.stage("checking two validation batches"):
        first = method.validate(run, 2)
        count = run.steps_per_epoch * recipe.train.batch
        reporter.log(f"{count} {method.unit} an epoch in {run.steps_per_epoch} steps; {figures(first)}")
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
            stale = [saved, folder / "best.pt", *(folder / name for name in method.exports)]
            for path in (*stale, *folder.glob("not_finite_step*.pt")):
                path.unlink(missing_ok=True)
        _write(folder / "recipe.yaml", recipe_text(recipe))
        _write(folder / "run.json", json.dumps(summary, indent=1, default=str))
    with reporter.stage(method.title, total=run.total_steps):
        result = fit(run)
    fabric.barrier()  # the best weights are written by the first process, and read by all
    if run.best and recipe.train.select == "best":
        ckpt.load_weights(run.bare, ckpt.read_checkpoint(folder / "best.pt")["model"], folder / "best.pt")
        result["validation"] = dict(run.best["validation"])
        result["selected"] = {"rule": "best validation", "step": run.best["step"]}
    if fabric.is_global_zero:
        result |= method.export(run, result["validation"])
    fabric.barrier()
    return summary | result


def prepare(method: Method, folder: Path, fabric: Fabric, reporter: Reporter) -> Run:
    """A run that stands at its beginning, its model on its device."""
    recipe = method.recipe.train
    if recipe.batch % recipe.accumulate:
        raise InputError(
            "train.batch does not divide by train.accumulate", found=f"{recipe.batch} and {recipe.accumulate}"
        )
    torch.manual_seed(recipe.seed)
    parts = method.build(fabric, reporter)
    module: nn.Module = torch.compile(parts.model) if recipe.compile else parts.model  # type: ignore[assignment]
    model, optimizer = fabric.setup(module, parts.optimizer)
    run = Run(
        method,
        fabric,
        folder,
        reporter,
        model,
        parts.model,
        optimizer,
        parts.source,
        parts.sampler,
        parts.collate,
    )
    method.ready(run)
    return run


def describe(run: Run) -> dict[str, Any]:
    """What exactly is run, for ``run.json``."""
    return {
        "name": run.recipe.name,
        "version": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": sys.argv,
        "device": device_name(run.fabric.device),
        "processes": run.fabric.world_size,
        "parameters": sum(p.numel() for p in run.bare.parameters()),
        "steps": run.total_steps,
        **run.method.describe(run),
        "recipe": run.recipe.model_dump(mode="json"),
    }


# ---------------------------------------------------------------- loop


def fit(run: Run) -> dict[str, Any]:
    """Train from where the run stands to its end."""
    train, method, log = run.recipe.train, run.method, Log(run)
    losses: dict[str, float] = {}
    validation: dict[str, float] | None = None
    began, done_before = time.perf_counter(), run.step
    for epoch in range(run.epoch, train.epochs):
        if run.ended:
            break
        run.epoch = epoch
        for batch, number in batches(run):
            if number % train.accumulate == 0:
                rate = method.rate(run, number)
            parts = train_step(run, batch, number)
            run.batch_in_epoch = number + 1
            if run.batch_in_epoch % train.accumulate:
                continue
            run.step += 1
            run.reporter.progress(run.step, run.total_steps)
            if run.step % train.log_every == 0 or run.step == run.total_steps:
                losses = log.step(rate, parts)
            if train.validate_steps and run.step % train.validate_steps == 0 and run.step < run.total_steps:
                validation = validate(run, log)
            if train.save_every and run.step % train.save_every == 0:
                save(run)
            if run.ended:
                break
        if run.batch_in_epoch == len(run.sampler):  # else the rest of the epoch waits for a longer run
            run.epoch, run.batch_in_epoch = epoch + 1, 0
        if (epoch + 1) % train.validate_every == 0 or epoch + 1 == train.epochs or run.ended:
            validation = validate(run, log)
        save(run)
    log.close()
    seconds = time.perf_counter() - began
    done = (run.step - done_before) * train.batch
    return {
        "steps": run.step,
        "losses": losses,
        "validation": method.validate(run, None) if validation is None else validation,
        "seconds": round(seconds, 1),
        f"{method.unit}_per_s": round(done / seconds, 2) if done else 0.0,
        "unreadable": sorted(run.unreadable),
    }


def validate(run: Run, log: Log) -> dict[str, float]:
    """Validate, log it, and keep the weights in ``best.pt`` if none were better."""
    validation = run.method.validate(run, None)
    log.validation(validation)
    score = run.method.score(validation)
    if score is not None and score > run.best.get("score", float("-inf")):
        run.best = {"step": run.step, "score": score, "validation": validation}
        if run.fabric.is_global_zero:
            ckpt.save_checkpoint(run.folder / "best.pt", {"model": run.bare.state_dict(), **run.best})
    return validation


# ---------------------------------------------------------------- batches


def batches(run: Run) -> Iterator[tuple[dict[str, Any], int]]:
    """Batches of the rest of the epoch on the device, with their numbers.

    Raises:
        InputError: a sample could not be made, or more files are unreadable than the recipe tolerates.
    """
    workers = run.recipe.data.workers
    run.sampler.epoch, run.sampler.start = run.epoch, run.batch_in_epoch
    loader: DataLoader[Any] = DataLoader(
        run.source,
        batch_sampler=run.sampler,
        num_workers=workers,
        collate_fn=run.collate,
        pin_memory=run.fabric.device.type == "cuda",
        prefetch_factor=4 if workers else None,
    )
    for number, batch in enumerate(loader, start=run.batch_in_epoch):
        raise_error(batch)
        tolerate(run, batch.pop("unreadable", ()))
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
            hint=f"repair the files, or raise {param('skip_unreadable')}",
            option="skip_unreadable",
        )


# ---------------------------------------------------------------- step


def train_step(run: Run, batch: dict[str, Any], number: int) -> Mapping[str, Tensor]:
    """Forward, backward, and with the last accumulated batch the optimizer's step.

    Raises:
        CodemaeError: the loss is not finite; the batch is saved in the run directory.
    """
    train = run.recipe.train
    last = (number + 1) % train.accumulate == 0
    with run.fabric.no_backward_sync(run.model, enabled=not last):
        losses = run.method.step(run, batch, number)
        if not torch.isfinite(losses["total"]):
            stop_not_finite(run, batch, losses)
        run.fabric.backward(losses["total"] / train.accumulate)
    if last:
        if train.clip:
            run.fabric.clip_gradients(run.model, run.optimizer, max_norm=train.clip)
        run.optimizer.step()
        run.optimizer.zero_grad()
    return losses


def stop_not_finite(run: Run, batch: Mapping[str, Any], losses: Mapping[str, Tensor]) -> None:
    """Save the batch and stop.

    Raises:
        CodemaeError: always.
    """
    path = run.folder / f"not_finite_step{run.step}_rank{run.fabric.global_rank}.pt"
    run.folder.mkdir(parents=True, exist_ok=True)
    names = {
        "epoch": run.epoch,
        "batch": run.batch_in_epoch,
        "losses": {k: float(v.detach()) for k, v in losses.items()},
    }
    torch.save({k: v.cpu() if isinstance(v, Tensor) else v for k, v in batch.items()} | names, path)
    raise CodemaeError(
        f"the loss of step {run.step + 1} is not finite",
        found=figures(losses),
        hint=f"the batch is in {path}; {param('resume')} with a smaller rate, train.clip=1 or train.precision=32-true",
    )


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
            hint=f"{param('resume')} from the checkpoint before, with a smaller rate, train.clip=1 or another"
            " precision",
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
            "best": run.best,
            "method": run.method.state(),
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
        ModelError: no checkpoint, one that holds other things, or of another architecture (first differing keys named).
    """
    state = ckpt.read_checkpoint(path)
    ckpt.check_state(state, path)
    try:
        return _restore(run, state, path)
    except CodemaeError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError, yaml.YAMLError) as error:
        raise ModelError(
            f"{path} cannot be gone on from",
            found=f"{type(error).__name__}: {error}".splitlines()[0][:200],
            hint=f"start again with {param('overwrite')}",
        ) from error


def _restore(run: Run, state: dict[str, Any], path: Path) -> list[str]:
    ckpt.load_weights(run.bare, state["model"], path)
    settings = [{k: v for k, v in group.items() if k != "params"} for group in run.optimizer.param_groups]
    run.optimizer.load_state_dict(state["optimizer"])
    for group, own in zip(run.optimizer.param_groups, settings, strict=True):
        group.update(own)
    scaler = getattr(run.fabric._precision, "scaler", None)
    if scaler is not None and state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    run.epoch, run.batch_in_epoch, run.step = state["epoch"], state["batch_in_epoch"], state["step"]
    run.best, run.unreadable = state.get("best", {}), set(state["unreadable"])
    run.method.load_state(state.get("method", {}))
    ckpt.restore_random_states(state["random"])

    now, then = flat(run.recipe.model_dump(mode="json")), flat(yaml.safe_load(state["recipe"]))
    changed = [key for key in now if now[key] != then.get(key, now[key])]  # settings that are new are not changes
    changes = [f"{key}: {now[key]}, was {then.get(key)}" for key in changed]
    for text in changes:
        run.reporter.warning("changed", f"resumed with another {text}")
    dealt_apart = run.method.deals & set(changed) or state.get("batches", len(run.sampler)) != len(run.sampler)
    if dealt_apart and run.batch_in_epoch:
        run.batch_in_epoch = 0
        run.reporter.warning("changed", f"epoch {run.epoch + 1} begins again, since its batches are others now")
    return changes


def flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe by dotted key."""
    parts = {k: v for k, v in recipe.items() if isinstance(v, Mapping)}
    values = {k: v for k, v in recipe.items() if k not in parts}
    return values | {f"{part}.{key}": value for part, section in parts.items() for key, value in section.items()}


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}") from error


def _resumed(path: Path) -> list[Any]:
    """What an earlier ``run.json`` says of resuming."""
    try:
        return list(json.loads(read_text(path)).get("resumed", []))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return []
