"""`codemae checkpair`: verdicts with reasons, on real and on made pairs."""

from __future__ import annotations

import doctest
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from codemae_cli.protocol import problems
from codemae_cli.show import show_pair
from support.scenes import Pair, Result, write_raster

import codemae_geo.raster.dates
from codemae_geo.errors import InputError, ModelError
from codemae_geo.inference.checkpair import PairReport, check_pair
from codemae_geo.raster.dates import date_taken, find_date


def codes(report: PairReport, severity: str) -> set[str]:
    return {r["code"] for r in report.reasons if r["severity"] == severity}


def rewrite(source: Path, target: Path, change: Callable[[np.ndarray], np.ndarray] | None = None, **tags: str) -> Path:
    """A copy with other pixels and tags."""
    with rasterio.open(source) as file:
        data, profile = file.read(), file.profile
    with rasterio.open(target, "w", **profile) as out:
        out.write(data if change is None else change(data))
        out.update_tags(**tags)
    return target


def test_joplin_is_usable(shared: Path) -> None:
    report = check_pair(shared / "data/joplin/pre", shared / "data/joplin/post")
    assert report.verdict == "usable" and not codes(report, "care")
    assert report.overlap is not None and report.offset is not None
    assert report.overlap["area_m2"] == pytest.approx(1.14e6, rel=0.01)
    assert report.overlap["share_of_pre"] == pytest.approx(0.755, abs=0.005)
    assert 0.9 < report.overlap["analysable"] <= 1
    assert (report.scenes["pre"]["crs"], report.scenes["post"]["crs"]) == ("EPSG:26915", "EPSG:4326")
    assert report.model == {"name": "damage-tiny-optical", "pre": "optical", "post": "optical"}


def test_a_unit_that_cannot_be_told_is_given(tmp_path: Path, codemae: Callable[..., Result], sar_model: Path) -> None:
    """As for the run itself."""
    pre, post = write_raster(tmp_path / "pre.tif"), write_raster(tmp_path / "post.tif", count=1, dtype="float32")
    with rasterio.open(post, "r+") as file:
        file.write(np.full((1, *file.shape), 0.15, np.float32) + np.random.default_rng(0).normal(0, 1e-3, file.shape))
        file.set_band_unit(1, "dB")
    words = ("checkpair", "--pre", pre, "--post", post, "--post-sensor", "sar", "--model", sar_model)
    asked, given = codemae(*words), codemae(*words, "--post-unit", "power", "--json")
    assert asked.code == 0 and "cannot be told" in asked.out and "--post-unit" in asked.out
    assert given.code == 0 and given.json["summary"]["scenes"]["post"]["unit"] == "power"


def test_a_radar_scene_after_needs_its_model(shared: Path, sar_model: Path, model: Path) -> None:
    folder = shared / "data/los_angeles_s1s2"
    pre, post = folder / "optical/S2A_20201104_034.tif", folder / "sar/S1A_20201107_034.tif"
    report = check_pair(pre, post)
    assert report.verdict == "usable with care" and codes(report, "care") == {"model"} and report.model is None
    assert (report.scenes["pre"]["family"], report.scenes["post"]["family"]) == ("optical", "sar")
    assert (report.scenes["pre"]["date"], report.scenes["post"]["date"]) == ("2020-11-04", "2020-11-07")
    fitting = check_pair(pre, post, post_sensor="sar", model=sar_model)
    assert fitting.verdict == "usable" and fitting.model is not None and fitting.model["post"] == "sar"
    other = check_pair(pre, post, model=model)
    assert other.verdict == "not usable" and codes(other, "stop") == {"sensor"}
    swapped = check_pair(post, pre)
    assert (
        swapped.verdict == "not usable" and codes(swapped, "care") >= {"dates"} and "sensor" in codes(swapped, "stop")
    )


def test_a_mosaic_with_gaps_has_no_nodata(shared: Path) -> None:
    folder = shared / "data/los_angeles_s1s2"
    report = check_pair(folder / "optical", folder / "sar")
    assert report.scenes["pre"]["nodata_share"] == pytest.approx(0, abs=0.01)
    assert report.offset is not None and report.offset["quality"] == "good"


def test_a_plain_pair(pair: Pair) -> None:
    report = check_pair(pair.pre, pair.post)
    assert report.verdict == "usable"
    assert report.overlap == pytest.approx(
        {"area_m2": 3000, "share_of_pre": 1, "share_of_post": 1, "analysable": 1}, rel=2e-3
    )
    assert report.scenes["pre"]["nodata_share"] == 0


def test_scenes_apart(tmp_path: Path, pair: Pair) -> None:
    far = write_raster(tmp_path / "far.tif", origin=(500000.0, 4104000.0))
    report = check_pair(pair.pre, far)
    assert report.verdict == "not usable" and codes(report, "stop") == {"overlap"}
    assert report.overlap is None and report.offset is None
    assert "pre -94.5" in report.reasons[0]["message"] and "post -93.0" in report.reasons[0]["message"]


def test_little_overlap_coarse_pixels_and_nodata(tmp_path: Path, pair: Pair) -> None:
    near = write_raster(tmp_path / "near.tif", origin=(366040.0, 4104000.0), seed=3)
    report = check_pair(pair.pre, near)
    assert report.verdict == "usable with care" and codes(report, "care") == {"overlap"}
    coarse = write_raster(tmp_path / "coarse.tif", size=(20, 24), res=2.5, seed=3)
    report = check_pair(pair.pre, coarse)
    assert codes(report, "care") == {"resolution", "gsd"}

    def bordered(data: np.ndarray) -> np.ndarray:
        data[:, :, :80] = 0
        return data

    report = check_pair(pair.pre, rewrite(pair.post, tmp_path / "bordered.tif", bordered))
    assert codes(report, "care") == {"nodata"} and "post_nodata=0" in report.reasons[0]["message"]
    with rasterio.open(tmp_path / "bordered.tif", "r+") as file:
        file.nodata = 0
    report = check_pair(pair.pre, tmp_path / "bordered.tif")
    assert report.scenes["post"]["nodata_share"] == pytest.approx(2 / 3, abs=0.01)
    assert codes(report, "care") == {"nodata"}
    black = write_raster(tmp_path / "black.tif", fill=0)
    report = check_pair(pair.pre, black)
    assert codes(report, "care") == {"nodata"} and "100% of the sampled post" in report.reasons[0]["message"]
    empty = write_raster(tmp_path / "empty.tif", fill=0, nodata=0)
    report = check_pair(pair.pre, empty)
    assert codes(report, "stop") == {"nodata"} and report.overlap is not None and report.overlap["analysable"] == 0


def test_one_scene_as_both_dates(tmp_path: Path, pair: Pair) -> None:
    for same in (pair.pre, rewrite(pair.pre, tmp_path / "copy.tif")):
        report = check_pair(pair.pre, same)
        assert report.verdict == "not usable" and codes(report, "stop") == {"same"}


def test_what_a_run_would_refuse(tmp_path: Path, pair: Pair, segmenter: Path) -> None:
    bare = write_raster(tmp_path / "bare.tif", crs=None)
    report = check_pair(pair.pre, bare)
    assert codes(report, "stop") == {"scene"} and "src_crs" in report.reasons[-1]["message"]
    grey = write_raster(tmp_path / "grey.tif", count=1)
    assert "sensor" in codes(check_pair(grey, pair.post), "stop")
    assert codes(check_pair(pair.pre, grey, post_sensor="optical"), "stop") == {"scene"}
    assert codes(check_pair(pair.pre, pair.post, model=segmenter), "stop") == {"model"}


def test_a_planted_shift_is_told(tmp_path: Path, shared: Path) -> None:
    with rasterio.open(shared / "data/joplin/pre/tile_1361-10160.tif") as file:
        image, profile = file.read(), file.profile
    profile |= {"driver": "GTiff", "compress": None, "photometric": None, "width": 800, "height": 800}
    for name, (dy, dx) in {"a": (0, 0), "b": (10, -6)}.items():
        with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as out:
            out.write(image[:, 50 - dy : 850 - dy, 50 - dx : 850 - dx] // (1 if name == "a" else 2))
    report = check_pair(tmp_path / "a.tif", tmp_path / "b.tif")
    assert codes(report, "care") == {"offset"} and "-3.6 m east, -6.0 m north" in report.reasons[-1]["message"]


def test_dates(tmp_path: Path, pair: Pair) -> None:
    assert doctest.testmod(codemae_geo.raster.dates).failed == 0
    for text, day in {
        "20110522": "2011-05-22", "a_2011.05.22_b": "2011-05-22", "2011:05:22 10:00:00": "2011-05-22",
        "20110231": None, "120110522": None, "2011-0522": None, "20111322": None, "": None,
    }.items():  # fmt: skip
        assert find_date(text) == day, text
    named = rewrite(pair.pre, tmp_path / "x_20110601.tif", TIFFTAG_DATETIME="2020:01:01 00:00:00")
    assert date_taken(str(named)).day == "2011-06-01"
    tagged = rewrite(pair.pre, tmp_path / "y_20110601.tif", ACQUISITION_DATE="2011-05-30")
    assert date_taken(str(tagged)).day == "2011-05-30"
    stamped = rewrite(pair.pre, tmp_path / "z.tif", TIFFTAG_DATETIME="2020:01:01 00:00:00")
    assert date_taken(str(stamped)).day == "2020-01-01"
    assert date_taken(str(pair.pre)).day is None
    report = check_pair(stamped, rewrite(pair.post, tmp_path / "p_20110522.tif"))
    assert codes(report, "care") == {"dates"} and "swapped" in report.reasons[0]["message"]
    report = check_pair(named, rewrite(pair.post, tmp_path / "q_20110601.tif"))
    assert codes(report, "care") == {"dates"} and "one day" in report.reasons[0]["message"]


def test_what_cannot_be_read_is_an_error(tmp_path: Path, pair: Pair) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"no raster")
    for path in (tmp_path / "gone.tif", broken):
        with pytest.raises(InputError, match=path.name):
            check_pair(pair.pre, path)
    with pytest.raises(ModelError):
        check_pair(pair.pre, pair.post, model="nonsense")


def test_the_command(
    pair: Pair, tmp_path: Path, codemae: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = codemae("checkpair", "--pre", pair.pre, "--post", pair.post, "--progress", "json").out.splitlines()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert all(problems(e) == [] for e in events)
    assert events[-1]["outputs"] == {} and events[-1]["summary"]["verdict"] == "usable"
    far = write_raster(tmp_path / "far.tif", origin=(500000.0, 4104000.0))
    show_pair(check_pair(pair.pre, far).as_dict())
    text = capsys.readouterr().out
    assert text.endswith("not usable\n") and "do not overlap" in text and "EPSG:32615" in text
    refused = codemae("checkpair", "--pre", far, tmp_path / "gone.tif", "--post", far, "--json")
    assert refused.code == 1 and "gone.tif" in refused.json["error"]["message"] and "Traceback" not in refused.err
