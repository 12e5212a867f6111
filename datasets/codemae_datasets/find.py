"""Which scenes before and after an event cover an area? Candidates from STAC catalogues and indexes, ranked in pairs.

A candidate is all that one sensor took on one day, since vendors deliver a strip in tiles. Coverage is measured on the
ground: the candidate's outline, as its catalogue states it, in an equal-area system on the area of interest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pystac
import shapely
from pyproj import Transformer

from codemae_geo.errors import CodemaeError, InputError
from codemae_geo.progress import Reporter
from codemae_geo.raster.env import is_remote
from codemae_geo.raster.geo import equal_area_crs
from codemae_geo.raster.reach import check_driver, check_file, check_href
from codemae_geo.raster.scene import is_scene_name
from codemae_geo.sensors import Family
from codemae_geo.texts import read_text
from codemae_geo.vector.footprints import polygons_only, read_aoi

#: words in the names of radar missions
_RADAR = ("sar", "umbra", "capella", "iceye", "sentinel-1", "sentinel1", "radarsat", "terrasar", "tandem-x", "palsar")
#: assets that hold all bands of a scene in one file, tried in turn
_ONE_FILE = ("visual", "data", "image", "GEC", "vv", "VV", "hh", "HH")
#: columns of an index that say the same: our own names, STAC's, and those that people use
_COLUMNS: dict[str, tuple[str, ...]] = {
    "href": ("href", "path", "location", "file", "filename"),
    "datetime": ("datetime", "start_datetime", "date", "acquired", "acquisition_date", "timestamp"),
    "platform": ("platform", "constellation", "sensor", "satellite", "mission"),
    "collection": ("collection",),
    "family": ("family",),
    "gsd": ("gsd", "resolution"),
    "off_nadir": ("view:off_nadir", "off_nadir"),
    "cloud": ("eo:cloud_cover", "cloud_cover", "cloud"),
    "id": ("id", "name"),
}
#: longest edge in degrees that is taken to be straight on the ground
_EDGE = 0.02
#: share of the area, in steps of which candidates count as equally good
_STEP = 0.05
#: one scene's pixels may be this many times the other's (as in `codemae checkpair`)
_MAX_RATIO = 4.0
#: scenes of each side that are combined
_COMBINED = 40


@dataclass(frozen=True)
class Entry:
    """One line of a catalogue.

    Args:
        id: its name.
        path: what reads it: a STAC item or a raster; empty where nothing does.
        moment: when it was taken; None where that is not stated.
        geometry: outline in EPSG:4326.
        platform: satellite or aircraft.
        collection: of a catalogue.
        family: ``optical`` or ``sar``.
        gsd: metres.
        off_nadir: degrees.
        cloud: share, 0 to 1.
    """

    id: str
    path: str
    moment: datetime | None
    geometry: Any
    platform: str = ""
    collection: str = ""
    family: Family = "optical"
    gsd: float | None = None
    off_nadir: float | None = None
    cloud: float | None = None


@dataclass(frozen=True)
class Candidate:
    """What one sensor took of the area on one day.

    Args:
        entries: of the catalogue.
        outline: their union within the area, in an equal-area system.
        coverage: share of the area, 0 to 1.
        days: from the event, negative before it.
    """

    entries: tuple[Entry, ...]
    outline: Any = field(repr=False)
    coverage: float
    days: float

    @property
    def first(self) -> Entry:
        """The first of its entries, which speaks for all in what they share."""
        return self.entries[0]

    @property
    def cloud(self) -> float | None:
        """Mean share of cloud; None where it is not stated. Radar sees through."""
        known = [e.cloud for e in self.entries if e.cloud is not None]
        return float(np.mean(known)) if known and self.first.family == "optical" else None

    @property
    def off_nadir(self) -> float | None:
        """Largest angle."""
        return max((e.off_nadir for e in self.entries if e.off_nadir is not None), default=None)

    @property
    def clear(self) -> float:
        """Share of a ground without cloud."""
        return 1 - (self.cloud or 0)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        first = self.first
        return {
            "ids": [e.id for e in self.entries],
            "paths": [e.path for e in self.entries],
            "date": None if first.moment is None else first.moment.isoformat(),
            "days": round(self.days, 2),
            "sensor": first.platform or first.collection or None,
            "family": first.family,
            "coverage": self.coverage,
            "cloud": self.cloud,
            "off_nadir": self.off_nadir,
            "gsd_m": first.gsd,
        }


@dataclass(frozen=True)
class Pair:
    """A scene before and one after.

    Args:
        pre, post: the scenes.
        coverage: share of the area that both cover.
    """

    pre: Candidate
    post: Candidate
    coverage: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"pre": self.pre.as_dict(), "post": self.post.as_dict(), "coverage": self.coverage}


@dataclass(frozen=True)
class Finding:
    """What was found: candidates and pairs, the best first, and how many entries could not be judged."""

    pre: list[Candidate]
    post: list[Candidate]
    pairs: list[Pair]
    seen: int
    undated: int
    same_day: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "task": "find",
            "pre": [c.as_dict() for c in self.pre],
            "post": [c.as_dict() for c in self.post],
            "pairs": [p.as_dict() for p in self.pairs],
            "seen": self.seen,
            "undated": self.undated,
            "same_day": self.same_day,
        }


def find_pairs(
    aoi: str | Path,
    event: str,
    sources: Sequence[str | Path],
    *,
    before: int = 1095,
    after: int = 90,
    post_sensor: Family | None = None,
    collections: Sequence[str] | None = None,
    limit: int = 500,
    reporter: Reporter | None = None,
) -> Finding:
    """Find scenes before and after an event that cover an area.

    Args:
        aoi: file of polygons.
        event: ISO date, or date and time (UTC where no zone is stated). Of a date alone, what was taken on that day is
            neither before nor after, and is counted in ``same_day``.
        sources: folders of STAC items or a catalogue in a folder, ``catalog.json``, item collections, indexes
            (GeoParquet, GeoJSON, GeoPackage), addresses of static catalogues (ending in ``.json``) and of STAC APIs.
        before, after: days around the event to look in.
        post_sensor: only such scenes after.
        collections: only these collections of an API.
        limit: entries taken of an API or of a catalogue in the network.
        reporter: told stages, and warned of what cannot be read.

    Returns:
        Candidates and pairs, the best first: by the share of the area that is seen without cloud (in steps of 5 %), an
        optical scene after before a radar one, pixels not too unlike, days, angle, pixel size.

    Raises:
        InputError: the area or a source cannot be read, no date, or a catalogue does not answer.
    """
    reporter = reporter or Reporter()
    when, whole_day = read_event(event)
    with reporter.stage("area"):
        area = read_aoi(aoi, to_crs="EPSG:4326")
    start, end = when - timedelta(days=before), when + timedelta(days=after + whole_day)
    entries: list[Entry] = []
    with reporter.stage("catalogues"):
        for source in sources:
            entries += read_source(str(source), area, (start, end), collections, limit, reporter)
    if not entries:
        raise InputError(
            "the catalogues hold no scene",
            found=", ".join(map(str, sources)),
            expected="STAC items, or an index of scenes with outlines",
        )
    undated = sum(e.moment is None for e in entries)
    if undated:
        reporter.warning("date", f"{undated} of {len(entries)} scenes state no date and are left out")
    dated = [e for e in entries if e.moment is not None and start <= e.moment < end]

    def of_the_day(entry: Entry) -> bool:
        return whole_day and _when(entry).date() == when.date()

    same_day = [e for e in dated if of_the_day(e)]
    if same_day:
        reporter.warning(
            "date", f"{len(same_day)} scenes are of the day of the event: state its time to have them judged"
        )
    rest = [e for e in dated if not of_the_day(e)]
    pre = gather([e for e in rest if _when(e) < when and e.family == "optical"], area, when)
    post = gather(
        [e for e in rest if _when(e) >= when and (post_sensor is None or e.family == post_sensor)], area, when
    )
    pre, post = sorted(pre, key=_rank), sorted(post, key=_rank)
    pairs = combine(pre[:_COMBINED], post[:_COMBINED], area)
    return Finding(pre, post, pairs, len(entries), undated, len(same_day))


def read_event(text: str) -> tuple[datetime, bool]:
    """When it was, in UTC, and whether only the day is known.

    Raises:
        InputError: no date.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"the event {text!r} is not a date", expected="2011-05-22, or 2011-05-22T22:41Z", option="event"
        ) from None
    whole = len(text.strip()) <= len("2011-05-22")
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC), whole


def _when(entry: Entry) -> datetime:
    assert entry.moment is not None
    return entry.moment


# ---------------------------------------------------------------- catalogues


def read_source(
    source: str,
    area: Any,
    span: tuple[datetime, datetime],
    collections: Sequence[str] | None,
    limit: int,
    reporter: Reporter,
) -> list[Entry]:
    """All entries of a folder, file or address, see :func:`find_pairs`.

    Raises:
        InputError: it cannot be read, or does not answer.
    """
    if source.startswith(("http://", "https://")):
        items = (
            _static(source, limit)
            if source.split("?")[0].endswith(".json")
            else _api(source, area, span, collections, limit)
        )
        return [entry for item in items if (entry := of_item(item)) is not None]
    path = Path(source)
    if path.is_dir():
        files = sorted(f for end in ("*.json", "*.geojson") for f in path.rglob(end) if not f.name.startswith("."))
        found, odd = [], 0
        for file in files:
            entries = _of_json(file)
            odd += entries is None
            found += entries or []
        if odd:
            reporter.warning("catalogue", f"{odd} of {len(files)} JSON files in {source} are no STAC items")
        return found
    if not path.is_file():
        raise InputError(f"the catalogue {source} does not exist", expected="a folder, a file or an address")
    if path.suffix.lower() == ".json" and (entries := _of_json(path, follow=True)) is not None:
        return entries
    return read_index(path)


def _of_json(path: Path, *, follow: bool = False) -> list[Entry] | None:
    """Entries of a STAC item, of a collection of items, or (``follow``) of a catalogue; None for other JSON."""
    try:
        data = json.loads(read_text(path, longest=2**30))  # catalogues are large; a device never ends
        kind = data.get("type") if isinstance(data, dict) else None
        if kind == "Feature" and "stac_version" in data:
            items: Iterable[pystac.Item] = [pystac.Item.from_file(str(path))]
        elif kind == "FeatureCollection" and any("stac_version" in f for f in data.get("features", ())):
            items = pystac.ItemCollection.from_file(str(path))
        elif kind in ("Catalog", "Collection"):
            items = pystac.Catalog.from_file(str(path)).get_items(recursive=True) if follow else ()
        else:
            return None
        return [entry for item in items if (entry := of_item(item, path.parent.absolute())) is not None]
    except Exception:  # pystac takes a text for what it should be, and fails by whatever comes of it
        return None


def _static(url: str, limit: int) -> Iterator[pystac.Item]:
    try:
        found: Any = pystac.read_file(url)
        items = [found] if isinstance(found, pystac.Item) else found.get_items(recursive=True)
        for number, item in enumerate(items):
            if number >= limit:
                return
            yield item
    except Exception as error:  # whatever the network, the server or its answer comes to
        raise _silent(url, error) from error


def _api(
    url: str, area: Any, span: tuple[datetime, datetime], collections: Sequence[str] | None, limit: int
) -> list[pystac.Item]:
    try:
        import pystac_client
    except ModuleNotFoundError as error:
        raise InputError(
            "searching a STAC API needs pystac-client", found=str(error), hint="pip install 'codemae-geo[stac]'"
        ) from error
    try:
        client = pystac_client.Client.open(url, timeout=30)
        search = client.search(
            intersects=shapely.geometry.mapping(area),
            datetime=list(span),
            collections=list(collections or []) or None,
            max_items=limit,
        )
        return list(search.items())
    except Exception as error:  # whatever the network, the server or its answer comes to
        raise _silent(url, error) from error


def _silent(url: str, error: Exception) -> InputError:
    return InputError(
        f"the catalogue {url} cannot be read",
        found=(str(error).splitlines() or [type(error).__name__])[0][:300],
        expected="a STAC API, or a static catalogue whose address ends in .json",
        hint="check the address and the network; a folder of STAC items or an index needs none",
    )


def of_item(item: pystac.Item, beside: Path | None = None) -> Entry | None:
    """A STAC item as an entry; None for one without a place.

    Args:
        item: the item.
        beside: folder that its relative addresses count from, where it has no file of its own.
    """
    shape = item.geometry or (shapely.geometry.mapping(shapely.box(*item.bbox)) if item.bbox else None)
    outline = _outline(shape)
    if outline is None:
        return None
    props = item.properties
    moment = item.datetime or props.get("start_datetime")
    text = " ".join(str(v) for v in (props.get("platform"), props.get("constellation"), item.collection_id, item.id))
    instruments = props.get("instruments") or []
    radar = any(k.startswith("sar:") for k in props) or _is_radar(text, *map(str, instruments))
    return Entry(
        id=item.id,
        path=_readable(item, beside),
        moment=_moment(moment),
        geometry=outline,
        platform=str(props.get("platform") or props.get("constellation") or ""),
        collection=str(item.collection_id or ""),
        family="sar" if radar else "optical",
        gsd=_number(props.get("gsd")),
        off_nadir=_number(props.get("view:off_nadir")),
        cloud=_share(props.get("eo:cloud_cover")),
    )


def _readable(item: pystac.Item, beside: Path | None) -> str:
    """What `codemae damage` reads of an item: its file, or the one asset that holds all bands."""
    own = item.get_self_href() or ""
    named = own.lower().split("?")[0].endswith((".json", ".geojson"))
    if named and (is_remote(own) or Path(own).is_file()):
        return own
    if not own and beside is not None:
        item.set_self_href(str(beside / "item.json"))
    item.make_asset_hrefs_absolute()
    for name in _ONE_FILE:
        if name in item.assets:
            href = str(item.assets[name].href)
            try:
                check_href(href, own or str(beside or item.id), str(item.id))
            except CodemaeError:
                continue
            return href
    return ""


def _is_radar(*texts: str) -> bool:
    return any(word in text.lower().replace("_", "-") for text in texts for word in _RADAR)


def _outline(shape: Any) -> Any:
    try:
        geometry = shapely.geometry.shape(shape) if isinstance(shape, Mapping) else shape
        outline = polygons_only([geometry])[0]
    except Exception:  # a geometry that is none, whatever it is
        return None
    return None if outline.is_empty or not np.isfinite(shapely.bounds(outline)).all() else outline


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if value is None or pd.isna(value):
        return None
    if not isinstance(value, datetime):
        try:
            value = pd.Timestamp(value).to_pydatetime()
        except (ValueError, TypeError):
            return None
    return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float | np.number) and not isinstance(value, bool) and np.isfinite(float(value))
    return float(value) if known else None


def _share(percent: Any) -> float | None:
    value = _number(percent)
    return None if value is None else min(max(value / 100, 0.0), 1.0)


def read_index(path: Path) -> list[Entry]:
    """Entries of a table of outlines: an index of `codemae data index`, STAC-GeoParquet, or one of your own.

    Raises:
        InputError: it cannot be read, or has no column of files.
    """
    check_file(path, f"the index {path}")
    try:
        if path.suffix.lower() in (".parquet", ".geoparquet"):
            frame = gpd.read_parquet(path)
        else:
            check_driver(pyogrio.read_info(path)["driver"], f"the index {path}")
            frame = gpd.read_file(path)
    except (ModuleNotFoundError, InputError):
        raise
    except Exception as error:  # GDAL's, pyogrio's, Arrow's and shapely's share no base class
        raise InputError(
            f"the index {path} cannot be read",
            found=(str(error).splitlines() or [""])[0][:300],
            expected="GeoParquet, GeoJSON, GeoPackage, or STAC",
        ) from error
    if not isinstance(frame, gpd.GeoDataFrame) or frame.crs is None:
        raise InputError(f"the index {path} has no outlines with a coordinate reference system")
    lower = {str(c).lower(): c for c in frame.columns}
    named = {key: next((lower[n] for n in names if n in lower), None) for key, names in _COLUMNS.items()}
    if named["href"] is None and "assets" not in lower:
        raise InputError(
            f"the index {path} does not say where its scenes are",
            found=", ".join(map(str, frame.columns)),
            expected=f"a column {', '.join(_COLUMNS['href'])} or assets",
        )
    frame = frame.to_crs("EPSG:4326")
    entries = []
    for number, (_, row) in enumerate(frame.iterrows()):
        outline = _outline(row[frame.geometry.name])
        if outline is None:
            continue
        got = {key: None if name is None else row[name] for key, name in named.items()}
        href = got["href"] if isinstance(got["href"], str) else _asset(row.get("assets"))
        local = href if not href or is_remote(href) or Path(href).is_absolute() else str(path.parent / href)
        platform = "" if got["platform"] is None or pd.isna(got["platform"]) else str(got["platform"])
        radar = got["family"] == "sar" if got["family"] in ("sar", "optical") else _is_radar(platform)
        entries.append(
            Entry(
                id=str(got["id"]) if isinstance(got["id"], str) else Path(href).name or str(number),
                path=local,
                moment=_moment(got["datetime"]),
                geometry=outline,
                platform=platform,
                collection=str(got["collection"] or ""),
                family="sar" if radar else "optical",
                gsd=_number(got["gsd"]),
                off_nadir=_number(got["off_nadir"]),
                cloud=_share(got["cloud"]),
            )
        )
    return entries


def _asset(assets: Any) -> str:
    """The one file of the assets of a row of STAC-GeoParquet."""
    found = assets if isinstance(assets, Mapping) else {}
    for name in _ONE_FILE:
        asset = found.get(name)
        if isinstance(asset, Mapping) and isinstance(asset.get("href"), str) and is_scene_name(Path(asset["href"])):
            return str(asset["href"])
    return ""


# ---------------------------------------------------------------- ranking


def gather(entries: Sequence[Entry], area: Any, when: datetime) -> list[Candidate]:
    """Candidates of entries: those of one sensor and day together, with the share of the area that they cover."""
    ground = Ground(area)
    groups: dict[tuple[Any, ...], list[tuple[Entry, Any]]] = {}
    for entry in entries:
        shape = ground.within(entry.geometry)
        if shape.area > 0:
            moment = _when(entry)
            gsd = round(math.log2(entry.gsd)) if entry.gsd else None  # tiles of a strip differ a little in pixel size
            key = (entry.collection, entry.platform, entry.family, moment.date(), gsd)
            groups.setdefault(key, []).append((entry, shape))
    found = []
    for members in groups.values():
        members.sort(key=lambda m: (_when(m[0]), m[0].id))
        outline = shapely.union_all([shape for _, shape in members])
        days = (_when(members[0][0]) - when).total_seconds() / 86400
        found.append(Candidate(tuple(e for e, _ in members), outline, ground.share(outline), days))
    return found


class Ground:
    """An area of interest in an equal-area system of its own.

    Args:
        area: polygons in EPSG:4326.
    """

    def __init__(self, area: Any) -> None:
        centre = area.centroid
        self._project = Transformer.from_crs("EPSG:4326", equal_area_crs(centre.x, centre.y), always_xy=True)
        self.area = self.place(area)

    def place(self, shape: Any) -> Any:
        """Polygons of EPSG:4326 on the ground; their edges are straight in degrees, as STAC and GeoJSON mean them."""
        dense = shapely.segmentize(shape, max(_EDGE, max(np.ptp(shapely.bounds(shape).reshape(2, 2), 0)) / 500))

        def move(xy: Any) -> Any:
            return np.column_stack(self._project.transform(xy[:, 0], xy[:, 1]))

        return shapely.make_valid(shapely.transform(dense, move))

    def within(self, shape: Any) -> Any:
        """The part of polygons of EPSG:4326 that lies in the area, on the ground."""
        return shapely.intersection(self.place(shape), self.area)

    def share(self, part: Any) -> float:
        """Share of the area that a part of it, on the ground, has."""
        return min(float(part.area / self.area.area), 1.0) if self.area.area > 0 else 0.0


def _steps(share: float) -> int:
    return -round(share / _STEP)


def _rank(candidate: Candidate) -> tuple[Any, ...]:
    first = candidate.first
    return (
        _steps(candidate.coverage * candidate.clear),
        first.family != "optical",
        abs(candidate.days),
        candidate.off_nadir or 0,
        first.gsd or 0,
        first.id,
    )


def combine(pre: Sequence[Candidate], post: Sequence[Candidate], area: Any) -> list[Pair]:
    """Pairs of scenes that have ground in common, the best first."""
    ground = Ground(area)
    ranked = []
    for before in pre:
        for after in post:
            share = ground.share(shapely.intersection(before.outline, after.outline))
            if share <= 0:
                continue
            sizes = [c.first.gsd for c in (before, after)]
            unlike = all(sizes) and max(sizes) / min(sizes) > _MAX_RATIO  # type: ignore[type-var,operator]
            key = (
                _steps(share * before.clear * after.clear),
                after.first.family != "optical",
                bool(unlike),
                after.days,
                -before.days,
                (before.off_nadir or 0) + (after.off_nadir or 0),
                before.first.id,
                after.first.id,
            )
            ranked.append((key, Pair(before, after, share)))
    return [pair for _, pair in sorted(ranked, key=lambda r: r[0])]
