"""Read class and confidence rasters as the vector step needs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codemae_geo.classes import NODATA, ClassTable
from codemae_geo.errors import InputError, number
from codemae_geo.raster.reach import open_raster


@contextmanager
def open_confidence(path: Path | None, like: Any) -> Iterator[Any]:
    """An open confidence raster on the grid of ``like`` (an open dataset), or None.

    Raises:
        InputError: the grids differ, ``like`` has no CRS, or there is more than one band.
    """
    if like.crs is None:
        raise InputError(f"{like.name} has no coordinate reference system")
    if path is None:
        yield None
        return
    with open_raster(str(path)) as source:
        if source.shape != like.shape or not source.transform.almost_equals(like.transform):
            raise InputError(
                f"{path} is on another grid than {like.name}",
                found=f"{source.width} x {source.height} pixels",
                expected=f"{like.width} x {like.height} pixels with the same transform",
            )
        if source.count != 1:
            raise InputError(
                f"{path} is not a confidence raster",
                found=f"{source.count} bands",
                expected="one band",
                hint="name the confidence raster of a run, such as confidence.tif",
            )
        yield source


def read_confidence(source: Any, window: Any) -> NDArray[np.float32]:
    """Band 1 in its physical unit (0..1), NaN where nodata.

    Raises:
        InputError: a value is no confidence.
    """
    raw = source.read(1, window=window)
    value = raw.astype(np.float32) * np.float32(source.scales[0]) + np.float32(source.offsets[0])
    if source.nodata is not None:
        value[raw == source.nodata] = np.nan
    low, high = np.nanmin(value, initial=0), np.nanmax(value, initial=0)
    if low < 0 or high > 1 + 1e-6:
        raise InputError(
            f"{source.name} is not a confidence raster",
            found=f"values from {number(low)} to {number(high)}",
            expected="0 to 1, after the scale that the file states",
            hint="name the confidence raster of a run, such as confidence.tif",
        )
    return value


def read_probabilities(source: Any, window: Any) -> NDArray[np.float32]:
    """Bands of a probability raster, one per class, 0..1, NaN where nodata: [classes, pixels]."""
    raw = source.read(window=window)
    value = raw.astype(np.float32) * np.float32(source.scales[0]) + np.float32(source.offsets[0])
    if source.nodata is not None:
        value[raw == source.nodata] = np.nan
    return value.reshape(len(raw), -1)


def check_values(raw: NDArray[Any], nodata: float | None, classes: ClassTable, name: str) -> NDArray[np.uint8]:
    """Class values as the places of their classes in the table, uint8 with 255 for nodata.

    Raises:
        InputError: a value is neither nodata nor in the table.
    """
    invalid = raw == NODATA if nodata is None else (raw == NODATA) | (raw == nodata)
    places = np.full(NODATA + 1, NODATA, np.uint8)
    places[classes.values] = np.arange(len(classes))
    found = places[np.where((raw < 0) | (raw > NODATA), NODATA, raw).astype(np.uint8)]
    unknown = ~invalid & (found == NODATA)
    if unknown.any():
        raise InputError(
            f"{name} has class values outside the table of classes",
            found=", ".join(str(v) for v in np.unique(raw[unknown])[:10]),
            expected=f"{', '.join(f'{c.value} {c.name}' for c in classes)}, or nodata",
        )
    return np.where(invalid, np.uint8(NODATA), found)
