"""Train the two small packages that `codemae predict` and `codemae damage --post-sensor sar` can be tried with.

    python train/scripts/small_packages.py buildings --data <joplin folder> -o runs/buildings
    python train/scripts/small_packages.py damage-sar --data <joplin folder> -o runs/damage-sar

``buildings-tiny-optical`` finds buildings in an image of before the tornado. ``damage-tiny-sar-demo`` maps damage from
that image and a *simulated* radar image of after it (:mod:`codemae_train.simulated_sar`): it shows how the program is
used, and nothing about radar.

Both start from the first blocks of the bundled ``damage-tiny-optical`` and are trained by `codemae finetune`, some
minutes on two cores. Of the four labelled chips two are trained on, one fits the temperature, and chip 2, left out
of all training, is what `codemae evaluate NAME joplin` measures; the card takes its figures from there. The labels are
predictions of the xView2 first-place solution, not truth. Started again with the same folder, a training goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from codemae_train.joplin import BUFFER, HELD_OUT, read_joplin
from codemae_train.simulated_sar import LOOKS, simulate_sar
from numpy.typing import NDArray

from codemae_geo.classes import NODATA
from codemae_geo.weights import load_model
from codemae_geo.weights.package import ArchitectureSpec, DataSource, Metric, ModelContract, load_package, save_package

#: attention blocks that the small backbones keep of the six of damage-tiny-optical
DEPTH = 2
#: chip that fits the temperature
CALIBRATION = 3
SIMULATED = (
    "the images after the event that this model learnt from are simulated from optical ones (speckle, no view from the "
    "side): it shows how the program is used, and its maps of real radar mean nothing"
)
#: changes of the recipes "own"; a step has 8 crops
SETTINGS = {
    "buildings": [
        "name=buildings-tiny-optical", "model.channels=32", "model.aux_channels=0", "augment.crop=160",
        "data.classes={background: 0, building: 1}", "train.lr=1.0e-3", "data.samples=400", "train.epochs=4",
    ],
    "damage-sar": [
        "name=damage-tiny-sar-demo", "data.sensors=[optical,sar]", "augment.crop=128", "train.lr=6.0e-4",
        "data.samples=640", "train.epochs=1", "train.warmup=0.1",
    ],
}  # fmt: skip
COMMON = ["model.encoder=null", "data.holdout=[calibration]", "train.select=last", "train.precision=bf16-mixed",
          "train.layer_decay=0.9", "train.save_every=20", "train.validate_every=100"]  # fmt: skip


def write(path: Path, pixels: NDArray[np.uint8], grid: Any, valid: NDArray[np.bool_] | None = None) -> Path:
    """[bands, H, W] as a GeoTIFF on the tiles' grid, with a mask where not all is ``valid``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    transform, crs = grid
    profile = {"driver": "GTiff", "dtype": "uint8", "count": len(pixels), "height": pixels.shape[1],
               "width": pixels.shape[2], "crs": crs, "transform": transform, "compress": "deflate"}  # fmt: skip
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as out:
        out.write(pixels)
        if valid is not None:
            out.write_mask(valid)
    return path


def write_scenes(data: Path, out: Path, kind: str) -> dict[str, list[Path]]:
    """Scenes and labels of the training and of the calibration area; chip 2 and a margin around it are in neither."""
    scene = read_joplin(data)
    tile = sorted((data / "pre").glob("*.tif"))
    with rasterio.open(tile[0]) as first:
        crs = first.crs
        left = min(rasterio.open(t).bounds.left for t in tile)
        top = max(rasterio.open(t).bounds.top for t in tile)
        transform = rasterio.Affine(first.res[0], 0, left, 0, -first.res[1], top)
    pre = (scene.pre.numpy() * 255).round().astype(np.uint8)
    images = {"images": pre}
    label = scene.buildings.numpy()
    if kind == "damage-sar":
        images = {"pre": pre, "post": simulate_sar(scene.post.numpy())[None]}
        label = scene.label.numpy()
    else:
        label = np.where(label == NODATA, NODATA, label > 0).astype(np.uint8)
    calibration = chip_area(data, CALIBRATION, transform, label.shape)
    held_out = np.zeros(label.shape, bool)
    rows, cols = scene.held_out
    held_out[max(rows.start - BUFFER, 0) : rows.stop + BUFFER, max(cols.start - BUFFER, 0) : cols.stop + BUFFER] = True
    areas = {"training": ~held_out & ~calibration, "calibration": calibration & ~held_out}
    files: dict[str, list[Path]] = {"labels": [], **{name: [] for name in images}}
    for name, area in areas.items():
        for role, pixels in images.items():
            kept = np.where(area, pixels, np.uint8(0))
            files[role].append(write(out / role / f"{name}.tif", kept, (transform, crs), area))
        known = np.where(area, label, NODATA)[None].astype(np.uint8)
        files["labels"].append(write(out / "labels" / f"{name}.tif", known, (transform, crs)))
    return files


def chip_area(data: Path, chip: int, transform: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Where a labelled chip lies on the tiles' grid."""
    from rasterio.warp import transform_bounds

    with rasterio.open(data / "peer_prediction" / f"damage_{chip}.tif") as tile:
        west, south, east, north = transform_bounds(tile.crs, "EPSG:26915", *tile.bounds)
    (left, top), (right, bottom) = (~transform @ corner for corner in ((west, north), (east, south)))
    area = np.zeros(shape, bool)
    area[max(round(top), 0) : max(round(bottom), 0), max(round(left), 0) : max(round(right), 0)] = True
    return area


def shallow(path: Path, depth: int, *, both: bool) -> Path:
    """The bundled model with the first ``depth`` attention blocks of its backbone, as a package to start from."""
    package = load_model("damage-tiny-optical")
    config = dict(package.contract.architecture.config)
    config["encoder"] = {**config["encoder"], "depth": depth} | ({} if both else {"modality": "RGB"})
    full = package.module.state_dict()
    first = 4  # stages at strides 4 and 8: a block and a merging layer each
    state = {}
    for name, tensor in full.items():
        number = name.removeprefix("encoder.blocks.").partition(".")[0]
        if name.startswith("encoder.blocks.") and int(number) >= first + depth:
            continue
        if not both and "patch_embed_sar" in name:
            continue
        state[name] = tensor
    contract = package.contract.model_copy(
        update={"architecture": ArchitectureSpec(name="damageformer", config=config), "building_calibration": None}
    )
    return save_package(path, state, contract, overwrite=True)


def run(*words: str | Path) -> None:
    """One command of the project, shown."""
    print("codemae", *words, flush=True)
    subprocess.run([sys.executable, "-m", "codemae_cli", *map(str, words)], check=True)


def joplin_data(simulated: bool) -> list[DataSource]:
    """What was learnt from."""
    sources = [
        DataSource(
            name="Joplin, Missouri, tornado of 22 May 2011: aerial images"
            + (" before, and after it as the source of a simulation" if simulated else " before it")
            + ", 0.6 m",
            licence="to all appearance works of the US government (public domain), taken from an MIT-licensed "
            "repository",
            attribution="USDA NAIP" + ("; NOAA National Geodetic Survey" if simulated else "")
            + "; tiles from RitwikGupta/xView2-Vulcan",
        ),
        DataSource(
            name="Joplin building and damage labels: predictions of the xView2 first-place solution, not ground truth",
            licence="MIT",
            attribution="RitwikGupta/xView2-Vulcan",
        ),
    ]  # fmt: skip
    return [*sources, *(d for d in load_model("damage-tiny-optical").contract.training_data if "Los Angeles" in d.name)]


def card(kind: str, trained: ModelContract, steps: str) -> ModelContract:
    """What the package says about itself, figures aside."""
    gsd = (0.45, 0.8)
    common = {
        "licence": "Apache-2.0",
        "training_data": joplin_data(kind == "damage-sar"),
        "training": f"{steps} of `codemae finetune` on Joplin chips 0 and 1, from the first {DEPTH} attention blocks of"
        f" damage-tiny-optical (which had seen chips 0, 1 and {CALIBRATION}). Scripted in "
        "train/scripts/small_packages.py."
        f" Temperature fitted on chip {CALIBRATION}; chip {HELD_OUT} was left out of everything and chose nothing.",
        "metrics": [],
        "inputs": [i.model_copy(update={"gsd": gsd}) for i in trained.inputs],
    }
    if kind == "buildings":
        return trained.model_copy(
            update={
                **common,
                "description": "Buildings in very-high-resolution optical images; a small demonstration model for "
                "CPUs, trained on one town.",
                "classes": [trained.classes[0].model_copy(update={"color": "#808080", "background": True}),
                            trained.classes[1].model_copy(update={"color": "#d95f02"})],
                "limits": "Trained on less than a square kilometre of one American town, with another "
                "model's predictions as labels: expect it to copy their mistakes and to fail on other building styles, "
                "seasons, dense cities, oblique views, snow, and ground sample distances outside 0.45 to 0.8 m. "
                "Outlines are soft by a pixel or two. The held-out chip adjoins the training chips, so its scores are "
                "an upper bound for other places. A demonstration, not a basis for decisions.",
            }
        )  # fmt: skip
    return trained.model_copy(
        update={
            **common,
            "description": "A demonstration of optical-to-SAR damage mapping. Its images after the event are SIMULATED "
            "from optical ones: one channel, strength by roughness, "
            f"speckle of {LOOKS} looks; no layover, shadow or any other geometry of radar.",
            "caution": SIMULATED,
            "limits": "It has never seen radar. It marks rubble, and hardly tells intact from damaged buildings. "
            "Use it to learn how `codemae damage --post-sensor sar` works and what it writes; for real scenes convert "
            "a published checkpoint or fine-tune on real pairs. Else as "
            "damage-tiny-optical: one town, one event, another model's predictions as labels.",
        }
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=list(SETTINGS))
    parser.add_argument("--data", type=Path, required=True, help="folder with pre/, post/ and peer_prediction/")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for scenes, run and package")
    args = parser.parse_args()
    out, kind = args.output, args.kind
    files = write_scenes(args.data, out / "scenes", kind)
    start = shallow(out / "start.safetensors", DEPTH, both=kind == "damage-sar")
    task = "damage" if kind == "damage-sar" else "segmentation"
    scenes = [word for role, paths in files.items() for path in paths for word in (f"--{role}", path)]
    settings = [*COMMON, *SETTINGS[kind]]
    if kind == "damage-sar":  # the start's own table is of optical images
        sar = simulate_statistics(files["post"][0])
        settings.append(f"data.statistics={{sar: [[{sar[0]:.1f}], [{sar[1]:.1f}]]}}")
    if not (out / "run" / "model.safetensors").exists():  # else the card and the figures are made anew
        again = "--resume" if (out / "run" / "checkpoint.pt").exists() else "--overwrite"
        run("finetune", task, *settings, *scenes, "--from", start, "-o", out / "run", again)

    trained = load_package(out / "run" / "model.safetensors")
    told = json.loads((out / "run" / "run.json").read_text())
    steps = f"{told['steps']} steps of {told['batch']['images']} crops"
    contract = card(kind, trained.contract, steps)
    state = {k: v.half() if v.is_floating_point() else v for k, v in trained.module.state_dict().items()}
    path = save_package(out / f"{contract.name.replace('-', '_')}.safetensors", state, contract, overwrite=True)
    figures = measure(path, args.data, out / "evaluation")
    split = f"Joplin chip {HELD_OUT}, left out of all training; reference: xView2 first-place predictions, not truth"
    split += "; the image after is simulated" if kind == "damage-sar" else ""
    contract = contract.model_copy(
        update={"metrics": [Metric(name=name, value=round(value, 4), split=split) for name, value in figures.items()]}
    )
    save_package(path, state, contract, overwrite=True)
    run("models", "export", path, "-o", path.with_suffix(".onnx"), "--overwrite")
    for file in (path, path.with_suffix(".onnx")):
        print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")
    print(json.dumps(figures, indent=1))


def simulate_statistics(path: Path) -> tuple[float, float]:
    """Mean and deviation of the measured pixels of a scene."""
    with rasterio.open(path) as scene:
        pixels = scene.read(1)[scene.dataset_mask() > 0]
    return float(pixels.mean()), float(pixels.std())


def measure(path: Path, data: Path, out: Path) -> dict[str, float]:
    """The card's figures, as `codemae evaluate` gives them."""
    run("evaluate", path, "joplin", "--root", data, "-o", out, "--overwrite")
    metrics = json.loads((out / "metrics.json").read_text())
    figures = metrics["figures"]
    rule = figures["ungated"]
    found = {f"iou_{name}": float(v["iou"] or 0) for name, v in rule["per_class"].items()}
    found |= {"miou": float(rule["miou_absent_zero"])}
    if "f1_localisation" in figures:
        found |= {"f1_localisation": figures["f1_localisation"], "f1_damage_as_mask": figures["f1_mask"]}
    else:
        found |= {"f1_building": rule["per_class"]["building"]["f1"]}
    return found | {"ece_pixels": figures["reliability"]["ece"]}


if __name__ == "__main__":
    main()
