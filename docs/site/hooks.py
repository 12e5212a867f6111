"""Pages that are made while the site is built, from the one place where their facts stand.

- ``api/``: a page for each public module, from its docstrings (mkdocstrings)
- ``commands.md``: the help of every command
- ``catalogue/``: a page for each public dataset, from its card
- ``cards/``: the cards of the bundled models
- ``tutorials/``: the notebooks of docs/tutorials, executed

A notebook that fails, a module without a docstring, or a link that leads nowhere ends the build.
"""

from __future__ import annotations

import os
import pkgutil
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("codemae_geo", "codemae_datasets", "codemae_train")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the made pages to those that are written by hand."""
    pages: dict[str, str | bytes] = {}
    for make in (api_pages, command_page, dataset_pages, model_pages, tutorials):
        pages |= make()
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def api_pages() -> dict[str, str]:
    """A page for each public module, and an index by package."""
    pages, lines = {}, ["# Reference", "", "Every public module, from its docstrings.", ""]
    for package in PACKAGES:
        lines += [f"## {package}", "", "| module | what |", "| --- | --- |"]
        for name in modules(package):
            pages[f"api/{name}.md"] = f"# {name}\n\n::: {name}\n    options:\n      show_root_heading: false\n"
            lines.append(f"| [`{name}`]({name}.md) | {summary(name)} |")
        lines.append("")
    return {"api/index.md": "\n".join(lines), **pages}


def modules(package: str) -> Iterator[str]:
    """Names of a package and its modules, private ones left out, without importing them."""
    root = import_module(package)
    if root.__file__:
        yield package
    for found in pkgutil.walk_packages(root.__path__, f"{package}."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            yield found.name


def summary(module: str) -> str:
    """First sentence of a module's docstring, read from its source."""
    import ast
    from importlib.util import find_spec

    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    if not text:
        raise ValueError(f"{module} has no docstring")
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def command_page() -> dict[str, str]:
    """The help of every command, as the terminal shows it."""
    import typer
    from codemae_cli.app import app
    from typer.testing import CliRunner

    plain = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    lines = ["# Commands", "", "What `codemae COMMAND --help` says.", ""]
    for words in commands(typer.main.get_command(app)):
        done = CliRunner().invoke(app, [*words, "--help"], prog_name="codemae", env=plain)
        if done.exit_code != 0:
            raise ValueError(f"{words} --help ended with {done.exit_code}: {done.output}")
        lines += [f"## codemae {' '.join(words)}", "", "```text", done.output.strip(), "```", ""]
    return {"commands.md": "\n".join(lines)}


def commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command, hidden ones left out."""
    for word, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from commands(command, (*above, word))
        else:
            yield (*above, word)


def dataset_pages() -> dict[str, str]:
    """A page for each dataset of the catalogue."""
    from codemae_datasets.public import CATALOGUE, card

    pages = {}
    rows = [
        "# Datasets",
        "",
        "How they are used: [public datasets](../datasets.md).",
        "",
        "| name | dataset | labels | licence |",
        "| --- | --- | --- | --- |",
    ]
    for name in sorted(CATALOGUE):
        it = card(name)
        rows.append(f"| [`{name}`]({name}.md) | {it.title} | {it.task} | {it.licence} |")
        gsd = "not stated" if it.gsd_m is None else " to ".join(f"{v:g}" for v in dict.fromkeys(it.gsd_m)) + " m"
        facts = {
            "sensors": it.modality,
            "bands": it.bands,
            "ground sample distance": gsd,
            "size": it.size,
            "labels": it.task,
            "licence": it.licence,
            "source of the layout": it.source,
            "home": f"<{it.home}>",
        }
        splits = [f"| `{s}` | {'not stated' if n is None else f'{n:,}'} |" for s, n in it.splits.items()]
        lines = [f"# {it.title}", "", "| | |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in facts.items()), ""]
        lines += [
            "```python",
            "from codemae_datasets.public import open_dataset",
            "",
            f'dataset = open_dataset("{name}", "ROOT")',
            "```",
            "",
        ]
        lines += ["## Splits", "", "| split | samples |", "| --- | --- |", *splits, ""]
        if it.classes:
            lines += ["## Classes", "", "| number | name |", "| --- | --- |"]
            lines += [*(f"| {i} | {c} |" for i, c in enumerate(it.classes)), ""]
        lines += [
            "## Files below the root",
            "",
            "```text",
            it.layout.strip("\n"),
            "```",
            "",
            "## Cite",
            "",
            it.citation,
            "",
        ]
        pages[f"catalogue/{name}.md"] = "\n".join(lines)
    return {"catalogue/index.md": "\n".join(rows), **pages}


def model_pages() -> dict[str, str]:
    """The cards of the models that the package brings."""
    from codemae_geo.weights.card import card_text
    from codemae_geo.weights.contract import read_contract

    folder = ROOT / "codemae_geo/weights/bundled"
    pages = {}
    rows = [
        "# Bundled models",
        "",
        "What `codemae models card NAME` says. How packages are made: [models](../models.md).",
        "",
    ]
    for path in sorted(folder.glob("*.safetensors")):
        contract = read_contract(path)
        pages[f"cards/{contract.name}.md"] = card_text(contract)
        rows.append(f"- [{contract.name}]({contract.name}.md): {contract.description}")
    return {"cards/index.md": "\n".join(rows) + "\n", **pages}


def tutorials() -> dict[str, str | bytes]:
    """The notebooks, executed in an empty folder each, with what they print and draw."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter

    pages: dict[str, str | bytes] = {}
    for path in sorted((ROOT / "docs/tutorials").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(
                notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}
            ).execute(env=dict(os.environ))
        body, resources = MarkdownExporter().from_notebook_node(
            notebook, resources={"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
        )
        pages[f"tutorials/{path.stem}.md"] = body
        for name, data in resources["outputs"].items():
            pages[f"tutorials/{name}"] = data
    return pages
