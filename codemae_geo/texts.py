"""Text files that somebody else may have written, read up to a size."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

#: characters that no request, recipe, contract or record has
LONGEST = 64 * 2**20


def read_text(path: Path, encoding: str = "utf-8", errors: str = "strict", *, longest: int = LONGEST) -> str:
    """The whole text of a file; of a device or a pipe that never ends, no more than ``longest`` bytes.

    Raises:
        OSError: it cannot be read, or holds more.
        UnicodeDecodeError: other bytes than the encoding's.
    """
    with path.open("rb") as file:
        data = file.read(longest + 1)
    if len(data) > longest:
        raise OSError(errno.EFBIG, f"more than {longest >> 20} MiB of text", os.fspath(path))
    return io.IncrementalNewlineDecoder(None, translate=True).decode(data.decode(encoding, errors), final=True)
