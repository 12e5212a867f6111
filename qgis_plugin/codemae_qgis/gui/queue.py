"""Runs wait for one another: one engine works at a time, in the order of the clicks. No QGIS in here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class State(Enum):
    """What has become of a run."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Nothing more will happen to it."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


@dataclass
class Run:
    """One run: what it was asked, what came of it."""

    number: int
    title: str
    parameters: dict[str, Any]
    state: State = State.WAITING
    message: str = ""
    results: dict[str, Any] = field(default_factory=dict)


class RunQueue:
    """A queue of runs, of which at most one is running.

    Args:
        start: begins a run; it must report its end by :meth:`finish`. What it raises fails the run.
        stop: asks the running run to end; its end is reported by :meth:`finish` as well.
        changed: told of every run whose state has changed.
    """

    def __init__(
        self, start: Callable[[Run], None], stop: Callable[[Run], None], changed: Callable[[Run], None]
    ) -> None:
        self._start = start
        self._stop = stop
        self._changed = changed
        self._count = 0
        self.runs: list[Run] = []

    @property
    def running(self) -> Run | None:
        """The run at work."""
        return next((r for r in self.runs if r.state is State.RUNNING), None)

    @property
    def waiting(self) -> list[Run]:
        """Those to come, in order."""
        return [r for r in self.runs if r.state is State.WAITING]

    def add(self, title: str, parameters: dict[str, Any]) -> Run:
        """Append a run; it starts at once if none is running."""
        self._count += 1
        run = Run(self._count, title, dict(parameters))
        self.runs.append(run)
        self._changed(run)
        self._next()
        return run

    def finish(self, run: Run, state: State, message: str = "", results: dict[str, Any] | None = None) -> None:
        """The running ``run`` has ended; the next one starts."""
        if run.state.over:
            return
        run.state, run.message, run.results = state, message, dict(results or {})
        self._changed(run)
        self._next()

    def cancel(self, run: Run) -> None:
        """Drop a waiting run, or ask the running one to stop."""
        if run.state is State.WAITING:
            run.state = State.CANCELLED
            self._changed(run)
        elif run.state is State.RUNNING:
            self._stop(run)

    def cancel_all(self) -> None:
        """Drop those that wait, then stop the one that runs: none starts in between."""
        for run in self.waiting:
            self.cancel(run)
        if self.running:
            self.cancel(self.running)

    def forget_finished(self) -> None:
        """Keep only runs that are waiting or running."""
        self.runs = [r for r in self.runs if not r.state.over]

    def _next(self) -> None:
        while self.running is None and self.waiting:
            run = self.waiting[0]
            run.state = State.RUNNING
            self._changed(run)
            try:
                self._start(run)
            except (OSError, RuntimeError, TypeError, ValueError) as error:
                # a run that cannot start must not hold up those behind it
                run.state, run.message = State.FAILED, str(error)
                self._changed(run)
