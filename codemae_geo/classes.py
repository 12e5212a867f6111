"""The one table of classes and colours: palette, category names, QML, GeoPackage style and legend all come from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: value of every class raster where nothing was analysed
NODATA = 255


@dataclass(frozen=True)
class ClassInfo:
    """One class: its raster value, its name, its colour.

    Args:
        value: pixel value in the class raster, 0 to 254 (255 is nodata).
        name: short lower-case name, as written into tables and legends.
        color: ``#rrggbb``.
        background: a background class is drawn transparent and gets no polygons.
    """

    value: int
    name: str
    color: str
    background: bool = False

    def __post_init__(self) -> None:
        kinds = {"value": int, "name": str, "color": str, "background": bool}
        for field, kind in kinds.items():  # a table may come from a file that anybody wrote
            value = getattr(self, field)
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise ValueError(f"the {field} of a class is {str(value)[:60]!r}, which is not {kind.__name__}")
        if not self.name or len(self.name) > 200 or not self.name.isprintable():
            raise ValueError(f"a class has the name {self.name[:60]!r}, which cannot be shown")
        if not 0 <= self.value < NODATA:
            raise ValueError(f"class value {self.value} is outside 0..{NODATA - 1}")
        if len(self.color) != 7 or self.color[0] != "#":
            raise ValueError(f"colour {self.color!r} is not of the form #rrggbb")
        int(self.color[1:], 16)

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green, blue, 0 to 255."""
        return int(self.color[1:3], 16), int(self.color[3:5], 16), int(self.color[5:7], 16)


class ClassTable(tuple[ClassInfo, ...]):
    """Classes in the order of their raster values: 0, 1, 2, ... for those of a model; other maps may have gaps.

    What counts pixels or footprints by class does so by the *place* of the class in the table, from 0.
    """

    def __new__(cls, classes: Sequence[ClassInfo]) -> ClassTable:
        table = super().__new__(cls, sorted(classes, key=lambda c: c.value))
        if len({c.value for c in table}) != len(table):
            raise ValueError("class values must differ")
        if len({c.name for c in table}) != len(table):
            raise ValueError("class names must differ")
        return table

    @property
    def names(self) -> list[str]:
        """Names in value order."""
        return [c.name for c in self]

    @property
    def values(self) -> list[int]:
        """Raster values, ascending."""
        return [c.value for c in self]

    @property
    def foreground(self) -> Iterator[ClassInfo]:
        """The classes that get polygons and colour."""
        return (c for c in self if not c.background)

    def as_list(self) -> list[dict[str, Any]]:
        """The table as JSON takes it."""
        return [asdict(c) for c in self]

    @classmethod
    def from_list(cls, entries: Sequence[Mapping[str, Any]]) -> ClassTable:
        """The inverse of :meth:`as_list`; a colour may be missing.

        Raises:
            ValueError: an entry is no class, or values or names repeat.
            TypeError, KeyError: an entry lacks a field or has another.
        """
        if not all(isinstance(e, Mapping) for e in entries):
            raise ValueError("a class is not an object with value and name")
        standard = [
            STANDARD_COLORS[e["value"] % len(STANDARD_COLORS)] if isinstance(e["value"], int) else "" for e in entries
        ]
        return cls([ClassInfo(**{"color": color, **e}) for color, e in zip(standard, entries, strict=True)])


#: colours of classes that come without: Okabe and Ito's palette, which the common colour-vision deficiencies keep apart
STANDARD_COLORS = ("#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


#: Building damage in BRIGHT's levels. Blue-yellow-vermilion of Okabe and Ito's palette: distinct under the common
#: colour-vision deficiencies, and rising in alarm.
DAMAGE_CLASSES = ClassTable(
    [
        ClassInfo(0, "background", "#000000", background=True),
        ClassInfo(1, "intact", "#56b4e9"),
        ClassInfo(2, "damaged", "#f0e442"),
        ClassInfo(3, "destroyed", "#d55e00"),
    ]
)
