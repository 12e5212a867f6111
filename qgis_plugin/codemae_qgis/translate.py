"""The words of the plugin in the user's language."""

from __future__ import annotations

import os

from qgis.core import QgsApplication
from qgis.PyQt.QtCore import QCoreApplication, QTranslator

from .engine import words

#: one context for all texts, so that a catalogue is one flat list
CONTEXT = "codemae"


def tr(text: str) -> str:
    """``text`` in the user's language, or as it is."""
    return QCoreApplication.translate(CONTEXT, text)


# the engine's package knows no Qt
words.translate = tr


def install() -> QTranslator | None:
    """Load the catalogue of the user's language; None if there is none. Keep what is returned."""
    folder = os.path.join(os.path.dirname(__file__), "i18n")
    language = QgsApplication.instance().locale()[:2]
    translator = QTranslator()
    if not translator.load(os.path.join(folder, f"codemae_qgis_{language}.qm")):
        return None
    QCoreApplication.installTranslator(translator)
    return translator
