"""Layers of the engine's GeoPackage into the format that the user chose, with their style."""

from __future__ import annotations

import os
import shutil

from qgis.core import QgsLayerMetadata, QgsProcessingContext, QgsVectorFileWriter, QgsVectorLayer
from qgis.PyQt.QtXml import QDomDocument

from .deliver import full_disk
from .engine.errors import EngineError
from .translate import tr

#: bytes below which a write that failed is taken for a full disk
_LITTLE = 2**18


def has_layer(path: str, layer: str) -> bool:
    """Whether a GeoPackage has a layer of features of that name."""
    return QgsVectorLayer(f"{path}|layername={layer}", layer, "ogr").isValid()


def copy_layer(
    source: str, layer: str, destination: str, metadata: QgsLayerMetadata, context: QgsProcessingContext
) -> None:
    """Write one layer of ``source`` to a new file, with its style as the default one and a QMD with ``metadata``.

    The format follows from the ending of ``destination``. The style goes into the GeoPackage, or into a QML file
    beside any other format.

    Raises:
        EngineError: the format is unknown, or the file cannot be written.
    """
    original = QgsVectorLayer(f"{source}|layername={layer}", layer, "ogr")
    ending = os.path.splitext(destination)[1].lstrip(".")
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName = QgsVectorFileWriter.driverForExtension(ending)
    options.layerName = layer
    options.fileEncoding = "UTF-8"
    if not options.driverName:
        raise EngineError(
            tr("QGIS knows no vector format that ends in .{ending}").format(ending=ending),
            code="output",
            hint=tr("choose a name that ends in .gpkg"),
        )
    error, message, *_ = QgsVectorFileWriter.writeAsVectorFormatV3(
        original, destination, context.transformContext(), options
    )
    if error != QgsVectorFileWriter.WriterError.NoError:
        # OGR tells of a full disk in the words of SQLite, or not at all
        if shutil.disk_usage(os.path.dirname(destination)).free < _LITTLE:
            raise full_disk(os.path.dirname(os.path.dirname(destination)))
        raise EngineError(
            tr("the layer {layer} cannot be written as {format}").format(layer=layer, format=options.driverName),
            code="output",
            hint=tr("choose another place, or a name that ends in .gpkg"),
            details=message,
        )
    style = QDomDocument()
    original.exportNamedStyle(style)
    copied = QgsVectorLayer(destination, layer, "ogr")
    copied.importNamedStyle(style)
    copied.setMetadata(metadata)
    copied.saveDefaultMetadata()
    if options.driverName == "GPKG":
        copied.saveStyleToDatabase(layer, "", True, "")
    else:
        copied.saveNamedStyle(os.path.splitext(destination)[0] + ".qml")
