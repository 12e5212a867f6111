from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codemae_geo.errors import InputError
from codemae_geo.raster.inspect import format_info, inspect


@pytest.mark.parametrize(
    ("name", "family", "unit", "words"),
    [
        ("joplin/pre/tile_337-9136.tif", "optical", "uint8", ["EPSG:26915", "0.6 m on the ground"]),
        ("los_angeles_s1s2/sar/S1A_20201107_034.tif", "sar", "uint8", ["EPSG:3395", "8.29 m", "VH amplitude"]),
        ("sentinel_tiles/S2L2A/637U_59R_1_3.tif", "optical", "dn", ["sentinel-2-l2a", "12 band(s)"]),
        ("sentinel_tiles/S1RTC/637U_59R_1_3.tif", "sar", "db", ["sentinel-1-rtc-db"]),
        ("spacenet6_rotterdam/sar_hh.tif", "sar", "complex", ["rotated"]),
        ("spacenet6_rotterdam/sar_masked.tif", "sar", "db", ["nan"]),
        ("umbra/mount_yasur.tif", "sar", "uint8", ["rotated", "in strips"]),
    ],
)
def test_real_files(shared: Path, name: str, family: str, unit: str, words: list[str]) -> None:
    info = inspect(str(shared / "data" / name))
    assert (info["guess"]["family"], info["guess"]["unit"]) == (family, unit)
    assert info["problems"] == []
    assert json.loads(json.dumps(info)) == info
    text = format_info(info)
    for word in words:
        assert word in text


def test_numbers_are_those_of_the_pixels(make_raster: Any) -> None:
    data = np.random.default_rng(0).integers(1, 200, (3, 60, 80), dtype="u1")
    data[:, :15] = 0
    path = make_raster("a.tif", data, nodata=0, descriptions=("red", "green", "blue"))
    info = inspect(str(path))
    assert info["valid_share"] == 0.75
    assert info["bands"][1]["mean"] == pytest.approx(data[1, 15:].mean())
    assert (info["bands"][2]["min"], info["bands"][2]["max"]) == (data[2, 15:].min(), data[2, 15:].max())
    assert info["bands"][0]["description"] == "red"
    assert "nodata 0" in format_info(info)


def test_what_a_file_lacks_is_said(make_raster: Any) -> None:
    info = inspect(str(make_raster("a.tif", np.ones((3, 8, 8), "u1"), crs=None)))
    assert "src_crs" in info["problems"][0]
    assert info["gsd_m"] is None
    assert "problem" in format_info(info)
    empty = inspect(str(make_raster("b.tif", np.full((3, 8, 8), np.nan, "f4"))))
    assert empty["valid_share"] == 0
    assert "no valid value" in format_info(empty)


def test_a_local_system_is_no_place_on_earth(make_raster: Any) -> None:
    info = inspect(str(make_raster("a.tif", np.ones((3, 8, 8), "u1"), crs='LOCAL_CS["site",UNIT["metre",1]]')))
    assert (info["crs"], info["gsd_m"], info["center_lonlat"]) == ("site", None, None)
    assert "local (engineering)" in info["problems"][0]


def test_a_truncated_file_is_called_so(make_raster: Any) -> None:
    path = make_raster("a.tif", np.random.default_rng(0).integers(0, 255, (3, 256, 256), dtype="u1"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="is truncated"):
        inspect(str(path))


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text("no raster")
    with pytest.raises(InputError, match="cannot be read"):
        inspect(str(path))


def test_a_path_through_the_folder_above(make_raster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_raster("a.tif", np.ones((3, 8, 8), "u1"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert inspect(f"../{made.name}")["problems"] == []
