"""Annotations of objects as published: Pascal VOC, FAIR1M's polygons, DOTA's lines, COCO's tables.

Every reader gives corner coordinates in pixels and the name of each object's class; an oriented box is four corners.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor

from codemae_geo.errors import InputError


def read_voc(path: Path, name: str = "name") -> tuple[list[list[float]], list[str]]:
    """Horizontal boxes (x0, y0, x1, y1) of a Pascal VOC file.

    Args:
        path: the file.
        name: the field that names the class.

    Raises:
        InputError: not such a file.
    """
    boxes, names = [], []
    for element in _root(path).iter("object"):
        boxes.append([_number(element, f"bndbox/{key}", path) for key in ("xmin", "ymin", "xmax", "ymax")])
        names.append(_text(element, name, path))
    return boxes, names


def read_fair1m(path: Path) -> tuple[list[list[list[float]]], list[str]]:
    """Four corners (x, y) of each object of a FAIR1M file; the repeated first corner is left out.

    Raises:
        InputError: not such a file.
    """
    corners, names = [], []
    for element in _root(path).iter("object"):
        points = [[float(v) for v in (point.text or "").split(",")] for point in element.findall("points/point")]
        if len(points) < 4 or any(len(point) != 2 for point in points[:4]):
            raise _broken(path, "an object without four corners")
        corners.append(points[:4])
        names.append(_text(element, "possibleresult/name", path))
    return corners, names


def read_dota(path: Path) -> tuple[list[list[list[float]]], list[str]]:
    """Four corners (x, y) of each line ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult``; header lines are passed over.

    Raises:
        InputError: a line has another form.
    """
    corners, names = [], []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        parts = line.split()
        if not parts or ":" in parts[0] or parts[0].startswith("imagesize"):
            continue
        try:
            values = [float(v) for v in parts[:8]]
            names.append(parts[8])
        except (ValueError, IndexError) as error:
            raise _broken(path, f"line {number}: {line.strip()[:60]!r}") from error
        corners.append([[values[i], values[i + 1]] for i in range(0, 8, 2)])
    return corners, names


def read_coco(path: Path) -> list[tuple[str, list[list[float]], list[str]]]:
    """Of each image of a COCO table: file name, boxes (x0, y0, x1, y1), class names; crowds are left out.

    Raises:
        InputError: not such a table.
    """
    try:
        table = json.loads(_read(path))
        names = {c["id"]: c["name"] for c in table["categories"]}
        found: dict[Any, tuple[list[list[float]], list[str]]] = {i["id"]: ([], []) for i in table["images"]}
        for note in table["annotations"]:
            if note.get("iscrowd"):
                continue
            x, y, width, height = note["bbox"]
            boxes, labels = found[note["image_id"]]
            boxes.append([x, y, x + width, y + height])
            labels.append(names[note["category_id"]])
        return [(i["file_name"], *found[i["id"]]) for i in table["images"]]
    except (ValueError, KeyError, TypeError) as error:
        raise _broken(path, f"{type(error).__name__}: {error}") from error


def box_tensors(
    boxes: Sequence[Any], names: Sequence[str], classes: Sequence[str], path: Path
) -> tuple[Tensor, Tensor]:
    """``bbox_xyxy`` float32 [N, 4] and ``label`` int64 [N]; an oriented box becomes the box around it.

    Raises:
        InputError: a class is not among ``classes``; names it and the file.
    """
    for name in names:
        if name not in classes:
            raise InputError(
                f"{path} names a class that the dataset does not have", found=name, expected=", ".join(classes)
            )
    tensor = torch.tensor([list(box) for box in boxes], dtype=torch.float32)
    if tensor.ndim == 3:
        tensor = torch.cat([tensor.amin(dim=1), tensor.amax(dim=1)], dim=1)
    return tensor.reshape(-1, 4), torch.tensor([list(classes).index(name) for name in names], dtype=torch.int64)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(path, str(error)) from error


def _root(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()  # noqa: S314  the expat of Python 3.11 limits how entities expand
    except (OSError, ElementTree.ParseError) as error:
        raise _broken(path, str(error)) from error


def _text(element: ElementTree.Element, key: str, path: Path) -> str:
    found = element.findtext(key)
    if not found:
        raise _broken(path, f"an object without {key}")
    return found.strip()


def _number(element: ElementTree.Element, key: str, path: Path) -> float:
    text = _text(element, key, path)
    try:
        return float(text)
    except ValueError as error:
        raise _broken(path, f"{key} is {text!r}") from error


def _broken(path: Path, found: str) -> InputError:
    return InputError(f"the annotation {path} cannot be read", found=found, hint="fetch it again")
