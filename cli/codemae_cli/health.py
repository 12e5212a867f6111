"""What `codemae doctor` looks at."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: libraries whose versions matter when something goes wrong
LIBRARIES = ("torch", "timm", "numpy", "rasterio", "pyproj", "odc-geo", "geopandas", "pyogrio", "exactextract")


def check_health() -> dict[str, Any]:
    """Facts about the installation, and problems in plain words.

    Returns:
        ``facts`` (name -> text), ``devices`` (names torch sees), ``models`` (names) and ``problems`` (sentences).
    """
    import rasterio
    import torch
    from pyproj import CRS, datadir
    from pyproj.exceptions import ProjError

    from codemae_geo import __version__
    from codemae_geo.errors import CodemaeError
    from codemae_geo.inference.device import choose_runtime
    from codemae_geo.weights import known_models, read_contract

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
    runtime = choose_runtime()
    devices = [
        name
        for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
        if there
    ]
    devices.append("cpu")
    facts["device"] = runtime.describe()
    facts["threads"] = str(torch.get_num_threads())
    models = []
    for model in known_models():
        try:
            read_contract(model.path)
            models.append(model.name)
        except CodemaeError as error:
            problems.append(f"the model {model.name} cannot be read: {error.message}")
    facts["models"] = ", ".join(models) or "none"
    if not models:
        problems.append("no model is installed, not even the bundled one: reinstall codemae-geo")
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    facts["free disk"] = f"{free / 2**30:.1f} GiB in {folder}"
    if free < 2**30:
        problems.append(f"less than 1 GiB is free in {folder}")
    return {"version": __version__, "facts": facts, "devices": devices, "models": models, "problems": problems}
