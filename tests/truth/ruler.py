"""A model that measures, and rasters to measure with.

The ruler's class is the value of one band: what a map says can be computed without the product, with NumPy or GDAL
alone, and compared pixel by pixel. A case that comes out wrong without a word is the fault that these tests are for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from affine import Affine
from torch import Tensor, nn

from codemae_geo.classes import NODATA
from codemae_geo.inference.request import SceneRequest
from codemae_geo.inference.segment import predict
from codemae_geo.progress import Reporter
from codemae_geo.weights import ArchitectureSpec, ClassSpec, InputSpec, ModelContract, save_package

#: classes of the ruler; a scene of the unit uint8 may hold 0 to 127
MARKS = 128
#: 10 m pixels in UTM 33N
PLACE = Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)
UTM = "EPSG:32633"


class Ruler(nn.Module):
    """Class k where the first channel is nearest to k."""

    def __init__(self, num_classes: int = MARKS) -> None:
        super().__init__()
        self.marks = nn.Parameter(torch.arange(num_classes, dtype=torch.float32))

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, h, w]`` to ``[B, classes, h, w]``."""
        return -((image[:, :1].float() - self.marks[None, :, None, None]) ** 2)


@lru_cache(maxsize=64)
def ruler(folder: Path, family: str = "optical", unit: str = "uint8", low: float = 0.0, step: float = 1.0) -> Path:
    """A package: class = (value in ``unit`` - low) / step, to the nearest."""
    contract = ModelContract(
        name="ruler",
        description="Class is the value of one band.",
        task="segmentation",
        architecture=ArchitectureSpec(name="ruler", config={}),
        inputs=[
            InputSpec(
                name="image",
                family=family,  # type: ignore[arg-type]
                bands=["red", "green", "blue"] if family == "optical" else ["sar"],
                unit=unit,  # type: ignore[arg-type]
                mean=[low] * 3,
                std=[step] * 3,
            )
        ],
        classes=[ClassSpec(value=k, name=f"mark {k}", color=f"#{k:02x}{k:02x}{k:02x}") for k in range(MARKS)],
        window=64,
        overlap=0.0,
        licence="Apache-2.0",
    )
    name = f"{family}-{unit}-{low:g}-{step:g}.safetensors"
    return save_package(folder / name, Ruler().state_dict(), contract, overwrite=True)


@dataclass
class Log(Reporter):
    """Keeps what is said."""

    said: list[str] = field(default_factory=list)
    warned: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def log(self, message: str) -> None:
        self.said.append(message)

    def on_warning(self, code: str, message: str) -> None:
        self.warned[code] = message


@dataclass
class Map:
    """What came out: classes ``[h, w]``, 255 where nothing was analysed."""

    classes: np.ndarray
    transform: Affine
    crs: Any
    summary: Mapping[str, Any]
    warned: dict[str, str]
    said: list[str]

    @property
    def valid(self) -> np.ndarray:
        """Where there is an answer."""
        return self.classes != NODATA

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Map coordinates of the pixel centres, each ``[h, w]``."""
        rows, cols = np.indices(self.classes.shape)
        return _apply(self.transform, cols + 0.5, rows + 0.5)


def _apply(a: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return a.a * x + a.b * y + a.c, a.d * x + a.e * y + a.f


def measure(
    folder: Path,
    paths: Any,
    *,
    family: str = "optical",
    unit: str = "uint8",
    low: float = 0.0,
    step: float = 1.0,
    dst_crs: str | None = None,
    res: float | None = None,
    stored: str = "auto",
    **request: Any,
) -> Map:
    """Run the ruler over a scene as `codemae predict` would; ``unit`` is the model's, ``stored`` that of the values."""
    log = Log()
    model = ruler(folder, family, unit, low, step)
    out = folder / "out"
    result = predict(
        model,
        SceneRequest(paths, unit=stored, **request),
        out,
        dst_crs=dst_crs,
        res=res,
        polygons=False,
        overwrite=True,
        reporter=log,
    )
    with rasterio.open(result.outputs["classes"]) as ds:
        return Map(ds.read(1), ds.transform, ds.crs, result.summary, log.warned, log.said)


def write(
    path: Path,
    data: np.ndarray,
    *,
    transform: Affine | None = PLACE,
    crs: Any = UTM,
    names: Sequence[str] = (),
    colors: Sequence[str] = (),
    scales: Sequence[float] = (),
    offsets: Sequence[float] = (),
    units: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    mask: np.ndarray | None = None,
    gcps: Any = None,
    **options: Any,
) -> Path:
    """A raster of ``[C, h, w]`` or ``[h, w]``."""
    data = data if data.ndim == 3 else data[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {} if transform is None else {"transform": transform}
    if gcps is not None:
        place = {"gcps": gcps}
    options = {"driver": "GTiff", "dtype": data.dtype.name, "crs": crs, **place, **options}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", count=len(data), height=data.shape[1], width=data.shape[2], **options) as ds,
    ):
        ds.write(data)
        if colors:
            ds.colorinterp = [rasterio.enums.ColorInterp[c] for c in colors]
        for i, name in enumerate(names, 1):
            ds.set_band_description(i, name)
        if scales:
            ds.scales = tuple(scales)
        if offsets:
            ds.offsets = tuple(offsets)
        if units:
            ds.units = tuple(units)
        if tags:
            ds.update_tags(**tags)
        if mask is not None:
            ds.write_mask(mask)
    return path


def marks(shape: tuple[int, int] = (40, 50), bands: int = 3, dtype: str = "uint8", top: int = 100) -> np.ndarray:
    """``[bands, h, w]``: every pixel of the first band another mark than its neighbours, 1 to ``top``; the other bands
    hold what would be another mark."""
    rows, cols = np.indices(shape)
    first = (rows * 7 + cols * 3) % top + 1
    return np.stack([(first + 13 * b) % (top + 1) + (b > 0) for b in range(bands)]).astype(dtype)


def speckled(looks: float, shape: tuple[int, int] = (96, 96), seed: int = 0, level: float = 0.05) -> np.ndarray:
    """Power of a scene of fields with developed speckle of so many looks, ``[h, w]`` float64."""
    random = np.random.default_rng(seed)
    fields = level * 10 ** random.normal(0, 0.25, (shape[0] // 24 + 1, shape[1] // 24 + 1))
    mean = np.kron(fields, np.ones((24, 24)))[: shape[0], : shape[1]]
    return mean * random.gamma(looks, 1 / looks, shape)
