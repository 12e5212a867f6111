"""Runs of the command line in processes that start at once, for tests that end them at any moment.

A server has all libraries loaded and forks: a run begins within milliseconds instead of seconds.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

_context = get_context("forkserver")
_context.set_forkserver_preload(["support.kills_preload"])


def start(words: list[str], folder: Path) -> BaseProcess:
    """Begin a run; its streams go to ``out`` and ``err`` in the folder, and it leads a process group of its own."""
    process = _context.Process(target=_run, args=(words, str(folder)))
    process.start()
    return process


def _run(words: list[str], folder: str) -> None:
    os.setsid()
    for number, name in ((0, os.devnull), (1, f"{folder}/out"), (2, f"{folder}/err")):
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["codemae", *words]
    from codemae_cli.__main__ import main

    main()
