"""What a long run says while it works. The library calls a :class:`Reporter`; the command line decides how it looks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from codemae_geo.errors import Speak, as_keyword, render


class Reporter:
    """A silent reporter that only keeps the time of each stage; faces override the methods they show.

    Stages follow one another and never nest. ``done`` and ``total`` of a stage are counted in windows, bytes or
    buildings; a reporter shows their ratio and the time left.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.warnings: list[dict[str, str]] = []
        #: how parameters are spelled in what is said
        self.speak: Speak = as_keyword

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[None]:
        """Run a stage called ``name``; its wall time is kept in :attr:`seconds`."""
        began = time.perf_counter()
        self.on_stage(name, total)
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def warning(self, code: str, message: str, option: str | None = None) -> None:
        """Something the user should know that does not stop the run; kept for the summary.

        Args:
            code: stable identifier.
            message: words, in which :func:`codemae_geo.errors.param` marks parameters.
            option: the parameter that the warning is about.
        """
        told = render(message, self.speak)
        self.warnings.append({"code": code, "message": told, **({"option": option} if option else {})})
        self.on_warning(code, told)

    def log(self, message: str) -> None:
        """A decision worth a line, such as the unit a SAR scene was taken to be in."""

    def progress(self, done: int, total: int) -> None:
        """The current stage has done ``done`` of ``total``."""

    def on_stage(self, name: str, total: int | None) -> None:
        """A stage begins."""

    def on_warning(self, code: str, message: str) -> None:
        """A warning was given."""
