"""Entry point of `codemae` and of `python -m codemae_cli`."""

from __future__ import annotations

# what `signal` is made of: that takes a while to load, and an interruption would show where
import _signal  # type: ignore[import-not-found]
import os

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:  # until ours are there
    _signal.signal(_signal.SIGINT, lambda *_: os._exit(130))

from codemae_cli import stopping

stopping.listen()  # before all that takes time to load

import sys  # noqa: E402
import warnings  # noqa: E402

import codemae_geo  # noqa: E402
from codemae_cli import streams  # noqa: E402
from codemae_cli.app import app, hoist_globals, spread_values  # noqa: E402
from codemae_cli.manners import split_own  # noqa: E402


def main() -> None:
    """Run the command line; a SIGTERM is treated as Ctrl-C, so that nothing half-written stays."""
    streams.prepare()
    # rasterio's, told with a place in its code; what lacks a georeference is refused in words of ours
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")
    stopping.listen()
    codemae_geo.register_with_timm = False  # models are built by our own names, and timm takes seconds to load
    code = 0
    try:
        own, rest = split_own(sys.argv[1:])
        app(args=[*own, *spread_values(hoist_globals(rest))], prog_name="codemae")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if code and stopping.asked():
            code = stopping.INTERRUPTED
    except BaseException:
        if not stopping.asked():
            raise
        stopping.end_now()  # an interruption, whatever a library has made of it
    error = streams.lost()
    if error is not None and not code:
        code = 1
        sys.stderr.write(
            f"error: the result could not be written to standard output\n  found:    {os.strerror(error.errno or 0)}\n"
            "hint: files that the command writes are complete\n"
        )
    stopping.leave(code)


if __name__ == "__main__":
    main()
