"""Where bfloat16 pays."""

from __future__ import annotations

import torch


def cpu_has_bf16() -> tuple[bool, str]:
    """Whether the CPU multiplies bfloat16 matrices natively, and by which instructions.

    Only then is bf16 faster than float32; elsewhere it is emulated and slower.
    """
    if getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)():
        return True, "AMX"
    if getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
        return True, "AVX-512 BF16"
    return False, "no native bfloat16"


def has_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 matrices natively."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and cpu_has_bf16()[0]
