"""Write a raster row by row and finish it as a Cloud Optimized GeoTIFF that opens styled in QGIS.

Rows go into a store (:mod:`codemae_geo.raster.store`) in a hidden folder beside the destination, as they come. Closing
makes the Cloud Optimized GeoTIFF of them (overviews by mode for classes, by average for the rest), writes the
side-cars, and moves everything into place; whatever goes wrong before leaves nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from codemae_geo import styles
from codemae_geo.classes import NODATA, ClassTable
from codemae_geo.errors import OutputError, param
from codemae_geo.outputs import Staging, check_space, write_failure
from codemae_geo.raster.store import RowStore

__all__ = [
    "PROBABILITY_STEPS",
    "Layer",
    "OverviewResampling",
    "RasterWriter",
    "check_space",
    "encode_probability",
    "estimate_bytes",
]

#: how a pixel of an overview follows from the pixels below it
OverviewResampling = Literal["mode", "average"]
#: a uint8 probability band holds ``round(probability * PROBABILITY_STEPS)``; its band scale is the inverse
PROBABILITY_STEPS = 250
#: what GDAL raises through rasterio when a write fails
_WRITE_ERRORS = (RasterioError, CPLE_BaseError, OSError)


def encode_probability(probability: NDArray[np.floating[Any]], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Probabilities 0..1 as uint8 0..250, 255 where not ``valid`` (which broadcasts against ``probability``)."""
    steps = np.rint(np.clip(np.nan_to_num(probability), 0, 1) * PROBABILITY_STEPS)
    return np.where(valid, steps, NODATA).astype(np.uint8)


def estimate_bytes(grid: GeoBox, count: int = 1, dtype: str = "uint8") -> int:
    """Disk space, in bytes, that writing such a raster takes at its peak.

    The stored rows, as they are in memory, and the finished file with its overviews (a third more) lie beside each
    other; the file is deflated, which at least halves the class, confidence and probability rasters of real scenes.
    """
    height, width = grid.shape
    raw = height * width * count * np.dtype(dtype).itemsize
    return int(raw * (1 + 4 / 3 / 2))


@dataclass(frozen=True)
class Layer:
    """What a raster holds, and so how it is stored, reduced to overviews and shown.

    Args:
        band_names: one description for each band.
        dtype: NumPy name of the pixel type.
        nodata: value of pixels without an answer; overviews ignore them.
        overviews: ``mode`` for classes (only values that occur), else ``average``.
        table: palette, category names and style of a class raster.
        probability: uint8 bands of :data:`PROBABILITY_STEPS` steps; the inverse is the bands' scale.
        half: float32 values are stored in 16 bits; rows hold values that float16 has exactly.
        rgb: three uint8 bands are red, green and blue.
        block: width and height of the file's tiles in pixels, a multiple of 16.
    """

    band_names: Sequence[str]
    dtype: str = "uint8"
    nodata: float = NODATA
    overviews: OverviewResampling = "average"
    table: ClassTable | None = None
    probability: bool = False
    half: bool = False
    rgb: bool = False
    block: int = 512

    @property
    def count(self) -> int:
        """Number of bands."""
        return len(self.band_names)

    @property
    def scale(self) -> float | None:
        """Factor from pixel value to physical value, where it is not 1."""
        return 1 / PROBABILITY_STEPS if self.probability else None

    @property
    def creation(self) -> dict[str, Any]:
        """Options of GDAL's COG driver."""
        # differences of neighbours help smooth values and hurt class codes
        predictor = "no" if self.overviews == "mode" else "yes"
        more: dict[str, Any] = {"nbits": 16} if self.half else {}
        if self.probability:  # level 6, the default, takes three times as long for files that are 6 % smaller
            more["level"] = 2
        return {"blocksize": self.block, "overview_resampling": self.overviews, "predictor": predictor, **more}


class RasterWriter:
    """Context manager that takes rows from top to bottom and ends with a complete COG or with nothing.

    Made by :meth:`classes`, :meth:`probability`, :meth:`features` or :meth:`picture`. Memory holds what
    :meth:`write_rows` is given, besides GDAL's block cache, which the caller bounds with
    ``rasterio.Env(GDAL_CACHEMAX=...)``.

    Args:
        path: the GeoTIFF to write; side-cars ``path.aux.xml`` and ``path`` with ``.qml``, ``.qmd`` go beside it.
        grid: shape, transform and CRS of the raster.
        layer: what it holds.
        tags: metadata of the default domain (software, model, hashes, inputs, parameters); ``CLASSES``, the table as
            JSON, is added.
        overwrite: replace an existing file and its side-cars.
        journal: folder for the rows, in which they outlive a run that is killed; None hides them beside ``path``.
        resume: go on with the rows that are in ``journal``.

    Raises:
        OutputError: the file exists and ``overwrite`` is false; the folder is missing or read-only; disk full.
        ValueError: the grid has no CRS, or the rows in ``journal`` are of another raster.
    """

    def __init__(
        self,
        path: Path,
        grid: GeoBox,
        layer: Layer,
        *,
        tags: Mapping[str, str] | None = None,
        overwrite: bool = False,
        journal: Path | None = None,
        resume: bool = False,
    ) -> None:
        if grid.crs is None:
            raise ValueError("a raster is only written with a CRS")
        self.path = Path(path)
        self.grid = grid
        self.layer = layer
        self._tags = dict(tags or {})
        self._store: RowStore | None = None
        self._staging = Staging(self.path, overwrite=overwrite)
        try:
            with self._disk_errors():
                open_ = RowStore.reopen if resume else RowStore
                self._store = open_(
                    journal or self._staging.folder,
                    self.path.stem,
                    count=layer.count,
                    width=grid.shape[1],
                    dtype=layer.dtype,
                )
        except BaseException as error:
            self.abort()
            if resume and isinstance(error, ValueError):
                raise OutputError(
                    f"the rows that were stored for {self.path.name} cannot be used",
                    found=str(error)[:200],
                    hint=f"leave out {param('resume')} to begin again",
                    option="resume",
                ) from error
            raise

    @classmethod
    def classes(
        cls,
        path: Path,
        grid: GeoBox,
        table: ClassTable | None,
        name: str = "classes",
        *,
        tags: Mapping[str, str] | None = None,
        block: int = 512,
        overwrite: bool = False,
        journal: Path | None = None,
        resume: bool = False,
    ) -> RasterWriter:
        """A band of class values, 255 where nothing was analysed, styled by its table if there is one."""
        layer = Layer([name], overviews="mode", table=table, block=block)
        return cls(path, grid, layer, tags=tags, overwrite=overwrite, journal=journal, resume=resume)

    @classmethod
    def probability(
        cls,
        path: Path,
        grid: GeoBox,
        names: Sequence[str] = ("confidence",),
        *,
        tags: Mapping[str, str] | None = None,
        overwrite: bool = False,
        journal: Path | None = None,
        resume: bool = False,
    ) -> RasterWriter:
        """Bands of probabilities as :func:`encode_probability` makes them."""
        layer = Layer(names, probability=True)
        return cls(path, grid, layer, tags=tags, overwrite=overwrite, journal=journal, resume=resume)

    @classmethod
    def features(
        cls,
        path: Path,
        grid: GeoBox,
        names: Sequence[str],
        *,
        half: bool = False,
        tags: Mapping[str, str] | None = None,
        block: int = 512,
        overwrite: bool = False,
        journal: Path | None = None,
        resume: bool = False,
    ) -> RasterWriter:
        """Bands of float32 values, NaN where there is none; with ``half`` 16 bits are kept of each."""
        layer = Layer(names, dtype="float32", nodata=float("nan"), half=half, block=block)
        return cls(path, grid, layer, tags=tags, overwrite=overwrite, journal=journal, resume=resume)

    @classmethod
    def picture(
        cls,
        path: Path,
        grid: GeoBox,
        names: Sequence[str],
        *,
        tags: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> RasterWriter:
        """Three uint8 bands that are shown as red, green and blue, 0 where there is nothing."""
        return cls(path, grid, Layer(names, nodata=0, rgb=True), tags=tags, overwrite=overwrite)

    @property
    def store(self) -> RowStore:
        """The rows that are written."""
        assert self._store is not None
        return self._store

    def write_rows(self, row0: int, data: NDArray[Any]) -> None:
        """Append rows, which are then stored and journalled.

        Args:
            row0: index of the first row of ``data``; rows come in order, in strips of any height.
            data: ``[rows, width]`` or ``[count, rows, width]``.

        Raises:
            OutputError: the disk is full.
            ValueError: a wrong shape, or rows out of order.
        """
        assert self._store is not None
        data = data[None] if data.ndim == 2 else data
        height, width = self.grid.shape
        count, rows = self.layer.count, data.shape[1]
        if data.shape != (count, rows, width) or row0 != self._store.rows or row0 + rows > height:
            raise ValueError(
                f"got {data.shape} at row {row0}, expected [{count}, rows, {width}] at row {self._store.rows}"
                f" of {height}"
            )
        with self._disk_errors():
            self._store.append(data)

    def close(self) -> None:
        """Finish: make the COG, write the side-cars, move them into place.

        Raises:
            OutputError: the disk is full.
            ValueError: rows are missing.
        """
        if self._store is None:
            return
        try:
            if self._store.rows != self.grid.shape[0]:
                raise ValueError(f"only {self._store.rows} of {self.grid.shape[0]} rows were written")
            with self._disk_errors():
                self._store.close()
                self._make_cog(self._store)
                self._staging.publish(*self._write_sidecars(), self.path.name)
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop everything that is not finished; does nothing after :meth:`close`."""
        if self._store is not None:
            with suppress(OSError):
                self._store.close()
            self._store = None
        self._staging.discard()

    def __enter__(self) -> RasterWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _make_cog(self, store: RowStore) -> None:
        source, target = store.path.with_suffix(".vrt"), self._staging.folder / self.path.name
        layer, table = self.layer, self.layer.table
        # the side-cars may get lost on the way; the file itself still knows its classes
        own = {"CLASSES": json.dumps(table.as_list())} if table is not None else {}
        store.write_vrt(
            source,
            self.grid,
            nodata=layer.nodata,
            band_names=layer.band_names,
            tags={**own, **self._tags},
            scale=layer.scale,
            palette=None if table is None else styles.palette(table),
            rgb=layer.rgb,
        )
        rasterio.shutil.copy(
            source,
            target,
            driver="COG",
            compress="deflate",
            overviews="ignore_existing",
            bigtiff="if_safer",
            num_threads="all_cpus",
            **layer.creation,
        )
        # A full disk can strike while GDAL writes the last blocks on closing: what cannot be read back was not written.
        with rasterio.open(target) as finished:
            height, width = finished.shape
            finished.read(window=Window(width - 1, height - 1, 1, 1))
            finished.read(window=Window(0, 0, 1, 1))

    def _write_sidecars(self) -> list[str]:
        """Write the side-cars into the staging folder and name them."""
        texts: dict[str, str] = {}
        if self.layer.table is not None:
            texts[f"{self.path.name}.aux.xml"] = styles.aux_xml(self.layer.table)
            texts[f"{self.path.stem}.qml"] = styles.raster_qml(self.layer.table)
        elif self.layer.probability:
            texts[f"{self.path.stem}.qml"] = styles.confidence_qml()
        if self._tags:
            title = self.layer.band_names[0] if self.layer.count == 1 else self.path.stem
            texts[f"{self.path.stem}.qmd"] = styles.metadata_qmd(title, self._tags)
        for name, text in texts.items():
            (self._staging.folder / name).write_text(text, encoding="utf-8")
        return list(texts)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OutputError:
            raise
        except _WRITE_ERRORS as error:
            needed = estimate_bytes(self.grid, self.layer.count, "float16" if self.layer.half else self.layer.dtype)
            raise write_failure(error, self.path, needed) from error
