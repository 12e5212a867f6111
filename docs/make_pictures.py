"""Draw the pictures of README and docs from the output of `codemae demo`.

    codemae demo -o codemae-demo
    python docs/make_pictures.py codemae-demo

The picture of QGIS is drawn by QGIS itself, see tests/qgis/render.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas as gpd
import matplotlib.pyplot as plt
import numpy as np
import rasterio
from matplotlib.patches import Patch
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

import codemae_geo
from codemae_geo.classes import DAMAGE_CLASSES, NODATA


def main(demo: Path) -> None:
    """Before, after, and the damage map with the buildings, side by side."""
    scene = Path(codemae_geo.__file__).parent / "data/joplin"
    with rasterio.open(demo / "damage.tif") as raster:
        labels, bounds, crs = raster.read(1), raster.bounds, raster.crs
        grid = {"crs": crs, "transform": raster.transform, "height": raster.height, "width": raster.width}
    images = []
    for name in ("pre", "post"):
        with (
            rasterio.open(scene / f"{name}.tif") as file,
            WarpedVRT(file, resampling=Resampling.bilinear, add_alpha=True, **grid) as warped,
        ):
            images.append(np.moveaxis(warped.read(), 0, -1))
    overlay = np.zeros((*labels.shape, 4))
    for info in DAMAGE_CLASSES.foreground:
        overlay[labels == info.value] = [*(v / 255 for v in info.rgb), 0.75]
    overlay[labels == NODATA] = [1, 1, 1, 0.6]
    extent = (bounds.left, bounds.right, bounds.bottom, bounds.top)
    figure, axes = plt.subplots(1, 3, figsize=(13.2, 4.9), constrained_layout=True)
    for axis, image, title in zip(
        axes, [*images, images[1]], ("before (NAIP)", "after (NOAA)", "codemae demo"), strict=True
    ):
        axis.imshow(image, extent=extent)
        axis.set_title(title)
        axis.set_axis_off()
    axes[2].imshow(overlay, extent=extent, interpolation="nearest")
    buildings = gpd.read_file(demo / "damage.gpkg", layer="buildings").to_crs(crs.to_wkt())
    buildings.boundary.plot(ax=axes[2], color="black", linewidth=0.5)
    axes[2].set_xlim(bounds.left, bounds.right)
    axes[2].set_ylim(bounds.bottom, bounds.top)
    legend = [Patch(color=info.color, label=info.name) for info in DAMAGE_CLASSES.foreground]
    legend.append(Patch(facecolor="none", edgecolor="black", label="footprints of 2020"))
    figure.legend(handles=legend, loc="outside lower right", ncols=4, fontsize=9, frameon=False)
    out = Path(__file__).parent / "images/joplin.jpg"
    figure.savefig(out, dpi=110, pil_kwargs={"quality": 88})
    print(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
