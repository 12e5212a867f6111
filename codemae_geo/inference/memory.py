"""What the C library does with freed memory; on systems other than Linux with glibc all of this does nothing."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache


@cache
def keep_blocks(size: int) -> None:
    """Have the C library keep freed memory of up to ``size`` bytes, such as an answer's, for the next window.

    glibc gives blocks of more than 32 MiB back to the system at once; to get them again, page by page, takes longer
    than to fill them. What is larger, as the ring of scores, still goes back.
    """
    mallopt = _glibc("mallopt")
    for parameter, value in ((-3, size), (-1, 2 * size)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
        mallopt(parameter, min(value, 2**31 - 1))


def give_back() -> None:
    """Return what is free to the system, so that the next stage does not come on top of what this one used."""
    _glibc("malloc_trim")(0)


def _glibc(name: str) -> Callable[..., object]:
    """A function of the C library, or one that does nothing where the library has none of that name."""
    if not sys.platform.startswith("linux"):
        return lambda *_: None
    return getattr(ctypes.CDLL(None), name, lambda *_: None)
