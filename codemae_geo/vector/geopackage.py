"""One GeoPackage with several styled layers, written in chunks, complete or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import geopandas as gpd
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError

from codemae_geo.errors import OutputError
from codemae_geo.outputs import Staging, write_failure
from codemae_geo.vector.styles import write_layer_styles

_WRITE_ERRORS = (DataSourceError, DataLayerError, FeatureError, FieldError, sqlite3.Error, OSError)


class GeoPackageWriter:
    """Context manager: append chunks to layers, give each a style; the file appears when the block ends well.

    The version is GeoPackage 1.2: QGIS 3.22 warns at every opening of the newer default.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        """Check the destination.

        Raises:
            OutputError: the file exists and ``overwrite`` is false, or its folder is missing or read-only.
        """
        self.path = Path(path)
        self._staging = Staging(self.path, overwrite=overwrite)
        self._file = self._staging.folder / self.path.name
        self._layers: dict[str, str] = {}  # name -> geometry type
        self._styles: dict[str, str] = {}
        self._moment: str | None = None  # what its layers say of when they were made

    def append(
        self,
        layer: str,
        frame: gpd.GeoDataFrame,
        *,
        geometry_type: str = "MultiPolygon",
        qml: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add features to a layer, which the first call creates; an empty first frame makes an empty layer.

        Args:
            layer: table name.
            frame: features with a CRS and with the same columns in every call.
            geometry_type: OGR geometry type of the layer; used by the first call.
            qml: default QGIS style of the layer.
            tags: metadata of the layer; used by the first call.

        Raises:
            OutputError: the disk is full.
            ValueError: the frame has no CRS.
        """
        if frame.crs is None:
            raise ValueError(f"layer {layer} has no CRS")
        if qml is not None:
            self._styles[layer] = qml
        new = layer not in self._layers
        geometry_type = self._layers.get(layer, geometry_type)
        if not new and frame.empty:
            return
        self._moment = _moment((tags or {}).get("DATE")) or self._moment
        with self._disk_errors(), _dated(self._moment):
            pyogrio.write_dataframe(
                frame,
                self._file,
                layer=layer,
                driver="GPKG",
                append=not new,
                geometry_type=geometry_type,
                promote_to_multi=geometry_type.startswith("Multi"),
                dataset_options=None if self._file.exists() else {"VERSION": "1.2"},
                layer_metadata=dict(tags) if new and tags else None,
            )
        self._layers[layer] = geometry_type

    def finish(self, styles: Mapping[str, str] | None = None) -> None:
        """Write the styles and move the file into place.

        Args:
            styles: layer -> QML, besides those given to :meth:`append`.

        Raises:
            OutputError: the disk is full.
        """
        try:
            if self._layers:
                with self._disk_errors():
                    write_layer_styles(self._file, {**self._styles, **(styles or {})}, self._moment)
                    self._staging.publish(self.path.name)
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop everything; does nothing after :meth:`finish`."""
        self._staging.discard()

    def __enter__(self) -> GeoPackageWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._staging.folder.exists():
            self.finish()
        else:
            self.abort()

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OutputError:
            raise
        except _WRITE_ERRORS as error:
            raise write_failure(error, self.path) from error


def _moment(date: str | None) -> str | None:
    """An ISO date in the form that GeoPackages hold."""
    return date and datetime.fromisoformat(date).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@contextmanager
def _dated(moment: str | None) -> Iterator[None]:
    """Have GDAL take a moment for the present, so that a file made again is the same file."""
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": moment})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


@contextmanager
def open_writer(out: Path | GeoPackageWriter, *, overwrite: bool) -> Iterator[GeoPackageWriter]:
    """A writer of its own for a path, or the caller's writer, which the caller finishes."""
    with (
        nullcontext(out) if isinstance(out, GeoPackageWriter) else GeoPackageWriter(out, overwrite=overwrite) as writer
    ):
        yield writer
