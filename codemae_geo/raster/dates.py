"""When a scene was taken, as far as its tags or its name say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rasterio.errors import RasterioError

from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.reach import open_raster
from codemae_geo.raster.source import unreadable
from codemae_geo.raster.stac import is_stac_item

#: eight digits, or three numbers joined by one kind of sign, that are no part of a longer number
_DATE = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<sign>[-_.:]?)(?P<month>0[1-9]|1[0-2])(?P=sign)(?P<day>[0-2]\d|3[01])(?!\d)"
)
#: (namespace, tag) that state the time of the picture, and then those that may state the time of the file
_TAGS = (("IMAGERY", "ACQUISITIONDATETIME"), (None, "ACQUISITION_DATE"), (None, "SENSING_TIME"))
_LATER_TAGS = ((None, "TIFFTAG_DATETIME"),)


@dataclass(frozen=True)
class Taken:
    """The day of a scene.

    Args:
        day: ISO date, or None.
        reason: where it stands.
    """

    day: str | None
    reason: str


def find_date(text: str) -> str | None:
    """The first date in a text, in ISO form.

    >>> find_date("S2A_20201104_034.tif"), find_date("2011-05-22 before"), find_date("tile_31500-5137.tif")
    ('2020-11-04', '2011-05-22', None)
    """
    for match in _DATE.finditer(text):
        try:
            return date(int(match["year"]), int(match["month"]), int(match["day"])).isoformat()
        except ValueError:  # 31 February
            continue
    return None


def date_taken(path: str) -> Taken:
    """The day a raster was taken: by its acquisition tags, else by its name, else by the time stamp in the file.

    Args:
        path: a raster; STAC items are judged by their names alone.

    Raises:
        InputError: the file cannot be read.
    """
    name = Path(path).name
    named = find_date(name)
    if is_stac_item(path):
        return Taken(named, "in the name" if named else "not stated")
    try:
        with gdal_env(), open_raster(path) as source:
            stated, stamped = _tagged(source, _TAGS), _tagged(source, _LATER_TAGS)
    except RasterioError as error:
        raise unreadable(path, error) from error
    if stated:
        return Taken(*stated)
    if named:
        return Taken(named, "in the name")
    return Taken(*stamped) if stamped else Taken(None, "not stated")


def _tagged(source: Any, names: tuple[tuple[str | None, str], ...]) -> tuple[str, str] | None:
    for space, name in names:
        tags = {k.upper(): str(v) for k, v in (source.tags(ns=space) if space else source.tags()).items()}
        day = find_date(tags.get(name, ""))
        if day:
            return day, f"tag {name}"
    return None
