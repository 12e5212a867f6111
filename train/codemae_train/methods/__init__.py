"""What can be trained, one method a file. Each is handed to :func:`codemae_train.loop.train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
