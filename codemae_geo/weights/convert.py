"""Published checkpoints as model packages."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from codemae_geo import models
from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.errors import ModelError
from codemae_geo.weights.package import (
    ArchitectureSpec,
    DataSource,
    InputSpec,
    ModelContract,
    class_specs,
    load_strict,
    save_package,
)


@dataclass(frozen=True)
class Preset:
    """What a kind of published checkpoint holds.

    Args:
        contract: fields of the contract; name, version and licence may be overridden.
        drop: prefixes of entries that the package leaves out.
    """

    contract: dict[str, Any]
    drop: tuple[str, ...] = field(default=())


# Mean and standard deviation of BRIGHT on 0..255, as published with CoDe-MAE (scenarri/CoDeMAE, snapshot 0463095).
_BRIGHT_PRE = ([88.76, 85.2, 76.74], [67.49, 58.56, 54.09])
_BRIGHT_POST = ([56.29] * 3, [45.01] * 3)

_DAMAGE = {
    "description": "Building damage from an optical scene before and a SAR scene after (DamageFormer on CoDe-MAE).",
    "task": "damage",
    "inputs": [
        InputSpec(
            name="pre",
            family="optical",
            bands=["red", "green", "blue"],
            unit="uint8",
            mean=_BRIGHT_PRE[0],
            std=_BRIGHT_PRE[1],
            gsd=(0.3, 1.0),
        ),
        InputSpec(
            name="post",
            family="sar",
            bands=["sar"],
            unit="uint8",
            mean=_BRIGHT_POST[0],
            std=_BRIGHT_POST[1],
            gsd=(0.3, 1.0),
        ),
    ],
    "classes": class_specs(DAMAGE_CLASSES),
    "window": 512,
    "overlap": 0.5,
    # the published inference multiplies the damage class by the localisation class
    "localisation": "gate",
    "licence": "see the publisher of the checkpoint",
    "training_data": [DataSource(name="BRIGHT", licence="CC BY-NC-SA 4.0", attribution="Chen et al. 2025, BRIGHT")],
    "training": "CoDe-MAE, building damage on BRIGHT (DFC25-T2), as published.",
}

PRESETS: dict[str, Preset] = {
    f"damageformer-{size}": Preset(
        {
            **_DAMAGE,
            "name": f"damageformer-{size}",
            "architecture": ArchitectureSpec(
                name="damageformer", config={"encoder": {"variant": size}, "pre": "optical", "post": "sar"}
            ),
        },
    )
    for size in ("base", "large")
}


def read_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a ``.pth``, ``.pt`` or ``.safetensors`` file; nothing but tensors and plain values is unpickled.

    A state dict below ``state_dict``, ``model``, ``model_state_dict`` or ``teacher`` is found, and the prefixes
    ``module.`` and ``_orig_mod.`` of wrapped models are taken off.

    Raises:
        ModelError: the file is missing, no checkpoint, or holds something other than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            # trainers in MAE's line, CoDe-MAE's among them, keep their arguments beside the weights: plain values
            with torch.serialization.safe_globals([argparse.Namespace]):
                found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path.name} is not loaded",
            found="a pickle that holds more than tensors, or no checkpoint at all",
            expected="a checkpoint that torch.load(weights_only=True) reads",
            hint="save model.state_dict() alone in an environment that you trust, and convert that",
        ) from error
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{path.name} cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    for key in ("state_dict", "model", "model_state_dict", "teacher"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping):
        raise ModelError(f"{path.name} holds no state dict", found=type(found).__name__)
    state = {str(k): v for k, v in found.items() if isinstance(v, torch.Tensor)}
    if not state:
        raise ModelError(f"{path.name} holds no tensors", found=", ".join(map(str, list(found)[:5])) or "nothing")
    for prefix in ("_orig_mod.", "module."):
        if all(k.startswith(prefix) for k in state):
            state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state


def convert_checkpoint(
    source: str | Path,
    out: str | Path,
    preset: str,
    *,
    name: str | None = None,
    licence: str | None = None,
    overwrite: bool = False,
) -> ModelContract:
    """Make a model package of a published checkpoint.

    Args:
        source: checkpoint, see :func:`read_checkpoint`.
        out: package to write.
        preset: a key of :data:`PRESETS`.
        name: name of the model; None takes the preset's.
        licence: licence of the weights; None says to ask the publisher.
        overwrite: replace an existing package.

    Returns:
        The contract that was written.

    Raises:
        ModelError: unknown preset, unreadable checkpoint, or keys and shapes that differ (the first are named).
        OutputError: ``out`` exists, or cannot be written.
    """
    if preset not in PRESETS:
        raise ModelError(f"there is no preset {preset!r}", expected=", ".join(PRESETS))
    chosen = PRESETS[preset]
    changes = {k: v for k, v in (("name", name), ("licence", licence)) if v is not None}
    contract = ModelContract.model_validate({**chosen.contract, **changes})
    state = {k: v for k, v in read_checkpoint(source).items() if not k.startswith(chosen.drop or ("\0",))}
    with torch.device("meta"):
        module = models.build(contract.architecture.name, contract.architecture.config)
    own = module.state_dict()
    # step counters of batch norm are bookkeeping; exports often leave them out
    state |= {k: torch.zeros(v.shape, dtype=v.dtype) for k, v in own.items() if k.endswith("num_batches_tracked")}
    load_strict(module, {k: v.to("meta") for k, v in state.items()}, Path(source).name)
    save_package(out, state, contract, overwrite=overwrite)
    return contract
