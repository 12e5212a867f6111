"""The ``layer_styles`` table of a GeoPackage: QGIS applies a row with ``useAsDefault`` when the layer is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

#: the table as QGIS itself creates it
_CREATE = """
CREATE TABLE IF NOT EXISTS layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
  styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
  update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))
"""


def write_layer_styles(gpkg: Path, styles: Mapping[str, str], moment: str | None = None) -> None:
    """Store the default QGIS style of layers.

    Args:
        gpkg: an existing GeoPackage.
        styles: layer name -> QML.
        moment: the time to write, ``2026-01-31T12:00:00.000Z``; None is the present.

    Raises:
        sqlite3.Error: the file is not a GeoPackage or the disk is full.
    """
    with closing(sqlite3.connect(gpkg)) as connection, connection:
        connection.execute(_CREATE)
        connection.execute(
            "INSERT OR IGNORE INTO gpkg_contents (table_name, data_type, identifier) VALUES (?, ?, ?)",
            ("layer_styles", "attributes", "layer_styles"),
        )
        for layer, qml in styles.items():
            geometry = connection.execute(
                "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?", (layer,)
            ).fetchone()
            connection.execute("DELETE FROM layer_styles WHERE f_table_name = ? AND useAsDefault", (layer,))
            connection.execute(
                "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName,"
                " styleQML, styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, ?, ?, ?, '', 1, ?, '')",
                (layer, geometry[0] if geometry else None, layer, qml, f"default style of {layer}"),
            )
        if moment is not None:
            connection.execute("UPDATE layer_styles SET update_time = ?", (moment,))
            connection.execute("UPDATE gpkg_contents SET last_change = ? WHERE table_name = 'layer_styles'", (moment,))
