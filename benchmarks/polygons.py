"""Time and peak memory of polygons where one area runs through the whole raster, the hardest case of `polygonize`.

    python benchmarks/polygons.py [--width 2000] [--heights 8000 48000]

The raster is blurred noise with speckle in two classes. In "open" nearly all of the larger class is one connected area
with thousands of holes; in "parted" a line of background every 500 rows and columns ends areas. Every run is a process
of its own; the peak is its resident set, as the operating system counts it.
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
CELL = 16


def make_raster(path: Path, height: int, width: int, parted: bool) -> None:
    """Classes 0 and 1, uint8, written strip by strip."""
    random = np.random.default_rng(0)
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1,
        "height": height,
        "width": width,
        "crs": "EPSG:32615",
        "transform": from_origin(300000, 4200000, 0.5, 0.5),
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
        "nodata": 255,
    }
    columns = np.arange(width) / CELL
    with rasterio.open(path, "w", **profile) as out:
        above = random.normal(size=-(-width // CELL) + 1)
        for row in range(0, height, CELL):
            below = random.normal(size=len(above))
            rows = min(CELL, height - row)
            weight = np.arange(rows)[:, None] / CELL
            knots = np.arange(len(above))
            field = (1 - weight) * np.interp(columns, knots, above) + weight * np.interp(columns, knots, below)
            values = (field + 0.05 * random.normal(size=field.shape) > -0.3).astype(np.uint8)
            if parted:
                values[(row + np.arange(rows)) % 500 == 0] = 0
                values[:, ::500] = 0
            out.write(values, 1, window=((row, row + rows), (0, width)))
            above = below


def run_once(raster: Path, out: Path) -> dict[str, float]:
    """Polygons of one raster in this process."""
    from codemae_geo.classes import ClassInfo, ClassTable
    from codemae_geo.vector.polygons import polygonize

    classes = ClassTable([ClassInfo(0, "closed", "#000000", background=True), ClassInfo(1, "open", "#56b4e9")])
    began = time.perf_counter()
    summary = polygonize(raster, out, classes)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "polygons": summary.count,
    }


def main() -> None:
    """Command line of the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=2000)
    parser.add_argument("--heights", type=int, nargs="+", default=[8000, 48000])
    parser.add_argument("--raster", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.raster:
        print(json.dumps(run_once(args.raster, args.raster.with_suffix(".gpkg"))))
        return
    with tempfile.TemporaryDirectory() as folder:
        for height in args.heights:
            for kind in ("open", "parted"):
                raster = Path(folder) / f"{kind}-{height}.tif"
                make_raster(raster, height, args.width, kind == "parted")
                command = [sys.executable, __file__, "--raster", str(raster)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                print(
                    json.dumps({"raster": f"{args.width} x {height}", "kind": kind} | json.loads(done.stdout)),
                    flush=True,
                )


if __name__ == "__main__":
    main()
