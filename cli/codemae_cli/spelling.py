"""How the command line spells the parameters that a message of the library marks."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import typer

#: click's, or the copy of it that newer releases of typer carry
_globals: Any = import_module(typer.Context.__mro__[1].__module__.rpartition(".")[0] + ".globals")


class Spelling:
    """Parameters as options of one command.

    A name that the command does not have is taken for a scene's: ``nodata`` of `codemae damage` is ``--pre-nodata`` and
    ``--post-nodata``. A name that fits nothing becomes an option by the usual rule.

    Args:
        params: the parameters of the command (click's).
    """

    def __init__(self, params: Iterable[Any] = ()) -> None:
        self._opts = {p.name.rstrip("_"): _option(p) for p in params if p.name}

    @classmethod
    def of_this_command(cls) -> Spelling:
        """For the command that runs now; by the usual rule outside of one."""
        context = _globals.get_current_context(silent=True)
        return cls(context.command.params if context else ())

    def options(self, name: str) -> dict[str, str]:
        """Parameters of the command that ``name`` means -> how they are spelled.

        >>> Spelling().options("only_near_buildings")
        {'only_near_buildings': '--only-near-buildings'}
        """
        if name in self._opts:
            return {name: self._opts[name]}
        scenes = {n: o for n, o in self._opts.items() if n in (f"pre_{name}", f"post_{name}")}
        return scenes or {name: "--" + name.replace("_", "-")}

    def __call__(self, name: str, value: str | None) -> str:
        """``--res 0.5``; alternatives are joined by *or*.

        >>> Spelling()("sensor", "sar"), Spelling()("classes", None)
        ('--sensor sar', '--classes')
        """
        spelled = self.options(name).values()
        return " or ".join(o if value is None else f"{o} {_word(value)}" for o in spelled)


def _option(param: Any) -> str:
    """The longest name, the positive one of a pair; a positional argument as the help writes it."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper()).strip("[].")
    return max(param.opts, key=len)


def _word(value: str) -> str:
    """``value`` as one word of a shell; what stands for a value (``NAME``, ``EPSG:...``) needs no quotes."""
    return value if not set(value) & set(" \"'$&|;<>()`") else shlex.quote(value)
