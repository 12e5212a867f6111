"""Building damage: BRIGHT in both forms, xBD with its polygons."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from codemae_datasets.public import open_dataset
from codemae_datasets.public.bright import BRIGHT, EVENTS, RESTRICTED, event_of
from codemae_datasets.public.xbd import XBD
from support.copies import make
from support.fakes import raster

from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.errors import InputError


@pytest.fixture
def bright(tmp_path: Path) -> Path:
    return make("bright", tmp_path)


def optical(root: Path, name: str) -> None:
    """The image that a user would have taken from Google Earth."""
    raster(root / "pre-event" / f"{name}_pre_disaster.tif", np.full((3, 16, 16), 9, np.uint8))


def test_tiles_without_an_optical_image_are_left_out_and_named(bright: Path) -> None:
    with pytest.warns(UserWarning, match=r"1 of ukraine-conflict.*Google Earth.*tutorial\.md") as caught:
        dataset = open_dataset("bright", bright)
    assert len(caught) == 1 and caught[0].filename.endswith("public/__init__.py")
    assert isinstance(dataset, BRIGHT) and dataset.left_out == {"ukraine-conflict": 1}
    assert [event_of(i.name) for i in dataset.items] == ["bata-explosion", "congo-volcano"]
    optical(bright, "ukraine-conflict_00000000")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(open_dataset("bright", bright)) == 3, "once the image is there, the tile counts"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(open_dataset("bright", bright, split="test", modality="sar")) == 3, "SAR needs no optical image"


def test_any_other_missing_image_is_an_error(bright: Path) -> None:
    (bright / "pre-event" / "congo-volcano_00000001_pre_disaster.tif").unlink()
    with pytest.raises(FileNotFoundError, match="congo-volcano_00000001_pre"):
        open_dataset("bright", bright, split="val")
    shutil.rmtree(bright / "splitname")
    with pytest.raises(FileNotFoundError, match=r"test_set\.txt"):
        open_dataset("bright", bright, split="test")


def test_the_forms_of_a_pair(bright: Path) -> None:
    stacked = open_dataset("bright", bright, split="val")[0]
    apart = open_dataset("bright", bright, split="val", stack=False)[0]
    assert stacked["image"].shape == (2, 3, 16, 16) and stacked["mask"].shape == (16, 16)
    assert torch.equal(stacked["image"][0], apart["image"]) and apart["image_sar"].shape == (1, 16, 16)
    assert all(torch.equal(band, apart["image_sar"][0]) for band in stacked["image"][1])
    only = open_dataset("bright", bright, split="val", modality="sar")[0]
    assert torch.equal(only["image"], apart["image_sar"])
    assert open_dataset("bright", bright, split="val").classes == tuple(DAMAGE_CLASSES.names)
    with pytest.raises(InputError, match="sonar"):
        open_dataset("bright", bright, modality="sonar")


def test_pairs_of_different_size_are_named(bright: Path) -> None:
    raster(bright / "post-event" / "bata-explosion_00000001_post_disaster.tif", np.zeros((8, 16), np.uint8))
    with pytest.raises(InputError, match=r"bata-explosion_00000001.*post_disaster"):
        open_dataset("bright", bright, split="val")[0]


def test_a_damage_that_is_no_class_is_named(bright: Path) -> None:
    raster(bright / "target" / "bata-explosion_00000001_building_damage.tif", np.full((16, 16), 4, np.uint8))
    with pytest.raises(InputError, match="bata-explosion_00000001_building_damage") as error:
        open_dataset("bright", bright, split="val")[0]
    assert error.value.found == "4"


def names(root: Path, split: str, **options: object) -> list[str]:
    return [item.name for item in open_dataset("bright", root, split=split, **options).items]


@pytest.mark.filterwarnings("ignore:.*may not be passed on")
def test_one_event_is_kept_for_the_test(bright: Path) -> None:
    parts = {split: names(bright, split, test_event="congo-volcano") for split in ("train", "val", "test")}
    assert parts["test"] == [f"congo-volcano_0000000{n}" for n in range(3)]
    assert {event_of(name) for part in ("train", "val") for name in parts[part]} == {"bata-explosion"}
    few = bright / "splitname" / "few_shot"
    few.mkdir()
    for part, number in (("train", 0), ("val", 2)):
        tiles = f"bata-explosion_0000000{number}\ncongo-volcano_0000000{number}\n"
        (few / f"{part}_set.txt").write_text(tiles, encoding="utf-8")
    shot = {s: names(bright, s, test_event="congo-volcano", one_shot=True) for s in ("train", "val", "test")}
    assert shot["train"][-1] == "congo-volcano_00000000" and shot["val"][-1] == "congo-volcano_00000002"
    assert shot["test"] == ["congo-volcano_00000001"]
    assert names(bright, "val", events=["bata-explosion"]) == ["bata-explosion_00000001"]


def test_unknown_events_and_setups_list_the_valid_ones(bright: Path) -> None:
    for option in ({"test_event": "rome-fire"}, {"events": ["rome-fire"]}, {"setup": "rome"}):
        with pytest.raises(InputError, match="rome") as error:
            open_dataset("bright", bright, **option)
        assert any(valid in str(error.value.expected) for valid in ("libya-flood", "dfc25"))
    with pytest.raises(InputError, match="one-shot"):
        open_dataset("bright", bright, one_shot=True)
    assert set(RESTRICTED) < set(EVENTS) and len(EVENTS) == 14


def test_the_contests_lists_on_the_full_form(bright: Path) -> None:
    folder = bright / "splitname" / "dfc25"
    folder.mkdir()
    for name in ("train_set", "holdout_set", "val_set", "test_set"):
        (folder / f"{name}.txt").write_text("bata-explosion_00000001\n", encoding="utf-8")
    (folder / "holdout_set.txt").write_text("congo-volcano_00000001\n", encoding="utf-8")
    assert names(bright, "val", setup="dfc25") == ["congo-volcano_00000001"]


def test_the_contests_form(tmp_path: Path) -> None:
    root = make("bright_dfc25", tmp_path)
    train, test = open_dataset("bright_dfc25", root), open_dataset("bright_dfc25", root, split="test")
    assert train[0]["image"].shape == (2, 3, 16, 16) and set(test[0]) == {"image"}
    top = root / "dfc25_track2_trainval" / "val"
    for item in test.items:
        raster(top / "target" / f"{item.name}_building_damage.tif", np.ones((16, 16), np.uint8))
    assert (open_dataset("bright_dfc25", root, split="test")[0]["mask"] == 1).all()
    (top / "post-event" / "turkey-earthquake_00000002_post_disaster.tif").unlink()
    with pytest.raises(FileNotFoundError, match="turkey-earthquake_00000002_post"):
        open_dataset("bright_dfc25", root, split="test")


def test_torchgeo_reads_the_same_contest_pairs(tmp_path: Path) -> None:
    from torchgeo.datasets import BRIGHTDFC2025

    root = make("bright_dfc25", tmp_path)
    ours, theirs = open_dataset("bright_dfc25", root, split="val"), BRIGHTDFC2025(root, split="val")
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine["image"], other["image"]) and torch.equal(mine["mask"], other["mask"].squeeze(0))


def test_polygons_of_xbd_are_drawn(tmp_path: Path) -> None:
    root = make("xbd", tmp_path)
    dataset = open_dataset("xbd", root)
    assert isinstance(dataset, XBD)
    sample, published = dataset[0], open_dataset("xbd", root, labels="targets")[0]
    assert sample["image"].shape == (2, 3, 16, 16)
    judged = sample["mask"] != 255
    assert torch.equal(sample["mask"][judged], published["mask"][judged])
    assert (~judged).sum() == 4 and (published["mask"][14:, 14:] == 0).all(), "un-classified buildings are no class"
    outlines = dataset.polygons(0)
    assert [level for _, level in outlines][:2] == ["no-damage", "minor-damage"]
    assert outlines[3][0].bounds == (8, 8, 13, 12)
    assert (sample["mask"] == 4).nonzero().amin(0).tolist() == [8, 8]
    three = open_dataset("xbd", root, levels="three")
    assert three.classes == tuple(DAMAGE_CLASSES.names)
    assert torch.equal(three[0]["mask"] == 2, (sample["mask"] == 2) | (sample["mask"] == 3))
    assert torch.equal(three[0]["mask"] == 3, sample["mask"] == 4)


def test_where_outlines_overlap_the_heavier_damage_shows(tmp_path: Path) -> None:
    root = make("xbd", tmp_path)
    dataset = open_dataset("xbd", root)
    path = dataset.items[0].files["label"]
    note = json.loads(path.read_text(encoding="utf-8"))
    for feature in note["features"]["xy"]:
        feature["wkt"] = "POLYGON ((2 2, 6 2, 6 6, 2 6, 2 2))"
    note["features"]["xy"].reverse()
    path.write_text(json.dumps(note), encoding="utf-8")
    assert dataset[0]["mask"].unique().tolist() == [0, 4]
    note["features"]["xy"] = []
    path.write_text(json.dumps(note), encoding="utf-8")
    assert (dataset[0]["mask"] == 0).all() and dataset.polygons(0) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (("destroyed", "vaporised"), "vaporised"),
        (("POLYGON ((8", "POLYGON (8"), "ParseException"),
        (('"xy"', '"yx"'), "xy"),
    ],
)
def test_a_broken_label_is_named(tmp_path: Path, change: tuple[str, str], found: str) -> None:
    dataset = open_dataset("xbd", make("xbd", tmp_path), split="tier3")
    path = dataset.items[1].files["label"]
    path.write_text(path.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    with pytest.raises(InputError, match=path.name) as error:
        dataset[1]
    assert found in str(error.value.found)


def test_disasters_by_name_and_a_missing_partner(tmp_path: Path) -> None:
    root = make("xbd", tmp_path)
    assert len(open_dataset("xbd", root, events=["hurricane-michael"])) == 2
    with pytest.raises(FileNotFoundError):
        open_dataset("xbd", root, events=["joplin-tornado"])
    (root / "hold" / "images" / "hurricane-michael_00000031_post_disaster.png").unlink()
    with pytest.raises(FileNotFoundError, match="00000031_post"):
        open_dataset("xbd", root, split="hold")


def test_damage_has_the_colours_of_the_maps_and_the_legend_covers_nothing(tmp_path: Path) -> None:
    root = make("xbd", tmp_path)
    for levels, last in (("four", 4), ("three", 3)):
        dataset = open_dataset("xbd", root, levels=levels)
        figure = dataset.plot(dataset[0])
        drawn = figure.axes[2].images[0].get_array()
        assert np.allclose(drawn[8, 8] * 255, DAMAGE_CLASSES[3].rgb), "destroyed"
        assert dataset.colors[last] == DAMAGE_CLASSES[3].color and len(dataset.colors) == len(dataset.classes)
        figure.canvas.draw()
        assert figure.legends[0].get_window_extent().y1 < figure.axes[0].get_window_extent().y0
        plt.close(figure)


def test_a_long_legend_makes_room_for_itself(tmp_path: Path) -> None:
    dataset = open_dataset("sun_rgbd", make("sun_rgbd", tmp_path), depth="none")
    figure = dataset.plot(dataset[0])
    figure.canvas.draw()
    assert len(figure.legends[0].get_texts()) == 37
    assert figure.legends[0].get_window_extent().y1 < figure.axes[0].get_window_extent().y0
    colours = {patch.get_facecolor() for patch in figure.legends[0].get_patches()}
    assert len(colours) == 37, "no two classes of one picture share a colour"
    plt.close(figure)
