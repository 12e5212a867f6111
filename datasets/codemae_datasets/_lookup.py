"""Where and when the scenes of a dataset lie, as arrays: for windows by the thousand, and from tables of scenes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import shapely
from affine import Affine
from odc.geo.crs import CRS as OdcCRS
from odc.geo.geobox import GeoBox

from codemae_datasets._compat import NoScenesError, Query
from codemae_geo.errors import InputError

#: the time of a scene that names none
ALWAYS = (pd.Timestamp(1678, 1, 1), pd.Timestamp(2262, 1, 1))  # inside what 64 bits hold in nanoseconds


#: a span of more years than this is no date: torchgeo's and our own undated files lie at all times that 64 bits hold
UNDATED = np.timedelta64(500, "Y")


def named_as(old: Any, new: Any) -> Any:
    """An index that replaces another, with its names of columns and its CRS.

    torchgeo's split by grid cells makes a table whose columns are numbered, and in 0.8 one without a CRS.
    """
    if "filepath" in old.columns and "filepath" not in new.columns:
        names = {number: name for number, name in enumerate(old.columns) if name != "geometry"}
        numbered = [c for c in new.columns if isinstance(c, int) and c not in names]
        new = new.rename(columns=names).drop(columns=numbered)
    return new if new.crs is not None or old.crs is None else new.set_crs(old.crs)


class Lookup:
    """The index of a dataset as arrays, for windows by the thousand."""

    def __init__(self, index: Any) -> None:
        self.source = index
        parts, row = shapely.get_parts(np.asarray(index.geometry.values), return_index=True)
        self.row = row
        self.box = shapely.bounds(parts)  # [parts, 4]
        self.paths = index["filepath"].to_numpy()
        # by integers: pandas 3 counts in microseconds, and numpy does not round the first moment of 64 bits to them
        self.start, self.stop = (
            side.to_numpy().astype("M8[ns]").astype(np.int64)[row] // 1000
            for side in (index.index.left, index.index.right)
        )
        ends = _exact(index.index.left.min(), index.index.right.max())
        self.total = (*self.box[:, :2].min(0).tolist(), *self.box[:, 2:].max(0).tolist(), *ends)

    def bounds(self, res: tuple[float, float]) -> Query:
        x0, y0, x1, y1, start, stop = self.total
        return slice(x0, x1, res[0]), slice(y0, y1, res[1]), slice(start, stop, 1)

    def hits(
        self, x0: float, y0: float, x1: float, y1: float, start: Any, stop: Any, res: tuple[float, float],
        touch: bool = False,
    ) -> list[str]:  # fmt: skip
        """Files of which more than a thousandth of a pixel lies in a rectangle, in the order of the index."""
        ex, ey = (-res[0], -res[1]) if touch else (res[0] * 1e-3, res[1] * 1e-3)
        box = self.box
        hit = (box[:, 0] < x1 - ex) & (box[:, 2] > x0 + ex) & (box[:, 1] < y1 - ey) & (box[:, 3] > y0 + ey)
        where = np.flatnonzero(hit)
        if start is not None and len(where):
            first, last = microseconds(start), microseconds(stop)
            where = where[(self.start[where] <= last) & (self.stop[where] >= first)]
        return list(dict.fromkeys(self.paths[self.row[where]]))


def _exact(start: pd.Timestamp, stop: pd.Timestamp) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Ends in nanoseconds where their distance can be told in them, so that halves of it are whole."""
    start, stop = pd.Timestamp(start), pd.Timestamp(stop)
    if stop.year - start.year > 290:  # 2**63 nanoseconds are 292 years
        return start.as_unit("us"), stop.as_unit("us")
    return start.as_unit("ns"), stop.as_unit("ns")


@lru_cache(maxsize=4096)
def microseconds(time: Any) -> np.int64:
    moment = min(max(pd.Timestamp(time), ALWAYS[0]), ALWAYS[1])
    return moment.to_datetime64().astype("M8[us]").astype(np.int64)


def read_rows(index: Any) -> tuple[list[str], list[GeoBox], Any]:
    """Names, grids and times of a table of scenes."""

    def column(*names: str) -> Any:
        for name in names:
            if name in index.columns:
                return index[name]
        raise InputError(
            f"the index has no column {names[0]!r}",
            found=", ".join(map(str, index.columns)),
            expected="href, crs, transform, shape, datetime",
            hint="make it with `codemae data index`",
        )

    hrefs = [str(h) for h in column("href", "filepath", "path")]
    if not hrefs:
        raise NoScenesError("the index lists no scene", hint="make it with `codemae data index SCENES... -o FILE`")
    known: dict[str, OdcCRS] = {}
    grids = []
    texts = [str(c) for c in column("crs", "proj:code", "proj:wkt2")]
    shapes, transforms = column("shape", "proj:shape"), column("transform", "proj:transform")
    for text, shape, transform in zip(texts, shapes, transforms, strict=True):
        crs = known.setdefault(text, OdcCRS(text)) if text not in known else known[text]
        grids.append(GeoBox((int(shape[0]), int(shape[1])), Affine(*[float(v) for v in transform][:6]), crs))
    if "start_datetime" in index.columns and "end_datetime" in index.columns:
        pair = [index["start_datetime"], index["end_datetime"]]
    elif "datetime" in index.columns:
        pair = [index["datetime"], index["datetime"]]
    else:
        pair = [pd.Series([None] * len(hrefs))] * 2
    start, stop = (naive(s) for s in pair)
    if "datetime" in index.columns:
        moment = naive(index["datetime"])
        start, stop = start.fillna(moment), stop.fillna(moment)
    times = pd.IntervalIndex.from_arrays(
        start.fillna(ALWAYS[0]).to_numpy(), stop.fillna(ALWAYS[1]).to_numpy(), closed="both", name="datetime"
    )
    return hrefs, grids, times


def naive(times: Any) -> Any:
    """Times in UTC without a zone, in nanoseconds; NaT where there is none."""
    return pd.to_datetime(pd.Series(list(times)), utc=True, format="ISO8601").dt.tz_localize(None).astype("M8[ns]")
