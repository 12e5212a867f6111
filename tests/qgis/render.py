#!/usr/bin/env python3
"""Open our outputs in QGIS as a user would, check that they come up styled, and draw them to a PNG.

Plain PyQGIS, run by the interpreter that QGIS belongs to (QGIS 3.22 and later):

    python3 tests/qgis/render.py --raster class.tif --vector damage.gpkg -o map.png [--background pre.tif]

Prints one JSON object that says what QGIS shows: renderer, categories and feature count of each layer. Exits with 1
and a message if a layer does not open or opens without its style.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="qgis-render-"))

from qgis.core import (
    QgsApplication,
    QgsCategorizedSymbolRenderer,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsPalettedRasterRenderer,
    QgsProject,
    QgsRasterLayer,
    QgsSingleBandPseudoColorRenderer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--raster", action="append", default=[], help="class or confidence raster")
    parser.add_argument("--vector", action="append", default=[], help="GeoPackage; FILE|layername=NAME for one layer")
    parser.add_argument("--background", help="image below everything")
    parser.add_argument("--extent-of", choices=["raster", "vector", "background"], default="raster")
    parser.add_argument("--zoom", type=float, default=1.0, help="show the middle 1/ZOOM of the extent")
    parser.add_argument("--size", type=int, default=1000, help="width and height of the picture in pixels")
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()

    app = QgsApplication([], False)
    app.initQgis()
    try:
        report = render(options)
    except RuntimeError as error:
        print(f"render.py: {error}", file=sys.stderr)
        return 1
    finally:
        # layers that outlive the application crash it at exit
        QgsProject.instance().removeAllMapLayers()
        app.exitQgis()
    print(json.dumps(report, indent=1))
    return 0


def render(options: argparse.Namespace) -> dict:
    """Load, check and draw; returns what each layer shows. Raises RuntimeError on anything unstyled."""
    project = QgsProject.instance()
    report: dict = {}
    order = {"vector": [], "raster": [], "background": []}
    for path in options.vector:
        for layer in open_vectors(path):
            report[layer.name()] = check_vector(layer)
            order["vector"].append(project.addMapLayer(layer))
    for path in options.raster:
        layer = open_raster(path)
        report[layer.name()] = check_raster(layer)
        order["raster"].append(project.addMapLayer(layer))
    if options.background:
        order["background"].append(project.addMapLayer(open_raster(options.background)))

    reference = order[options.extent_of][0]
    settings = QgsMapSettings()
    settings.setLayers([layer for kind in order.values() for layer in kind])
    settings.setDestinationCrs(reference.crs())
    settings.setTransformContext(project.transformContext())
    extent = reference.extent()
    extent.scale(1 / options.zoom)
    settings.setExtent(extent)
    settings.setOutputSize(QSize(options.size, options.size))
    settings.setBackgroundColor(QColor("white"))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    if job.errors():
        raise RuntimeError("; ".join(f"{e.layerID}: {e.message}" for e in job.errors()))
    if not job.renderedImage().save(options.output):
        raise RuntimeError(f"cannot write {options.output}")
    return report


def open_vectors(path: str) -> list:
    """The layers of a GeoPackage with their default styles; tables without geometry left out."""
    probe = QgsVectorLayer(path, "probe", "ogr")
    if not probe.isValid():
        raise RuntimeError(f"{path} does not open")
    names = [text.split("!!::!!")[1] for text in probe.dataProvider().subLayers()]
    if "|layername=" in path or not names:
        names = [path.partition("|layername=")[2]] if "|layername=" in path else [probe.name()]
    file = path.partition("|")[0]
    layers = [QgsVectorLayer(f"{file}|layername={name}", name, "ogr") for name in names if name != "layer_styles"]
    return [layer for layer in layers if layer.isSpatial()]


def check_vector(layer: QgsVectorLayer) -> dict:
    """Renderer and categories of a vector layer."""
    renderer = layer.renderer()
    if not layer.crs().isValid():
        raise RuntimeError(f"layer {layer.name()} has no CRS")
    if not isinstance(renderer, QgsCategorizedSymbolRenderer):
        raise RuntimeError(f"layer {layer.name()} is not categorised but {type(renderer).__name__}")
    return {
        "renderer": renderer.type(),
        "field": renderer.classAttribute(),
        "features": layer.featureCount(),
        "categories": {
            str(c.value()): {
                "label": c.label(),
                "color": c.symbol().color().name(),
                "opacity": round(c.symbol().opacity(), 3),
            }
            for c in renderer.categories()
        },
    }


def open_raster(path: str) -> QgsRasterLayer:
    layer = QgsRasterLayer(path, Path(path).name, "gdal")
    if not layer.isValid():
        raise RuntimeError(f"{path} does not open")
    return layer


def check_raster(layer: QgsRasterLayer) -> dict:
    """Renderer and legend of a raster layer."""
    renderer = layer.renderer()
    if isinstance(renderer, QgsPalettedRasterRenderer):
        legend = {str(int(c.value)): {"label": c.label, "color": c.color.name()} for c in renderer.classes()}
    elif isinstance(renderer, QgsSingleBandPseudoColorRenderer):
        items = renderer.shader().rasterShaderFunction().colorRampItemList()
        legend = {f"{i.value:g}": {"label": i.label, "color": i.color.name()} for i in items}
    else:
        raise RuntimeError(f"raster {layer.name()} is not styled but {type(renderer).__name__}")
    return {"renderer": renderer.type(), "categories": legend}


if __name__ == "__main__":
    sys.exit(main())
