"""Labelled windows from whole scenes: how many a second, their share of a training step, and what others do.

    python benchmarks/finetune.py SCENES LABELS [--windows 64] [--repeats 3] [--steps 6] [-o finetune.json]

SCENES is a folder of optical GeoTIFFs that make one mosaic, LABELS a raster of class values on any grid. In turns, in
one process and one thread, the same windows' worth of work:

- ours: ``codemae finetune segmentation``'s samples, aligned once, then drawn, resized by 0.75 to 1.5, cropped to 256,
  flipped, turned and coloured;
- plain: torchgeo's ``RasterDataset & RasterDataset`` with ``RandomGeoSampler`` and the same augmentation by
  albumentations (OpenCV, one thread), as both documentations say.

CPU seconds of the fastest turn count, since other processes only ever slow one down; what aligning takes once is told
apart. Then ``--steps`` steps of the tiny segmentation model (batches of 8): the share that drawing takes. Needs
albumentations.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import torch
from codemae_datasets.labels import SceneLabels, open_areas
from codemae_train.methods import load_finetune
from codemae_train.methods.finetune import TrainingSamples, collate
from torch import Tensor

from codemae_geo.models import build
from codemae_geo.models.upernet import segmentation_loss

CROP, BATCH = 256, 8
MEAN, STD = (117.0, 112.0, 105.0), (41.0, 38.0, 36.0)


def ours(scenes: Path, labels: Path, folder: Path) -> Callable[[int], dict[str, Any]]:
    """Number -> one augmented sample."""
    recipe = load_finetune("segmentation", [], images=[str(scenes)], labels=[str(labels)])
    areas, classes = open_areas(
        [[sorted(scenes.glob("*.tif"))]], ["optical"], ["image"], [labels], folder, lambda text: None
    )
    read = int(CROP / recipe.augment.scale[0])
    source = SceneLabels(areas, classes, read, count=10_000)
    samples = TrainingSamples(source, recipe, [MEAN], None)
    return lambda number: samples[(0, 0, number)]


def plain(scenes: Path, labels: Path, count: int) -> Callable[[int], dict[str, Any]]:
    """The same of torchgeo and albumentations."""
    import albumentations as A
    import cv2
    from torchgeo.datasets import RasterDataset
    from torchgeo.samplers import RandomGeoSampler

    cv2.setNumThreads(1)

    class Images(RasterDataset):
        filename_glob, is_image = "*.tif", True

    class Labels(RasterDataset):
        filename_glob, is_image = labels.name, False

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = Images(str(scenes)) & Labels(str(labels.parent))
        drawn = RandomGeoSampler(data, size=int(CROP / 0.75), length=count)
    change = A.Compose(
        [
            A.RandomScale(scale_limit=(-0.25, 0.5), p=1.0),
            A.PadIfNeeded(CROP, CROP, border_mode=cv2.BORDER_CONSTANT, fill=MEAN, fill_mask=255),
            A.RandomCrop(CROP, CROP),
            A.HorizontalFlip(),
            A.VerticalFlip(),
            A.RandomRotate90(),
            A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1, p=0.8),
        ]
    )
    queries: list[Any] = []

    def sample(_number: int) -> dict[str, Any]:
        if not queries:
            queries.extend(drawn)
        found = data[queries.pop()]
        image = found["image"].permute(1, 2, 0).numpy().astype(np.uint8)
        changed = change(image=image, mask=found["mask"].numpy())
        pixels = torch.from_numpy(np.ascontiguousarray(changed["image"].transpose(2, 0, 1))).float()
        return {"images": [pixels], "label": torch.from_numpy(changed["mask"]).long()}

    return sample


def seconds(sample: Callable[[int], dict[str, Any]], first: int, count: int) -> float:
    """CPU seconds of drawing windows and making batches of them."""
    began = time.process_time()
    for start in range(first, first + count, BATCH):
        batch = collate([sample(number) for number in range(start, start + BATCH)])
        assert batch["image0"].shape == (BATCH, 3, CROP, CROP), batch["image0"].shape
    return time.process_time() - began


def steps(sample: Callable[[int], dict[str, Any]], count: int, classes: int) -> tuple[float, float]:
    """CPU seconds of drawing and of the rest, over some training steps of the tiny model."""
    config = {"encoder": {"variant": "tiny", "img_size": 224, "modality": "RGB"}, "num_classes": classes}
    model = build("upernet", config | {"sensors": ["optical"], "channels": 128, "aux_channels": 64}).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    times = np.zeros(2)
    for step in range(count + 1):  # the first one warms up
        began = time.process_time()
        batch = collate([sample(step * BATCH + k) for k in range(BATCH)])
        drawn = time.process_time()
        images: Tensor = (batch["image0"] - mean) / std
        with torch.autocast("cpu", torch.bfloat16):
            decode, auxiliary = model(images, heads=True)
        segmentation_loss(decode.float(), auxiliary.float(), batch["label"])["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        if step:
            times += (drawn - began, time.process_time() - drawn)
    return float(times[0]), float(times[1])


def main() -> None:
    """Command line of the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("-o", "--output", type=Path, default=None)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        made = {"ours": ours(args.scenes, args.labels, Path(folder))}
        aligned = time.process_time() - began
        made["plain"] = plain(args.scenes, args.labels, args.windows)
        times: dict[str, list[float]] = {name: [] for name in made}
        for sample in made.values():
            seconds(sample, 0, BATCH)  # opened, imported, cached
        for turn in range(args.repeats):
            for name, sample in made.items():
                times[name].append(seconds(sample, turn * args.windows, args.windows))
        best = {name: min(values) / args.windows for name, values in times.items()}
        result: dict[str, Any] = {
            "windows_per_cpu_second": {name: round(1 / value, 1) for name, value in best.items()},
            "ratio": round(best["plain"] / best["ours"], 2),
            "aligning_once_seconds": round(aligned, 2),
        }
        if args.steps:
            drawing, rest = steps(made["ours"], args.steps, 5)
            result["step_seconds"] = round((drawing + rest) / args.steps, 2)
            result["share_of_data"] = round(drawing / (drawing + rest), 4)
    text = json.dumps(result, indent=1)
    print(text)
    if args.output:
        args.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
