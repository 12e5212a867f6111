"""`codemae finetune` as installed: every recipe on generated data, kills and resuming, labels of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from codemae_train.config import shipped_recipes
from codemae_train.methods import load_finetune
from codemae_train.methods.finetune import TASKS, Finetuning
from shapely import Polygon
from support.curves import ENVIRONMENT, curve, generated, invoke, killed_and_resumed
from support.labelled import buildings, cover, scene

from codemae_geo.models.hivit import HiViT
from codemae_geo.weights.package import load_package, read_contract
from codemae_geo.weights.verify import verify_package

ENCODER = "model.encoder={embed_dim: 32, mlp_depth1: 1, mlp_depth2: 1, depth: 2, num_heads: 2, fpn_dim: 16}"
#: a model that trains in no time, on tiles of 16 pixels
TINY = [
    *(ENCODER, "model.img_size=32", "model.channels=16", "model.aux_channels=8", "train.precision=32-true"),
    *("train.accelerator=cpu", "train.log_every=1", "train.save_every=1", "train.validate_every=1", "data.workers=0"),
    *("train.batch=2", "augment.crop=32", "evaluate.window=32", "evaluate.stride=32", "evaluate.crop=32"),
]
RECIPES = [f"{task}/{name}" for task in TASKS for name in shipped_recipes(task) if name != "own"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in the processes that are started here: sums of several threads are not the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def arguments(recipe: str, root: Path) -> list[str]:
    """A recipe on generated data: four steps."""
    loaded = load_finetune(recipe)
    assert loaded.data.dataset is not None
    data = [f"data.root={generated(loaded.data.dataset, root)}"]
    held_out = loaded.data.test and not loaded.data.validation and not loaded.data.validation_share
    data += ["data.validate_on=test"] if held_out else []
    data += ["data.validation_share=0.5"] if loaded.data.validation_share else []  # of two tiles
    data += ["data.samples=8", "train.epochs=1", "train.validate_steps=2"]
    return ["finetune", recipe, *data, *TINY]


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_what_the_tables_say(name: str) -> None:
    recipe = load_finetune(name)
    assert recipe.task == name.split("/")[0] and recipe.data.dataset
    assert recipe.train.accelerator == "auto" and recipe.train.devices == 1
    lr = recipe.train.lr * (recipe.train.batch / recipe.train.lr_per if recipe.train.lr_per else 1)
    published = {
        "classification/aid": (1.25e-4, 0.85, 100),
        "classification/resisc45": (1.25e-4, 0.95, 100),
        "classification/mstar": (1.953e-4, 0.85, 60),
        "classification/fusar_ship": (1.953e-4, 0.85, 60),
        "classification/sar_acd": (1.953e-4, 1.0, 60),
    }
    expected = published.get(name, (1e-4, 0.85, 300 if "ddhr" in name else 1))
    assert (lr, recipe.train.layer_decay, recipe.train.epochs) == pytest.approx(expected, rel=1e-3)
    if name in ("segmentation/loveda", "segmentation/whu_opt_sar_both"):
        assert recipe.data.samples // recipe.train.batch == 10_000
    if recipe.task == "damage":
        assert recipe.data.samples // recipe.train.batch == 30_000 and recipe.train.loss == "codemae"


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.filterwarnings("ignore:The split:UserWarning")
def test_every_recipe_end_to_end(name: str, tmp_path: Path) -> None:
    """Trained, killed by SIGKILL and resumed, evaluated, packed, and run where the engine makes maps."""
    command = arguments(name, tmp_path / "data")
    whole = tmp_path / "whole"
    done = invoke(*command, "-o", whole, "--json")
    assert done.exit_code == 0, done.stderr
    rows = curve(whole)
    assert [row["step"] for row in rows] == [1, 2, 3, 4] and len({row["total"] for row in rows}) == 4
    package = whole / "model.safetensors"
    assert verify_package(package)["answers"]
    contract, result = read_contract(package), json.loads(done.stdout)
    assert contract.task == name.split("/")[0] and contract.name == load_finetune(name).name
    assert bool(contract.metrics) == bool(result["validation"]) == (name != "segmentation/loveda")
    if contract.metrics:
        assert contract.temperature != 1.0 and all(m.split for m in contract.metrics)
    killed_and_resumed(command, whole, tmp_path / "killed")
    data = load_finetune(name).data
    split = (data.validation or data.test or ["val"])[0]
    scored = invoke("evaluate", package, contract.training_data[0].name, "--root", tmp_path / "data", "--split", split,
                    "--limit", 2, "-o", tmp_path / "scores", "-q")  # fmt: skip
    assert scored.exit_code == 0 and (tmp_path / "scores" / "metrics.json").exists(), scored.stderr
    image = scene(tmp_path / "scene.tif", 64)
    other = scene(tmp_path / "other.tif", 64, 1)
    families = [spec.family for spec in contract.inputs]
    if families[-1] == "sar":
        with rasterio.open(other) as file:
            pixels, profile = file.read(1), file.profile | {"count": 1}
        with rasterio.open(other, "w", **profile) as file:
            file.write(pixels, 1)
    if contract.task == "segmentation":
        scenes = {("optical",): [image], ("sar",): [other], ("optical", "sar"): [image, "--sar", other]}
        mapped = invoke("predict", package, *scenes[tuple(families)], "-o", tmp_path / "map", "-q")
        assert mapped.exit_code == 0 and (tmp_path / "map" / "classes.tif").exists(), mapped.stderr
    if contract.task == "damage":
        mapped = invoke("damage", "--pre", image, "--post", other, "-m", package, "-o", tmp_path / "map", "-q")
        assert mapped.exit_code == 0 and (tmp_path / "map" / "damage.tif").exists(), mapped.stderr


# ---------------------------------------------------------------- labels of one's own

#: 128 pixels of one's own
OWN = [*TINY, "train.epochs=2", "train.batch=4", "data.samples=8", "data.block=32", "augment.turn=none"]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates of two towns, their buildings in another CRS, and land cover at half the resolution."""
    folder = tmp_path_factory.mktemp("town")
    for name, seed in (("a", 0), ("b", 5)):
        scene(folder / name / "before.tif", seed=seed)
        scene(folder / name / "after.tif", seed=seed + 1, shift=40)
    scene(folder / "other.tif", seed=9)
    buildings(folder / "buildings.gpkg", crs="EPSG:4326")
    cover(folder / "cover.tif")
    return folder


@pytest.fixture(scope="module")
def package(town: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A damage model of one's own."""
    out = tmp_path_factory.mktemp("own") / "run"
    pair = ["--pre", town / "a/before.tif", "--post", town / "a/after.tif", "--labels", town / "buildings.gpkg"]
    done = invoke("finetune", "damage", *pair, *OWN, "-o", out)
    assert done.exit_code == 0, done.stderr
    assert "blocks of 32 pixels" in read_contract(out / "model.safetensors").metrics[0].split
    return out / "model.safetensors"


def test_own_damage_labels_become_a_model_that_maps(town: Path, package: Path, tmp_path: Path) -> None:
    contract = read_contract(package)
    assert [c.name for c in contract.classes] == ["background", "intact", "damaged", "destroyed"]
    done = invoke("damage", "--pre", town / "b/before.tif", "--post", town / "b/after.tif", "-m", package,
                  "--footprints", town / "buildings.gpkg", "-o", tmp_path / "map", "-q")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert len(gpd.read_file(tmp_path / "map" / "damage.gpkg", layer="buildings")) == 64


def test_own_segmentation_labels_on_another_grid(town: Path, tmp_path: Path) -> None:
    """Learns which half is bright, from a raster of half the resolution, and the package maps it."""
    changes = ["train.epochs=12", "data.samples=32", "train.lr=0.003", "data.classes={dark: 1, bright: 2}"]
    pair = ["--images", town / "a/before.tif", "--labels", town / "cover.tif"]
    done = invoke("finetune", "segmentation", *pair, *OWN, *changes, "augment.colours=none", "-o", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    assert "aligned by nearest neighbour" in done.stderr
    done = invoke("predict", tmp_path / "run/model.safetensors", town / "b/before.tif", "-o", tmp_path / "map", "-q")
    assert done.exit_code == 0, done.stderr
    with rasterio.open(tmp_path / "map" / "classes.tif") as file:
        found = file.read(1)
    assert np.mean(found[:, :56] == 0) > 0.95 and np.mean(found[:, 72:] == 1) > 0.95


def test_own_labels_of_both_sensors(town: Path, tmp_path: Path) -> None:
    """West and east differ in the optical image, north and south in the radar; the fused model tells all four."""
    with rasterio.open(town / "a/before.tif") as file:
        profile = file.profile
    rng = np.random.default_rng(0)
    rows = np.where(np.arange(128) < 64, 50, 150)[:, None] + rng.integers(0, 20, (128, 128))
    for name, dx in (("radar", 0), ("far", 10_000)):
        place = profile["transform"] * rasterio.Affine.translation(dx, 0)
        with rasterio.open(tmp_path / f"{name}.tif", "w", **(profile | {"count": 1, "transform": place})) as file:
            file.write(rows.astype(np.uint8), 1)
    truth = 1 + (np.arange(128) >= 64)[:, None] * 2 + (np.arange(128) >= 64)[None, :]
    with rasterio.open(tmp_path / "labels.tif", "w", **(profile | {"count": 1})) as file:
        file.write(truth.astype(np.uint8), 1)
    scenes = ["--images", town / "a/before.tif", "--sar", tmp_path / "radar.tif", "--labels", tmp_path / "labels.tif"]
    changes = ["train.epochs=20", "data.samples=32", "train.lr=0.01", "data.classes={nw: 1, ne: 2, sw: 3, se: 4}"]
    changes += ["augment.colours=none", "augment.scale=[1,1]", "data.holdout=0", "train.select=last"]
    done = invoke("finetune", "segmentation", *scenes, *OWN, *changes, "-o", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    package = tmp_path / "run" / "model.safetensors"
    assert [spec.name for spec in read_contract(package).inputs] == ["optical", "sar"]
    both = [package, town / "b/before.tif", "--sar", tmp_path / "radar.tif"]
    done = invoke("predict", *both, "-o", tmp_path / "map", "-q")
    assert done.exit_code == 0, done.stderr
    with rasterio.open(tmp_path / "map" / "classes.tif") as file:
        found = file.read(1)
    inner = np.ones(128, bool)
    inner[56:72] = False  # windows blur the seam
    assert np.mean((found == truth - 1)[np.ix_(inner, inner)]) > 0.9
    scored = invoke("evaluate", package, *scenes, "--classes", "nw=1,ne=2,sw=3,se=4", "-o", tmp_path / "out", "-q")
    assert scored.exit_code == 0, scored.stderr
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["figures"]["ungated"]["accuracy"] > 0.9
    for wrong, said in (
        (both[:2], "name the SAR scene with --sar"),
        ([*both[:3], tmp_path / "far.tif"], "do not overlap"),
    ):
        refused = invoke("predict", *wrong, "-o", tmp_path / "refused")
        assert refused.exit_code == 1 and said in refused.stderr and not (tmp_path / "refused").exists()
    refused = invoke("evaluate", package, *scenes, "--classes", "nw=1,ne=2", "-o", tmp_path / "refused", "-q")
    assert refused.exit_code == 1 and "not the model's classes" in refused.stderr
    alone = invoke("finetune", "segmentation", *scenes[:2], "--labels", tmp_path / "labels.tif", *OWN,
                   "data.sensors=[optical,sar]", "-o", tmp_path / "refused")  # fmt: skip
    assert alone.exit_code == 1 and "1 images, 0 radar scenes" in alone.stderr, alone.stderr


def test_damage_from_a_folder_of_rasters_with_codes(town: Path, tmp_path: Path) -> None:
    """Two tiles of class values, of which two become one class; between the tiles nothing is known."""
    (tmp_path / "tiles").mkdir()
    with rasterio.open(town / "a/before.tif") as file:
        profile = file.profile | {"count": 1, "width": 48}
    for number, left in enumerate((0, 80)):
        place = profile["transform"] * rasterio.Affine.translation(left, 0)
        with rasterio.open(tmp_path / "tiles" / f"{number}.tif", "w", **(profile | {"transform": place})) as file:
            file.write(np.add.outer(np.arange(128) // 32, np.arange(48) // 24).astype(np.uint8), 1)
    pair = ["--pre", town / "a/before.tif", "--post", town / "a/after.tif", "--labels", tmp_path / "tiles"]
    codes = "data.classes={background: 0, intact: 1, damaged: [2, 3], destroyed: 4}"
    done = invoke("finetune", "damage", *pair, *OWN, codes, "-o", tmp_path / "run", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["classes"] == ["background", "intact", "damaged", "destroyed"]
    refused = invoke("finetune", "damage", *pair, *OWN, codes.replace(", 3]", "]"), "-o", tmp_path / "other")
    assert refused.exit_code == 1 and "3 in 3072 pixels" in refused.stderr, refused.stderr


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """A classifier without batch norm: what statistics of a process' own rows would change is not in it."""
    command = [*arguments("classification/aid", tmp_path / "data"), "train.mixing=null", "model.drop_path=0"]
    whole = invoke(*command, "-o", tmp_path / "one")
    assert whole.exit_code == 0, whole.stderr
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    both = subprocess.run([*torchrun, "-m", "codemae_cli", *command, "-o", tmp_path / "two"], env=ENVIRONMENT,
                          capture_output=True, text=True, timeout=240)  # fmt: skip
    assert both.returncode == 0, both.stderr[-2000:]
    for ours, theirs in zip(curve(tmp_path / "two"), curve(tmp_path / "one"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_points_two_events_and_going_on(town: Path, package: Path, tmp_path: Path) -> None:
    """Points teach their pixels alone; a whole town validates; training goes on from a package, its head included."""
    frame = gpd.read_file(town / "buildings.gpkg").to_crs("EPSG:32615")
    frame["geometry"] = frame.centroid
    frame.to_file(tmp_path / "points.geojson")
    both = ["--pre", town / "a/before.tif", "--pre", town / "b/before.tif"]
    both += ["--post", town / "a/after.tif", "--post", town / "b/after.tif", "--labels", tmp_path / "points.geojson"]
    done = invoke(
        "finetune", "damage", *both, *OWN, "data.holdout=[before-2]", "--from", package, "-o", tmp_path / "run"
    )
    assert done.exit_code == 0, done.stderr
    assert "heads included" in done.stderr and "nothing is known" in done.stderr
    assert "the scenes before-2" in read_contract(tmp_path / "run/model.safetensors").metrics[0].split


def test_a_frozen_backbone_stays_as_it_was(town: Path, package: Path, tmp_path: Path) -> None:
    pair = ["--pre", town / "a/before.tif", "--post", town / "a/after.tif", "--labels", town / "buildings.gpkg"]
    done = invoke(
        "finetune", "damage", *pair, *OWN, "--from", package, "model.learn=heads", "-o", tmp_path / "run", "-q"
    )
    assert done.exit_code == 0, done.stderr
    one, other = (
        load_package(package).module.state_dict(),
        load_package(tmp_path / "run/model.safetensors").module.state_dict(),
    )
    same = {name: bool((one[name] == other[name]).all()) for name in one}
    assert all(equal for name, equal in same.items() if name.startswith("encoder."))
    assert not same["clf_2.weight"]


def test_features_of_a_frozen_backbone_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the curve is the same as when they are computed anew in every epoch."""
    changes = ["model.learn=heads", "train.epochs=3"]
    command = [*arguments("classification/mstar", tmp_path / "data"), *changes]
    seen: list[int] = []
    forward = HiViT.forward_features

    def counted(self: HiViT, x: torch.Tensor, modality: Any = None) -> torch.Tensor:
        seen.extend([1] * len(x))
        return forward(self, x, modality)

    monkeypatch.setattr(HiViT, "forward_features", counted)
    monkeypatch.setattr(Finetuning, "validate", lambda *_: {})
    folders = []
    for name in ("kept", "anew"):
        seen.clear()
        done = invoke(*command, "-o", tmp_path / name, "-q")
        assert done.exit_code == 0, done.stderr
        folders.append((curve(tmp_path / name), len(seen)))
        monkeypatch.setattr(Finetuning, "fixed", lambda *_: False)
    (kept, few), (anew, many) = folders
    assert few < many
    for ours, theirs in zip(kept, anew, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert kept[-1]["total"] < kept[0]["total"]


def test_leaving_an_event_out(tmp_path: Path) -> None:
    command = arguments("damage/bright", tmp_path / "data")
    done = invoke(*command, "data.leave_out=congo-volcano", "-o", tmp_path / "run", "--dry-run")
    assert done.exit_code == 0 and not (tmp_path / "run").exists(), done.stderr
    done = invoke(*command, "data.leave_out=atlantis-flood", "-o", tmp_path / "run")
    assert done.exit_code == 1 and "atlantis-flood" in done.stderr and "bata-explosion" in done.stderr


def _bad(folder: Path) -> dict[str, tuple[list[object], list[str]]]:
    pair: list[object] = ["--pre", folder / "a/before.tif", "--post", folder / "a/after.tif"]
    one: list[object] = ["--images", folder / "a/before.tif", "--labels", folder / "cover.tif"]
    frame = gpd.read_file(folder / "buildings.gpkg")
    frame.set_crs(None, allow_override=True).to_file(folder / "nowhere.shp")
    frame.drop(columns="damage").assign(a=1, b=2).to_file(folder / "columns.gpkg")
    frame.assign(damage="odd").to_file(folder / "odd.gpkg")
    frame.translate(10, 0).to_frame("geometry").assign(damage="destroyed").to_file(folder / "far.gpkg")
    frame.assign(damage=None).to_file(folder / "null.gpkg")
    return {
        "no scenes": (["damage"], ["names no data", "labels of your own"]),
        "no such labels": (["damage", *pair, "--labels", "gone.gpkg"], ["there are no labels gone.gpkg"]),
        "no CRS": (["damage", *pair, "--labels", folder / "nowhere.shp"], ["no coordinate reference system"]),
        "no column": (["damage", *pair, "--labels", folder / "columns.gpkg"], ["which column", "a, b"]),
        "wrong column": (["damage", *pair, "--labels", folder / "buildings.gpkg", "--column", "x"], ["'x'", "damage"]),
        "unknown class": (["damage", *pair, "--labels", folder / "odd.gpkg"], ["not declared", "'odd' in 64"]),
        "elsewhere": (["damage", *pair, "--labels", folder / "far.gpkg"], ["do not overlap"]),
        "no classes": (["damage", *pair, "--labels", folder / "null.gpkg"], ["no feature with a class"]),
        "undeclared value": (["segmentation", *one, "data.classes={dark: 1}"], ["2 in ", "pixels"]),
        "one block": (["segmentation", *one, "data.block=128"], ["one block", "data.block"]),
        "unknown event": (["segmentation", *one, "data.holdout=[x]"], ["scenes to hold out"]),
        "one of two": (["damage", *pair, "--pre", folder / "other.tif"], ["2 before, 1 after"]),
        "unknown recipe": (["damage/brigt"], ["did you mean 'damage/bright'"]),
        "no root": (["damage/bright"], ["data.root"]),
        "start": (["segmentation", *one, "--from", folder / "cover.tif"], ["cover.tif"]),
    }


BAD = [
    *("no scenes", "no such labels", "no CRS", "no column", "wrong column", "unknown class", "elsewhere", "no classes"),
    *("undeclared value", "one block", "unknown event", "one of two", "unknown recipe", "no root", "start"),
]


@pytest.fixture(scope="module")
def bad(town: Path) -> dict[str, tuple[list[object], list[str]]]:
    found = _bad(town)
    assert sorted(found) == sorted(BAD)
    return found


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_message(bad: dict[str, Any], tmp_path: Path, case: str) -> None:
    given, words = bad[case]
    own = OWN if given[0] in TASKS else TINY
    done = invoke("finetune", *given, *[c for c in own if "block" not in c], "-o", tmp_path / "run")
    assert done.exit_code == 1 and all(word in done.stderr for word in words), done.stderr
    assert not (tmp_path / "run").exists()


def test_what_is_mended_is_said(town: Path, tmp_path: Path) -> None:
    """Rings that cross, scenes smaller than the crop, heads that do not fit, classes smaller than the shots."""
    frame = gpd.read_file(town / "buildings.gpkg").to_crs("EPSG:32615")
    corners = [shape.bounds for shape in frame.geometry]
    frame["geometry"] = [Polygon([(a, b), (c, d), (c, b), (a, d)]) for a, b, c, d in corners]
    frame.to_file(tmp_path / "crossed.gpkg")
    pair = ["--pre", town / "a/before.tif", "--post", town / "a/after.tif"]
    one = ["--images", town / "a/before.tif", "--labels", town / "cover.tif", "data.classes={dark: 1, bright: 2}"]
    data = arguments("classification/mstar", tmp_path / "data")[1:]
    for given, words in (
        (["damage", *pair, "--labels", tmp_path / "crossed.gpkg", *OWN], "64 features with invalid rings are repaired"),
        (["segmentation", *one, *OWN, "augment.crop=256"], "smaller (128 pixels) than the crop"),
        ([*data, "data.options={shots: 1000}"], "fewer than 1000 images give all they have"),
    ):
        done = invoke("finetune", *given, "-o", tmp_path / "run", "--dry-run")
        assert done.exit_code == 0 and words in done.stderr, done.stderr
    frame.assign(geometry=frame.centroid.translate(5000, 0)).to_file(tmp_path / "away.geojson")
    done = invoke("finetune", "damage", *pair, "--labels", tmp_path / "away.geojson", *OWN, "-o", tmp_path / "run")
    assert done.exit_code == 1 and "do not overlap" in done.stderr
    split = [*arguments("damage/bright", tmp_path / "bright")[1:], "data.train=[nothing]"]
    done = invoke("finetune", *split, "-o", tmp_path / "run")
    assert done.exit_code == 1 and "no split 'nothing'" in done.stderr


def test_classes_missing_from_training_are_said(town: Path, tmp_path: Path) -> None:
    frame = gpd.read_file(town / "buildings.gpkg")
    frame[frame["damage"] != "destroyed"].to_file(tmp_path / "two.gpkg")
    pair = ["--pre", town / "a/before.tif", "--post", town / "a/after.tif", "--labels", tmp_path / "two.gpkg"]
    done = invoke("finetune", "damage", *pair, *OWN, "-o", tmp_path / "run", "--dry-run")
    assert done.exit_code == 0 and "'destroyed' does not occur in training" in done.stderr, done.stderr
