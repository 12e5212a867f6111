"""Windows at random in optical and SAR scenes: what the pretraining recipe draws from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rasterio.errors import RasterioError
from torch import Tensor

from codemae_datasets._compat import GeoDataset, geo_query
from codemae_datasets.samplers import find_places, seeded, valid_share
from codemae_datasets.scenes import Bounds, Scenes
from codemae_geo.errors import InputError, param

#: windows tried in place of one that does not decode
ATTEMPTS = 50


class RandomPlaces:
    """Windows at random in the intersection of optical and SAR scenes; every choice comes from one generator.

    The pretraining recipe's source: items are windows, samples uint8. For loaders of float samples take
    :class:`codemae_datasets.samplers.RandomWindows`.

    Args:
        dataset: ``optical & sar``, each with one or three bands in 0..255.
        window: side of a window in pixels.
        count: windows per epoch.
        holdout: rectangles that no window touches.
        inside: a rectangle that all windows lie in; None is everywhere.
        skip_unreadable: how many files may be passed over. A window in one that does not decode is replaced by another
            window; the reader of the samples counts the files.

    Raises:
        InputError: no scene has room for a window, or values are not in 0..255.
    """

    def __init__(
        self,
        dataset: GeoDataset,
        window: int,
        count: int,
        holdout: Sequence[Bounds] = (),
        inside: Bounds | None = None,
        skip_unreadable: int = 0,
    ) -> None:
        self.names = ["scenes"]
        self.dataset, self.window, self.count, self.holdout, self.inside = dataset, window, count, holdout, inside
        self.skip_unreadable = skip_unreadable
        self.res = (float(dataset.res[0]), float(dataset.res[1]))
        _check_display(dataset)
        try:
            found = find_places(dataset, (window, window), inside)
        except InputError as error:
            raise InputError(
                "no scene has room for a window in both modalities",
                found=error.found,
                expected=error.expected,
                hint="set a smaller data.window",
            ) from error
        self.places: list[Bounds] = [p[:4] for p in found]

    def paired_items(self, generator: torch.Generator) -> list[Bounds]:
        """``count`` windows as (left, bottom, right, top), tiles weighted by area, valid throughout.

        Raises:
            InputError: the held-out area or missing values leave hardly any room.
        """
        return self._draw(generator, self.count)

    def _draw(self, generator: torch.Generator, count: int) -> list[Bounds]:
        areas = torch.tensor([(r - le) * (t - b) for le, b, r, t in self.places], dtype=torch.float64)
        chosen: list[Bounds] = []
        for _ in range(50):
            tiles = torch.multinomial(areas, count, replacement=True, generator=generator).tolist()
            offsets = torch.rand(count, 2, generator=generator, dtype=torch.float64).tolist()
            for i, (u, v) in zip(tiles, offsets, strict=True):
                place = self._place(self.places[i], u, v)
                if any(_touch(place, area, self.res) for area in self.holdout) or not self._valid(place):
                    continue
                chosen.append(place)
                if len(chosen) == count:
                    return chosen
        raise InputError("the held-out area leaves no room for training", hint="set a smaller data.holdout")

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
            if not any(_touch(item, other, self.res) for other in (*self.holdout, *chosen)) and self._valid(item):
                chosen.append(item)
        return chosen

    def _valid(self, place: Bounds) -> bool:
        return valid_share(self.dataset, place, (self.window, self.window)) == 1

    def _place(self, place: Bounds, u: float, v: float) -> Bounds:
        # whole pixels from the tile's corner, so that nothing is resampled
        cols = round((place[2] - place[0]) / self.res[0]) - self.window
        rows = round((place[3] - place[1]) / self.res[1]) - self.window
        left = place[0] + int(u * (cols + 1)) * self.res[0]
        top = place[3] - int(v * (rows + 1)) * self.res[1]
        return left, top - self.window * self.res[1], left + self.window * self.res[0], top

    def __getitem__(self, item: Bounds) -> dict[str, Any]:
        """The sample of a window, see :mod:`codemae_datasets.pairs`."""
        passed: list[str] = []
        for attempt in range(ATTEMPTS):
            try:
                image: Tensor = self.dataset[geo_query(self.dataset, *item)]["image"]
                break
            except (InputError, RasterioError) as error:
                said = error if isinstance(error, InputError) else InputError(str(error))
            message = f"a scene does not decode: {said.message}"
            passed += [] if message in passed else [message]
            if len(passed) > self.skip_unreadable or attempt == ATTEMPTS - 1:
                hint = f"fetch the file again; {param('skip_unreadable', 'N')} tolerates up to N such files"
                return {"error": {"message": message, "found": said.found, "expected": said.expected, "hint": hint}}
            # the other window is a function of this one, so that every run takes the same
            item = self._draw(seeded(*(round(100 * v) for v in item)), 8)[0]
        image = image.round().byte()
        optical, sar = image.tensor_split([1 if len(image) == 2 else 3])
        return {
            "rgb": optical.expand(3, -1, -1),
            "sar": sar.expand(3, -1, -1),
            "dataset": 0,
            "paired": True,
            "unreadable": tuple(passed),
        }


def _check_display(dataset: GeoDataset) -> None:
    """Refuse what the recipe cannot take: values outside 0..255, other than one or three bands."""
    for member in getattr(dataset, "datasets", ()):
        _check_display(member)
    if not isinstance(dataset, Scenes):
        return
    name = dataset.files[0]
    if len(dataset.band_indexes) not in (1, 3):
        raise InputError(
            "these bands cannot be used", found=str(list(dataset.band_indexes)), expected="one or three bands"
        )
    kind = dataset._header(name).dtype
    if kind != "uint8" and dataset.unit != "uint8" and dataset.stretch is None:
        raise InputError(
            f"{Path(name).name} needs a stretch",
            found=kind,
            expected="the two values that become 0 and 255",
            hint="set data.optical_stretch=[LOW,HIGH] or data.sar_stretch=[LOW,HIGH]",
        )


def _touch(a: Bounds, b: Bounds, res: tuple[float, float]) -> bool:
    """Whether two rectangles share more than a hundredth of a pixel."""
    x, y = res[0] / 100, res[1] / 100
    return a[0] < b[2] - x and b[0] < a[2] - x and a[1] < b[3] - y and b[1] < a[3] - y
