"""The arrows between packages: those of pyproject.toml read from the sources, and each in a fresh interpreter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
#: what typer loads
TYPERS = ("annotated_doc", "click", "shellingham", "typing_extensions")
HEAVY = ("torch", "rasterio", "geopandas", "timm", "pandas", "pyogrio", "torchgeo", "kornia", "lightning")


def loaded_by(code: str) -> set[str]:
    """Top-level modules that ``code`` loads."""
    names = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(' '.join({{m.split('.')[0] for m in sys.modules}}))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(names.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("codemae_geo", HEAVY),
        ("codemae_geo.errors", HEAVY),
        ("codemae_geo.classes", HEAVY),
        ("codemae_geo.styles", HEAVY),
        ("codemae_geo.sensors", HEAVY),
        ("codemae_geo.tiling", HEAVY),
        ("codemae_geo.tiling.area", HEAVY),
        ("codemae_geo.raster.scene", ("torch", "timm", "geopandas", "codemae_cli")),
        ("codemae_geo.raster.write", ("torch", "timm", "geopandas", "codemae_cli")),
        ("codemae_geo.vector.buildings", ("torch", "timm", "codemae_cli")),
        ("codemae_geo.vector.aggregate", ("torch", "timm", "codemae_cli")),
        ("codemae_geo.models", ("rasterio", "geopandas", "codemae_cli")),
        ("codemae_geo.weights", ("rasterio", "geopandas", "codemae_cli")),
        ("codemae_geo.inference.damage", ("timm", "torchgeo", "kornia", "lightning", "codemae_cli", "codemae_train")),
        ("codemae_cli.app", HEAVY),
    ],
)
def test_a_package_loads_only_what_stands_after_its_arrow(module: str, absent: tuple[str, ...]) -> None:
    assert not loaded_by(f"import {module}") & set(absent)


def test_help_loads_little() -> None:
    """`codemae --help` answers at once since it loads the command line's libraries and nothing else from outside."""
    command = [sys.executable, "-X", "importtime", "-m", "codemae_cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    installed = {name.split(".")[0] for name in names if name[0] != "_"} & set(packages_distributions())
    assert installed <= {"codemae_cli", "codemae_geo", "typer", *TYPERS}, installed


def test_the_arrows_of_the_sources() -> None:
    """import-linter's contracts in pyproject.toml: layers, what must not know what, and no circles."""
    lint = shutil.which("lint-imports", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert lint, "import-linter is one of the development dependencies"
    path = os.pathsep.join([str(ROOT / "qgis_plugin"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [lint, "--no-cache"], cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_circle_of_files() -> None:
    """Not even through imports for types alone, which the contracts leave out: a package's face is made of them."""
    packages = ("codemae_cli", "codemae_train", "codemae_datasets", "codemae_geo")
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=False)
    files = {name for name in graph.modules if not graph.find_children(name)}
    arrows = {name: graph.find_modules_directly_imported_by(name) & files for name in files}
    while free := {name for name, targets in arrows.items() if not targets}:
        arrows = {name: targets - free for name, targets in arrows.items() if name not in free}
    assert not arrows
