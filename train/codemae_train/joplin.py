"""The tornado of Joplin as labelled data: what the bundled damage model was made and measured on.

The folder holds ``pre/`` and ``post/`` tiles and ``peer_prediction/damage_0..3.tif``, the damage that the xView2
first-place solution predicted for four chips: predictions, not truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.enums import Resampling
from rasterio.merge import merge
from rasterio.warp import reproject
from torch import Tensor

from codemae_geo.classes import NODATA
from codemae_geo.errors import InputError

#: normalisation of optical images in [0, 1]: the training area's statistics over both dates, rounded
MEAN = (0.46, 0.44, 0.41)
#: chip that no training pixel comes from, and how far training stays away from it in pixels of 0.6 m
HELD_OUT, BUFFER = 2, 16
#: peer classes background, no damage, minor, major, destroyed -> ours
PEER_TO_OURS = np.array([0, 1, 2, 2, 3], np.uint8)


@dataclass(frozen=True)
class Joplin:
    """The four chips on the pre-event mosaic's grid (EPSG:26915, 0.6 m).

    Args:
        pre, post: [3, H, W] float32 in [0, 1]; ``post`` is the mean colour where there is no image, as in the engine.
        label: [H, W] uint8, our classes; 255 without a peer prediction or without a post-event image.
        buildings: [H, W] uint8, as ``label`` but also where only the post-event image is missing.
        held_out: row and column slices of what is held out.
    """

    pre: Tensor
    post: Tensor
    label: Tensor
    buildings: Tensor
    held_out: tuple[slice, slice]

    def is_training_area(self, rows: tuple[float, float], cols: tuple[float, float]) -> bool:
        """True if the box lies in the mosaic and stays ``BUFFER`` pixels away from what is held out."""
        height, width = self.label.shape
        if rows[0] < 0 or cols[0] < 0 or rows[1] > height - 1 or cols[1] > width - 1:
            return False
        out_rows, out_cols = self.held_out
        apart_rows = rows[1] < out_rows.start - BUFFER or rows[0] >= out_rows.stop + BUFFER
        apart_cols = cols[1] < out_cols.start - BUFFER or cols[0] >= out_cols.stop + BUFFER
        return apart_rows or apart_cols


def read_joplin(folder: Path, *chips: int) -> Joplin:
    """Mosaic the tiles of each date and warp post (bilinear) and peer predictions (nearest) onto the pre grid.

    Args:
        folder: see above.
        chips: 0 to 3, that are held out (with whatever lies in the box around them); none is 2, the bundled model's.

    Raises:
        InputError: the folder does not hold them.
    """
    if not any((folder / "pre").glob("*.tif")) or not (folder / "peer_prediction" / "damage_0.tif").is_file():
        raise InputError(
            f"the Joplin tiles are not in {folder}", expected="pre/*.tif, post/*.tif, peer_prediction/damage_0..3.tif"
        )
    pre, grid = merge(sorted((folder / "pre").glob("*.tif")))
    with rasterio.open(next((folder / "pre").glob("*.tif"))) as tile:
        crs = tile.crs
    shape = pre.shape[1:]

    def warp(pixels: np.ndarray, source: Any, transform: Any, resampling: Resampling) -> np.ndarray:
        out = np.zeros((len(pixels), *shape), np.uint8)
        reproject(
            pixels, out, src_crs=source, src_transform=transform, dst_crs=crs, dst_transform=grid, resampling=resampling
        )
        return out

    tiles = sorted((folder / "post").glob("*.tif"))
    pixels, transform = merge(tiles)
    with rasterio.open(tiles[0]) as tile:
        post_crs = tile.crs
    post = warp(pixels, post_crs, transform, Resampling.bilinear)
    post_valid = warp(np.ones_like(pixels[:1]), post_crs, transform, Resampling.nearest)[0] == 1

    buildings = np.full(shape, NODATA, np.uint8)
    apart = np.zeros(shape, bool)
    for number in range(4):
        with rasterio.open(folder / "peer_prediction" / f"damage_{number}.tif") as tile:
            classes = PEER_TO_OURS[tile.read()] + 1  # 0 stays free for "outside the chip"
            warped = warp(classes, tile.crs, tile.transform, Resampling.nearest)[0]
        inside = warped > 0
        buildings[inside] = warped[inside] - 1
        if number in (chips or (HELD_OUT,)):
            apart |= inside
    rows, cols = np.nonzero(apart)
    held_out = (slice(int(rows.min()), int(rows.max()) + 1), slice(int(cols.min()), int(cols.max()) + 1))
    label = np.where(post_valid, buildings, NODATA).astype(np.uint8)
    before, after = (torch.from_numpy(image).float() / 255 for image in (pre, post))
    after = torch.where(torch.from_numpy(post_valid), after, torch.tensor(MEAN)[:, None, None])
    return Joplin(before, after, torch.from_numpy(label), torch.from_numpy(buildings), held_out)
