"""The page in Settings > Options: which runtime, and the way to the set-up dialog."""

from __future__ import annotations

import os

from qgis.gui import QgsFileWidget, QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QWidget

from .. import settings
from ..translate import tr

_ICON = os.path.join(os.path.dirname(os.path.dirname(__file__)), "icon.svg")


class OptionsPage(QgsOptionsPageWidget):
    """One path and one button."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        form = QFormLayout(self)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        hint = QLabel(
            tr(
                "The Python that has codemae-geo. Empty: the runtime that set-up created, then codemae on the PATH. "
                "The variable CODEMAE_GEO_PYTHON comes before all."
            )
        )
        hint.setWordWrap(True)
        self.python = QgsFileWidget()
        self.python.setStorageMode(QgsFileWidget.StorageMode.GetFile)
        self.python.setFilePath(settings.runtime_python())
        self.setup_button = QPushButton(tr("Set up..."))
        self.setup_button.clicked.connect(self._open_setup)
        form.addRow(hint)
        form.addRow(tr("Python"), self.python)
        row = QHBoxLayout()
        row.addWidget(self.setup_button)
        row.addStretch()
        form.addRow("", row)

    def apply(self) -> None:
        """Called by the dialog's OK."""
        settings.set_runtime_python(self.python.filePath().strip())

    def _open_setup(self) -> None:
        from .setup_dialog import SetupDialog

        SetupDialog(self).exec()
        self.python.setFilePath(settings.runtime_python())


class OptionsFactory(QgsOptionsWidgetFactory):
    """Registered by the plugin with `iface.registerOptionsWidgetFactory`."""

    def __init__(self) -> None:
        super().__init__()
        self.setTitle("CoDe-MAE")

    def icon(self) -> QIcon:
        """Of the list of pages."""
        return QIcon(_ICON)

    def createWidget(self, parent: QWidget | None = None) -> OptionsPage:
        """A fresh page for a dialog that opens."""
        return OptionsPage(parent)
