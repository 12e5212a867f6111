"""Two dates of one place."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from codemae_datasets.prepost import PrePost
from codemae_datasets.samplers import GridWindows, RandomWindows
from codemae_datasets.scenes import LabelScenes, OpticalScenes, SARScenes
from rasterio.transform import from_origin
from torch.utils.data import DataLoader
from torchgeo.datasets import stack_samples

from codemae_geo.errors import InputError


def write(path: Path, data: np.ndarray, left: float = 500000, nodata: float | None = None) -> Path:
    """A GeoTIFF of ``[C, H, W]``, 10 m."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": len(data), "height": data.shape[1], "width": data.shape[2], "dtype": data.dtype}
    place = from_origin(left, 5000000, 10, 10)
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32633", transform=place, nodata=nodata, **shape) as file:
        file.write(data)
    return path


@pytest.mark.parametrize(
    ("before", "after", "shape"), [(3, 3, (2, 3, 64, 64)), (3, 1, (2, 3, 64, 64)), (1, 1, (2, 1, 64, 64))]
)
def test_the_image_is_as_torchgeo_has_it_for_change_detection(
    tmp_path: Path, before: int, after: int, shape: tuple[int, ...]
) -> None:
    random = np.random.default_rng(0)
    a, b = (random.integers(1, 255, (c, 64, 64)).astype("uint8") for c in (before, after))
    pre = OpticalScenes(write(tmp_path / "pre_20200101.tif", a))
    post = (SARScenes if after == 1 else OpticalScenes)(write(tmp_path / "post_20210101.tif", b))
    dataset = PrePost(pre, post)
    sample = dataset[dataset.bounds]
    assert sample["image"].shape == shape and sample["valid"].all()
    assert np.array_equal(sample["image"][0], a)
    assert np.array_equal(sample["image"][1], np.broadcast_to(b, shape[1:]))


def test_other_numbers_of_channels_stay_apart(tmp_path: Path) -> None:
    pre = OpticalScenes(write(tmp_path / "a.tif", np.ones((4, 32, 32), "int16")), bands=[1, 2, 3, 4])
    post = SARScenes(write(tmp_path / "b.tif", np.full((2, 32, 32), 2, "uint8")), bands=[1, 2])
    sample = (dataset := PrePost(pre, post))[dataset.bounds]
    assert sample["image"].shape == (4, 32, 32) and sample["image_post"].shape == (2, 32, 32)


def test_valid_is_where_both_are_and_labels_join(tmp_path: Path) -> None:
    a, b = np.ones((3, 64, 64), "uint8"), np.full((1, 64, 64), -8, "f4")
    a[:, :10], b[0, :, :20] = 0, np.nan
    pre, post = OpticalScenes(write(tmp_path / "a.tif", a, nodata=0)), SARScenes(write(tmp_path / "b.tif", b))
    labels = LabelScenes(write(tmp_path / "l.tif", np.full((1, 64, 64), 3, "uint8"), left=500100))
    dataset = PrePost(pre, post) & labels
    sample = dataset[500000:500640]
    expected = torch.zeros(64, 64, dtype=torch.bool)
    expected[10:, 20:] = True
    assert torch.equal(sample["valid"], expected) and sample["image"].shape == (2, 3, 64, 64)
    assert sample["mask"][30, 30] == 3 and sample["mask"][30, 0] == 255  # no label there
    loader = DataLoader(dataset, 4, sampler=RandomWindows(dataset, 16, 4), collate_fn=stack_samples)
    batch = next(iter(loader))
    assert batch["image"].shape == (4, 2, 3, 16, 16) and batch["mask"].shape == (4, 16, 16) and batch["valid"].all()
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[500000:500640]["image"], sample["image"])


def test_real_dates_in_two_systems(shared: Path) -> None:
    folder = shared / "data" / "joplin"
    dataset = PrePost(OpticalScenes(folder / "pre"), OpticalScenes(folder / "post"))
    assert dataset.crs.to_epsg() == 26915 and dataset.res == pytest.approx((0.6, 0.6), rel=0.01)
    window = next(iter(RandomWindows(dataset, 256, 3, seed=1)))
    sample = dataset[window]
    assert sample["image"].shape == (2, 3, 256, 256) and sample["valid"].all()
    grid = GridWindows(dataset, 512)
    assert sum(bool(dataset[q]["valid"].any()) for q in grid) == len(grid)
    figure = dataset.plot(sample, suptitle="Joplin")
    assert len(figure.axes) == 2


def test_two_places_do_not_make_a_pair(tmp_path: Path) -> None:
    one = OpticalScenes(write(tmp_path / "a.tif", np.ones((1, 32, 32), "uint8")))
    other = OpticalScenes(write(tmp_path / "b.tif", np.ones((1, 32, 32), "uint8"), left=900000))
    with pytest.raises(InputError, match="do not overlap"):
        PrePost(one, other)
