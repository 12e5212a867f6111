"""Optical and SAR GeoTIFF scenes as torchgeo datasets, and random places in both.

``OpticalScenes(folder) & SARScenes(folder)`` is torchgeo's intersection: an image of six channels, optical first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from torch import Tensor

from codemae_datasets._compat import DatasetNotFoundError, GeoDataset, RasterDataset, footprints, geo_query
from codemae_geo.errors import InputError

#: (left, bottom, right, top) in CRS units
Bounds = tuple[float, float, float, float]


class Scenes(RasterDataset):
    """Scenes of one modality, values stretched to 0..255, always three channels.

    Args:
        paths: files, or folders to search.
        bands: numbers (from 1) of the bands to use, one or three; None is 1, 2, 3 of files that have them, else 1.
        stretch: (low, high) that become 0 and 255. None is (0, 255), for uint8 files only.
        crs, res: as in torchgeo; None is that of the first file.

    Raises:
        InputError: no raster there, or a stretch is needed and not given.
    """

    filename_glob = "*.tif*"
    is_image = True

    def __init__(
        self,
        paths: str | Path | Iterable[str | Path],
        bands: Sequence[int] | None = None,
        stretch: tuple[float, float] | None = None,
        crs: Any = None,
        res: float | tuple[float, float] | None = None,
    ) -> None:
        listed = [paths] if isinstance(paths, str | Path) else list(paths)
        for path in listed:
            if not Path(path).exists():
                raise InputError(
                    f"The data folder {path} does not exist.", expected="a folder of GeoTIFF scenes, or a file"
                )
        try:
            super().__init__([str(p) for p in listed], crs=crs, res=res)
        except DatasetNotFoundError as error:
            raise InputError(
                f"There is no GeoTIFF in {', '.join(map(str, listed))}.", expected="files *.tif"
            ) from error
        with rasterio.open(self.files[0]) as file:
            count, dtype = file.count, file.dtypes[0]
        chosen = list(bands) if bands else [1, 2, 3] if count >= 3 else [1]
        if len(chosen) not in (1, 3) or max(chosen) > count or min(chosen) < 1:
            raise InputError(
                "These bands cannot be used.", found=f"{chosen} of {count}", expected="one or three numbers from 1"
            )
        if stretch is None and dtype != "uint8":
            raise InputError(
                f"{Path(self.files[0]).name} needs a stretch.",
                found=dtype,
                expected="the two values that become 0 and 255",
                hint="set data.optical_stretch=[LOW,HIGH] or data.sar_stretch=[LOW,HIGH]",
            )
        self.band_indexes = chosen
        self.low, self.high = stretch or (0.0, 255.0)

    def __getitem__(self, query: Any) -> dict[str, Any]:
        """torchgeo's sample; ``image`` is float32 [3, H, W] in 0..255, missing values are 0."""
        sample = super().__getitem__(query)
        image: Tensor = torch.nan_to_num(sample["image"].float(), nan=self.low)
        image = ((image - self.low) * (255 / (self.high - self.low))).clamp(0, 255)
        sample["image"] = image.expand(3, -1, -1) if len(image) == 1 else image
        return sample


class OpticalScenes(Scenes):
    """Optical scenes, see :class:`Scenes`."""


class SARScenes(Scenes):
    """SAR scenes, amplitude or decibel with a stretch, see :class:`Scenes`."""


class RandomPlaces:
    """Windows at random in the intersection of optical and SAR scenes; every choice comes from one generator.

    torchgeo's ``RandomGeoSampler`` chooses the tile without its generator, so a seed does not fix what it yields; and
    an area to hold out is a region of interest that is not a rectangle. Hence this class, which does both.

    Args:
        dataset: ``optical & sar``, or any torchgeo dataset with six channels.
        window: side of a window in pixels.
        count: windows per epoch.
        holdout: rectangles that no window touches.
        inside: a rectangle that all windows lie in; None is everywhere.

    Raises:
        InputError: no scene has room for a window.
    """

    def __init__(
        self,
        dataset: GeoDataset,
        window: int,
        count: int,
        holdout: Sequence[Bounds] = (),
        inside: Bounds | None = None,
    ) -> None:
        self.names = ["scenes"]
        self.dataset, self.window, self.count, self.holdout, self.inside = dataset, window, count, holdout, inside
        self.res = (float(dataset.res[0]), float(dataset.res[1]))
        places = [_clip(f, inside, self.res) for f in footprints(dataset)]
        size = [((r - le) / self.res[0] - window, (t - b) / self.res[1] - window) for le, b, r, t in places]
        self.places = [p for p, (w, h) in zip(places, size, strict=True) if w > -0.5 and h > -0.5]
        if not self.places:
            raise InputError(
                "No scene has room for a window in both modalities.",
                found=f"{len(places)} overlaps of optical and SAR",
                expected=f"at least {window} x {window} pixels",
                hint="set a smaller data.window",
            )

    def paired_items(self, generator: torch.Generator) -> list[Bounds]:
        """``count`` windows as (left, bottom, right, top), tiles weighted by area.

        Raises:
            InputError: the held-out area leaves hardly any room.
        """
        areas = torch.tensor([(r - le) * (t - b) for le, b, r, t in self.places], dtype=torch.float64)
        chosen: list[Bounds] = []
        for _ in range(50):
            tiles = torch.multinomial(areas, self.count, replacement=True, generator=generator).tolist()
            offsets = torch.rand(self.count, 2, generator=generator, dtype=torch.float64).tolist()
            windows = (self._place(self.places[i], u, v) for i, (u, v) in zip(tiles, offsets, strict=True))
            chosen += [w for w in windows if not any(_touch(w, area, self.res) for area in self.holdout)]
            if len(chosen) >= self.count:
                return chosen[: self.count]
        raise InputError("The held-out area leaves no room for training.", hint="set a smaller data.holdout")

    def unpaired_items(self, generator: torch.Generator) -> list[Bounds]:
        """None: every window has both modalities."""
        return []

    def grid_items(self) -> list[Bounds]:
        """Windows side by side that cover each place, remainders left out; no two overlap. For validation."""
        step_x, step_y = self.window * self.res[0], self.window * self.res[1]
        items = []
        for left, bottom, right, top in self.places:
            cols, rows = int((right - left) / step_x + 1e-6), int((top - bottom) / step_y + 1e-6)
            for row in range(rows):
                for col in range(cols):
                    x, y = left + col * step_x, top - row * step_y
                    items.append((x, y - step_y, x + step_x, y))
        chosen: list[Bounds] = []
        for item in items:  # scenes may overlap one another
            if not any(_touch(item, other, self.res) for other in (*self.holdout, *chosen)):
                chosen.append(item)
        return chosen

    def _place(self, place: Bounds, u: float, v: float) -> Bounds:
        # whole pixels from the tile's corner, so that nothing is resampled
        cols = round((place[2] - place[0]) / self.res[0]) - self.window
        rows = round((place[3] - place[1]) / self.res[1]) - self.window
        left = place[0] + int(u * (cols + 1)) * self.res[0]
        top = place[3] - int(v * (rows + 1)) * self.res[1]
        return left, top - self.window * self.res[1], left + self.window * self.res[0], top

    def __getitem__(self, item: Bounds) -> dict[str, Any]:
        """The sample of a window, see :mod:`codemae_datasets.pairs`."""
        try:
            image = self.dataset[geo_query(self.dataset, *item)]["image"]
        except rasterio.errors.RasterioIOError as error:
            return {"error": {"message": f"A scene does not decode: {error}", "hint": "fetch it again"}}
        image = image.round().byte()
        return {"rgb": image[:3], "sar": image[3:], "dataset": 0, "paired": True, "unreadable": ()}


def _touch(a: Bounds, b: Bounds, res: tuple[float, float]) -> bool:
    """Whether two rectangles share more than a hundredth of a pixel."""
    x, y = res[0] / 100, res[1] / 100
    return a[0] < b[2] - x and b[0] < a[2] - x and a[1] < b[3] - y and b[1] < a[3] - y


def _clip(place: Bounds, inside: Bounds | None, res: tuple[float, float]) -> Bounds:
    """The part of a place inside a rectangle, on the place's own pixel grid."""
    if inside is None:
        return place
    left, top = place[0], place[3]
    c0, c1 = np.ceil((inside[0] - left) / res[0] - 1e-6), np.floor((inside[2] - left) / res[0] + 1e-6)
    r0, r1 = np.ceil((top - inside[3]) / res[1] - 1e-6), np.floor((top - inside[1]) / res[1] + 1e-6)
    c1, r1 = min(c1, round((place[2] - left) / res[0])), min(r1, round((top - place[1]) / res[1]))
    c0, r0 = max(c0, 0), max(r0, 0)
    return left + c0 * res[0], top - r1 * res[1], left + c1 * res[0], top - r0 * res[1]
