"""Entry point of `codemae` and of `python -m codemae_cli`."""

from __future__ import annotations

import io
import signal
import sys
import warnings
from types import FrameType

from codemae_cli.app import app, hoist_globals, spread_values


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _speak_utf8() -> None:
    """Programs read our output as UTF-8 whatever the system's code page; a path that is no text keeps its bytes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


def main() -> None:
    """Run the command line; a SIGTERM is treated as Ctrl-C, so that nothing half-written stays."""
    _speak_utf8()
    # rasterio's, told with a place in its code; what lacks a georeference is refused in words of ours
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")
    signal.signal(signal.SIGTERM, _interrupt)
    app(args=spread_values(hoist_globals(sys.argv[1:])), prog_name="codemae")


if __name__ == "__main__":
    main()
