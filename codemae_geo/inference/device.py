"""Which device and which precision a network runs in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from codemae_geo.errors import InputError, param
from codemae_geo.models.precision import cpu_has_bf16

Device = Literal["auto", "cuda", "mps", "cpu"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
DEVICES: tuple[str, ...] = get_args(Device)
PRECISIONS: tuple[str, ...] = get_args(Precision)


@dataclass(frozen=True)
class Runtime:
    """A device and the precision of matrix products on it.

    Args:
        device: torch device.
        precision: dtype of autocast; float32 means no autocast.
        reason: why this one, for the log.
    """

    device: torch.device
    precision: torch.dtype
    reason: str

    @property
    def default_batch(self) -> int:
        """Windows per call: a CPU gains nothing from batches."""
        return 1 if self.device.type == "cpu" else 8

    def describe(self) -> str:
        """One line such as ``cpu, bfloat16 (AVX-512 BF16)``."""
        return f"{self.device}, {str(self.precision).removeprefix('torch.')} ({self.reason})"


def choose_runtime(device: str = "auto", precision: str = "auto") -> Runtime:
    """Choose device and precision.

    Args:
        device: ``auto`` takes cuda, then mps, then cpu.
        precision: ``auto`` takes bfloat16 where the hardware multiplies it natively, else float32. The choice depends
            on the hardware alone, never on a timing, so that a run can be repeated.

    Raises:
        InputError: the device asked for is not there, or a name is unknown.
    """
    if device not in DEVICES:
        raise InputError(f"unknown device {device!r}", expected=", ".join(DEVICES))
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}", expected=", ".join(PRECISIONS))
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device != "auto" and not present[device]:
        raise InputError(
            f"the device {device} is not there",
            found=", ".join(name for name, there in present.items() if there),
            hint=f"leave {param('device')} at auto; `codemae doctor` shows what torch sees",
            option="device",
        )
    chosen = device if device != "auto" else next(name for name, there in present.items() if there)
    if precision != "auto":
        return Runtime(torch.device(chosen), getattr(torch, precision), "asked for")
    if chosen == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Runtime(torch.device("cuda"), torch.bfloat16, torch.cuda.get_device_name())
        return Runtime(torch.device("cuda"), torch.float16, torch.cuda.get_device_name())
    if chosen == "mps":
        return Runtime(torch.device("mps"), torch.float32, "Apple GPU")
    native, how = cpu_has_bf16()
    return Runtime(torch.device("cpu"), torch.bfloat16 if native else torch.float32, how)
