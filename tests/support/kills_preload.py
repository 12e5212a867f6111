"""What the server of :mod:`support.kills` loads before it forks: libraries, none of our own modules."""

import importlib
from contextlib import suppress

import torch

torch.set_num_threads(1)
for _name in (
    *("rasterio", "rasterio.vrt", "geopandas", "pyogrio", "odc.geo.geobox", "scipy.ndimage", "scipy.fft", "pystac"),
    *(
        "pydantic",
        "typer",
        "yaml",
        "PIL.Image",
        "timm",
        "kornia",
        "lightning.fabric",
        "torchmetrics",
        "pyarrow.parquet",
    ),
):
    with suppress(ImportError):
        importlib.import_module(_name)
