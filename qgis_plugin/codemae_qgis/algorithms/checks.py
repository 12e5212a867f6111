"""Checks before anything runs, each answer one plain sentence with the next step; empty when all is well."""

from __future__ import annotations

import os
from collections.abc import Sequence

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsCoordinateTransformContext,
    QgsCsException,
    QgsRasterLayer,
    QgsRectangle,
)

from ..engine.errors import EngineError
from ..settings import runtime
from ..translate import tr


def runtime_problem() -> str:
    """Why there is no runtime to use."""
    try:
        runtime()
    except EngineError as error:
        return str(error)
    return ""


def raster_problem(layer: QgsRasterLayer | None, role: str) -> str:
    """Why a layer cannot be read by another program.

    Args:
        layer: the layer; None if it could not even be loaded.
        role: what the user knows it as, for instance "Before".
    """
    if layer is None:
        return tr("{role}: choose a raster layer or an existing file.").format(role=role)
    if layer.providerType() != "gdal":
        return tr(
            "{role}: “{name}” comes from a server or is computed by QGIS and has no file to read; export it first "
            "(right click > Export > Save As, raw data, GeoTIFF) and choose the exported file."
        ).format(role=role, name=layer.name())
    path = file_of(layer.source())
    if path and not os.path.exists(path):
        return tr(
            "{role}: the file of “{name}” is no longer at {path}; repair the layer's source or choose the file again."
        ).format(role=role, name=layer.name(), path=path)
    if not layer.isValid():
        return tr("{role}: “{name}” cannot be opened; check that {path} is a whole raster file.").format(
            role=role, name=layer.name(), path=layer.source()
        )
    if not layer.crs().isValid():
        return tr(
            "{role}: “{name}” has no coordinate reference system; set it (right click > Layer CRS > Set Layer CRS)."
        ).format(role=role, name=layer.name())
    return ""


def file_of(source: str) -> str:
    """The local file of a GDAL source; empty for remote files, subdatasets and archives."""
    if source.startswith(("/vsi", "http:", "https:", "<")) or (":" in source[2:] and not os.path.exists(source)):
        return ""
    return source


def pair_problem(before: QgsRasterLayer | None, after: QgsRasterLayer | None) -> str:
    """Why two single layers are no pair."""
    return pair_problem_of([before], [after])


def pair_problem_of(before: Sequence[QgsRasterLayer | None], after: Sequence[QgsRasterLayer | None]) -> str:
    """Why two scenes, each of one or more layers, are no pair."""
    for layers, role in ((before, tr("Before")), (after, tr("After"))):
        for layer in layers:
            problem = raster_problem(layer, role)
            if problem:
                return problem
    same = {os.path.realpath(x.source()) for x in before} & {os.path.realpath(x.source()) for x in after}
    if same:
        return tr(
            "Before and after are the same file ({name}); choose the scene before the event and the one after it."
        ).format(name=os.path.basename(same.pop()))
    return overlap_problem(before, after)


def overlap_problem(before: Sequence[QgsRasterLayer], after: Sequence[QgsRasterLayer]) -> str:
    """Why two scenes have no ground in common."""
    try:
        boxes = [_extent_in(x, before[0].crs()) for x in after]
        touching = any(_extent_in(x, before[0].crs()).intersects(box) for x in before for box in boxes)
    except QgsCsException:
        return tr(
            "The coordinate reference systems of before ({a}) and after ({b}) cannot be brought together; "
            "check them in the layers' properties."
        ).format(a=before[0].crs().authid(), b=after[0].crs().authid())
    if touching:
        return ""
    return tr(
        "Before and after do not overlap; check with “Zoom to layer” that both show the same place, and that each has "
        "the right coordinate reference system."
    )


def _extent_in(layer: QgsRasterLayer, crs: QgsCoordinateReferenceSystem) -> QgsRectangle:
    # not with the project's choice of transformations: metres do not matter here, and a choice made for the other
    # direction is applied the wrong way round by QGIS 3.40
    transform = QgsCoordinateTransform(layer.crs(), crs, QgsCoordinateTransformContext())
    transform.disableFallbackOperationHandler(True)
    return transform.transformBoundingBox(layer.extent())
