"""Seconds per window of a damage model in the precisions of this CPU, and how many labels they share.

    python benchmarks/precision.py [MODEL] [--runs 7]

The variants run in turn, so that a change in the machine's speed meets all of them; medians of the runs, and ratios to
float32. The windows are those of the bundled demo scene.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import codemae_geo
from codemae_geo import load_model
from codemae_geo.inference.damage import DamageJob
from codemae_geo.inference.predictor import Predictor
from codemae_geo.inference.runtimes import choose_runtime
from codemae_geo.weights.registry import DEFAULT_DAMAGE_MODEL


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=DEFAULT_DAMAGE_MODEL)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    scene = Path(codemae_geo.__file__).parent / "data/joplin"
    job = DamageJob.open(scene / "pre.tif", scene / "post.tif", model=arguments.model)
    side = job.package.contract.window
    with job.open_readers() as readers:
        strips = [reader.read_rows(256, 256 + side) for reader in readers]
    images = [s.data[None, :, :, 256 : 256 + side].copy() for s in strips]
    valid = [s.valid[None, :, 256 : 256 + side].copy() for s in strips]
    package = load_model(arguments.model)
    names = ("float32", "bfloat16")
    predictors = {name: Predictor(package.module, package.contract, choose_runtime("cpu", name)) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    labels = {}
    for run in range(arguments.runs + 1):
        for name, predictor in predictors.items():
            began = time.perf_counter()
            scores = next(iter(predictor(images, valid)))
            if run:  # the first is a warm-up
                seconds[name].append(time.perf_counter() - began)
            labels[name] = predictor.decode(scores).labels
    base = statistics.median(seconds["float32"])
    print(
        f"{package.contract.name}, window {side}, {torch.get_num_threads()} threads, {choose_runtime('cpu').describe()}"
    )
    for name in names:
        median = statistics.median(seconds[name])
        same = float(np.mean(labels[name] == labels["float32"]))
        print(f"{name:<9} {median:.3f} s per window, {base / median:.2f}x float32, {100 * same:.2f} % of labels equal")


if __name__ == "__main__":
    main()
