"""What the engine costs beyond reading, the network, blending and writing, and what two peers cost for the same map.

    python benchmarks/engine.py [--sizes 4096 8192] [--repeats 3] [--peers monai torchgeo]

A near-free network (one 1x1 convolution, five classes, float32 everywhere), windows of 512 pixels at half overlap. The
*floor* is the slowest of four things that any program has to do: read the scene once, run the network on every window,
weigh and add every window's scores, write classes and confidence once. Everything runs in one process, in turn,
`--repeats` times; the figures are medians, and the ratios are what travels. CPU seconds are of all threads: they hold
where a machine is shared. After the sizes, 2,048 x 2,048 with 5, 20 and 100 classes, and the bundled model on the demo
scene beside its network alone.

Peers, as their documentation says: MONAI's `sliding_window_inference` on the whole raster in memory; torchgeo's
`GridGeoSampler` with a `DataLoader`, scores added up in an array. Both write tiled GeoTIFFs without overviews; neither
knows nodata, or rasters larger than memory. They are optional (`pip install monai`).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin
from torch import Tensor, nn

import codemae_geo
from codemae_geo import models, predict
from codemae_geo.classes import ClassInfo, ClassTable
from codemae_geo.inference.request import RunOptions
from codemae_geo.inference.runtimes import Program, choose_runtime, load_network
from codemae_geo.tiling import RollingAccumulator, plan_tiles
from codemae_geo.weights import (
    ArchitectureSpec,
    InputSpec,
    ModelContract,
    class_specs,
    open_package,
    resolve,
    save_package,
)
from codemae_geo.weights.registry import DEFAULT_DAMAGE_MODEL

WINDOW, STRIDE, BLOCK = 512, 256, 512
MEAN, STD = 0.5, 0.3


class NearFree(nn.Module):
    """One 1x1 convolution."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.score = nn.Conv2d(3, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, classes, H, W]``."""
        return self.score(image)


def make_scene(path: Path, size: int) -> None:
    """Coloured fields of 128 pixels with a little noise, deflated tiles."""
    random = np.random.default_rng(1)
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 3, "height": size, "width": size, "crs": "EPSG:32615",
        "transform": from_origin(300000, 4200000, 0.5, 0.5), "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK,
        "compress": "deflate", "zlevel": 1, "photometric": "rgb",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        for row in range(0, size, BLOCK):
            fields = random.integers(20, 236, (3, BLOCK // 128, size // 128), dtype=np.uint8)
            pixels = fields.repeat(128, 1).repeat(128, 2)
            out.write(
                pixels + random.integers(0, 8, pixels.shape, dtype=np.uint8), window=((row, row + BLOCK), (0, size))
            )


def make_package(path: Path, classes: int) -> Path:
    """The near-free network as a package."""
    models.ARCHITECTURES["near-free"] = NearFree
    torch.manual_seed(0)
    table = ClassTable([ClassInfo(i, f"class {i}", f"#{40 * i % 256:02x}{90 * i % 256:02x}80") for i in range(classes)])
    contract = ModelContract(
        name="near-free",
        description="One 1x1 convolution, for measuring everything else.",
        task="segmentation",
        architecture=ArchitectureSpec(name="near-free", config={"classes": classes}),
        inputs=[
            InputSpec(
                name="image",
                family="optical",
                bands=["red", "green", "blue"],
                unit="uint8",
                scale=1 / 255,
                mean=[MEAN] * 3,
                std=[STD] * 3,
            )
        ],
        classes=class_specs(table),
        window=WINDOW,
        licence="Apache-2.0",
    )
    return save_package(path, NearFree(classes).state_dict(), contract)


# ---------------------------------------------------------------- what anything has to do


def read_once(scene: Path) -> np.ndarray[Any, Any]:
    """Decode every block once, with GDAL's threads."""
    with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"), rasterio.open(scene) as file:
        return file.read()


def write_once(path: Path, bands: list[np.ndarray[Any, Any]]) -> None:
    """Write uint8 rasters as tiled, deflated GeoTIFFs."""
    for i, band in enumerate(bands):
        profile = {
            "driver": "GTiff",
            "crs": "EPSG:32615",
            "transform": from_origin(3e5, 4.2e6, 0.5, 0.5),
            "dtype": "uint8",
            "count": 1,
            "height": band.shape[0],
            "width": band.shape[1],
        }
        layout = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate", "zlevel": 1}
        with rasterio.open(
            path.with_name(f"{path.stem}{i}.tif"), "w", num_threads="all_cpus", **profile, **layout
        ) as out:
            out.write(band, 1)


@torch.inference_mode()
def model_only(module: nn.Module, count: int) -> None:
    """The network on one window in memory, as often as there are windows."""
    window = torch.rand(1, 3, WINDOW, WINDOW)
    for _ in range(count):
        module(window)


def blend_only(size: int, classes: int) -> None:
    """Weigh, add and take every window's scores."""
    plan = plan_tiles(size, size, WINDOW, 0.5)
    ring = RollingAccumulator(classes, WINDOW, size)
    scores = np.random.default_rng(0).random((classes, WINDOW, WINDOW), np.float32)
    for i, row in enumerate(plan.row_starts):
        for j, col in enumerate(plan.col_starts):
            ring.add(row, col, scores, (plan.row_weights[i], plan.col_weights[j]))
        ring.take(plan.finished(i))


# ---------------------------------------------------------------- the same map, three ways


def ours(package: Path, scene: Path, out: Path) -> dict[str, float]:
    """`codemae predict` without polygons; seconds of its stages."""
    options = RunOptions(precision="float32")
    result = predict(package, scene, out, polygons=False, overwrite=True, options=options)
    return dict(result.summary["seconds"])


@torch.inference_mode()
def monai_way(module: nn.Module, scene: Path, out: Path) -> None:
    """MONAI's sliding window over the whole raster in memory."""
    from monai.inferers import sliding_window_inference

    image = torch.from_numpy(read_once(scene)).float().div_(255).sub_(MEAN).div_(STD)
    scores = sliding_window_inference(image[None], WINDOW, 4, lambda x: module(x).softmax(1), 0.5, mode="gaussian")
    best = scores[0].max(0)  # type: ignore[index]
    write_once(out, [best.indices.byte().numpy(), (best.values * 250).round().byte().numpy()])


@torch.inference_mode()
def torchgeo_way(module: nn.Module, scene: Path, out: Path) -> None:
    """Torchgeo's grid sampler and a loader, scores added up in an array."""
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    dataset = RasterDataset(str(scene))
    loader = DataLoader(
        dataset, batch_size=4, sampler=GridGeoSampler(dataset, WINDOW, STRIDE), collate_fn=stack_samples, num_workers=0
    )
    with rasterio.open(scene) as file:
        size, transform = file.width, file.transform
    classes = module.score.out_channels  # type: ignore[union-attr]
    total, hits = torch.zeros(classes, size, size), torch.zeros(size, size)
    for batch in loader:
        scores = module((batch["image"] / 255 - MEAN) / STD).softmax(1)
        for piece, bounds in zip(scores, batch["bounds"], strict=True):
            x, y = (bounds[0], bounds[1]) if not hasattr(bounds, "minx") else (bounds.minx, bounds.maxy)
            left, top = (x.start, y.stop) if isinstance(x, slice) else (float(bounds[0]), float(bounds[4]))
            col, row = (round(v) for v in ~transform * (left, top))
            height, width = min(WINDOW, size - row), min(WINDOW, size - col)
            total[:, row : row + height, col : col + width] += piece[:, :height, :width]
            hits[row : row + height, col : col + width] += 1
    best = (total / hits.clamp(min=1)).max(0)
    write_once(out, [best.indices.byte().numpy(), (best.values * 250).round().byte().numpy()])


# ---------------------------------------------------------------- figures


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall-clock and CPU seconds, and what the function gave."""
    began, cpu = time.perf_counter(), time.process_time()
    answer = function()
    return time.perf_counter() - began, time.process_time() - cpu, answer


def measure(size: int, classes: int, repeats: int, peers: list[str], folder: Path) -> None:
    """Measure one size and print its rows."""
    scene, package = folder / f"{size}.tif", folder / f"near-free-{classes}.safetensors"
    if not scene.exists():
        make_scene(scene, size)
    if not package.exists():
        make_package(package, classes)
    torch.manual_seed(0)
    module = NearFree(classes).eval()
    pixels = (
        np.random.default_rng(0)
        .integers(0, classes, (size // 128, size // 128), np.uint8)
        .repeat(128, 0)
        .repeat(128, 1)
    )
    windows = len(plan_tiles(size, size, WINDOW, 0.5))
    ways: dict[str, Callable[[], Any]] = {
        "read once": lambda: read_once(scene),
        "network only": lambda: model_only(module, windows),
        "blend only": lambda: blend_only(size, classes),
        "write once": lambda: write_once(folder / "floor.tif", [pixels, pixels]),
        "ours": lambda: ours(package, scene, folder / "out"),
    }
    if "monai" in peers:
        ways["monai"] = lambda: monai_way(module, scene, folder / "monai.tif")
    if "torchgeo" in peers:
        ways["torchgeo"] = lambda: torchgeo_way(module, scene, folder / "torchgeo.tif")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    stages: list[dict[str, float]] = []
    for _ in range(repeats):
        for name, way in ways.items():
            took, busy, answer = timed(way)
            seconds[name].append(took)
            cpu[name].append(busy)
            if name == "ours":
                stages.append(answer)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    floor = max(median[name] for name in ("read once", "network only", "blend only", "write once"))
    print(f"\n{size} x {size}, {classes} classes, {windows} windows, floor {floor:.2f} s", flush=True)
    for name, value in median.items():
        busy = statistics.median(cpu[name])
        print(f"  {name:<14}{value:8.2f} s{value / floor:8.1f} x floor{busy:8.2f} s CPU")
    finish = statistics.median(s.get("write", 0.0) for s in stages)
    plain = statistics.median(sum(s.values()) - s.get("write", 0.0) for s in stages)
    print(
        f"  {'ours, plain':<14}{plain:8.2f} s{plain / floor:8.1f} x floor (without the two COGs, {finish:.2f} s)",
        flush=True,
    )


def measure_real(runs: int, folder: Path) -> None:
    """Print the bundled model's rate in a map of the demo scene beside its rate on windows in memory."""
    package = open_package(resolve(DEFAULT_DAMAGE_MODEL))
    choice = choose_runtime(package=package)
    network = load_network(package, Program.of(package.contract), choice)
    data = Path(codemae_geo.__file__).parent / "data/joplin"
    side = package.contract.window
    images, valid = [], [np.ones((1, side, side), bool)] * 2
    for name in ("pre", "post"):
        with rasterio.open(data / f"{name}.tif") as source:
            images.append(np.ascontiguousarray(source.read()[None, :3, :side, :side]))
    network(images, valid)
    ratios = []
    for _ in range(runs):
        result = codemae_geo.map_damage(
            data / "pre.tif", data / "post.tif", folder / "real", options=RunOptions(overlap=0.75), overwrite=True
        )
        count = result.summary["windows"]["run"]
        alone, _, _ = timed(lambda count=count: [network(images, valid) for _ in range(count)])
        ratios.append(alone / result.summary["seconds"]["predict"])
    print(
        f"\n{package.contract.name}, {choice.runtime} {choice.precision}: reading, blending and writing included,"
        f" {statistics.median(ratios):.2f} of the network's own rate",
        flush=True,
    )


def main() -> None:
    """Measure every size with five classes, a small one with more, and the bundled model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[4096, 8192], help="multiples of 512")
    parser.add_argument("--classes", type=int, nargs="*", default=[5, 20, 100], help="at 2048 x 2048, without peers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=[], choices=["monai", "torchgeo"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for size in arguments.sizes:
            measure(size, 5, arguments.repeats, arguments.peers, Path(folder))
        for classes in arguments.classes:
            measure(2048, classes, arguments.repeats, [], Path(folder))
        measure_real(arguments.repeats, Path(folder))


if __name__ == "__main__":
    main()
