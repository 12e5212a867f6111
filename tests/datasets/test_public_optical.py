"""Optical datasets: splits by ratio and by shots, boxes, masks, crops."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchgeo.datasets as torchgeo
from codemae_datasets.public import open_dataset
from codemae_datasets.public._base import collate
from codemae_datasets.public.boxes import read_coco, read_dota, read_fair1m, read_voc
from codemae_datasets.public.splits import few_shot, split_by_ratio
from PIL import Image
from support.copies import make

from codemae_geo.errors import InputError

LABELS = [0] * 100 + [1] * 40 + [2] * 7 + [3]


@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.5])
def test_a_ratio_holds_in_every_class(ratio: float) -> None:
    train, test = split_by_ratio(LABELS, ratio, seed=3)
    assert sorted(train + test) == list(range(len(LABELS)))
    counts = Counter(LABELS[i] for i in train)
    assert counts == {0: round(100 * ratio), 1: round(40 * ratio), 2: max(1, round(7 * ratio)), 3: 1}
    assert (train, test) == split_by_ratio(LABELS, ratio, seed=3) != split_by_ratio(LABELS, ratio, seed=4)


def test_one_class_is_drawn_without_regard_to_the_others() -> None:
    alone = split_by_ratio(LABELS[:100], 0.2, seed=1)[0]
    assert alone == [i for i in split_by_ratio(LABELS, 0.2, seed=1)[0] if i < 100]


def test_shots_are_nested_and_a_small_class_gives_all() -> None:
    ten, forty = few_shot(LABELS, 10, seed=2), few_shot(LABELS, 40, seed=2)
    assert set(ten) < set(forty)
    assert Counter(LABELS[i] for i in forty) == {0: 40, 1: 40, 2: 7, 3: 1}
    assert few_shot(LABELS, 10, seed=2) == ten != few_shot(LABELS, 10, seed=5)


@pytest.mark.parametrize("ratio", [0, 1, 20])
def test_a_ratio_outside_its_range_is_refused(ratio: float) -> None:
    with pytest.raises(InputError, match="ratio"):
        split_by_ratio(LABELS, ratio)
    with pytest.raises(InputError, match="shots"):
        few_shot(LABELS, 0)


def test_aid_twenty_percent(tmp_path: Path) -> None:
    root = make("aid", tmp_path)
    train, test = open_dataset("aid", root, split="train"), open_dataset("aid", root, split="test")
    assert (len(train), len(test)) == (3, 12)
    names = {item.name for item in train.items} | {item.name for item in test.items}
    assert len(names) == 15
    assert len(open_dataset("aid", root, split="train", ratio=0.6)) == 9
    assert [i.name for i in open_dataset("aid", root, seed=1).items] != [i.name for i in train.items]


def test_lists_a_ratio_and_shots_of_one_dataset(tmp_path: Path) -> None:
    root = make("resisc45", tmp_path)
    listed = open_dataset("resisc45", root, split="val")
    assert [item.files["image"].name for item in listed.items][:2] == ["airplane_007.jpg", "airplane_008.jpg"]
    assert listed.classes[int(listed[5]["label"])] == "wetland"
    tenth = open_dataset("resisc45", root, ratio=0.1)
    assert [item.label for item in tenth.items] == [0, 4, 44]
    assert len(open_dataset("resisc45", root, split="test", ratio=0.1)) == 27
    assert len(open_dataset("resisc45", root, split="train", shots=2)) == 6
    with pytest.raises(InputError, match="by ratio") as error:
        open_dataset("resisc45", root, split="val", ratio=0.1)
    assert error.value.expected == "train, test"


def test_a_listed_image_that_is_missing_is_named(tmp_path: Path) -> None:
    root = make("resisc45", tmp_path)
    (root / "NWPU-RESISC45" / "beach" / "beach_003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="beach_003"):
        open_dataset("resisc45", root)


def test_lists_may_begin_with_a_byte_order_mark_and_other_encodings_are_named(tmp_path: Path) -> None:
    root = make("resisc45", tmp_path)
    path = root / "resisc45-train.txt"
    count, text = len(open_dataset("resisc45", root)), path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8-sig")
    assert len(open_dataset("resisc45", root)) == count
    path.write_text(f"{text}\u673a\u573a.jpg\n", encoding="gbk")
    with pytest.raises(InputError, match=r"resisc45-train\.txt is not UTF-8 text"):
        open_dataset("resisc45", root)


def test_a_folder_that_is_no_class_is_named(tmp_path: Path) -> None:
    root = make("whu_rs19", tmp_path)
    (root / "WHU-RS19" / "Airfield").mkdir()
    with pytest.raises(InputError, match="Airfield"):
        open_dataset("whu_rs19", root)


def test_classes_spelt_in_two_ways_are_one(tmp_path: Path) -> None:
    root = make("rsd46_whu", tmp_path)
    train, val = open_dataset("rsd46_whu", root), open_dataset("rsd46_whu", root, split="val")
    assert {item.label for item in train.items} == {item.label for item in val.items} == {0, 23, 45}
    assert len(open_dataset("rsd46_whu", root, ratio=0.4)) == 6


def test_bands_of_eurosat_by_name(tmp_path: Path) -> None:
    root = make("eurosat", tmp_path)
    every = open_dataset("eurosat", root, split="val")[0]["image"]
    chosen = open_dataset("eurosat", root, split="val", bands=("B8A", "B04"))[0]["image"]
    assert torch.equal(chosen, every[[12, 3]]) and every.max() > 255
    with pytest.raises(InputError, match="B99") as error:
        open_dataset("eurosat", root, bands=("B99",))
    assert "B8A" in str(error.value.expected)


def test_loveda_moves_its_classes_down_by_one(tmp_path: Path) -> None:
    root = make("loveda", tmp_path)
    dataset = open_dataset("loveda", root, scene=["rural"])
    assert len(dataset) == 1
    stored = np.asarray(Image.open(dataset.items[0].files["mask"])).astype(int)
    assert (dataset[0]["mask"].numpy() == np.where(stored == 0, 255, stored - 1)).all()
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(dataset.items[0].files["mask"])
    with pytest.raises(InputError, match=r"Rural.*masks_png") as error:
        dataset[0]
    assert error.value.found == "9"
    with pytest.raises(InputError, match="suburban"):
        open_dataset("loveda", root, scene=["suburban"])


@pytest.mark.parametrize(("name", "tile"), [("vaihingen", "area11.tif"), ("potsdam", "potsdam_2_11_RGBIR.tif")])
def test_an_isprs_tile_that_is_missing_is_named(name: str, tile: str, tmp_path: Path) -> None:
    root = make(name, tmp_path)
    next(path for path in root.rglob(f"*{tile}") if path.parent != root).unlink()
    with pytest.raises(FileNotFoundError, match=tile):
        open_dataset(name, root)


def test_isprs_colours_a_few_levels_off_still_count(tmp_path: Path) -> None:
    root = make("vaihingen", tmp_path)
    dataset = open_dataset("vaihingen", root)
    path = dataset.items[0].files["mask"]
    clean, colours = dataset[0]["mask"], np.asarray(Image.open(path)).astype(int)
    Image.fromarray(np.where(colours > 128, colours - 9, colours + 9).astype(np.uint8)).save(path)
    assert torch.equal(dataset[0]["mask"], clean)
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)
    assert (dataset[0]["mask"] == 255).all(), "black lines between objects have no class"
    Image.fromarray(np.full((16, 16, 3), (255, 0, 255), np.uint8)).save(path)
    with pytest.raises(InputError, match="area1") as error:
        dataset[0]
    assert error.value.found == "#ff00ff"


def test_dior_in_both_forms(tmp_path: Path) -> None:
    root = make("dior", tmp_path)
    dataset = open_dataset("dior", root, split="trainval")
    sample = dataset[0]
    assert [dataset.classes[n] for n in sample["label"]] == ["ship", "expresswayservicearea"]
    assert sample["bbox_xyxy"].tolist()[0] == [1, 2, 9, 9]
    with (root / "sample_df.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image_path", "label_path", "split"])
        for item in dataset.items:
            files = [item.files[k].relative_to(root).as_posix() for k in ("image", "boxes")]
            rows.writerow([*files, "train" if item.name < "00003" else "val"])
    other = open_dataset("dior", root, split="trainval")
    for item in dataset.items:  # torchgeo's copy has the names of the classes in one spelling
        note = item.files["boxes"]
        note.write_text(note.read_text(encoding="utf-8").replace("-", "").lower(), encoding="utf-8")
    theirs = torchgeo.DIOR(root, split="train")
    assert len(theirs) == 2 and same(dataset[1]["bbox_xyxy"], theirs[1]["bbox_xyxy"])
    assert same(dataset[1]["label"], theirs[1]["label"])
    assert [i.name for i in other.items] == [i.name for i in dataset.items]
    assert torch.equal(other[3]["bbox_xyxy"], dataset[3]["bbox_xyxy"])


def test_fair1m_corners_and_the_box_around_them(tmp_path: Path) -> None:
    root = make("fair1m", tmp_path)
    dataset = open_dataset("fair1m", root, oriented=True)
    sample = dataset[0]
    assert sample["corners"].shape == (2, 4, 2) and sample["corners"][0].tolist() == [[3, 2], [10, 4], [9, 8], [2, 6]]
    assert sample["bbox_xyxy"][0].tolist() == [2, 2, 10, 8]
    assert [dataset.classes[n] for n in sample["label"]] == ["Boeing737", "Small Car"]
    batch = collate([dataset[0], dataset[1]])
    assert len(batch["corners"]) == 2 and batch["image"].shape == (2, 3, 16, 16)
    path = dataset.items[0].files["boxes"]
    path.write_text(path.read_text(encoding="utf-8").replace("Boeing737", "Boeing797"), encoding="utf-8")
    with pytest.raises(InputError, match=path.name) as error:
        dataset[0]
    assert error.value.found == "Boeing797"


def test_fmow_is_cut_to_its_box(tmp_path: Path) -> None:
    root = make("fmow_rgb", tmp_path)
    whole = open_dataset("fmow_rgb", root, crop=False)
    assert whole[0]["bbox_xyxy"].tolist() == [[2, 4, 10, 10]] and len(whole) == 8
    tight = open_dataset("fmow_rgb", root, context=0.0)[0]
    assert torch.equal(tight["image"], whole[0]["image"][:, 4:10, 2:10]) and tight["label"].tolist() == 0
    wide = open_dataset("fmow_rgb", root, context=10.0)[0]
    assert torch.equal(wide["image"], whole[0]["image"]), "the margin ends at the image's edge"
    assert len(open_dataset("fmow_rgb", root, multispectral=True)) == 12
    note = whole.items[0].files["boxes"]
    outside = {"bounding_boxes": [{"category": "airport", "box": [40, 4, 8, 6]}]}
    note.write_text(json.dumps(outside), encoding="utf-8")
    with pytest.raises(InputError, match="outside its image"):
        open_dataset("fmow_rgb", root)[0]


def test_broken_annotations_are_named(tmp_path: Path) -> None:
    path = tmp_path / "note"
    for reader, text, found in (
        (read_voc, "<annotation><object><name>ship</name></object></annotation>", "bndbox/xmin"),
        (read_voc, "<annotation><object>", "no element found"),
        (read_fair1m, "<a><object><points><point>1,2</point></points></object></a>", "four corners"),
        (read_dota, "1 2 3 4 5 6 7", "line 1"),
        (read_coco, '{"images": []}', "categories"),
        (read_coco, "not a table", "Expecting value"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=str(path)) as error:
            reader(path)
        assert found in str(error.value.found)
    with pytest.raises(InputError, match="missing"):
        read_dota(tmp_path / "missing")


def same(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return torch.equal(ours, theirs.to(ours.dtype))


@pytest.mark.parametrize(
    ("name", "published", "split"),
    [
        ("resisc45", torchgeo.RESISC45, "train"),
        ("eurosat", torchgeo.EuroSAT, "val"),
        ("ucmerced", torchgeo.UCMerced, "test"),
    ],
)
def test_torchgeo_reads_the_same_scenes(tmp_path: Path, name: str, published: Any, split: str) -> None:
    root = make(name, tmp_path)
    ours, theirs = open_dataset(name, root, split=split), published(root, split=split)
    assert len(ours) == len(theirs)
    by_name = {Path(path).stem: n for n, (path, _) in enumerate(theirs.samples)}
    for item, mine in zip(ours.items, ours, strict=True):
        other = theirs[by_name[item.files["image"].stem]]
        assert torch.allclose(mine["image"], other["image"].float(), atol=0.51)
        assert ours.classes[mine["label"]] == theirs.classes[other["label"]]


def test_torchgeo_reads_the_same_masks(tmp_path: Path) -> None:
    for name, published in (("vaihingen", torchgeo.Vaihingen2D), ("potsdam", torchgeo.Potsdam2D)):
        root = make(name, tmp_path / name)
        for mine, other in zip(open_dataset(name, root), published(root), strict=True):
            assert same(mine["image"], other["image"]) and same(mine["mask"], other["mask"])
    root = make("loveda", tmp_path / "loveda")
    for mine, other in zip(
        open_dataset("loveda", root, scene=["rural", "urban"]),
        torchgeo.LoveDA(root, scene=["rural", "urban"]),
        strict=True,
    ):
        assert same(mine["image"], other["image"])
        assert same(torch.where(mine["mask"] == 255, 0, mine["mask"] + 1), other["mask"])


def test_torchgeo_reads_the_same_boxes(tmp_path: Path) -> None:
    root = make("fair1m", tmp_path)
    theirs = torchgeo.FAIR1M(root)
    for mine, other in zip(open_dataset("fair1m", root, oriented=True), theirs, strict=True):
        assert same(mine["image"], other["image"]) and same(mine["corners"], other["bbox_xyxy"][:, :4])
        assert same(mine["label"], other["label"])
