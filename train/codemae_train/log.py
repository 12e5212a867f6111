"""``log.csv`` (training), ``validation.csv`` and TensorBoard of a run, resumed at the run's step.

Fabric's CSV logger deletes what a run before has written, and sorts the columns; its TensorBoard logger cannot drop the
points that a killed run wrote after its last checkpoint. So both files are written here.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from codemae_train.run import Run
from torch import Tensor

from codemae_geo.errors import InputError, OutputError


class Log:
    """Written by the first process."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.told, self.told_step = time.perf_counter(), run.step
        self.board: Any = None
        if run.fabric.is_global_zero:
            from torch.utils.tensorboard import SummaryWriter

            for name in ("log.csv", "validation.csv"):
                _keep_rows(run.folder / name, run.step)
            self.board = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.step + 1)

    def step(self, rate: float, losses: Mapping[str, Tensor]) -> dict[str, float]:
        """Log one optimizer step: losses of its last batch, averaged over processes."""
        run, train, unit = self.run, self.run.recipe.train, self.run.method.unit
        values = run.fabric.all_reduce(torch.stack([v.detach().float() for v in losses.values()]), reduce_op="mean")
        named = dict(zip(losses, values.tolist(), strict=True))  # type: ignore[union-attr]
        now = time.perf_counter()
        speed = (run.step - self.told_step) * train.batch / max(now - self.told, 1e-9)
        self.told, self.told_step = now, run.step
        if self.board is not None:
            row = {"step": run.step, "epoch": run.epoch, "lr": rate, **named, f"{unit}_per_s": round(speed, 2)}
            _append(run.folder / "log.csv", row)
            for name, value in (named | {"lr": rate, f"{unit}_per_s": speed}).items():
                self.board.add_scalar(f"train/{name}", value, run.step)
            left = (run.total_steps - run.step) * train.batch / max(speed, 1e-9)
            run.reporter.log(
                f"epoch {run.epoch + 1}/{train.epochs} step {run.step}/{run.total_steps} {figures(named)} "
                f"{speed:.1f} {unit}/s, {left / 60:.1f} min left"
            )
        return named

    def validation(self, values: Mapping[str, float]) -> None:
        """Log a validation."""
        if self.board is not None and values:
            _append(self.run.folder / "validation.csv", {"step": self.run.step, "epoch": self.run.epoch, **values})
            for name, value in values.items():
                self.board.add_scalar(f"validation/{name}", value, self.run.step)
            self.run.reporter.log(f"validation after {self.run.step} steps: {figures(values)}")

    def close(self) -> None:
        """Flush TensorBoard."""
        if self.board is not None:
            self.board.close()


def figures(values: Mapping[str, Any]) -> str:
    """Named numbers in one line."""
    return ", ".join(f"{name} {float(torch.as_tensor(value).detach()):.4f}" for name, value in values.items())


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
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            rows = [row for row in reader if len(row) == len(header) > 0 and int(row[0]) <= step]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"the log {path} cannot be gone on with", found=str(error)[:200], hint="move it to another place"
        ) from error
    if not rows:
        path.unlink()
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
