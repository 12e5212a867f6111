"""Cut the small real scene that `codemae demo` maps: Joplin, Missouri, before and after the tornado of 22 May 2011.

    python train/scripts/make_demo_scene.py --data <joplin folder> -o codemae_geo/data/joplin

The area is the part of the held-out chip of ``bundled.py`` that both dates cover: the bundled model has
not seen it. Each date keeps its own coordinate system and pixel grid, as users' scenes do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import geopandas
import numpy as np
import rasterio
from codemae_train.simulated_sar import simulate_sar
from rasterio.merge import merge
from rasterio.warp import transform_bounds
from rasterio.windows import Window, from_bounds, transform
from shapely.geometry import box

#: west, south, east, north in metres of EPSG:26915, on the grid of the pre-event tiles (0.6 m)
AREA = (367285.8, 4103632.8, 367871.4, 4104247.2)
#: the post-event crop reaches this many metres further on every side
MARGIN_M = 12.0
README = """# Demo scene: Joplin, Missouri, tornado of 22 May 2011

| file | what | grid |
| --- | --- | --- |
| `pre.tif` | aerial image before the tornado, RGB, {pre_shape[1]} x {pre_shape[0]} | EPSG:26915, 0.6 m |
| `post.tif` | aerial image after the tornado, RGB, {post_shape[1]} x {post_shape[0]} | EPSG:4326, 0.000006 degrees |
| `post_sar.tif` | radar after the tornado, **simulated** from `post.tif`: one band of amplitude | as `post.tif` |
| `buildings.gpkg` | {buildings} footprints, drawn on 2020 imagery (rebuilt houses, no damage class) | EPSG:4326 |

Cut by `train/scripts/make_demo_scene.py`; lossless WebP inside GeoTIFF, so that every GDAL reads the
same pixels. `post_sar.tif` never was radar: `train/codemae_train/simulated_sar.py` made it, with speckle, and without
any geometry of radar, to show how a radar scene is used.

**Imagery.** To all appearance works of the United States government and so in the public domain: the pre-event image of
the National Agriculture Imagery Program (USDA), the post-event image of the NOAA National Geodetic Survey emergency
response. Taken from the example tiles of the MIT-licensed repository RitwikGupta/xView2-Vulcan.

**Footprints.** Microsoft Global / US Building Footprints, Open Data Commons Open Database License (ODbL) 1.0,
https://opendatacommons.org/licenses/odbl/1-0/. Attribution: "Contains building footprints by Microsoft, ODbL". The
excerpt stays under the ODbL.
"""


def mosaic(folder: Path, bounds: tuple[float, float, float, float]) -> tuple[np.ndarray, rasterio.Affine, str]:
    """Pixels [3, H, W] of the tiles in ``folder`` inside ``bounds`` (in their CRS), transform and CRS."""
    tiles = sorted(folder.glob("*.tif"))
    with rasterio.open(tiles[0]) as first:
        crs = first.crs.to_string()
    pixels, grid = merge(tiles)
    window = from_bounds(*bounds, transform=grid).round_offsets().round_lengths()
    window = window.intersection(Window(0, 0, pixels.shape[2], pixels.shape[1]))
    rows, cols = window.toslices()
    return pixels[:, rows, cols], transform(window, grid), crs


def write_simulated(path: Path, optical: np.ndarray, grid: rasterio.Affine, crs: str) -> None:
    """Write radar simulated from [3, H, W] uint8 as a lossless GeoTIFF that says so."""
    sar = simulate_sar(optical / 255, seed=1)  # not the speckle that the model learnt from
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 1, "height": sar.shape[0], "width": sar.shape[1], "crs": crs,
        "transform": grid, "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "zlevel": 9,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(sar, 1)
        out.set_band_description(1, "amplitude, simulated")
        out.update_tags(DESCRIPTION="SIMULATED from the optical image post.tif: speckle, no geometry of radar")


def write(path: Path, pixels: np.ndarray, grid: rasterio.Affine, crs: str) -> None:
    """Write [3, H, W] uint8 as a tiled, lossless GeoTIFF."""
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 3, "height": pixels.shape[1], "width": pixels.shape[2],
        "crs": crs, "transform": grid, "tiled": True, "blockxsize": 256, "blockysize": 256,
        "compress": "webp", "webp_lossless": True, "webp_level": 100, "photometric": "rgb",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.write(pixels)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with pre/, post/ and buildings_2020.gpkg")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)

    west, south, east, north = AREA
    pre, pre_grid, pre_crs = mosaic(args.data / "pre", AREA)
    wider = (west - MARGIN_M, south - MARGIN_M, east + MARGIN_M, north + MARGIN_M)
    post, post_grid, post_crs = mosaic(args.data / "post", transform_bounds(pre_crs, "EPSG:4326", *wider))
    write(args.output / "pre.tif", pre, pre_grid, pre_crs)
    write(args.output / "post.tif", post, post_grid, post_crs)
    write_simulated(args.output / "post_sar.tif", post, post_grid, post_crs)

    footprints = geopandas.read_file(args.data / "buildings_2020.gpkg")
    area = geopandas.GeoSeries([box(*AREA)], crs=pre_crs).to_crs(footprints.crs).iloc[0]
    inside = footprints[footprints.intersects(area)].reset_index(drop=True)
    target = args.output / "buildings.gpkg"
    target.unlink(missing_ok=True)
    inside.to_file(target, layer="buildings", driver="GPKG", engine="pyogrio", dataset_options={"VERSION": "1.2"})
    text = README.format(pre_shape=pre.shape[1:], post_shape=post.shape[1:], buildings=len(inside))
    (args.output / "README.md").write_text(text, encoding="utf-8")
    for path in sorted(args.output.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
