"""SAR datasets: shots, complex chips, oriented boxes, tables of boxes; MSTAR's real chips."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from codemae_datasets.public import open_dataset
from codemae_datasets.public._base import extract
from scipy.io import loadmat
from support.copies import make

from codemae_geo.errors import InputError


@pytest.mark.parametrize(("name", "shots", "expected"), [("mstar", 3, 9), ("fusar_ship", 2, 6), ("sar_acd", 40, 3)])
def test_shots_are_taken_of_the_training_chips_alone(tmp_path: Path, name: str, shots: int, expected: int) -> None:
    root = make(name, tmp_path)
    few = open_dataset(name, root, shots=shots, seed=1)
    assert len(few) == expected and {i.name for i in few.items} <= {
        i.name for i in open_dataset(name, root, seed=1).items
    }
    assert few[0]["image"].shape == (1, 16, 16)
    assert len(open_dataset(name, root, split="test", shots=shots)) == len(open_dataset(name, root, split="test"))


def test_forty_shots_of_the_real_mstar(shared: Path, tmp_path: Path) -> None:
    extract(shared / "data" / "mstar" / "mstar_soc_17deg.zip", tmp_path)
    dataset = open_dataset("mstar", tmp_path)
    assert len(dataset) == 2747 == dataset.card.splits["train"]
    counts = Counter(dataset.classes[item.label] for item in dataset.items)
    assert len(counts) == 10 and counts["BMP2"] == 233 and counts["2S1"] == 299
    few = open_dataset("mstar", tmp_path, shots=40, seed=0)
    assert set(Counter(item.label for item in few.items).values()) == {40} and len(few) == 400
    assert [i.name for i in few.items] != [i.name for i in open_dataset("mstar", tmp_path, shots=40, seed=1).items]
    sample = few[7]
    assert sample["image"].shape == (1, 128, 128) and sample["image"].std() > 1
    report = type(dataset).verify(tmp_path, limit=100)
    assert report.ok and report.splits["train"].sizes == {"128 x 128": 100} and "TEST" in report.missing["test"]


def test_chips_of_atrnet_star_at_three_levels(tmp_path: Path) -> None:
    root = make("atrnet_star", tmp_path)
    for level, names in (("type", "Buick_GL8"), ("subclass", "Light_PV"), ("class", "Truck")):
        dataset = open_dataset("atrnet_star", root, level=level)
        assert dataset.classes[int(dataset[0]["label"])] == names
    sample = open_dataset("atrnet_star", root, boxes=True)[0]
    assert sample["bbox_xyxy"].tolist() == [[2, 3, 11, 12]] and sample["label"].tolist() == [1]
    with pytest.raises(InputError, match="EOC_weather"):
        open_dataset("atrnet_star", root, setting="EOC_weather")
    with pytest.raises(FileNotFoundError, match="EOC_band"):
        open_dataset("atrnet_star", root, setting="EOC_band")


def test_complex_chips_of_atrnet_star(tmp_path: Path) -> None:
    root = make("atrnet_star", tmp_path, form="complex")
    dataset = open_dataset("atrnet_star", root, form="complex")
    image, chip = dataset[0]["image"], loadmat(dataset.items[0].files["image"])
    assert image.shape == (8, 16, 16) and dataset.plot(dataset[0]) is not None
    for n, name in enumerate(("data_hh", "data_hv", "data_vh", "data_vv")):
        assert torch.equal(image[2 * n], torch.from_numpy(chip[name].real).float())
        assert torch.equal(image[2 * n + 1], torch.from_numpy(chip[name].imag).float())
    dataset.items[0].files["image"].write_bytes(b"not a MATLAB file")
    with pytest.raises(InputError, match=dataset.items[0].files["image"].name):
        dataset[0]


def test_fair_csar_finds_its_classes(tmp_path: Path) -> None:
    root = make("fair_csar", tmp_path)
    spotlight = open_dataset("fair_csar", root, oriented=True)
    assert spotlight.classes == ("Container_Ship", "Warship")
    assert open_dataset("fair_csar", root, mode="FSI").classes == ("Container_Ship", "Other_Ship")
    assert spotlight[0]["corners"].shape == (2, 4, 2) and spotlight[0]["bbox_xyxy"][0].tolist() == [0.5, 1, 9, 7]
    ordered = open_dataset("fair_csar", root, class_names=("Warship", "Container_Ship"))
    assert ordered[0]["label"].tolist() == [1, 0]
    with pytest.raises(InputError, match="Annotations") as error:
        open_dataset("fair_csar", root, class_names=("Warship",))[0]
    assert error.value.found == "Container_Ship"
    slc = open_dataset("fair_csar", root, form="complex")
    stored = loadmat(slc.items[0].files["image"])["slc"]
    assert torch.equal(torch.complex(*slc[0]["image"]), torch.from_numpy(stored))
    assert slc.plot(slc[0]) is not None


def test_sardet_gives_corners_of_coco_boxes(tmp_path: Path) -> None:
    root = make("sardet_100k", tmp_path)
    dataset = open_dataset("sardet_100k", root, split="val")
    assert dataset[1]["bbox_xyxy"].tolist() == [[1, 2, 7, 7], [2, 2, 8, 7]]
    assert [dataset.classes[n] for n in dataset[1]["label"]] == ["ship", "bridge"]
    inside = open_dataset("sardet_100k", root / "SARDet_100K", split="val")
    assert len(inside) == 2, "the root may be the dataset's own folder"
    table = root / "SARDet_100K" / "Annotations" / "train.json"
    table.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.json"):
        open_dataset("sardet_100k", root)


def test_sardet_180k_with_and_without_boxes(tmp_path: Path) -> None:
    plain = open_dataset("sardet_180k", make("sardet_180k", tmp_path / "plain"))
    assert len(plain) == 6 and set(plain[0]) == {"image"} and plain.items[2].name == "MSTAR/2S1/0000"
    boxes = open_dataset("sardet_180k", make("sardet_100k", tmp_path / "boxes", folder="SARDet_180K"))
    assert len(boxes) == 2 and boxes[0]["bbox_xyxy"].shape == (2, 4)


def test_sar_acd_as_its_repository_is_cloned(tmp_path: Path) -> None:
    root = make("sar_acd", tmp_path)
    count = len(open_dataset("sar_acd", root, split="test"))
    (root / "SAR_ACD").rename(root / "SAR-ACD")
    assert len(open_dataset("sar_acd", root, split="test")) == count
