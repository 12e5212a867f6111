"""Where fine-tuning starts from: a pretraining run, an exported encoder, a published checkpoint, a package, or nothing.

Whatever the file, its backbone is found by the names of its tensors. Every key is accounted for, and a backbone of
which a part is missing is refused: a model that silently starts from noise is the usual way to lose a week.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.models.hivit import HiViT, resample_positions
from codemae_geo.texts import read_text
from codemae_geo.weights.convert import read_checkpoint
from codemae_geo.weights.package import ModelContract, read_contract
from codemae_geo.weights.registry import resolve

#: names under which models keep their backbone
PREFIXES = ("encoder.", "backbone.", "")


@dataclass(frozen=True)
class Start:
    """What was found in a file.

    Args:
        path: the file.
        state: its tensors.
        contract: of a package; None for checkpoints.
        encoder: configuration of the backbone where the file or its run says it.
    """

    path: Path
    state: dict[str, Tensor]
    contract: ModelContract | None
    encoder: dict[str, Any] | str | None


def open_start(source: str | Path) -> Start:
    """Read what to start from.

    Args:
        source: a run's folder, a checkpoint, a package's file, name or hub address.

    Raises:
        ModelError: nothing there, or it cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        found = [
            path / n for n in ("encoder.safetensors", "model.safetensors", "checkpoint.pt") if (path / n).is_file()
        ]
        if not found:
            raise ModelError(
                f"the folder {path} holds no weights",
                expected="a run with encoder.safetensors, model.safetensors or checkpoint.pt",
            )
        path = found[0]
    if path.suffix not in (".pt", ".pth", ".safetensors", ".ckpt"):
        path = resolve(str(source))
    if not path.is_file():
        raise ModelError(f"there are no weights {path}", hint="name a run, a checkpoint or a package")
    contract = None
    if path.suffix == ".safetensors":
        contract = read_contract(path)
    encoder: Any = None
    if contract is not None:
        config = contract.architecture.config
        encoder = config.get("encoder") or ({k: v for k, v in config.items() if k != "num_classes"} or None)
    elif (path.parent / "recipe.yaml").is_file():
        recipe = yaml.safe_load(read_text(path.parent / "recipe.yaml"))
        model = recipe.get("model", {}) if isinstance(recipe, dict) else {}
        named = {"variant": model["encoder"]} if isinstance(model.get("encoder"), str) else model.get("encoder")
        encoder = named and {"img_size": model.get("img_size", 224)} | dict(named)
    state = {k: v.float() if v.is_floating_point() else v for k, v in read_checkpoint(path).items()}
    return Start(path, state, contract, encoder)


def load_start(model: nn.Module, backbone: HiViT, start: Start) -> list[str]:
    """Load as much of a start as the model has places for.

    A file of the very same model is loaded whole, heads included: training goes on from it. Else the backbone alone
    is, and heads are new.

    Returns:
        what was done, line by line.

    Raises:
        ModelError: the file holds no backbone, or one of another size, or without a tokenizer that is needed.
    """
    own = model.state_dict()
    same = {k: v for k, v in start.state.items() if k in own and v.shape == own[k].shape}
    if len(same) == len(own):
        model.load_state_dict(same, strict=True)
        return [f"goes on from {start.path.name}, heads included"]
    state = find_backbone(start.state)
    if not state:
        raise ModelError(
            f"{start.path.name} holds no backbone of this toolkit",
            found=", ".join(list(start.state)[:4]),
            expected="tensors such as blocks.0.norm2.weight",
        )
    target = backbone.state_dict()
    if "absolute_pos_embed" in state and "absolute_pos_embed" in target:
        table, side = state["absolute_pos_embed"], int(target["absolute_pos_embed"].shape[1] ** 0.5)
        if table.shape[1] != side * side and table.shape[2] == target["absolute_pos_embed"].shape[2]:
            state["absolute_pos_embed"] = resample_positions(table, (side, side))
    # the mean's norm and the classifier are new in every task; a pyramid that the file lacks is new as well
    fresh = [k for k in target if k.startswith(("head.", "fc_norm."))]
    pyramid = [k for k in target if k.startswith(("align_dim", "split_", "block_", "fpn_modules"))]
    if pyramid and not any(k in state for k in pyramid):
        fresh += pyramid
    wrong = [f"missing {k}" for k in target if k not in state and k not in fresh]
    wrong += [
        f"{k}: {list(state[k].shape)} for {list(v.shape)}"
        for k, v in target.items()
        if k in state and k not in fresh and state[k].shape != v.shape
    ]
    if wrong:
        raise ModelError(
            f"the backbone of {start.path.name} is a different one",
            found="; ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""),
            expected="the model.encoder of the recipe",
            hint="leave model.encoder out of the recipe: the file's own is taken",
        )
    used = {k: v for k, v in state.items() if k in target and k not in fresh}
    backbone.load_state_dict(used, strict=False)
    rest = len(start.state) - len(used)
    notes = [f"{len(used)} tensors of the backbone come from {start.path.name}, {rest} others are not used"]
    if any(k in fresh for k in pyramid):
        notes.append("the file has no pyramid: it begins untrained")
    notes.append("heads are new")
    return notes


def find_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a backbone in a state dict, without their prefix."""
    for prefix in PREFIXES:
        found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if any(k.startswith("blocks.") for k in found):
            return found
    return {}
