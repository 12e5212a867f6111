"""What all algorithms share: they describe a request, the engine runs it, the files go where the user wants them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingOutputNumber,
    QgsProcessingOutputString,
    QgsProcessingParameterCrs,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsProcessingUtils,
    QgsRasterLayer,
)
from qgis.PyQt.QtGui import QIcon

from .. import vectors
from ..deliver import Delivery, folder_problem
from ..engine import protocol, runner
from ..engine.errors import Cancelled, EngineError
from ..settings import runtime
from ..translate import tr
from . import checks
from .post import StyledLayer, metadata
from .summaries import page

HELP_URL = "https://github.com/codemae-geo/codemae-geo/blob/main/docs/qgis.md"
ICON = os.path.join(os.path.dirname(os.path.dirname(__file__)), "icon.svg")

SENSORS = ("model", "optical", "sar")
DEVICES = ("auto", "cuda", "mps", "cpu")
#: formats that OGR-based readers open without doubt; a layer in any other is exported for the engine
READABLE = ["gpkg", "shp", "geojson", "json", "fgb", "gml", "kml"]
#: stage of the engine -> where the bar stands when it begins and ends
SPANS = {
    "check": (0, 3),
    "offset": (3, 5),
    "predict": (5, 92),
    "merge": (92, 93),
    "write": (93, 94),
    "components": (94, 98),
    "buildings": (94, 96),
    "polygons": (96, 98),
}
_DELIVER = 98
#: parameter of layers -> what its files are opened as
_HINTS = {
    QgsProcessingParameterRasterLayer: QgsProcessingUtils.LayerHint.Raster,
    QgsProcessingParameterMultipleLayers: QgsProcessingUtils.LayerHint.Raster,
    QgsProcessingParameterFeatureSource: QgsProcessingUtils.LayerHint.Vector,
}
#: QGIS does not own these Python objects and loads layers when the algorithm may be gone, as at the end of a model
_processors: deque[StyledLayer] = deque(maxlen=1000)

#: a text of the engine, and how it spells parameters -> the text in the words of a dialog
InWords = Callable[[str, Mapping[str, str]], str]


class Narrator:
    """Tells the feedback what the engine says: the bar for progress, a heading per stage, lines for decisions."""

    def __init__(self, feedback: QgsProcessingFeedback, in_words: InWords) -> None:
        self._feedback = feedback
        self._in_words = in_words
        self._hook = getattr(feedback, "engine_event", None)
        self._span = (0, 3)

    def __call__(self, event: protocol.Event) -> None:
        """Take an event."""
        if isinstance(event, protocol.Stage):
            self._span = SPANS.get(event.name, (self._span[1], self._span[1]))
            self._feedback.setProgress(self._span[0])
            self._feedback.setProgressText(stage_title(event.name))
        elif isinstance(event, protocol.Progress) and event.total:
            first, last = self._span
            self._feedback.setProgress(first + (last - first) * event.done / event.total)
        elif isinstance(event, protocol.Log):
            self._feedback.pushInfo(event.message)
        elif isinstance(event, protocol.Warn):
            self._feedback.pushWarning(self._in_words(event.message, event.options))
        elif isinstance(event, protocol.Hello):
            self._feedback.pushInfo(f"codemae-geo {event.version}")
        if self._hook is not None:
            self._hook(event)


def stage_title(name: str) -> str:
    """What a stage is called on screen."""
    titles = {
        "check": tr("Checking the inputs"),
        "offset": tr("Measuring the offset"),
        "predict": tr("Looking at the images"),
        "nodata": tr("Looking for missing pixels"),
        "merge": tr("Merging boxes"),
        "components": tr("Computing the picture"),
        "write": tr("Writing rasters"),
        "buildings": tr("Classifying buildings"),
        "polygons": tr("Drawing polygons"),
    }
    return titles.get(name, name)


class EngineAlgorithm(QgsProcessingAlgorithm):
    """An algorithm that one command of the engine carries out.

    A subclass says what it is (`ID`, `COMMAND`, texts), adds parameters, turns them into the request's arguments and
    names which output of the engine goes to which destination.
    """

    ID = ""
    COMMAND = ""
    #: the engine's kind of output -> parameter with its destination
    RASTERS: ClassVar[dict[str, str]] = {}
    #: parameter with a destination -> (kind of output, layer in it)
    VECTORS: ClassVar[dict[str, tuple[str, str]]] = {}
    REPORT = ""

    def __init__(self) -> None:
        super().__init__()
        self._arguments: dict[str, Any] = {}
        self._destinations: dict[str, Any] = {}

    # what it is

    def createInstance(self) -> EngineAlgorithm:
        return type(self)()

    def name(self) -> str:
        return self.ID

    def helpUrl(self) -> str:
        return HELP_URL

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def svgIconPath(self) -> str:
        return ICON

    # parameters that several algorithms have

    def add_scene(self, name: str, title: str, more: str) -> None:
        """A raster layer and, hidden among the advanced ones, further tiles of the same scene."""
        self.addParameter(QgsProcessingParameterRasterLayer(name, title))
        self.add_advanced(
            QgsProcessingParameterMultipleLayers(
                more,
                tr("{scene}: further tiles").format(scene=title),
                QgsProcessing.SourceType.TypeRaster,
                optional=True,
            )
        )

    def add_model(self, title: str, *, optional: bool) -> None:
        """The model: a name or a file."""
        self.addParameter(QgsProcessingParameterString("MODEL", title, optional=optional))

    def add_area(self) -> None:
        """Extent and area of interest."""
        self.addParameter(QgsProcessingParameterExtent("EXTENT", tr("Extent"), optional=True))
        self.add_polygons("AOI", tr("Area of interest"), optional=True)

    def add_polygons(self, name: str, title: str, *, optional: bool) -> None:
        """A layer of polygons."""
        self.addParameter(
            QgsProcessingParameterFeatureSource(
                name, title, [QgsProcessing.SourceType.TypeVectorPolygon], optional=optional
            )
        )

    def add_grid(self) -> None:
        """Another grid than the scene's own."""
        self.add_advanced(QgsProcessingParameterCrs("CRS", tr("Coordinate reference system of the map"), optional=True))
        self.add_advanced(
            QgsProcessingParameterNumber(
                "RESOLUTION",
                tr("Pixel size of the map, in its units"),
                QgsProcessingParameterNumber.Type.Double,
                optional=True,
                minValue=0,
            )
        )

    def add_device(self) -> None:
        """Where to run."""
        self.add_enum("DEVICE", tr("Device"), DEVICES, advanced=True)

    def add_enum(self, name: str, title: str, keys: tuple[str, ...], *, advanced: bool = False) -> None:
        """A choice whose keys are the values, so that they are the same in every language and on the command line."""
        parameter = QgsProcessingParameterEnum(name, title, list(keys), defaultValue=keys[0], usesStaticStrings=True)
        if advanced:
            self.add_advanced(parameter)
        else:
            self.addParameter(parameter)

    def add_advanced(self, parameter: QgsProcessingParameterDefinition) -> None:
        """A parameter that few need."""
        parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.Flag.FlagAdvanced)
        self.addParameter(parameter)

    def add_raster_output(self, name: str, title: str, *, default: bool = True) -> None:
        """A destination for a raster."""
        self.addParameter(QgsProcessingParameterRasterDestination(name, title, optional=True, createByDefault=default))

    def add_vector_output(self, name: str, title: str, *, default: bool = True) -> None:
        """A destination for features."""
        kind = QgsProcessing.SourceType.TypeVectorPolygon
        self.addParameter(
            QgsProcessingParameterVectorDestination(name, title, kind, optional=True, createByDefault=default)
        )

    def add_report(self) -> None:
        """A destination for the report."""
        self.REPORT = "REPORT"
        self.addParameter(
            QgsProcessingParameterFileDestination(
                "REPORT", tr("Report"), "HTML (*.html)", optional=True, createByDefault=True
            )
        )

    def add_number(self, name: str, title: str) -> None:
        """A numeric result."""
        self.addOutput(QgsProcessingOutputNumber(name, title))

    def add_text(self, name: str, title: str) -> None:
        """A textual result."""
        self.addOutput(QgsProcessingOutputString(name, title))

    # parameters to arguments

    def arguments(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """The request's arguments; called on the main thread, where layers may be touched."""
        raise NotImplementedError

    def layers(
        self, parameters: dict[str, Any], name: str, more: str, context: QgsProcessingContext
    ) -> list[QgsRasterLayer | None]:
        """The layers of a scene; None for one that cannot be loaded."""
        first = self.parameterAsRasterLayer(parameters, name, context)
        given = parameters.get(more) or []
        rest = self.parameterAsLayerList(parameters, more, context) if given else []
        # a file that does not open is left out of the list without a word
        missing = [None] * (len(given) - len(rest)) if isinstance(given, list) else []
        return [first, *rest, *missing]

    def sources(
        self, parameters: dict[str, Any], name: str, more: str, context: QgsProcessingContext
    ) -> tuple[list[str], str | None]:
        """Files of a scene, and the CRS that the user gave to layers whose files have none."""
        layers = self.layers(parameters, name, more, context)
        own = [x.dataProvider().crs().isValid() for x in layers]
        return [absolute(x.source()) for x in layers], None if all(own) else crs_text(layers[own.index(False)].crs())

    def area(
        self,
        parameters: dict[str, Any],
        scene: str,
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        """Arguments of extent, area of interest, CRS and pixel size."""
        arguments: dict[str, Any] = {"aoi": self.polygons(parameters, "AOI", context, feedback)}
        crs = self.parameterAsRasterLayer(parameters, scene, context).crs()
        if self.parameterDefinition("CRS") is not None:
            chosen = self.parameterAsCrs(parameters, "CRS", context)
            if chosen.isValid():
                crs = chosen
                arguments["dst_crs"] = crs_text(chosen)
            arguments["res"] = self.parameterAsDouble(parameters, "RESOLUTION", context) or None
        box = self.parameterAsExtent(parameters, "EXTENT", context, crs)
        if parameters.get("EXTENT") and not box.isNull():
            arguments["bounds"] = [box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum()]
        return arguments

    def polygons(
        self,
        parameters: dict[str, Any],
        name: str,
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> str | None:
        """A file with the features of a layer: its own, or an export if it has a filter, a selection or no file."""
        if not parameters.get(name):
            return None
        path, layer = self.parameterAsCompatibleSourceLayerPathAndLayerName(
            parameters, name, context, READABLE, "gpkg", feedback
        )
        return f"{absolute(path)}|layername={layer}" if layer else absolute(path)

    def model(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str | None:
        """Name or file of the model; None for the engine's own choice."""
        return absolute(self.parameterAsString(parameters, "MODEL", context).strip()) or None

    def sensor(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str | None:
        """Sensor of the scene after; None for the one that the model takes."""
        chosen = self.parameterAsEnumString(parameters, "POST_SENSOR", context)
        return None if chosen == "model" else chosen

    # checks

    def checkParameterValues(self, parameters: dict[str, Any], context: QgsProcessingContext) -> tuple[bool, str]:
        message = self._missing_problem(parameters, context)
        if message:
            return False, message
        good, message = super().checkParameterValues(parameters, context)
        if good:
            message = checks.runtime_problem() or self.problem(parameters, context)
            message = message or self._output_problem(parameters, context)
        return not message, message

    def problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """Why these parameters cannot work; empty if they may."""
        return ""

    def scene_problem(self, parameters: dict[str, Any], name: str, more: str, context: QgsProcessingContext) -> str:
        """Why a single scene cannot be read."""
        title = self.parameterDefinition(name).description()
        found = (checks.raster_problem(x, title) for x in self.layers(parameters, name, more, context))
        return next(filter(None, found), "")

    def pair_problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """Why the scenes before and after are no pair."""
        return checks.pair_problem_of(
            self.layers(parameters, "PRE", "PRE_MORE", context), self.layers(parameters, "POST", "POST_MORE", context)
        )

    def _missing_problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        """QGIS itself only says "Could not load source layer" or "Incorrect parameter value"."""
        for definition in self.parameterDefinitions():
            hint = _HINTS.get(type(definition))
            given = parameters.get(definition.name())
            for value in (given if isinstance(given, list) else [given]) if hint is not None else ():
                if isinstance(value, QgsProcessingFeatureSourceDefinition):
                    value = value.source.staticValue()
                if not value or not isinstance(value, str):
                    continue
                if QgsProcessingUtils.mapLayerFromString(value, context, True, hint) is None:
                    broken = context.project().mapLayer(value) if context.project() is not None else None
                    return tr("{name}: {path} is not there or cannot be opened; choose the file again.").format(
                        name=definition.description(), path=value if broken is None else broken.source()
                    )
        return ""

    def _output_problem(self, parameters: dict[str, Any], context: QgsProcessingContext) -> str:
        chosen: dict[str, str] = {}
        for definition in self.destinationParameterDefinitions():
            path = destination_path(parameters.get(definition.name()))
            if not path:
                continue
            raster = isinstance(definition, QgsProcessingParameterRasterDestination)
            if raster and not path.lower().endswith((".tif", ".tiff")):
                return tr("{name}: rasters are written as GeoTIFF; choose a name that ends in .tif.").format(
                    name=definition.description()
                )
            if chosen.setdefault(os.path.realpath(path), definition.name()) != definition.name():
                return tr("Two outputs have the same file {path}; choose different names.").format(path=path)
            problem = folder_problem(path)
            if problem:
                return problem
        return ""

    # the run

    def prepareAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        self._arguments = self.arguments(parameters, context, feedback)
        # of the parameters only these are looked at later: a layer may be deleted while the engine runs
        names = [definition.name() for definition in self.destinationParameterDefinitions()]
        self._destinations = {name: parameters[name] for name in names if parameters.get(name)}
        return True

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        folder = tempfile.mkdtemp(prefix="codemae-", dir=QgsProcessingUtils.tempFolder())
        try:
            arguments = {**self._arguments, **self.request_output(folder)}
            outcome = runner.run(
                runtime(), self.COMMAND, arguments, Narrator(feedback, self.in_words), feedback.isCanceled
            )
            feedback.setProgress(_DELIVER)
            return self._deliver(outcome, context, feedback)
        except Cancelled:
            return {}
        except EngineError as error:
            if error.details:
                feedback.pushConsoleInfo(error.details)
            raise QgsProcessingException(self.in_words(str(error), error.options)) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def request_output(self, folder: str) -> dict[str, Any]:
        """The arguments that say where the engine writes; a folder that it creates."""
        return {"output": os.path.join(folder, "out")}

    def in_words(self, text: str, options: Mapping[str, str]) -> str:
        """``text`` with the engine's parameters named as this dialog names them.

        Args:
            text: words of the engine.
            options: parameter -> how ``text`` spells it.
        """
        names = {"res": "RESOLUTION", "dst_crs": "CRS", "bounds": "EXTENT", "only_near_buildings": "NEAR_BUILDINGS"}
        for name, spelled in sorted(options.items(), key=lambda item: -len(item[1])):  # --res also begins --resume
            definition = self.parameterDefinition(names.get(name, name.upper()))
            if definition is not None:
                text = text.replace(spelled, f"“{definition.description()}”")
        return text

    def numbers(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Results that are no files."""
        return {}

    def report(self, outcome: runner.Outcome) -> str:
        """The report's HTML between the body tags."""
        return ""

    def _deliver(
        self,
        outcome: runner.Outcome,
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        paths: dict[str, str] = {}
        with Delivery() as delivery:
            for kind, name in self.RASTERS.items():
                path = self._destination(name, context)
                if path and kind in outcome.outputs:
                    delivery.raster(outcome.outputs[kind], path)
                    paths[name] = path
            for name, (kind, layer) in self.VECTORS.items():
                path = self._destination(name, context)
                if path and kind in outcome.outputs and vectors.has_layer(outcome.outputs[kind], layer):
                    about = metadata(self.parameterDefinition(name).description(), outcome)
                    vectors.copy_layer(outcome.outputs[kind], layer, delivery.place(path), about, context)
                    paths[name] = path
            if self.REPORT:
                path = self.parameterAsFileOutput(self._destinations, self.REPORT, context)
                if path:
                    with open(delivery.place(path), "w", encoding="utf-8") as file:
                        file.write(page(self.displayName(), self.report(outcome)))
                    paths[self.REPORT] = path
            if feedback.isCanceled():
                raise Cancelled
            delivery.commit(list(paths.values()))
        for name, path in paths.items():
            if context.willLoadLayerOnCompletion(path):
                self._style(name, path, outcome, context)
        return {
            **paths,
            **self.numbers(outcome.summary),
            "SUMMARY": json.dumps(outcome.summary, ensure_ascii=False),
        }

    def _destination(self, name: str, context: QgsProcessingContext) -> str:
        """Where an output goes; notes the layer for loading, so it is asked only for outputs that exist."""
        if name not in self._destinations:
            return ""
        return self.parameterAsOutputLayer(self._destinations, name, context)

    def _style(self, name: str, path: str, outcome: runner.Outcome, context: QgsProcessingContext) -> None:
        processor = StyledLayer(self.parameterDefinition(name).description(), outcome)
        _processors.append(processor)
        context.layerToLoadOnCompletionDetails(path).setPostProcessor(processor)


def destination_path(value: Any) -> str:
    """The file that a destination parameter names; empty for temporary ones and for none."""
    if isinstance(value, QgsProcessingOutputLayerDefinition):
        value = value.sink.staticValue()
    if not isinstance(value, str) or value in ("", QgsProcessing.TEMPORARY_OUTPUT):
        return ""
    return value


def absolute(source: str) -> str:
    """The full path of a local file, for a process with another current folder; anything else as it is."""
    return os.path.abspath(source) if os.path.exists(source) else source


def crs_text(crs: QgsCoordinateReferenceSystem) -> str:
    """A coordinate reference system as the engine reads it: the authority's code, WKT for a user's own."""
    authid = crs.authid()
    if authid and not authid.startswith("USER:"):
        return authid
    return crs.toWkt(QgsCoordinateReferenceSystem.WktVariant.WKT2_2019)
