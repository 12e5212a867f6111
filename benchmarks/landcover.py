"""Land cover of a place that was never seen, from optical, SAR, or both: four places, each left out in turn.

    python benchmarks/landcover.py SENTINEL_TILES -o out       (two CPU cores: a quarter of an hour a seed)

SENTINEL_TILES holds ``S2L2A``, ``S1RTC`` and ``LULC`` of four places on four continents' grids, 224 x 224 pixels each.
Every run is ``codemae finetune segmentation`` on three places, from the backbone of the bundled damage model (tiny,
both tokenizers, pretrained on Los Angeles in Sentinel-1 and -2), and ``codemae evaluate`` on the fourth; the last step
is kept, nothing is chosen on the fourth place (its temperature is fitted there, which changes no class). The labels are
another model's map. Beside it stands what the most frequent class of the three places would reach. Writes
``landcover.csv`` run by run, started again it goes on, and ``landcover.md``.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
from codemae_train.evaluate import evaluate
from codemae_train.loop import train
from codemae_train.methods import finetuning_method

#: values of the label maps, in the order of the ESRI classes that they seem to follow; a name changes no figure
CLASSES = {"water": 1, "trees": 2, "flooded": 3, "crops": 4, "built": 5, "bare": 6, "rangeland": 9}
INPUTS: dict[str, tuple[str, ...]] = {"optical": ("S2L2A",), "sar": ("S1RTC",), "both": ("S2L2A", "S1RTC")}
FIELDS = ("inputs", "place", "seed", "accuracy", "miou", "miou_absent_zero", "classes", "constant", "cpu_seconds")


def run(data: Path, inputs: str, place: str, places: list[str], seed: int, steps: int, folder: Path) -> dict[str, Any]:
    """Train without a place, evaluate on it."""
    began = time.process_time()
    first = [str(data / INPUTS[inputs][0] / f"{p}.tif") for p in places]
    radar = [str(data / "S1RTC" / f"{p}.tif") for p in places] if inputs == "both" else []
    labels = [str(data / "LULC" / f"{p}.tif") for p in places]
    sensors = {"optical": ["optical"], "sar": ["sar"], "both": ["optical", "sar"]}[inputs]
    changes = [f"data.holdout=['{place}']", f"data.samples={steps * 4}", f"train.seed={seed}", "train.epochs=1"]
    changes += ["train.batch=4", "train.lr=1e-3", "train.warmup=0.1", "train.select=last"]
    changes += ["train.save_every=0", "train.accelerator=cpu", "augment.crop=128", "model.channels=64"]
    changes += ["model.init=damage-tiny-optical", "model.aux_channels=32", "evaluate.window=224", "evaluate.stride=112"]
    method = finetuning_method(
        "segmentation", changes, images=first, sar=radar, labels=labels, sensors=sensors, classes=CLASSES
    )
    train(method, folder / "run", overwrite=True)
    scenes = {"images": [Path(first[places.index(place)])]}
    if radar:
        scenes["sar"] = [Path(radar[places.index(place)])]
    label = Path(labels[places.index(place)])
    result = evaluate(
        folder / "run" / "model.safetensors",
        None,
        folder / "out",
        scenes=scenes,
        labels=label,
        classes=CLASSES,
        overwrite=True,
    )
    figures = result["figures"]["ungated"]
    counts = np.zeros(256, int)
    for path in labels:
        if path != str(label):
            with rasterio.open(path) as file:
                counts += np.bincount(file.read(1).ravel(), minlength=256)
    with rasterio.open(label) as file:
        truth = file.read(1)
    known = np.isin(truth, list(CLASSES.values()))
    return {
        "inputs": inputs,
        "place": place,
        "seed": seed,
        **{key: round(float(figures[key]), 4) for key in ("accuracy", "miou", "miou_absent_zero")},
        "classes": len(np.unique(truth[known])),
        "constant": round(float((truth[known] == counts.argmax()).mean()), 4),
        "cpu_seconds": round(time.process_time() - began),
    }


def markdown(rows: pd.DataFrame) -> str:
    """Mean over seeds of every place and input, and over places."""
    lines = ["| place left out | classes | most frequent class | " + " | ".join(INPUTS) + " |"]
    lines += ["| --- | ---: | ---: |" + " ---: |" * len(INPUTS)]

    def cell(part: pd.DataFrame) -> str:
        if part.empty:
            return "-"
        seeds = part.groupby("seed")[["accuracy", "miou"]].mean()
        spread = f" ± {100 * seeds['accuracy'].std(ddof=1):.1f}" if len(seeds) > 1 else ""
        return f"{100 * seeds['accuracy'].mean():.1f}{spread} / {100 * seeds['miou'].mean():.1f}"

    for place, part in rows.groupby("place", sort=True):
        cells = [cell(part[part["inputs"] == name]) for name in INPUTS]
        facts = f"{part['classes'].iloc[0]} | {100 * part['constant'].iloc[0]:.1f}"
        lines.append(f"| {place} | {facts} | " + " | ".join(cells) + " |")
    constant = 100 * rows.groupby("place")["constant"].first().mean()
    cells = [cell(rows[rows["inputs"] == name]) for name in INPUTS]
    lines.append(f"| mean | | {constant:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line of the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("landcover"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100, help="of four crops of 128 pixels")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    kept = args.output / "landcover.csv"
    done = set()
    if kept.exists():
        with kept.open() as file:
            done = {(row["inputs"], row["place"], int(row["seed"])) for row in csv.DictReader(file)}
    places = sorted(path.stem for path in (args.data / "LULC").glob("*.tif"))
    for seed in range(args.seeds):
        for place in places:
            for inputs in INPUTS:
                if (inputs, place, seed) in done:
                    continue
                row = run(args.data, inputs, place, places, seed, args.steps, args.output / "work")
                with kept.open("a", newline="") as file:
                    writer = csv.DictWriter(file, FIELDS)
                    if not file.tell():
                        writer.writeheader()
                    writer.writerow(row)
                print(row, flush=True)
    shutil.rmtree(args.output / "work", ignore_errors=True)
    text = markdown(pd.read_csv(kept))
    (args.output / "landcover.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
