"""Labels of several people in one layer: of a building that two have labelled, the later file's class counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import shapely

from codemae_datasets.labels import damage_number, read_labelled
from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.errors import InputError, OutputError
from codemae_geo.progress import Reporter
from codemae_geo.styles import building_qml
from codemae_geo.vector.geopackage import GeoPackageWriter

#: share of the smaller of two outlines that they have in common, and metres between two points, of one building
_COMMON, _NEAR = 0.5, 1.0


@dataclass(frozen=True)
class Conflict:
    """A building that two files give different classes: the earlier and the later, and where it is (WGS 84)."""

    before: str
    before_file: str
    after: str
    after_file: str
    lon: float
    lat: float


@dataclass(frozen=True)
class Merged:
    """What came together: labels of each file, labels in the end, those said twice alike, and those that differ."""

    path: Path
    files: dict[str, int]
    labels: dict[str, int]
    same: int
    conflicts: tuple[Conflict, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"task": "merge", **asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class _Label:
    number: int
    shape: Any
    file: str
    replaced: str | None = None


def merge_labels(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    column: str | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> Merged:
    """Put labels of damage from several files into one GeoPackage, which `codemae adapt` takes.

    Two labels are of one building where their outlines share half of the smaller one, a point lies in an outline, or
    two points are within a metre. Then the class of the later file counts; where they differ, that is reported.

    Args:
        files: points or polygons with a class (see :data:`codemae_datasets.labels.DAMAGE_WORDS`), the latest last.
        out: GeoPackage to write; its layer is ``labels``: ``class``, ``class_name``, ``file``, and ``replaced``, which
            says what an earlier file had said otherwise.
        column: of the class.
        overwrite: replace an existing file.
        reporter: warned of conflicts.

    Raises:
        InputError: fewer than two files, one that cannot be read, or an unknown class.
        OutputError: the file exists or is an input, or the disk is full.
    """
    reporter, out = reporter or Reporter(), Path(out)
    if len(files) < 2:
        raise InputError("there is nothing to merge", found=f"{len(files)} file", expected="two files at least")
    if out.suffix.lower() != ".gpkg":
        raise OutputError(f"the output {out} does not end in .gpkg", expected="a name that ends in .gpkg")
    if any(Path(f).resolve() == out.resolve() for f in files):
        raise OutputError(f"the output {out} is one of the inputs", hint="write to another file")
    crs: Any = None
    known: list[_Label] = []
    counts: dict[str, int] = {}
    same, conflicts = 0, []
    for path in files:
        frame, notes = read_labelled(path, column=column, to_crs=crs)
        for text in notes:
            reporter.warning("labels", text)
        if crs is None:  # metres on the ground, for what is near
            crs = frame.estimate_utm_crs()
            frame = frame.to_crs(crs)
        name = str(path) if Path(path).name in counts else Path(path).name
        counts[name] = len(frame)
        new = [
            _Label(_number(value, path), shape, name)
            for value, shape in zip(frame["class"], frame.geometry, strict=True)
        ]
        tree = shapely.STRtree([label.shape for label in known])
        gone: set[int] = set()
        for label in new:
            place = shapely.buffer(label.shape, _NEAR) if label.shape.geom_type == "Point" else label.shape
            twins = [int(i) for i in tree.query(place, predicate="intersects") if _one_building(label, known[int(i)])]
            other = next((known[i] for i in twins if known[i].number != label.number), None)
            gone |= set(twins)
            if other is not None:
                conflicts.append(_conflict(other, label, crs))
                said = f"{DAMAGE_CLASSES[other.number].name} in {other.file}"
                label = _Label(label.number, label.shape, name, said)
            same += bool(twins) and other is None
            known.append(label)
        known = [label for i, label in enumerate(known) if i not in gone]
    if conflicts:
        reporter.warning(
            "conflict", f"{len(conflicts)} buildings have another class in a later file, which counts: see {out.name}"
        )
    _write(known, crs, out, overwrite)
    names = DAMAGE_CLASSES.names
    found = {n: sum(label.number == k for label in known) for k, n in enumerate(names)}
    return Merged(out.absolute(), counts, {n: c for n, c in found.items() if c}, same, tuple(conflicts))


def _number(value: Any, path: str | Path) -> int:
    number = damage_number(value)
    if number is None:
        raise InputError(
            f"the labels {path} hold a class that is not one of damage",
            found=repr(value),
            expected="intact, damaged, destroyed (or 1, 2, 3)",
        )
    return number


def _one_building(one: _Label, two: _Label) -> bool:
    points = [label.shape.geom_type == "Point" for label in (one, two)]
    if all(points):
        return bool(shapely.distance(one.shape, two.shape) <= _NEAR)
    if any(points):
        return bool(shapely.intersects(one.shape, two.shape))
    common = shapely.area(shapely.intersection(one.shape, two.shape))
    return bool(common >= _COMMON * min(one.shape.area, two.shape.area) > 0)


def _conflict(before: _Label, after: _Label, crs: Any) -> Conflict:
    point = gpd.GeoSeries([after.shape.representative_point()], crs=crs).to_crs("EPSG:4326").iloc[0]
    names = DAMAGE_CLASSES.names
    where = (round(float(point.x), 7), round(float(point.y), 7))
    return Conflict(names[before.number], before.file, names[after.number], after.file, *where)


def _write(labels: Sequence[_Label], crs: Any, out: Path, overwrite: bool) -> None:
    rows = {
        "class": [label.number for label in labels],
        "class_name": [DAMAGE_CLASSES.names[label.number] for label in labels],
        "file": [label.file for label in labels],
        "replaced": [label.replaced for label in labels],
    }
    frame = gpd.GeoDataFrame(rows, geometry=[label.shape for label in labels], crs=crs)
    kinds = set(frame.geom_type)
    kind = "Point" if kinds == {"Point"} else "MultiPolygon" if "Point" not in kinds else "Unknown"
    with GeoPackageWriter(out, overwrite=overwrite) as writer:
        writer.append(
            "labels", frame, geometry_type=kind, qml=building_qml(DAMAGE_CLASSES) if kind == "MultiPolygon" else None
        )
