"""Short calls of the engine away from the main thread, so that QGIS never waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qgis.core import QgsApplication, QgsTask

from ..engine.errors import Cancelled, EngineError

#: QGIS keeps no Python reference to a task; one without any is collected while it runs
_alive: set[Call] = set()


class Call(QgsTask):
    """Runs ``work(is_cancelled)`` in a task, then ``done(value)`` or ``failed(error)`` in the main thread.

    After :meth:`forget` neither is called.
    """

    def __init__(
        self,
        title: str,
        work: Callable[[Callable[[], bool]], Any],
        done: Callable[[Any], None],
        failed: Callable[[EngineError], None],
    ) -> None:
        flags = QgsTask.Flag.CanCancel
        if hasattr(QgsTask.Flag, "Silent"):  # since 3.26: no message at the end of every little question
            flags = flags | QgsTask.Flag.Silent
        super().__init__(title, flags)
        self._work = work
        self._done: Callable[[Any], None] | None = done
        self._failed: Callable[[EngineError], None] | None = failed
        self._value: Any = None
        self._error: EngineError | None = None

    def begin(self) -> Call:
        """Hand it to QGIS's task manager."""
        _alive.add(self)
        QgsApplication.taskManager().addTask(self)
        return self

    def forget(self) -> None:
        """Cancel it; nobody wants its answer any more."""
        self._done = self._failed = None
        if self in _alive:  # else QGIS has deleted what is behind this object
            self.cancel()

    def run(self) -> bool:
        """In the worker thread."""
        try:
            self._value = self._work(self.isCanceled)
        except EngineError as error:
            self._error = error
            return False
        except Exception as error:  # what escapes here would end as a task that failed without a word
            self._error = EngineError(f"{type(error).__name__}: {error}", code="unexpected")
            return False
        return True

    def finished(self, result: bool) -> None:
        """In the main thread."""
        _alive.discard(self)
        if result and self._done is not None:
            self._done(self._value)
        elif not result and self._failed is not None:
            self._failed(self._error or Cancelled())
