"""Is a package whole, and does it run?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from codemae_geo.errors import ModelError
from codemae_geo.weights.package import _load_tensors, load_package, tensors_sha256


def verify_package(path: str | Path) -> dict[str, Any]:
    """Check contract, tensor hash, strict loading, finite weights, and one forward pass of random pixels.

    Returns:
        ``name``, ``sha256``, ``parameters``, and the shapes of the answer to one window.

    Raises:
        ModelError: says which check failed.
    """
    path = Path(path)
    package = load_package(path)
    contract = package.contract
    tensors = _load_tensors(path)
    found = tensors_sha256(tensors)
    if contract.tensors_sha256 and found != contract.tensors_sha256:
        raise ModelError(
            f"the tensors of {path.name} are not those its contract was written for",
            found=found,
            expected=contract.tensors_sha256,
            hint="fetch or convert the model again",
        )
    broken = [k for k, v in tensors.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise ModelError(f"{path.name} holds weights that are not finite", found=", ".join(broken[:3]))
    generator = torch.Generator().manual_seed(0)
    side = min(contract.window, 128)
    images = [torch.randn(1, spec.channels, side, side, generator=generator) for spec in contract.inputs]
    with torch.inference_mode():
        try:
            answer = package.module(*images)
        except (RuntimeError, TypeError) as error:
            raise ModelError(f"{path.name} does not run: {str(error).splitlines()[0]}") from error
    answers = _tensors(answer)
    if not all(a.isfinite().all() for a in answers):
        raise ModelError(f"{path.name} answers with numbers that are not finite")
    return {
        "name": contract.name,
        "sha256": package.sha256,
        "parameters": sum(p.numel() for p in package.module.parameters()),
        "answers": [list(a.shape) for a in answers],
    }


def _tensors(answer: Any) -> list[torch.Tensor]:
    """All tensors of a network's answer, whatever holds them."""
    if isinstance(answer, torch.Tensor):
        return [answer]
    return [t for part in (answer.values() if isinstance(answer, dict) else answer) for t in _tensors(part)]
