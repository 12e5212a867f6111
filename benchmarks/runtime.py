"""Windows per second and equal labels of every runtime and precision that is installed, in one interleaved run.

    python benchmarks/runtime.py [MODEL ...] [--runs 7] [--window 512]

A model is a package or the size of a DamageFormer with random weights (``base``), exported on the way. The pixels are
those of the demo scene, so a model takes two optical inputs. Ratios are against torch in bfloat16, today's default
where a model is not exported; labels against torch in float32.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch

import codemae_geo
from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.inference.runtimes import Choice, Program, load_network
from codemae_geo.models import build
from codemae_geo.weights import (
    ArchitectureSpec,
    InputSpec,
    ModelContract,
    PackageFile,
    class_specs,
    open_package,
    resolve,
    save_package,
)
from codemae_geo.weights.registry import DEFAULT_DAMAGE_MODEL

WAYS = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("onnx", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
)


def find(model: str, folder: Path) -> PackageFile:
    """A package by name, or a DamageFormer of a size with random weights."""
    if model not in ("tiny", "small", "base", "large"):
        return open_package(resolve(model))
    torch.manual_seed(0)
    config: dict[str, Any] = {"encoder": model, "pre": "optical", "post": "optical"}
    inputs = [
        InputSpec(name=name, family="optical", bands=["r", "g", "b"], unit="uint8", mean=[110.0] * 3, std=[40.0] * 3)
        for name in ("pre", "post")
    ]
    contract = ModelContract(
        name=f"random-{model}",
        description="random weights",
        task="damage",
        architecture=ArchitectureSpec(name="damageformer", config=config),
        inputs=inputs,
        classes=class_specs(DAMAGE_CLASSES),
        licence="none",
    )
    return open_package(
        save_package(folder / f"{model}.safetensors", build("damageformer", config).state_dict(), contract)
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[DEFAULT_DAMAGE_MODEL])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--window", type=int, default=512)
    arguments = parser.parse_args()
    scene = Path(codemae_geo.__file__).parent / "data/joplin"
    side = arguments.window
    images = []
    for name in ("pre", "post"):
        with rasterio.open(scene / f"{name}.tif") as source:
            images.append(np.ascontiguousarray(source.read()[None, :3, 256 : 256 + side, 256 : 256 + side]))
    valid = [np.ones((1, side, side), bool)] * 2
    print(f"{torch.get_num_threads()} threads, window {side}, medians of {arguments.runs} interleaved runs")
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            package = find(model, Path(folder))
            networks = {
                way: load_network(package, Program("scores"), Choice(way[0], "cpu", way[1], "asked for"))
                for way in WAYS
            }
            seconds: dict[tuple[str, str], list[float]] = {way: [] for way in WAYS}
            labels = {}
            for run in range(arguments.runs + 1):
                for way, network in networks.items():
                    began = time.perf_counter()
                    answer = network(images, valid)
                    if run:  # the first is a warm-up
                        seconds[way].append(time.perf_counter() - began)
                    labels[way] = answer[0].argmax(0)
        base = statistics.median(seconds["torch", "bfloat16"])
        for way in WAYS:
            median = statistics.median(seconds[way])
            same = float(np.mean(labels[way] == labels["torch", "float32"]))
            print(
                f"{package.contract.name:<22} {way[0]:<9} {way[1]:<9} {1 / median:6.2f} windows/s"
                f"  {base / median:5.2f} x torch bfloat16  {same:9.4%} of labels equal"
            )


if __name__ == "__main__":
    main()
