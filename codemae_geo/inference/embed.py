"""From a scene to dense features: one vector for every cell of 32 to 4 pixels, from a backbone of any package."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from codemae_geo.errors import InputError, ModelError, OutputError, number, param
from codemae_geo.inference.components import SPREAD, RunningCovariance
from codemae_geo.inference.job import Job, MapResult, combine_regions, crop_to_aoi, whole_cells
from codemae_geo.inference.predictor import WindowNetwork
from codemae_geo.inference.request import Bounds, RunOptions, SceneLike, Target, as_request
from codemae_geo.inference.runtimes import installed
from codemae_geo.inference.runtimes.base import Program
from codemae_geo.inference.runtimes.graph import export_path, exported_program, is_exported
from codemae_geo.outputs import FolderStaging, check_space
from codemae_geo.progress import Reporter
from codemae_geo.raster.align import target_grid
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.inspect import inspect
from codemae_geo.raster.rows import iter_rows
from codemae_geo.raster.scene import expand_paths
from codemae_geo.raster.write import RasterWriter, estimate_bytes
from codemae_geo.tasks import TASKS, Task
from codemae_geo.weights import InputSpec, ModelContract, PackageFile, resolve
from codemae_geo.weights import open_package as read_package

SensorFamily = Literal["optical", "sar"]
FeatureType = Literal["float16", "float32"]

#: pixels of a cell along either axis, finest last
STRIDES = (32, 16, 8, 4)
#: stride of a HiViT's last block
PATCH = 16
#: side of the file's tiles in cells: a tile holds every band, so it is as small as a COG allows
BLOCK = 128
#: rows of cells that are projected at once, in float64
_ROWS = 16


class FeatureNetwork(WindowNetwork[NDArray[np.float32]]):
    """Feature maps ``[channels, H / stride, W / stride]`` of windows.

    A transformer's features tell where in the window a patch lies, which draws a lattice of windows over a scene. What
    the network says of an empty window, less its mean over the window, is the part that depends on the place alone; it
    is subtracted unless ``keep_positions``.
    """

    def __init__(self, *args: Any, keep_positions: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._keep_positions = keep_positions
        self._lattice: dict[tuple[int, ...], NDArray[np.float32]] = {}

    def _answer(self, images: Sequence[NDArray[np.generic]], valid: Sequence[NDArray[np.bool_]]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = self.network(images, valid)
        return features if self._keep_positions else features - self._positions(images[0][:1])

    def _positions(self, like: NDArray[np.generic]) -> NDArray[np.float32]:
        """``[1, channels, h, w]`` that sum to zero over the window; windows of one run are all of one size."""
        if like.shape not in self._lattice:
            nothing = np.zeros((1, *like.shape[-2:]), bool)  # what is invalid enters the network as zero
            empty: NDArray[np.float32] = self.network([np.zeros_like(like)], [nothing])
            self._lattice[like.shape] = empty - empty.mean((-2, -1), keepdims=True)
        return self._lattice[like.shape]


class EmbedJob(Job[FeatureNetwork]):
    """Dense features of one scene, see :func:`embed`."""

    task: ClassVar[Task] = TASKS["embedding"]
    dtype: FeatureType = "float16"

    @classmethod
    def open(
        cls,
        model: str | Path,
        scene: SceneLike,
        *,
        sensor: SensorFamily | None = None,
        stride: int = PATCH,
        dtype: FeatureType = "float16",
        keep_positions: bool = False,
        target: Target | None = None,
        options: RunOptions | None = None,
        reporter: Reporter | None = None,
    ) -> EmbedJob:
        """Open and check everything, without writing. Arguments and errors are those of :func:`embed`."""
        target, options, reporter = target or Target(), options or RunOptions(), reporter or Reporter()
        request = as_request(scene)
        if stride not in STRIDES:
            raise InputError(
                "there are no features of this stride",
                found=param("stride", stride),
                expected="32, 16, 8 or 4",
                option="stride",
            )
        with gdal_env(), reporter.stage("check"):
            package, backbone = find_backbone(model, stride)
            names = [request.paths] if isinstance(request.paths, str | Path) else request.paths
            info = inspect(expand_paths(names, "image")[0])
            spec = choose_input(package.contract, backbone, sensor, info, bands_asked=request.bands is not None)
            reporter.log(f"sensor: {spec.family}")
            contract = package.contract.model_copy(update={"inputs": [spec]})
            package = replace(package, contract=contract)
            opened = request.open(spec)
            grid = whole_cells(
                target_grid(opened, dst_crs=target.dst_crs, res=target.res, bounds=target.bounds), stride
            )
            regions = []
            if target.aoi is not None:
                grid, inside = crop_to_aoi(grid, target.aoi, stride)
                regions.append(inside)
            window = options.window or contract.window
            multiple = max(PATCH, stride)
            options = replace(options, window=max(window // multiple, 1) * multiple)
            batch = options.batch_size
            job = cls(
                package,
                lambda network, choice: FeatureNetwork(
                    network, contract, choice, batch_size=batch, keep_positions=keep_positions
                ),
                [request],
                [opened],
                grid,
                options,
                reporter,
                region=combine_regions(regions),
                parameters={
                    "sensor": spec.family,
                    "stride": stride,
                    "dtype": dtype,
                    "keep_positions": keep_positions,
                    **target.parameters(pair=False),
                    **{k: v for k, v in asdict(options).items() if k not in ("tta", "probabilities")},
                },
                reads=[target.aoi],
                program=Program("features", spec.family, stride),
                stride=stride,
                multiple=multiple,
            )
        job.dtype = dtype
        return job

    def estimate(self) -> dict[str, Any]:
        """See :meth:`Job.estimate`."""
        channels = self.predictor.channels
        return self._estimate(channels, self.plan.window[0] * self.plan.width * 4 * channels, self._disk_bytes)

    @property
    def _disk_bytes(self) -> int:
        # features hardly deflate, where the estimate counts on one half
        return 2 * estimate_bytes(self.cells, self.predictor.channels, self.dtype) + estimate_bytes(self.cells, 3)

    def _write(self, staging: FolderStaging) -> tuple[dict[str, Path], dict[str, Any]]:
        folder = staging.folder
        reporter = self.reporter
        check_space(folder, self._disk_bytes)
        outputs = {"embedding": folder / "embedding.tif", "components": folder / "components.tif"}
        with self.open_readers() as readers, FeatureSink(self, outputs["embedding"]) as sink:
            stats = self.predict(readers, sink)
            if sink.covariance.count == 0:
                raise self.nothing_analysed()
            with reporter.stage("write"):
                sink.close()
        with reporter.stage("components"):
            explained = write_components(self, sink.covariance, outputs["embedding"], outputs["components"])
        rows, columns = self.cells.shape.yx
        return outputs, {
            **self.describe(stats),
            "embedding": {
                "dimensions": self.predictor.channels,
                "stride": self.stride,
                "dtype": self.dtype,
                "cells": sink.covariance.count,
                "share": sink.covariance.count / (rows * columns),
            },
            "components": {"explained_variance_ratio": explained, "spread_in_standard_deviations": SPREAD},
        }


def embed(
    model: str | Path,
    scene: SceneLike,
    out: str | Path,
    *,
    sensor: SensorFamily | None = None,
    stride: int = PATCH,
    dtype: FeatureType = "float16",
    keep_positions: bool = False,
    dst_crs: str | None = None,
    res: float | None = None,
    bounds: Bounds | None = None,
    aoi: str | Path | None = None,
    options: RunOptions | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> MapResult:
    """Dense features of a scene of any size.

    Windows overlap and their features are averaged with weights that fall to nearly nothing at a window's edge; what
    depends only on a cell's place in its window is removed, see :class:`FeatureNetwork`. A cell has features if at
    least half of its pixels are valid and asked for. The result is never in memory as a whole.

    Args:
        model: name, file or hub address of a package with a backbone; a pretrained one has the task embedding.
        scene: one file or many of one date.
        out: folder to create: ``embedding.tif`` (one band per dimension, nodata NaN), ``components.tif`` (the first
            three principal components as red, green and blue, nodata 0), ``summary.json``.
        sensor: the tokenizer to use; None guesses from the scene.
        stride: pixels of a cell along either axis: 16 gives the tokens of a HiViT's
            last block, 8 and 4 its pyramid's levels; 32, 16 and 8 the last layers of DeCUR's ResNets.
        dtype: how features are stored; float16 keeps three digits.
        keep_positions: leave the features as the network gives them.
        dst_crs, res, bounds, aoi: where, see :class:`Target`.
        options: see :class:`RunOptions`; ``tta`` and ``probabilities`` have no meaning here.
        overwrite: allow a folder with content.
        reporter: told stages, progress, decisions and warnings.

    Returns:
        The files and the summary.

    Raises:
        InputError, OutputError: as :func:`codemae_geo.map_damage`.
        ModelError: no backbone in the package, or none for the sensor; or it is not exported and PyTorch is missing.
    """
    job = EmbedJob.open(
        model,
        scene,
        sensor=sensor,
        stride=stride,
        dtype=dtype,
        keep_positions=keep_positions,
        target=Target(dst_crs=dst_crs, res=res, bounds=bounds, aoi=aoi),
        options=options,
        reporter=reporter,
    )
    return job.run(out, overwrite=overwrite)


@dataclass(frozen=True)
class Backbone:
    """What a package has features of.

    Args:
        sensors: families of the scenes that it takes.
        strides: pixels of a cell of its maps.
    """

    sensors: Sequence[str]
    strides: Sequence[int]


def find_backbone(model: str | Path, stride: int) -> tuple[PackageFile, Backbone]:
    """A package, and what its backbone can be asked for: the network itself or its part, or what was exported of it.

    Raises:
        ModelError: it has none, or no map of the stride; or only PyTorch could run it, which is not installed.
    """
    path = resolve(model)
    package: PackageFile
    if is_exported(path) or not installed("torch"):
        package = read_package(path)
        backbone = _exported_backbone(package)
    else:
        from codemae_geo.models.encoder import find_encoder
        from codemae_geo.weights.package import load_package

        package = loaded = load_package(path)
        encoder = find_encoder(loaded.module)
        backbone = Backbone(encoder.sensors, encoder.strides) if encoder is not None else Backbone((), ())
    if not backbone.sensors:
        raise ModelError(
            f"the model {package.contract.name} has no backbone to take features from",
            found=f"architecture {package.contract.architecture.name}",
            expected="a package with a backbone, such as the encoder.safetensors of codemae pretrain",
        )
    if stride not in backbone.strides:
        raise ModelError(
            f"the backbone of {package.contract.name} has no features of stride {stride}",
            expected=param("stride", " or ".join(map(str, backbone.strides))),
            option="stride",
        )
    return package, backbone


def _exported_backbone(package: PackageFile) -> Backbone:
    """What was exported of a package: it is an exported model itself, or such lie beside it."""
    beside = {export_path(package, Program("features", s, n)) for s in ("optical", "sar") for n in STRIDES}
    files = [package.path] if package.path.suffix == ".onnx" else [*beside, package.path.with_suffix(".onnx")]
    programs = [exported_program(file) for file in files if is_exported(file)]
    programs = [p for p in programs if p.kind == "features"]
    if not programs:
        raise ModelError(
            f"no features of the model {package.contract.name} are exported, and PyTorch is not installed"
            if package.path.suffix != ".onnx"
            else f"{package.path.name} was not exported for features",
            found=str(package.path),
            expected="a file of `codemae models export`, with a sensor and a stride",
            hint="pip install 'codemae-geo[torch]', or export it where PyTorch is",
        )
    return Backbone(sorted({p.sensor for p in programs if p.sensor is not None}), sorted({p.stride for p in programs}))


def choose_input(
    contract: ModelContract,
    backbone: Backbone,
    sensor: SensorFamily | None,
    info: dict[str, Any],
    *,
    bands_asked: bool = False,
) -> InputSpec:
    """The input of a model that a scene goes to, named ``image``.

    Args:
        contract: of the package.
        backbone: its backbone, which must have the sensor's tokenizer.
        sensor: as asked; None takes what the scene looks like.
        info: of the scene's first file, see :func:`codemae_geo.raster.inspect.inspect`.
        bands_asked: the user chose the bands, and then knows what they are.

    Raises:
        ModelError: the model does not take this sensor.
        InputError: the scene is plainly of the other sensor, or cannot be told and both are possible.
    """
    specs = {spec.family: spec for spec in reversed(contract.inputs) if spec.family in backbone.sensors}
    guess = info.get("guess", {}).get("family")
    wanted = sensor or guess or (next(iter(specs)) if len(specs) == 1 else None)
    if wanted is None:
        raise InputError(
            "the sensor of the scene cannot be told",
            hint=f"say {param('sensor', 'optical')} or {param('sensor', 'sar')}",
            option="sensor",
        )
    if wanted not in specs:
        why = "asked for" if sensor else f"the scene has {info['guess']['family_reason']}"
        raise ModelError(
            f"the model {contract.name} does not take {wanted} scenes",
            found=f"{wanted} ({why})",
            expected=" or ".join(sorted(specs)) or "an input that its backbone has a tokenizer for",
            hint=f"name another model, or say {param('sensor')} if the scene was not recognised",
        )
    doubtful = sensor is not None and guess not in (None, sensor) and not bands_asked
    if doubtful and (seen := _evidence(info, str(guess))):
        raise InputError(
            f"the scene looks like {guess}, and {sensor} was asked for",
            found=seen,
            expected="three bands" if sensor == "optical" else "a radar band",
            hint=f"say {param('sensor', guess)} or leave it out"
            + (f"; radar stored in three equal bands: {param('bands', 1)}" if guess == "optical" else ""),
        )
    return specs[wanted].model_copy(update={"name": "image"})


def _evidence(info: dict[str, Any], guess: str) -> str | None:
    """What shows plainly that a raster is of a family; None where the guess may be wrong."""
    if guess == "sar":
        return str(info["guess"]["family_reason"])
    colors = {band["color"] for band in info["bands"]}
    return "bands marked red, green and blue" if {"red", "green", "blue"} <= colors else None


class FeatureSink:
    """Takes finished rows of cells from the engine: writes them, and counts what the components need."""

    def __init__(self, job: EmbedJob, path: Path) -> None:
        self._half = job.dtype == "float16"
        self._stack = ExitStack()
        self.covariance = RunningCovariance(job.predictor.channels)
        self._writer = self._stack.enter_context(
            RasterWriter.features(
                path,
                job.cells,
                [f"feature {i}" for i in range(job.predictor.channels)],
                half=self._half,
                tags=job.tags(),
                block=BLOCK,
            )
        )

    def __call__(self, row: int, features: NDArray[np.float32], analysed: NDArray[np.bool_]) -> None:
        """Take rows of cells from ``row`` on: ``features [D, rows, columns]``, ``analysed [rows, columns]``."""
        if self._half:
            largest = np.abs(features[:, analysed]).max(initial=0)
            if largest > np.finfo(np.float16).max:
                raise OutputError(
                    "a feature is too large for float16",
                    found=number(largest, 3),
                    expected=f"at most {np.finfo(np.float16).max:.0f}",
                    hint=f"add {param('dtype', 'float32')}",
                    option="dtype",
                )
            features = np.where(analysed, features, 0).astype(np.float16).astype(np.float32)
        self.covariance.add(features[:, analysed].T)
        self._writer.write_rows(row, np.where(analysed, features, np.float32("nan")))

    def close(self) -> None:
        """Finish the raster."""
        self._stack.close()

    def __enter__(self) -> FeatureSink:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def write_components(job: EmbedJob, covariance: RunningCovariance, source: Path, path: Path) -> list[float]:
    """Write the picture of the first three principal components of the features in ``source``.

    Returns:
        The share of the variance that each explains.
    """
    components = covariance.components(3)
    with RasterWriter.picture(path, job.cells, [f"component {i}" for i in (1, 2, 3)], tags=job.tags()) as writer:
        for top, features in iter_rows(source, BLOCK):
            for row in range(0, features.shape[1], _ROWS):
                part = features[:, row : row + _ROWS]
                writer.write_rows(top + row, components.picture(part, np.isfinite(part[0])))
    return components.explained
