"""Windows per second and equal labels of every runtime and precision that is installed, in one interleaved run.

    python benchmarks/runtime.py [MODEL ...] [--runs 7] [--window 512]

A model is a package, or ``damageformer``, ``upernet`` or ``encoder`` of base size with random weights, exported on the
way; without a name the bundled model and these three are measured. The pixels are those of the demo scene. Ratios are
against torch in bfloat16, today's default where a model is not exported.

Agreement is with torch in float32: of labels, or of an encoder's features (1 less the relative distance). The scores of
random weights lie so close together that labels change with the last bit: only the bundled model's agreement says
something of maps. The first table is of starting: CPU seconds to load and answer once, with an empty cache and again.
"""

from __future__ import annotations

import argparse
import os
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


#: architecture, task and configuration of what is measured with random weights
RANDOM: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "damageformer": ("damageformer", "damage", {"encoder": "base", "pre": "optical", "post": "optical"}),
    "upernet": ("upernet", "segmentation", {"encoder": "base", "num_classes": 4, "sensors": ["optical"]}),
    "encoder": ("backbone", "embedding", {"variant": "base"}),
}


def find(model: str, folder: Path, window: int) -> PackageFile:
    """A package by name, or a model of base size with random weights."""
    if model not in RANDOM:
        return open_package(resolve(model))
    torch.manual_seed(0)
    architecture, task, config = RANDOM[model]
    names = ("pre", "post") if task == "damage" else ("image",)
    contract = ModelContract(
        name=f"random-{model}",
        description="random weights",
        task=task,
        architecture=ArchitectureSpec(name=architecture, config=config),
        inputs=[
            InputSpec(
                name=name, family="optical", bands=["r", "g", "b"], unit="uint8", mean=[110.0] * 3, std=[40.0] * 3
            )
            for name in names
        ],
        window=window,
        classes=[] if task == "embedding" else class_specs(DAMAGE_CLASSES),
        licence="none",
    )
    return open_package(
        save_package(folder / f"{model}.safetensors", build(architecture, config).state_dict(), contract)
    )


def agreement(answer: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], kind: str) -> float:
    """Share of equal labels, or 1 less the relative distance of features."""
    if kind == "scores":
        return float(np.mean(answer[0].argmax(0) == expected[0].argmax(0)))
    return 1 - float(np.linalg.norm(answer - expected) / np.linalg.norm(expected))


def starts(package: PackageFile, program: Program, images: Any, valid: Any) -> None:
    """Print what it costs to load and to answer once: with an empty cache, and when all is in it."""
    for runtime, precision in (("torch", "bfloat16"), ("openvino", "bfloat16")):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["CODEMAE_CACHE"] = cache
            took = []
            for _ in range(2):
                began = time.process_time()
                load_network(package, program, Choice(runtime, "cpu", precision, "asked for"))(images, valid)
                took.append(time.process_time() - began)
            del os.environ["CODEMAE_CACHE"]
        print(
            f"{package.contract.name:<22} {runtime:<9} first use {took[0]:6.2f} s, second {took[1]:6.2f} s", flush=True
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[DEFAULT_DAMAGE_MODEL, *RANDOM])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--window", type=int, default=512)
    arguments = parser.parse_args()
    scene = Path(codemae_geo.__file__).parent / "data/joplin"
    side = arguments.window
    pictures = []
    for name in ("pre", "post"):
        with rasterio.open(scene / f"{name}.tif") as source:
            pictures.append(np.ascontiguousarray(source.read()[None, :3, 256 : 256 + side, 256 : 256 + side]))
    print(f"{torch.get_num_threads()} threads, window {side}, medians of {arguments.runs} interleaved runs")
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            package = find(model, Path(folder), side)
            images = pictures[: len(package.contract.inputs)]
            valid = [np.ones((1, side, side), bool) for _ in images]
            program = Program.of(package.contract)
            if model == DEFAULT_DAMAGE_MODEL:
                starts(package, program, images, valid)
            networks = {way: load_network(package, program, Choice(way[0], "cpu", way[1], "asked for")) for way in WAYS}
            seconds: dict[tuple[str, str], list[float]] = {way: [] for way in WAYS}
            answers = {}
            for run in range(arguments.runs + 1):
                for way, network in networks.items():
                    began = time.perf_counter()
                    answers[way] = network(images, valid)
                    if run:  # the first is a warm-up
                        seconds[way].append(time.perf_counter() - began)
        base = statistics.median(seconds["torch", "bfloat16"])
        for way in WAYS:
            median = statistics.median(seconds[way])
            same = agreement(answers[way], answers["torch", "float32"], program.kind)
            print(
                f"{package.contract.name:<22} {way[0]:<9} {way[1]:<9} {1 / median:6.2f} windows/s"
                f"  {base / median:5.2f} x torch bfloat16  {same:9.4%} agreement",
                flush=True,
            )


if __name__ == "__main__":
    main()
