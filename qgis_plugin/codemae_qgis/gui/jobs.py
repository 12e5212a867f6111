"""Runs of the algorithm as tasks of QGIS, one after the other, and what they say on the way."""

from __future__ import annotations

import os
import time
from typing import Any

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsMapLayer,
    QgsMessageLog,
    QgsPalettedRasterRenderer,
    QgsProcessing,
    QgsProcessingAlgRunnerTask,
    QgsProcessingContext,
    QgsProcessingOutputLayerDefinition,
    QgsProject,
    QgsRasterLayer,
)
from qgis.PyQt.QtCore import QObject, pyqtSignal

from .. import results as result_layers
from ..algorithms.base import stage_title
from ..deliver import folder_problem
from ..engine import protocol
from ..feedback import EngineFeedback
from ..translate import tr
from .queue import Run, RunQueue, State

ALGORITHM = "codemae:damagemap"
#: what a chosen folder gets, by output of the algorithm
FILES = {
    "CLASSES": "damage.tif",
    "CONFIDENCE": "confidence.tif",
    "POLYGONS": "damage.gpkg",
    "BUILDINGS": "buildings.gpkg",
    "REPORT": "report.html",
}


class _Job:
    """What must stay alive while a run is at work; QGIS keeps no Python references."""

    def __init__(self, context: QgsProcessingContext, feedback: EngineFeedback) -> None:
        self.context = context
        self.feedback = feedback
        self.task: QgsProcessingAlgRunnerTask | None = None
        self.began = time.monotonic()
        self.abandoned = False


class Outcome:
    """What a run that has ended leaves to look at."""

    def __init__(self, log: str, layers: list[QgsMapLayer] | None = None) -> None:
        self.log = log
        self.layer_ids = [layer.id() for layer in layers or []]
        self.legend = _legend(layers or [])


class Jobs(QObject):
    """The queue and the tasks behind it."""

    #: a :class:`Run` whose state has changed
    changed = pyqtSignal(object)
    #: percent, and what the run at work is doing
    progress = pyqtSignal(float)
    doing = pyqtSignal(str)

    def __init__(self, project: QgsProject, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self._jobs: dict[int, _Job] = {}
        # a context may not be deleted within the signal of its own task
        self._finished: _Job | None = None
        self.outcomes: dict[int, Outcome] = {}
        self.queue = RunQueue(self._start, self._stop, self.changed.emit)

    def add(self, title: str, parameters: dict[str, Any], base: str) -> Run:
        """Run now or after those before; results go to a new folder in ``base``, to temporary files if it is empty."""
        if base:
            parameters = {**parameters, "folder": self._new_folder(base, title)}
        return self.queue.add(title, parameters)

    def abandon(self) -> None:
        """Stop everything and load nothing: the project is gone, or the plugin goes."""
        for job in self._jobs.values():
            job.abandoned = True
        self.queue.cancel_all()

    def layers(self, number: int) -> list[QgsMapLayer]:
        """Result layers of a run that are still in the project."""
        outcome = self.outcomes.get(number)
        found = [self._project.mapLayer(i) for i in outcome.layer_ids] if outcome else []
        return [layer for layer in found if layer is not None]

    def _group_name(self, run: Run) -> str:
        """A name that no group at the top of the layer tree has."""
        name = tr("Damage {name}").format(name=run.title)
        taken = {node.name() for node in self._project.layerTreeRoot().findGroups()}
        return f"{name} ({run.number})" if name in taken else name

    def _new_folder(self, base: str, title: str) -> str:
        """A folder that neither exists nor is promised to another run."""
        name = "damage_" + "".join(c if c.isalnum() or c in "-_" else "_" for c in title)
        promised = {run.parameters.get("folder") for run in self.queue.runs if not run.state.over}
        number, folder = 1, os.path.join(base, name)
        while os.path.exists(folder) or folder in promised:
            number += 1
            folder = os.path.join(base, f"{name}_{number}")
        return folder

    def _start(self, run: Run) -> None:
        """Begin a run: called by the queue when its turn has come."""
        parameters = dict(run.parameters)
        for name in ("PRE", "POST", "FOOTPRINTS", "AOI"):
            if parameters.get(name) and self._project.mapLayer(parameters[name]) is None:
                raise ValueError(tr("A layer of this run has been removed from the project: choose again and run."))
        algorithm = QgsApplication.processingRegistry().createAlgorithmById(ALGORITHM)
        if algorithm is None:
            raise ValueError(tr("CoDe-MAE is missing in the Processing toolbox: enable the plugin again."))
        folder = parameters.pop("folder", "")
        feedback = EngineFeedback()
        context = QgsProcessingContext()
        context.setProject(self._project)
        context.setFeedback(feedback)
        message = algorithm.checkParameterValues(parameters, context)[1]
        # the folder is made when there is something to put into it: a run that ends in whatever way leaves no empty one
        message = message or (folder_problem(folder) if folder else "")
        if message:
            raise ValueError(message)
        for name, file in FILES.items():
            if name == "BUILDINGS" and not parameters.get("FOOTPRINTS"):
                continue
            target = os.path.join(folder, file) if folder else QgsProcessing.TEMPORARY_OUTPUT
            loaded = name != "REPORT"
            parameters[name] = QgsProcessingOutputLayerDefinition(target, self._project) if loaded else target
        job = _Job(context, feedback)
        feedback.engineEvent.connect(self._on_event)
        feedback.progressChanged.connect(self.progress)
        job.task = QgsProcessingAlgRunnerTask(algorithm, parameters, context, feedback)
        job.task.executed.connect(lambda ok, found: self._on_executed(run, ok, found))
        # a task that is cancelled before its turn in QGIS's own queue is never executed
        job.task.taskTerminated.connect(lambda: self._on_executed(run, False, {}))
        self._jobs[run.number] = job
        self.doing.emit(tr("Starting the engine ..."))
        QgsApplication.taskManager().addTask(job.task)

    def _stop(self, run: Run) -> None:
        job = self._jobs.get(run.number)
        if job is not None and job.task is not None:
            self.doing.emit(tr("Cancelling ..."))
            job.feedback.cancel()
            job.task.cancel()

    def _on_event(self, event: object) -> None:
        """In the main thread; the engine speaks from another."""
        job = self._jobs.get(self.queue.running.number) if self.queue.running is not None else None
        if job is None or job.feedback.isCanceled():
            return
        if isinstance(event, protocol.Stage):
            job.began = time.monotonic()
            self.doing.emit(stage_title(event.name) + " ...")
        elif isinstance(event, protocol.Progress):
            self.doing.emit(pace(event, time.monotonic() - job.began))

    def _on_executed(self, run: Run, ok: bool, found: dict[str, Any]) -> None:
        job = self._jobs.pop(run.number, None)
        if job is None:
            return
        self._finished = job
        log = job.feedback.textLog()
        if job.abandoned or (job.feedback.isCanceled() and not ok):
            self.outcomes[run.number] = Outcome(log)
            self.queue.finish(run, State.CANCELLED, tr("Cancelled; nothing was written."))
        elif not ok:
            self.outcomes[run.number] = Outcome(log)
            QgsMessageLog.logMessage(log, "CoDe-MAE", Qgis.MessageLevel.Critical)
            self.queue.finish(run, State.FAILED, job.feedback.last_error or tr("The run failed without a word."))
        else:
            loaded = result_layers.load(job.context, self._group_name(run), job.feedback, self._project)
            for expanded in (False, True):  # the tree has shown the group while it was empty: closed
                loaded.group.setExpanded(expanded)
            self.outcomes[run.number] = Outcome(log, list(loaded.layers.values()))
            self.queue.finish(run, State.DONE, results=found)


def pace(event: protocol.Progress, seconds: float) -> str:
    """How far a stage is, how fast, and how long it still takes."""
    parts = [
        tr("{stage}: {done} of {total}").format(stage=stage_title(event.stage), done=event.done, total=event.total)
    ]
    if event.done and seconds > 0:
        parts.append(tr("{rate} per second").format(rate=f"{event.done / seconds:.1f}"))
    if event.eta_s is not None and event.done < event.total:
        parts.append(tr("{time} left").format(time=duration(event.eta_s)))
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """``75`` as ``1:15``, ``3700`` as ``1:01:40``."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _legend(layers: list[QgsMapLayer]) -> dict[int, tuple[str, str]]:
    """Value of each class -> label and colour, from the map itself: chart and map cannot differ."""
    for layer in layers:
        renderer = layer.renderer() if isinstance(layer, QgsRasterLayer) else None
        if isinstance(renderer, QgsPalettedRasterRenderer):
            return {int(entry.value): (entry.label, entry.color.name()) for entry in renderer.classes()}
    return {}
