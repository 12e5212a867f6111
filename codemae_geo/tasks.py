"""What models are for, told once: the inputs of each task, how answers are decoded, which files a run writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

#: tasks that a contract may name
TaskName = Literal[
    "damage", "segmentation", "regression", "classification", "object-detection", "embedding", "pretraining"
]
#: what the numbers of an answer are: logits of classes per pixel or per image, values in the unit of the bands,
#: vectors, boxes, or losses
Decoding = Literal["classes", "image-classes", "values", "vectors", "boxes", "losses"]

#: metres around a footprint that count as near where nothing else is said
NEAR_BUILDINGS_M = 50.0


@dataclass(frozen=True)
class Task:
    """A task.

    Args:
        name: as contracts write it.
        decoding: what the network's answer is.
        stac: the task in the words of STAC's Machine Learning Model extension.
        command: the command that runs such a model over scenes, if there is one.
        inputs: names of the inputs, where they are fixed.
        input_count: number of inputs; None where a model may take several.
        min_classes: classes that a contract lists at least.
        background: whether a background class may be among them.
        stem: name of its main raster and of its GeoPackage, without ending.
        outputs: files that a run may write besides ``summary.json``.
        metrics: names under which results are reported, the main one first.
    """

    name: TaskName
    decoding: Decoding
    stac: str
    command: str | None = None
    inputs: tuple[str, ...] | None = None
    input_count: int | None = None
    min_classes: int = 0
    background: bool = True
    stem: str = ""
    outputs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()


def _map_files(stem: str) -> tuple[str, ...]:
    return (f"{stem}.tif", f"{stem}.gpkg", "confidence.tif", "probabilities.tif")


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            "damage",
            "classes",
            "semantic-segmentation",  # the extension has no word for damage; a map of classes it is
            command="damage",
            inputs=("pre", "post"),
            input_count=2,
            min_classes=2,
            stem="damage",
            outputs=_map_files("damage"),
            metrics=("miou", "f1_localisation", "f1_damage", "f1_damage_as_mask"),
        ),
        Task(
            "segmentation",
            "classes",
            "semantic-segmentation",
            command="predict",
            min_classes=2,
            stem="classes",
            outputs=_map_files("classes"),
            metrics=("miou", "accuracy", "f1"),
        ),
        Task(
            "regression",
            "values",
            "regression",
            command="predict",
            stem="values",
            outputs=("values.tif",),
            metrics=("rmse", "mae", "r2"),
        ),
        Task(
            "classification",
            "image-classes",
            "scene-classification",
            min_classes=2,
            metrics=("accuracy", "f1", "map"),
        ),
        Task(
            "object-detection",
            "boxes",
            "object-detection",
            command="detect",
            input_count=1,
            min_classes=1,
            background=False,
            stem="detections",
            outputs=("detections.gpkg",),
            metrics=("map", "map_50", "map_75"),
        ),
        Task(
            "embedding",
            "vectors",
            "similarity-search",
            command="embed",
            stem="embedding",
            outputs=("embedding.tif", "components.tif"),
        ),
        Task("pretraining", "losses", "other"),
    )
}
assert tuple(TASKS) == get_args(TaskName)
