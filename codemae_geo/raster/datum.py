"""How well two coordinate reference systems are known to fit each other, and which grid would make them fit better.

PROJ takes the best transformation for which it has the data, without a word when the grid of a better one is not
installed. Grids are also fetched from the network where the user allows it (``PROJ_NETWORK=ON``).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pyproj.aoi import AreaOfInterest
from pyproj.exceptions import CRSError, ProjError
from pyproj.transformer import TransformerGroup

from codemae_geo.raster.geo import center_lonlat, crs_name, ground_sample_distance

#: a shift that moves points by less than this many degrees (1 cm) takes two datums to be the same
_NOTHING = 1e-7


@dataclass(frozen=True)
class DatumShift:
    """The transformation between two datums that is used.

    Args:
        operation: its name.
        accuracy_m: accuracy that the EPSG registry states, metres; None where it states none (a ballpark shift).
        moves: whether it moves points at all.
        missing: grids of the best transformation that is not available; empty where the best is used.
        better_m: accuracy of that one.
    """

    operation: str
    accuracy_m: float | None
    moves: bool
    missing: tuple[str, ...] = ()
    better_m: float | None = None

    def describe(self) -> str:
        """For the log."""
        known = "of unknown accuracy" if self.accuracy_m is None else f"accurate to {self.accuracy_m:g} m"
        better = "" if self.better_m is None else f" (accurate to {self.better_m:g} m)"
        more = f"; a better one{better} needs {', '.join(self.missing)}" if self.missing else ""
        return f"datum shift {self.operation}, {known}{more}"

    def warning(self, gsd: float) -> str | None:
        """What a user should know, for pixels of ``gsd`` metres; None if nothing.

        Two datums that are taken to be the same by a registered transformation (NAD83 and WGS 84) are not spoken of:
        every program does that, and the figure describes the datums.
        """
        if self.accuracy_m is None:
            grids = f": install {', '.join(self.missing)}, or allow PROJ_NETWORK=ON" if self.missing else ""
            return f"the shift between the two datums is a guess, often tens or hundreds of metres off{grids}"
        if self.moves and self.missing and self.accuracy_m > gsd:
            return (
                f"the shift between the two datums is accurate to {self.accuracy_m:g} m ({self.accuracy_m / gsd:.2g} "
                f"pixels), as {', '.join(self.missing)} is not installed: install it, or allow PROJ_NETWORK=ON"
            )
        return None


def datum_shift(source: GeoBox, target: GeoBox) -> DatumShift | None:
    """The datum shift between two grids where the target has its middle; None between systems of one datum."""
    if source.crs == target.crs:
        return None
    lon, lat = center_lonlat(target)
    if not np.isfinite([lon, lat]).all():
        return None
    return _shift(str(source.crs), str(target.crs), round(lon, 1), round(lat, 1))


@lru_cache(maxsize=256)
def _shift(source: str, target: str, lon: float, lat: float) -> DatumShift | None:
    a, b = (CRS.from_user_input(text).geodetic_crs for text in (source, target))
    if a is None or b is None or a == b:
        return None
    area = AreaOfInterest(lon - 0.1, max(lat - 0.1, -90), lon + 0.1, min(lat + 0.1, 90))
    try:
        with warnings.catch_warnings():  # what it warns of is what is told here
            warnings.simplefilter("ignore", UserWarning)
            group = TransformerGroup(a, b, always_xy=True, area_of_interest=area)  # type: ignore[arg-type]
        used = group.transformers[0]
        x, y = used.transform(lon, lat)
    except (CRSError, ProjError, IndexError):
        return DatumShift(f"from {crs_name(a)} to {crs_name(b)}", None, False)
    best = next((o for o in group.unavailable_operations if any(not g.available for g in o.grids)), None)
    if best is not None and 0 <= used.accuracy <= best.accuracy:
        best = None
    return DatumShift(
        used.description,
        used.accuracy if used.accuracy >= 0 else None,
        max(abs(x - lon), abs(y - lat)) > _NOTHING,
        tuple(g.short_name for g in best.grids if not g.available) if best is not None else (),
        best.accuracy if best is not None and best.accuracy >= 0 else None,
    )


def scene_shift(files: tuple[GeoBox, ...], target: GeoBox) -> tuple[DatumShift | None, str | None]:
    """The least accurate shift among the grids of a scene, and what to warn of on a target grid."""
    shifts = [s for grid in dict.fromkeys(files) if (s := datum_shift(grid, target)) is not None]
    if not shifts:
        return None, None
    worst = max(shifts, key=lambda s: float("inf") if s.accuracy_m is None else s.accuracy_m)
    return worst, worst.warning(ground_sample_distance(target))
