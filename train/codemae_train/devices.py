"""Device, precision and processes of a run, by Lightning Fabric."""

from __future__ import annotations

import os
from typing import Any

import torch
from codemae_train.config import LoopConfig
from lightning.fabric import Fabric
from lightning.fabric.accelerators import CPUAccelerator
from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from codemae_geo.errors import InputError


def launched_world() -> tuple[int, int] | None:
    """Processes per node, and nodes, that torchrun or srun has started; None without them."""
    if TorchElasticEnvironment.detect():
        world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        return local, world // local
    tasks, nodes = (int(os.environ.get(f"SLURM_STEP_NUM_{what}", 1)) for what in ("TASKS", "NODES"))
    return (tasks // nodes, nodes) if tasks > 1 and SLURMEnvironment.detect() else None


def make_fabric(train: LoopConfig) -> Fabric:
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
            "the devices of the recipe are not available",
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


def device_name(device: torch.device) -> str:
    """What a run's record calls its device."""
    return str(device) if device.type != "cuda" else torch.cuda.get_device_name(device)


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Tensors of a batch to the device; the copy of pinned memory does not wait."""
    return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}
