"""What users of torchgeo do with a geo dataset, done with ours: torchgeo 0.8 (Python 3.11) and 0.10 (3.12 on)."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import torch
import torchgeo.samplers
from codemae_datasets._compat import GeoDataset, IntersectionDataset, RasterDataset, UnionDataset, sample_place
from codemae_datasets.samplers import GridWindows, RandomWindows
from codemae_datasets.scenes import LabelScenes, OpticalScenes, SARScenes, ScenePairs, SceneUnion
from rasterio.transform import Affine, from_origin
from torch.utils.data import DataLoader
from torchgeo.datasets import (
    NAIP,
    concat_samples,
    merge_samples,
    random_bbox_assignment,
    random_bbox_splitting,
    random_grid_cell_assignment,
    roi_split,
    stack_samples,
    time_series_split,
    unbind_samples,
)
from torchgeo.samplers import GridGeoSampler, PreChippedGeoSampler, RandomBatchGeoSampler, RandomGeoSampler

from codemae_geo.classes import DAMAGE_CLASSES
from codemae_geo.errors import InputError

UTM = "EPSG:32633"
LEFT, TOP, RES, SIDE = 500000.0, 5000000.0, 10.0, 96
NEW_SAMPLERS = hasattr(torchgeo.samplers, "RandomPatchSampler")  # torchgeo 0.10

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def write(path: Path, bands: int, left: float = LEFT, dtype: str = "uint8", names: tuple[str, ...] = ()) -> Path:
    """A scene whose band b holds (column + 2 * row + 40 * b) % 251, so that every shift and swap of bands shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row, col = np.mgrid[:SIDE, :SIDE]
    data = np.stack([(col + 2 * row + 40 * b) % 251 for b in range(bands)]).astype(dtype)
    options = {"count": bands, "height": SIDE, "width": SIDE, "dtype": dtype, "crs": UTM, "photometric": "minisblack"}
    with rasterio.open(path, "w", driver="GTiff", transform=from_origin(left, TOP, RES, RES), **options) as file:
        file.write(data)
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Optical, SAR and labels of two places side by side; the first optical and SAR scenes have dates."""
    for number, date in enumerate(("20200301", "20210601")):
        left = LEFT + number * SIDE * RES
        write(tmp_path / "optical" / f"o_{date}.tif", 3, left)
        write(tmp_path / "sar" / f"s_{date}.tif", 1, left)
        write(tmp_path / "undated" / f"u{number}.tif", 4, left)
        path = write(tmp_path / "labels" / f"l{number}.tif", 1, left)
        with rasterio.open(path, "r+") as file:
            file.write(file.read() % 4)
    write(tmp_path / "naip" / "m_3907638_sw_18_1_20200301.tif", 4)
    return tmp_path


@pytest.fixture
def optical(folder: Path) -> OpticalScenes:
    return OpticalScenes(folder / "optical")


@pytest.fixture
def pairs(folder: Path) -> ScenePairs:
    return OpticalScenes(folder / "optical") & SARScenes(folder / "sar")


@pytest.fixture
def labelled(folder: Path) -> ScenePairs:
    return OpticalScenes(folder / "optical") & LabelScenes(folder / "labels", classes=DAMAGE_CLASSES)


def windows(dataset: GeoDataset, size: int = 32, count: int = 4) -> list[Any]:
    return list(RandomGeoSampler(dataset, size=size, length=count, generator=torch.Generator().manual_seed(0)))


def loaded(dataset: GeoDataset, queries: list[Any]) -> dict[str, Any]:
    (batch,) = DataLoader(dataset, sampler=queries, batch_size=len(queries), collate_fn=stack_samples)  # type: ignore[arg-type]
    return batch


# ---------------------------------------------------------------- the surface


def test_is_a_geo_dataset(optical: OpticalScenes) -> None:
    assert isinstance(optical, RasterDataset) and len(optical) == 2 and "bbox" in str(optical)
    assert optical.index.index.name == "datetime" and optical.index.crs == optical.crs
    assert optical.res == (RES, RES) and len(optical.files) == 2


def test_bounds_step_by_the_resolution(optical: OpticalScenes) -> None:
    x, y, t = optical.bounds
    assert (x.start, x.stop, x.step) == (LEFT, LEFT + 2 * SIDE * RES, RES) and y.step == RES
    assert (
        pd.Timestamp(t.start) == pd.Timestamp("2020-03-01") and pd.Timestamp(t.stop).date().isoformat() == "2021-06-01"
    )


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_open_ends_of_a_query_are_the_datasets(optical: OpticalScenes, parts: int) -> None:
    query = optical.bounds[:parts]
    sample = optical[query if parts > 1 else query[0]]
    assert sample["image"].shape == (3, SIDE, 2 * SIDE)


def test_step_of_a_query_is_its_resolution(optical: OpticalScenes) -> None:
    x, y, _ = optical.bounds
    assert optical[x.start : x.stop : 20.0, y.start : y.stop : 20.0]["image"].shape == (3, SIDE // 2, SIDE)


def test_outside_is_an_index_error(optical: OpticalScenes) -> None:
    with pytest.raises(IndexError):
        optical[0:100, 0:100]
    with pytest.raises(IndexError):
        optical[:, :, pd.Timestamp(1999, 1, 1) : pd.Timestamp(1999, 2, 1)]


def test_samples_are_tensors_of_the_kinds_torchgeo_names(labelled: ScenePairs) -> None:
    sample = labelled[windows(labelled)[0]]
    assert all(isinstance(value, torch.Tensor) for value in sample.values())
    assert sample["image"].dtype == torch.float32 and sample["mask"].dtype == torch.int64
    assert sample["bounds"].shape == sample["transform"].shape == (9,)


def test_transforms_get_the_sample(folder: Path) -> None:
    dataset = OpticalScenes(folder / "optical", transforms=lambda s: {**s, "image": s["image"] + 1000})
    assert dataset[windows(dataset)[0]]["image"].min() >= 1000


def test_another_crs_and_resolution_can_be_set(optical: OpticalScenes) -> None:
    optical.crs, optical.res = "EPSG:4326", 2e-4
    x, y, _ = optical.bounds
    assert 14 < x.start < 16 and optical.index.crs.to_epsg() == 4326
    inside = optical[x.start + 0.005 : x.start + 0.009, y.start + 0.003 : y.start + 0.006]
    assert inside["image"].shape == (3, 15, 20) and inside["valid"].all()


def test_a_time_picks_files(optical: OpticalScenes) -> None:
    sample = optical[:, :, pd.Timestamp(2021, 5, 1) : pd.Timestamp(2021, 7, 1)]
    assert not sample["valid"][:, :SIDE].any() and sample["valid"][:, SIDE:].all()


@pytest.mark.parametrize("bands", [["red", "nir"], ["Red", 4], ["NIR", "red"]])
def test_bands_by_description_or_number(folder: Path, bands: list[Any]) -> None:
    write(folder / "named.tif", 4, names=("blue", "green", "red", "nir"))
    dataset = OpticalScenes(folder / "named.tif", bands=bands)
    whole = OpticalScenes(folder / "named.tif", bands=[1, 2, 3, 4])
    numbers = [{"red": 2, "nir": 3, 4: 3}[b.lower() if isinstance(b, str) else b] for b in bands]
    assert torch.equal(dataset[dataset.bounds]["image"], whole[whole.bounds]["image"][numbers])


def test_bands_by_the_names_of_a_sensor_and_of_its_files(folder: Path) -> None:
    names = tuple(f"B{i:02d}" for i in range(1, 13))
    write(folder / "s2.tif", 12, dtype="uint16", names=tuple(f"band {n}" for n in names))
    dataset = OpticalScenes(folder / "s2.tif", sensor="sentinel-2-l2a", bands=["B04", "band B08"])
    whole = OpticalScenes(folder / "s2.tif", bands=list(range(1, 13)))
    assert torch.equal(dataset[dataset.bounds]["image"], whole[whole.bounds]["image"][[3, 7]])


def test_subclass_as_torchgeo_has_them(folder: Path) -> None:
    class Mine(OpticalScenes):
        filename_glob = "o_*"
        filename_regex = r"o_(?P<date>\d{8})"
        date_format = "%Y%m%d"
        all_bands = ("R", "G", "B")
        rgb_bands = ("R", "G", "B")

    dataset = Mine(folder / "optical", bands=["B", "R"])
    assert torch.equal(
        dataset[dataset.bounds]["image"], OpticalScenes(folder / "optical")[dataset.bounds]["image"][[2, 0]]
    )
    assert dataset.index.index[0].left == pd.Timestamp("2020-03-01")


# ---------------------------------------------------------------- & and |


def both_orders(folder: Path) -> Iterator[tuple[str, GeoDataset, GeoDataset]]:
    for name in ("optical", "undated"):
        for torchgeos in (NAIP, RasterDataset):
            paths = folder / ("naip" if torchgeos is NAIP else "sar")
            yield f"{name}-{torchgeos.__name__}", OpticalScenes(folder / name), torchgeos(paths)


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("ours_first", [True, False])
def test_intersection_with_a_dataset_of_torchgeo(folder: Path, number: int, ours_first: bool) -> None:
    _, ours, theirs = list(both_orders(folder))[number]
    both = ours & theirs if ours_first else theirs & ours
    assert isinstance(both, IntersectionDataset) and len(both)
    query = windows(both, count=1)[0]
    image = both[query]["image"]
    first, second = (ours, theirs) if ours_first else (theirs, ours)
    n = len(first[query]["image"])
    assert torch.equal(image[:n], first[query]["image"]) and torch.equal(image[n:], second[query]["image"])


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("ours_first", [True, False])
def test_union_with_a_dataset_of_torchgeo(folder: Path, number: int, ours_first: bool) -> None:
    _, ours, theirs = list(both_orders(folder))[number]
    if isinstance(theirs, NAIP):
        ours = OpticalScenes(ours.files, bands=[1, 2, 3])
        theirs = NAIP(folder / "naip", bands=("R", "G", "B"))
    else:
        ours = OpticalScenes(ours.files, bands=[1])
    either = ours | theirs if ours_first else theirs | ours
    assert isinstance(either, UnionDataset) and len(either) == len(ours) + len(theirs)
    query = windows(either, count=1)[0]
    assert torch.equal(either[query]["image"], ours[query]["image"])  # they hold the same pixels


def test_files_without_a_date_lie_at_all_times(folder: Path) -> None:
    undated, dated = OpticalScenes(folder / "undated"), SARScenes(folder / "sar")
    assert len(undated & dated) == len(dated & undated) == 2
    assert len(ScenePairs(undated, dated, max_days=1)) == 2


def test_three_together(folder: Path, pairs: ScenePairs) -> None:
    three = pairs & LabelScenes(folder / "labels")
    sample = three[windows(three)[0]]
    assert sample["image"].shape == (4, 32, 32) and sample["mask"].shape == (32, 32)


def test_pairs_of_mosaics(folder: Path) -> None:
    first, second = sorted((folder / "optical").iterdir())
    mosaic = OpticalScenes(first) | OpticalScenes(second)
    assert isinstance(mosaic, SceneUnion)
    both = mosaic & SARScenes(folder / "sar")
    x, y, _ = both.bounds
    assert both[x, y]["valid"].all()


# ---------------------------------------------------------------- splits


SPLITS: dict[str, Callable[[Any], list[Any]]] = {
    "bbox_assignment": lambda d: random_bbox_assignment(d, [0.5, 0.5], torch.Generator().manual_seed(0)),
    "bbox_splitting": lambda d: random_bbox_splitting(d, [0.5, 0.5], torch.Generator().manual_seed(0)),
    "grid_cells": lambda d: random_grid_cell_assignment(d, [0.5, 0.5], 2, torch.Generator().manual_seed(0)),
    "roi": lambda d: roi_split(
        d,
        [
            shapely.box(LEFT, TOP - SIDE * RES, LEFT + SIDE * RES, TOP),
            shapely.box(LEFT + SIDE * RES, TOP - SIDE * RES, LEFT + 2 * SIDE * RES, TOP),
        ],
    ),
    "time": lambda d: time_series_split(d, [0.5, 0.5]),
}


@pytest.mark.parametrize("kind", ["optical", "pairs", "labelled", "union"])
@pytest.mark.parametrize("split", SPLITS)
def test_splits_can_be_sampled_and_indexed(split: str, kind: str, folder: Path, request: pytest.FixtureRequest) -> None:
    if kind == "union":
        dataset: Any = OpticalScenes(folder / "optical") | OpticalScenes(folder / "undated", bands=[1, 2, 3])
        if split == "time":
            pytest.skip("half of all times from 1678 to 2262 holds none of the dated scenes")
    else:
        dataset = request.getfixturevalue(kind)
    before = dataset[dataset.bounds]["image"]
    parts = SPLITS[split](dataset)
    assert len(parts) == 2 and all(len(part) for part in parts)
    for part in parts:
        assert part.crs == dataset.crs and part.res == dataset.res
        assert type(part) is type(dataset)
        for query in [*windows(part, 16), *RandomWindows(part, 16, 4)]:
            sample = part[query]
            assert sample["image"].shape[-2:] == (16, 16) and sample["valid"].all()
            # the same pixels as the whole dataset has there
            col, row = round((query[0].start - LEFT) / RES), round((TOP - query[1].stop) / RES)
            assert torch.equal(sample["image"], before[:, row : row + 16, col : col + 16]) or split == "bbox_splitting"
    assert torch.equal(dataset[dataset.bounds]["image"], before)  # the whole is as it was


def test_parts_of_a_split_are_apart(optical: OpticalScenes) -> None:
    one, two = SPLITS["grid_cells"](optical)
    assert shapely.union_all(one.index.geometry).intersection(shapely.union_all(two.index.geometry)).area == 0
    assert shapely.area(one.index.geometry).sum() + shapely.area(two.index.geometry).sum() == 2 * (SIDE * RES) ** 2
    assert set(one.index["filepath"]) <= set(optical.files)


# ---------------------------------------------------------------- samplers


@pytest.mark.parametrize("kind", ["optical", "pairs"])
def test_random_and_grid_samplers(kind: str, request: pytest.FixtureRequest) -> None:
    dataset = request.getfixturevalue(kind)
    for sampler in (RandomGeoSampler(dataset, size=32, length=5), GridGeoSampler(dataset, size=32, stride=32)):
        images = [dataset[query]["image"] for query in sampler]
        assert len(images) == len(sampler) and {i.shape[-2:] for i in images} == {(32, 32)}


def test_prechipped_sampler_gives_whole_files(optical: OpticalScenes) -> None:
    samples = [optical[query] for query in PreChippedGeoSampler(optical)]
    assert [s["image"].shape for s in samples] == [(3, SIDE, SIDE)] * 2 and all(s["valid"].all() for s in samples)


def test_batch_sampler(pairs: ScenePairs) -> None:
    sampler = RandomBatchGeoSampler(pairs, size=16, batch_size=3, length=2)
    batches = list(DataLoader(pairs, batch_sampler=sampler, collate_fn=stack_samples))
    assert [b["image"].shape for b in batches] == [(3, 4, 16, 16)] * len(sampler)


def test_regions_and_times_of_interest(optical: OpticalScenes) -> None:
    roi = shapely.box(LEFT, TOP - 400, LEFT + 400, TOP)
    for query in RandomGeoSampler(optical, size=16, length=5, roi=roi):
        assert roi.covers(shapely.box(query[0].start, query[1].start, query[0].stop, query[1].stop).buffer(-1))
    toi = pd.Interval(pd.Timestamp(2021, 1, 1), pd.Timestamp(2022, 1, 1))
    for query in GridGeoSampler(optical, size=32, toi=toi):
        assert query[0].start >= LEFT + SIDE * RES and optical[query]["valid"].all()


@pytest.mark.skipif(not NEW_SAMPLERS, reason="torchgeo 0.10 has them")
def test_samplers_of_torchgeo_0_10(pairs: ScenePairs) -> None:
    from torchgeo.samplers import GriddedPatchSampler, RandomPatchSampler

    for sampler in (RandomPatchSampler(pairs, size=32, length=5), GriddedPatchSampler(pairs, size=32)):
        shapes = {pairs[query]["image"].shape for query in sampler}
        assert shapes == {(4, 32, 32)}


def test_windows_larger_than_a_file_are_padded(optical: OpticalScenes) -> None:
    size = 2 * SIDE + 40
    with pytest.raises(InputError, match="room for a window"):
        RandomWindows(optical, size, 3)
    drawn = list(RandomWindows(optical, size, 6, min_valid=0.1))
    assert len({str(q) for q in drawn}) > 3
    for query in [*drawn, *GridWindows(optical, size)]:
        sample = optical[query]
        assert sample["image"].shape == (3, size, size)
        there = sample["valid"]  # one file as a whole, or both in the window of the grid
        assert there.sum() in (SIDE * SIDE, 2 * SIDE * SIDE) and not sample["image"][:, ~there].any()


# ---------------------------------------------------------------- collation, loaders, pickles


def test_stack_and_unbind(labelled: ScenePairs) -> None:
    batch = loaded(labelled, windows(labelled))
    assert batch["image"].shape == (4, 3, 32, 32) and batch["mask"].shape == batch["valid"].shape == (4, 32, 32)
    single = unbind_samples(batch)
    assert len(single) == 4 and torch.equal(single[2]["image"], batch["image"][2])


def test_concat_samples(folder: Path) -> None:
    dataset = OpticalScenes(folder / "optical")
    radar = SARScenes(folder / "sar")
    query = windows(dataset)[0]
    both = concat_samples([dataset[query], radar[query]])
    assert both["image"].shape == (4, 32, 32)


def test_merge_samples(folder: Path) -> None:
    first, second = sorted((folder / "optical").iterdir())
    query = OpticalScenes(folder / "optical").bounds
    merged = merge_samples([OpticalScenes(path)[query[0], query[1]] for path in (first, second)])
    assert merged["valid"].all() and torch.equal(merged["image"], OpticalScenes(folder / "optical")[query]["image"])


def test_pickle_keeps_everything(pairs: ScenePairs) -> None:
    query = windows(pairs)[0]
    copy = pickle.loads(pickle.dumps(pairs))
    assert torch.equal(copy[query]["image"], pairs[query]["image"]) and copy.bounds == pairs.bounds


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_every_kind(method: str, pairs: ScenePairs) -> None:
    queries = windows(pairs)
    alone = loaded(pairs, queries)
    loader = DataLoader(
        pairs, batch_size=4, sampler=queries, num_workers=1, collate_fn=stack_samples, multiprocessing_context=method
    )  # type: ignore[arg-type]
    (batch,) = loader
    assert torch.equal(batch["image"], alone["image"])


def test_place_of_a_sample(optical: OpticalScenes) -> None:
    query = windows(optical)[0]
    bounds, affine, crs = sample_place(optical[query], optical)
    assert bounds == (query[0].start, query[1].start, query[0].stop, query[1].stop)
    assert affine == Affine(RES, 0, query[0].start, 0, -RES, query[1].stop) and crs.to_epsg() == 32633


# ---------------------------------------------------------------- far and wide


def world(path: Path) -> Path:
    """A raster of the whole earth, one pixel a degree, that holds the longitude plus 180."""
    data = np.broadcast_to(np.arange(360, dtype="uint16"), (1, 180, 360))
    options = {"count": 1, "height": 180, "width": 360, "dtype": "uint16", "crs": "EPSG:4326"}
    with rasterio.open(path, "w", driver="GTiff", transform=from_origin(-180, 90, 1, 1), **options) as file:
        file.write(data)
    return path


@pytest.mark.parametrize("first", ["far", "world"])
def test_a_world_file_in_degrees_beside_a_far_file(folder: Path, first: str) -> None:
    far, wide = SARScenes(folder / "sar"), SARScenes(world(folder / "world.tif"), resampling="nearest")
    pair = far & wide if first == "far" else wide & far
    assert len(pair) == 2 and np.isfinite(pair.index.total_bounds).all()
    query = windows(pair, 16, 1) if first == "far" else [pair.bounds]
    for place in query:
        sample = pair[place]
        channel = 1 if first == "far" else 0
        assert set(sample["image"][channel][sample["valid"]].unique().tolist()) <= {194.0, 195.0}
        assert sample["valid"].any()


def test_a_world_file_in_degrees_among_far_files(folder: Path) -> None:
    dataset = SARScenes([*(folder / "sar").iterdir(), world(folder / "world.tif")], crs=UTM, res=RES)
    near = SARScenes(folder / "sar")
    query = windows(near)[0]
    assert np.isfinite(dataset.index.total_bounds).all()
    assert torch.equal(dataset[query]["image"], near[query]["image"])


# ---------------------------------------------------------------- pictures and training


@pytest.mark.parametrize("kind", ["optical", "pairs", "labelled", "split", "union"])
def test_plot(kind: str, folder: Path, request: pytest.FixtureRequest) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    dataset: Any
    if kind == "split":
        dataset = ScenePairs(OpticalScenes(folder / "optical"), SARScenes(folder / "sar"), split=True)
    elif kind == "union":
        dataset = OpticalScenes(folder / "optical") | OpticalScenes(folder / "undated", bands=[1, 2, 3])
    else:
        dataset = request.getfixturevalue(kind)
    sample = dataset[windows(dataset)[0]]
    if kind == "labelled":
        sample["prediction"] = sample["mask"]
    figure = dataset.plot(sample, suptitle="somewhere")
    assert figure._suptitle.get_text() == "somewhere"
    titles = [axes.get_title() for axes in figure.axes]
    expected = {"optical": 1, "pairs": 2, "labelled": 3, "split": 2, "union": 1}[kind]
    assert len(titles) == expected and all(titles)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    assert all(picture.shape[:2] == (32, 32) and float(np.ptp(picture)) > 0 for picture in shown)
    assert not any(axes.get_title() for axes in dataset.plot(sample, show_titles=False).axes)
    pyplot.close("all")


def test_plot_of_a_batch(labelled: ScenePairs) -> None:
    pytest.importorskip("matplotlib")
    for sample in unbind_samples(loaded(labelled, windows(labelled, count=2))):
        assert len(labelled.plot(sample).axes) == 2


@pytest.mark.filterwarnings("ignore")
def test_trainer_fits_a_task_of_torchgeo(labelled: ScenePairs, tmp_path: Path) -> None:
    from lightning.pytorch import Trainer
    from torchgeo.trainers import SemanticSegmentationTask

    task = SemanticSegmentationTask(
        model="unet",
        backbone="resnet18",
        in_channels=3,
        task="multiclass",
        num_classes=len(DAMAGE_CLASSES),
        ignore_index=255,
    )
    loader = DataLoader(labelled, batch_size=2, sampler=windows(labelled), collate_fn=stack_samples)  # type: ignore[arg-type]
    trainer = Trainer(fast_dev_run=True, accelerator="cpu", logger=False, default_root_dir=tmp_path)
    trainer.fit(task, loader, loader)
    assert torch.isfinite(trainer.callback_metrics["train_loss"])
    trainer.test(task, loader)
