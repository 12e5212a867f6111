"""RGB-depth datasets and the HHA encoding."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from codemae_datasets.public import open_dataset
from codemae_datasets.public._depth import DepthDataset
from codemae_datasets.public.hha import encode_hha, estimate_gravity, surface_normals
from PIL import Image
from support.copies import make

from codemae_geo.errors import InputError

INTRINSICS = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])
SHAPE = (48, 64)


def plane(normal: tuple[float, float, float], offset: float) -> np.ndarray:
    """Depth [H, W] of the plane normal . p = offset, 0 where the ray does not meet it within 20 m."""
    rows, columns = np.indices(SHAPE, dtype=float)
    rays = np.stack([(columns - 31.5) / 60, (rows - 23.5) / 60, np.ones(SHAPE)])
    along = np.tensordot(np.asarray(normal), rays, axes=1)
    depth = np.divide(offset, along, out=np.zeros(SHAPE), where=np.abs(along) > 1e-9)
    return np.where((depth > 0) & (depth < 20), depth, 0.0)


def tilt(degrees: float) -> np.ndarray:
    """Rotation about the camera's x axis: down, seen from a camera that looks down by ``degrees``."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


def room(pitch: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Floor 1.5 m below the camera and a wall 3 m ahead: depth, where the floor is, and gravity."""
    turn = tilt(pitch).T
    down, ahead = turn @ [0, 1, 0], turn @ [0, 0, 1]
    floor, wall = plane(tuple(down), 1.5), plane(tuple(ahead), 3.0)
    is_floor = (floor > 0) & ((wall == 0) | (floor < wall))
    return np.where(is_floor, floor, wall), is_floor, down


def inner(mask: np.ndarray, by: int) -> np.ndarray:
    """Pixels whose whole window lies in the mask."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(mask, by), (2 * by + 1, 2 * by + 1))
    return windows.all(axis=(2, 3))


@pytest.mark.parametrize("normal", [(0, 0, 1), (0.3, -0.2, 1), (-0.6, 0.5, 1)])
def test_the_normal_of_a_plane_is_exact(normal: tuple[float, float, float]) -> None:
    depth = plane(normal, 3.0)
    expected = np.asarray(normal) / np.linalg.norm(normal)
    found = surface_normals(depth, INTRINSICS, 3)
    assert np.abs(found[:, depth > 0] - expected[:, None]).max() < 1e-9


def test_gaps_do_not_bend_a_plane() -> None:
    depth = plane((0.2, 0.1, 1), 2.0)
    depth[np.random.default_rng(0).random(SHAPE) < 0.4] = 0
    found = surface_normals(depth, INTRINSICS, 3)
    expected = np.array([0.2, 0.1, 1]) / np.linalg.norm([0.2, 0.1, 1])
    assert np.abs(found[:, depth > 0] - expected[:, None]).max() < 1e-8
    assert (found[:, depth == 0] == 0).all()


@pytest.mark.parametrize("pitch", [0.0, 20.0, 35.0])
def test_gravity_is_found_in_a_room(pitch: float) -> None:
    depth, floor, down = room(pitch)
    assert floor.any() == (pitch > 0), "a level camera sees the wall alone"
    found = estimate_gravity(surface_normals(depth, INTRINSICS, 3)[:, depth > 0])
    assert np.degrees(np.arccos(np.clip(found @ down, -1, 1))) < 2


@pytest.mark.parametrize("known", [True, False], ids=["gravity given", "gravity estimated"])
def test_hha_of_a_room(known: bool) -> None:
    depth, floor, down = room(20.0)
    disparity, height, angle = encode_hha(depth, INTRINSICS, down if known else None).astype(int)
    assert np.abs(disparity - np.clip(np.rint(31000 / np.maximum(100 * depth, 100)), 0, 255)).max() == 0
    slack = 1 if known else 5
    assert np.abs(height[floor]).max() <= slack, "the floor is the ground"
    on_floor, on_wall = inner(floor, 3), inner(~floor & (depth > 0), 3)
    assert on_floor.any() and on_wall.any()
    assert np.abs(angle[on_floor] - 38).max() <= slack and np.abs(angle[on_wall] - 128).max() <= slack
    # the wall stands 3 m ahead: a pixel's height follows from its row
    rows = np.indices(SHAPE)[0]
    rays = np.stack([np.zeros(SHAPE), (rows - 23.5) / 60, np.ones(SHAPE)])
    above = 150 - 100 * depth * np.tensordot(down, rays, axes=1)
    assert np.abs(height[on_wall] - above[on_wall]).max() <= slack


def test_a_ceiling_looks_against_gravity() -> None:
    ceiling = plane((0, -1, 0), 1.2)
    hha = encode_hha(ceiling, INTRINSICS, np.array([0, 1, 0]))
    assert (hha[2, inner(ceiling > 0, 3)] == 218).all()
    assert set(hha[1, ceiling > 0].tolist()) == {250}, "1.2 m above a camera that stands at 1.3 m"


def test_without_a_floor_the_camera_stands_at_130_cm() -> None:
    wall = plane((0, 0, 1), 1.0)  # reaches 40 cm below the camera
    height = encode_hha(wall, INTRINSICS, np.array([0, 1, 0]))[1]
    assert height[23, 10] in (130, 131) and height[0, 10] == round(130 + 100 * 23.5 / 60)


def test_no_depth_stays_zero_and_nothing_but_gaps_is_an_error() -> None:
    depth = plane((0, 0, 1), 2.0)
    depth[:10] = 0
    depth[10, 3] = np.nan
    hha = encode_hha(depth, INTRINSICS, np.array([0, 1, 0]))
    assert hha.shape == (3, *SHAPE) and hha.dtype == np.uint8
    assert (hha[:, :10] == 0).all() and (hha[:, 10, 3] == 0).all() and (hha[0, 11:] > 0).all()
    with pytest.raises(InputError, match="no depth"):
        encode_hha(np.zeros(SHAPE), INTRINSICS)
    with pytest.raises(InputError, match="do not fit"):
        encode_hha(depth, INTRINSICS[:2])


def test_sun_rgbd_turns_the_sensors_bits_back(tmp_path: Path) -> None:
    root = make("sun_rgbd", tmp_path)
    dataset = open_dataset("sun_rgbd", root, split="test", depth="both")
    assert [item.name for item in dataset.items] == ["xtion/sun3ddata/a/0001", "realsense/lg/0002"]
    for n, sample in enumerate((dataset[0], dataset[1])):
        assert sample["depth"].shape == (1, 24, 32) and (sample["depth"][0, 2:] == 4 + n).all()
        assert (sample["depth"][0, :2, :2] == 0).all()
        # a wall straight ahead: its angle is 90 degrees, and the camera stands 130 cm above the ground
        disparity, height, angle = sample["hha"]
        assert (disparity[2:] == round(31000 / (100 * (4 + n)))).all() and (angle[2:, 2:] == 128).all()
        assert height[11].max() <= 255 and (sample["hha"][:, :2, :2] == 0).all()
        assert (height.diff(dim=0)[2:] <= 0).all(), "higher rows are higher above the ground"


def test_sun_rgbd_cuts_what_is_far(tmp_path: Path) -> None:
    root = make("sun_rgbd", tmp_path)
    dataset = open_dataset("sun_rgbd", root, depth="metres")
    mm = np.full((24, 32), 9500, np.uint16)
    Image.fromarray(((mm << 3) | (mm >> 13)).astype(np.uint16)).save(dataset.items[0].files["depth"])
    assert (dataset[0]["depth"] == 8).all() and "hha" not in dataset[0]


def test_labels_of_both_count_from_zero(tmp_path: Path) -> None:
    sun = open_dataset("sun_rgbd", make("sun_rgbd", tmp_path / "sun"), depth="none")
    stored = np.random.default_rng(0).integers(0, 38, (32, 24)).astype(int).T
    assert (sun[0]["mask"].numpy() == np.where(stored == 0, 255, stored - 1)).all()
    nyu = open_dataset("nyu_depth_v2", make("nyu_depth_v2", tmp_path / "nyu"), depth="none")
    raw = np.arange(32) * 28
    assert (nyu[0]["mask"].numpy() == np.where(raw == 0, 255, (raw - 1) % 40)[None]).all()
    assert set(nyu[0]) == {"image", "mask"} and nyu[0]["image"].shape == (3, 24, 32)


def test_hha_is_written_once_and_read_from_then_on(tmp_path: Path) -> None:
    for name in ("sun_rgbd", "nyu_depth_v2"):
        dataset = open_dataset(name, make(name, tmp_path / name))
        computed = dataset[1]["hha"]
        assert isinstance(dataset, DepthDataset) and dataset.save_hha() == 2 and dataset.save_hha() == 0
        files = sorted((tmp_path / name).rglob("hha/*.png"))
        assert len(files) == 2 and torch.equal(dataset[1]["hha"], computed)
        for path in files:
            Image.fromarray(np.full((24, 32, 3), 7, np.uint8)).save(path)
        assert (dataset[1]["hha"] == 7).all()
        Image.fromarray(np.full((20, 32, 3), 7, np.uint8)).save(files[0])
        with pytest.raises(InputError, match="differ in size"):
            [dataset[i] for i in range(2)]


def test_broken_depth_files_are_named(tmp_path: Path) -> None:
    root = make("sun_rgbd", tmp_path / "sun")
    dataset = open_dataset("sun_rgbd", root)
    dataset.items[0].files["intrinsics"].write_text("1 2 3", encoding="utf-8")
    with pytest.raises(InputError, match=r"intrinsics\.txt"):
        dataset[0]
    (root / "SUNRGBDtoolbox" / "Metadata" / "SUNRGBD2Dseg.mat").write_bytes(b"no")
    with pytest.raises(InputError, match=r"SUNRGBD2Dseg\.mat"):
        dataset[1]
    root = make("nyu_depth_v2", tmp_path / "nyu")
    (root / "splits.mat").write_bytes(b"no")
    with pytest.raises(InputError, match=r"splits\.mat"):
        open_dataset("nyu_depth_v2", root)


def test_cards_are_there_without_the_libraries_that_read_matlab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make("nyu_depth_v2", tmp_path)
    dataset = open_dataset("nyu_depth_v2", root)
    for module in ("h5py", "scipy.io"):
        monkeypatch.setitem(sys.modules, module, None)
    assert dataset.card.title == "NYU-Depth v2"
    with pytest.raises(InputError, match="h5py") as error:
        dataset[0]
    assert "codemae-geo[data]" in str(error.value.hint)
    with pytest.raises(InputError, match="scipy"):
        open_dataset("nyu_depth_v2", root)
