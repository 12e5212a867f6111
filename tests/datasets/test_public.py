"""Every public dataset on a tiny generated copy of its published layout, see tests/data/<name>/make.py."""

from __future__ import annotations

import importlib.util
import io
import json
import multiprocessing
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from codemae_datasets.public import CATALOGUE, card, collate, dataset_class, listing, open_dataset, table
from codemae_datasets.public import _base as base
from codemae_datasets.public._archives import check, extract, fetch
from codemae_datasets.public._base import (
    IMAGES,
    Archive,
    PairedDataset,
    PublicDataset,
)
from codemae_datasets.public._card import known_digest
from codemae_datasets.public.eurosat_mm import EuroSATMM
from codemae_datasets.public.multilabel import present_classes
from codemae_datasets.public.qxs_saropt import QXSSAROPT
from codemae_datasets.public.segments import segment_mask, unpack_counts
from matplotlib import pyplot
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader
from torchgeo.datasets import DatasetNotFoundError, NonGeoDataset

from codemae_geo.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(CATALOGUE)
#: splits that have images of one sensor only
SAR_ONLY = {("msaw", "test"), ("openearthmap_sar", "val"), ("openearthmap_sar", "test")}
SMALLEST = 8

Copies = Callable[[str], Path]


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """The folder of a dataset's generated copy, made once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            generate(name, made[name])
        return made[name]

    return folder


def generate(name: str, root: Path) -> None:
    path = ROOT / "tests/data" / name / "make.py"
    spec = importlib.util.spec_from_file_location(f"make_{name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make(root)


def opened(name: str, root: Path, split: str, **options: Any) -> PublicDataset:
    if (name, split) in SAR_ONLY:
        options.setdefault("modality", "sar")
    return open_dataset(name, root, split=split, **options)


def first(name: str, root: Path, **options: Any) -> PublicDataset:
    return opened(name, root, next(iter(card(name).splits)), **options)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    pyplot.close("all")


# every dataset


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_of_every_split_keeps_the_promises_of_samples(name: str, copies: Copies) -> None:
    seen: set[str] = set()
    for split in card(name).splits:
        dataset = opened(name, copies(name), split)
        assert isinstance(dataset, NonGeoDataset)
        assert len(dataset) > 0
        names = [item.name for item in dataset.items]
        assert len(set(names)) == len(names)
        for index in range(len(dataset)):
            sample = dataset[index]
            assert_sample(sample, dataset)
            seen |= set(sample)
        with pytest.raises(IndexError):
            dataset[len(dataset)]
    if not card(name).task.startswith("none"):
        assert seen & {"mask", "label", "bbox_xyxy"}


def assert_sample(sample: dict[str, torch.Tensor], dataset: PublicDataset) -> None:
    assert all(isinstance(value, torch.Tensor) for value in sample.values())
    image = sample["image"]
    assert image.dtype == torch.float32 and image.ndim in (3, 4)
    height, width = image.shape[-2:]
    assert min(height, width) >= SMALLEST
    if image.ndim == 3:
        assert len(image) == len(dataset.bands)
    if "image_sar" in sample:
        assert isinstance(dataset, PairedDataset)
        assert sample["image_sar"].shape == (len(dataset.bands_sar), height, width)
    if "mask" in sample:
        assert sample["mask"].dtype == torch.int64 and sample["mask"].shape == (height, width)
        there = sample["mask"][sample["mask"] != 255]
        assert not len(there) or 0 <= there.min() <= there.max() < len(dataset.classes)
    if "valid" in sample:
        assert sample["valid"].dtype == torch.bool and sample["valid"].shape == (height, width)
    if "bbox_xyxy" in sample:
        boxes, label = sample["bbox_xyxy"], sample["label"]
        assert boxes.dtype == torch.float32 and boxes.shape == (len(label), 4)
        assert label.dtype == torch.int64
        assert (boxes[:, :2] <= boxes[:, 2:]).all()
        assert not len(label) or 0 <= label.min() <= label.max() < len(dataset.classes)
    elif "label" in sample:
        label = sample["label"]
        if label.ndim == 0:
            assert label.dtype == torch.int64 and 0 <= label < len(dataset.classes)
        else:
            assert label.dtype == torch.float32 and label.shape == (len(dataset.classes),)
            assert set(label.tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("name", NAMES)
def test_two_forked_workers_give_the_samples_in_order(name: str, copies: Copies) -> None:
    dataset = first(name, copies(name))
    loader = DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context="fork", collate_fn=collate)
    batches = list(loader)
    assert sum(len(batch["image"]) for batch in batches) == len(dataset)
    assert torch.equal(batches[0]["image"][0], dataset[0]["image"])
    assert torch.equal(batches[-1]["image"][-1], dataset[len(dataset) - 1]["image"])


def test_spawned_workers_give_the_samples_of_all_datasets(copies: Copies) -> None:
    """One loader for all: a spawned worker takes seconds to import torch."""
    datasets = [first(name, copies(name)) for name in NAMES]
    whole = ConcatDataset(datasets)
    starts = [0, *whole.cumulative_sizes[:-1]]
    groups = [[start, start + len(dataset) - 1] for start, dataset in zip(starts, datasets, strict=True)]
    loader = DataLoader(
        whole,
        batch_sampler=groups,
        num_workers=2,
        multiprocessing_context=multiprocessing.get_context("spawn"),
        collate_fn=collate,
    )
    for batch, dataset in zip(loader, datasets, strict=True):
        for key, value in dataset[len(dataset) - 1].items():
            assert torch.equal(torch.as_tensor(batch[key][-1]), value), (dataset.card.name, key)


@pytest.mark.parametrize("name", NAMES)
def test_the_plot_shows_the_sample(name: str, copies: Copies) -> None:
    dataset = first(name, copies(name))
    sample = dataset[0]
    figure = dataset.plot(sample, suptitle="a title")
    text = {t.get_text() for axis in figure.axes for t in (axis.title, *axis.texts)}
    assert len(figure.axes) >= sum(key in sample for key in ("image", "image_sar", "mask"))
    assert all(axis.images[0].get_array().size for axis in figure.axes)
    assert all(axis.title.get_text() for axis in figure.axes), text
    assert figure._suptitle is not None and "a title" in figure._suptitle.get_text()
    target = io.BytesIO()
    figure.savefig(target, dpi=30)
    target.seek(0)
    assert np.asarray(Image.open(target).convert("L")).std() > 1
    assert not dataset.plot(sample, show_titles=False).axes[0].title.get_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_gives_the_same_samples(name: str, copies: Copies) -> None:
    dataset = first(name, copies(name))
    again = pickle.loads(pickle.dumps(dataset))
    assert again.items == dataset.items
    assert torch.equal(again[0]["image"], dataset[0]["image"])


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_root_says_what_to_fetch_and_where_it_goes(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError) as caught:
        open_dataset(name, tmp_path / "nowhere")
    error = caught.value
    assert isinstance(error, InputError)
    text = str(error)
    assert card(name).home in text and card(name).layout in text and str(tmp_path / "nowhere") in text
    for archive in card(name).archives:
        assert archive.name in text


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_split_or_band_lists_the_valid_ones(name: str, copies: Copies) -> None:
    with pytest.raises(InputError) as caught:
        open_dataset(name, copies(name), split="holdout")
    assert all(split in str(caught.value) for split in card(name).splits)
    with pytest.raises(InputError) as caught:
        first(name, copies(name), bands=["B99"])
    assert all(band in str(caught.value) for band in dataset_class(name).all_bands)


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_named_and_found_by_verify(name: str, copies: Copies) -> None:
    dataset = first(name, copies(name))
    item = dataset.items[0]
    path = next((p for p in dataset.files(item) if p.suffix.lower() in IMAGES), dataset.files(item)[0])
    sound = path.read_bytes()
    try:
        path.write_bytes(sound[: len(sound) // 3])
        with pytest.raises(InputError) as caught:
            dataset[0]
        assert str(path) in str(caught.value)
        report = type(dataset).verify(copies(name))
        assert not report.ok
        assert any(str(path) in problem for split in report.splits.values() for problem in split.problems)
    finally:
        path.write_bytes(sound)


@pytest.mark.parametrize("name", NAMES)
def test_verify_counts_what_is_there(name: str, copies: Copies) -> None:
    steps: list[tuple[int, int]] = []
    report = dataset_class(name).verify(copies(name), progress=lambda done, of: steps.append((done, of)))
    assert report.name == name
    assert not any(split.problems for split in report.splits.values())
    assert report.ok == ("differs" not in report.checksums.values())  # of lists that are generated too
    assert set(report.splits) | set(report.missing) == set(card(name).splits)
    for split, found in report.splits.items():
        dataset = opened(name, copies(name), split)
        assert found.samples == len(dataset) == sum(found.sizes.values())
        assert found.published == card(name).splits[split]
        files = {path for item in dataset.items for path in dataset.files(item)}
        assert found.bytes == sum(path.stat().st_size for path in files if path.is_file())
        low, high = found.ranges["image"]
        assert low <= high
        assert all(0 <= number < len(dataset.classes) or number == 255 for number in found.labels)
    assert steps[-1][0] == steps[-1][1]
    least = dataset_class(name).verify(copies(name), limit=1)
    assert all(sum(split.sizes.values()) == 1 for split in least.splits.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_filled_in(name: str) -> None:
    it = card(name)
    assert it.name == name
    for text in (it.title, it.home, it.licence, it.citation, it.size, it.modality, it.bands, it.layout, it.source):
        assert text
    assert it.home.startswith(("https://", "http://"))
    assert it.splits
    for archive in it.archives:
        assert archive.url is None or archive.url.startswith("https://")
        if archive.checksum:
            kind, _, digest = archive.checksum.partition(":")
            assert len(digest) == {"md5": 32, "sha256": 64}[kind]
            int(digest, 16)
    assert (dataset_class(name).__doc__ or "").strip()


# the catalogue


def test_a_digest_of_torchgeo_bears_its_kind() -> None:
    # 0.8 has md5, 0.10 has sha256, and both call it md5 in places
    assert known_digest("d" * 32) == "md5:" + "d" * 32
    assert known_digest("d" * 64) == "sha256:" + "d" * 64


def test_the_catalogue_is_read_without_loading_anything_heavy() -> None:
    code = "import sys, codemae_datasets.public; print([m for m in ('torch', 'torchgeo', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_says_which_ones_are_alike() -> None:
    with pytest.raises(InputError, match="whu_opt_sar"):
        dataset_class("WHU-OPT-SAR")


def test_the_page_holds_the_current_table() -> None:
    page = (ROOT / "docs/datasets.md").read_text(encoding="utf-8")
    assert table() in page, "write codemae_datasets.public.table() into docs/datasets.md"


def test_the_listing_agrees_with_the_cards_and_loads_none() -> None:
    cards = [{key: getattr(card(name), key) for key in ("name", "title", "modality", "task")} for name in CATALOGUE]
    path = ROOT / "datasets/codemae_datasets/public/listing.json"
    assert listing() == cards, f"write this into {path}: {json.dumps(cards, indent=1, ensure_ascii=False)}"
    code = "import sys; from codemae_datasets.public import listing; listing(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# pairs


PAIRED = [name for name in NAMES if issubclass(dataset_class(name), PairedDataset)]


@pytest.mark.parametrize("name", PAIRED)
def test_one_sensor_of_a_pair_is_the_same_image(name: str, copies: Copies) -> None:
    both = first(name, copies(name))[0]
    optical = first(name, copies(name), modality="optical")
    sar = first(name, copies(name), modality="sar")
    assert torch.equal(optical[0]["image"], both["image"])
    assert torch.equal(sar[0]["image"], both["image_sar"])
    assert "image_sar" not in optical[0] and "image_sar" not in sar[0]
    assert sar.bands == sar.sar_bands
    assert sar.plot(sar[0]).axes[0].title.get_text() == "SAR"
    with pytest.raises(InputError, match="both, optical, sar"):
        first(name, copies(name), modality="radar")


def test_bands_of_both_sensors_are_chosen_by_name(copies: Copies) -> None:
    whole = first("dfc20", copies("dfc20"))[0]
    dataset = first("dfc20", copies("dfc20"), bands=["B12", "VH", "B02"])
    sample = dataset[0]
    assert torch.equal(sample["image"], whole["image"][[12, 1]])
    assert torch.equal(sample["image_sar"], whole["image_sar"][[1]])
    assert len(dataset.plot(sample).axes) == 3


def test_statistics_are_the_published_ones_in_the_order_of_the_bands(shared: Path) -> None:
    known = json.loads((shared / "reference/normalization_stats.json").read_text())
    for name in PAIRED:
        cls = dataset_class(name)
        assert issubclass(cls, PairedDataset)
        if cls.ospretrain:
            found = cls.statistics()
            assert found["image"] == tuple(map(tuple, known["pretraining"][cls.ospretrain]["rgb"]))
            assert found["image_sar"] == tuple(map(tuple, known["pretraining"][cls.ospretrain]["sar"]))
        if cls.probe:
            mean, std = cls.statistics("probe")["image"]
            published = known["linear_probing"][cls.probe]
            assert len(mean) == len(std)
            assert sorted(mean) == sorted((published.get("rgb") or published["optical"])[0])
    # EuroSAT's files hold B8A last, the statistics hold it ninth
    mean = dict(zip(EuroSATMM.all_bands, EuroSATMM.statistics("probe")["image"][0], strict=True))
    assert mean["B8A"] == 0.4312 and mean["B12"] == 0.3789
    with pytest.raises(InputError, match="no published probe statistics"):
        QXSSAROPT.statistics("probe")


def test_a_missing_counterpart_is_named(copies: Copies, tmp_path: Path) -> None:
    generate("qxs_saropt", tmp_path)
    (tmp_path / "QXSLAB_SAROPT/sar_256_oc_0.2/2.png").unlink()
    with pytest.raises(DatasetNotFoundError, match="2 without its SAR image"):
        open_dataset("qxs_saropt", tmp_path)
    assert len(open_dataset("qxs_saropt", tmp_path, modality="optical")) == 3


def test_members_of_different_size_are_named(tmp_path: Path) -> None:
    generate("qxs_saropt", tmp_path)
    path = tmp_path / "QXSLAB_SAROPT/sar_256_oc_0.2/1.png"
    Image.open(path).resize((20, 12)).save(path)
    with pytest.raises(InputError, match="differ in size") as caught:
        open_dataset("qxs_saropt", tmp_path)[0]
    assert str(path) in caught.value.message
    assert caught.value.found == "image 16 x 16, image_sar 20 x 12"


def test_a_mask_value_outside_the_classes_is_named(tmp_path: Path) -> None:
    generate("yeseg_opt_sar", tmp_path)
    path = tmp_path / "label/1/1.png"
    mask = np.array(Image.open(path))
    mask[3, 4] = 77
    Image.fromarray(mask).save(path)
    with pytest.raises(InputError, match="not a class") as caught:
        open_dataset("yeseg_opt_sar", tmp_path)[0]
    assert str(path) in caught.value.message and caught.value.found == "77"


# single datasets


def test_names_are_in_the_order_of_their_numbers(copies: Copies) -> None:
    assert [item.name for item in first("qxs_saropt", copies("qxs_saropt")).items] == ["1", "2", "10"]


def test_msaw_draws_footprints_on_the_grid_of_the_images(copies: Copies) -> None:
    dataset = first("msaw", copies("msaw"))
    expected = torch.zeros(16, 16, dtype=torch.int64)
    expected[2:6, 4:8] = 1
    assert torch.equal(dataset[0]["mask"], expected)
    assert not dataset[1]["mask"].any()
    assert not dataset[0]["valid"][:, :2].any() and dataset[0]["valid"][:, 2:].all()
    with pytest.raises(DatasetNotFoundError, match="modality='sar'"):
        open_dataset("msaw", copies("msaw"), split="test")


@pytest.mark.parametrize("name", ["dfc23_track1", "dfc23_track2"])
def test_dfc23_reads_both_forms_of_outline(name: str, copies: Copies) -> None:
    dataset = first(name, copies(name))
    sample = dataset[0]
    assert sample["bbox_xyxy"].tolist() == [[4, 2, 8, 6], [0, 0, 2, 16]]
    assert sample["label"].tolist() == ([1, 11] if name == "dfc23_track1" else [0, 0])
    expected = torch.zeros(2, 16, 16, dtype=torch.bool)
    expected[0, 2:6, 4:8] = True
    expected[1, :, :2] = True
    assert torch.equal(sample["masks"], expected)
    assert dataset[1]["masks"].shape == (0, 16, 16) and dataset[1]["bbox_xyxy"].shape == (0, 4)


def test_ogsod_scales_upright_and_oriented_boxes(copies: Copies) -> None:
    sample = first("ogsod2", copies("ogsod2"))[0]
    assert sample["bbox_xyxy"].tolist() == [[6, 4, 10, 12], [4, 4, 12, 12]]
    assert sample["label"].tolist() == [0, 2]


def test_ogsod_names_a_broken_line(tmp_path: Path) -> None:
    generate("ogsod2", tmp_path)
    (tmp_path / "labels/train/0.txt").write_text("0 0.5 0.5 0.25 0.5\n3 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InputError, match=r"labels/train/0\.txt") as caught:
        open_dataset("ogsod2", tmp_path)[0]
    assert caught.value.found is not None and "line 2" in caught.value.found


def test_ddhr_reads_lists_of_paths_and_of_names(copies: Copies) -> None:
    for name in ("ddhr_sk", "ddhr_xa"):
        assert [item.name for item in opened(name, copies(name), "train").items] == ["1", "3"]
        assert [item.name for item in opened(name, copies(name), "val").items] == ["2", "4"]


def test_whu_opt_sar_counts_tens_and_drops_background(copies: Copies) -> None:
    dataset = first("whu_opt_sar", copies("whu_opt_sar"))
    stored = 10 * np.random.default_rng(0).integers(0, 8, (16, 16))
    expected = np.where(stored == 0, 255, stored // 10 - 1)
    assert np.array_equal(dataset[0]["mask"].numpy(), expected)
    assert [item.name for item in opened("whu_opt_sar", copies("whu_opt_sar"), "test").items] == ["NH49E001014"]


def test_dfc20_keeps_the_eight_classes_of_the_probes(copies: Copies) -> None:
    rng = np.random.default_rng(0)
    rng.integers(0, 4000, (13, 16, 16)), rng.integers(-25, 0, (2, 16, 16))
    stored = rng.integers(0, 11, (1, 16, 16))[0]
    mask = first("dfc20", copies("dfc20"))[0]["mask"].numpy()
    assert set(mask[np.isin(stored, (0, 3, 8))]) == {255}
    assert (mask[stored == 4] == 2).all() and (mask[stored == 10] == 7).all()


def test_bigearthnet_translates_labels_and_keeps_decibels(copies: Copies) -> None:
    root = copies("bigearthnet_mm")
    sample = first("bigearthnet_mm", root)[0]
    dataset = dataset_class("bigearthnet_mm")
    names = [name for name, here in zip(dataset.card.classes, sample["label"], strict=True) if here]
    assert names == ["Urban fabric", "Marine waters"]
    assert (sample["image_sar"] != sample["image_sar"].round()).any()
    long = first("bigearthnet_mm", root, nomenclature=43)
    assert [long.classes[n] for n in long[0]["label"].nonzero().flatten()] == [
        "Continuous urban fabric",
        "Airports",
        "Sea and ocean",
    ]
    with pytest.raises(InputError, match="19, 43"):
        first("bigearthnet_mm", root, nomenclature=20)


def test_bigearthnet_2_leaves_out_classes_without_a_number(copies: Copies) -> None:
    sample = first("bigearthnet_v2", copies("bigearthnet_v2"))[0]
    assert set(sample["mask"].unique().tolist()) == {0, 2, 18, 255}
    assert sample["label"].nonzero().flatten().tolist() == [0, 2]


def test_ssl4eo_pairs_the_seasons_by_date(copies: Copies) -> None:
    dataset = first("ssl4eo_s12", copies("ssl4eo_s12"))
    for season in range(4):
        sample = dataset[season]
        assert set(sample) == {"image", "image_sar"}
        assert sample["image"][0].unique().tolist() == [1000.0 * season]
        assert sample["image_sar"][0].unique().tolist() == [-10.0 * season - 1]


def test_osdataset_has_patches_of_two_sizes(copies: Copies) -> None:
    root = copies("osdataset2")
    assert (
        first("osdataset2", root)[0]["image"].shape[-1] == 2 * first("osdataset2", root, size=256)[0]["image"].shape[-1]
    )
    with pytest.raises(InputError, match="512, 256"):
        first("osdataset2", root, size=128)


# labels per image from pixels


def test_ten_percent_of_the_pixels_make_a_label() -> None:
    mask = torch.full((2, 10, 10), 255)
    mask[0, 0] = 3  # exactly ten
    mask[0, 1, :9] = 1  # nine
    mask[1, :5] = 0
    labels = present_classes(mask, 4)
    assert labels.tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]
    assert present_classes(mask, 4, share=0.09).tolist()[0] == [0, 1, 0, 1]


# outlines


def test_packed_run_lengths_are_those_of_coco() -> None:
    """Packed by the rule of COCO's API by an encoder of our own, and one text known from its documentation."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        counts = rng.integers(0, 4000, rng.integers(1, 12)).tolist()
        assert unpack_counts(pack(counts)) == counts
        assert unpack_counts(pack(counts).encode()) == counts


def pack(counts: list[int]) -> str:
    text = ""
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            code = value & 0x1F
            value >>= 5
            more = value != -1 if code & 0x10 else value != 0
            text += chr((code | 0x20 if more else code) + 48)
    return text


def test_outlines_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="cover 3 of 16"):
        segment_mask({"size": [4, 4], "counts": [1, 2]}, 4, 4)
    with pytest.raises(ValueError, match="three points"):
        segment_mask([[0, 0, 1, 1]], 4, 4)
    two = segment_mask([[0, 0, 2, 0, 2, 2, 0, 2], [3, 3, 4, 3, 4, 4, 3, 4]], 4, 4)
    assert two.sum() == 5 and two[3, 3]


# archives


def test_archives_are_unpacked_when_the_folder_is_not_there(copies: Copies, tmp_path: Path) -> None:
    source = copies("openearthmap_sar")
    with zipfile.ZipFile(tmp_path / "dfc25_track1_trainval.zip", "w") as bundle:
        for path in source.rglob("*.tif"):
            bundle.write(path, Path("dfc25_track1_trainval") / path.relative_to(source))
    assert len(open_dataset("openearthmap_sar", tmp_path)) == 2


def test_an_archive_is_unpacked_once(copies: Copies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "dfc25_track1_trainval.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.write(copies("openearthmap_sar") / "train/labels/TrainArea_000.tif", "train/labels/TrainArea_000.tif")
    mark = tmp_path / "dfc25_track1_trainval.zip.unpacked"
    for _ in range(2):
        with pytest.raises(DatasetNotFoundError) as caught:
            open_dataset("openearthmap_sar", tmp_path)
        assert str(mark) in str(caught.value)
        monkeypatch.setattr(base, "extract", lambda *_: pytest.fail("unpacked twice"))


@pytest.mark.parametrize("member", ["../out.txt", "a/../../out.txt", "/out.txt", "C:\\out.txt", "a\\..\\..\\out.txt"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_that_would_write_outside_is_refused(member: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"bad.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as bundle:
            bundle.writestr("fine.txt", "x")
            bundle.writestr(zipfile.ZipInfo(member), "x")
    else:
        with tarfile.open(path, "w:gz") as bundle_tar:
            for name in ("fine.txt", member):
                info = tarfile.TarInfo(name)
                info.size = 1
                bundle_tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(InputError, match="outside its folder"):
        extract(path, tmp_path / "into")
    assert not (tmp_path / "into/fine.txt").exists() and not (tmp_path / "out.txt").exists()


def test_links_in_an_archive_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as bundle:
        link = tarfile.TarInfo("a")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        bundle.addfile(link)
    with pytest.raises(InputError, match="link"):
        extract(path, tmp_path)


@pytest.mark.parametrize("name", ["bad.zip", "bad.tar.gz"])
def test_a_damaged_archive_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"PK not really")
    with pytest.raises(InputError, match=f"{name} is damaged"):
        extract(path, tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((6, 8), 1, "encrypted.*7z"),  # flags of the local header, of the directory
        ((8, 10), 9, "not supported.*7z"),  # method: deflate64, as Windows packs what is large
        ((60, None), 255, "bad.zip is damaged"),
    ],
)
def test_a_zip_that_python_cannot_unpack_is_named(
    place: tuple[int, int | None], value: int, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("file.txt", np.random.default_rng(0).bytes(500))
    data = bytearray(path.read_bytes())
    for mark, offset in zip((b"PK\x03\x04", b"PK\x01\x02"), place, strict=True):
        if offset is not None:
            data[data.index(mark) + offset] = value
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"(?s){message}"):
        extract(path, tmp_path / "into")


def test_unpacking_that_was_stopped_begins_again(
    copies: Copies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "dfc25_track1_trainval.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for path in sorted(copies("openearthmap_sar").rglob("TrainArea*.tif")):
            bundle.write(path, path.relative_to(copies("openearthmap_sar")))

    def stopped(path: Path, folder: Path) -> None:
        with zipfile.ZipFile(path) as half:
            half.extractall(folder, [name for name in half.namelist() if name.endswith("_000.tif")])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(base, "extract", stopped)
        open_dataset("openearthmap_sar", tmp_path)
    assert len(open_dataset("openearthmap_sar", tmp_path)) == 2
    assert [path.name for path in tmp_path.glob("*.unpack*")] == [f"{archive.name}.unpacked"]
    (tmp_path / f"{archive.name}.unpacked").rename(tmp_path / f"{archive.name}.unpacking")
    archive.unlink()
    with pytest.raises(DatasetNotFoundError, match="in part only"):
        open_dataset("openearthmap_sar", tmp_path)


def test_fetching_compares_checksums_and_leaves_nothing_half(tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(b"data")
    sha = "sha256:3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"
    into = tmp_path / "into"
    fetch(Archive("a.bin", url=source.as_uri(), checksum=sha), into)
    assert (into / "a.bin").read_bytes() == b"data"
    assert check(into / "a.bin", sha) == "ok"
    assert check(into / "a.bin", "md5:8d777f385d3dfec8815d20f7496026dc") == "ok"
    assert check(into / "a.bin", None) == "no checksum is known"
    with pytest.raises(InputError, match="not the published file"):
        fetch(Archive("b.bin", url=source.as_uri(), checksum="sha256:" + "0" * 64), into)
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch(Archive("c.bin", url=(tmp_path / "none").as_uri()), into)
    assert [path.name for path in into.iterdir()] == ["a.bin"]


def test_download_fetches_and_unpacks(copies: Copies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    cls = dataset_class("geonrw")
    bundle = tmp_path / "nrw.tar.gz"
    with tarfile.open(bundle, "w:gz") as target:
        target.add(copies("geonrw"), ".")
    archive = replace(cls.card.archives[0], url=bundle.as_uri(), checksum=None)
    monkeypatch.setattr(cls, "card", replace(cls.card, archives=(archive,)))
    with pytest.raises(DatasetNotFoundError, match="download=True"):
        cls(tmp_path / "root")
    assert len(cls(tmp_path / "root", download=True)) == 40


def test_a_checksum_that_differs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate("geonrw", tmp_path)
    (tmp_path / "nrw_dataset.tar.gz").write_bytes(b"something else")
    assert len(open_dataset("geonrw", tmp_path)) == 40
    with pytest.raises(InputError, match=r"nrw_dataset\.tar\.gz is not the published one"):
        open_dataset("geonrw", tmp_path, checksum=True)
    hashed = []
    monkeypatch.setattr(base, "check", lambda *args: hashed.append(args) or check(*args))
    report = dataset_class("geonrw").verify(tmp_path)
    assert report.checksums == {"nrw_dataset.tar.gz": "differs"} and not report.ok
    assert len(hashed) == 1  # not once per split: archives have hundreds of gigabytes


def test_archives_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate("fair1m", tmp_path)
    for folder in ("train/part1", "validation"):
        (tmp_path / folder / "images.zip").write_bytes(b"x")
    monkeypatch.setattr(base, "check", lambda path, _: "differs" if "part1" in str(path) else "ok")
    with pytest.raises(InputError, match=r"train/part1/images\.zip is not the published one"):
        open_dataset("fair1m", tmp_path, checksum=True)
    report = dataset_class("fair1m").verify(tmp_path)
    assert report.checksums == {"train/part1/images.zip": "differs", "validation/images.zip": "ok"} and not report.ok
