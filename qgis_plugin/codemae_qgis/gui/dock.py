"""The panel: two scenes in, a damage map out.

It only fills the parameters of the algorithm `codemae:damagemap`; what can be done here can be done from the toolbox,
in batch, in models and by `qgis_process`.
"""

from __future__ import annotations

import os
from typing import Any

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsDatumTransform,
    QgsMapLayer,
    QgsMapLayerProxyModel,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsSettings,
    QgsVectorLayer,
)
from qgis.gui import QgisInterface, QgsCollapsibleGroupBox, QgsFileWidget, QgsMapLayerComboBox
from qgis.PyQt.QtCore import QSize, Qt, QTimer
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDockWidget,
    QFileDialog,
    QFormLayout,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..algorithms import checks
from ..deliver import folder_problem
from ..engine import runtime as engine
from ..translate import tr
from .area import AreaChooser
from .engine_row import EngineRow
from .guess import Candidate, guess_pair
from .jobs import ALGORITHM, Jobs
from .queue import Run, State
from .result_box import ResultBox, count_buildings, read_summary
from .run_area import RunArea
from .text_dialog import TextDialog
from .widgets import TallPage, in_row, keep_narrow, layer_combo

_KEYS = "codemae_geo/dock/"


class DamageDock(QDockWidget):
    """Choose, run, look."""

    def __init__(self, iface: QgisInterface) -> None:
        super().__init__(iface.mainWindow())
        self.setObjectName("CodemaeDamageDock")
        self.setWindowTitle(tr("Damage map (CoDe-MAE)"))
        self._iface = iface
        self._project = QgsProject.instance()
        #: combos that the user has set; the others follow the project
        self._chosen: set[QgsMapLayerComboBox] = set()
        self._last_model = 0
        self._folder_problem = ""
        self.jobs = Jobs(self._project, self)
        self.queue = self.jobs.queue
        # many signals come in bursts: one answer each
        self._refresh_soon = self._soon(self.refresh)
        self._guess_soon = self._soon(self._guess)

        self._build()
        self._restore()
        self._project.layersAdded.connect(self._on_layers)
        self._project.layersRemoved.connect(self._on_layers)
        self._project.cleared.connect(self._on_project_closed)
        self.jobs.changed.connect(self._on_run)
        self._guess()
        self.engine.check()

    def sizeHint(self) -> QSize:
        """Wide enough for layer names."""
        return QSize(360, 700)

    # -- layout -----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(8, 8, 8, 4)
        column.setSpacing(8)
        self.engine = EngineRow(self._iface)
        self.engine.menu.addAction(tr("All options, batch...")).triggered.connect(self._open_processing)
        self.engine.changed.connect(self._on_engine)
        column.addWidget(self.engine)
        column.addLayout(self._build_scenes())
        column.addWidget(self._build_options())
        self.result = ResultBox()
        self.result.zoom.clicked.connect(self.zoom_to_result)
        column.addWidget(self.result)
        column.addStretch()
        self._scroll = TallPage(page)
        self.runs = RunArea(self.jobs)
        self.runs.run_button.clicked.connect(self.add_run)
        self.runs.selected.connect(self.show_result)
        whole = QWidget()
        outer = QVBoxLayout(whole)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        outer.addWidget(self._scroll, 1)
        outer.addWidget(self.runs)
        self.setWidget(whole)

    def _build_scenes(self) -> QFormLayout:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.pre = layer_combo(QgsMapLayerProxyModel.Filter.RasterLayer, tr("Choose the scene before"))
        self.post = layer_combo(QgsMapLayerProxyModel.Filter.RasterLayer, tr("Choose the scene after"))
        self.swap_button = QToolButton()
        self.swap_button.setText("⇅")
        self.swap_button.setToolTip(tr("Swap before and after"))
        self.swap_button.clicked.connect(self.swap)
        form.addRow(tr("Before"), self.pre)
        form.addRow(tr("After"), in_row(self.post, self.swap_button))
        for combo in (self.pre, self.post):
            combo.activated.connect(lambda _index, c=combo: self._chosen.add(c))
            combo.layerChanged.connect(self._refresh_soon)

        self.show_before = QPushButton(tr("Before"))
        self.show_before.setToolTip(tr("Show the scene before on the map and hide the one after"))
        self.show_before.clicked.connect(lambda: self.compare(after=False))
        self.show_after = QPushButton(tr("After"))
        self.show_after.setToolTip(tr("Show the scene after on the map and hide the one before"))
        self.show_after.clicked.connect(lambda: self.compare(after=True))
        for button in (self.show_before, self.show_after):
            button.setCheckable(True)
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        form.addRow(tr("Show"), in_row(self.show_before, self.show_after))
        self.sample_button = QPushButton(tr("Load the sample pair"))
        self.sample_button.setToolTip(
            tr("Joplin, Missouri, before and after the tornado of 22 May 2011, with building footprints")
        )
        self.sample_button.clicked.connect(self.load_sample)
        form.addRow("", self.sample_button)

        self.footprints = layer_combo(QgsMapLayerProxyModel.Filter.PolygonLayer, tr("None"))
        self.footprints.setToolTip(tr("Building polygons: each gets a class, its confidence and its area"))
        self.footprints.layerChanged.connect(self._refresh_soon)
        form.addRow(tr("Buildings"), self.footprints)
        self.area = AreaChooser(self._iface.mapCanvas())
        self.area.changed.connect(self._refresh_soon)
        form.addRow(tr("Area"), self.area)

        self.model = QComboBox()
        keep_narrow(self.model)
        self.model.activated.connect(self._on_model)
        self.model.currentIndexChanged.connect(self._refresh_soon)
        self.card_button = QToolButton()
        self.card_button.setIcon(QgsApplication.getThemeIcon("/mActionHelpContents.svg"))
        self.card_button.setToolTip(tr("Model card: what it was trained on, how good it is, what it cannot do"))
        self.card_button.clicked.connect(self.show_card)
        form.addRow(tr("Model"), in_row(self.model, self.card_button))

        self.folder = QgsFileWidget()
        self.folder.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.folder.setDialogTitle(tr("Folder for the results"))
        self.folder.lineEdit().setPlaceholderText(tr("Temporary files"))
        self.folder.setToolTip(tr("Every run makes a new folder in this one"))
        self.folder.fileChanged.connect(self._on_folder)
        form.addRow(tr("Save in"), self.folder)
        return form

    def _build_options(self) -> QgsCollapsibleGroupBox:
        box = QgsCollapsibleGroupBox(tr("Options"))
        box.setObjectName("options")
        box.setSettingGroup("codemae_geo/dock")
        box.setCollapsed(True)
        self.options = box
        form = QFormLayout(box)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.sensor = QComboBox()
        for key, text in (("model", tr("As the model says")), ("optical", tr("Optical")), ("sar", tr("Radar (SAR)"))):
            self.sensor.addItem(text, key)
        self.sensor.currentIndexChanged.connect(self._refresh_soon)
        self.device = QComboBox()
        self._fill_devices([])
        for combo in (self.sensor, self.device):
            keep_narrow(combo)
        self.near = QCheckBox(tr("Only near buildings"))
        self.near.setToolTip(tr("Leave out what is farther than 50 m from a building: faster where these are few"))
        self.tta = QCheckBox(tr("Average flips and turns"))
        self.tta.setToolTip(tr("Eight times slower, a little better"))
        form.addRow(tr("Sensor after"), self.sensor)
        form.addRow(tr("Device"), self.device)
        form.addRow(self.near)
        form.addRow(self.tta)
        return box

    def _soon(self, slot: Any) -> Any:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(0)
        timer.timeout.connect(slot)
        return lambda *_anything: timer.start()

    # -- last values ------------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        kept = QgsSettings()
        self.sensor.setCurrentIndex(max(self.sensor.findData(kept.value(_KEYS + "sensor", "model", str)), 0))
        if kept.value(_KEYS + "area", "overlap", str) in ("overlap", "canvas"):
            self.area.set_kind(kept.value(_KEYS + "area", "overlap", str))
        self.near.setChecked(kept.value(_KEYS + "near", False, bool))
        self.tta.setChecked(kept.value(_KEYS + "tta", False, bool))
        folder = kept.value(_KEYS + "folder", "", str)
        if os.path.isdir(folder):
            self.folder.setFilePath(folder)

    def _remember(self) -> None:
        kept = QgsSettings()
        kept.setValue(_KEYS + "sensor", self.sensor.currentData())
        kept.setValue(_KEYS + "area", self.area.kind.currentData())
        kept.setValue(_KEYS + "device", self.device.currentData())
        kept.setValue(_KEYS + "model", self.model.currentData() or "")
        kept.setValue(_KEYS + "near", self.near.isChecked())
        kept.setValue(_KEYS + "tta", self.tta.isChecked())
        kept.setValue(_KEYS + "folder", self.folder.filePath())

    # -- layers -----------------------------------------------------------------------------------------------------

    def _on_layers(self, _layers: Any = None) -> None:
        # the layer tree follows the project a moment later
        self._guess_soon()

    def _guess(self) -> None:
        """Fill those combos that the user has not set, never with the same layer twice."""
        self._chosen = {combo for combo in self._chosen if combo.currentLayer() is not None}
        results = {layer.id() for run in self.queue.runs for layer in self.jobs.layers(run.number)}
        taken = {combo.currentLayer().id() for combo in self._chosen}
        # new layers come on top: the older one is first
        scenes = [
            layer
            for layer in reversed(self._project.layerTreeRoot().layerOrder())
            if isinstance(layer, QgsRasterLayer)
            and layer.isValid()
            and layer.providerType() == "gdal"
            and layer.id() not in taken | results
        ]
        names = [Candidate(s.name(), os.path.splitext(os.path.basename(s.source()))[0]) for s in scenes]
        pair = list(guess_pair(names))
        if scenes and {self.pre, self.post} & self._chosen and None in pair:
            # the other side is set: what is left may stand on this one, whatever its name says
            pair = [next(i for i in pair if i is not None)] * 2
        for combo, found in zip((self.pre, self.post), pair):
            if combo not in self._chosen:
                combo.setLayer(None if found is None else scenes[found])
        self._refresh_soon()

    def choose(self, pre: QgsMapLayer | None, post: QgsMapLayer | None) -> None:
        """Set both scenes, as the user would."""
        for combo, layer in ((self.pre, pre), (self.post, post)):
            combo.setLayer(layer)
            self._chosen.add(combo)

    def swap(self) -> None:
        """What was before is after."""
        self.choose(self.post.currentLayer(), self.pre.currentLayer())

    def compare(self, after: bool) -> None:
        """Show one of the two scenes on the map and hide the other."""
        root = self._project.layerTreeRoot()
        for combo, visible in ((self.pre, not after), (self.post, after)):
            node = root.findLayer(combo.currentLayer()) if combo.currentLayer() is not None else None
            if node is None:
                continue
            node.setItemVisibilityChecked(visible)
            if visible:
                node.setItemVisibilityCheckedParentRecursive(True)
        self.show_before.setChecked(not after)
        self.show_after.setChecked(after)

    def load_sample(self) -> None:
        """Add the pair that the toolkit brings to the project, and choose it."""
        runtime = self.engine.runtime
        if runtime is not None:
            self.engine.call(tr("Find the sample pair"), lambda _c: engine.sample_pair(runtime), self._add_sample)

    def _add_sample(self, pair: engine.SamplePair) -> None:
        layers: list[QgsMapLayer] = [
            QgsRasterLayer(pair.pre, tr("Joplin before")),
            QgsRasterLayer(pair.post, tr("Joplin after")),
            QgsVectorLayer(pair.footprints, tr("Joplin buildings"), "ogr"),
        ]
        broken = [layer.source() for layer in layers if not layer.isValid()]
        if broken:
            self.engine.tell(tr("QGIS cannot read {files}.").format(files=", ".join(broken)), Qgis.MessageLevel.Warning)
            return
        symbol = layers[2].renderer().symbol()
        symbol.setColor(QColor(0, 0, 0, 0))
        symbol.symbolLayer(0).setStrokeColor(QColor(255, 255, 255))
        alone = self._project.count() == 0
        if alone:
            self._project.setCrs(layers[0].crs())
        self._settle_transforms(layers)
        for layer in layers:
            self._project.addMapLayer(layer)
        self.choose(layers[0], layers[1])
        self.footprints.setLayer(layers[2])
        self.compare(after=True)
        # QGIS gives an empty map the coordinate system of the layer on top, a moment later
        QTimer.singleShot(0, lambda: self._show_sample(layers[0], alone))

    def _show_sample(self, scene: QgsMapLayer, alone: bool) -> None:
        if alone:
            self._project.setCrs(scene.crs())
        self._zoom([scene])

    def _settle_transforms(self, layers: list[QgsMapLayer]) -> None:
        """Let QGIS ask nobody for the best of several transformations between the sample's coordinate systems."""
        context = self._project.transformContext()
        systems = [self._project.crs(), *(layer.crs() for layer in layers)]
        for source in systems:
            for target in systems:
                found = [o for o in QgsDatumTransform.operations(source, target) if o.isAvailable]
                # hasTransform also says yes to the other direction, which QGIS 3.40 then applies the wrong way round
                chosen = (source.authid(), target.authid()) in context.coordinateOperations()
                if source != target and found and not chosen:
                    context.addCoordinateOperation(source, target, found[0].proj)
        self._project.setTransformContext(context)

    # -- engine -----------------------------------------------------------------------------------------------------

    def _on_engine(self) -> None:
        if self.engine.health is not None:
            self._fill_devices(self.engine.health.devices)
            self._fill_models()
        self.refresh()

    def _fill_devices(self, devices: list[str]) -> None:
        names = {"cpu": tr("Processor"), "cuda": tr("Graphics card (CUDA)"), "mps": tr("Graphics of the Mac")}
        # before the engine has answered there was no choice to keep
        chosen = self.device.currentData() if self.device.count() > 1 else None
        wanted = chosen or QgsSettings().value(_KEYS + "device", "auto", str)
        self.device.clear()
        self.device.addItem(tr("The fastest there is"), "auto")
        for device in devices:
            self.device.addItem(names.get(device, device), device)
        self.device.setCurrentIndex(max(self.device.findData(wanted), 0))

    def _fill_models(self) -> None:
        wanted = self.model.currentData() or QgsSettings().value(_KEYS + "model", "", str)
        self.model.clear()
        for found in self.engine.models:
            if found.get("task") == "damage":
                self.model.addItem(found["name"], found["name"])
                tip = found.get("description", "")
                self.model.setItemData(self.model.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        if wanted and self.model.findData(wanted) < 0 and os.path.isfile(wanted):
            self.model.addItem(os.path.basename(wanted), wanted)
        self.model.addItem(tr("From a file..."), "")
        self._last_model = max(self.model.findData(wanted) if wanted else 0, 0)
        self.model.setCurrentIndex(self._last_model)

    def _on_model(self, index: int) -> None:
        if self.model.itemData(index) == "":
            path, _kind = QFileDialog.getOpenFileName(
                self, tr("Model package"), "", tr("Model packages") + " (*.safetensors)"
            )
            if path:
                self.model.insertItem(0, os.path.basename(path), path)
                self._last_model = 0
        else:
            self._last_model = index
        self.model.setCurrentIndex(self._last_model)

    def show_card(self) -> None:
        """Open the card of the chosen model."""
        runtime, name = self.engine.runtime, self.model.currentData()
        if runtime is not None and name:
            self.engine.call(tr("Read the model card"), lambda _c: engine.card(runtime, name), self._open_card)

    def _open_card(self, text: str) -> None:
        TextDialog(tr("Model card"), text, markdown=True, parent=self._iface.mainWindow()).show()

    # -- may it run -------------------------------------------------------------------------------------------------

    def problem(self) -> str:
        """Why Run is disabled, in a sentence; empty if it is not."""
        if self.engine.error is not None:
            by_set_up = self.engine.error.code in ("runtime-missing", "runtime-old", "runtime-broken")
            return tr("There is no engine to run: click Set up.") if by_set_up else str(self.engine.error)
        if self.engine.runtime is None:
            return tr("Looking for the engine ...")
        before, after = self.pre.currentLayer(), self.post.currentLayer()
        if before is None and after is None:
            return tr("Choose a scene before and a scene after, or load the sample pair.")
        if before is None:
            return tr("Choose the scene before the event.")
        if after is None:
            return tr("Choose the scene after the event.")
        return (
            checks.pair_problem(before, after)
            or self.area.problem()
            or (tr("Choose a model.") if not self.model.currentData() else "")
            or self._sensor_problem()
            or self._folder_problem
        )

    def _sensor_problem(self) -> str:
        sensor, name = self.sensor.currentData(), self.model.currentData()
        families = next((m.get("inputs") or [] for m in self.engine.models if m["name"] == name), [])
        if sensor == "model" or len(families) < 2 or families[1] == sensor:
            return ""
        reads = tr("radar") if families[1] == "sar" else tr("optical images")
        return tr(
            "The model {name} reads {sensor} after the event: choose another model, or let the sensor be as it says."
        ).format(name=name, sensor=reads)

    def _on_folder(self, folder: str) -> None:
        # asked only when the folder changes: the answer needs a try on disk
        self._folder_problem = folder_problem(os.path.join(folder, "damage.tif")) if folder.strip() else ""
        self._refresh_soon()

    def refresh(self) -> None:
        """Enable what may be used now, and say why Run may not."""
        self.runs.show_problem(self.problem())
        both = self.pre.currentLayer() is not None and self.post.currentLayer() is not None
        for button in (self.show_before, self.show_after, self.swap_button):
            button.setEnabled(both)
        ready = self.engine.runtime is not None
        self.sample_button.setEnabled(ready)
        self.model.setEnabled(ready)
        self.device.setEnabled(ready)
        self.card_button.setEnabled(ready and bool(self.model.currentData()))
        self.near.setEnabled(self.footprints.currentLayer() is not None)

    # -- runs -------------------------------------------------------------------------------------------------------

    def parameters(self) -> dict[str, Any]:
        """The parameters of the algorithm as the panel stands, without its outputs."""
        chosen: dict[str, Any] = {
            "POST_SENSOR": self.sensor.currentData(),
            "MODEL": self.model.currentData() or "",
            "DEVICE": self.device.currentData(),
            "TTA": self.tta.isChecked(),
            **self.area.parameters(),
        }
        for name, combo in (("PRE", self.pre), ("POST", self.post), ("FOOTPRINTS", self.footprints)):
            if combo.currentLayer() is not None:
                chosen[name] = combo.currentLayer().id()
        if "FOOTPRINTS" in chosen:
            chosen["NEAR_BUILDINGS"] = self.near.isChecked()
        return chosen

    def add_run(self) -> None:
        """Run what the panel says, now or after the runs before it."""
        self._on_folder(self.folder.filePath())
        if not self.problem():
            self._remember()
            self.jobs.add(self.post.currentLayer().name(), self.parameters(), self.folder.filePath().strip())
        self.refresh()

    def _on_run(self, run: Run) -> None:
        if run.state is State.FAILED:
            self.engine.last_failure = run.message
            self._tell_soon(run.message, Qgis.MessageLevel.Critical)
        elif run.state is State.DONE:
            self._tell_soon(_done_text(run), Qgis.MessageLevel.Success)
        self._refresh_soon()

    def _tell_soon(self, text: str, level: Qgis.MessageLevel) -> None:
        """After QGIS's own "Task complete" or "Task failed", which would lie on top."""
        QTimer.singleShot(0, lambda: self.engine.tell(text, level))

    def show_result(self, run: Run | None) -> None:
        """Show what has become of a run; nothing for one that is still to end."""
        outcome = self.jobs.outcomes.get(run.number) if run is not None else None
        if run is None or run.state not in (State.DONE, State.FAILED):
            self.result.hide()
            return
        log, legend = (outcome.log, outcome.legend) if outcome is not None else ("", {})
        self.result.show_run(run, legend, log, bool(self.jobs.layers(run.number)))
        # its place is known only when the layout has settled
        QTimer.singleShot(50, self._show_result_box)

    def _show_result_box(self) -> None:
        self._scroll.ensureWidgetVisible(self.result, 0, 8)

    def zoom_to_result(self) -> None:
        """Zoom to the layers of the run that is shown."""
        run = self.runs.current()
        if run is not None:
            self._zoom(self.jobs.layers(run.number))

    def _zoom(self, layers: list[QgsMapLayer]) -> None:
        canvas = self._iface.mapCanvas()
        whole = QgsRectangle()
        for layer in layers:
            whole.combineExtentWith(canvas.mapSettings().layerExtentToOutputExtent(layer, layer.extent()))
        if not whole.isEmpty():
            whole.scale(1.05)
            canvas.setExtent(whole)
            canvas.refresh()

    # -- ends -------------------------------------------------------------------------------------------------------

    def _on_project_closed(self) -> None:
        """Results of a project that is gone belong nowhere: stop the engine, load nothing."""
        self.jobs.abandon()
        self._chosen.clear()
        self.area.clear()
        self.result.hide()
        self._guess_soon()

    def _open_processing(self) -> None:
        import processing

        processing.execAlgorithmDialog(ALGORITHM, self.parameters())

    def shutdown(self) -> None:
        """Cancel everything and let go of QGIS; the plugin is being unloaded."""
        self.engine.shutdown()
        self.jobs.abandon()
        self._project.layersAdded.disconnect(self._on_layers)
        self._project.layersRemoved.disconnect(self._on_layers)
        self._project.cleared.disconnect(self._on_project_closed)
        self.area.shutdown()


def _done_text(run: Run) -> str:
    buildings = read_summary(run.results).get("buildings") or {}
    classes = buildings.get("classes")
    if not classes:
        return tr("The damage map of {title} is on the map.").format(title=run.title)
    return tr("{title}: {all} buildings, {destroyed} destroyed, {damaged} damaged.").format(
        title=run.title,
        all=count_buildings(read_summary(run.results))[0],
        destroyed=classes.get("destroyed", 0),
        damaged=classes.get("damaged", 0),
    )
