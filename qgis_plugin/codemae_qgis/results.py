"""Layers of a finished run into one group of the layer tree, vectors above rasters."""

from __future__ import annotations

from dataclasses import dataclass, field

from qgis.core import (
    QgsLayerTreeGroup,
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProject,
    QgsVectorLayer,
)

from .translate import tr

#: order in the group from the top; outputs that are not named here follow, vectors first
_ORDER = ("BUILDINGS", "OBJECTS", "POLYGONS", "CLASSES", "PICTURE", "FEATURES", "CONFIDENCE")
#: outputs that come switched off: they would cover the others
_HIDDEN = ("CONFIDENCE", "FEATURES")


@dataclass(frozen=True)
class Loaded:
    """What :func:`load` added.

    Args:
        group: the group in the layer tree.
        layers: name of the output parameter -> layer.
    """

    group: QgsLayerTreeGroup
    layers: dict[str, QgsMapLayer] = field(default_factory=dict)


def load(
    context: QgsProcessingContext,
    title: str,
    feedback: QgsProcessingFeedback | None = None,
    project: QgsProject | None = None,
) -> Loaded:
    """Add the layers that an algorithm noted in ``context`` to the project; call it on the main thread.

    ``QgsProcessingAlgRunnerTask`` loads nothing by itself, and QGIS's own loader is private and puts layers in an order
    that differs between versions.

    Args:
        context: the one that the algorithm ran with; its destinations were ``QgsProcessingOutputLayerDefinition``
            with a project.
        title: name of the new group at the top of the tree.
        feedback: told of layers that do not open.
        project: where to add them; the current project without one.
    """
    project = QgsProject.instance() if project is None else project
    feedback = QgsProcessingFeedback() if feedback is None else feedback
    found: dict[str, QgsMapLayer] = {}
    for text, details in context.layersToLoadOnCompletion().items():
        layer = QgsProcessingUtils.mapLayerFromString(text, context, True)
        if layer is None:
            feedback.reportError(tr("The result {path} cannot be opened.").format(path=text))
            continue
        layer = context.takeResultLayer(layer.id()) or layer
        layer.setName(details.name or layer.name())
        if details.postProcessor() is not None:
            details.postProcessor().postProcessLayer(layer, context, feedback)
        found[details.outputName] = layer
    group = project.layerTreeRoot().insertGroup(0, title)
    for name in sorted(found, key=lambda n: _rank(n, found[n])):
        project.addMapLayer(found[name], False)
        node = group.addLayer(found[name])
        node.setExpanded(name in ("CLASSES", "OBJECTS"))
        if name in _HIDDEN and len(found) > 1:
            node.setItemVisibilityChecked(False)
    return Loaded(group, found)


def _rank(name: str, layer: QgsMapLayer) -> tuple[int, int, str]:
    known = _ORDER.index(name) if name in _ORDER else len(_ORDER)
    return (0 if isinstance(layer, QgsVectorLayer) else 1, known, name)
