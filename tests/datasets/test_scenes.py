"""GeoTIFF scenes through torchgeo, and random places in them."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import rasterio
import torch
from codemae_datasets.samplers import seeded
from codemae_datasets.scenes import OpticalScenes, RandomPlaces, SARScenes

from codemae_geo.errors import InputError

#: the left scene of the fixture
LEFT = (500000.0, 4998720.0, 501280.0, 5000000.0)


def test_intersection_has_optical_and_sar_of_the_same_place(scenes: Path) -> None:
    places = RandomPlaces(OpticalScenes(scenes / "optical") & SARScenes(scenes / "sar"), window=32, count=20)
    items = places.paired_items(seeded(0))
    assert len(items) == 20 and not places.unpaired_items(seeded(0))
    for item in items:
        sample = places[item]
        assert sample["rgb"].shape == sample["sar"].shape == (3, 32, 32)
        assert torch.equal(sample["sar"], 255 - sample["rgb"])  # so the fixture was written
    left, _, _, top = items[0]
    number = 0 if left < 501280 else 1
    with rasterio.open(scenes / "optical" / f"optical_{number}.tif") as file:
        row, col = file.index(left + 5, top - 5)
        expected = torch.from_numpy(file.read()[:, row : row + 32, col : col + 32])
    assert torch.equal(places[items[0]]["rgb"], expected)  # to the pixel


def test_one_generator_fixes_tiles_and_places(scenes: Path) -> None:
    places = RandomPlaces(OpticalScenes(scenes / "optical") & SARScenes(scenes / "sar"), window=32, count=50)
    torch.manual_seed(0)
    first = places.paired_items(seeded(1))
    torch.manual_seed(1)  # the global state must not matter
    assert places.paired_items(seeded(1)) == first != places.paired_items(seeded(2))
    assert {left < 501280 for left, *_ in first} == {True, False}  # both tiles occur


def test_a_held_out_area_is_never_touched(scenes: Path) -> None:
    dataset = OpticalScenes(scenes / "optical") & SARScenes(scenes / "sar")
    training = RandomPlaces(dataset, window=32, count=50, holdout=[LEFT])
    assert all(left >= 501280 - 1e-6 for left, *_ in training.paired_items(seeded(0)))
    held_out = RandomPlaces(dataset, window=32, count=50, inside=LEFT)
    assert all(right <= 501280 + 1e-6 for _, _, right, _ in held_out.paired_items(seeded(0)))
    grid = held_out.grid_items()
    assert len(grid) == len(set(grid)) == 16
    with pytest.raises(InputError, match="no room"):
        RandomPlaces(dataset, window=32, count=5, holdout=[(0.0, 0.0, 1e7, 1e7)]).paired_items(seeded(0))


def test_bad_folders_bands_and_types(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        OpticalScenes(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no GeoTIFF"):
        OpticalScenes(tmp_path / "empty")
    with pytest.raises(InputError, match="bands"):
        SARScenes(scenes / "sar", bands=[2])
    with pytest.raises(InputError, match="room for a window"):
        RandomPlaces(OpticalScenes(scenes / "optical") & SARScenes(scenes / "sar"), window=512, count=1)
    with rasterio.open(scenes / "sar" / "sar_0.tif") as file:
        profile, pixels = file.profile, file.read()
    (tmp_path / "db").mkdir()
    with rasterio.open(tmp_path / "db" / "db.tif", "w", **(profile | {"dtype": "float32"})) as file:
        file.write(pixels.astype("float32") / 10 - 25)
    optical = OpticalScenes(scenes / "optical")
    with pytest.raises(InputError, match="stretch"):
        RandomPlaces(optical & SARScenes(tmp_path / "db"), window=32, count=1)
    stretched = SARScenes(tmp_path / "db", stretch=(-25.0, 0.5))
    image = stretched[stretched.bounds]["image"]
    assert image.shape == (1, 128, 128) and torch.allclose(image[0], torch.from_numpy(pixels[0]).float(), atol=0.01)


def test_picklable(scenes: Path) -> None:
    places = RandomPlaces(OpticalScenes(scenes / "optical") & SARScenes(scenes / "sar"), window=32, count=5)
    item = places.paired_items(seeded(0))[0]
    copy = pickle.loads(pickle.dumps(places))
    assert torch.equal(copy[item]["rgb"], places[item]["rgb"])
