"""Entry point of `codemae` and of `python -m codemae_cli`."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from codemae_cli.app import app, hoist_globals, spread_values


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; a SIGTERM is treated as Ctrl-C, so that nothing half-written stays."""
    signal.signal(signal.SIGTERM, _interrupt)
    app(args=spread_values(hoist_globals(sys.argv[1:])), prog_name="codemae")


if __name__ == "__main__":
    main()
