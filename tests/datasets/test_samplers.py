"""Windows that lie in valid overlap, cover the tail, are balanced, and are the same on every rank."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
import torch
from codemae_datasets.reading import close_all
from codemae_datasets.samplers import (
    ClassBalancedWindows,
    GridWindows,
    RandomWindows,
    WindowSampler,
    seeded,
    valid_share,
)
from codemae_datasets.scenes import LabelScenes, OpticalScenes, SARScenes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin

from codemae_geo.errors import InputError


def write(
    path: Path, valid: np.ndarray, left: float = 500000, top: float = 5000000, res: float = 10, crs: str = "EPSG:32633"
) -> Path:
    """A uint8 file that is 1 where valid, else 0, its nodata value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": 1, "height": valid.shape[0], "width": valid.shape[1], "dtype": "uint8"}
    place = from_origin(left, top, res, res)
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=place, nodata=0, **shape) as file:
        file.write(valid.astype("uint8")[None])
    return path


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), window=st.integers(5, 40), shift=st.integers(0, 30))
def test_windows_of_a_pair_are_valid_in_both(tmp_path: Path, seed: int, window: int, shift: int) -> None:
    random = np.random.default_rng(seed)
    a, b = np.ones((150, 170), bool), np.ones((160, 140), bool)
    for valid in (a, b):
        row, col = random.integers(0, 120, 2)
        valid[row : row + random.integers(1, 60), col : col + random.integers(1, 60)] = False
    close_all()  # the files of the last example had the same names
    one = write(tmp_path / "a" / "a.tif", a)
    two = write(tmp_path / "b" / "b.tif", b, 500000 + 10 * shift, 5000000 - 10 * shift)
    pairs = OpticalScenes(one) & SARScenes(two)
    try:
        windows = list(RandomWindows(pairs, window, 20, seed=seed))
    except InputError as error:
        assert "hardly any valid window" in str(error)  # noqa: PT017 (a refusal is one of two good ends)
        return
    for query in windows:
        sample = pairs[query]
        assert sample["image"].shape == (2, window, window) and sample["valid"].all()
        assert (query[0].start - 500000) % 10 == 0  # on the pixels


def test_part_of_a_window_may_be_invalid_when_asked(tmp_path: Path) -> None:
    valid = np.zeros((128, 128), bool)
    valid[:, :40] = True
    dataset = OpticalScenes(write(tmp_path / "a.tif", valid))
    with pytest.raises(InputError, match="hardly any valid window"):
        list(RandomWindows(dataset, 64, 10))
    shares = [dataset[q]["valid"].float().mean() for q in RandomWindows(dataset, 64, 40, min_valid=0.3)]
    assert min(shares) > 0.3 and max(shares) <= 40 / 64
    assert min(dataset[q]["valid"].float().mean() for q in RandomWindows(dataset, 64, 40, min_valid=0)) < 0.1
    assert valid_share(dataset, (500000, 4999200, 500320, 5000000), (80, 32)) == 1


def test_overviews_serve_for_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from codemae_datasets import reading

    valid = np.ones((512, 512), bool)
    valid[100:228, 200:328] = False
    path = write(tmp_path / "a.tif", valid)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4, 8], rasterio.enums.Resampling.nearest)
    monkeypatch.setattr(reading, "WHOLE_PIXELS", 1000)
    dataset = OpticalScenes(path)
    _, mask = reading.coarse_mask(dataset._header(str(path)))  # type: ignore[misc]
    assert mask.shape == (32, 32) and not mask[6:15, 12:21].any() and mask[:5].all() and mask[:, :11].all()
    assert all(dataset[q]["valid"].all() for q in RandomWindows(dataset, 64, 50))


def test_windows_in_another_system_and_a_region(tmp_path: Path) -> None:
    valid = np.ones((256, 256), bool)
    valid[100:130, 100:130] = False
    dataset = OpticalScenes(write(tmp_path / "a.tif", valid), crs="EPSG:4326", res=1e-4)
    region = dataset.index.geometry.iloc[0].centroid.buffer(0.008)
    windows = list(RandomWindows(dataset, 32, 30, roi=region))
    assert all(dataset[q]["valid"].all() for q in windows)
    assert all(region.covers(shapely.box(x.start, y.start, x.stop, y.stop)) for x, y, _ in windows)


def test_every_place_on_the_ground_is_equally_likely(tmp_path: Path) -> None:
    ones = np.ones((100, 100), bool)
    for i in range(3):  # three scenes of the first place, one of the second
        write(tmp_path / f"a{i}.tif", ones)
    write(tmp_path / "b.tif", ones, left=502000)
    dataset = OpticalScenes(tmp_path)
    count = Counter(x.start < 501000 for x, _, _ in RandomWindows(dataset, 20, 1000))
    assert 0.45 < count[True] / 1000 < 0.55
    count = Counter(x.start < 501000 for x, _, _ in RandomWindows(dataset, 20, 1000, balance="scene"))
    assert 0.7 < count[True] / 1000 < 0.8


def test_one_generator_fixes_everything(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"{i}.tif", np.ones((100, 100), bool), left=500000 + 1000 * i)
    dataset = OpticalScenes(tmp_path)

    def drawn(**options: object) -> list[str]:
        return [str(q) for q in RandomWindows(dataset, 20, 30, **options)]  # type: ignore[arg-type]

    torch.manual_seed(0)
    first = drawn(seed=4)
    torch.manual_seed(1)
    assert drawn(seed=4) == first != drawn(seed=5)
    assert drawn(generator=torch.Generator().manual_seed(7)) == drawn(generator=torch.Generator().manual_seed(7))
    sampler = RandomWindows(dataset, 20, 30, generator=torch.Generator().manual_seed(7))
    assert list(map(str, sampler)) != list(map(str, sampler))  # it goes on
    again = RandomWindows(dataset, 20, 30, seed=4)
    again.set_epoch(1)
    assert list(map(str, again)) != first
    again.set_epoch(0)
    assert list(map(str, again)) == first
    assert len(RandomWindows(dataset, 20)) == 75  # as many as fit side by side


@pytest.mark.parametrize("world", [2, 3, 7])
def test_ranks_share_what_one_process_draws(tmp_path: Path, world: int) -> None:
    dataset = OpticalScenes(write(tmp_path / "a.tif", np.ones((100, 100), bool)))
    for make in (
        lambda **kw: RandomWindows(dataset, 20, 40, seed=2, **kw),
        lambda **kw: GridWindows(dataset, 30, **kw),
        lambda **kw: GridWindows(dataset, 100, **kw),  # one window for all ranks
    ):
        alone = list(map(str, make()))
        ranks = [list(map(str, make(rank=r, world=world))) for r in range(world)]
        assert {len(r) for r in ranks} == {len(make(rank=0, world=world))} == {-(-len(alone) // world)}
        assert set(alone) == {q for r in ranks for q in r}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 90), cols=st.integers(1, 90), size=st.integers(3, 50), overlap=st.integers(0, 20))
def test_a_grid_covers_every_pixel(tmp_path: Path, rows: int, cols: int, size: int, overlap: int) -> None:
    close_all()
    write(tmp_path / "a.tif", np.ones((rows, cols), bool))
    write(tmp_path / "b.tif", np.ones((40, 40), bool), left=500000 + 10 * cols, top=5000000 - 50)
    write(tmp_path / "c.tif", np.ones((30, 30), bool), left=600000)
    dataset = OpticalScenes(tmp_path)
    sampler = GridWindows(dataset, size, max(1, size - overlap))
    covered = np.zeros((140, cols + 40), int), np.zeros((30, 30), int)
    for x, y, _ in sampler:
        far = x.start > 550000
        row, col = round((5000000 - y.stop) / 10), round((x.start - (600000 if far else 500000)) / 10)
        assert row >= 0 and col >= 0
        covered[far][row : row + size, col : col + size] += 1
    assert (covered[0][:rows, :cols] > 0).all() and (covered[0][5:45, cols : cols + 40] > 0).all()
    assert (covered[1] > 0).all()
    assert len(set(map(str, sampler))) == len(sampler)


def test_a_window_larger_than_the_scene_is_padded(tmp_path: Path) -> None:
    dataset = OpticalScenes(write(tmp_path / "a.tif", np.ones((10, 12), bool)))
    (query,) = GridWindows(dataset, 16)
    sample = dataset[query]
    assert sample["image"].shape == (1, 16, 16) and sample["valid"].sum() == 120 and sample["valid"][:10, :12].all()
    assert len(GridWindows(dataset, 4, roi=(500000, 4999990, 500010, 5000000))) == 1


def test_classes_come_as_often_as_asked(tmp_path: Path) -> None:
    values = np.ones((256, 256), int)
    values[200:204, 50:54] = 2  # 16 of 65,536 pixels
    values[:, 250:] = 3
    path = write(tmp_path / "l" / "l.tif", values)
    image = write(tmp_path / "i" / "i.tif", np.ones((300, 300), bool))
    labels = LabelScenes(path)
    dataset = OpticalScenes(image) & labels

    def seen(**options: object) -> Counter[int]:
        sampler = ClassBalancedWindows(dataset, labels, 16, 300, seed=1, **options)  # type: ignore[arg-type]
        return Counter(int(v) for q in sampler for v in dataset[q]["mask"].unique())

    even = seen()
    assert even[2] > 70 and even[3] > 90 and even[255] == 0
    weighted = seen(classes=[2, 3], weights=[0, 1])
    assert weighted[3] > 150 and weighted[2] < 5
    assert seen() == even
    with pytest.raises(InputError, match="class 9 does not occur"):
        seen(classes=[9])
    with pytest.raises(InputError, match="weights do not fit"):
        seen(weights=[1])


def test_what_cannot_be_sampled_says_so(tmp_path: Path) -> None:
    dataset = OpticalScenes(write(tmp_path / "a.tif", np.ones((40, 40), bool)))
    with pytest.raises(InputError, match="room for a window"):
        RandomWindows(dataset, 64, 3)
    with pytest.raises(InputError, match="room for a window"):
        RandomWindows(dataset, 20, 3, roi=(0, 0, 100, 100))
    with pytest.raises(InputError, match="leaves gaps"):
        GridWindows(dataset, 10, 11)
    with pytest.raises(InputError, match="cannot be set up"):
        RandomWindows(dataset, 10, 3, rank=2, world=2)
    with pytest.raises(InputError, match="no balance"):
        RandomWindows(dataset, 10, 3, balance="class")  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        WindowSampler(dataset, 10).windows(seeded(0))
