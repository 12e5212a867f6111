"""Options of the whole program: groups in the help, variables, a settings file, the log; and what a user types next."""

from __future__ import annotations

import contextlib
import doctest
import functools
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import codemae_cli.helping
import codemae_cli.manners
import geopandas as gpd
import numpy as np
import pytest
import rasterio
from codemae_cli.app import app
from codemae_cli.helping import COMMANDS, PANELS, panel_of
from codemae_cli.manners import LOG, split_own
from numpy.typing import NDArray
from support.scenes import Pair, run_codemae, write_raster
from typer.main import get_command
from typer.testing import CliRunner

from codemae_geo.errors import ModelError
from codemae_geo.weights import registry


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """Whatever a test opens is closed behind it."""
    yield
    LOG.__init__()  # type: ignore[misc]


def run(*words: object, code: int = 0, env: dict[str, str] | None = None) -> Any:
    own, rest = split_own([str(w) for w in words])
    done = CliRunner().invoke(app, [*own, *rest], env=env)
    assert done.exit_code == code, done.output
    return done


def plan(pair: Pair, model: Path, *words: object, env: dict[str, str] | None = None) -> dict[str, object]:
    """What a dry run of `codemae damage` says it will do."""
    common = ("--pre", pair.pre, "--post", pair.post, "--model", model, "-o", pair.pre.parent / "none")
    done = run(*words, "damage", *common, "--dry-run", "--json", "--progress", "none", env=env)
    return json.loads(done.stdout.splitlines()[-1])


def test_examples_in_docstrings() -> None:
    for module in (codemae_cli.manners, codemae_cli.helping):
        assert doctest.testmod(module).failed == 0


def test_help_shows_options_and_commands_in_groups() -> None:
    text = run("damage", "--help").stdout
    headings = [line[:-1] for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Options", *PANELS, *(["Examples"] if "Examples" in headings else [])]
    where = text[text.index("Area and grid:") : text.index("Scenes:")]
    assert "--dst-crs" in where and "--device" not in where and "env var" not in text
    overview = run("--help").stdout
    assert [h for h in COMMANDS if f"\n{h}:\n" in overview] == list(COMMANDS)
    assert "--install-completion" in overview
    assert "damage     Map building damage" in overview and "..." not in overview[overview.index("Maps:") :]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("words", [["--help"], ["damage", "--help"], ["evaluate", "--help"], ["models", "--help"]])
def test_help_on_a_terminal_is_drawn_in_panels(words: list[str], width: int) -> None:
    """Run behind a pseudo terminal: every group is a panel that fits, and nothing of its words is lost."""
    pty = pytest.importorskip("pty", reason="no pseudo terminals on this system")
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": str(width), "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-m", "codemae_cli", *words], stdout=theirs, env=env)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # which is how Linux ends a terminal
        while part := os.read(ours, 65536):
            shown += part
    os.close(ours)
    assert process.wait(60) == 0
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in shown.decode().splitlines()]
    titles = [line.split()[1] for line in lines if line.startswith("╭")]
    plain = run(*words).stdout
    headings = [line[:-1].split()[0] for line in plain.splitlines() if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    assert titles == [h for h in headings if h not in ("Examples", "Example")]
    assert max(len(line) for line in lines if line[:1] in "╭│╰") <= width
    assert set(re.findall(r"--[a-z-]+", plain)) <= set(re.findall(r"--[a-z-]+", "\n".join(lines)))


def test_every_name_of_a_group_is_an_option_somewhere() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    flat = [c for top in commands.values() for c in (top, *getattr(top, "commands", {}).values())]
    names = {p.name.rstrip("_") for c in flat for p in c.params} | {"help"}
    assert {n for group in PANELS.values() for n in group} - names == set()
    assert panel_of("pre_bands") == "Scenes" and panel_of("json_") == "Reporting"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    words = {"COMP_WORDS": "codemae da", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "codemae da"}
    env = {"_CODEMAE_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args", **words}
    done = CliRunner().invoke(app, [], prog_name="codemae", env=env)
    assert "damage" in done.stdout and "data" in done.stdout


def test_options_from_variables_and_a_file(pair: Pair, model: Path, tmp_path: Path) -> None:
    settings = tmp_path / "codemae.toml"
    settings.write_text("[all]\nwindow = 96\noverlap = 0.25\n\n[damage]\nwindow = 128\n")
    assert plan(pair, model)["windows"] != (told := plan(pair, model, "--config", settings))["windows"]
    assert told["windows"]["size"] == [128, 128]  # type: ignore[index]
    env = {"CODEMAE_CONFIG": str(settings), "CODEMAE_DAMAGE_WINDOW": "64"}
    assert plan(pair, model, env=env)["windows"]["size"] == [64, 64]  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[damge]\n", ["damge", "did you mean 'damage'"]),
        ("[damage]\nwindo = 1\n", ["windo", "did you mean 'window'"]),
        ("[all]\nfurlongs = 1\n", ["furlongs"]),
        ("window = 1\n", ["'window'", "[all]"]),
        ("[damage\n", ["cannot be read", "TOML"]),
    ],
)
def test_settings_that_cannot_be_used(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "s.toml").write_text(text)
    done = run("--config", tmp_path / "s.toml", "doctor", code=1)
    assert all(word in done.stderr for word in words), done.stderr


def test_the_log_keeps_what_is_not_shown(pair: Pair, model: Path, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    plan(pair, model, "--log-file", log)
    first = log.read_text()
    assert "check ..." in first and "device: cpu" in first
    done = run("info", tmp_path / "gone.tif", "--log-file", log, code=1)
    assert log.read_text().startswith(first)  # appended
    assert "gone.tif is not there" in log.read_text() and "Traceback" in log.read_text()
    assert "Traceback" not in done.stderr
    assert "Traceback" in run("info", "-v", tmp_path / "gone.tif", code=1).stderr
    assert "cannot be written" in run("--log-file", tmp_path / "no" / "x.log", "doctor", code=1).stderr


def test_coordinates_can_be_typed_back(pair: Pair, model: Path, tmp_path: Path) -> None:
    words = ("--bounds", 1366000.5, 4103960, 1366040, 4104000, "-o", tmp_path / "o")
    done = run("damage", "--pre", pair.pre, "--post", pair.post, "--model", model, *words, code=1)
    assert "e+0" not in done.stderr and "4104000" in done.stderr


def test_an_unknown_model_offers_models_for_the_task(
    model: Path, segmenter: Path, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    for path in (model, segmenter):
        (tmp_path / "models" / path.name).symlink_to(path)
    monkeypatch.setenv("CODEMAE_MODELS", str(tmp_path / "models"))
    done = run("predict", "segmentor", pair.pre, "-o", tmp_path / "o", code=1)
    assert "did you mean 'segmenter'" in done.stderr and "damage" not in done.stderr.partition("expected")[2]


def test_the_hub_answers_in_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a network the client is not even asked for the net; what an earlier run fetched is found."""
    asked: list[bool] = []

    def refused(*args: object) -> socket.socket:
        raise OSError("no network")

    def download(*args: object, local_files_only: bool, **kwargs: object) -> str:
        asked.append(local_files_only)
        raise OSError("not in the cache")

    monkeypatch.setattr(registry.socket, "create_connection", refused)
    monkeypatch.setattr(registry, "getproxies", dict)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(ModelError, match="cannot be fetched"):
        registry.resolve("hf:owner/model@0123abc")
    monkeypatch.setattr(registry, "getproxies", lambda: {"https": "http://proxy:3128"})
    with pytest.raises(ModelError, match="cannot be fetched"):
        registry.resolve("hf:owner/model@0123abc")
    assert asked == [True, False]


def write_values(path: Path, values: NDArray[Any], names: Sequence[str] = ()) -> Path:
    """A raster of given values ``[bands, rows, columns]``."""
    write_raster(path, size=values.shape[1:], count=len(values), dtype=values.dtype.name)
    with rasterio.open(path, "r+") as file:
        file.write(values)
        if names:
            file.descriptions = names
    return path


def test_info_says_what_it_does_not_know(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    classes = write_values(tmp_path / "classes.tif", rng.integers(0, 4, (1, 64, 64), dtype="u1"))
    assert "looks like classes (whole numbers, 4 different values)" in run("info", classes).stdout
    heights = write_values(tmp_path / "dem.tif", rng.integers(0, 2000, (1, 64, 64), dtype="u2"))
    text = run("info", heights).stdout
    assert "sensor      unknown (1 band(s) of whole numbers" in text and "unit " not in text
    names = [f"B{i:02}" for i in range(1, 9)] + ["B8A", "B09", "B10", "B11", "B12"]
    for level, bands in (("l1c", names), ("l2a", [n for n in names if n != "B10"])):
        values = rng.integers(300, 4000, (len(bands), 64, 64), dtype="u2")
        path = write_values(tmp_path / f"{level}.tif", values, bands)
        assert f"like sentinel-2-{level}" in run("info", path).stdout


def test_footprints_by_url(pair: Pair, model: Path, tmp_path: Path) -> None:
    houses = tmp_path / "houses.geojson"
    gpd.read_file(pair.footprints).to_file(houses)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{houses.name}"
        common = ("damage", "--pre", pair.pre, "--post", pair.post, "--model", model, "--progress", "none", "-q")
        done = run_codemae(*common, "--footprints", address, "-o", tmp_path / "url")  # GDAL holds the lock of Python
        server.shutdown()
    assert done.code == 0, done.err
    run(*common, "--footprints", houses, "-o", tmp_path / "file")
    a, b = (json.loads((tmp_path / n / "summary.json").read_text())["buildings"] for n in ("url", "file"))
    assert a == b and a["n"] == 3


def test_resampling_is_the_users(pair: Pair, segmenter: Path, tmp_path: Path) -> None:
    common = ("predict", segmenter, pair.pre, "--res", 0.9, "--progress", "none", "-q")
    for name in ("nearest", "cubic"):
        run(*common, "--resampling", name, "-o", tmp_path / name)
    told = json.loads((tmp_path / "cubic" / "summary.json").read_text())["parameters"]
    assert told["resampling"] == "cubic"
    a, b = (rasterio.open(tmp_path / n / "confidence.tif").read() for n in ("nearest", "cubic"))
    assert a.shape == b.shape and (a != b).any()
    run(*common, "--resampling", "magic", "-o", tmp_path / "x", code=2)
