"""Samples per second on one core: GeoTIFF scenes, a folder of PNGs, packed shards; and opening 10,000 scenes.

    python benchmarks/data.py OPTICAL SAR [--window 256] [--count 300] [--repeats 3] [--albumentations PYTHON]

OPTICAL and SAR are folders of GeoTIFFs of one place. Compared on the same windows, in turns; CPU seconds of the
fastest of all turns count (other processes only ever slow a turn down):

- limit: ``rasterio`` alone reads the windows from open files, and nothing more
- ours: ``OpticalScenes & SARScenes``, image and valid mask as tensors
- torchgeo: its own ``RasterDataset & RasterDataset``, opened as its documentation says; its ``RandomGeoSampler`` too,
  drawing against drawing

Once with windows that GDAL's block cache holds, so that the work around the decoder counts (``warm``), and once with
a cache of one megabyte, so that every block is decoded anew (``cold``). The windows of the PNG folder and of the shards
are those of the scenes; their limit is decoding the bytes with Pillow. ``--albumentations`` names an interpreter that
has albumentations: it reads the same folder with OpenCV and crops with RandomResizedCrop and HorizontalFlip, ours
with :class:`PairTransform`. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import rasterio
import torch
from codemae_datasets.collection.index import build_index
from codemae_datasets.collection.pack import pack
from codemae_datasets.ospretrain import OSPretrain
from codemae_datasets.packed import PackedPairs
from codemae_datasets.pairs import Statistics, collate
from codemae_datasets.samplers import RandomWindows, seeded
from codemae_datasets.scenes import OpticalScenes, SARScenes
from codemae_datasets.transforms import PairTransform
from PIL import Image
from rasterio.transform import from_origin
from torchgeo.datasets import RasterDataset
from torchgeo.samplers import RandomGeoSampler

torch.set_num_threads(1)

ALBUMENTATIONS = """
import sys, time, cv2, albumentations as A
cv2.setNumThreads(1)
folder, names, size = sys.argv[1], sys.argv[3:], int(sys.argv[2])
crop = A.Compose([A.RandomResizedCrop((size, size), scale=(0.2, 1), interpolation=cv2.INTER_CUBIC), A.HorizontalFlip()],
                 additional_targets={"sar": "image"})
best = 1e9
for _ in range(3):
    start = time.process_time()
    for name in names:
        rgb = cv2.cvtColor(cv2.imread(f"{folder}/RGB/{name}"), cv2.COLOR_BGR2RGB)
        sar = cv2.imread(f"{folder}/SAR/{name}", cv2.IMREAD_GRAYSCALE)
        crop(image=rgb, sar=sar)
    best = min(best, (time.process_time() - start) / len(names))
print(best)
"""


#: prints CPU seconds since T and the peak of this process (its own, not one that a parent handed on)
PEAK = """
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.process_time() - T, int(peak.split()[1]) / 1024)
"""


class Plain(RasterDataset):
    """torchgeo's own dataset."""

    filename_glob = "*.tif"


def measure(variants: dict[str, Callable[[], Any]], count: int, repeats: int) -> dict[str, float]:
    """Seconds per sample of each variant: the best of ``repeats`` interleaved turns."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, run in variants.items():
            start = time.process_time()
            run()
            seconds = (time.process_time() - start) / count
            best[name] = min(best.get(name, seconds), seconds)
    return best


def report(seconds: dict[str, float], limit: str, other: str) -> dict[str, Any]:
    """Samples per second, and the ratios that count."""
    rates: dict[str, Any] = {f"{name}_per_s": round(1 / s, 1) for name, s in seconds.items()}
    rates[f"ours_over_{other}"] = round(seconds[other] / seconds["ours"], 2)
    rates["ours_over_limit"] = round(seconds[limit] / seconds["ours"], 3)
    return rates


# ---------------------------------------------------------------- scenes


def scenes(optical: Path, sar: Path, window: int, count: int, repeats: int, cold: bool) -> dict[str, Any]:
    """Pairs from GeoTIFFs."""
    pairs = OpticalScenes(optical) & SARScenes(sar)
    windows = list(RandomWindows(pairs, window, count, seed=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = Plain(str(optical)) & Plain(str(sar))
    reads = [read for query in windows for read in plain_reads(pairs, query, window)]
    variants = {
        "limit": lambda: [file.read(window=place) for file, place in reads],
        "ours": lambda: [pairs[query] for query in windows],
        "torchgeo": lambda: [peer[query] for query in windows],
    }
    bounds = 1 if cold else 1024
    with rasterio.Env(GDAL_CACHEMAX=bounds * 2**20):
        if not cold:
            for run in variants.values():
                run()
        found = report(measure(variants, count, repeats), "limit", "torchgeo")
    drawing = measure(
        {
            "ours": lambda: list(RandomWindows(pairs, window, count, seed=1)),
            "torchgeo": lambda: list(RandomGeoSampler(peer, window, count)),
        },
        count,
        repeats,
    )
    found["drawing_ours_us"] = round(drawing["ours"] * 1e6, 1)
    found["drawing_torchgeo_us"] = round(drawing["torchgeo"] * 1e6, 1)
    return found


def plain_reads(pairs: Any, query: Any, window: int) -> list[tuple[Any, Any]]:
    """The open files and windows in them that hold a query, one per modality."""
    x, y, _ = query
    found = []
    for dataset in pairs.datasets:
        for name in dataset._look().hits(x.start, y.start, x.stop, y.stop, None, None, dataset.res):
            file = OPEN.setdefault(name, rasterio.open(name))
            col, row = (round(v) for v in ~file.transform * (x.start, y.stop))
            if 0 <= row <= file.height - window and 0 <= col <= file.width - window:
                found.append((file, ((row, row + window), (col, col + window))))
                break
    return found


OPEN: dict[str, Any] = {}


# ---------------------------------------------------------------- folders and shards


def folders(pairs: Any, window: int, count: int, repeats: int, interpreter: str | None) -> dict[str, Any]:
    """The same windows as PNG files, and packed."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "os"
        for key in ("RGB", "SAR"):
            (root / "Scenes" / key).mkdir(parents=True)
        for number, query in enumerate(RandomWindows(pairs, window, count, seed=1)):
            image = pairs[query]["image"].byte().numpy()
            Image.fromarray(np.moveaxis(image[:3], 0, -1)).save(root / "Scenes" / "RGB" / f"{number}.png")
            Image.fromarray(image[3]).save(root / "Scenes" / "SAR" / f"{number}.png")
        (root / "Scenes" / "train.txt").write_text("".join(f"{i}\n" for i in range(count)))
        pack(root, Path(place) / "packed")
        folder, packed = OSPretrain(root), PackedPairs(Path(place) / "packed")
        order, shards = folder.paired_items(seeded(0)), packed.paired_items(seeded(0))
        data = [(root / "Scenes" / key / f"{i}.png").read_bytes() for i in range(count) for key in ("RGB", "SAR")]
        transform = PairTransform(Statistics([((0.5,) * 3, (0.2,) * 3)], [((0.5,) * 3, (0.2,) * 3)]), window)
        variants: dict[str, Callable[[], Any]] = {
            "decoder": lambda: [np.asarray(Image.open(io.BytesIO(d))) for d in data],
            "png_folder": lambda: [folder[item] for item in order],
            "packed": lambda: [packed[item] for item in shards],
            "png_folder_cropped": lambda: [
                transform(collate([folder[i] for i in order[k : k + 32]]), seeded(k)) for k in range(0, count, 32)
            ],
        }
        seconds = measure(variants, count, repeats)
        found: dict[str, Any] = {f"{name}_per_s": round(1 / s, 1) for name, s in seconds.items()}
        found["png_folder_over_decoder"] = round(seconds["decoder"] / seconds["png_folder"], 3)
        found["packed_over_decoder"] = round(seconds["decoder"] / seconds["packed"], 3)
        if interpreter:
            names = [f"{i}.png" for i in range(count)]
            done = subprocess.run(
                [interpreter, "-c", ALBUMENTATIONS, str(root / "Scenes"), str(window), *names],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            other = float(done.stdout)
            found["albumentations_per_s"] = round(1 / other, 1)
            # in training the crop runs on the device, in batches; the cores only read
            found["png_folder_over_albumentations"] = round(other / seconds["png_folder"], 2)
            found["png_folder_cropped_over_albumentations"] = round(other / seconds["png_folder_cropped"], 2)
        return found


# ---------------------------------------------------------------- ten thousand scenes


def many(count: int) -> dict[str, Any]:
    """Time and memory to open an index of so many scenes, in a process of its own, against torchgeo on the files."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "scenes"
        folder.mkdir()
        side = int(count**0.5)
        pixels = np.ones((1, 16, 16), np.uint8)
        for i in range(count):
            corner = from_origin(500000 + i % side * 160, 5000000 - i // side * 160, 10, 10)
            with rasterio.open(
                folder / f"S2A_20201104_{i:05d}.tif", "w", driver="GTiff", dtype="uint8", count=1, height=16, width=16,
                crs="EPSG:32633", transform=corner,
            ) as file:  # fmt: skip
                file.write(pixels)
        index = Path(place) / "index.parquet"
        start = time.perf_counter()
        build_index([folder], index, family="optical", workers=1)
        indexed = time.perf_counter() - start
        code = {
            "nothing": "from codemae_datasets.scenes import OpticalScenes\nopened = None",
            "index": f"from codemae_datasets.scenes import OpticalScenes\nT=time.process_time()\n"
            f"opened = OpticalScenes.from_index({str(index)!r})",
            "files": f"from codemae_datasets.scenes import OpticalScenes\nT=time.process_time()\n"
            f"opened = OpticalScenes({str(folder)!r})",
            "torchgeo": f"from torchgeo.datasets import RasterDataset\nT=time.process_time()\n"
            f"opened = RasterDataset({str(folder)!r})",
        }
        found: dict[str, Any] = {"scenes": count, "indexing_s": round(indexed, 1)}
        base = 0.0
        for name, text in code.items():
            script = f"import time\nT=time.process_time()\n{text}\n{PEAK}"
            done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
            seconds, peak = map(float, done.stdout.split()[-2:])
            if name == "nothing":
                base = peak
            else:
                found[name] = {"seconds": round(seconds, 2), "mib_above_imports": round(peak - base)}
        return found


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("optical", type=Path)
    parser.add_argument("sar", type=Path)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--albumentations", help="an interpreter that has albumentations")
    args = parser.parse_args()
    pairs = OpticalScenes(args.optical) & SARScenes(args.sar)
    found = {
        "warm": scenes(args.optical, args.sar, args.window, args.count, args.repeats, cold=False),
        "cold": scenes(args.optical, args.sar, args.window, args.count, args.repeats, cold=True),
        "folders": folders(pairs, args.window, args.count, args.repeats, args.albumentations),
        "open": many(args.scenes),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
