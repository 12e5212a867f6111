"""When a scene was taken: the span that a file name, its tags or its STAC item name, in UTC without a zone."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

#: (first, last) moment
Span = tuple[pd.Timestamp, pd.Timestamp] | None

#: a date anywhere in a file name: 20201104, 2020-11-04, 20201104T183541
_DATE = re.compile(
    r"(?<!\d)(?P<y>19\d\d|20\d\d)[-_]?(?P<m>0[1-9]|1[0-2])[-_]?(?P<d>0[1-9]|[12]\d|3[01])(?:T(?P<t>\d{6}))?(?!\d)"
)
#: tags that hold the time of acquisition, best first
_TAGS = ("ACQUISITION_DATETIME", "ACQUISITIONDATETIME", "SENSING_TIME", "DATETIME", "TIFFTAG_DATETIME")


def name_span(name: str) -> Span:
    """The moment or day in a file name; None without one.

    >>> name_span("S2A_20201104T183541_034.tif")[0]
    Timestamp('2020-11-04 18:35:41')
    >>> name_span("S1A_20201107_034.tif")
    (Timestamp('2020-11-07 00:00:00'), Timestamp('2020-11-07 23:59:59.999999'))
    >>> name_span("tile_20200631.tif") is None
    True
    """
    found = _DATE.search(name.rsplit(".", 1)[0])
    if not found:
        return None
    year, month, day = (int(found[part]) for part in "ymd")
    try:
        date = pd.Timestamp(year, month, day)
    except ValueError:  # 31 June
        return None
    if (t := found["t"]) and t <= "235959" and t[2:4] < "60" and t[4:] < "60":
        moment = date.replace(hour=int(t[:2]), minute=int(t[2:4]), second=int(t[4:]))
        return moment, moment
    return date, end_of_day(date)


def tag_span(tags: Mapping[str, str]) -> Span:
    """The moment or day in the tags of a raster; None without one."""
    upper = {k.upper(): v for k, v in tags.items()}
    for name in _TAGS:
        text = re.sub(r"^(\d{4}):(\d\d):(\d\d)", r"\1-\2-\3", upper.get(name, "").strip())  # TIFF writes 2020:11:04
        moment = pd.to_datetime(text, errors="coerce", utc=True) if text else pd.NaT
        if moment is not pd.NaT:
            moment = moment.tz_localize(None)
            return moment, moment if len(text) > 10 else end_of_day(moment)
    return None


def item_span(path: str) -> Span:
    """The span of a STAC item; None without one."""
    import pystac

    item = pystac.Item.from_file(path)
    common = item.common_metadata
    times = common.start_datetime or item.datetime, common.end_datetime or item.datetime
    if times[0] is None or times[1] is None:
        return None
    start, stop = (pd.Timestamp(t) for t in times)
    return (start.tz_convert(None) if start.tzinfo else start), (stop.tz_convert(None) if stop.tzinfo else stop)


def end_of_day(day: pd.Timestamp) -> pd.Timestamp:
    """The last microsecond of a day."""
    return day + pd.Timedelta(days=1) - pd.Timedelta(microseconds=1)
