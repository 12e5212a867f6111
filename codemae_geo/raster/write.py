"""Write a raster row by row and finish it as a Cloud Optimized GeoTIFF that opens styled in QGIS.

Rows go into a tiled temporary GeoTIFF in a hidden folder beside the destination. Closing copies that file block by
block through GDAL's COG driver (overviews by mode for classes, by average for probabilities), writes the side-cars, and
moves everything into place; whatever goes wrong before leaves nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
from codemae_geo.errors import OutputError
from codemae_geo.outputs import Staging, check_space, write_failure

__all__ = [
    "PROBABILITY_STEPS",
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

    The temporary tiles and the finished file with its overviews (a third more) lie beside each other; both are
    deflated, which at least halves the class, confidence and probability rasters of real scenes.
    """
    height, width = grid.shape
    raw = height * width * count * np.dtype(dtype).itemsize
    return int(raw * (1 + 4 / 3) / 2)


class RasterWriter:
    """Context manager that writes rows from top to bottom and ends with a complete COG or with nothing.

    Memory holds one row of blocks (``count * block * width`` values) besides GDAL's block cache, which the caller
    bounds with ``rasterio.Env(GDAL_CACHEMAX=...)``.
    """

    def __init__(
        self,
        path: Path,
        grid: GeoBox,
        *,
        count: int = 1,
        dtype: str = "uint8",
        nodata: float = NODATA,
        overview_resampling: OverviewResampling = "mode",
        classes: ClassTable | None = None,
        band_names: Sequence[str] | None = None,
        tags: dict[str, str] | None = None,
        block: int = 512,
        overwrite: bool = False,
        scale: float | None = None,
        half: bool = False,
        rgb: bool = False,
    ) -> None:
        """Check the destination and open the temporary file.

        Args:
            path: the GeoTIFF to write; side-cars ``path.aux.xml`` and ``path`` with ``.qml``, ``.qmd`` go beside it.
            grid: shape, transform and CRS of the raster.
            count: number of bands.
            dtype: NumPy name of the pixel type.
            nodata: value of pixels without an answer; overviews ignore them.
            overview_resampling: ``mode`` for classes (only values that occur), ``average`` for probabilities.
            classes: palette, category names and style of a one-band class raster.
            band_names: band descriptions, one for each band.
            tags: metadata of the default domain (software, model, hashes, inputs, parameters); ``CLASSES``, the table
                as JSON, is added.
            block: width and height of the file's tiles in pixels, a multiple of 16.
            overwrite: replace an existing file and its side-cars.
            scale: factor from pixel value to physical value, written as the band scale. Default: 1/250 for uint8
                with ``average`` overviews, that is, for probabilities; otherwise 1.
            half: store float32 values in 16 bits; ``write_rows`` gets values that float16 holds exactly.
            rgb: the three uint8 bands are red, green and blue.

        Raises:
            OutputError: the file exists and ``overwrite`` is false; the folder is missing or read-only; disk full.
            ValueError: the grid has no CRS, or ``band_names`` do not match ``count``.
        """
        if grid.crs is None:
            raise ValueError("a raster is only written with a CRS")
        if band_names is not None and len(band_names) != count:
            raise ValueError(f"{len(band_names)} band names for {count} bands")
        self.path = Path(path)
        self.grid = grid
        self.classes = classes
        self._tags = dict(tags or {})
        self._title = band_names[0] if band_names and count == 1 else self.path.stem
        self._resampling = overview_resampling
        self._block = block
        self._needed = estimate_bytes(grid, count, "float16" if half else dtype)
        self._is_probability = overview_resampling == "average" and dtype == "uint8" and not rgb
        self._bits = {"nbits": 16} if half else {}
        self._next_row = 0
        self._written = 0
        self._staging = Staging(self.path, overwrite=overwrite)
        height, width = grid.shape
        self._buffer = np.empty((count, min(block, height), width), dtype)
        self._dataset: Any = None
        try:
            with self._disk_errors():
                self._dataset = rasterio.open(
                    self._staging.folder / "rows.tif",
                    "w",
                    driver="GTiff",
                    width=width,
                    height=height,
                    count=count,
                    dtype=dtype,
                    nodata=nodata,
                    crs=rasterio.CRS.from_wkt(grid.crs.to_wkt()),
                    transform=grid.affine,
                    tiled=True,
                    blockxsize=block,
                    blockysize=block,
                    compress="deflate",
                    zlevel=1,
                    # overviews are made band by band; with hundreds of bands this is ten times as fast
                    interleave="band",
                    sparse_ok=True,
                    # uint8 bands are classes here if not said otherwise: an alpha band would mask the overviews
                    photometric="rgb" if rgb else "minisblack",
                    alpha="no",
                    bigtiff="if_safer",
                    **self._bits,
                )
                # the side-cars may get lost on the way; the file itself still knows its classes
                own = {"CLASSES": json.dumps(classes.as_list())} if classes is not None else {}
                self._dataset.update_tags(**{**own, **self._tags})
                for index, name in enumerate(band_names or (), start=1):
                    self._dataset.set_band_description(index, name)
                if scale is None and self._is_probability:
                    scale = 1 / PROBABILITY_STEPS
                if scale is not None:
                    self._dataset.scales = (scale,) * count
                if classes is not None and count == 1:
                    self._dataset.write_colormap(1, styles.palette(classes))
        except BaseException:
            self.abort()
            raise

    def write_rows(self, row0: int, data: NDArray[Any]) -> None:
        """Append rows.

        Args:
            row0: index of the first row of ``data``; rows come in order, in chunks of any height.
            data: ``[rows, width]`` or ``[count, rows, width]``.

        Raises:
            OutputError: the disk is full.
            ValueError: a wrong shape, or rows out of order.
        """
        data = data[None] if data.ndim == 2 else data
        count, _, width = self._buffer.shape
        rows = data.shape[1]
        if data.shape != (count, rows, width) or row0 != self._next_row or row0 + rows > self.grid.shape[0]:
            raise ValueError(
                f"got {data.shape} at row {row0}, expected [{count}, rows, {width}] at row {self._next_row} "
                f"of {self.grid.shape[0]}"
            )
        taken = 0
        while taken < rows:
            start = self._next_row - self._written
            step = min(self._buffer.shape[1] - start, rows - taken)
            self._buffer[:, start : start + step] = data[:, taken : taken + step]
            taken += step
            self._next_row += step
            if self._next_row - self._written == self._buffer.shape[1]:
                self._flush()

    def close(self) -> None:
        """Finish: copy to a COG, write the side-cars, move them into place.

        Raises:
            OutputError: the disk is full.
            ValueError: rows are missing.
        """
        if self._dataset is None:
            return
        try:
            if self._next_row != self.grid.shape[0]:
                raise ValueError(f"only {self._next_row} of {self.grid.shape[0]} rows were written")
            if self._next_row > self._written:
                self._flush()
            with self._disk_errors():
                self._dataset.close()
                self._copy_to_cog()
                self._staging.publish(*self._write_sidecars(), self.path.name)
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop everything that is not finished; does nothing after :meth:`close`."""
        if self._dataset is not None:
            with suppress(*_WRITE_ERRORS):
                self._dataset.close()
            self._dataset = None
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

    def _flush(self) -> None:
        rows = self._next_row - self._written
        window = Window(0, self._written, self._buffer.shape[2], rows)
        with self._disk_errors():
            self._dataset.write(self._buffer[:, :rows], window=window)
        self._written = self._next_row

    def _copy_to_cog(self) -> None:
        target = self._staging.folder / self.path.name
        source = self._staging.folder / "rows.tif"
        rasterio.shutil.copy(
            source,
            target,
            driver="COG",
            compress="deflate",
            # differences of neighbours help smooth values and hurt class codes
            predictor="no" if self._resampling == "mode" else "yes",
            blocksize=self._block,
            overviews="ignore_existing",
            overview_resampling=self._resampling,
            bigtiff="if_safer",
            num_threads="all_cpus",
            **self._bits,
        )
        # A full disk can strike while GDAL writes the last blocks on closing: what cannot be read back was not written.
        with rasterio.open(target) as finished:
            height, width = finished.shape
            finished.read(window=Window(width - 1, height - 1, 1, 1))
            finished.read(window=Window(0, 0, 1, 1))
        source.unlink()

    def _write_sidecars(self) -> list[str]:
        """Write the side-cars into the staging folder and name them."""
        texts: dict[str, str] = {}
        if self.classes is not None and self._resampling == "mode":
            texts[f"{self.path.name}.aux.xml"] = styles.aux_xml(self.classes)
            texts[f"{self.path.stem}.qml"] = styles.raster_qml(self.classes)
        elif self._is_probability:
            texts[f"{self.path.stem}.qml"] = styles.confidence_qml()
        if self._tags:
            texts[f"{self.path.stem}.qmd"] = styles.metadata_qmd(self._title, self._tags)
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
            raise write_failure(error, self.path, self._needed) from error
