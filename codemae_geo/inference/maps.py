"""Jobs that make maps: the run over all windows, and the sink that decodes and writes finished rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codemae_geo.classes import NODATA
from codemae_geo.inference import distributed
from codemae_geo.inference.job import Job
from codemae_geo.inference.journal import Journal
from codemae_geo.inference.memory import give_back
from codemae_geo.inference.predictor import Predictor
from codemae_geo.outputs import FolderStaging, check_space
from codemae_geo.raster.env import gdal_env
from codemae_geo.raster.write import RasterWriter, encode_probability, estimate_bytes
from codemae_geo.tiling.area import pixel_area_m2
from codemae_geo.vector.geopackage import GeoPackageWriter
from codemae_geo.vector.polygons import polygonize


class MapJob(Job[Predictor]):
    """A job whose answer is a class for every pixel."""

    #: side in pixels of what one machine of many computes at once
    super_tile: int = distributed.SIDE

    def estimate(self) -> dict[str, Any]:
        """See :meth:`Job.estimate`."""
        count = self._band_count
        rows = self.plan.window[0] * self.plan.width * count
        return self._estimate(self.predictor.channels, rows, estimate_bytes(self.cells, count))

    @property
    def _band_count(self) -> int:
        return 2 + (len(self.classes) if self.writes_probabilities else 0)

    @property
    def writes_probabilities(self) -> bool:
        """Whether the run writes one band per class, to be kept or for a later step."""
        return self.options.probabilities

    def encode(self, scores: NDArray[np.float32], analysed: NDArray[np.bool_]) -> NDArray[Any]:
        """What the rasters hold of blended scores ``[channels, rows, columns]``: the bands of all, in their order."""
        decoded = self.predictor.decode(scores)
        bands = [
            np.where(analysed, decoded.labels, np.uint8(NODATA))[None],
            encode_probability(decoded.confidence, analysed)[None],
        ]
        if self.writes_probabilities:
            bands.append(encode_probability(decoded.probabilities, analysed))
        return np.concatenate(bands)

    def _sink(self, folder: Path, journal: Journal) -> Any:
        """What takes the finished rows, made for a folder: a :class:`MapSink`, or what has its face."""
        return MapSink(self, folder, journal)

    def _write_map(self, staging: FolderStaging) -> tuple[dict[str, Path], dict[str, Any]]:
        """Run the network over the grid and write class, confidence and (if asked) probability rasters.

        Rows that an earlier run has finished are taken as they are, see :class:`Journal`.

        Returns:
            The rasters by kind, and the base of the summary.

        Raises:
            InputError: not one pixel could be analysed; or the rows are of another run.
            OutputError: the disk is full.
        """
        reporter = self.reporter
        journal = Journal(staging, self.identity())
        self.created = journal.created
        if not journal.resumed:
            check_space(staging.folder, estimate_bytes(self.grid, self._band_count))
        with self.open_readers() as readers, self._sink(staging.folder, journal) as sink:
            if sink.rows:
                reporter.log(f"goes on at row {sink.rows} of {self.grid.shape[0]}")
            if self.client is not None:
                journal.keep()  # tiles that are finished count for a run that goes on
                with reporter.stage("predict"):
                    stats = distributed.run(
                        self, self.client, sink.write, journal.folder / distributed.FOLDER, sink.rows, reporter
                    )
            else:
                stats = self.predict(readers, sink, done=sink.rows)
            if not sink.pixels.any():
                staging.forget()
                raise self.nothing_analysed()
            with reporter.stage("write"):
                sink.close()
        give_back()  # polygons of a class that runs through the scene need memory of their own
        return sink.outputs, {**self.describe(stats), **sink.summary()}

    def _write_polygons(self, outputs: dict[str, Path], package: Path | GeoPackageWriter) -> dict[str, Any]:
        """Polygons of the class raster into a GeoPackage; their counts for the summary."""
        with self.reporter.stage("polygons"):
            found = polygonize(
                outputs["classes"], package, self.classes, confidence_raster=outputs["confidence"], tags=self.tags()
            )
        return asdict(found)


class MapSink:
    """Takes finished rows from the engine: decodes them, writes them, and counts pixels and areas per class."""

    def __init__(self, job: MapJob, folder: Path, journal: Journal) -> None:
        self._job = job
        self._journal = journal
        #: rows that are finished
        self.rows = 0
        self._stack = ExitStack()
        classes = job.classes
        tags = job.tags()
        stem = job.task.stem
        self.outputs = {"classes": folder / f"{stem}.tif", "confidence": folder / "confidence.tif"}
        open_ = self._stack.enter_context
        rows: dict[str, Any] = {"tags": tags, "journal": journal.folder, "resume": journal.resumed}
        self._classes = open_(RasterWriter.classes(self.outputs["classes"], job.grid, classes, stem, **rows))
        self._confidence = open_(RasterWriter.probability(self.outputs["confidence"], job.grid, **rows))
        self._probabilities: RasterWriter | None = None
        if job.writes_probabilities:
            path = self.outputs["probabilities"] = folder / "probabilities.tif"
            self._probabilities = open_(RasterWriter.probability(path, job.grid, classes.names, **rows))
        self.pixels = np.zeros(len(classes), np.int64)
        self.area_m2 = np.zeros(len(classes))
        if journal.resumed:
            self._take_over()

    def _take_over(self) -> None:
        """Count the rows that an earlier run has finished in every raster, strip by strip as it did."""
        stores = [w.store for w in (self._classes, self._confidence, self._probabilities) if w is not None]
        done = min(store.rows for store in stores)
        for store in stores:
            store.truncate(done)
        for end in self._classes.store.ends:
            self._count(self._classes.store.read(self.rows, end)[0])

    def __call__(self, row: int, scores: NDArray[np.float32], analysed: NDArray[np.bool_]) -> None:
        """Take rows from ``row`` on: ``scores [channels, rows, columns]``, ``analysed [rows, columns]``."""
        self.write(row, self._job.encode(scores, analysed))

    def write(self, row: int, bands: NDArray[np.uint8]) -> None:
        """Take rows from ``row`` on as :meth:`MapJob.encode` gives them."""
        self._classes.write_rows(row, bands[0])
        self._confidence.write_rows(row, bands[1])
        if self._probabilities is not None:
            self._probabilities.write_rows(row, bands[2:])
        self._journal.keep()
        self._count(bands[0])

    def _count(self, labels: NDArray[np.uint8]) -> None:
        """Add the next rows ``[rows, columns]`` to the pixels and areas of the classes."""
        # [classes, rows]: pixels of each class in each row
        counts = np.stack([np.bincount(row, minlength=NODATA + 1) for row in labels])[:, self._job.classes.values].T
        self.pixels += counts.sum(1)
        self.area_m2 += counts @ pixel_area_m2(self._job.grid, np.arange(self.rows, self.rows + len(labels)))
        self.rows += len(labels)

    def summary(self) -> dict[str, Any]:
        """Pixels and areas, of all that was analysed and by class."""
        total = int(self.pixels.sum())
        height, width = self._job.grid.shape
        return {
            "analysed": {
                "pixels": total,
                "share": total / (height * width),
                "area_m2": float(self.area_m2.sum()),
            },
            "classes": [
                {
                    "value": c.value,
                    "name": c.name,
                    "pixels": int(n),
                    "share": float(n / total),
                    "area_m2": float(a),
                }
                for c, n, a in zip(self._job.classes, self.pixels, self.area_m2, strict=True)
            ],
        }

    def close(self) -> None:
        """Finish the rasters, side by side: much of making one is the work of one thread."""
        writers = [w for w in (self._classes, self._confidence, self._probabilities) if w is not None]
        with ThreadPoolExecutor(len(writers), "codemae-finish") as threads:
            for finished in [threads.submit(_finish, writer) for writer in writers]:
                finished.result()
        self._stack.close()

    def __enter__(self) -> MapSink:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def _finish(writer: RasterWriter) -> None:
    with gdal_env():
        writer.close()


class ValuesSink:
    """Takes finished rows from the engine, writes them as they are, and keeps count, range and sum of each band."""

    def __init__(self, job: MapJob, folder: Path, journal: Journal) -> None:
        self._job = job
        self._journal = journal
        #: rows that are finished
        self.rows = 0
        names = job.package.contract.values
        self.outputs = {"values": folder / f"{job.task.stem}.tif"}
        self._writer = RasterWriter.features(
            self.outputs["values"],
            job.grid,
            names,
            tags=job.tags(),
            journal=journal.folder,
            resume=journal.resumed,
        )
        self.pixels = np.zeros(1, np.int64)
        self._area_m2 = 0.0
        self._least = np.full(len(names), np.inf)
        self._most = np.full(len(names), -np.inf)
        self._sum = np.zeros(len(names))
        if journal.resumed:
            store = self._writer.store
            for end in store.ends:
                values = store.read(self.rows, end)
                self._count(values, ~np.isnan(values).all(0))

    def __call__(self, row: int, scores: NDArray[np.float32], analysed: NDArray[np.bool_]) -> None:
        """Take rows from ``row`` on: ``scores [bands, rows, columns]``, ``analysed [rows, columns]``."""
        self.write(row, np.where(analysed, scores, np.float32(np.nan)))

    def write(self, row: int, values: NDArray[np.float32]) -> None:
        """Take rows from ``row`` on as :meth:`ValuesJob.encode` gives them."""
        self._writer.write_rows(row, values)
        self._journal.keep()
        self._count(values, np.asarray(~np.isnan(values).all(0)))

    def _count(self, values: NDArray[np.float32], analysed: NDArray[np.bool_]) -> None:
        """Add the next rows ``[bands, rows, columns]`` to count, range, sum and area."""
        found = values[:, analysed]
        self.pixels += found.shape[1]
        if found.size:
            self._least = np.fmin(self._least, found.min(1))
            self._most = np.fmax(self._most, found.max(1))
            self._sum += found.sum(1, dtype=np.float64)
        rows = np.arange(self.rows, self.rows + len(analysed))
        self._area_m2 += float(analysed.sum(1) @ pixel_area_m2(self._job.grid, rows))
        self.rows += len(analysed)

    def summary(self) -> dict[str, Any]:
        """Pixels and area analysed; smallest, largest and mean value of each band."""
        total = int(self.pixels[0])
        height, width = self._job.grid.shape
        bands = zip(self._job.package.contract.values, self._least, self._most, self._sum / total, strict=True)
        return {
            "analysed": {"pixels": total, "share": total / (height * width), "area_m2": self._area_m2},
            "values": [
                {"name": name, "min": float(least), "max": float(most), "mean": float(mean)}
                for name, least, most, mean in bands
            ],
        }

    def close(self) -> None:
        """Finish the raster."""
        self._writer.close()

    def __enter__(self) -> ValuesSink:
        return self

    def __exit__(self, *error: Any) -> None:
        self._writer.__exit__(*error)
