"""The GeoPackage is whole or absent, in the version old readers know, and carries its styles."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely

from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.errors import OutputError
from codemae_geo.styles import building_qml, polygon_qml
from codemae_geo.vector.geopackage import GeoPackageWriter


def _frame(n: int = 3) -> gpd.GeoDataFrame:
    x = np.arange(n, dtype=float)
    return gpd.GeoDataFrame({"class": np.arange(n) % 4}, geometry=shapely.box(x, 0, x + 1, 1), crs=32631)


def test_layers_in_chunks_with_styles_and_tags(tmp_path: Path) -> None:
    path = tmp_path / "d.gpkg"
    with GeoPackageWriter(path) as writer:
        writer.append("buildings", _frame(), qml=building_qml(DAMAGE_CLASSES), tags={"model": "tiny"})
        writer.append("polygons", _frame(0), geometry_type="Polygon")
        writer.append("buildings", _frame(2))
        writer.append("polygons", _frame(5))
        writer.finish({"polygons": polygon_qml(DAMAGE_CLASSES)})
    assert [p.name for p in tmp_path.iterdir()] == ["d.gpkg"]
    assert len(gpd.read_file(path, layer="buildings")) == 5
    assert len(gpd.read_file(path, layer="polygons")) == 5
    assert pyogrio.read_info(path, layer="buildings")["layer_metadata"]["model"] == "tiny"
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (10200,)
        assert file.execute("PRAGMA application_id").fetchone() == (0x47504B47,)
        styles = file.execute("SELECT f_table_name, f_geometry_column, styleQML, useAsDefault FROM layer_styles")
        assert {row[0]: row[1:] for row in styles} == {
            "buildings": ("geom", building_qml(DAMAGE_CLASSES), 1),
            "polygons": ("geom", polygon_qml(DAMAGE_CLASSES), 1),
        }
        kinds = dict(file.execute("SELECT table_name, data_type FROM gpkg_contents"))
        assert kinds == {"buildings": "features", "polygons": "features", "layer_styles": "attributes"}


def test_failure_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "d.gpkg"
    path.write_bytes(b"the old one")
    with pytest.raises(OutputError, match="overwrite"):
        GeoPackageWriter(path)
    with pytest.raises(KeyboardInterrupt), GeoPackageWriter(path, overwrite=True) as writer:
        writer.append("buildings", _frame())
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["d.gpkg"]
    assert path.read_bytes() == b"the old one"
    with pytest.raises(ValueError, match="CRS"), GeoPackageWriter(path, overwrite=True) as writer:
        writer.append("buildings", _frame().set_crs(None, allow_override=True))
    assert path.read_bytes() == b"the old one"


def test_journals_and_side_cars_of_a_replaced_file_go(tmp_path: Path) -> None:
    for name in ("d.gpkg", "d.gpkg-wal", "d.gpkg.aux.xml", "d.qml", "other.gpkg-wal"):
        (tmp_path / name).write_bytes(b"old")
    with GeoPackageWriter(tmp_path / "d.gpkg", overwrite=True) as writer:
        writer.append("buildings", _frame())
    # d.qml may be that of d.tif
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.gpkg", "d.qml", "other.gpkg-wal"]
    assert len(gpd.read_file(tmp_path / "d.gpkg", layer="buildings")) == 3


def test_full_disk_is_said_and_leaves_nothing(tiny_disk: Callable[[str], Path]) -> None:
    disk = tiny_disk("2m")
    with pytest.raises(OutputError, match="disk full while writing"), GeoPackageWriter(disk / "d.gpkg") as writer:
        for _ in range(20):
            writer.append("buildings", _frame(5000))
    assert not list(disk.iterdir())
