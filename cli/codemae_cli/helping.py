"""What `--help` shows: options and commands in groups, as panels on a terminal and as plain sections elsewhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from typer.core import TyperCommand, TyperGroup

from codemae_cli.streams import drawing

#: heading -> parameters below it; ``pre_`` and ``post_`` before a name make no difference
PANELS: dict[str, tuple[str, ...]] = {
    "Area and grid": ("grid", "dst_crs", "res", "resampling", "bounds", "aoi", "src_crs", "gcps"),
    "Scenes": ("sensor", "bands", "unit", "nodata", "assets", "stretch"),
    "Model and computing": (
        "model", "window", "overlap", "blend", "tta", "runtime", "device", "precision", "batch_size", "workers",
        "scheduler",
    ),
    "Buildings": ("footprints", "footprints_crs", "only_near_buildings", "near_distance"),
    "Reporting": ("json", "progress", "quiet", "dry_run", "measure", "help"),
}  # fmt: skip
#: heading of the list of commands -> commands below it
COMMANDS: dict[str, tuple[str, ...]] = {
    "Maps": ("demo", "checkpair", "damage", "predict", "detect", "embed", "buildings", "report"),
    "Training": ("pretrain", "finetune", "adapt", "probe", "evaluate", "analyze"),
    "Models and data": ("models", "data", "info"),
    "Upkeep": ("clean", "doctor", "qgis-setup"),
}
#: what typer calls the type of a value -> what the help calls it
_VALUES = {"str": "TEXT", "int": "N", "integer": "N", "float": "NUMBER", "path": "PATH"}
#: columns of a terminal that panels use at most
_WIDEST = 110


@dataclass(frozen=True)
class Row:
    """One line of the help.

    Args:
        name: of an argument or a command, or the spellings of an option.
        value: what an option takes, if anything.
        choices: the words that it may be, if those are few and fixed.
        text: what it does, with its default.
    """

    name: str
    value: str
    choices: tuple[str, ...]
    text: str

    @property
    def plain(self) -> tuple[str, str]:
        """Both columns of a section."""
        text = f"{self.text}  ({', '.join(self.choices)})" if self.choices else self.text
        return f"{self.name} {self.value}".rstrip(), text


def panel_of(name: str) -> str:
    """The heading that a parameter stands below.

    >>> panel_of("post_nodata"), panel_of("dst_crs"), panel_of("output")
    ('Scenes', 'Area and grid', 'Options')
    """
    plain = name.rstrip("_")
    for title, names in PANELS.items():
        if plain in names or plain.removeprefix("pre_").removeprefix("post_") in names:
            return title
    return "Options"


def value_of(said: str) -> tuple[str, tuple[str, ...]]:
    """What an option takes, and its choices, from typer's word for it.

    >>> value_of("<int range>"), value_of("RASTER..."), value_of("<list[Path]>"), value_of("<cpu|cuda>")
    (('N', ()), ('RASTER...', ()), ('PATH', ()), ('', ('cpu', 'cuda')))
    """
    inner = re.sub(r"^[<\[](.*)[>\]]$", r"\1", said)
    if "|" in inner and inner != said:
        return "", tuple(inner.split("|"))
    kind = re.sub(r"^list\[(.*)\]$", r"\1", inner).removesuffix(" range").removesuffix(" RANGE").lower()
    return _VALUES.get(kind, said), ()


def _rows(command: Any, ctx: Any) -> dict[str, list[Row]]:
    """Heading -> parameters, the order of the headings that of the help."""
    rows: dict[str, list[Row]] = {title: [] for title in ("Arguments", "Options", *PANELS)}
    is_group = hasattr(command, "list_commands")
    for param in command.get_params(ctx):
        if hasattr(param, "show_envvar"):
            param.show_envvar = False  # all have one, by one rule
        record = param.get_help_record(ctx)
        if record is None:
            continue
        text = record[1].replace("\\[", "[")  # which some releases of typer write for rich
        if param.param_type_name == "argument":
            many = "" if param.nargs == 1 else "..."
            name = str(param.metavar or param.name).upper().strip("[].") + many
            rows["Arguments"].append(Row(name, "", (), text))
            continue
        title = getattr(param, "rich_help_panel", None) or ("Options" if is_group else panel_of(str(param.name)))
        name, value = re.match(r"((?:--?[\w-]+(?:, | / )?)+) ?(.*)$", record[0], re.S).groups()  # type: ignore[union-attr]
        rows.setdefault(title, []).append(Row(name, *value_of(value), text))
    rows["Reporting"] = rows.pop("Reporting")  # those of a single command stand before it
    return {title: found for title, found in rows.items() if found}


def _commands(group: Any, ctx: Any) -> dict[str, list[Row]]:
    """Heading -> commands, with the first sentence of their help."""
    shown = {n: c for n in group.list_commands(ctx) if (c := group.get_command(ctx, n)) is not None and not c.hidden}
    rows = {n: Row(n, "", (), c.get_short_help_str(200).removesuffix(".")) for n, c in shown.items()}
    grouped = {title: [rows.pop(n) for n in names if n in rows] for title, names in COMMANDS.items()}
    return {title: found for title, found in {**grouped, "Commands": [*rows.values()]}.items() if found}


def _usage(command: Any, ctx: Any) -> str:
    """``codemae predict [OPTIONS] MODEL INPUT...``."""
    words = [ctx.command_path, "[OPTIONS]"]
    for param in command.get_params(ctx):
        if param.param_type_name == "argument":
            name = str(param.metavar or param.name).upper().strip("[].") + ("" if param.nargs == 1 else "...")
            words.append(name if param.required else f"[{name}]")
    return " ".join([*words, *(["COMMAND [ARGS]..."] if hasattr(command, "list_commands") else [])])


def _draw(command: Any, ctx: Any, sections: Sequence[tuple[str, list[Row]]], terminal: TextIO) -> None:
    """Usage, description, panels and examples."""
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    console = Console(file=terminal, highlight=False)
    console.width = min(console.width, _WIDEST)
    console.print(Text.assemble(("Usage: ", "yellow"), (_usage(command, ctx), "bold")))
    console.print()
    for paragraph in _paragraphs(command.help):
        console.print(Text(f"{paragraph}\n"))
    widest = max((len(f"{row.name} {row.value}") for _, rows in sections for row in rows), default=0)
    for title, rows in sections:
        table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
        table.add_column(width=min(widest, console.width // 3))
        table.add_column(ratio=1)
        for row in rows:
            text = Text(row.text)
            text.highlight_regex(r"\[(default: [^\]]*|[^\]]*<=?[^\]]*|[^\]]*>=?[^\]]*)\]", "dim")
            text.highlight_regex(r"\[required\]", "red")
            if row.choices:
                text.append("\n" + " | ".join(row.choices), "yellow")
            name = Text(row.name, "bold cyan")
            table.add_row(name.append(f" {row.value}", "not bold yellow") if row.value else name, text)
        console.print(Panel(table, title=title, title_align="left", border_style="dim"))
    if command.epilog:
        console.print(Text(command.epilog.replace("\b\n", "").strip("\n")), soft_wrap=True)


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(part.split()) for part in (text or "").split("\n\n")]


class _Helping:
    """How both kinds of command show their help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if sys.stdout.isatty():
            with drawing() as terminal:
                _draw(self, ctx, self.sections(ctx), terminal)
        else:
            super().format_help(ctx, formatter)  # type: ignore[misc]

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        path, _, words = _usage(self, ctx).partition(" [OPTIONS]")
        formatter.write_usage(path, f"[OPTIONS]{words}")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for title, rows in self.sections(ctx):
            with formatter.section(title):
                formatter.write_dl([row.plain for row in rows])

    def sections(self, ctx: Any) -> list[tuple[str, list[Row]]]:
        return [*_rows(self, ctx).items()]


class Command(_Helping, TyperCommand):
    """A command whose help shows its options in groups."""


class Group(_Helping, TyperGroup):
    """A group of commands; its help shows them in groups."""

    def sections(self, ctx: Any) -> list[tuple[str, list[Row]]]:
        return [*super().sections(ctx), *_commands(self, ctx).items()]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """They are sections like the options."""
