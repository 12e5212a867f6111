"""Finished rows on disk, where a run that was killed finds them again.

A store is two files: ``NAME.rows`` holds the pixels as they are in memory, ``[rows, bands, columns]``, and only grows;
``NAME.journal`` has one line of JSON for every strip that is complete in it. Whatever moment a process dies at, the
lines that are whole say how many rows count; :meth:`RowStore.reopen` cuts off the rest and goes on. GDAL reads the
pixels where they lie (:meth:`RowStore.write_vrt`), so a finished raster is made of them in one pass.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from codemae_geo.texts import read_text

#: NumPy names of pixel types in GDAL's words
_GDAL_TYPES = {"uint8": "Byte", "uint16": "UInt16", "int16": "Int16", "float32": "Float32", "float64": "Float64"}


class RowStore:
    """Rows of one raster, appended from the top down.

    Args:
        folder: where the two files are.
        name: their name without ending.
        count: number of bands.
        width: columns.
        dtype: NumPy name of the pixel type.

    Attributes:
        rows: rows that are stored and journalled.
    """

    def __init__(self, folder: Path, name: str, *, count: int, width: int, dtype: str) -> None:
        self._open(folder, name, count, width, dtype, "wb")

    @classmethod
    def reopen(cls, folder: Path, name: str, *, count: int, width: int, dtype: str) -> RowStore:
        """A store that an earlier process left, with the rows that its journal vouches for.

        Args:
            folder, name, count, width, dtype: as the store was made.

        Raises:
            OSError: there is none.
            ValueError: the journal is of a raster of another shape.
        """
        store = cls.__new__(cls)
        store._open(folder, name, count, width, dtype, "r+b")
        store.truncate(store._complete())
        return store

    def _open(self, folder: Path, name: str, count: int, width: int, dtype: str, mode: str) -> None:
        self.path, self._journal_path = folder / f"{name}.rows", folder / f"{name}.journal"
        self._count, self._width, self._dtype = count, width, np.dtype(dtype)
        self._row_bytes = count * width * self._dtype.itemsize
        self._pixels = self.path.open(mode)
        self._journal = self._journal_path.open(mode)
        self.rows = 0
        if mode == "wb":
            self._note({"shape": self._shape})

    @property
    def _shape(self) -> list[Any]:
        return [self._count, self._width, self._dtype.str]

    def append(self, data: NDArray[Any]) -> None:
        """Store a strip ``[bands, rows, columns]`` below the last; it counts once its line is in the journal."""
        strip = np.ascontiguousarray(data.transpose(1, 0, 2), self._dtype)
        self._pixels.write(strip.data)
        self._pixels.flush()
        self.rows += data.shape[1]
        self._note({"rows": self.rows, "crc32": zlib.crc32(strip.data)})

    @property
    def ends(self) -> list[int]:
        """The row below each strip, from the top."""
        return [line["rows"] for line in self._lines()[1:]]

    def truncate(self, rows: int) -> None:
        """Forget all rows from ``rows`` on, which must be the end of a strip."""
        kept = self._lines()
        kept = kept[:1] + [line for line in kept[1:] if line["rows"] <= rows]
        if (kept[-1]["rows"] if len(kept) > 1 else 0) != rows:
            raise ValueError(f"no strip ends at row {rows}")
        self._journal.seek(0)
        self._journal.truncate()
        for line in kept:
            self._note(line)
        self._pixels.truncate(rows * self._row_bytes)
        self._pixels.seek(rows * self._row_bytes)
        self.rows = rows

    def read(self, row0: int, row1: int) -> NDArray[Any]:
        """Rows ``row0 .. row1`` as ``[bands, rows, columns]``."""
        with self.path.open("rb") as file:
            file.seek(row0 * self._row_bytes)
            values = np.frombuffer(file.read((row1 - row0) * self._row_bytes), self._dtype)
        return values.reshape(row1 - row0, self._count, self._width).transpose(1, 0, 2)

    def sync(self) -> None:
        """Have the disk itself hold what was appended; without it a power failure may lose the last strips."""
        for file in (self._pixels, self._journal):
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the files; they stay."""
        self._pixels.close()
        self._journal.close()

    def write_vrt(
        self,
        path: Path,
        grid: GeoBox,
        *,
        nodata: float,
        band_names: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        scale: float | None = None,
        palette: Mapping[int, tuple[int, ...]] | None = None,
        rgb: bool = False,
    ) -> None:
        """Describe the stored rows to GDAL in a file beside them.

        Args:
            path: the VRT to write, in the store's folder: GDAL opens raw files only beside the file that names them.
            grid: shape, transform and CRS.
            nodata: value of pixels without an answer.
            band_names: descriptions of the bands.
            tags: metadata of the default domain.
            scale: factor from pixel value to physical value.
            palette: value -> (red, green, blue, alpha) of a one-band raster.
            rgb: the bands are red, green and blue.
        """
        rows, columns = grid.shape
        assert grid.crs is not None
        root = ElementTree.Element("VRTDataset", rasterXSize=str(columns), rasterYSize=str(rows))
        _text(root, "SRS", grid.crs.to_wkt())
        a, b, c, d, e, f = list(grid.affine)[:6]
        _text(root, "GeoTransform", ", ".join(repr(float(v)) for v in (c, a, b, f, d, e)))
        if tags:
            items = ElementTree.SubElement(root, "Metadata")
            for key, value in tags.items():
                _text(items, "MDI", value, key=key)
        item = self._dtype.itemsize
        for index in range(self._count):
            band = ElementTree.SubElement(
                root,
                "VRTRasterBand",
                dataType=_GDAL_TYPES[self._dtype.name],
                band=str(index + 1),
                subClass="VRTRawRasterBand",
            )
            if index < len(band_names):
                _text(band, "Description", band_names[index])
            _text(band, "NoDataValue", repr(nodata))
            if scale is not None:
                _text(band, "Offset", "0")
                _text(band, "Scale", repr(scale))
            _text(band, "ColorInterp", "Palette" if palette else ("Red", "Green", "Blue")[index] if rgb else "Gray")
            if palette:
                table = ElementTree.SubElement(band, "ColorTable")
                for entry in range(256):
                    red, green, blue, alpha = palette.get(entry, (0, 0, 0, 255))
                    ElementTree.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(alpha))
            _text(band, "SourceFilename", self.path.name, relativeToVRT="1")
            _text(band, "ImageOffset", str(index * columns * item))
            _text(band, "PixelOffset", str(item))
            _text(band, "LineOffset", str(self._row_bytes))
            _text(band, "ByteOrder", "LSB" if sys.byteorder == "little" else "MSB")
        ElementTree.ElementTree(root).write(path, encoding="utf-8")

    def _note(self, line: Mapping[str, Any]) -> None:
        self._journal.write(json.dumps(line).encode() + b"\n")
        self._journal.flush()

    def _lines(self) -> list[dict[str, Any]]:
        """The whole lines of the journal; the last may have been cut off."""
        lines: list[dict[str, Any]] = []
        for text in read_text(self._journal_path, errors="replace").split("\n")[:-1]:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                break
            if not isinstance(line, dict):
                break
            rows = line.get("rows")
            if lines and not (type(rows) is int and rows > lines[-1].get("rows", 0)):
                break
            lines.append(line)
        if not lines or lines[0] != {"shape": self._shape}:
            raise ValueError(f"{self._journal_path.name} is of another raster: {lines[:1]}, not {self._shape}")
        return lines

    def _complete(self) -> int:
        """Rows of the strips whose pixels are as the journal says, from the top."""
        done = 0
        size = self.path.stat().st_size
        for line in self._lines()[1:]:
            end = line["rows"] * self._row_bytes
            if end > size:
                break
            with self.path.open("rb") as file:
                file.seek(done * self._row_bytes)
                if zlib.crc32(file.read(end - done * self._row_bytes)) != line.get("crc32"):
                    break
            done = line["rows"]
        return done


def _text(parent: ElementTree.Element, name: str, text: str, **attributes: str) -> None:
    ElementTree.SubElement(parent, name, attributes).text = text
