"""`codemae finetune` of detectors as installed: the papers' recipes in true layouts, and boxes of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
import yaml  # type: ignore[import-untyped]
from PIL import Image
from rasterio.transform import from_origin
from shapely.geometry import box
from support.curves import curve, generated, installed, invoke, killed_and_resumed

from codemae_geo.weights.package import read_contract
from codemae_geo.weights.verify import verify_package

ENCODER = "model.encoder={embed_dim: 32, mlp_depth1: 1, mlp_depth2: 1, depth: 2, num_heads: 2, fpn_dim: 16}"
#: a detector that trains in no time
TINY = [
    *(ENCODER, "model.img_size=32", "model.head_dim=8", "model.head_hidden=16", "train.precision=32-true"),
    *("train.accelerator=cpu", "train.log_every=1", "train.save_every=1", "data.workers=0", "train.batch=2"),
]
CRS, LEFT, TOP, SIZE = "EPSG:32615", 400_000.0, 4_000_000.0, 160


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the processes that are started here: sums of several threads are not the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def squares(count: int = 18, seed: int = 0) -> list[tuple[int, int, int, int]]:
    """Boxes in pixels that keep two pixels apart."""
    random = np.random.default_rng(seed)
    placed: list[tuple[int, int, int, int]] = []
    while len(placed) < count:
        w, h = random.integers(14, 26, 2)
        left, top = random.integers(0, SIZE - w), random.integers(0, SIZE - h)
        new = (int(left), int(top), int(left + w), int(top + h))
        if all(new[0] > b[2] + 2 or b[0] > new[2] + 2 or new[1] > b[3] + 2 or b[1] > new[3] + 2 for b in placed):
            placed.append(new)
    return placed


def pixels(boxes: list[tuple[int, int, int, int]], seed: int = 0) -> np.ndarray:
    image = np.random.default_rng(seed).integers(40, 90, (3, SIZE, SIZE)).astype(np.uint8)
    for number, (left, top, right, bottom) in enumerate(boxes):
        image[:, top:bottom, left:right] = (170, 230)[number % 2]
    return image


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of boats and ships; their boxes as a GeoPackage in degrees and in the three forms in pixels."""
    folder = tmp_path_factory.mktemp("harbour")
    boxes = squares()
    names = ["boat" if number % 2 else "ship" for number in range(len(boxes))]
    with rasterio.open(
        folder / "scene.tif", "w", driver="GTiff", count=3, height=SIZE, width=SIZE, dtype="uint8", crs=CRS,
        transform=from_origin(LEFT, TOP, 1, 1),
    ) as file:  # fmt: skip
        file.write(pixels(boxes))
    shapes = [box(LEFT + a, TOP - d, LEFT + c, TOP - b) for a, b, c, d in boxes]
    frame = gpd.GeoDataFrame({"id": range(len(boxes)), "class": names}, geometry=shapes, crs=CRS)
    frame.to_crs("EPSG:4326").to_file(folder / "boxes.gpkg")
    frame.drop(columns="class").assign(other=1).to_file(folder / "plain.gpkg")
    coco = {
        "images": [{"id": 7, "file_name": "images/scene.tif", "width": SIZE, "height": SIZE}],
        "categories": [{"id": 3, "name": "ship"}, {"id": 1, "name": "boat"}],
        "annotations": [
            {"id": n, "image_id": 7, "category_id": 3 if k == "ship" else 1, "bbox": [a, b, c - a, d - b]}
            for n, ((a, b, c, d), k) in enumerate(zip(boxes, names, strict=True))
        ],
    }
    (folder / "coco.json").write_text(json.dumps(coco))
    (folder / "yolo").mkdir()
    (folder / "yolo/data.yaml").write_text(yaml.safe_dump({"names": {0: "boat", 1: "ship"}}))
    lines = []
    for number, ((a, b, c, d), k) in enumerate(zip(boxes, names, strict=True)):
        kind = int(k == "ship")
        if number % 2:
            lines.append(f"{kind} {(a + c) / 2 / SIZE} {(b + d) / 2 / SIZE} {(c - a) / SIZE} {(d - b) / SIZE}")
        else:
            corners = [(a, b), (c, b), (c, d), (a, d)]
            lines.append(f"{kind} " + " ".join(f"{x / SIZE} {y / SIZE}" for x, y in corners))
    (folder / "yolo/scene.txt").write_text("\n".join(lines) + "\n")
    (folder / "voc").mkdir()
    objects = "".join(
        f"<object><name>{k}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>"
        for (a, b, c, d), k in zip(boxes, names, strict=True)
    )
    (folder / "voc/scene.xml").write_text(f"<annotation>{objects}</annotation>")
    return folder


# ---------------------------------------------------------------- the papers' recipes


@pytest.mark.parametrize("recipe", ["detection/dior", "detection/sardet_100k"])
def test_a_recipe_on_its_dataset_from_training_to_a_map(recipe: str, tmp_path: Path) -> None:
    """Trained, killed by SIGKILL and resumed to the same curve, evaluated, packed, and run on a GeoTIFF."""
    name = recipe.split("/")[1]
    root = generated(name, tmp_path / "data")
    choice = ["data.validate_on=test", "train.select=best"] if name == "dior" else ["augment.multiscale=false"]
    size = ["augment.fit=[48,48]"] if name == "dior" else ["augment.fit=[64,48]", "evaluate.fit=[64,48]"]
    command = ["finetune", recipe, f"data.root={root}", *TINY, *choice, *size, "train.epochs=2", "data.samples=4"]
    whole = tmp_path / "whole"
    installed(*command, "-o", whole, "--json")
    rows = curve(whole)
    assert [row["step"] for row in rows] == [1, 2, 3, 4] and len({row["total"] for row in rows}) == 4
    assert set(rows[0]) >= {"objectness", "proposal", "classes", "boxes"}
    package = whole / "model.safetensors"
    contract = read_contract(package)
    assert verify_package(package)["answers"] and len(contract.classes) == (20 if name == "dior" else 6)
    assert contract.inputs[0].family == ("optical" if name == "dior" else "sar")

    assert (whole / "validation.csv").exists()
    killed_and_resumed(command, whole, tmp_path / "killed")

    scored = installed(
        "evaluate", package, name, "--root", root, "--split", "test", "-o", tmp_path / "scores", "--json"
    )
    figures = json.loads(scored.stdout)["figures"]
    assert figures["objects"] == 4 and set(figures["by_size"]) == {"small", "medium", "large"}
    assert len(figures["ap"]) == len(contract.classes)
    if name == "dior":  # validated on the very list: the card says what is measured again
        assert all(m["equal"] for m in json.loads(scored.stdout)["card"])

    count = 3 if name == "dior" else 1
    scene = tmp_path / "scene.tif"
    with rasterio.open(
        scene, "w", driver="GTiff", count=count, height=120, width=150, dtype="uint8", crs=CRS,
        transform=from_origin(LEFT, TOP, 1, 1),
    ) as file:  # fmt: skip
        file.write(pixels(squares())[:count, :120, :150])
    installed("detect", package, scene, "-o", tmp_path / "map", "--window", 64, "--score-threshold", 0.01, "-q")
    table = gpd.read_file(tmp_path / "map/detections.gpkg")
    assert table.crs == CRS and set(table["name"]) <= {c.name for c in contract.classes}


@pytest.mark.parametrize(
    ("name", "epochs", "lr", "warmup", "milestones"),
    [("dior", 12, 3e-4, 500, [8, 11]), ("sardet_100k", 36, 3e-4, 1500, [27, 33])],
)
def test_recipes_are_as_published(
    name: str, epochs: int, lr: float, warmup: int, milestones: list[int], shared: Path
) -> None:
    from codemae_train.methods import finetuning_method

    method = finetuning_method(f"detection/{name}")
    train: Any = method.recipe.train
    assert (train.epochs, train.lr, train.warmup, train.milestones) == (epochs, lr, warmup, milestones)
    assert (train.batch, train.layer_decay, train.weight_decay, train.clip) == (16, 0.85, 0.05, 35)

    class Stands:
        """As much of a run as a rate asks for."""

        steps_per_epoch = 100
        optimizer: Any = torch.optim.SGD(
            [{"params": [torch.zeros(1)], "base_lr": lr, "lr_scale": scale, "lr": lr} for scale in (1.0, 0.85**32)]
        )

        def __init__(self, step: int) -> None:
            self.epoch, self.batch = divmod(step, 100)

    key = {"dior": "detection_dior", "sardet_100k": "detection_sardet100k"}[name]
    wanted = json.loads((shared / "reference" / "schedules.json").read_text())[key]["lr_at_iteration"]
    for step, rates in wanted.items():
        run = Stands(int(step))
        method.rate(run, run.batch)  # type: ignore[arg-type]
        assert [g["lr"] for g in run.optimizer.param_groups] == pytest.approx(rates, rel=1e-6), step


@pytest.mark.parametrize("settings", [
    {"fit": (60, 45)}, {"multiscale": True}, {"crop": 48, "turn": "any", "flip_down": 0.5}, {"fit": (40, 40)},
])  # fmt: skip
def test_boxes_follow_their_objects(settings: dict[str, Any]) -> None:
    """Whatever is drawn, a box is where its object is in the image that comes out, and never larger."""
    from codemae_train.methods.detection import DetectionAugment, Labelled, augment

    boxes = torch.tensor([[8.0, 20, 24, 32], [40, 4, 60, 14], [50, 50, 64, 64]])
    for seed in range(12):
        image = torch.zeros(1, 64, 64)
        for k, (left, top, right, bottom) in enumerate(boxes.int().tolist()):
            image[:, top:bottom, left:right] = 80.0 * (k + 1)
        config = DetectionAugment(**settings)
        out = augment(Labelled(image, boxes, torch.arange(3)), config, [0.0], torch.Generator().manual_seed(seed))
        height, width = out.size
        scale = max(height, width) / 64
        for box_, label in zip(out.boxes.tolist(), out.labels.tolist(), strict=True):
            left, top, right, bottom = (round(v) for v in box_)
            assert 0 <= left < right <= width and 0 <= top < bottom <= height
            middle = out.image[0, (top + bottom) // 2, (left + right) // 2]
            assert float(middle) == pytest.approx(80.0 * (label + 1), abs=1)
            around = out.image[0, top:bottom, left:right]
            assert float(((around - 80.0 * (label + 1)).abs() < 1).float().mean()) > 0.6
        if settings.get("multiscale"):
            assert max(out.size) <= 1333 and min(out.size) in range(480, 801, 32)
        elif "crop" in settings:
            assert out.size == (48, 48)
        else:
            assert scale == pytest.approx(min(settings["fit"]) / 64, abs=0.02) and len(out.labels) == 3


def test_what_little_a_cut_leaves_of_an_object_is_erased() -> None:
    from codemae_train.methods.detection import Labelled

    image = torch.full((1, 20, 20), 9.0)
    sample = Labelled(image, torch.tensor([[-8.0, 2, 2, 6], [10, 10, 24, 14]]), torch.tensor([0, 1])).settled(
        [5.0], 0.5
    )
    assert sample.labels.tolist() == [1] and sample.boxes.tolist() == [[10, 10, 20, 14]]
    assert (sample.image[0, 2:6, :2] == 5).all() and int((sample.image == 9).sum()) == 400 - 8


# ---------------------------------------------------------------- boxes of one's own

OWN = [*TINY, "train.epochs=1", "data.samples=4", "augment.crop=64", "evaluate.window=64", "data.block=64",
       "train.select=last"]  # fmt: skip


@pytest.mark.parametrize("labels", ["boxes.gpkg", "coco.json", "yolo", "voc"])
def test_labels_in_every_form_are_the_same_objects(labels: str, harbour: Path, tmp_path: Path) -> None:
    from codemae_datasets.objects import open_object_areas

    said: list[str] = []
    (area,), classes = open_object_areas(
        [harbour / "scene.tif"], [harbour / labels], "optical", tmp_path, said.append, column=None
    )
    assert classes == ("boat", "ship")
    order = np.lexsort(np.round(area.boxes).T)
    wanted = np.array(squares(), float)
    kinds = np.array([0 if number % 2 else 1 for number in range(len(wanted))])
    right = np.lexsort(wanted.T)
    np.testing.assert_allclose(np.round(area.boxes[order]), wanted[right])
    np.testing.assert_allclose(area.boxes[order], wanted[right], atol=0.1)
    assert (area.labels[order] == kinds[right]).all()
    assert (np.asarray(area.image) == pixels(squares())).all() and area.valid.all()


def test_own_boxes_become_a_model_that_finds_objects(harbour: Path, tmp_path: Path) -> None:
    pair = ["--images", harbour / "scene.tif", "--labels", harbour / "boxes.gpkg"]
    done = invoke("finetune", "detection", *pair, *OWN, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    assert "objects to train on" in done.stderr
    package = tmp_path / "run/model.safetensors"
    contract = read_contract(package)
    assert [c.name for c in contract.classes] == ["boat", "ship"]
    assert "blocks of 64 pixels" in contract.metrics[0].split and contract.score_threshold != 0.5
    found = invoke("detect", package, harbour / "scene.tif", "-o", tmp_path / "map", "--score-threshold", 0.01, "-q")
    assert found.exit_code == 0, found.stderr
    assert gpd.read_file(tmp_path / "map/detections.gpkg").crs == CRS
    # goes on from the package with its head, from a whole folder and all of one class
    again = invoke("finetune", "detection", *pair, *OWN, "--from", package, "data.holdout=0", "-o", tmp_path / "again")
    assert again.exit_code == 0 and "heads included" in again.stderr and "nothing was held out" in again.stderr
    scored = invoke("evaluate", package, *pair, "-o", tmp_path / "scores", "--json")
    assert scored.exit_code == 0, scored.stderr
    assert json.loads(scored.stdout)["figures"]["objects"] == 18
    assert "white" in (tmp_path / "scores/report.html").read_text().lower()


def test_pictures_without_a_place_and_one_class(harbour: Path, tmp_path: Path) -> None:
    """A folder of PNGs with YOLO's files is split by pictures; a table without classes is one class."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "labels").mkdir()
    for number in range(4):
        boxes = squares(6, number)
        Image.fromarray(pixels(boxes, number).transpose(1, 2, 0)).save(tmp_path / f"photos/{number}.png")
        if number == 3:
            continue
        text = "".join(
            f"0 {(a + c) / 2 / SIZE} {(b + d) / 2 / SIZE} {(c - a) / SIZE} {(d - b) / SIZE}\n" for a, b, c, d in boxes
        )
        (tmp_path / f"labels/{number}.txt").write_text(text)
    photos = ["--images", tmp_path / "photos", "--labels", tmp_path / "labels"]
    done = invoke("finetune", "detection", *photos, *OWN, "data.holdout=0.4", "-o", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    assert "1 of 4 pictures have no labels" in done.stderr
    contract = read_contract(tmp_path / "run/model.safetensors")
    assert [c.name for c in contract.classes] == ["class 0"] and "40% of the pictures" in contract.metrics[0].split
    plain = ["--images", harbour / "scene.tif", "--labels", harbour / "plain.gpkg", "data.single=vessel"]
    done = invoke("finetune", "detection", *plain, *OWN, "-o", tmp_path / "one", "--dry-run")
    assert done.exit_code == 0 and "all are of one class, 'vessel'" in done.stderr, done.stderr


def test_what_is_held_out_is_not_seen_in_training(harbour: Path, tmp_path: Path) -> None:
    """No object of validation is trained on, and the pixels of one that lies on the border belong to neither."""
    from codemae_datasets.objects import HeldObjects, SceneObjects, clip, open_object_areas, split_areas

    areas, classes = open_object_areas(
        [harbour / "scene.tif"], [harbour / "boxes.gpkg"], "optical", tmp_path, lambda _: None
    )
    held, split = split_areas(areas, 0.4, 48, 3)
    assert "40% of the blocks" in split
    training = SceneObjects(areas, classes, 64, count=8, held=held)
    validation = HeldObjects(areas, classes, held)
    for seed in range(60):
        sample = training.draw(torch.Generator().manual_seed(seed))
        assert sample["images"][0].shape == (3, 64, 64) and len(sample["boxes"]) == len(sample["labels"])
    shares = sum(clip(areas[0].boxes, block)[1] for block in held[0].blocks)
    assert sum(training.objects) == int((shares == 0).sum()) and sum(validation.objects) == int(
        (shares > 1 - 1e-6).sum()
    )
    crossing = (shares > 0) & (shares < 1 - 1e-6)
    assert crossing.any()  # else this scene shows nothing
    seen = training._areas[0][1]
    for left, top, right, bottom in areas[0].boxes[crossing].round().astype(int):
        assert not seen[top:bottom, left:right].any()
    for block in held[0].blocks:
        assert not seen[block[0] : block[2], block[1] : block[3]].any()
    crowds = sum(int(validation[i]["crowd"].sum()) for i in range(len(validation)))
    assert crowds >= crossing.sum()


BAD: dict[str, tuple[list[str], list[str]]] = {
    "no images": ([], ["names no data"]),
    "no labels": (["--images", "scene.tif"], ["nothing to learn from"]),
    "not there": (["--images", "scene.tif", "--labels", "gone.gpkg"], ["there are no labels"]),
    "points": (["--images", "scene.tif", "--labels", "points.geojson"], ["have no extent", "polygons"]),
    "elsewhere": (["--images", "scene.tif", "--labels", "far.geojson"], ["do not overlap"]),
    "other images": (["--images", "scene.tif", "--labels", "other.json"], ["not of these images", "scene.tif"]),
    "broken YOLO": (["--images", "scene.tif", "--labels", "broken"], ["line 1", "0 0.5 0.5"]),
    "undeclared": (
        ["--images", "scene.tif", "--labels", "boxes.gpkg", "data.classes={boat: boat}"],
        ["not declared", "'ship' of 9"],
    ),
    "column": (["--images", "scene.tif", "--labels", "boxes.gpkg", "--column", "x"], ["'x'", "class"]),
    "a pair": (["--pre", "scene.tif", "--labels", "boxes.gpkg"], ["data.pre"]),
    "on a picture": (["--images", "photo.png", "--labels", "boxes.gpkg"], ["no place", "COCO"]),
    "one block": (["--images", "scene.tif", "--labels", "boxes.gpkg", "data.block=512"], ["one block", "data.block"]),
    "empty folder": (["--images", "scene.tif", "--labels", "nothing"], ["holds no labels"]),
}


@pytest.fixture(scope="module")
def bad(harbour: Path) -> Path:
    frame = gpd.read_file(harbour / "boxes.gpkg")
    frame.assign(geometry=frame.to_crs(CRS).centroid.to_crs("EPSG:4326")).to_file(harbour / "points.geojson")
    frame.translate(10, 0).to_frame("geometry").assign(**{"class": "boat"}).to_file(harbour / "far.geojson")
    table = json.loads((harbour / "coco.json").read_text())
    table["images"][0]["file_name"] = "elsewhere.png"
    (harbour / "other.json").write_text(json.dumps(table))
    for name in ("broken", "nothing"):
        (harbour / name).mkdir()
    (harbour / "broken/scene.txt").write_text("0 0.5 0.5\n")
    Image.fromarray(pixels(squares()).transpose(1, 2, 0)).save(harbour / "photo.png")
    return harbour


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_message(case: str, bad: Path, tmp_path: Path) -> None:
    given, words = BAD[case]
    options = ("--images", "--labels", "--pre")
    files = [bad / word if n and given[n - 1] in options else word for n, word in enumerate(given)]
    own = [o for o in OWN if "block" not in o or case != "one block"]
    done = invoke("finetune", "detection", *own, *files, "-o", tmp_path / "run")
    assert done.exit_code == 1 and all(word in done.stderr for word in words), done.stderr
    assert not (tmp_path / "run").exists()
