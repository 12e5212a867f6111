"""GDAL's settings for reading: bounded block cache, no folder listings, cached range requests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import rasterio

#: bytes of decoded blocks that GDAL keeps
CACHE_BYTES = 256 * 2**20

_SETTINGS = {
    # folders are not listed; a .msk, .ovr or .tfw beside a local file is still found, being probed by name
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    "CPL_VSIL_CURL_CACHE_SIZE": 64 * 2**20,
    "GDAL_HTTP_MULTIRANGE": "YES",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_HTTP_RETRY_DELAY": 1,
}


@contextmanager
def gdal_env(cache_bytes: int = CACHE_BYTES, threads: int | None = None) -> Iterator[None]:
    """GDAL configured for reading in the calling thread.

    Args:
        cache_bytes: bound of GDAL's block cache (one per process).
        threads: decoding threads; None is one per core.
    """
    local = {k: v for k, v in _SETTINGS.items() if k not in os.environ}
    count = str(threads or os.cpu_count() or 1)
    with rasterio.Env(GDAL_CACHEMAX=cache_bytes, GDAL_NUM_THREADS=count, **local):
        yield


def is_remote(path: str) -> bool:
    """Whether GDAL reads ``path`` over the network."""
    return "://" in path.removeprefix("file://") or path.startswith(
        ("/vsicurl", "/vsis3", "/vsigs", "/vsiaz", "/vsiadls", "/vsioss", "/vsiswift", "/vsihdfs", "/vsiwebhdfs")
    )
