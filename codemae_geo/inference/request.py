"""What a user asks for: which scenes, where, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from codemae_geo.raster.gcps import GcpMethod
from codemae_geo.raster.scene import Scene
from codemae_geo.sensors import Family, Stretch, Unit
from codemae_geo.tiling import Blend
from codemae_geo.weights import InputSpec

Bounds = tuple[float, float, float, float]


def absolute(name: str | Path) -> str:
    """A file or a pattern by a name that holds in every working directory; addresses and names of models as they are.

    >>> absolute("https://example.org/a.tif"), absolute("damage-tiny-optical")
    ('https://example.org/a.tif', 'damage-tiny-optical')
    """
    file, bar, layer = str(name).partition("|")
    if "://" in file or file.startswith(("/vsi", "hf:")):
        return str(name)
    local = any(c in file for c in "*?[") or Path(file).exists()
    return f"{Path(file).absolute() if local else file}{bar}{layer}"


@dataclass(frozen=True)
class SceneRequest:
    """How a scene is to be opened, see :meth:`codemae_geo.raster.scene.Scene.open`.

    Args:
        paths: rasters, folders, patterns, URLs or STAC items of one date.
        bands: indexes of the bands to use, from 1.
        src_crs: CRS of files without one.
        nodata: value without a measurement, overriding the headers.
        unit: what the stored values are; ``auto`` recognises it.
        assets: asset names of STAC items.
        stretch: ``auto``, ``minmax`` or (low, high), see :func:`codemae_geo.sensors.plan_conversion`.
        gcps: how ground control points are used, of files that have nothing else, see :mod:`codemae_geo.raster.gcps`.
    """

    paths: str | Path | Sequence[str | Path]
    bands: Sequence[int] | None = None
    src_crs: str | None = None
    nodata: float | None = None
    unit: Unit | Literal["auto"] = "auto"
    assets: Sequence[str] | None = None
    stretch: Stretch = "auto"
    gcps: GcpMethod = "tps"

    def open(self, spec: InputSpec) -> Scene:
        """Open the scene for an input of a model."""
        return self.open_as(spec.name, spec.family)

    def located(self) -> SceneRequest:
        """The same with names that hold in every working directory."""
        paths = [self.paths] if isinstance(self.paths, str | Path) else self.paths
        return replace(self, paths=[absolute(path) for path in paths])

    def open_as(self, role: str, family: Family) -> Scene:
        """Open the scene for a role, as scenes of a family."""
        return Scene.open(
            self.paths,
            role=role,
            family=family,
            bands=self.bands,
            src_crs=self.src_crs,
            nodata=self.nodata,
            unit=self.unit,
            assets=self.assets,
            gcps=self.gcps,
        )


#: a scene as a caller may give it
SceneLike = str | Path | Sequence[str | Path] | SceneRequest


def as_request(scene: SceneLike) -> SceneRequest:
    """Paths alone as a request with everything recognised automatically."""
    return scene if isinstance(scene, SceneRequest) else SceneRequest(scene)


@dataclass(frozen=True)
class Target:
    """Where a run works.

    Args:
        grid: for a pair, whose grid the answer has: of the ``pre`` scene, of the ``post`` scene, or the local ``utm``
            zone. One scene has only its own.
        dst_crs: another target CRS.
        res: another pixel size, in units of the target CRS.
        bounds: (left, bottom, right, top) in the target CRS.
        aoi: file of polygons outside of which nothing is analysed.
    """

    grid: Literal["pre", "post", "utm"] = "pre"
    dst_crs: str | None = None
    res: float | None = None
    bounds: Bounds | None = None
    aoi: str | Path | None = None

    def located(self) -> Target:
        """The same with names that hold in every working directory."""
        return self if self.aoi is None else replace(self, aoi=absolute(self.aoi))

    def parameters(self, *, pair: bool) -> dict[str, Any]:
        """What tags and summaries tell of it; the grid only of a ``pair``."""
        told = {
            "dst_crs": self.dst_crs,
            "res": self.res,
            "bounds": self.bounds,
            "aoi": None if self.aoi is None else Path(self.aoi).name,
        }
        return {"grid": self.grid, **told} if pair else told


@dataclass(frozen=True)
class RunOptions:
    """How a run computes; the defaults are right for most.

    Args:
        window: window side in pixels; None is the model's.
        overlap: share of a window that the next repeats, 0 to below 1; None is the model's.
        blend: ``hann``, ``average`` or ``none``.
        tta: average the eight flips and turns.
        batch_size: windows per call on a GPU; None chooses.
        runtime: ``auto``, ``torch``, ``openvino`` or ``onnx``, see
            :func:`codemae_geo.inference.runtimes.choose_runtime`.
        device: ``auto``, ``cuda``, ``mps`` or ``cpu``.
        precision: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        probabilities: also write one band of probability per class.
        resampling: how scenes come to the target grid: ``auto``, or a name of ``rasterio.enums.Resampling``, see
            :class:`codemae_geo.raster.read.AlignedReader`.
    """

    window: int | None = None
    overlap: float | None = None
    blend: Blend = "hann"
    tta: bool = False
    batch_size: int | None = None
    runtime: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    probabilities: bool = False
    resampling: str = "auto"
