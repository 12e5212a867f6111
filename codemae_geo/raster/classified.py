"""What the values of a class raster mean, as far as the file or the user says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np
from rasterio.errors import RasterioError

from codemae_geo.classes import ClassTable
from codemae_geo.errors import InputError, param
from codemae_geo.raster.reach import open_raster
from codemae_geo.raster.source import unreadable
from codemae_geo.styles import read_aux_xml
from codemae_geo.texts import read_text

#: what the user may say instead of the file
Classes = Sequence[str | Mapping[str, Any]]


def read_classes(path: Path, classes: Classes | None = None) -> ClassTable:
    """The class table of a raster.

    Args:
        path: a raster with one band of whole numbers.
        classes: names in the order of the values 0, 1, 2, ..., the first being background; or entries with ``value``
            (gaps between them are fine), ``name`` and, if wanted, ``color`` and ``background``. None reads
            the table from the file: the tag ``CLASSES`` that this package writes, else the attribute table or category
            names of ``.aux.xml``.

    Raises:
        InputError: no class raster, no table, or a table that cannot be used.
    """
    try:
        with open_raster(str(path)) as raster:
            count, dtype, tag = raster.count, np.dtype(raster.dtypes[0]), raster.tags().get("CLASSES")
    except RasterioError as error:
        raise unreadable(str(path), error) from error
    if count != 1 or dtype.kind not in "iu":
        raise InputError(
            f"{path} is not a class raster",
            found=f"{count} band(s) of {dtype}",
            expected="one band of whole numbers",
            hint="name the class raster of a run, such as damage.tif",
        )
    try:
        return _table(path, classes, tag)
    except (ValueError, TypeError, KeyError, ParseError) as error:
        raise InputError(
            f"the classes of {path} cannot be used",
            found=str(error),
            expected="a value from 0 to 254 and a name for each class, none of them twice",
            hint=f"name them with {param('classes')}: in the order of the values 0, 1, 2, ..., or in a JSON list with"
            " values",
        ) from error


def _named(value: int, name: str) -> Mapping[str, Any]:
    return {"value": value, "name": name, "background": value == 0}


def _table(path: Path, classes: Classes | None, tag: str | None) -> ClassTable:
    if classes is not None:
        return ClassTable.from_list([_named(i, c) if isinstance(c, str) else c for i, c in enumerate(classes)])
    if tag is not None:
        return ClassTable.from_list(json.loads(tag))
    side_car = path.with_name(f"{path.name}.aux.xml")
    entries = read_aux_xml(read_text(side_car)) if side_car.is_file() else []
    if not entries:
        raise InputError(
            f"{path} does not say what its values mean",
            found="no tag CLASSES and no attribute table in its .aux.xml",
            hint="name its classes in the order of their values: "
            + param("classes", "background,intact,damaged,destroyed"),
            option="classes",
        )
    if not any("background" in e for e in entries):
        entries[0]["background"] = entries[0]["value"] == 0
    return ClassTable.from_list(entries)
