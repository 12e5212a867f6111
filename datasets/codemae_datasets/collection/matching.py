"""Optical and SAR scenes of an index that show the same ground at nearly the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from pyproj import Geod

from codemae_geo.errors import InputError
from codemae_geo.outputs import Staging, write_failure

_EARTH = Geod(ellps="WGS84")
_DAY = 86_400.0


def find_pairs(
    index: Any, min_share: float = 0.1, min_km2: float = 0.0, max_days: float | None = None, nearest: int | None = None
) -> Any:
    """Pairs of an optical and a SAR scene.

    Args:
        index: of :func:`codemae_datasets.collection.index.read_index`.
        min_share: least share of the smaller footprint that both cover.
        min_km2: least common area on the ellipsoid.
        max_days: most days between the two; scenes without a date are then left out.
        nearest: keep that many SAR scenes per optical one, the nearest in time, then those that share most.

    Returns:
        GeoDataFrame, EPSG:4326, one row per pair: ``optical, sar`` (href), ``optical_datetime, sar_datetime`` (start),
        ``days`` from the optical to the SAR scene (negative: SAR first; 0 where their spans meet; NaN without dates),
        ``overlap_km2``, ``overlap_share`` and the common ``geometry``. Sorted by optical, then SAR.

    Raises:
        InputError: the index holds no optical or no SAR scene.
    """
    table = index.reset_index(drop=True)
    optical, sar = (table[table["family"] == family] for family in ("optical", "sar"))
    if optical.empty or sar.empty:
        counts = table["family"].value_counts().to_dict()
        raise InputError(
            "the index holds scenes of one kind only",
            found=", ".join(f"{n} {family}" for family, n in counts.items()),
            expected="optical and SAR scenes",
            hint="add the others with `codemae data index`, which takes the family of its scenes",
        )
    left, right = sar.sindex.query(optical.geometry, predicate="intersects")
    first, second = optical.index.to_numpy()[left], sar.index.to_numpy()[right]
    days = _days_between(table, first, second)
    if max_days is not None:
        near = np.abs(days) <= max_days  # NaN is not
        first, second, days = first[near], second[near], days[near]
    shapes = table.geometry.to_numpy()
    common = shapely.intersection(shapes[first], shapes[second])
    own = {i: _km2(shapes[i]) for i in np.unique(np.concatenate([first, second]))}
    area = np.array([_km2(shape) for shape in common])
    share = area / np.array([min(own[i], own[j]) for i, j in zip(first, second, strict=True)])
    keep = (area > 0) & (area >= min_km2) & (share >= min_share)
    times = table["start_datetime"] if "start_datetime" in table else table["datetime"]
    pairs = geopandas.GeoDataFrame(
        {
            "optical": table["href"].to_numpy()[first[keep]],
            "sar": table["href"].to_numpy()[second[keep]],
            "optical_datetime": times.iloc[first[keep]].reset_index(drop=True),
            "sar_datetime": times.iloc[second[keep]].reset_index(drop=True),
            "days": np.round(days[keep], 4),
            "overlap_km2": np.round(area[keep], 6),
            "overlap_share": np.round(share[keep].clip(0, 1), 6),
        },
        geometry=common[keep],
        crs="EPSG:4326",
    )
    if nearest is not None:
        order = pairs.assign(apart=pairs["days"].abs()).sort_values(
            ["apart", "overlap_km2", "sar"], ascending=[True, False, True], na_position="last"
        )
        pairs = pairs.loc[order.groupby("optical", sort=False).head(nearest).index]
    return pairs.sort_values(["optical", "sar"]).reset_index(drop=True)


def write_pairs(pairs: Any, output: Path, overwrite: bool = False) -> None:
    """Write pairs as CSV (the geometry as its bounds) or GeoParquet, by the name of the file.

    Raises:
        InputError: another kind of file.
        OutputError: the file exists or cannot be written.
    """
    if output.suffix.lower() not in (".csv", ".parquet", ".geoparquet"):
        raise InputError(f"{output} is not a name for a table of pairs", expected="a file ending in .csv or .parquet")
    with Staging(output, overwrite=overwrite) as staging:
        path = staging.folder / output.name
        try:
            if output.suffix.lower() == ".csv":
                bounds = pairs.geometry.bounds.round(7) if len(pairs) else pd.DataFrame(columns=["minx"])
                pd.concat([pairs.drop(columns="geometry"), bounds], axis=1).to_csv(path, index=False)
            else:
                pairs.to_parquet(path, index=False, schema_version="1.1.0")
            staging.publish(output.name)
        except OSError as error:
            raise write_failure(error, output) from error


def _days_between(table: Any, first: Any, second: Any) -> Any:
    """Days between the middles of two spans; 0 where they meet, NaN where one is unknown."""

    def seconds(column: str) -> Any:
        values = table[column] if column in table else table["datetime"]
        known = pd.to_datetime(values, utc=True)
        return np.where(known.isna(), np.nan, known.astype("datetime64[us, UTC]").astype("int64") / 1e6)

    start, stop = seconds("start_datetime"), seconds("end_datetime")
    meet = (start[second] <= stop[first]) & (start[first] <= stop[second])
    middle = (start + stop) / 2
    return np.where(meet, 0.0, (middle[second] - middle[first]) / _DAY)


def _km2(shape: Any) -> float:
    """Area on the ellipsoid."""
    return (
        sum(
            abs(_EARTH.geometry_area_perimeter(part)[0])
            for part in shapely.get_parts(shape)
            if part.geom_type == "Polygon"
        )
        / 1e6
    )
