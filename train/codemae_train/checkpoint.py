"""Checkpoints that hold everything a run needs to go on, written so that a failure leaves the one before."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from codemae_geo.errors import ModelError, param
from codemae_geo.interrupts import uninterrupted
from codemae_geo.outputs import write_failure
from codemae_geo.weights.package import load_strict

#: layout of the file
FORMAT = 1


def random_states() -> dict[str, Any]:
    """The states of all global generators, as tensors and plain values."""
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002  (the global one is what is saved)
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys, dtype=np.int64)), int(position), int(has_gauss), cached],
        "python": [version, list(internal), gauss],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Put back what :func:`random_states` gave."""
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all([s.cpu() for s in states["cuda"]])
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` beside its destination, flush it to the disk, then move it there.

    Raises:
        OutputError: the disk is full or cannot be written; the previous checkpoint is untouched.
    """
    part = path.with_name(path.name + ".part")
    try:
        # an interruption inside of torch's writer, which is called back from native code, would end the process
        with uninterrupted(), part.open("wb") as file:
            torch.save(state | {"format": FORMAT}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:  # torch wraps a short write in a RuntimeError
        raise write_failure(error, path) from error
    finally:
        part.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are unpickled.

    Raises:
        ModelError: missing, or not a checkpoint of a run.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"there is no checkpoint {path}", hint=f"start without {param('resume')}") from None
    except Exception as error:  # torch raises many kinds for a file that is not its own
        raise ModelError(f"{path} cannot be read as a checkpoint", found=str(error).splitlines()[0]) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ModelError(f"{path} is not a checkpoint of a run", expected=f"format {FORMAT}")
    return state


#: what a checkpoint of a run holds
_KINDS: dict[str, type] = {
    "model": dict, "optimizer": dict, "scaler": dict, "epoch": int, "batch_in_epoch": int, "step": int,
    "unreadable": list, "random": dict, "recipe": str,
}  # fmt: skip
#: what checkpoints of earlier versions lack
_LATER: dict[str, type] = {"best": dict, "method": dict, "batches": int}
#: counts beyond this are none
_MOST = 2**40


def check_state(state: dict[str, Any], path: Path) -> None:
    """Whether the parts of a checkpoint are of their kinds.

    Raises:
        ModelError: names the first part that is not.
    """
    for name, kind in (_KINDS | {k: t for k, t in _LATER.items() if k in state}).items():
        value = state.get(name)
        # True is an int too, and state_dict() gives a subclass of dict
        right = isinstance(value, dict) if kind is dict else type(value) is kind
        if not right or (kind is int and not 0 <= state[name] < _MOST):
            found = f"{name} is {type(value).__name__}" + (f" {value}"[:60] if kind is int else "")
            raise ModelError(f"{path} is not a checkpoint of a run", found=found, expected=kind.__name__)
    score = state.get("best", {}).get("score", 0.0)
    if type(score) is not float and type(score) is not int:
        raise ModelError(f"{path} is not a checkpoint of a run", found=f"a score that is {type(score).__name__}")


def load_weights(module: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Load a model's state; every key and shape must agree.

    Raises:
        ModelError: names the first keys that differ.
    """
    load_strict(module, state, str(path))
