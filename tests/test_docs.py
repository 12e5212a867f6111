"""README and docs run: every Python block, every command of every bash block, beside a small real pair."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import rasterio
from rasterio.warp import transform_bounds
from rasterio.windows import from_bounds
from support.scenes import run_codemae

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: what a block may be: run here, or shown only
RUN, SHOWN = {"bash", "python"}, {"text", "json", "yaml", "toml"}
#: the part of the demo scene that the examples are run on, in EPSG:26915
BOUNDS = (367500.0, 4103900.0, 367600.0, 4103990.0)


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.M | re.S)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with before.tif, after.tif, buildings.gpkg, and the pair again below tiles/."""
    folder = tmp_path_factory.mktemp("docs")
    scene = ROOT / "codemae_geo/data/joplin"
    for source, name in (("pre", "before"), ("post", "after")):
        with rasterio.open(scene / f"{source}.tif") as file:
            window = from_bounds(*transform_bounds("EPSG:26915", file.crs, *BOUNDS), file.transform).round_offsets()
            window = window.round_lengths()
            profile = {
                **file.profile,
                "driver": "GTiff",
                "compress": "deflate",
                "photometric": "rgb",
                "tiled": False,
                "height": window.height,
                "width": window.width,
                "transform": file.window_transform(window),
            }
            profile.pop("blockysize", None)
            with rasterio.open(folder / f"{name}.tif", "w", **profile) as out:
                out.write(file.read(window=window))
    (folder / "tiles").mkdir()
    shutil.copy(folder / "before.tif", folder / "tiles/pre_1.tif")
    shutil.copy(folder / "after.tif", folder / "tiles/post_1.tif")
    shutil.copy(scene / "buildings.gpkg", folder / "buildings.gpkg")
    return folder


def test_every_block_is_marked() -> None:
    for page in PAGES:
        for language, text in blocks(page):
            assert language in RUN | SHOWN, f"{page.name}: a block is marked {language!r}:\n{text}"


def test_the_readme_starts_with_the_two_commands_that_the_gate_runs() -> None:
    language, text = blocks(ROOT / "README.md")[0]
    assert language == "bash"
    demo, tests = text.splitlines()
    assert demo.endswith("codemae demo") and tests.endswith("pytest")
    assert "readme_command 1" in (ROOT / ".ci/run").read_text()
    assert "readme_command 2" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_examples_run(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    ran = 0
    for number, (language, text) in enumerate(blocks(page)):
        if language == "python":
            exec(compile(text, f"{page.name}, block {number}", "exec"), {"__name__": "__docs__"})
            ran += 1
        elif language == "bash" and not (page.name == "README.md" and number == 0):
            for line in text.splitlines():
                words = shlex.split(line, comments=True)
                assert words[0] == "codemae", f"{page.name}: not one of our commands: {line}"
                done = run_codemae(*words[1:], cwd=place)
                assert done.code == 0, f"{line}\n{done.err}"
                ran += 1
    assert ran > 0 or page.stem in ("architecture", "machines", "performance", "protocol")


def test_links_and_pictures_are_there() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"
