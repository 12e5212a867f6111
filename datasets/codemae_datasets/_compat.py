"""What differs between torchgeo 0.8 and 0.10, in one place.

Python 3.11 has torchgeo 0.8, later Pythons 0.9 and 0.10. A query is the same in all: ``[x0:x1:xres, y0:y1:yres,
t0:t1:tstep]``. A sample is not: 0.8 holds the query as ``bounds`` and a ``crs``; from 0.9 on ``bounds`` and
``transform`` are tensors and there is no ``crs``. The datasets of this project give the later form under every version.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import wraps
from typing import Any

import pandas as pd
import torch
from affine import Affine
from torch import Tensor

from codemae_geo.errors import InputError

try:
    from torchgeo.datasets import (
        DatasetNotFoundError,
        GeoDataset,
        IntersectionDataset,
        NonGeoDataset,
        RasterDataset,
        UnionDataset,
    )
except ImportError as error:  # torchgeo itself, or something that it imports without declaring it
    raise InputError(
        "GeoTIFF scenes need torchgeo, which cannot be imported",
        found=str(error),
        hint="install the training extra: pip install 'codemae-geo[train]' requests",
    ) from error

__all__ = [
    "DatasetNotFoundError",
    "GeoDataset",
    "IntersectionDataset",
    "NoScenesError",
    "NonGeoDataset",
    "RasterDataset",
    "UnionDataset",
    "compose_from_the_right",
    "footprints",
    "geo_query",
    "query_tensors",
    "resolve",
    "sample_place",
]

Query = tuple[slice, slice, slice]


class NoScenesError(InputError, DatasetNotFoundError):
    """No raster where the user pointed: this project's error and torchgeo's at once."""

    def __init__(self, message: str, **parts: str | None) -> None:
        # torchgeo's own wants a dataset that was never made, and stands after ours in the order of classes
        FileNotFoundError.__init__(self, message)
        self.__dict__ |= InputError(message, **parts).__dict__


def compose_from_the_right(ours: type[GeoDataset]) -> None:
    """Have ``theirs & ours`` and ``theirs | ours`` answered by the right-hand side.

    Python asks the left-hand side first, and torchgeo's operators take any geo dataset: they would join the valid masks
    of ours as if they were images, and 0.8 fails at ``|``. They step back where the right-hand side is ours.

    Args:
        ours: a base class with ``__rand__`` and ``__ror__``; it is left as it is, and so is everything that is not it.
    """

    def stepping_back(theirs: Any) -> Any:
        @wraps(theirs)
        def operator(self: GeoDataset, other: Any) -> Any:
            if isinstance(other, ours) and not isinstance(self, ours):
                return NotImplemented
            return theirs(self, other)

        return operator

    GeoDataset.__and__ = stepping_back(GeoDataset.__and__)  # type: ignore[method-assign]
    GeoDataset.__or__ = stepping_back(GeoDataset.__or__)  # type: ignore[method-assign]


def footprints(dataset: GeoDataset) -> list[tuple[float, float, float, float]]:
    """(left, bottom, right, top) in CRS units of every entry of the dataset's index, in a fixed order."""
    return sorted(tuple(geometry.bounds) for geometry in dataset.index.geometry)


def geo_query(dataset: GeoDataset, left: float, bottom: float, right: float, top: float) -> Query:
    """What the dataset is indexed with to get that rectangle at all times."""
    time = dataset.bounds[2]
    return slice(left, right), slice(bottom, top), slice(time.start, time.stop)


def resolve(query: Any, bounds: Query) -> Query:
    """A query with everything that it leaves open taken from the dataset's bounds."""
    given = (query,) if isinstance(query, slice) else tuple(query)
    return tuple(  # type: ignore[return-value]
        slice(
            b.start if q.start is None else q.start,
            b.stop if q.stop is None else q.stop,
            b.step if q.step is None else q.step,
        )
        for q, b in zip((*given, *(slice(None),) * (3 - len(given))), bounds, strict=True)
    )


def query_tensors(query: Query) -> dict[str, Tensor]:
    """``bounds`` [9] and ``transform`` [9] of a resolved query as torchgeo 0.9 and later give them, but float64:
    float32 cannot tell neighbouring pixels of half a metre apart in the millions of a UTM northing.
    """
    x, y, t = query
    seconds = [pd.Timestamp(s).timestamp() for s in (t.start, t.stop)]
    bounds = [x.start, x.stop, x.step, y.start, y.stop, y.step, *seconds, float(t.step or 1)]
    transform = [x.step, 0.0, x.start, 0.0, -y.step, y.stop, 0.0, 0.0, 1.0]
    return {
        "bounds": torch.tensor(bounds, dtype=torch.float64),
        "transform": torch.tensor(transform, dtype=torch.float64),
    }


def sample_place(
    sample: Mapping[str, Any], dataset: GeoDataset
) -> tuple[tuple[float, float, float, float], Affine, Any]:
    """((left, bottom, right, top), affine of the pixels, CRS) of a sample of any torchgeo dataset and version.

    Args:
        sample: with ``bounds``; where it has no ``transform``, the dataset's resolution makes one.
        dataset: where the sample is from.
    """
    bounds = sample["bounds"]
    if isinstance(bounds, Tensor):
        left, right, xres, bottom, top, yres = bounds.flatten()[:6].tolist()
    else:
        x, y, _ = resolve(bounds, dataset.bounds)
        left, right, xres, bottom, top, yres = x.start, x.stop, x.step, y.start, y.stop, y.step
    if "transform" in sample:
        affine = Affine(*sample["transform"].flatten()[:6].tolist())
    else:
        affine = Affine(xres, 0.0, left, 0.0, -yres, top)
    return (left, bottom, right, top), affine, dataset.crs
