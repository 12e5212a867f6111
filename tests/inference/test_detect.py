"""Objects of whole scenes: every one once and where it is, whatever the windows; and the detector itself."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.transform import Affine, from_origin
from shapely.geometry import box
from support.packages import CLASSES, BrightSquares, make_detector, rename_architecture
from support.scenes import SMALL, make_model, write_raster

from codemae_geo import models
from codemae_geo.errors import InputError, ModelError
from codemae_geo.inference.detect import EDGE, Boxes, detect, place, suppress
from codemae_geo.inference.request import RunOptions
from codemae_geo.tiling import plan_tiles
from codemae_geo.weights.verify import verify_package

ORIGIN = (366000.0, 4104000.0)
CPU = {"device": "cpu", "precision": "float32"}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that finds bright squares: windows of 96 pixels, one every 48."""
    monkeypatch.setitem(models.ARCHITECTURES, "bright-squares", BrightSquares)
    return make_detector(tmp_path / "squares.safetensors", fake=True)


def write(
    path: Path, squares: list[tuple[int, int, int, int]], size: tuple[int, int] = (250, 300), **changes: Any
) -> Path:
    """A dark scene of 0.5 m pixels with bright squares (left, top, right, bottom), every second one brighter."""
    data = np.full((3, *size), 40, np.uint8)
    for n, (left, top, right, bottom) in enumerate(squares):
        data[:, top:bottom, left:right] = (200, 250)[n % 2]
    profile = {"crs": "EPSG:32615", "transform": from_origin(*ORIGIN, 0.5, 0.5), **changes}
    hole = profile.pop("hole", None)
    if hole is not None:
        data[:, hole[1] : hole[3], hole[0] : hole[2]] = 0
        profile["nodata"] = 0
    kind = {"driver": "GTiff", "count": 3, "height": size[0], "width": size[1], "dtype": "uint8"}
    with rasterio.open(path, "w", **kind, **profile) as out:
        out.write(data)
    return path


def found(model: Path, scene: Path, out: Path, **options: Any) -> gpd.GeoDataFrame:
    detect(model, scene, out, options=RunOptions(**CPU, **options.pop("windows", {})), **options)
    return gpd.read_file(out / "detections.gpkg", layer="detections")


def corners(table: gpd.GeoDataFrame) -> list[tuple[int, ...]]:
    """Boxes as pixels of the scene, sorted."""
    bounds = table.geometry.bounds.to_numpy()
    pixels = np.stack(
        [bounds[:, 0] - ORIGIN[0], ORIGIN[1] - bounds[:, 3], bounds[:, 2] - ORIGIN[0], ORIGIN[1] - bounds[:, 1]], 1
    )
    return sorted(tuple(int(v) for v in row) for row in np.rint(pixels / 0.5))


def scatter(seed: int, count: int, largest: int, size: tuple[int, int] = (250, 300)) -> list[tuple[int, int, int, int]]:
    """Rectangles that keep two pixels apart; some lie at the scene's edges."""
    random = np.random.default_rng(seed)
    placed: list[tuple[int, int, int, int]] = []
    while len(placed) < count:
        w, h = random.integers(4, largest + 1, 2)
        left, top = random.integers(-8, size[1] - w + 9), random.integers(-8, size[0] - h + 9)
        left, top = int(np.clip(left, 0, size[1] - w)), int(np.clip(top, 0, size[0] - h))
        new = (left, top, int(left + w), int(top + h))
        if all(new[0] > b[2] + 2 or b[0] > new[2] + 2 or new[1] > b[3] + 2 or b[1] > new[3] + 2 for b in placed):
            placed.append(new)
    return placed


@pytest.mark.parametrize("seed", range(3))
def test_every_object_is_found_once_and_to_the_pixel(seed: int, fake: Path, tmp_path: Path) -> None:
    squares = scatter(seed, 30, largest=40)  # windows overlap by 48
    table = found(fake, write(tmp_path / "scene.tif", squares), tmp_path / "out")
    assert corners(table) == sorted(squares)
    assert not table["cut"].any()
    assert table.crs == "EPSG:32615"
    assert (
        set(table["name"]) == {"boat", "ship"} and (table["name"] == table["class"].map({0: "boat", 1: "ship"})).all()
    )
    assert table["score"].is_monotonic_decreasing


def test_windows_do_not_matter(fake: Path, tmp_path: Path) -> None:
    squares = scatter(7, 25, largest=25)
    scene = write(tmp_path / "scene.tif", squares)
    for name, windows in (("one", {"window": 512}), ("small", {"window": 64}), ("dense", {"overlap": 0.8})):
        assert corners(found(fake, scene, tmp_path / name, windows=windows)) == sorted(squares)


def test_the_table_is_styled_and_tells_where_it_comes_from(fake: Path, tmp_path: Path) -> None:
    squares = scatter(1, 9, largest=30)
    result = detect(fake, write(tmp_path / "scene.tif", squares), tmp_path / "out", options=RunOptions(**CPU))
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["detections"] == {
        "n": 9, "cut": 0, "score_threshold": 0.1, "classes": {"boat": 5, "ship": 4},
    }  # fmt: skip
    assert set(result.outputs) == {"detections", "summary"}
    assert summary["windows"]["run"] == 30
    with sqlite3.connect(tmp_path / "out/detections.gpkg") as connection:
        (style,) = connection.execute("SELECT styleQML FROM layer_styles WHERE f_table_name = 'detections'").fetchone()
    assert all(f'label="{c.name.capitalize()}"' in style for c in CLASSES)
    assert 'value="230,159,0,255"' in style
    assert not list(tmp_path.glob(".*"))


def test_an_object_wider_than_the_overlap_stays_in_pieces_and_says_so(fake: Path, tmp_path: Path) -> None:
    long = (20, 60, 260, 70)
    result = detect(fake, write(tmp_path / "scene.tif", [long]), tmp_path / "out", options=RunOptions(**CPU))
    table = gpd.read_file(tmp_path / "out/detections.gpkg", layer="detections")
    assert table["cut"].all() and len(table) > 1
    assert table.union_all().bounds == (366010, 4103965, 366130, 4103970)
    assert "cut" in [w["code"] for w in result.summary["warnings"]]
    # in windows that hold it there is one, whole
    assert corners(found(fake, tmp_path / "scene.tif", tmp_path / "wide", windows={"window": 512})) == [long]


def test_nodata_and_the_area_of_interest_count_by_the_middle_of_a_box(fake: Path, tmp_path: Path) -> None:
    squares = [(20, 20, 40, 40), (100, 20, 120, 40), (200, 20, 220, 40), (20, 200, 40, 220)]
    scene = write(tmp_path / "scene.tif", squares, hole=(100, 0, 112, 250))
    # of the second square its right 8 columns are left, and are found as a box of their own
    assert corners(found(fake, scene, tmp_path / "hole")) == sorted([squares[0], (112, 20, 120, 40), *squares[2:]])
    area = gpd.GeoSeries([box(366000, 4103900, 366106, 4104000)], crs="EPSG:32615")  # 212 of 300 columns
    area.to_crs("EPSG:4326").to_file(tmp_path / "aoi.geojson")
    inside = found(fake, scene, tmp_path / "aoi", aoi=tmp_path / "aoi.geojson")
    # the third is seen whole beyond the area's border; the fourth lies outside
    assert corners(inside) == sorted([squares[0], (112, 20, 120, 40), squares[2]])
    assert corners(found(fake, scene, tmp_path / "bounds", bounds=area.total_bounds)) == corners(inside)
    # the third begins at 366100 and its middle is at 366105, 4103985
    assert corners(found(fake, scene, tmp_path / "part", bounds=(366095, 4103950, 366108, 4103986))) == [squares[2]]
    assert corners(found(fake, scene, tmp_path / "low", bounds=(366005, 4103880, 366030, 4103897))) == [squares[3]]
    area = gpd.GeoSeries([box(366000, 4103900, 366104, 4104000)], crs="EPSG:32615")  # 208: less than its middle
    area.to_crs("EPSG:4326").to_file(tmp_path / "less.geojson")
    assert len(found(fake, scene, tmp_path / "less", aoi=tmp_path / "less.geojson")) == len(inside) - 1


def test_a_scene_in_degrees_and_another_target_grid(fake: Path, tmp_path: Path) -> None:
    degrees = {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 10, 0, -1e-5, 50)}
    scene = write(tmp_path / "scene.tif", [(30, 40, 50, 70)], **degrees)
    table = found(fake, scene, tmp_path / "out")
    assert table.crs == "EPSG:4326"
    np.testing.assert_allclose(table.total_bounds, [10.0003, 49.9993, 10.0005, 49.9996], atol=1e-9)
    warped = found(fake, scene, tmp_path / "utm", dst_crs="EPSG:32632")
    assert warped.crs == "EPSG:32632" and len(warped) == 1
    # pixels of about a metre; the warped square is a slightly turned one
    west, south, east, north = warped.to_crs("EPSG:4326").total_bounds
    np.testing.assert_allclose([west, south, east, north], table.total_bounds, atol=5e-5)


def test_a_scene_without_objects_has_an_empty_table(fake: Path, tmp_path: Path) -> None:
    table = found(fake, write(tmp_path / "scene.tif", []), tmp_path / "out")
    assert len(table) == 0 and list(table.columns) == ["class", "name", "score", "cut", "geometry"]


def test_the_threshold_can_be_changed(fake: Path, tmp_path: Path) -> None:
    scene = write(tmp_path / "scene.tif", [(20, 20, 40, 40), (100, 20, 120, 40)])
    table = found(fake, scene, tmp_path / "out", score_threshold=0.9)
    assert list(table["name"]) == ["ship"] and table["score"][0] == pytest.approx(250 / 255)
    with pytest.raises(InputError, match="out of range"):
        found(fake, scene, tmp_path / "none", score_threshold=1.5)


def seen_by_windows(objects: NDArray[np.float64], size: tuple[int, int], window: int, overlap: float) -> Boxes:
    """What a detector without errors makes of a scene: in every window the visible part of every object."""
    plan = plan_tiles(*size, window, overlap, blend="none")
    parts = []
    for i, row in enumerate(plan.row_starts):
        for j, col in enumerate(plan.col_starts):
            local = objects - [col, row, col, row]
            visible = np.clip(local, 0, [plan.window[1], plan.window[0]] * 2)
            shown = ((visible[:, 2:] - visible[:, :2]) > 0).all(1)
            # a part of an object scores lower than all of it, as a rule: the share that is visible
            share = (visible[:, 2:] - visible[:, :2]).prod(1) / (local[:, 2:] - local[:, :2]).prod(1)
            found = Boxes(visible, np.arange(len(objects)), share, np.zeros(len(objects), bool))
            parts.append(place(found[shown], plan, i, j))
    boxes = Boxes.join(parts)
    return boxes[suppress(boxes)]


@given(
    window=st.integers(48, 200),
    overlap=st.floats(0.15, 0.85),
    size=st.tuples(st.integers(40, 420), st.integers(40, 420)),
    share=st.floats(0.1, 1.0),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_objects_across_window_borders_are_found_exactly_once(
    window: int, overlap: float, size: tuple[int, int], share: float, seed: int
) -> None:
    """Over window, overlap and object size: whatever fits into the overlap of two windows is there once, to the pixel.

    Each object is a class of its own, so nothing but :func:`place` and duplicates of itself can take it away.
    """
    plan = plan_tiles(*size, window, overlap, blend="none")
    steps = [np.diff(starts).max(initial=0) for starts in (plan.row_starts, plan.col_starts)]
    room = min(side - step if step else side for side, step in zip(plan.window, steps, strict=True))
    largest = max(int((room - 2 * EDGE - 1) * share), 1)
    random = np.random.default_rng(seed)
    sides = random.integers(1, largest + 1, (25, 2))
    sides = np.minimum(sides, [size[1], size[0]])
    # half of them lie where windows end, the others anywhere
    corner = random.integers(0, np.array([size[1], size[0]]) - sides + 1)
    for axis, starts in ((0, plan.col_starts), (1, plan.row_starts)):
        edge = random.choice(starts, 12) + random.integers(0, 2, 12) * plan.window[1 - axis]
        place_at = edge - random.integers(0, sides[:12, axis] + 1)
        corner[:12, axis] = np.clip(place_at, 0, (size[1], size[0])[axis] - sides[:12, axis])
    objects = np.concatenate([corner, corner + sides], 1).astype(np.float64)
    found = seen_by_windows(objects, size, window, overlap)
    assert sorted(found.classes.tolist()) == list(range(25))
    assert (found.corners[np.argsort(found.classes)] == objects).all() and not found.cut.any()


@given(window=st.integers(48, 128), overlap=st.floats(0.1, 0.7), length=st.integers(60, 300), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_an_object_larger_than_the_overlap_is_never_lost(window: int, overlap: float, length: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    left, top = int(random.integers(0, 301 - length)), int(random.integers(0, 290))
    objects = np.array([[left, top, left + length, top + 10]], np.float64)
    found = seen_by_windows(objects, (300, 300), window, overlap)
    assert len(found) >= 1
    assert (found.corners[:, ::2] >= left).all() and (found.corners[:, ::2] <= left + length).all()
    assert found.cut.all() or (len(found) == 1 and (found.corners == objects).all())


@given(st.integers(0, 10_000), st.integers(0, 120), st.floats(0.1, 0.9))
@settings(max_examples=40, deadline=None)
def test_suppression_is_torchvisions(seed: int, count: int, iou: float) -> None:
    from torchvision.ops import batched_nms

    random = np.random.default_rng(seed)
    low = random.uniform(0, 60, (count, 2))
    corners = np.concatenate([low, low + random.uniform(1, 40, (count, 2))], 1)
    scores = random.permutation(count) / max(count, 1)
    classes = random.integers(0, 3, count)
    boxes = Boxes(corners, classes, scores, np.zeros(count, bool))
    wanted = batched_nms(*(torch.from_numpy(x) for x in (corners, scores, classes)), iou)
    assert suppress(boxes, iou).tolist() == wanted.tolist()


def test_whole_boxes_win_over_cut_ones() -> None:
    corners = np.array([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    boxes = Boxes(corners, np.zeros(2, np.int64), np.array([0.9, 0.5]), np.array([True, False]))
    assert suppress(boxes).tolist() == [1]


# ---------------------------------------------------------------- the detector


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_detector(tmp_path_factory.mktemp("model") / "detector.safetensors")


def test_a_package_with_random_weights_runs_on_a_scene(detector: Path, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", size=(150, 130))
    table = found(detector, scene, tmp_path / "out", windows={"overlap": 0.2})
    assert len(table) > 0
    west, south, east, north = table.total_bounds
    assert west >= 366000 and east <= 366065 and south >= 4103925 and north <= 4104000
    assert table["score"].between(0.1, 1).all()


def test_the_package_is_verified_like_any_other(detector: Path) -> None:
    report = verify_package(detector)
    assert len(report["answers"]) == 3 and report["answers"][0][1] == 4


def test_sides_that_do_not_divide_and_half_precision(detector: Path) -> None:
    config = {"encoder": SMALL, "num_classes": 2, "head_dim": 16, "head_hidden": 32, "min_score": 0.0}
    module = models.build("faster-rcnn", config).eval()
    image = torch.randn(2, 3, 70, 45)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        answers = module(image)
    assert len(answers) == 2
    for answer in answers:
        assert answer["boxes"].dtype == answer["scores"].dtype == torch.float32
        assert (answer["boxes"].min(0).values >= 0).all()
        assert (answer["boxes"].max(0).values <= torch.tensor([45.0, 70, 45, 70])).all()
        assert set(answer["labels"].tolist()) <= {1, 2}


def test_training_reaches_the_tokenizer_also_with_an_image_without_objects() -> None:
    torch.manual_seed(0)
    module = models.build(
        "faster-rcnn", {"encoder": SMALL, "num_classes": 2, "head_dim": 16, "head_hidden": 32}
    ).train()
    targets = [
        {"boxes": torch.tensor([[10.0, 10, 40, 50]]), "labels": torch.tensor([2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    losses = module(torch.randn(2, 3, 64, 64), targets)
    assert set(losses) == {"objectness", "proposal", "classes", "boxes"}
    assert all(loss.isfinite() for loss in losses.values()) and losses["boxes"] > 0
    sum(losses.values()).backward()
    assert module.backbone.patch_embed_rgb.proj.weight.grad.abs().sum() > 0
    with pytest.raises(ModelError, match="needs targets"):
        module(torch.randn(1, 3, 64, 64))


def test_without_torchvision_there_is_one_clear_message(
    detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    scene = write_raster(tmp_path / "scene.tif", size=(64, 64))
    with pytest.raises(ModelError, match="needs torchvision") as error:
        detect(detector, scene, tmp_path / "out")
    assert "codemae-geo[detection]" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_package_of_the_detector_before_is_refused(detector: Path, tmp_path: Path) -> None:
    """Packages of versions before this one name an architecture that is gone; the message says what to do."""
    old = rename_architecture(detector, tmp_path / "old.safetensors", "detector")
    with pytest.raises(ModelError, match="of an earlier version") as error:
        detect(old, write_raster(tmp_path / "scene.tif", size=(64, 64)), tmp_path / "out")
    assert "codemae finetune detection" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_detector_that_resizes_its_images_is_not_exported(detector: Path, tmp_path: Path) -> None:
    """The exported form would not resize, and so find other objects."""
    from codemae_geo.inference.runtimes.export import export
    from codemae_geo.weights import open_package

    pytest.importorskip("onnxscript")
    spec = open_package(detector).contract.architecture
    fitting = spec.model_copy(update={"config": {**spec.config, "fit": [128, 128]}})
    package = open_package(make_detector(tmp_path / "fit.safetensors", architecture=fitting))
    with pytest.raises(ModelError, match="resizes its images"):
        export(package, tmp_path / "fit.onnx")
    assert not (tmp_path / "fit.onnx").exists()


def test_models_that_do_not_fit_are_refused(detector: Path, fake: Path, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", size=(64, 64))
    other = make_model(tmp_path / "segmenter.safetensors", task="segmentation")
    with pytest.raises(ModelError, match="does not fit finding objects") as error:
        detect(other, scene, tmp_path / "out")
    assert "codemae predict" in str(error.value)
    with pytest.raises(InputError, match="too few bands"):
        detect(detector, write_raster(tmp_path / "sar.tif", count=1), tmp_path / "out")
    wrong = make_detector(tmp_path / "three.safetensors", classes=CLASSES[:1])
    with pytest.raises(ModelError, match="does not fit its network"):
        detect(wrong, scene, tmp_path / "out")
    with pytest.raises(ValueError, match="no background"):
        make_detector(tmp_path / "bad.safetensors", classes=[CLASSES[0].model_copy(update={"background": True})])
    with pytest.raises(InputError, match="lies outside the scene"):
        detect(fake, scene, tmp_path / "out", bounds=(0, 0, 9, 9))
    void: NDArray[np.uint8] = np.zeros((3, 64, 64), np.uint8)
    with rasterio.open(scene, "r+") as raster:
        raster.nodata = 0
        raster.write(void)
    with pytest.raises(InputError, match="no pixel could be analysed"):
        detect(fake, scene, tmp_path / "out")
    assert not (tmp_path / "out").exists()
