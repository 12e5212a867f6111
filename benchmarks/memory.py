"""Peak memory on synthetic scenes of one width and two heights, with near-free models.

    python benchmarks/memory.py [--width 10000] [--heights 10000 40000] [--model damage]

The models: ``damage`` is one 1x1 convolution for each head over a pair (`map_damage`); ``unet`` a small U-Net of
segmentation_models_pytorch and ``onnx`` an ONNX file of one 1x1 convolution over one scene (`codemae_geo.predict`).

Every run is a process of its own; the figure is its peak resident set, as the operating system counts it. The whole
path runs: reading, windows, blending, both COGs with overviews, polygons.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

BLOCK = 512


def make_scene(path: Path, height: int, width: int, seed: int) -> None:
    """A scene of coloured fields 100 to 200 pixels wide, so that the classes form polygons as real maps do."""
    random = np.random.default_rng(seed)
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 3,
        "height": height,
        "width": width,
        "crs": "EPSG:32615",
        "transform": from_origin(300000, 4200000, 0.5, 0.5),
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
        "zlevel": 1,
        "bigtiff": "if_safer",
    }
    with rasterio.open(path, "w", **profile) as out:
        for row in range(0, height, BLOCK):
            rows = min(BLOCK, height - row)
            fields = random.integers(0, 256, (3, -(-rows // 128), -(-width // 128)), dtype=np.uint8)
            pixels = fields.repeat(128, 1).repeat(128, 2)[:, :rows, :width]
            out.write(pixels, window=((row, row + rows), (0, width)))


def run_once(pre: Path, post: Path, out: Path) -> dict[str, float]:
    """Map one pair in this process; seconds of the run and peak memory in MiB."""
    import torch
    from torch import Tensor, nn

    from codemae_geo import map_damage, models
    from codemae_geo.classes import DAMAGE_CLASSES
    from codemae_geo.weights import ArchitectureSpec, InputSpec, ModelContract, class_specs, save_package

    class NearFree(nn.Module):
        """One 1x1 convolution for each head."""

        def __init__(self) -> None:
            super().__init__()
            self.localise = nn.Conv2d(6, 2, 1)
            self.damage = nn.Conv2d(6, 4, 1)

        def forward(self, pre: Tensor, post: Tensor) -> tuple[Tensor, Tensor]:
            x = torch.cat([pre, post], 1)
            return self.localise(x), self.damage(x)

    models.ARCHITECTURES["near-free"] = NearFree
    torch.manual_seed(0)
    scale = {"family": "optical", "bands": ["red", "green", "blue"], "unit": "uint8", "scale": 1 / 255}
    contract = ModelContract(
        name="near-free",
        description="One 1x1 convolution, for measuring everything else.",
        task="damage",
        architecture=ArchitectureSpec(name="near-free"),
        inputs=[InputSpec(name=n, mean=[0.5] * 3, std=[0.3] * 3, **scale) for n in ("pre", "post")],  # type: ignore[arg-type]
        classes=class_specs(DAMAGE_CLASSES),
        licence="Apache-2.0",
    )
    model = save_package(out.with_suffix(".safetensors"), NearFree().state_dict(), contract)
    began = time.perf_counter()
    result = map_damage(pre, post, out, model=model)
    seconds = time.perf_counter() - began
    height, width = result.summary["grid"]["height"], result.summary["grid"]["width"]
    return {
        "seconds": seconds,
        "megapixels_per_second": height * width / 1e6 / seconds,
        "polygons": result.summary["polygons"]["count"],
        "stages": result.summary["seconds"],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run_any(kind: str, scene: Path, out: Path) -> dict[str, float]:
    """Run a model that is not a package over one scene in this process; figures as of :func:`run_once`."""
    import torch

    import codemae_geo
    from codemae_geo.inference.request import RunOptions

    torch.manual_seed(0)
    model: torch.nn.Module | Path
    if kind == "unet":
        import segmentation_models_pytorch as smp

        model = smp.Unet("tu-lcnet_035", encoder_weights=None, classes=3, decoder_channels=(16, 16, 8, 8, 8))
    else:
        model = make_onnx(out.with_suffix(".onnx"))
    inputs = {"family": "optical", "bands": ["red", "green", "blue"], "mean": [127] * 3, "std": [80] * 3}
    began = time.perf_counter()
    result = codemae_geo.predict(
        model, scene, out, inputs=inputs, classes=["a", "b", "c"], options=RunOptions(overlap=0.0)
    )
    seconds = time.perf_counter() - began
    height, width = result.summary["grid"]["height"], result.summary["grid"]["width"]
    return {
        "seconds": seconds,
        "megapixels_per_second": height * width / 1e6 / seconds,
        "polygons": result.summary["polygons"]["count"],
        "stages": result.summary["seconds"],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def make_onnx(path: Path) -> Path:
    """An ONNX file of one 1x1 convolution, three channels to three."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "weight")
    shape = ["n", 3, "h", "w"]
    given, answer = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "scores"))
    node = helper.make_node("Conv", ["image", "weight"], ["scores"])
    graph = helper.make_graph([node], "pointwise", [given], [answer], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def main() -> None:
    """Make the scenes, run each height in a process of its own, and print the figures and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=10_000)
    parser.add_argument("--heights", type=int, nargs="+", default=[10_000, 40_000])
    parser.add_argument("--model", choices=("damage", "unet", "onnx"), default="damage")
    parser.add_argument("--one", nargs=3, metavar=("PRE", "POST", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        pre, post, out = map(Path, arguments.one)
        damage = arguments.model == "damage"
        print(json.dumps(run_once(pre, post, out) if damage else run_any(arguments.model, pre, out)))
        return
    peaks = []
    for height in arguments.heights:
        with tempfile.TemporaryDirectory() as folder:
            pre, post = Path(folder) / "pre.tif", Path(folder) / "post.tif"
            make_scene(pre, height, arguments.width, 1)
            if arguments.model == "damage":
                make_scene(post, height, arguments.width, 2)
            done = subprocess.run(
                [
                    sys.executable,
                    __file__,
                    "--model",
                    arguments.model,
                    "--one",
                    str(pre),
                    str(post),
                    str(Path(folder) / "out"),
                ],
                check=True,
                capture_output=True,
                text=True,
            )
        figures = json.loads(done.stdout.splitlines()[-1])
        peaks.append(figures["peak_mib"])
        print(
            f"{arguments.width} x {height}: peak {figures['peak_mib']:.0f} MiB, {figures['seconds']:.0f} s, "
            f"{figures['megapixels_per_second']:.2f} Mpx/s, {figures['polygons']} polygons, stages {figures['stages']}",
            flush=True,
        )
    print(f"ratio of the peaks: {peaks[-1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
