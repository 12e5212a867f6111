"""Parquet files, for what needs them: indexes of scenes and of shards."""

from __future__ import annotations

from typing import Any

from codemae_geo.errors import InputError


def arrow() -> tuple[Any, Any]:
    """The modules ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        InputError: they are not installed.
    """
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            "indexes need pyarrow, which cannot be imported",
            found=str(error),
            hint="install the data extra: pip install 'codemae-geo[data]'",
        ) from error
    return pyarrow, parquet
