"""Bad input gets one clear message, exit code 1, no traceback and no output: the installed command, case by case."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import torch
from shapely.geometry import box
from support.scenes import Pair, Result, make_model, write_raster

from codemae_geo import outputs
from codemae_geo.errors import OutputError
from codemae_geo.outputs import FolderStaging

Case = Callable[[Path, Pair, Path], tuple[list[Any], list[str]]]


def no_overlap(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    far = write_raster(tmp / "far.tif", origin=(500000.0, 4104000.0))
    return ["--pre", pair.pre, "--post", far, "--model", model], ["do not overlap", "found", "expected"]


def no_crs(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    bare = write_raster(tmp / "bare.tif", crs=None)
    return ["--pre", bare, "--post", pair.post, "--model", model], ["bare.tif", "--src-crs"]


def same_file(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    return ["--pre", pair.pre, "--post", pair.pre, "--model", model], ["same file", "pre.tif"]


def same_file_by_a_link(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    link = tmp / "link.tif"
    link.symlink_to(pair.pre)
    return ["--pre", pair.pre, "--post", link, "--model", model], ["same file"]


def one_band_optical(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    grey = write_raster(tmp / "grey.tif", count=1)
    return ["--pre", pair.pre, "--post", grey, "--model", model], ["grey.tif", "band"]


def truncated(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    broken = tmp / "broken.tif"
    broken.write_bytes(pair.post.read_bytes()[: pair.post.stat().st_size // 2])
    return ["--pre", pair.pre, "--post", broken, "--model", model], ["broken.tif"]


def not_a_raster(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    text = tmp / "notes.tif"
    text.write_text("not a raster")
    return ["--pre", text, "--post", pair.post, "--model", model], ["notes.tif"]


def missing_file(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    return ["--pre", tmp / "gone.tif", "--post", pair.post, "--model", model], ["gone.tif"]


def all_nodata(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    empty = write_raster(tmp / "empty.tif", fill=0, nodata=0)
    return ["--pre", pair.pre, "--post", empty, "--model", model], ["nodata"]


def pickled_model(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    torch.save({"w": torch.zeros(2)}, tmp / "model.pth")
    return ["--pre", pair.pre, "--post", pair.post, "--model", tmp / "model.pth"], ["pickle", "models convert"]


def old_pickled_model(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    (tmp / "model.safetensors").write_bytes(pickle.dumps({"w": 1}))
    return ["--pre", pair.pre, "--post", pair.post, "--model", tmp / "model.safetensors"], ["pickle"]


def model_without_contract(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2)}, tmp / "bare.safetensors")
    return ["--pre", pair.pre, "--post", pair.post, "--model", tmp / "bare.safetensors"], ["contract"]


def truncated_model(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    (tmp / "cut.safetensors").write_bytes(model.read_bytes()[:-100])
    return ["--pre", pair.pre, "--post", pair.post, "--model", tmp / "cut.safetensors"], ["cut.safetensors"]


def unknown_model(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    return ["--pre", pair.pre, "--post", pair.post, "--model", "damage-tiny-optcal"], ["did you mean"]


def wrong_sensor(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    return (
        ["--pre", pair.pre, "--post", pair.post, "--post-sensor", "sar", "--model", model],
        ["sar", "--model", "models convert"],
    )


def optical_as_sar(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    sar = make_model(tmp / "sar.safetensors", "sar")
    return ["--pre", pair.pre, "--post", pair.post, "--model", sar], [
        "post.tif",
        "red, green and blue",
        "--post-bands 1",
    ]


def footprints_without_crs(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    gpd.GeoDataFrame(geometry=[box(0, 0, 1, 1)]).to_file(tmp / "houses.shp")
    return (
        ["--pre", pair.pre, "--post", pair.post, "--footprints", tmp / "houses.shp", "--model", model],
        ["houses.shp", "--footprints-crs"],
    )


def aoi_outside(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    gpd.GeoDataFrame(geometry=[box(10, 50, 11, 51)], crs="EPSG:4326").to_file(tmp / "aoi.geojson")
    return ["--pre", pair.pre, "--post", pair.post, "--aoi", tmp / "aoi.geojson", "--model", model], [
        "--aoi",
        "outside",
    ]


def bounds_outside(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    return ["--pre", pair.pre, "--post", pair.post, "--bounds", 1, 2, 3, 4, "--model", model], ["--bounds", "outside"]


def unknown_crs(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    return ["--pre", pair.pre, "--post", pair.post, "--dst-crs", "EPSG:nope", "--model", model], ["EPSG:nope"]


def near_buildings_without_footprints(tmp: Path, pair: Pair, model: Path) -> tuple[list[Any], list[str]]:
    return ["--pre", pair.pre, "--post", pair.post, "--only-near-buildings", "--model", model], ["--footprints"]


CASES: list[Case] = [
    no_overlap,
    no_crs,
    same_file,
    same_file_by_a_link,
    one_band_optical,
    truncated,
    not_a_raster,
    missing_file,
    all_nodata,
    pickled_model,
    old_pickled_model,
    model_without_contract,
    truncated_model,
    unknown_model,
    wrong_sensor,
    optical_as_sar,
    footprints_without_crs,
    aoi_outside,
    bounds_outside,
    unknown_crs,
    near_buildings_without_footprints,
]


def check_refusal(result: Result, words: list[str]) -> None:
    assert result.code == 1, result.err
    assert "Traceback" not in result.err + result.out
    assert result.err.count("error: ") == 1
    for word in words:
        assert word in result.err, f"{word!r} is not in: {result.err}"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.__name__)
def test_bad_input(case: Case, tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]) -> None:
    arguments, words = case(tmp_path, pair, model)
    before = sorted(p.name for p in tmp_path.iterdir())
    result = codemae("damage", *arguments, "-o", tmp_path / "out", "--quiet")
    check_refusal(result, words)
    after = sorted(p.name for p in tmp_path.iterdir())
    assert after == before, "a refused run leaves nothing behind"


def test_an_output_folder_with_content_is_kept(
    tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    arguments = ["damage", "--pre", pair.pre, "--post", pair.post, "--model", model, "-o", out, "--quiet"]
    check_refusal(codemae(*arguments), ["out", "--overwrite"])
    assert [p.name for p in out.iterdir()] == ["mine.txt"]
    again = codemae(*arguments, "--overwrite", "--probabilities")
    assert again.code == 0, again.err
    assert (out / "mine.txt").read_text() == "keep"
    assert (out / "damage.tif").exists() and (out / "probabilities.tif").exists()
    once_more = codemae(*arguments, "--overwrite")
    assert once_more.code == 0, once_more.err
    assert (out / "mine.txt").exists() and (out / "damage.tif").exists()
    assert not (out / "probabilities.tif").exists(), "outputs of an earlier run would not belong to this one"


def test_a_failed_run_leaves_no_parent_folders(
    tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]
) -> None:
    arguments = ["--pre", pair.pre, "--post", pair.pre, "--model", model, "-o", tmp_path / "a/b/out"]
    check_refusal(codemae("damage", *arguments, "--quiet"), ["same file"])
    assert list(tmp_path.iterdir()) == []


def test_errors_are_json_for_programs(tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]) -> None:
    arguments = ["--pre", pair.pre, "--post", pair.pre, "--model", model, "-o", tmp_path / "out"]
    result = codemae("--json", "damage", *arguments)
    assert result.code == 1
    assert result.json["error"]["code"] == "input"
    assert result.json["error"]["hint"]


def test_wrong_usage_is_2(tmp_path: Path, pair: Pair, codemae: Callable[..., Result]) -> None:
    assert codemae("damage", "--pre", pair.pre).code == 2
    assert codemae("damage", "--nonsense").code == 2
    assert codemae("nonsense").code == 2


def test_a_full_disk(tiny_disk: Callable[[str], Path], pair: Pair, model: Path, codemae: Callable[..., Result]) -> None:
    disk = tiny_disk("64k")
    result = codemae("damage", "--pre", pair.pre, "--post", pair.post, "--model", model, "-o", disk / "out", "--quiet")
    check_refusal(result, ["disk"])
    assert ".part" not in result.err, "the hidden folder is nothing to tell of"
    assert not (disk / "out").exists()
    assert "--resume goes on from there" in result.err or not list(disk.iterdir())
    assert codemae("clean", disk).code == 0
    assert list(disk.iterdir()) == []


def test_of_two_runs_into_one_folder_the_later_is_refused(tmp_path: Path) -> None:
    with FolderStaging(tmp_path / "out") as first:
        with pytest.raises(OutputError, match="another run is writing"):
            FolderStaging(tmp_path / "out")
        (first.folder / "a.txt").write_text("first")
        first.publish_all()
    assert (tmp_path / "out/a.txt").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bounds", "nan", "1", "2", "3"), "--bounds has no area"),
        (("--bounds", "-inf", "-inf", "inf", "inf"), "--bounds has no area"),
        (("--res", "1e-9"), "far finer"),
        (("--dst-crs", "EPSG:4326", "--res", "0.5"), "larger than the scenes"),
    ],
)
def test_areas_and_resolutions_that_cannot_be_meant(
    words: tuple[str, ...], said: str, tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]
) -> None:
    out = tmp_path / "out"
    result = codemae("damage", "--pre", pair.pre, "--post", pair.post, "--model", model, "-o", out, *words)
    assert result.code == 1
    assert said in result.err
    assert "Traceback" not in result.err
    assert not out.exists()


def test_overwriting_spares_the_inputs(tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]) -> None:
    scene = tmp_path / "damage.tif"
    scene.write_bytes(pair.pre.read_bytes())
    result = codemae("damage", "--pre", scene, "--post", pair.post, "--model", model, "-o", tmp_path, "--overwrite")
    assert result.code == 1
    assert "would be replaced" in result.err
    assert scene.read_bytes() == pair.pre.read_bytes()


def test_a_dry_run_for_programs_is_json_alone(
    tmp_path: Path, pair: Pair, model: Path, codemae: Callable[..., Result]
) -> None:
    result = codemae(
        "damage", "--pre", pair.pre, "--post", pair.post, "--model", model, "-o", tmp_path / "out",
        "--dry-run", "--progress", "json",
    )  # fmt: skip
    events = [json.loads(line) for line in result.out.splitlines()]
    assert events[-1]["event"] == "result"
    assert events[-1]["summary"]["windows"]["count"] > 0


def test_a_missing_folder_is_no_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(outputs, "free_bytes", lambda folder: 0)
    path = tmp_path / "a"
    assert "could not write" in outputs.write_failure(FileNotFoundError(2, "No such file"), path).message
    assert "disk full" in outputs.write_failure(RuntimeError("Failed to commit transaction"), path).message
