"""Maps the demo's pair and prints one line: what the class raster and the confidence raster hold, as a hash of each.

Run under several releases of rasterio (each brings a GDAL of its own), the lines must be equal.
"""

import hashlib
import os
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import rasterio

import codemae_geo
from codemae_geo.inference.request import RunOptions

data = Path(codemae_geo.__file__).parent / "data" / "joplin"
with tempfile.TemporaryDirectory() as folder:
    options = RunOptions(runtime="openvino", precision="float32")
    outputs = codemae_geo.map_damage(data / "pre.tif", data / "post.tif", Path(folder) / "out", options=options).outputs
    for kind in ("classes", "confidence"):
        with rasterio.open(outputs[kind]) as raster:
            values = raster.read(1)
        print(kind, values.shape, hashlib.sha256(values.tobytes()).hexdigest(), end=" ")
print()
print(f"rasterio {rasterio.__version__}, GDAL {rasterio.__gdal_version__}", file=sys.stderr)
