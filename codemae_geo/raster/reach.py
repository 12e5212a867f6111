"""What a file that names other files may make us read.

A VRT or a STAC item is a text that anybody may have written. Naming one is consent to its tiles, not to any file of the
machine nor to any address: pixels of a file next door would end in a map that is handed on, and a request tells whoever
answers it that somebody asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import rasterio

from codemae_geo.errors import InputError
from codemae_geo.raster.env import is_remote
from codemae_geo.texts import read_text

#: set to ``any`` to let files name local files anywhere and addresses in the network
ANYWHERE = "CODEMAE_VRT_SOURCES"
#: VRTs of VRTs that are followed
_DEPTH = 8
_NETWORK = ("/vsicurl", "/vsis3", "/vsigs", "/vsiaz", "/vsiadls", "/vsioss", "/vsiswift", "/vsihdfs", "/vsiwebhdfs")
#: GDAL's drivers whose files are texts or tables that name other files, or services
_INDIRECT = {
    "WMS", "WMTS", "WCS", "GTI", "MRF", "STACTA", "STACIT", "GDALG", "PLMOSAIC", "OGCAPI", "EEDAI", "DAAS", "HTTP",
    "OGR_VRT", "WFS", "OAPIF", "CSW", "AmigoCloud", "Carto", "NGW", "Elasticsearch", "PLSCENES",
}  # fmt: skip
#: how such files begin, within the bytes that GDAL looks at
_MARKS = re.compile(
    rb"<(GDAL_W\w+|WCS_GDAL|WMT_MS_Capabilities|(wms:|wmts:|wfs:)?(WMS_|WFS_)?Capabilities|MRF_META|GDALTileIndexDataset|"
    rb"OGRVRT\w+|OGRWFSDataSource|OGRCSWDataSource)|gdal_streamed_alg",
    re.IGNORECASE,
)
_VRT = re.compile(rb"<VRTDataset", re.IGNORECASE)
_HEAD = 4096
#: elements of a VRT that name what it reads
_NAMES = ("sourcefilename", "sourcedataset", "dempath")
#: elements whose text is for people, or a system, and names nothing
_PROSE = (
    "srs",
    "sourcesrs",
    "targetsrs",
    "description",
    "categoryname",
    "unittype",
    "geotransform",
    "pixelfunctioncode",
)
_LIKE_A_NAME = re.compile(r"\s*([/\\<{~]|\.\.|[a-z0-9_]+:)|.*(://|/vsi|\.\.[/\\])", re.IGNORECASE | re.DOTALL)


def open_raster(path: str, name: str | None = None, **options: Any) -> Any:
    """``rasterio.open`` for reading, for files that others may have written: none that names what is not its own.

    Raises:
        InputError: a name that is not text; see :func:`check_file` and :func:`check_opened`.
        RasterioError: it is no raster.
    """
    name = name or path
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the name {name!r} is not text in UTF-8",
            expected="a name without bytes of another encoding",
            hint="rename the file or folder (convmv -f latin1 -t utf8), or set LANG to a locale with UTF-8",
        ) from error
    check_file(path, name)
    dataset = rasterio.open(path, **options)
    try:
        check_opened(dataset, path, name)
    except BaseException:
        dataset.close()
        raise
    return dataset


def check_file(path: str | Path, name: str, depth: int = 0, seen: set[Path] | None = None) -> None:
    """Refuse a local file that names what does not belong to it, by its text, before anything opens it.

    A VRT may name files in its own folder, in the folder above it, and in all folders below these. Descriptions of
    services and indexes of tiles are refused. Other files pass.

    Args:
        path: what will be opened.
        name: what a person calls it.
        depth: VRTs that led here.
        seen: files that have been looked at.

    Raises:
        InputError: it names another file, an address, a device, standard input, or a VRT within its text.
    """
    if _allowed() or str(path).startswith("<"):
        return
    file, seen = Path(path), set() if seen is None else seen
    if file in seen:  # a VRT that names itself
        return
    seen.add(file)
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD)
    except (OSError, ValueError):  # a folder, an address, or nothing there: told when it is opened
        return
    if _VRT.search(head):
        if depth == _DEPTH:
            raise InputError(f"{name} is a VRT of VRTs, {_DEPTH} deep and more", expected="rasters")
        try:
            root = ElementTree.fromstring(read_text(file, "utf-8-sig"))  # noqa: S314 expat bounds what entities become
        except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
            raise InputError(f"{name} cannot be read", found=str(error), expected="a VRT") from error
        _check_names(root, str(file), name, depth, seen)
    elif (mark := _MARKS.search(head)) is not None:
        raise _beyond(name, mark[0].decode(errors="replace"))


def check_opened(dataset: Any, path: str, name: str) -> None:
    """Refuse an open dataset that names what does not belong to it, as GDAL has understood it.

    What comes from the network may name addresses at its own host only.

    Raises:
        InputError: see :func:`check_file`.
    """
    if _allowed() or path.startswith("<"):
        return
    if dataset.driver == "VRT":
        text = "".join(dataset.tags(ns="xml:VRT").values())
        try:
            root = ElementTree.fromstring(text or "<VRTDataset/>")  # noqa: S314 written by GDAL
        except ElementTree.ParseError as error:
            raise InputError(f"{name} cannot be read", found=str(error), expected="a VRT") from error
        _check_names(root, path, name, 0, set())
        return
    stored = is_remote(path) or Path(path).is_file()
    if dataset.driver in _INDIRECT and stored:
        raise _beyond(name, f"a file of the kind {dataset.driver}")
    elsewhere = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE", "")
    if elsewhere and stored:
        raise _beyond(name, elsewhere)
    if Path(path).is_file():  # products of many files (SAFE, DIMAP, ...)
        around = Path(os.path.abspath(path)).parent.parent  # noqa: PTH100 links are the user's own
        for file in dataset.files:
            if not Path(os.path.abspath(file)).is_relative_to(around):  # noqa: PTH100
                raise _beyond(name, file)


def check_driver(driver: str, name: str) -> None:
    """Refuse a vector file of a kind that names other files or services.

    Raises:
        InputError: it is one.
    """
    if driver in _INDIRECT and not _allowed():
        raise _beyond(name, f"a file of the kind {driver}")


def _allowed() -> bool:
    return os.environ.get(ANYWHERE) == "any"


def _check_names(root: ElementTree.Element, path: str, name: str, depth: int, seen: set[Path]) -> None:
    """Refuse what the text of a VRT names beyond its surroundings."""
    remote = is_remote(path)
    for source, relative in _sources(root):
        if source.lstrip().startswith(("<", "{")) or source.startswith(("/vsistdin", "/dev/", "/proc/", "/vsimem")):
            raise _beyond(name, source)
        if remote:
            if not relative and (_host(source) is None or _host(source) != _host(path)):
                raise _beyond(name, source)
            if relative and (source.startswith("/") or ".." in Path(source).parts or "://" in source):
                raise _beyond(name, source)
            if depth < _DEPTH and source.lower().endswith(".vrt"):
                inner = path.rpartition("/")[0] + "/" + source if relative else source
                open_raster(inner, f"{name} > {source}").close()
            continue
        local = Path(path).parent / source if relative else Path(source)
        around = Path(path).resolve().parent.parent
        # what is no file may be a name that only GDAL understands: vrt://, GTIFF_DIR:1:..., /vsizip/...
        special = source.startswith("/vsi") or ":" in source.removeprefix(local.drive)
        try:
            outside = not local.resolve().is_relative_to(around) or (special and not local.exists())
        except (OSError, ValueError, RuntimeError):  # NUL, too long, links in a circle
            outside = True
        if outside:
            raise _beyond(name, source)
        if local.is_file():
            check_file(local, f"{name} > {local.name}", depth + 1, seen)
            if ".gti." in local.name.lower():
                raise _beyond(name, source)


def _sources(root: ElementTree.Element) -> Iterator[tuple[str, bool]]:
    """What a VRT names, and whether it counts from the VRT's folder. GDAL does not heed upper and lower case."""
    todo = [(root, False)]
    while todo:
        element, prose = todo.pop()
        tag, attributes = element.tag.lower(), {k.lower(): v for k, v in element.attrib.items()}
        text = element.text or ""
        if tag == "metadata":  # of GDAL's own domains one names files
            prose = attributes.get("domain", "").upper() not in ("GEOLOCATION", "OVERVIEWS")
        if tag == "pixelfunctionlanguage" and text.strip().lower() == "python":
            yield "{a program in Python}", False
        elif tag in _NAMES:
            yield text, attributes.get("relativetovrt") == "1"
        elif not prose and tag not in _PROSE and _LIKE_A_NAME.match(text) and text.strip():
            yield text.strip(), False
        todo += [(child, prose) for child in element]


def _host(address: str) -> str | None:
    """Scheme and host, or file system and bucket, of an address; None for a local name."""
    for prefix in _NETWORK:
        if address.startswith(prefix):
            rest = address[len(prefix) :].removeprefix("_streaming").lstrip("/")
            return prefix + rest.split("/")[0] if "://" not in rest else urlsplit(rest).netloc
    with suppress(ValueError):
        if urlsplit(address).scheme in ("http", "https", "s3", "gs", "az"):
            return urlsplit(address).netloc
    return None


def _beyond(name: str, source: str) -> InputError:
    return InputError(
        f"{name} names what does not belong to it",
        found=source[:200],
        expected="files in its own folder, the folder above, or below these; from the network, addresses at its host",
        hint=f"name the files or addresses themselves, or move the VRT next to its files; {ANYWHERE}=any in the"
        " environment allows all",
    )


def check_href(href: str, item: str, name: str) -> None:
    """Refuse an address of a STAC item that is not one of a raster of its own kind.

    Raises:
        InputError: an item from the network names a local file; or any item a file system or text of GDAL's.
    """
    scheme = href.partition("://")[0].lower() if "://" in href else ""
    known = scheme in ("http", "https", "s3", "gs", "az", "abfs") or (scheme in ("", "file") and not is_remote(item))
    odd = any(ord(c) < 32 for c in href) or href.lstrip().startswith(("<", "/vsi", "/dev/", "/proc/"))
    if known and not odd and (scheme or Path(href).is_file() or ":" not in href):
        return
    raise InputError(
        f"the STAC item {name} names what is not a raster of its own",
        found=href[:200],
        expected="an address in the network" if is_remote(item) else "a file, or an address in the network",
        hint="fetch the assets, or name the rasters themselves",
    )
