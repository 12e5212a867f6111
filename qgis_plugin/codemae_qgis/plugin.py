"""What QGIS loads: the Processing provider and, where there is a window, menu entries. Nothing else runs at start."""

from __future__ import annotations

import os
from typing import Any

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QCoreApplication, Qt
from qgis.PyQt.QtGui import QIcon

from . import translate
from .provider import CodemaeProvider
from .translate import tr

try:
    from qgis.PyQt.QtGui import QAction  # Qt 6
except ImportError:
    from qgis.PyQt.QtWidgets import QAction

MENU = "CoDe-MAE"


class CodemaePlugin:
    """The plugin; ``dock`` is None until it is first shown."""

    def __init__(self, iface: Any) -> None:
        self.iface = iface
        self.provider: CodemaeProvider | None = None
        self.dock: Any = None
        self.actions: list[QAction] = []
        self._options: Any = None
        self._translator = translate.install()

    def initProcessing(self) -> None:
        """Called by QGIS, also by qgis_process."""
        self.provider = CodemaeProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """Called by QGIS with a window."""
        from .gui.options import OptionsFactory

        self.initProcessing()
        icon = QIcon(os.path.join(os.path.dirname(__file__), "icon.svg"))
        show = QAction(icon, tr("Damage map panel"), self.iface.mainWindow())
        show.setObjectName("codemaeShowDock")
        show.setCheckable(True)
        show.triggered.connect(self.show_dock)
        set_up = QAction(tr("Set up runtime"), self.iface.mainWindow())
        set_up.setObjectName("codemaeSetUp")
        set_up.triggered.connect(self.set_up_runtime)
        self.actions = [show, set_up]
        for action in self.actions:
            self.iface.addPluginToRasterMenu(MENU, action)
        # the Raster toolbar is hidden in a new profile, the Plugins toolbar is not
        self.iface.addToolBarIcon(show)
        self._options = OptionsFactory()
        self.iface.registerOptionsWidgetFactory(self._options)

    def show_dock(self, shown: bool = True) -> None:
        """Show or hide the panel, and make it when it is first shown."""
        if self.dock is None:
            from .gui.dock import DamageDock

            self.dock = DamageDock(self.iface)
            self.iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
            self.dock.visibilityChanged.connect(self.actions[0].setChecked)
        self.dock.setVisible(shown)
        if shown:
            self.dock.raise_()

    def set_up_runtime(self) -> None:
        """The dialog that makes or chooses a runtime."""
        from .gui.setup_dialog import SetupDialog

        SetupDialog(self.iface.mainWindow()).exec()
        if self.dock is not None:
            self.dock.engine.check(refresh=True)

    def unload(self) -> None:
        """Called by QGIS when the plugin is switched off or updated: leave nothing behind."""
        if self.dock is not None:
            self.dock.visibilityChanged.disconnect(self.actions[0].setChecked)
            self.dock.shutdown()
            self.iface.removeDockWidget(self.dock)
            self.dock.deleteLater()
            self.dock = None
        if self._options is not None:
            self.iface.unregisterOptionsWidgetFactory(self._options)
            self._options = None
        for action in self.actions:
            self.iface.removePluginRasterMenu(MENU, action)
            self.iface.removeToolBarIcon(action)
            action.deleteLater()
        self.actions = []
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
        if self._translator is not None:
            QCoreApplication.removeTranslator(self._translator)
            self._translator = None
