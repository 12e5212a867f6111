"""What can be trained, one method a file. Each is handed to :func:`codemae_train.loop.train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codemae_train.config import Recipe, make_recipe, read_recipe
from codemae_train.run import Method

from codemae_geo.errors import InputError


def pretraining_method(source: str | Path, overrides: Sequence[str] = ()) -> Method:
    """The method that a recipe of pretraining asks for with its key ``method``; CoDe-MAE if it has none.

    Args:
        source: name of a shipped recipe, or a YAML file.
        overrides: ``key=value`` changes.

    Raises:
        InputError: no such recipe or method, or a recipe that cannot be used.
    """
    content = read_recipe(source)
    name = content.get("method", "codemae")
    if name == "decur":
        from codemae_train.methods.decur import Decur, DecurRecipe

        return Decur(make_recipe(DecurRecipe, content, overrides))
    if name == "cross-scale":
        from codemae_train.methods.cross_scale import CrossScale, CrossScaleRecipe

        return CrossScale(make_recipe(CrossScaleRecipe, content, overrides))
    if name != "codemae":
        raise InputError("unknown method of pretraining", found=repr(name), expected="codemae, decur or cross-scale")
    from codemae_train.methods.pretrain import Pretraining

    return Pretraining(make_recipe(Recipe, {k: v for k, v in content.items() if k != "method"}, overrides))


#: tasks of fine-tuning, each a folder of recipes
TASKS = ("classification", "segmentation", "damage", "detection")


def load_finetune(source: str | Path, overrides: Sequence[str] = (), **own: Any) -> Any:
    """A recipe of fine-tuning; its key ``task`` says of which kind.

    Args:
        source: a YAML file, a shipped name ("damage/bright"), or a task, whose recipe "own" is for one's own labels.
        overrides: ``key=value`` changes.
        own: values of ``data``, put before the overrides; None and empty ones are left out.

    Raises:
        InputError: see :func:`codemae_train.config.read_recipe` and :func:`codemae_train.config.make_recipe`.
    """
    content = read_recipe(f"{source}/own" if source in TASKS else source, TASKS)
    content["data"] = content.get("data", {}) | {k: v for k, v in own.items() if v not in (None, [], ())}
    if content.get("task") == "detection":
        from codemae_train.methods.detection import DetectionRecipe

        return make_recipe(DetectionRecipe, content, overrides)
    from codemae_train.methods.finetune import FinetuneRecipe

    return make_recipe(FinetuneRecipe, content, overrides)


def finetuning_method(source: str | Path, overrides: Sequence[str] = (), **own: Any) -> Method:
    """The method that a recipe of fine-tuning asks for; arguments and errors as of :func:`load_finetune`."""
    recipe = load_finetune(source, overrides, **own)
    if recipe.task == "detection":
        from codemae_train.methods.detection import Detection

        return Detection(recipe)
    from codemae_train.methods.finetune import Finetuning

    return Finetuning(recipe)
