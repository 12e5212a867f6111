"""What `codemae doctor` looks at."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

#: libraries whose versions matter when something goes wrong
LIBRARIES = (
    "openvino",
    "torch",
    "timm",
    "numpy",
    "rasterio",
    "pyproj",
    "odc-geo",
    "geopandas",
    "pyogrio",
    "exactextract",
)
#: those that some installations do without
OPTIONAL = {"openvino", "torch", "timm"}


def check_health() -> dict[str, Any]:
    """Facts about the installation, and problems in plain words.

    Returns:
        ``facts`` (name -> text), ``devices`` (what ``--device`` takes here), ``device_names`` (device -> what it is),
        ``models`` (names), ``packages`` (name, task, sensors, origin and path of each model), ``python`` (version and
        executable), ``free_bytes`` (on the disk of temporary files), ``home`` (for readers that mask it) and
        ``problems`` (sentences).
    """
    import rasterio
    from pyproj import CRS, datadir
    from pyproj.exceptions import ProjError

    from codemae_geo import __version__
    from codemae_geo.errors import CodemaeError
    from codemae_geo.inference.runtimes import choose_runtime
    from codemae_geo.weights import open_package, read_contract, resolve
    from codemae_geo.weights.registry import DEFAULT_DAMAGE_MODEL, cached_models, known_models

    problems: list[str] = []
    facts = {
        "codemae-geo": __version__,
        "python": f"{platform.python_version()} {sys.executable}",
        "system": platform.platform(),
    }
    for name in LIBRARIES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            if name in OPTIONAL:
                facts[name] = "not installed"
            else:
                problems.append(f"{name} is not installed")
    facts["gdal"] = rasterio.__gdal_version__
    facts["proj data"] = datadir.get_data_dir()
    for name in ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA"):
        if os.environ.get(name):
            facts[name] = os.environ[name]
    try:
        CRS.from_epsg(32633)
        rasterio.CRS.from_epsg(32633)
    except (ProjError, rasterio.errors.CRSError) as error:
        problems.append(
            f"projections do not work ({error}); if PROJ_DATA or PROJ_LIB is set, unset it: it points to another PROJ"
        )
    try:
        facts["device"] = choose_runtime(package=open_package(resolve(DEFAULT_DAMAGE_MODEL))).describe()
    except CodemaeError as error:
        problems.append(f"the bundled model cannot be run: {error.message}")
    device_names = _device_names()
    facts["devices"] = ", ".join(f"{device}: {name}" for device, name in device_names.items())
    facts["threads"] = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())
    packages = []
    for model in [*known_models(), *cached_models()]:
        try:
            contract = read_contract(model.path)
        except CodemaeError as error:
            problems.append(f"the model {model.name} cannot be read: {error.message}")
            continue
        packages.append(
            {
                "name": model.name,
                "task": contract.task,
                "sensors": [i.family for i in contract.inputs],
                "origin": model.origin,
                "path": str(model.path),
            }
        )
    models = [p["name"] for p in packages]
    facts["models"] = ", ".join(f"{p['name']} ({p['task']}, {' + '.join(p['sensors'])})" for p in packages) or "none"
    if not models:
        problems.append("no model is installed, not even the bundled one: reinstall codemae-geo")
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    facts["free disk"] = f"{free / 2**30:.1f} GiB in {folder}"
    if free < 2**30:
        problems.append(f"less than 1 GiB is free in {folder}")
    return {
        "version": __version__,
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "facts": facts,
        "devices": list(device_names),
        "device_names": device_names,
        "models": models,
        "packages": packages,
        "free_bytes": free,
        "home": str(Path.home()),
        "problems": problems,
    }


def _device_names() -> dict[str, str]:
    """What ``--device`` takes on this machine, best first, with the name of the hardware."""
    names = {}
    if find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            names["cuda"] = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        if torch.backends.mps.is_available():
            names["mps"] = "Apple GPU"
    names["cpu"] = _processor()
    return names


def _processor() -> str:
    """The processor's name as its maker writes it, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
