"""What a file that names other files may make us read.

A VRT or a STAC item is a text that anybody may have written. Naming one is consent to its tiles, not to any file of the
machine: pixels of a file next door would end in a map that is handed on.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import rasterio
from rasterio.errors import RasterioError

from codemae_geo.errors import InputError
from codemae_geo.raster.env import is_remote

#: set to ``any`` to let VRTs name local files anywhere
ANYWHERE = "CODEMAE_VRT_SOURCES"
#: VRTs of VRTs that are followed
_DEPTH = 8
_NETWORK = ("/vsicurl", "/vsis3", "/vsigs", "/vsiaz", "/vsiadls", "/vsioss", "/vsiswift")


def check_vrt(dataset: Any, path: str, name: str, depth: int = 0) -> None:
    """Refuse a VRT that names what does not belong to it.

    A local one may name files in its own folder, in the folder above it, and in all folders below these, and addresses
    in the network; one from the network only addresses at the same host.

    Args:
        dataset: the open file; others than VRTs pass.
        path: what GDAL opened.
        name: what a person calls it.
        depth: VRTs that led here.

    Raises:
        InputError: it names another file, a device, standard input, or a VRT within its text.
    """
    if dataset.driver != "VRT" or path.startswith("<"):
        return
    for source, relative in _sources(dataset, name):
        if source.lstrip().startswith("<") or source.startswith(("/vsistdin", "/dev/", "/proc/", "/vsimem")):
            raise _beyond(name, source)
        if is_remote(path):
            if not relative and _host(source) != _host(path):
                raise _beyond(name, source)
            if relative and (source.startswith("/") or ".." in Path(source).parts):
                raise _beyond(name, source)
            continue
        if source.startswith(_NETWORK) or "://" in source:
            continue
        local = Path(path).parent / source if relative else Path(source)
        if os.environ.get(ANYWHERE) != "any":
            around = Path(path).resolve().parent.parent
            if not local.resolve().is_relative_to(around):
                raise _beyond(name, source)
        if depth < _DEPTH and local.suffix.lower() == ".vrt" and local.is_file():
            try:
                with rasterio.open(local) as inner:
                    check_vrt(inner, str(local), f"{name} > {local.name}", depth + 1)
            except RasterioError:  # told when its pixels are read
                continue


def _sources(dataset: Any, name: str) -> list[tuple[str, bool]]:
    """Names of the files of a VRT, and whether each counts from its folder."""
    text = dataset.tags(ns="xml:VRT")
    try:
        root = ElementTree.fromstring("".join(text.values()) or "<VRTDataset/>")  # noqa: S314 written by GDAL
    except ElementTree.ParseError as error:
        raise InputError(f"{name} cannot be read", found=str(error), expected="a VRT") from error
    tags = ("SourceFilename", "SourceDataset")
    return [(e.text or "", e.get("relativeToVRT") == "1") for e in root.iter() if e.tag in tags]


def _host(address: str) -> str | None:
    """Scheme and host, or file system and bucket, of an address; None for a local name."""
    for prefix in _NETWORK:
        if address.startswith(prefix):
            rest = address[len(prefix) :].removeprefix("_streaming").lstrip("/")
            return prefix + rest.split("/")[0] if "://" not in rest else urlsplit(rest).netloc
    return urlsplit(address).netloc if "://" in address else None


def _beyond(name: str, source: str) -> InputError:
    return InputError(
        f"{name} names a file that does not belong to it",
        found=source[:200],
        expected="files in its own folder, the folder above, or below these; from the network, addresses at its host",
        hint=f"name the files themselves, or move the VRT next to them; {ANYWHERE}=any in the environment allows all",
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
