"""Several pairs of scenes in one call: a list of them, one folder for each, one summary."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from codemae_cli.console import close, emit, make_reporter, print_json, say
from codemae_cli.show import table
from codemae_geo.errors import CodemaeError, InputError, OutputError, param
from codemae_geo.progress import Reporter

if TYPE_CHECKING:
    from codemae_geo.inference.job import Job

#: file of the folder that holds all maps
SUMMARY = "batch.json"
#: columns that a list may have beside name, pre and post: options of the command that may differ from pair to pair
OPTIONAL = ("footprints", "aoi", "model", "post_sensor", "pre_bands", "post_bands", "pre_unit", "post_unit", "dst_crs")
#: columns that name files, relative to the list
_FILES = ("footprints", "aoi")
#: what does not make a map another one
_REPORTING = ("output", "batch", "json_", "progress", "quiet", "overwrite", "resume", "dry_run", "measure", "scheduler")


@dataclass(frozen=True)
class Pair:
    """One line of a list.

    Args:
        name: of its folder.
        options: the options that it sets.
    """

    name: str
    options: dict[str, Any]


def read_pairs(path: Path) -> list[Pair]:
    """Read a list of pairs: CSV with a header, or a JSON list of objects; several files of a scene with ``;`` between.

    Raises:
        InputError: the file cannot be read; names the line that is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if path.suffix.lower() == ".json" else list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError) as error:
        raise InputError(f"the list {path} cannot be read", found=str(error), option="batch") from error
    if not isinstance(rows, list) or not rows:
        raise InputError(f"the list {path} names no pair", expected="lines with pre and post", option="batch")
    pairs = [_pair(row, number, path) for number, row in enumerate(rows, 1)]
    names = [pair.name for pair in pairs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two pairs of {path.name} are called {twice!r}", expected="a name for each", option="batch")
    return pairs


def _pair(row: Any, number: int, path: Path) -> Pair:
    where = f"pair {number} of {path.name}"
    if not isinstance(row, dict):
        raise InputError(f"{where} is not an object", found=str(row)[:80], option="batch")
    given = {str(k).strip(): v for k, v in row.items() if v not in (None, "", [])}
    known = ("name", "pre", "post", *OPTIONAL)
    if unknown := [key for key in given if key not in known]:
        raise InputError(f"{where} has an unknown column", found=unknown[0], expected=", ".join(known), option="batch")
    for key in ("pre", "post"):
        if key not in given:
            raise InputError(f"{where} has no {key} scene", found=", ".join(given) or "nothing", option="batch")
        files = given[key] if isinstance(given[key], list) else str(given[key]).split(";")
        given[key] = [_beside(str(file).strip(), path) for file in files]
    for key in _FILES:
        if key in given:
            given[key] = _beside(str(given[key]), path)
    name = str(given.pop("name", f"{number:03}")).strip()
    if not name or Path(name).name != name or name.startswith("."):
        raise InputError(f"{where} has a name that is not that of a folder", found=repr(name), option="batch")
    return Pair(name, given)


def _beside(name: str, path: Path) -> str:
    """A file that is named from the folder of the list; addresses and the demo's scenes as they are."""
    return name if "://" in name or name.startswith(("/vsi", "demo:")) else str(path.parent / name)


def run_batch(
    path: Path, arguments: Mapping[str, Any], open_job: Callable[[Mapping[str, Any], Reporter], Job[Any]]
) -> None:
    """Make a map of every pair of a list, each in its folder, and tell of all in ``batch.json``.

    A pair that cannot be mapped is told and does not keep the others from being mapped. With ``resume`` pairs that are
    finished are left as they are, and one that was stopped goes on.

    Raises:
        InputError: the list is wrong, or a pair could not be mapped.
        OutputError: the folder has content and neither ``resume`` nor ``overwrite`` was asked for.
    """
    pairs = read_pairs(path)
    out = Path(arguments["output"])
    resume, overwrite, progress = arguments["resume"], arguments["overwrite"], arguments["progress"]
    if out.is_dir() and any(out.iterdir()) and not (resume or overwrite):
        raise OutputError(
            f"the output folder {out} exists and is not empty",
            hint=f"choose another folder, or add {param('resume')} or {param('overwrite')}",
        )
    out.mkdir(parents=True, exist_ok=True)
    before = _read(out / SUMMARY) if resume else {}
    done: dict[str, dict[str, Any]] = {}
    for number, pair in enumerate(pairs, 1):
        asked = {k: v for k, v in {**arguments, **pair.options}.items() if k not in _REPORTING}
        asked = json.loads(json.dumps(asked, default=str))
        old = before.get(pair.name)
        if old and old["asked"] == asked and "outputs" in old and (out / pair.name / "summary.json").is_file():
            done[pair.name] = old
            continue
        if not arguments["quiet"]:
            say(f"pair {number} of {len(pairs)}: {pair.name}")
        done[pair.name] = {"asked": asked, **_run({**arguments, **pair.options}, out / pair.name, open_job)}
        _write(out / SUMMARY, done)
    _write(out / SUMMARY, done)
    if progress == "json":
        emit("result", outputs={"batch": str(out / SUMMARY)}, summary=done)
    if arguments["json_"]:
        print_json({"outputs": {"batch": str(out / SUMMARY)}, "pairs": done})
    elif not arguments["quiet"] and progress != "json":
        typer.echo(table([_line(name, entry) for name, entry in done.items()], ("pair", "hectares", "result")))
    if failed := [name for name, entry in done.items() if "error" in entry]:
        raise InputError(
            f"{len(failed)} of {len(pairs)} pairs could not be mapped",
            found=f"{failed[0]}: {done[failed[0]]['error']}",
            hint=f"mend them and run the same command with {param('resume')}: the others are not mapped again",
        )


def _run(
    arguments: Mapping[str, Any],
    folder: Path,
    open_job: Callable[[Mapping[str, Any], Reporter], Job[Any]],
) -> dict[str, Any]:
    reporter = make_reporter(arguments["progress"], arguments["quiet"])
    try:
        result = open_job(arguments, reporter).run(
            folder,
            overwrite=arguments["overwrite"],
            resume=arguments["resume"],
            keep=True,
            scheduler=arguments["scheduler"],
        )
    except CodemaeError as error:
        return {"error": error.message}
    finally:
        close(reporter)
    told: dict[str, Any] = {
        key: result.summary[key] for key in ("analysed", "classes", "buildings") if key in result.summary
    }
    return {"outputs": {kind: str(file) for kind, file in result.outputs.items()}, **told}


def _line(name: str, entry: Mapping[str, Any]) -> tuple[str, str, str]:
    if "error" in entry:
        return name, "", entry["error"]
    shares = ", ".join(f"{c['name']} {c['share']:.1%}" for c in entry["classes"] if c["pixels"])
    return name, f"{entry['analysed']['area_m2'] / 1e4:.2f}", shares


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["pairs"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, pairs: Mapping[str, Any]) -> None:
    from codemae_geo.outputs import write_text

    write_text(path, json.dumps({"pairs": pairs}, indent=2, ensure_ascii=False) + "\n", overwrite=True)
