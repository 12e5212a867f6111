"""Jobs that make class maps: the run over all windows, and the sink that decodes and writes finished rows."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codemae_geo.classes import NODATA
from codemae_geo.inference import engine
from codemae_geo.inference.job import Job
from codemae_geo.inference.predictor import Predictor
from codemae_geo.outputs import check_space
from codemae_geo.raster.write import RasterWriter, encode_probability, estimate_bytes
from codemae_geo.tiling.area import pixel_area_m2
from codemae_geo.vector.geopackage import GeoPackageWriter
from codemae_geo.vector.polygons import polygonize


class MapJob(Job[Predictor]):
    """A job whose answer is a class for every pixel."""

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

    def _write_map(self, folder: Path) -> tuple[dict[str, Path], dict[str, Any]]:
        """Run the network over the grid and write class, confidence and (if asked) probability rasters.

        Returns:
            The rasters by kind, and the base of the summary.

        Raises:
            InputError: not one pixel could be analysed.
            OutputError: the disk is full.
        """
        reporter = self.reporter
        check_space(folder, estimate_bytes(self.grid, self._band_count))
        with self.open_readers() as readers, MapSink(self, folder) as sink:
            with reporter.stage("predict", len(self.plan)):
                stats = engine.run(
                    readers,
                    self.plan,
                    self.predictor,
                    sink,
                    region=self.region,
                    batch=self.predictor.batch_size,
                    reporter=reporter,
                )
            if not sink.pixels.any():
                raise self.nothing_analysed()
            with reporter.stage("write"):
                sink.close()
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

    def __init__(self, job: MapJob, folder: Path) -> None:
        self._job = job
        self._stack = ExitStack()
        classes = job.classes
        tags = job.tags()
        stem = job.task.stem
        self.outputs = {"classes": folder / f"{stem}.tif", "confidence": folder / "confidence.tif"}
        open_ = self._stack.enter_context
        self._classes = open_(RasterWriter.classes(self.outputs["classes"], job.grid, classes, stem, tags=tags))
        self._confidence = open_(RasterWriter.probability(self.outputs["confidence"], job.grid, tags=tags))
        self._probabilities: RasterWriter | None = None
        if job.writes_probabilities:
            path = self.outputs["probabilities"] = folder / "probabilities.tif"
            self._probabilities = open_(RasterWriter.probability(path, job.grid, classes.names, tags=tags))
        self.pixels = np.zeros(len(classes), np.int64)
        self.area_m2 = np.zeros(len(classes))

    def __call__(self, row: int, scores: NDArray[np.float32], analysed: NDArray[np.bool_]) -> None:
        """Take rows from ``row`` on: ``scores [channels, rows, columns]``, ``analysed [rows, columns]``."""
        decoded = self._job.predictor.decode(scores)
        labels = np.where(analysed, decoded.labels, np.uint8(NODATA))
        self._classes.write_rows(row, labels)
        self._confidence.write_rows(row, encode_probability(decoded.confidence, analysed))
        if self._probabilities is not None:
            self._probabilities.write_rows(row, encode_probability(decoded.probabilities, analysed))
        # [classes, rows]: pixels of each class in each row
        counts = np.stack([(labels == c.value).sum(1) for c in self._job.classes])
        self.pixels += counts.sum(1)
        self.area_m2 += counts @ pixel_area_m2(self._job.grid, np.arange(row, row + len(labels)))

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
        """Finish the rasters."""
        self._stack.close()

    def __enter__(self) -> MapSink:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)
