"""Train a small detector of buildings (`buildings-tiny-optical`), to try `codemae detect`.

    python train/scripts/buildings.py --data <folder with pre/ and peer_prediction/> -o runs/buildings

Three steps, each readable below: the boxes of the buildings that another model drew on the image before the tornado of
Joplin; fine-tuning of a Faster R-CNN on three of the four chips, from the backbone of the bundled damage model, which
has not seen the fourth either; the figures of the finished package on the fourth, and its card. Part of the three chips
chooses the epoch and the score from which a box counts; the fourth chooses nothing.

The labels are predictions of the first-place solution of the xView2 challenge, not truth. The package is not bundled:
240 steps of four windows (two minutes of one core) reached mAP50 0.11 and F1 0.23 on the fourth chip, with boxes near
buildings but not around them; that is no model to try a command with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
import torch
from codemae_train.joplin import BUFFER, HELD_OUT, read_joplin
from codemae_train.loop import train
from codemae_train.methods import finetuning_method
from rasterio.features import shapes
from rasterio.windows import Window
from rasterio.windows import transform as window_transform

from codemae_geo.classes import NODATA
from codemae_geo.inference.detect import detect
from codemae_geo.inference.request import RunOptions
from codemae_geo.metrics.boxes import BoxMetrics, scene_metrics
from codemae_geo.progress import Reporter
from codemae_geo.weights.package import DataSource, Metric, load_package, save_package

#: houses that the labels join by bridges of up to twice this many pixels (0.6 m) are told apart; what is narrower than
#: that is no building
BRIDGE = 4


def write_scenes(data: Path, folder: Path) -> None:
    """``train.tif`` and ``test.tif`` with the boxes of their buildings, ``train.gpkg`` and ``test.gpkg``.

    Pixels of the first that lie in no chip, or in the fourth or within its buffer, have no value.
    """
    joplin = read_joplin(data)
    with rasterio.open(next((data / "pre").glob("*.tif"))) as tile:
        crs = tile.crs
    merged = [rasterio.open(p) for p in sorted((data / "pre").glob("*.tif"))]
    left, top = min(f.bounds.left for f in merged), max(f.bounds.top for f in merged)
    grid = rasterio.Affine(merged[0].res[0], 0, left, 0, -merged[0].res[1], top)
    pixels = (joplin.pre * 255).round().byte().numpy()
    labels = joplin.buildings.numpy()
    rows, cols = joplin.held_out
    known = labels != NODATA
    learnt = known.copy()
    learnt[max(rows.start - BUFFER, 0) : rows.stop + BUFFER, max(cols.start - BUFFER, 0) : cols.stop + BUFFER] = False
    tested = np.zeros_like(known)
    tested[rows, cols] = known[rows, cols]
    for name, where in (("train", learnt), ("test", tested)):
        inside = [slice(int(x.min()), int(x.max()) + 1) for x in np.nonzero(where)]
        window = Window.from_slices(*inside)
        image = np.where(where, np.maximum(pixels, 1), 0)[:, inside[0], inside[1]]
        profile = {
            "driver": "GTiff", "count": 3, "dtype": "uint8", "nodata": 0, "crs": crs,
            "height": image.shape[1], "width": image.shape[2], "transform": window_transform(window, grid),
        }  # fmt: skip
        with rasterio.open(folder / f"{name}.tif", "w", **profile) as file:
            file.write(image)
        boxes = separate((labels > 0) & where)
        corners = [(*(grid * (x0, y1)), *(grid * (x1, y0))) for x0, y0, x1, y1 in boxes.tolist()]
        outlines = shapely.box(*np.array(corners).T)
        frame = gpd.GeoDataFrame({"class": ["building"] * len(outlines)}, geometry=outlines, crs=crs)
        frame.to_file(folder / f"{name}.gpkg")


def separate(building: np.ndarray) -> np.ndarray:
    """Boxes [N, 4] around the buildings of a mask [H, W], after narrow bridges between them are cut."""
    mask = torch.from_numpy(building).float()[None, None]
    core = 1 - torch.nn.functional.max_pool2d(1 - mask, 2 * BRIDGE + 1, 1, BRIDGE)[0, 0]
    found = core.byte().numpy()
    bounds = [shapely.geometry.shape(s).bounds for s, _ in shapes(found, mask=found > 0)]
    return np.array(bounds).reshape(-1, 4) + np.array([-BRIDGE, -BRIDGE, BRIDGE, BRIDGE])


def measure(package: Path, folder: Path, out: Path) -> BoxMetrics:
    """COCO's metrics of whole `codemae detect` on the fourth chip."""
    done = detect(
        package,
        folder / "test.tif",
        out,
        score_threshold=0.05,
        options=RunOptions(precision="float32", device="cpu"),
        overwrite=True,
    )
    found = gpd.read_file(done.outputs["detections"])
    truth = gpd.read_file(folder / "test.gpkg")
    with rasterio.open(folder / "test.tif") as file:
        inverse = ~file.transform
        boxes = []
        for frame in (truth, found):
            west, south, east, north = frame.geometry.bounds.to_numpy().T
            (x0, y0), (x1, y1) = inverse * (west, north), inverse * (east, south)
            boxes.append(np.stack([x0, y0, x1, y1], 1))
    return scene_metrics(
        {"boxes": boxes[0], "labels": np.ones(len(truth), int)},
        {"boxes": boxes[1], "labels": found["class"].to_numpy() + 1, "scores": found["score"].to_numpy()},
        ["building"],
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/buildings"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE changes of the recipe detection/own")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    if not args.resume or not (args.output / "test.gpkg").exists():
        write_scenes(args.data, args.output)
    settings = [
        "name=buildings-tiny-optical",
        "model.init=damage-tiny-optical",
        "model.encoder={variant: tiny, depth: 1}",
        "model.img_size=256",
        "model.head_dim=32",
        "model.head_hidden=64",
        "data.holdout=0.15",
        "model.proposals=300",
        "model.learnt=64",
        "data.samples=320",
        "train.epochs=3",
        "train.warmup=30",
        "train.seed=1",
        *args.overrides,
    ]
    files = {"images": [str(args.output / "train.tif")], "labels": [str(args.output / "train.gpkg")]}
    method = finetuning_method("detection", settings, column="class", **files)
    run = args.output / "run"
    reporter = Reporter()
    train(method, run, resume=args.resume and (run / "checkpoint.pt").exists(), overwrite=True, reporter=reporter)
    finish(run / "model.safetensors", args.output)


def finish(trained: Path, folder: Path) -> None:
    """The package as it is shipped: 16-bit weights, and a card with the figures of the fourth chip."""
    package = load_package(trained)
    state = {k: v.half() if v.is_floating_point() else v for k, v in package.module.state_dict().items()}
    path = folder / "buildings_tiny_optical.safetensors"
    contract = package.contract.model_copy(update={"name": "buildings-tiny-optical"})
    save_package(path, state, contract, overwrite=True)
    result = measure(path, folder, folder / "test")
    split = f"Joplin chip {HELD_OUT}, left out of all training; reference: xView2 first-place predictions, not truth"
    figures = {"map": result.map, "map50": result.map50, "map75": result.map75, "f1": result.f1}
    figures |= {f"map_{size}": value for size, value in result.by_size.items() if np.isfinite(value)}
    contract = contract.model_copy(
        update={
            "description": "Boxes around buildings in very-high-resolution optical images; a small demonstration model "
            "for CPUs, trained on one town.",
            "inputs": [contract.inputs[0].model_copy(update={"gsd": (0.4, 0.9)})],
            "licence": "Apache-2.0",
            "training_data": [
                DataSource(
                    name="Joplin, Missouri, before the tornado of 22 May 2011: aerial images, 0.6 m",
                    licence="to all appearance works of the US government (public domain), taken from an MIT-licensed "
                    "repository",
                    attribution="USDA NAIP; tiles from RitwikGupta/xView2-Vulcan",
                ),
                DataSource(
                    name="Boxes around buildings that the xView2 first-place solution predicted. Not ground truth",
                    licence="MIT",
                    attribution="RitwikGupta/xView2-Vulcan",
                ),
            ],
            "training": f"{contract.training} Backbone of damage-tiny-optical with the first of its six attention "
            "blocks. Scripted in "
            "train/scripts/buildings.py.",
            "metrics": [Metric(name=k, value=round(float(v), 4), split=split) for k, v in figures.items()],
            "limits": "Trained on one town of detached houses in one image, with another model's predictions as "
            "labels: expect it to copy their mistakes (houses that touch are one box), and to fail on other building "
            "styles, other sensors, rubble, oblique views and ground sample distances outside 0.4 to 0.9 m. The "
            "held-out chip adjoins the training chips, so its figures are an upper bound for other places. A "
            "demonstration, not a basis for decisions.",
        }
    )
    save_package(path, state, contract, overwrite=True)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB; {figures}, threshold {result.threshold:.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
