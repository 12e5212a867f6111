"""The tables of a report in the formats that others take, read again by GDAL, pyarrow and the standard library."""

from __future__ import annotations

import csv
import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import geopandas as gpd
import pandas as pd
import pyogrio
import pytest
from codemae_cli.app import app
from typer.testing import CliRunner

from codemae_geo.errors import InputError, OutputError
from codemae_geo.report.damage import make_report

#: ending -> CRS that it comes back in
FORMATS = {".gpkg": 32615, ".geojson": 4326, ".kml": 4326, ".shp": 32615, ".fgb": 32615, ".parquet": 32615}


@pytest.fixture(scope="module")
def files(runs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    names = [f"all{end}" for end in (*FORMATS, ".xlsx", ".csv")]
    names += ["cells.geojson|layername=severity", "quarters.csv|layername=zones"]
    report = make_report(runs.out, None, exports=[str(folder / n) for n in names], zones=runs.zones, cell=17)
    assert report.path is None
    assert [p.name for p in report.exports] == [n.split("|")[0] for n in names]
    return folder


@pytest.mark.parametrize("end", FORMATS)
def test_buildings_come_back(runs: Any, files: Path, end: str) -> None:
    own = gpd.read_file(runs.out / "damage.gpkg", layer="buildings")
    path = files / f"all{end}"
    frame = (
        gpd.read_parquet(path)
        if end == ".parquet"
        else gpd.read_file(path, **({"layer": "buildings"} if end in (".gpkg", ".kml") else {}))
    )
    assert frame.crs.to_epsg() == FORMATS[end] and len(frame) == len(own)
    # FlatGeobuf has an order of its own; texts of degrees end after a centimetre
    frame = frame.assign(source_fid=frame["source_fid"].astype(int)).sort_values("source_fid", ignore_index=True)
    back = frame.to_crs(own.crs).geometry
    off = back.symmetric_difference(own.geometry).area / own.geometry.area
    assert off.max() < (0.02 if end in (".geojson", ".kml") else 1e-6)
    name = next(c for c in frame.columns if c == "class_name"[: 10 if end == ".shp" else None])
    assert frame[name].value_counts().to_dict() == own["class_name"].value_counts().to_dict()


def test_the_geopackage_holds_all_layers_styled(files: Path) -> None:
    assert [n for n, _ in pyogrio.list_layers(files / "all.gpkg")][:3] == ["buildings", "zones", "severity"]
    with sqlite3.connect(files / "all.gpkg") as db:
        styles = dict(db.execute("SELECT f_table_name, styleQML FROM layer_styles").fetchall())
    assert "graduatedSymbol" in styles["severity"] and "graduatedSymbol" in styles["zones"]
    assert styles["severity"].count("<range ") == 5 and "categorizedSymbol" in styles["buildings"]
    cells = gpd.read_file(files / "cells.geojson")
    assert set(cells.geometry.geom_type) <= {"MultiPolygon", "Polygon"} and cells["affected"].between(0, 1).any()


def test_sheets_and_tables(runs: Any, files: Path) -> None:
    own = gpd.read_file(runs.out / "damage.gpkg", layer="buildings")
    assert [n for n, _ in pyogrio.list_layers(files / "all.xlsx")] == ["buildings", "zones", "severity"]
    sheet = pyogrio.read_dataframe(files / "all.xlsx", layer="zones")
    assert list(sheet["name"]) == runs.names
    assert sheet["n_footprints"].sum() == len(own)
    with (files / "all.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["class_name"] for r in rows] == own["class_name"].fillna("").to_list()
    points = gpd.GeoSeries.from_xy([float(r["lon"]) for r in rows], [float(r["lat"]) for r in rows], crs="EPSG:4326")
    assert points.to_crs(own.crs).within(own.geometry).all()
    with zipfile.ZipFile(files / "all.xlsx") as book:
        assert not any(b"<f>" in book.read(n) for n in book.namelist() if "sheet" in n)


def test_a_name_is_no_formula(runs: Any, tmp_path: Path) -> None:
    zones = gpd.read_file(runs.zones)
    zones["NAME"] = ["=1+1", "+SUM(A1)", "@x", "a\x0bb & <c>"]
    zones.to_file(tmp_path / "zones.gpkg")
    names = [tmp_path / "z.csv|layername=zones", tmp_path / "z.xlsx", tmp_path / "z.kml|layername=zones"]
    make_report(runs.bare, None, exports=names, zones=tmp_path / "zones.gpkg")
    assert list(pd.read_csv(tmp_path / "z.csv")["name"])[:3] == ["'=1+1", "'+SUM(A1)", "'@x"]
    with zipfile.ZipFile(tmp_path / "z.xlsx") as book:
        assert not any(b"<f>" in book.read(n) for n in book.namelist() if "sheet" in n)
    marks = ET.parse(tmp_path / "z.kml").findall(".//{*}Placemark/{*}name")
    assert [m.text for m in marks] == ["=1+1", "+SUM(A1)", "@x", "a b & <c>"]


def test_kml_has_the_colours_of_the_classes(runs: Any, files: Path) -> None:
    root = ET.parse(files / "all.kml").getroot()
    styles = {
        s.get("id"): s.findtext(".//{*}PolyStyle/{*}color") for s in root.iter("{http://www.opengis.net/kml/2.2}Style")
    }
    assert styles["class3"] == "a0005ed5" and styles["class0"][:2] == "00"  # d55e00 as alpha, blue, green, red
    for mark in root.iter("{http://www.opengis.net/kml/2.2}Placemark"):
        fields = {d.get("name"): d.findtext("{*}value") for d in mark.iter("{http://www.opengis.net/kml/2.2}Data")}
        assert mark.findtext("{*}styleUrl") == (f"#class{int(float(fields['class']))}" if "class" in fields else None)


def test_the_command_writes_only_what_was_asked_for(runs: Any, tmp_path: Path) -> None:
    words = ["report", runs.bare, "--export", tmp_path / "patches.shp", "--json", "--progress", "none"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["outputs"] == {"patches.shp": str(tmp_path / "patches.shp")}
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".cpg", ".dbf", ".prj", ".shp", ".shx"]
    assert not (runs.bare / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a.doc", InputError, "no format"),
        ("a", InputError, "no format"),
        ("a.kml|layername=zones", InputError, "no layer 'zones'"),
        ("none/a.kml", OutputError, "does not exist"),
        ("there.csv", OutputError, "not replaced"),
    ],
)
def test_what_cannot_be_written(runs: Any, tmp_path: Path, name: str, error: type[Exception], message: str) -> None:
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(error, match=message):
        make_report(runs.out, tmp_path / "r.html", exports=[tmp_path / "first.csv", str(tmp_path / name)])
    assert [p.name for p in tmp_path.iterdir()] == ["there.csv"], "nothing is written before all is checked"
